"""Charts of params: how much each matters, and the value over each; and Table 2 as dots.

Optuna computes what each matters. Drawn here because optuna.visualization computes importances within its plot, and the
sentence that stands for the chart needs them, too; and its slices lay equal values of a choice on top of each other,
show neither the best trial nor a median, and colour by trial number from white on, which paper loses.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import optuna
from optuna.trial import create_trial

from mmtuna.spaces.parameter import Categorical, Float, Int, Parameter
from mmtuna.studies.report.charts import BLUE, FONT, INK, VERMILLION, Figure, axis, evenly, layout, plot_text
from mmtuna.studies.report.facts import Reading, value_of
from mmtuna.studies.report.wording import value_text
from mmtuna.studies.results import TrialRow
from mmtuna.studies.table2 import Table2Line

FEWEST = 15
"""Complete trials below which importances would be noise."""
GOOD_TRIALS = 5
SLICE_POINTS = 400


def importances(reading: Reading) -> tuple[dict[str, float], int] | str:
    """Share of each parameter in reaching the best trials (PED-ANOVA), and over how many; or in words why none."""
    n = len(reading.complete)
    if n < FEWEST:
        return f"Importances need at least {FEWEST} complete trials; the study holds {n}."
    if len({value_of(row) for row in reading.complete}) == 1:
        return "All complete trials have the same value: no parameter can be told to matter."
    if not any(row.params for row in reading.complete):
        return "The trials hold no params."
    with warnings.catch_warnings():
        # A parameter that hardly any trial has is rated with a warning; the chart's note says that it is rough.
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=good_share(n))
        study = _in_memory(reading)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: share for name, share in found.items() if share == share}, len(study.get_trials(deepcopy=False))


def _in_memory(reading: Reading) -> optuna.Study:
    """The complete trials as a study of their own, for what Optuna only computes of a study."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study that it creates
    try:
        study = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    sampled = {trial.number: trial.distributions for trial in reading.trials}
    for row in reading.complete:
        ranges = {name: sampled[row.number][name] for name in row.params if name in sampled[row.number]}
        # Optuna refuses params outside of the range that they were sampled from, which only a damaged database holds.
        with suppress(TypeError, ValueError):
            params = {name: row.params[name] for name in ranges}
            study.add_trial(create_trial(value=row.value, params=params, distributions=ranges))
    return study


def good_share(n: int) -> float:
    """The share of trials that count as good: a tenth, and never fewer than five trials."""
    return max(0.1, GOOD_TRIALS / n)


def importance_chart(found: dict[str, float]) -> Figure:
    """Bars, the most important first."""
    names = list(reversed(found))
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": [found[name] for name in names],
        "y": [plot_text(name) for name in names],
        "text": [f"{100 * found[name]:.0f} %" for name in names],
        "textposition": "outside",
        "cliponaxis": False,
        "hoverinfo": "skip",
        "marker": {"color": BLUE},
    }
    top = max(found.values())
    x = axis("share of the importance", range=[0, top * 1.15 or 1], tickformat=".0%")
    return {"data": [bars], "layout": layout(x, axis("", type="category", ticks=""), bargap=0.35)}


def slice_rows(having: Sequence[TrialRow]) -> list[TrialRow]:
    """At most 400 of `having`, the best first: the best hundred and an even spread of the rest."""
    return [*having[:100], *evenly(having[100:], SLICE_POINTS - 100)]


def slice_chart(reading: Reading, parameter: Parameter, rows: Sequence[TrialRow]) -> Figure:
    """The value of complete trials over one parameter, the study's best as a star. Needs a row."""
    best = reading.best
    if isinstance(parameter, Categorical):
        x, place = _choices(parameter, rows)
    else:
        x, place = _numbers(parameter), {row.number: _plain(row.params[parameter.name]) for row in rows}
    others = [row for row in rows if row != best]
    traces = [_dots(parameter, others, place, {"color": BLUE, "size": 6, "opacity": 0.6})]
    if best is not None and best.number in place:
        look = {"color": VERMILLION, "size": 14, "symbol": "star", "line": {"color": "#fff", "width": 1}}
        traces.append(_dots(parameter, [best], place, look))
    if isinstance(parameter, Categorical):
        traces.append(_medians(parameter, rows))
    y = axis(plot_text(reading.metric), nticks=5)
    return {"data": traces, "layout": layout(x, y, showlegend=False, font={"family": FONT, "size": 12, "color": INK})}


def _plain(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)


