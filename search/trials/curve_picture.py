"""A learning curve as a small PNG, drawn with Pillow alone.

Every worker draws one for each trial. Matplotlib, tried in its place, costs each worker 36 MiB and its first picture a
second more, takes four times as long for every other, and keeps a list of fonts outside the study's folder.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 24, 44, 52
_INK, _MUTED, _GRID, _BLUE, _VERMILLION = "#1b1f24", "#57606a", "#e9edf0", "#0072B2", "#D55E00"
_TWICE = 2  # drawn at twice the size and made smaller: Pillow's lines are jagged
Points = list[tuple[float, float]]


def curve_png(curve: Sequence[Mapping[str, float]], metric: str, title: str) -> bytes:
    """The metric over percent of training, its best evaluation marked; also of a curve without a single figure."""
    points = [(point["step"], point[metric]) for point in curve if metric in point and math.isfinite(point[metric])]
    picture = Image.new("RGB", (_WIDTH * _TWICE, _HEIGHT * _TWICE), "white")
    draw = ImageDraw.Draw(picture)
    _text(draw, (_LEFT, 22), f"{title}: {metric} over training", _INK, 16, "lm")
    if points:
        ticks = _ticks(min(value for _, value in points), max(value for _, value in points))
        _frame(draw, ticks)
        _line(draw, points, ticks)
    else:
        _text(draw, (_WIDTH // 2, _HEIGHT // 2), f"no evaluation holds {metric}", _MUTED, 15, "mm")
    out = io.BytesIO()
    picture.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS).save(out, "PNG")
    return out.getvalue()


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers around the values, three to seven of them."""
    span = max(high - low, 0.01)
    power = 10.0 ** math.floor(math.log10(span))
    step = next(power * factor for factor in (0.2, 0.5, 1, 2) if span / (power * factor) <= 5)
    first, last = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
    return [step * index for index in range(first, last + 1)]


def _place(step: float, value: float, ticks: list[float]) -> tuple[float, float]:
    x = _LEFT + step / 100 * (_WIDTH - _LEFT - _RIGHT)
    y = _TOP + (ticks[-1] - value) / (ticks[-1] - ticks[0]) * (_HEIGHT - _TOP - _BOTTOM)
    return x * _TWICE, y * _TWICE


def _frame(draw: ImageDraw.ImageDraw, ticks: list[float]) -> None:
    digits = max(1, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    for tick in ticks:
        draw.line([_place(0, tick, ticks), _place(100, tick, ticks)], _GRID, _TWICE)
        _text(draw, (_LEFT - 8, round(_place(0, tick, ticks)[1] / _TWICE)), f"{tick:.{digits}f}", _MUTED, 13, "rm")
    for step in (0, 25, 50, 75, 100):
        x = round(_place(step, ticks[0], ticks)[0] / _TWICE)
        _text(draw, (x, _HEIGHT - _BOTTOM + 14), f"{step} %", _MUTED, 13, "mm")
    draw.line([_place(0, ticks[-1], ticks), _place(0, ticks[0], ticks), _place(100, ticks[0], ticks)], _MUTED, _TWICE)
    _text(draw, ((_LEFT + _WIDTH - _RIGHT) // 2, _HEIGHT - 14), "share of the training's iterations", _INK, 13, "mm")


def _line(draw: ImageDraw.ImageDraw, points: Points, ticks: list[float]) -> None:
    places = [_place(step, value, ticks) for step, value in points]
    draw.line(places, _BLUE, 2 * _TWICE, joint="curve")
    for x, y in places:
        draw.ellipse([x - 6, y - 6, x + 6, y + 6], fill=_BLUE)
    best = max(range(len(points)), key=lambda index: points[index][1])
    x, y = places[best]
    draw.ellipse([x - 10, y - 10, x + 10, y + 10], outline=_VERMILLION, width=3 * _TWICE)
    # Beside the plot's right end the label has room on its left only.
    anchor, shift = ("rs", -12) if points[best][0] > 70 else ("ls", 12)
    place = (round(x / _TWICE) + shift, max(round(y / _TWICE) - 10, _TOP - 2))
    _text(draw, place, f"best {points[best][1]:.4f}", _VERMILLION, 14, anchor)


def _text(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, colour: str, size: int, anchor: str) -> None:
    font = ImageFont.load_default(size * _TWICE)
    draw.text((at[0] * _TWICE, at[1] * _TWICE), text, colour, font, anchor=anchor)
