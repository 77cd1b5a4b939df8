"""The regret of simulated studies over what they had cost by then, as a PNG drawn with Pillow alone."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw

from mmtuna.search.simulation.figures import Line
from mmtuna.search.trials.curve_picture import GRID, INK, MUTED, TWICE, draw_text, ticks_around

_WIDTH, _PLOT, _KEY = 820, 400, 20
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 24, 46, 54
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
"""Okabe and Ito's (2008); lines that would have the same are dashed in turn."""


def regret_png(lines: Sequence[Line], metric: str, title: str) -> bytes:
    """Median regret of each setting's studies over their iterations, and thinner 95 % of it."""
    height = _PLOT + _KEY * len(lines) + 10
    picture = Image.new("RGB", (_WIDTH * TWICE, height * TWICE), "white")
    draw = ImageDraw.Draw(picture)
    draw_text(draw, (_LEFT, 22), title, INK, 16, "lm")
    end = max(at for line in lines for at, _, _ in line.regrets)
    # A study begins with no score at all, which would leave no room for what happens near the best.
    settled = [point[2] for line in lines for point in line.regrets if point[0] >= end / 4]
    highest = max(*settled, 0.01)
    ticks = ticks_around(0.0, highest)
    _frame(draw, ticks, end, metric)
    for place, line in enumerate(lines):
        colour, dashed = _COLOURS[place % len(_COLOURS)], place >= len(_COLOURS)
        for column, width in ((1, 3), (2, 1)):
            points = [_place(point[0] / end, min(point[column], ticks[-1]), ticks) for point in line.regrets]
            _line(draw, points, colour, width * TWICE, dashed)
        y = _PLOT + _KEY * place
        _line(draw, [(_LEFT * TWICE, y * TWICE), ((_LEFT + 34) * TWICE, y * TWICE)], colour, 3 * TWICE, dashed)
        said = f"{line.setting}: regret {line.regret:.4f}, 95 % {line.regret_95:.4f}"
        draw_text(draw, (_LEFT + 44, y), said, INK, 13, "lm")
    out = io.BytesIO()
    picture.resize((_WIDTH, height), Image.Resampling.LANCZOS).save(out, "PNG")
    return out.getvalue()


def _place(share: float, value: float, ticks: Sequence[float]) -> tuple[float, float]:
    x = _LEFT + share * (_WIDTH - _LEFT - _RIGHT)
    y = _TOP + (ticks[-1] - value) / (ticks[-1] - ticks[0]) * (_PLOT - 20 - _TOP - _BOTTOM)
    return x * TWICE, y * TWICE


def _frame(draw: ImageDraw.ImageDraw, ticks: Sequence[float], end: float, metric: str) -> None:
    for tick in ticks:
        draw.line([_place(0, tick, ticks), _place(1, tick, ticks)], GRID, TWICE)
        draw_text(draw, (_LEFT - 8, round(_place(0, tick, ticks)[1] / TWICE)), f"{tick:.3f}", MUTED, 13, "rm")
    bottom = round(_place(0, ticks[0], ticks)[1] / TWICE)
    for tick in ticks_around(0, end):
        if tick <= end:
            x = round(_place(tick / end, ticks[0], ticks)[0] / TWICE)
            draw_text(draw, (x, bottom + 14), f"{tick:,.0f}", MUTED, 13, "mm")
    draw.line([_place(0, ticks[-1], ticks), _place(0, ticks[0], ticks), _place(1, ticks[0], ticks)], MUTED, TWICE)
    says = f"iterations of the study (below the best {metric} there is: median, thin 95 %)"
    draw_text(draw, ((_LEFT + _WIDTH - _RIGHT) // 2, bottom + 34), says, INK, 13, "mm")


def _line(
    draw: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], colour: str, width: int, dashed: bool
) -> None:
    if not dashed:
        draw.line(list(points), colour, width, joint="curve")
        return
    for one, other in zip(points[::2], points[1::2], strict=False):
        draw.line([one, other], colour, width)
