"""Charts of a study over its trials and over each training, as plain plotly data.

Drawn here because optuna.visualization says less on a page that is also printed: its history leaves out pruned,
diverged and failed trials and gives its best trial no mark; its intermediate values take one of ten colours for each
trial in turn, draw pruned trials like complete ones, and end a diverged one at a 0.0 that nobody measured.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from mmtuna.spaces.table2 import PUBLISHED_BEST
from mmtuna.studies.ledger import ending
from mmtuna.studies.report.facts import Reading, value_of
from mmtuna.studies.results import TrialRow

INK, MUTED, RULE = "#1b1f24", "#57606a", "#d8dee4"
# Of Okabe and Ito's palette: told apart with every common colour blindness. Marks differ in form as well.
BLUE, VERMILLION, PURPLE, ORANGE = "#0072B2", "#D55E00", "#CC79A7", "#E69F00"
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif'
CURVES = 100
BEST_CURVES = 20

Trace = dict[str, Any]
Figure = Mapping[str, object]
"""A plotly figure as plain data: `data` and `layout`."""
T = TypeVar("T")


def plot_text(text: object) -> str:
    """`text` for a chart's label: plotly reads a few tags and links in every string."""
    return html.escape(str(text))


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis in the report's look."""
    look = {"showline": True, "linecolor": MUTED, "gridcolor": "#e9edf0", "zeroline": False, "automargin": True}
    return {"title": {"text": title, "standoff": 10}, "ticks": "outside", "tickcolor": MUTED, **look, **more}


def layout(x: dict[str, Any], y: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A layout in the report's look; dragging is off, so that a finger scrolls the page."""
    return {
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "#fff",
        "plot_bgcolor": "#fff",
        "margin": {"l": 12, "r": 12, "t": 12, "b": 12},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12.5}},
        "hoverlabel": {"bgcolor": "#fff", "bordercolor": RULE, "font": {"color": INK}},
        "dragmode": False,
        "xaxis": x,
        "yaxis": y,
        **more,
    }


def evenly(items: Sequence[T], limit: int) -> list[T]:
    """At most `limit` of `items`, spread evenly, the first and the last among them."""
    if len(items) <= limit:
        return list(items)
    if limit < 2:
        return list(items[:limit])
    return [items[round(index * (len(items) - 1) / (limit - 1))] for index in range(limit)]


def _points(name: str, rows: Sequence[TrialRow], y: Sequence[float], says: Sequence[str], marker: Trace) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plot_text(name),
        "x": [row.number for row in rows],
        "y": list(y),
        "text": [plot_text(f"trial {row.number}: {text}") for row, text in zip(rows, says, strict=True)],
        "hoverinfo": "text",
        "marker": marker,
        "cliponaxis": False,
    }


def _best_so_far(reading: Reading) -> Trace:
    x: list[int] = []
    y: list[float] = []
    for row in reading.complete:
        if not y or value_of(row) > y[-1]:
            x.append(row.number)
            y.append(value_of(row))
    x.append(reading.rows[-1].number)
    y.append(y[-1])
    line = {"color": INK, "width": 2, "shape": "hv"}
    return {"type": "scatter", "mode": "lines", "name": "best so far", "x": x, "y": y, "line": line, "hoverinfo": "y"}


def paper_line(low: float) -> dict[str, Any]:
    """The paper's best mIoU as a labelled line, for charts whose smallest value is `low`."""
    best = PUBLISHED_BEST.miou
    label = {
        "x": 0,
        "xref": "paper",
        "y": best,
        "text": f"paper's best {best:.4f}",
        "showarrow": False,
        "xanchor": "left",
        "yanchor": "bottom" if low < best else "top",
        "bgcolor": "rgba(255,255,255,0.85)",
        "font": {"size": 12.5, "color": INK},
    }
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": best, "y1": best}
    return {"shapes": [{**line, "line": {"color": INK, "width": 1.5, "dash": "dash"}}], "annotations": [label]}


