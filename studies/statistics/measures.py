"""From the pixels that trainings counted image by image to what a metric's interval and tests are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmtuna.spaces.metrics import COUNTS, SENSITIVITY, SPECIFICITY
from mmtuna.studies.statistics.intervals import (
    Interval,
    Numbers,
    Statistic,
    bootstrap,
    by_group,
    jackknife,
    mean_features,
    ratio,
    share,
)

ImageCounts = Mapping[str, Sequence[int]]
"""Pixels per class of an image: `intersect` right, `predicted` as it, `labelled` as it in the truth."""

_RIGHT, _PREDICTED, _LABELLED = range(3)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A metric of some trainings, unit by unit: `features` (seeds, units, features), and the `statistic` of their sums.

    Units are images, or subjects where these are known. `counted`: a share of images that are 0 or 1 each.
    """

    features: Numbers
    statistic: Statistic
    counted: bool = False

    @property
    def by_seed(self) -> list[float]:
        """The metric of each training."""
        return [float(value) for value in self.statistic(self.features.sum(axis=1))]

    @property
    def values(self) -> Numbers:
        """What each unit makes of the metric, (seeds, units); NaN where it says nothing of it."""
        return jackknife(self.features, self.statistic)

    def interval(self) -> Interval | None:
        """The metric's 95 % interval, within 0 to 1; None where there are fewer than two units."""
        if self.counted:
            return share(self.features)
        found = bootstrap(self.features, self.statistic, within=(0.0, 1.0))
        return None if found is None else replace(found, low=max(0.0, found.low), high=min(1.0, found.high))


def counts_table(evaluations: Sequence[Mapping[str, ImageCounts]], images: Sequence[str]) -> Numbers:
    """Counts of several evaluations of the same images: (seeds, images, 3, classes), right, predicted, labelled."""
    return np.array([[[counts[name][kind] for kind in COUNTS] for name in images] for counts in evaluations], float)


def both_empty(table: Numbers) -> list[int]:
    """By training, the number of images where neither truth nor prediction holds foreground."""
    areas = table[..., [_PREDICTED, _LABELLED], 1:].sum(axis=(-2, -1))
    return [int(count) for count in (areas == 0).sum(axis=1)]


def measured(
    metric: str,
    table: Numbers,
    classes: Sequence[str],
    *,
    subjects: Sequence[str] | None = None,
    missing: float | None = None,
) -> Measured | None:
    """`metric` of the counts in `table`; None for one that counts alone do not give.

    Args:
        table: as `counts_table` makes it.
        subjects: that of each image; None where they are not known.
        missing: what an image counts where truth and prediction are both empty; None leaves it out.

    The formulas are those of mmtuna.objectives.evaluation.metrics, of many sums at once.
    """
    kind, _, rest = metric.partition(".")
    if metric in ("mIoU", "mDice") or (kind in ("IoU", "Dice") and rest in classes):
        places = range(table.shape[-1]) if not rest else [list(classes).index(rest)]
        features, statistic = _pooled(table[..., places], dice="Dice" in kind)
        return Measured(features=features if subjects is None else by_group(features, subjects), statistic=statistic)
    if metric.endswith("_per_subject"):
        if subjects is None:
            return None
        values = _areas(by_group(table, subjects), metric.removesuffix("_per_subject"), missing)
        return None if values is None else _mean(values)
    image_values = _detected(table, metric)
    if image_values is None:
        image_values = _areas(table, metric.removesuffix("_per_image"), missing)
    if image_values is None:
        return None
    return _mean(image_values, subjects)


def _mean(values: Numbers, subjects: Sequence[str] | None = None) -> Measured:
    """The mean of values, (seeds, units), of images by their subjects where these are given."""
    features, known = mean_features(values), values[~np.isnan(values)]
    return Measured(
        features=features if subjects is None else by_group(features, subjects),
        statistic=ratio,
        counted=bool(np.isin(known, (0, 1)).all()),
    )


def _pooled(table: Numbers, *, dice: bool) -> tuple[Numbers, Statistic]:
    """Features of a class's share, or of the mean of several: numerators, then denominators."""
    right, both = table[..., _RIGHT, :], table[..., _PREDICTED, :] + table[..., _LABELLED, :]
    features = np.concatenate([2 * right, both] if dice else [right, both - right], axis=-1)
    classes = right.shape[-1]
    there = table[..., _LABELLED, :].sum(axis=(0, 1)) > 0

    def statistic(sums: Numbers) -> Numbers:
        parts, wholes = sums[..., :classes], sums[..., classes:]
        shares = np.divide(parts, wholes, out=np.full(parts.shape, np.nan), where=wholes > 0)
        occurring = ~np.isnan(shares)
        count = occurring.sum(axis=-1)
        means = np.nansum(shares, axis=-1) / np.where(count, count, 1)
        # Without a class that the images have, the mean would be another metric: such a draw has none.
        return np.where(count.astype(bool) & occurring[..., there].all(axis=-1), means, np.nan)

    return features, statistic


def _areas(table: Numbers, name: str, missing: float | None) -> Numbers | None:
    """IoU or Dice of the foreground of each image or subject, (seeds, units)."""
    if name not in ("IoU", "Dice"):
        return None
    right, predicted, labelled = (table[..., kind, 1:].sum(axis=-1) for kind in (_RIGHT, _PREDICTED, _LABELLED))
    parts, wholes = (2 * right, predicted + labelled) if name == "Dice" else (right, predicted + labelled - right)
    empty = np.nan if missing is None else missing
    return np.asarray(np.divide(parts, wholes, out=np.full(parts.shape, empty), where=wholes > 0))


def _detected(table: Numbers, name: str) -> Numbers | None:
    """Whether the foreground of each image was found, or none where there is none, (seeds, images)."""
    predicted, labelled = (table[..., kind, 1:].sum(axis=-1) > 0 for kind in (_PREDICTED, _LABELLED))
    if name == SENSITIVITY:
        return np.where(labelled, predicted.astype(float), np.nan)
    if name == SPECIFICITY:
        return np.where(labelled, np.nan, (~predicted).astype(float))
    return None
