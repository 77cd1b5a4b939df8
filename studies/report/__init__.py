"""The HTML report of a study: one file, no network."""

from mmtuna.studies.report.build import methods_markdown, report_html
from mmtuna.studies.report.facts import ReportFacts

__all__ = ["ReportFacts", "methods_markdown", "report_html"]