def history(reading: Reading) -> Figure:
    """Values by trial number, the best so far, the paper's best where the metric is mIoU. Needs a complete trial."""
    pruned = [row for row in reading.ended("pruned") if row.value is not None]
    values = [value_of(row) for row in [*reading.complete, *pruned]]
    published = [PUBLISHED_BEST.miou] if reading.metric == "mIoU" else []
    low, high = min(values + published), max(values + published)
    # Trials without a value stand on a line of their own below the rest: a measured 0 would squeeze everything else.
    edge = (high - low or 0.02) * 0.08
    floor = low - edge
    traces = [
        _points(
            "complete",
            reading.complete,
            [value_of(row) for row in reading.complete],
            [f"{value_of(row):.4f}" for row in reading.complete],
            {"color": BLUE, "size": 7 if len(reading.rows) <= 300 else 5, "opacity": 0.75},
        )
    ]
    if pruned:
        says = [f"pruned at {value_of(row):.4f}" for row in pruned]
        look = {"color": VERMILLION, "size": 8, "symbol": "x-thin", "line": {"color": VERMILLION, "width": 1.8}}
        traces.append(_points("pruned, at its last value", pruned, [value_of(row) for row in pruned], says, look))
    for how, colour, symbol in (("diverged", ORANGE, "triangle-down"), ("failed", PURPLE, "square")):
        rows = reading.ended(how)
        if rows:
            look = {"color": colour, "size": 8, "symbol": symbol, "line": {"color": INK, "width": 0.8}}
            says = [f"{how} ({row.cause or 'unknown'})" for row in rows]
            traces.append(_points(f"{how}, no value", rows, [floor] * len(rows), says, look))
    traces.append(_best_so_far(reading))
    lowest = floor - edge if reading.ended("diverged") or reading.ended("failed") else floor
    wide = reading.rows[-1].number + 1
    x = axis("trial", range=[-0.5 - 0.01 * wide, wide - 0.5 + 0.01 * wide])
    y = axis(plot_text(reading.metric), range=[lowest, high + edge])
    return {"data": traces, "layout": layout(x, y, **(paper_line(low) if published else {}))}


def drawable(reading: Reading) -> list[TrialRow]:
    """The ended trials with a curve."""
    return [row for row in reading.rows if row.finished and reading.curve(row)]


def chosen_curves(reading: Reading) -> list[TrialRow]:
    """At most a hundred trials with a curve: the best twenty, and an even spread over all others by number."""
    best = {row.number for row in reading.ranked[:BEST_CURVES]}
    having = drawable(reading)
    others = evenly([row for row in having if row.number not in best], CURVES - BEST_CURVES)
    kept = best | {row.number for row in others}
    return [row for row in having if row.number in kept]


def learning_curves(reading: Reading) -> Figure:
    """The metric over percent of training; pruned ones dashed, ending in a cross. Needs a curve."""
    rows = chosen_curves(reading)
    best = reading.best
    groups = {
        "complete": [row for row in rows if ending(row) == "complete" and row != best],
        "pruned": [row for row in rows if ending(row) == "pruned"],
        "diverged": [row for row in rows if ending(row) == "diverged"],
    }
    looks: dict[str, Trace] = {
        "complete": {"color": BLUE, "width": 1.2},
        "pruned": {"color": VERMILLION, "width": 1.3, "dash": "dash"},
        "diverged": {"color": ORANGE, "width": 1.3, "dash": "dot"},
    }
    symbols = {"complete": "circle", "pruned": "x-thin", "diverged": "triangle-down"}
    traces = [_curves(how, reading, group, looks[how], symbols[how]) for how, group in groups.items() if group]
    if best is not None and reading.curve(best):
        traces.append(_curves(f"best (trial {best.number})", reading, [best], {"color": INK, "width": 3}, "star"))
    x = axis(
        "share of the training's iterations", range=[0, 101.5], dtick=25, ticksuffix=" %", ticklabeloverflow="allow"
    )
    return {"data": traces, "layout": layout(x, axis(plot_text(reading.metric)))}


def _curves(name: str, reading: Reading, rows: Sequence[TrialRow], line: Trace, symbol: str) -> Trace:
    """All curves of one kind as one trace: a gap parts them, the last point of each carries the mark."""
    x: list[float | None] = []
    y: list[float | None] = []
    text: list[str] = []
    sizes: list[int] = []
    for row in rows:
        curve = reading.curve(row)
        for index, (step, value) in enumerate(curve):
            x.append(step)
            y.append(value)
            text.append(f"trial {row.number}: {value:.4f} at {step:g} %")
            sizes.append((8 if symbol != "circle" else 4) if index == len(curve) - 1 else 0)
        x.append(None)
        y.append(None)
        text.append("")
        sizes.append(0)
    faint = 0.9 if len(rows) < 30 else 0.55
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": plot_text(name),
        "x": x,
        "y": y,
        "text": text,
        "hoverinfo": "text",
        "line": line,
        "opacity": faint if name in ("complete", "pruned") else 1,
        "marker": {
            "size": sizes,
            "symbol": symbol,
            "color": line["color"],
            "opacity": 1,
            # A mark of size 0 would still show its outline.
            "line": {"color": line["color"], "width": [1.8 if size else 0 for size in sizes]},
        },
    }
