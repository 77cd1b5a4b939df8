"""The plots of a study that the dashboard keeps with it: history, importances, parallel coordinates."""

from __future__ import annotations

import json
import math
from typing import Any

import optuna

from mmtuna.spaces.parameter import Categorical, Float, Int, Parameter
from mmtuna.studies.report import charts, param_charts
from mmtuna.studies.report.facts import Reading, value_of
from mmtuna.studies.report.markup import Figure, plot_text, value_text
from mmtuna.studies.report.style import INK, MUTED
from mmtuna.studies.results import TrialRow

AXES = ("decoder", "crop", "loss", "optimizer")
"""What people ask about first; parameters of other names stand in where a space lacks some of these."""
TRIALS = 500
"""Trials that a plot draws at most: a plot is stored in the study and read by whoever looks at it."""

# Crameri's batlow (2018) without its palest end, the best trials darkest: even in lightness, told apart with every
# common colour blindness.
_SCALE = ("#d29343", "#9d892b", "#687b3e", "#3c6d56", "#1c5a62", "#103f60", "#011959")
_DIGITS = 6
_PLOT = "dashboard:plot_data:"


def plots(reading: Reading) -> dict[str, Figure]:
    """The plots by name, as plain plotly data; one that has too few trials to show anything is left out."""
    found: dict[str, Figure] = {}
    if reading.complete:
        found["history"] = _titled(charts.history(reading), "History and the paper's best")
    shares = param_charts.importances(reading)
    if not isinstance(shares, str) and shares:
        found["importances"] = _titled(param_charts.importance_chart(shares), "Importances (PED-ANOVA)", left=120)
    axes = chosen_axes(reading)
    if axes and len(reading.complete) > 1:
        names = ", ".join(parameter.name for parameter in axes)
        found["parallel-coordinates"] = _titled(
            parallel_coordinates(reading, axes), f"Parallel coordinates: {names}", left=90, top=110
        )
    return found


def chosen_axes(reading: Reading) -> list[Parameter]:
    """Parameters that the parallel coordinates show, up to as many as AXES: those first, then the others in order."""
    wanted = [parameter for name in AXES for parameter in reading.space if parameter.name == name]
    others = [parameter for parameter in reading.space if parameter not in wanted]
    return (wanted + others)[: len(AXES)]


def parallel_coordinates(reading: Reading, axes: list[Parameter]) -> Figure:
    """One line a complete trial, through its params to its value; the axes can be brushed."""
    rows = sorted(charts.evenly(reading.ranked, TRIALS), key=value_of)
    values = [value_of(row) for row in rows]
    dimensions = [_dimension(parameter, rows) for parameter in axes]
    dimensions.append({"label": plot_text(reading.metric), "values": values, "tickformat": ".3f"})
    trace = {
        "type": "parcoords",
        "dimensions": dimensions,
        "line": {
            "color": values,
            "colorscale": [[index / (len(_SCALE) - 1), colour] for index, colour in enumerate(_SCALE)],
            "showscale": False,
        },
        "labelfont": {"size": 13, "color": INK},
        "tickfont": {"size": 12, "color": INK},
        "rangefont": {"size": 1, "color": "rgba(0,0,0,0)"},
        "unselected": {"line": {"color": MUTED, "opacity": 0.15}},
    }
    return {"data": [trace], "layout": {"font": {"family": charts.FONT, "size": 13, "color": INK}}}


def _dimension(parameter: Parameter, rows: list[TrialRow]) -> dict[str, Any]:
    label = plot_text(parameter.name)
    having = [row.params.get(parameter.name) for row in rows]
    if isinstance(parameter, Categorical):
        names = [value_text(choice) for choice in parameter.choices]
        places = [names.index(value_text(value)) if value is not None else -1 for value in having]
    else:
        return _number_dimension(parameter, having, label)
    if -1 in places:
        places, names = [place + 1 for place in places], ["(none)", *names]
    ticks = list(range(len(names)))
    # Lines of equal params would hide each other: each stands a little off its choice.
    spread = [place + ((row.number * 0.618034) % 1 - 0.5) * 0.3 for place, row in zip(places, rows, strict=True)]
    texts = [plot_text(name) for name in names]
    return {
        "label": label,
        "values": spread,
        "tickvals": ticks,
        "ticktext": texts,
        "range": [-0.4, len(names) - 0.6],
    }


def _number_dimension(parameter: Parameter, having: list[Any], label: str) -> dict[str, Any]:
    assert isinstance(parameter, Int | Float)
    scale = math.log10 if parameter.log else float
    low, high = scale(parameter.low), scale(parameter.high)
    # A trial without the parameter runs below its range, where the axis says so.
    off = low - 0.15 * (high - low or 1.0)
    places = [off if value is None else scale(value) for value in having]
    ticks = [low + (high - low) * share for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    texts = [value_text(float(10**tick if parameter.log else tick), 3) for tick in ticks]
    if off in places:
        ticks, texts = [off, *ticks], ["(none)", *texts]
    return {"label": label, "values": places, "tickvals": ticks, "ticktext": texts, "range": [min(ticks), max(ticks)]}


def _titled(figure: Figure, title: str, left: int = 60, top: int = 90) -> Figure:
    layout: Any = figure["layout"]
    text = {"text": title, "x": 0.01, "xanchor": "left", "y": 0.98, "yanchor": "top", "font": {"size": 15}}
    return {**figure, "layout": {**layout, "title": text, "margin": {"l": left, "r": 40, "t": top, "b": 50}}}


def save_plots(study: optuna.Study, found: dict[str, Figure]) -> int:
    """Stores plots that differ from what is stored; returns how many did.

    As `optuna_dashboard.save_plotly_graph_object` does, but each in one attribute and so in one transaction: a page
    that reads between two parts of a plot gets no JSON and breaks.
    """
    storage, study_id = study._storage, study._study_id
    stored = storage.get_study_system_attrs(study_id)
    saved = 0
    for name, figure in found.items():
        text, key = json.dumps(_rounded(figure), separators=(",", ":"), allow_nan=False), f"{_PLOT}{name}:0"
        if stored.get(key) != text:
            storage.set_study_system_attr(study_id, key, text)
            saved += 1
    return saved


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return value
