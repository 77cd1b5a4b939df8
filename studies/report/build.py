"""From a study to its report."""

from __future__ import annotations

import optuna

from mmtuna.spaces.metrics import units
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.report import sections
from mmtuna.studies.report.checklist import checklist, markdown
from mmtuna.studies.report.facts import Reading, ReportFacts
from mmtuna.studies.report.methods import methods_paragraph
from mmtuna.studies.report.page import page

SECTIONS = {
    "headline": "At a glance",
    "certainty": "How sure",
    "space": "What was searched",
    "history": "History",
    "curves": "Learning curves",
    "importances": "Importances",
    "slices": "Slices",
    "table2": "Table 2 beside ours",
    "best": "Best configs, per class",
    "overlays": "Overlays",
    "failures": "Failures",
    "cost": "Cost",
    "methods": "Methods and checklist",
    "provenance": "Versions and fingerprints",
}
"""Headings by the names of the template's blocks and of the functions that fill them, in the page's order."""


def report_html(study: optuna.Study, space: SearchSpace, facts: ReportFacts | None = None) -> str:
    """The report of `study` as one HTML file that fetches nothing: the text, written by the caller.

    Speaks of the trials as they are at the moment of the call, whatever workers add meanwhile. Where something is
    missing (no complete trial, no overlay, too few trials for importances) the section says so in words.
    """
    reading = Reading(study, space, facts or ReportFacts())
    return page(
        reading=reading,
        units=units({name for row in reading.rows for name in row.metrics}),
        sections=SECTIONS,
        nothing_complete="" if reading.complete else sections.nothing_complete(reading),
        headline=sections.headline(reading),
        certainty=sections.certainty(reading),
        space=sections.space(reading),
        history=sections.history(reading),
        curves=sections.curves(reading),
        importances=sections.importances(reading),
        slices=sections.slices(reading),
        table2=sections.table2(reading),
        best=sections.best(reading),
        overlays=sections.overlays(reading),
        failures=sections.failures(reading),
        cost=sections.cost(reading),
        methods=methods_paragraph(reading),
        checklist=checklist(reading),
        provenance=sections.provenance(reading),
    )


def methods_markdown(study: optuna.Study, space: SearchSpace, facts: ReportFacts | None = None) -> str:
    """The methods section of `study` and what it answers of reporting checklists, as the text of a Markdown file."""
    return markdown(Reading(study, space, facts or ReportFacts()))
