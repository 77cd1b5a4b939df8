"""The plot that a study keeps for the dashboard: its history with the paper's best.

The dashboard draws a history, importances and, on its page of selection, parallel coordinates of its own, which are as
good or better: the same evaluator (PED-ANOVA), and axes whose brushed trials are listed below. It has no place for the
paper's best, and shows failed trials nowhere and pruned ones as complete ones: hence this one.
"""

from __future__ import annotations

import json
from typing import Any

import optuna

from mmtuna.studies.report import charts
from mmtuna.studies.report.charts import Figure
from mmtuna.studies.report.facts import Reading
from mmtuna.studies.storage.optuna_insides import PLOT, set_study_system_attr, study_system_attrs

_ELSEWHERE = {"importances": "Hyperparameter Importance", "parallel-coordinates": "the page of selection"}
"""Plots that mmtuna once stored, and where the dashboard has its own."""


def plots(reading: Reading) -> dict[str, Figure]:
    """The plots by name, as plain plotly data; without a complete trial there is none."""
    if not reading.complete:
        return {}
    title = "History and the paper's best" if reading.metric == "mIoU" else "History, by how trials ended"
    return {"history": _titled(charts.history(reading), title)}


def _titled(figure: Figure, title: str) -> Figure:
    layout: Any = figure["layout"]
    text = {"text": title, "x": 0.01, "xanchor": "left", "y": 0.98, "yanchor": "top", "font": {"size": 15}}
    return {**figure, "layout": {**layout, "title": text, "margin": {"l": 60, "r": 40, "t": 90, "b": 50}}}


def save_plots(study: optuna.Study, found: dict[str, Figure]) -> int:
    """Stores plots that differ from what is stored; returns how many did.

    As `optuna_dashboard.save_plotly_graph_object` does, but each in one attribute and so in one transaction: a page
    that reads between two parts of a plot gets no JSON and breaks.
    """
    stored = study_system_attrs(study)
    # No storage can delete an attribute, and a plot that nobody brings up to date any more would show old figures.
    gone: dict[str, Figure] = {
        name: _titled({"data": [], "layout": {}}, f"{name}: see {place}")
        for name, place in _ELSEWHERE.items()
        if PLOT.format(name=name) in stored
    }
    saved = 0
    for name, figure in {**gone, **found}.items():
        text, key = _text(figure), PLOT.format(name=name)
        if stored.get(key) != text:
            set_study_system_attr(study, key, text)
            saved += 1
    return saved


def _text(figure: Figure) -> str:
    """JSON with as many digits as a screen can show."""
    rounded = json.loads(json.dumps(figure, allow_nan=False), parse_float=lambda text: float(f"{float(text):.6g}"))
    return json.dumps(rounded, separators=(",", ":"))
