"""Pictures of predictions: scan, truth, errors. Readable without telling red from green, and in grey print.

Colours are Okabe and Ito's (2008). Each kind of pixel differs by texture as well: missed is hatched, false is dotted,
right has an outline only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mmtuna.spaces.metrics import COUNTS

Classes = NDArray[np.integer[Any]]
"""Class indices, height x width; 0 is the background."""
Grid = NDArray[np.bool_]

MISSED, FALSE, RIGHT, CONFUSED = (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167)
TRUTH = (255, 255, 255)
LEGEND = (
    ("missed", MISSED, "hatched"),
    ("false", FALSE, "dotted"),
    ("right", RIGHT, "outlined"),
    ("other class", CONFUSED, "crossed"),
)
_LEAST_SIDE = 384
"""Pixels; smaller scans are enlarged by whole factors, or outlines would hide what they surround."""
_GLANCE = 320
"""Pixels: longest side of a scan that is only to be looked over."""
_CAPTION, _GAP, _FONT_SIZE = 24, 6, 14
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


def overlay(scan: NDArray[np.uint8], truth: Classes, prediction: Classes, *, ignore_index: int = 255) -> Image.Image:
    """The scan in grey with what the prediction got right and wrong, enlarged by a whole factor where it is small.

    Args:
        scan: height x width, or x 3 (RGB), 0 to 255.
        truth, prediction: class indices of the same height and width.
        ignore_index: truth value that counts nowhere; darkened.

    Missed foreground is hatched blue, false foreground dotted vermillion, another class than the truth crossed purple;
    right foreground keeps its grey inside a green outline. The truth's contour is white. ValueError for other sizes.
    """
    scan, truth, prediction = _same_size(scan, truth, prediction)
    picture = np.repeat(_grey(scan)[..., None], 3, axis=2).astype(np.float32)
    ignored = truth == ignore_index
    picture[ignored] *= 0.4
    truth, prediction = np.where(ignored, 0, truth), np.where(ignored, 0, prediction)
    missed, false = (truth > 0) & (prediction == 0), (truth == 0) & (prediction > 0)
    confused = (truth > 0) & (prediction > 0) & (truth != prediction)
    right = (truth > 0) & (prediction == truth)
    rows, columns = np.indices(truth.shape)
    hatch = (rows + columns) % 8 < 3
    dots = (((rows % 6) - 2) ** 2 + ((columns % 6) - 2) ** 2) <= 3
    cross = ((rows + columns) % 8 < 2) | ((rows - columns) % 8 < 2)
    for where, texture, colour in ((missed, hatch, MISSED), (false, dots, FALSE), (confused, cross, CONFUSED)):
        # A tint under the texture, and its colour on the border: small errors must not fall between the dots.
        picture[where] = 0.55 * picture[where] + 0.45 * np.asarray(colour, np.float32)
        picture[where & (texture | _border(where))] = colour
    picture[_border(right, 2)] = RIGHT
    picture[_contour(truth)] = TRUTH
    return Image.fromarray(picture.astype(np.uint8))


def plain(scan: NDArray[np.uint8]) -> Image.Image:
    """The scan in grey, enlarged as `overlay` enlarges it."""
    scan, _, _ = _same_size(scan, np.zeros(scan.shape[:2], np.uint8), np.zeros(scan.shape[:2], np.uint8))
    return Image.fromarray(_grey(scan)).convert("RGB")


def outlined(
    scan: NDArray[np.uint8], mask: Classes, palette: Sequence[Sequence[int]] = (), *, ignore_index: int = 255
) -> Image.Image:
    """The scan in grey with each class of `mask` tinted in its colour of `palette` (RGB) and outlined in it."""
    scan, mask, _ = _same_size(scan, mask, mask)
    picture = np.repeat(_grey(scan)[..., None], 3, axis=2).astype(np.float32)
    for value in np.unique(mask[(mask > 0) & (mask != ignore_index)]):
        colour = np.asarray(palette[int(value)] if int(value) < len(palette) else (230, 159, 0), np.float32)
        where = mask == value
        picture[where] = 0.6 * picture[where] + 0.4 * colour
        picture[_border(where, 2)] = colour
    return Image.fromarray(picture.astype(np.uint8))


def side_by_side(
    scan: NDArray[np.uint8],
    truth: Classes,
    prediction: Classes,
    *,
    title: str = "",
    palette: Sequence[Sequence[int]] = (),
    ignore_index: int = 255,
) -> Image.Image:
    """Scan, truth, prediction and errors in one row, captioned, with a legend of the errors below."""
    panels = [
        ("scan", plain(scan)),
        ("truth", outlined(scan, truth, palette, ignore_index=ignore_index)),
        ("prediction", outlined(scan, prediction, palette)),
        ("errors", overlay(scan, truth, prediction, ignore_index=ignore_index)),
    ]
    return _with_legend(_row(panels, title), _highest(truth, ignore_index))


def compare(
    rows: Sequence[tuple[str, NDArray[np.uint8], Classes, Mapping[str, Classes]]],
    *,
    palette: Sequence[Sequence[int]] = (),
    ignore_index: int = 255,
) -> Image.Image:
    """Figure 6 of the paper: a row an image, with scan, the prediction of each model with its errors, and the truth.

    Args:
        rows: (name of the image, scan, truth, prediction by caption such as "untuned" and "tuned"), one at least.
    """
    if not rows:
        raise ValueError("no image to compare; give one at least")
    pictures = []
    for name, scan, truth, predictions in rows:
        panels = [("scan", plain(scan))]
        panels += [(cap, overlay(scan, truth, m, ignore_index=ignore_index)) for cap, m in predictions.items()]
        panels.append(("truth", outlined(scan, truth, palette, ignore_index=ignore_index)))
        pictures.append(_row(panels, name))
    return _with_legend(_column(pictures), max(_highest(truth, ignore_index) for _, _, truth, _ in rows))


def beside(rows: Sequence[tuple[str, Mapping[str, NDArray[np.uint8]]]]) -> Image.Image:
    """Scans beside each other, a titled row each, small enough to be looked over; ValueError where there is no row.

    Args:
        rows: (title, scan by caption), one at least.
    """
    if not rows:
        raise ValueError("no image to show; give one row at least")
    pictures = []
    for title, scans in rows:
        panels = [(caption, Image.fromarray(_grey(scan)).convert("RGB")) for caption, scan in scans.items()]
        for _, panel in panels:
            panel.thumbnail((_GLANCE, _GLANCE))
        pictures.append(_row(panels, title))
    return _column(pictures)


def choose_images(evaluation: Mapping[str, Any], classes: Sequence[str], limit: int = 6) -> list[str]:
    """Names of a fixed few validation images, from the worst to the best, then those without any foreground.

    Args:
        evaluation: a trial's evaluation.json: `images` maps a name to pixel counts per class.
        classes: names of the classes, the background first.
        limit: most names to return, 1 at least.

    Of images with foreground, ranked by its IoU: worst, median, best and others between. Of those without, ranked by
    pixels falsely found, the same, in a third of the places where images with foreground fill the rest. The same
    counts give the same names.
    """
    foreground = range(1, len(classes))
    shown: list[tuple[float, str]] = []
    empty: list[tuple[float, str]] = []
    for name, counts in evaluation["images"].items():
        right, predicted, labelled = (sum(counts[key][index] for index in foreground) for key in COUNTS)
        if labelled:
            shown.append((right / (predicted + labelled - right), name))
        else:
            empty.append((-predicted, name))
    places = min(len(empty), max(limit - len(shown), limit // 3))
    return [*_spread(sorted(shown), limit - places), *_spread(sorted(empty), places)]


def _spread(ranked: list[tuple[float, str]], places: int) -> list[str]:
    """`places` names along the ranking: both ends, from three on the median, and others at about even distances."""
    if places <= 0 or not ranked:
        return []
    if places >= len(ranked):
        return [name for _, name in ranked]
    last = len(ranked) - 1
    at = [round(index * last / max(places - 1, 1)) for index in range(places)]
    if places > 2 and last // 2 not in at:  # an even number of places passes the median by
        at[places // 2] = last // 2
    return [ranked[index][1] for index in sorted(at)]


def _same_size(
    scan: NDArray[np.uint8], truth: Classes, prediction: Classes
) -> tuple[NDArray[np.uint8], Classes, Classes]:
    if not scan.shape[:2] == truth.shape == prediction.shape:
        raise ValueError(f"scan {scan.shape[:2]}, truth {truth.shape} and prediction {prediction.shape} differ in size")
    factor = max(1, math.ceil(_LEAST_SIDE / max(scan.shape[:2])))

    def enlarge(array: NDArray[Any]) -> NDArray[Any]:
        return array.repeat(factor, axis=0).repeat(factor, axis=1)

    return enlarge(scan), enlarge(truth), enlarge(prediction)


def _grey(scan: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return scan if scan.ndim == 2 else np.asarray(Image.fromarray(scan).convert("L"))


def _border(where: Grid, width: int = 1) -> Grid:
    """The outermost `width` pixels inside `where`; the picture's own edge is none."""
    inner = where
    for _ in range(width):
        padded = np.pad(inner, 1, mode="edge")
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return where & ~inner