def _numbers(parameter: Parameter) -> dict[str, Any]:
    assert isinstance(parameter, Float | Int)
    if not parameter.log:
        return axis(plot_text(parameter.name), nticks=6)
    # Plotly sets 2 and 5 smaller than the powers of ten between them, which reads badly at this size.
    decades = math.log10(parameter.high / parameter.low)
    steps = (1,) if decades > 2.2 else (1, 3) if decades > 1.3 else (1, 2, 5)
    powers = range(math.floor(math.log10(parameter.low)), math.ceil(math.log10(parameter.high)) + 1)
    every = 2 if decades > 6.5 else 1
    ticks = [step * 10.0**power for power in powers[::every] for step in steps]
    names = [f"{tick:g}".replace("e-0", "e-") for tick in ticks]
    margin = 0.04 * decades or 0.1
    span = [math.log10(parameter.low) - margin, math.log10(parameter.high) + margin]
    return axis(plot_text(parameter.name), type="log", tickvals=ticks, ticktext=names, range=span)


def _choices(parameter: Categorical, rows: Sequence[TrialRow]) -> tuple[dict[str, Any], dict[int, float]]:
    """The axis, and a place for each trial: beside its choice's, so that equal values do not hide each other."""
    names = [value_text(choice) for choice in parameter.choices]
    shift = {row.number: ((row.number * 0.618034) % 1 - 0.5) * 0.5 for row in rows}
    place = {row.number: _index(parameter, row) + shift[row.number] for row in rows}
    x = axis(
        plot_text(parameter.name),
        tickvals=list(range(len(names))),
        ticktext=[plot_text(name) for name in names],
        range=[-0.6, len(names) - 0.4],
        showgrid=False,
        # Left to itself plotly drops the labels that do not fit.
        ticklabeloverflow="allow",
        **({"tickangle": -40, "tickfont": {"size": 11}} if sum(map(len, names)) > 26 else {"tickangle": 0}),
    )
    return x, place


def _index(parameter: Categorical, row: TrialRow) -> int:
    value = row.params[parameter.name]
    same = [i for i, choice in enumerate(parameter.choices) if choice == value and type(choice) is type(value)]
    return same[0] if same else parameter.choices.index(value)


def _dots(parameter: Parameter, rows: Sequence[TrialRow], place: dict[int, float], marker: dict[str, Any]) -> Any:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [place[row.number] for row in rows],
        "y": [row.value for row in rows],
        "text": [
            plot_text(f"trial {row.number}: {value_of(row):.4f}, {value_text(row.params[parameter.name])}")
            for row in rows
        ],
        "hoverinfo": "text",
        "marker": marker,
        "cliponaxis": False,
    }


def _medians(parameter: Categorical, rows: Sequence[TrialRow]) -> dict[str, Any]:
    """A short line at the median of each choice."""
    x: list[float | None] = []
    y: list[float | None] = []
    for index in range(len(parameter.choices)):
        values = [value_of(row) for row in rows if _index(parameter, row) == index]
        if values:
            middle = statistics.median(values)
            x += [index - 0.32, index + 0.32, None]
            y += [middle, middle, None]
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "line": {"color": INK, "width": 2}, "hoverinfo": "y"}


def table2_chart(lines: Sequence[Table2Line]) -> Figure:
    """mIoU of the paper's rows: published as diamonds, ours as dots with their sd. Needs a complete row of ours."""
    labels = [f"row {line.number}" for line in reversed(lines)]
    ours = [line for line in reversed(lines) if line.miou is not None]
    spreads = [line.miou for line in ours if line.miou is not None]
    paper = {
        "type": "scatter",
        "mode": "markers",
        "name": "paper",
        "x": [line.published_miou for line in reversed(lines)],
        "y": labels,
        "marker": {"symbol": "diamond-open", "size": 11, "color": INK, "line": {"width": 1.8}},
        "hovertemplate": "paper, %{y}: %{x:.4f}<extra></extra>",
    }
    measured = {
        "type": "scatter",
        "mode": "markers",
        "name": "this study, mean and sd",
        "x": [spread.mean for spread in spreads],
        "y": [f"row {line.number}" for line in ours],
        "error_x": {"type": "data", "array": [spread.sd or 0 for spread in spreads], "color": BLUE, "thickness": 1.6},
        "marker": {"size": 10, "color": BLUE},
        "hovertemplate": "this study, %{y}: %{x:.4f}<extra></extra>",
    }
    y = axis("", type="category", categoryorder="array", categoryarray=labels, ticks="")
    return {"data": [paper, measured], "layout": layout(axis("mIoU"), y)}
