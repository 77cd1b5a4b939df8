"""From a study to its report."""

from __future__ import annotations

import optuna

from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.report import account_sections as account
from mmtuna.studies.report import table_sections as tables
from mmtuna.studies.report import trial_sections as trials
from mmtuna.studies.report.facts import Reading, ReportFacts
from mmtuna.studies.report.markup import Html, count, join, note, tag
from mmtuna.studies.report.methods import methods_paragraph
from mmtuna.studies.report.page import page


def report_html(study: optuna.Study, space: SearchSpace, facts: ReportFacts | None = None) -> str:
    """The report of `study` as one HTML file that fetches nothing: the text, written by the caller.

    Speaks of the trials as they are at the moment of the call, whatever workers add meanwhile. Where something is
    missing (no complete trial, no overlay, too few trials for importances) the section says so in words.
    """
    reading = Reading(study, space, facts or ReportFacts())
    sections = [
        ("headline", "At a glance", trials.headline(reading)),
        ("space", "What was searched", tables.space(reading)),
        ("history", "History", trials.history(reading)),
        ("curves", "Learning curves", trials.learning_curves(reading)),
        ("importances", "Importances", trials.importances(reading)),
        ("slices", "Slices", trials.slices(reading)),
        ("table2", "Table 2 beside ours", tables.table2(reading)),
        ("best", "Best trials, per class", tables.best_trials(reading)),
        ("overlays", "Overlays", trials.overlays(reading)),
        ("failures", "Failures", account.failures(reading)),
        ("cost", "Cost", account.cost(reading)),
        ("methods", "Methods paragraph", _methods(reading)),
        ("provenance", "Versions and fingerprints", account.provenance(reading)),
    ]
    subtitle = (
        f"Hyperparameter search for MMSegmentation: {count(len(reading.rows), 'trial')}, maximising {reading.metric}"
    )
    return page(
        reading.name, subtitle, sections, "Written by mmtuna. All metrics are fractions, 0 to 1, on validation images."
    )


def _methods(reading: Reading) -> Html:
    return join(
        [tag("p", methods_paragraph(reading), class_="methods"), note("One click selects the whole paragraph.")]
    )