def _contour(truth: Classes) -> Grid:
    """The pixels just outside each class's areas."""
    found = np.zeros(truth.shape, np.bool_)
    for value in np.unique(truth[truth > 0]):
        found |= _border(truth != value)
    return found


def _font() -> Any:
    return ImageFont.load_default(size=_FONT_SIZE)


def _row(panels: Sequence[tuple[str, Image.Image]], title: str) -> Image.Image:
    top = _CAPTION * (2 if title else 1)
    width = sum(panel.width for _, panel in panels) + _GAP * (len(panels) + 1)
    picture = Image.new("RGB", (width, max(panel.height for _, panel in panels) + top + _GAP), _PAPER)
    draw, left = ImageDraw.Draw(picture), _GAP
    if title:
        draw.text((_GAP, 4), title, fill=_INK, font=_font())
    for caption, panel in panels:
        draw.text((left, top - _CAPTION + 4), caption, fill=_INK, font=_font())
        picture.paste(panel, (left, top))
        left += panel.width + _GAP
    return picture


def _column(pictures: Sequence[Image.Image]) -> Image.Image:
    size = max(picture.width for picture in pictures), sum(picture.height for picture in pictures)
    column, top = Image.new("RGB", size, _PAPER), 0
    for picture in pictures:
        column.paste(picture, (0, top))
        top += picture.height
    return column


def _highest(truth: Classes, ignore_index: int) -> int:
    return int(np.where(truth == ignore_index, 0, truth).max())


def _with_legend(picture: Image.Image, highest_class: int) -> Image.Image:
    entries = LEGEND if highest_class > 1 else LEGEND[:3]  # with one foreground class none is confused with another
    whole = Image.new("RGB", (picture.width, picture.height + _CAPTION), _PAPER)
    whole.paste(picture, (0, 0))
    draw, left, top = ImageDraw.Draw(whole), _GAP, picture.height + 4
    for name, colour, texture in entries:
        fill = None if texture == "outlined" else colour
        draw.rectangle((left, top + 1, left + 13, top + 14), fill=fill, outline=colour, width=2)
        text = f"{name} ({texture})"
        draw.text((left + 20, top), text, fill=_INK, font=_font())
        left += 20 + int(draw.textlength(text, font=_font())) + 18
    draw.text((left, top), "white line: truth", fill=_INK, font=_font())
    return whole
