"""Whether masks were smoothed: resized by interpolation, antialiased, or compressed with loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtuna.objectives.data.reading import pixel_codes

FEWEST = 5
"""Two values that were drawn and three between them: fewer are no sign of anything."""
_NUMBERS = 16
"""Values that all lie below are numbers of classes, wherever they lie."""
_FEW, _SHARE = 8, 0.2
"""So few values between others must hold less than this share of the pixels, as thin classes of a kind might not."""


def look_smoothed(masks: Iterable[bytes], *, in_colour: bool = False) -> bool:
    """Whether at least three values, and half of all, are soft: at most of their pixels no area of theirs lies.

    There both a lower and a higher value touch the pixel, as on a slope from one class to the next, or none of the
    eight pixels around it is its like, as in noise. Classes in areas, and lines of a pixel's width, are neither.
    `in_colour` reads grey masks and palettes by their colours too.
    """
    held, soft = Counter[int](), Counter[int]()
    for data in masks:
        codes, has_colours = pixel_codes(data, in_colour=in_colour)
        codes = codes.astype(np.int32)
        held.update(_counted(codes))
        soft.update(_counted(codes[_is_soft(codes, has_colours)]))
    values = [value for value, count in held.items() if soft[value] >= count / 2]
    if len(held) < FEWEST or max(held) < _NUMBERS or len(values) < max(3, len(held) / 2):
        return False
    return len(values) > _FEW or sum(held[value] for value in values) < _SHARE * held.total()


def _counted(codes: NDArray[Any]) -> dict[int, int]:
    found, counts = np.unique(codes, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _is_soft(codes: NDArray[np.int32], in_colour: bool) -> NDArray[np.bool_]:
    alone: NDArray[np.bool_] = np.ones(codes.shape, bool)
    for near in _around(codes, -1):
        alone &= near != codes
    slope: NDArray[np.bool_] = np.zeros(codes.shape, bool)
    for shift in (16, 8, 0) if in_colour else (0,):
        band = codes >> shift & 255
        lowest, highest = band, band
        for near in _around(band, None):
            lowest, highest = np.minimum(lowest, near), np.maximum(highest, near)
        slope |= (lowest < band) & (band < highest)
    return alone | slope


def _around(pixels: NDArray[np.int32], beyond: int | None) -> list[NDArray[np.int32]]:
    """The eight neighbours of every pixel, with `beyond` outside; None repeats the edge there."""
    wide = np.pad(pixels, 1, mode="edge") if beyond is None else np.pad(pixels, 1, constant_values=beyond)
    height, width = pixels.shape
    places = [(down, across) for down in range(3) for across in range(3) if (down, across) != (1, 1)]
    return [wide[down : down + height, across : across + width] for down, across in places]
