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
INK, MUTED, GRID, _BLUE, _VERMILLION = "#1b1f24", "#57606a", "#e9edf0", "#0072B2", "#D55E00"
TWICE = 2  # drawn at twice the size and made smaller: Pillow's lines are jagged
Points = list[tuple[float, float]]


def curve_png(curve: Sequence[Mapping[str, float]], metric: str, title: str) -> bytes:
    """The metric over percent of training, its best evaluation marked; also of a curve without a single figure."""
    points = [(point["step"], point[metric]) for point in curve if metric in point and math.isfinite(point[metric])]
    picture = Image.new("RGB", (_WIDTH * TWICE, _HEIGHT * TWICE), "white")
    draw = ImageDraw.Draw(picture)
    draw_text(draw, (_LEFT, 22), f"{title}: {metric} over training", INK, 16, "lm")
    if points:
        ticks = ticks_around(min(value for _, value in points), max(value for _, value in points))
        _frame(draw, ticks)
        _line(draw, points, ticks)
    else:
        draw_text(draw, (_WIDTH // 2, _HEIGHT // 2), f"no evaluation holds {metric}", MUTED, 15, "mm")
    out = io.BytesIO()
    picture.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS).save(out, "PNG")
    return out.getvalue()


def ticks_around(low: float, high: float) -> list[float]:
    """Round numbers around the values, three to seven of them."""
    span = max(high - low, 0.01)
    power = 10.0 ** math.floor(math.log10(span))
    step = next(power * factor for factor in (0.2, 0.5, 1, 2) if span / (power * factor) <= 5)
    first, last = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
    return [step * index for index in range(first, last + 1)]


def _place(step: float, value: float, ticks: list[float]) -> tuple[float, float]:
    x = _LEFT + step / 100 * (_WIDTH - _LEFT - _RIGHT)
    y = _TOP + (ticks[-1] - value) / (ticks[-1] - ticks[0]) * (_HEIGHT - _TOP - _BOTTOM)
    return x * TWICE, y * TWICE


def _frame(draw: ImageDraw.ImageDraw, ticks: list[float]) -> None:
    digits = max(1, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    for tick in ticks:
        draw.line([_place(0, tick, ticks), _place(100, tick, ticks)], GRID, TWICE)
        draw_text(draw, (_LEFT - 8, round(_place(0, tick, ticks)[1] / TWICE)), f"{tick:.{digits}f}", MUTED, 13, "rm")
    for step in (0, 25, 50, 75, 100):
        x = round(_place(step, ticks[0], ticks)[0] / TWICE)
        draw_text(draw, (x, _HEIGHT - _BOTTOM + 14), f"{step} %", MUTED, 13, "mm")
    draw.line([_place(0, ticks[-1], ticks), _place(0, ticks[0], ticks), _place(100, ticks[0], ticks)], MUTED, TWICE)
    draw_text(draw, ((_LEFT + _WIDTH - _RIGHT) // 2, _HEIGHT - 14), "share of the training's iterations", INK, 13, "mm")


def _line(draw: ImageDraw.ImageDraw, points: Points, ticks: list[float]) -> None:
    places = [_place(step, value, ticks) for step, value in points]
    draw.line(places, _BLUE, 2 * TWICE, joint="curve")
    for x, y in places:
        draw.ellipse([x - 6, y - 6, x + 6, y + 6], fill=_BLUE)
    best = max(range(len(points)), key=lambda index: points[index][1])
    x, y = places[best]
    draw.ellipse([x - 10, y - 10, x + 10, y + 10], outline=_VERMILLION, width=3 * TWICE)
    # Beside the plot's right end the label has room on its left only.
    anchor, shift = ("rs", -12) if points[best][0] > 70 else ("ls", 12)
    place = (round(x / TWICE) + shift, max(round(y / TWICE) - 10, _TOP - 2))
    draw_text(draw, place, f"best {points[best][1]:.4f}", _VERMILLION, 14, anchor)


def draw_text(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, colour: str, size: int, anchor: str) -> None:
    """Text of `size` at a place of the picture as it will be, after it is made smaller."""
    font = ImageFont.load_default(size * TWICE)
    draw.text((at[0] * TWICE, at[1] * TWICE), text, colour, font, anchor=anchor)
