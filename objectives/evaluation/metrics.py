"""Counts once per image and class; every metric is a pure function of the counts.

Counts are exact integers, so figures are not rounded (MMSegmentation's own table is, to 0.01 %).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mmtuna.spaces.metrics import HD95, NSD, SENSITIVITY, SPECIFICITY


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Pixels per class: `intersect` right, `predicted` as it, `labelled` as it in the truth; ignored ones left out."""

    intersect: tuple[int, ...]
    predicted: tuple[int, ...]
    labelled: tuple[int, ...]

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            intersect=tuple(a + b for a, b in zip(self.intersect, other.intersect, strict=True)),
            predicted=tuple(a + b for a, b in zip(self.predicted, other.predicted, strict=True)),
            labelled=tuple(a + b for a, b in zip(self.labelled, other.labelled, strict=True)),
        )

    def plain(self) -> list[list[int]]:
        """As lists: intersect, predicted, labelled."""
        return [list(self.intersect), list(self.predicted), list(self.labelled)]

    @classmethod
    def of(cls, plain: Sequence[Sequence[int]]) -> Counts:
        """What `plain` gave."""
        intersect, predicted, labelled = (tuple(row) for row in plain)
        return cls(intersect=intersect, predicted=predicted, labelled=labelled)

    def unfound(self) -> tuple[int, ...]:
        """The classes that the truth has and of which not one pixel was predicted."""
        pairs = enumerate(zip(self.predicted, self.labelled, strict=True))
        return tuple(index for index, (predicted, labelled) in pairs if labelled and not predicted)


def total(counts: Iterable[Counts]) -> Counts:
    """The sum over images; ValueError where there is none."""
    images = list(counts)
    if not images:
        raise ValueError("no image was counted; evaluate at least one")
    summed = images[0]
    for image in images[1:]:
        summed = summed + image
    return summed


def iou(counts: Counts) -> list[float]:
    """Intersection over union per class, 0 to 1; NaN for a class neither predicted nor in the truth."""
    return [_share(i, p + t - i) for i, p, t in zip(counts.intersect, counts.predicted, counts.labelled, strict=True)]


def dice(counts: Counts) -> list[float]:
    """2 |A and B| / (|A| + |B|) per class, 0 to 1; NaN for a class neither predicted nor in the truth."""
    return [_share(2 * i, p + t) for i, p, t in zip(counts.intersect, counts.predicted, counts.labelled, strict=True)]


def accuracy(counts: Counts) -> float:
    """Share of counted pixels that are right, 0 to 1 (MMSegmentation's aAcc)."""
    return _share(sum(counts.intersect), sum(counts.labelled))


def mean(values: Sequence[float]) -> float:
    """Mean over the classes that occur, as MMSegmentation's nanmean; NaN where none does."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def metrics(counts: Counts, classes: Sequence[str]) -> dict[str, float]:
    """MMSegmentation's names as fractions: mIoU, mDice, aAcc, and IoU.CLASS, Dice.CLASS; NaN values are left out."""
    per_class_iou, per_class_dice = iou(counts), dice(counts)
    named = {"mIoU": mean(per_class_iou), "mDice": mean(per_class_dice), "aAcc": accuracy(counts)}
    named |= {f"IoU.{name}": value for name, value in zip(classes, per_class_iou, strict=True)}
    named |= {f"Dice.{name}": value for name, value in zip(classes, per_class_dice, strict=True)}
    return {name: value for name, value in named.items() if not math.isnan(value)}


@dataclass(frozen=True, kw_only=True)
class Measures:
    """How images are measured one at a time.

    Args:
        subjects: subject by image, names as the images have them in `per_image`; empty where not known.
        both_empty: what an image, or a subject, counts where neither truth nor prediction holds foreground: a
            fraction, or None to leave it out.
        tolerance: of the normalised surface Dice, in pixels; None measures no distances.
    """

    subjects: Mapping[str, str] = field(default_factory=dict)
    both_empty: float | None = None
    tolerance: float | None = None


PLAIN = Measures()
"""No subjects, no distances; what holds no foreground is left out."""


def foreground(counts: Counts) -> tuple[int, int, int]:
    """Pixels right, predicted and labelled of all classes but the background; a wrong one of these is not right."""
    return sum(counts.intersect[1:]), sum(counts.predicted[1:]), sum(counts.labelled[1:])


def left_out(images: Mapping[str, Counts]) -> int:
    """The number of images where neither truth nor prediction holds foreground."""
    return sum(not (predicted or labelled) for _, predicted, labelled in map(foreground, images.values()))


def per_image(
    images: Mapping[str, Counts],
    measures: Measures,
    distances: Mapping[str, tuple[float, float] | None] | None = None,
) -> dict[str, float]:
    """Means over images, and over the subjects that are known; what has no value is left out.

    Of the foreground: IoU and Dice per image; per subject, of its images' counts together; detection per image:
    sensitivity is the share of the images with foreground in which any pixel was predicted as such, specificity the
    share of those without in which none was. `distances` are those of `boundary_distances` by image.
    """
    by_subject: dict[str, list[Counts]] = {}
    for name, counts in images.items():
        if name in measures.subjects:
            by_subject.setdefault(measures.subjects[name], []).append(counts)
    sides = {"image": list(images.values()), "subject": [total(counts) for counts in by_subject.values()]}
    named = {}
    for side, counted in sides.items():
        areas = [foreground(counts) for counts in counted]
        named[f"IoU_per_{side}"] = _mean([_share(i, p + t - i) for i, p, t in areas], measures.both_empty)
        named[f"Dice_per_{side}"] = _mean([_share(2 * i, p + t) for i, p, t in areas], measures.both_empty)
    seen = [(labelled > 0, predicted > 0) for _, predicted, labelled in map(foreground, images.values())]
    named[SENSITIVITY] = _mean([float(found) for there, found in seen if there])
    named[SPECIFICITY] = _mean([float(not found) for there, found in seen if not there])
    if distances:
        # Where both are empty the outlines agree: NSD takes what Dice does, and no distance can be told.
        pairs = [pair or (math.nan, math.nan) for pair in distances.values()]
        named[NSD] = _mean([nsd for nsd, _ in pairs], measures.both_empty)
        named[HD95] = _mean([hd95 for _, hd95 in pairs])
    return {name: value for name, value in named.items() if not math.isnan(value)}


def paired(images: Iterable[Counts]) -> list[float]:
    """By image the IoU of its foreground, for tests between trials; 1 where neither truth nor prediction holds any.

    An image without foreground says something of a config, too: whether it finds some there.
    """
    values = (_share(i, p + t - i) for i, p, t in map(foreground, images))
    return [1.0 if math.isnan(value) else round(value, 4) for value in values]


def _mean(values: Sequence[float], missing: float | None = None) -> float:
    """Mean of the values, NaN ones as `missing` or left out."""
    return mean(values if missing is None else [missing if math.isnan(value) else value for value in values])


def per_image_foreground_iou(images: Mapping[str, Counts]) -> float:
    """Table 1's formula: IoU of class 1 per image, 0 where neither truth nor prediction holds it, averaged."""
    values = [iou(counts)[1] for counts in images.values()]
    return sum(0.0 if math.isnan(value) else value for value in values) / len(values)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
