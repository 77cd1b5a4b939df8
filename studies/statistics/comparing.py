"""Configs on the same images: better, tied or worse, or not testable; and the ranks that this leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Any

import numpy as np

from mmtuna.studies.statistics.seeds import NoiseFloor

ALPHA = 0.05


class Verdict(StrEnum):
    """What is known of one config beside another."""

    BETTER = "better"
    TIED = "tied"
    WORSE = "worse"
    NOT_TESTABLE = "not testable"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One config beside another: the mean difference over `units` images or subjects, and how probable it is by chance.

    `by_units` is Wilcoxon's p, corrected for the comparisons made together; `by_seeds` that of the t test against
    seeds and images together, likewise; None where the noise floor is not known.
    """

    difference: float
    units: int
    by_units: float
    by_seeds: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Place:
    """A rank, `first` to `last` of all, shared by those that are tied; `verdict` is beside the highest of all."""

    first: int
    last: int
    verdict: Verdict


def holm(probabilities: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p values such that the chance of one false positive among all is held."""
    order = sorted(range(len(probabilities)), key=lambda place: probabilities[place])
    adjusted, highest = [0.0] * len(order), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * probabilities[place]))
        adjusted[place] = highest
    return adjusted


def signed_rank(differences: Any) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; 1 where all differences are 0 or there are none.

    Near 1 as well where most differences point the other way than their mean.
    """
    from scipy import stats

    known = np.asarray(differences, float)
    known = known[~np.isnan(known)]
    if not np.any(known):
        return 1.0
    side = "greater" if known.mean() > 0 else "less"
    return min(1.0, 2 * float(stats.wilcoxon(known, alternative=side).pvalue))


def least_units(comparisons: int, alpha: float = ALPHA) -> int:
    """The fewest units of which a signed-rank test can tell a difference, among so many comparisons."""
    units = 1
    while comparisons * 2.0 ** (1 - units) >= alpha:
        units += 1
    return units


def compare(pairs: Sequence[tuple[Any, Any]], floor: NoiseFloor | None, *, alpha: float = ALPHA) -> list[Comparison]:
    """The first of each pair beside the second, all pairs together.

    Args:
        pairs: values per unit, image or subject, of two configs, (seeds, units) each, of the same units; NaN where a
            unit has none.
        floor: the study's noise floor, of the mean over the same values.

    "better" and "worse" need both: units agree (Wilcoxon over them, of means over seeds), and the difference is more
    than seeds and the choice of images make together (t test). Either test alone would answer half the question:
    trainings that differ only in their seed differ on all images at once, and a difference on these images need not be
    one on others. Both are corrected by Holm; without a floor, or with fewer units than could show anything, nothing
    is testable.
    """
    tested = []
    for ours, theirs in pairs:
        a, b = _beside(np.asarray(ours, float), np.asarray(theirs, float))
        differences = a.mean(axis=0) - b.mean(axis=0)
        units = len(differences)
        mean = float(np.mean(differences)) if units else 0.0
        of_units = float(np.var(differences, ddof=1)) / units if units > 1 else 0.0
        by_seeds = None if floor is None else floor.probability(mean, len(a), len(b), of_units=of_units, units=units)
        tested.append((mean, units, signed_rank(differences), by_seeds))
    by_units = holm([p for _, _, p, _ in tested])
    by_seeds_of = holm([1.0 if p is None else p for *_, p in tested])
    enough = least_units(len(tested), alpha)
    return [
        Comparison(
            difference=mean,
            units=units,
            by_units=by_units[place],
            by_seeds=None if by_seeds is None else by_seeds_of[place],
            verdict=Verdict.NOT_TESTABLE
            if by_seeds is None or units < enough
            else _verdict(mean, max(by_units[place], by_seeds_of[place]), alpha),
        )
        for place, (mean, units, _, by_seeds) in enumerate(tested)
    ]


def _beside(a: Any, b: Any) -> tuple[Any, Any]:
    """Both tables without the units that have no value in either.

    One that has none in some training says nothing of it, and stands at its mean: so the means keep, and an image that
    only one of two configs takes for empty still counts.
    """
    known = ~(np.isnan(a).all(axis=0) & np.isnan(b).all(axis=0))
    return _filled(a[:, known]), _filled(b[:, known])


def _filled(table: Any) -> Any:
    return np.where(np.isnan(table), np.nanmean(table, axis=1, keepdims=True), table) if table.size else table


def _verdict(difference: float, probability: float, alpha: float) -> Verdict:
    if probability >= alpha:
        return Verdict.TIED
    return Verdict.BETTER if difference > 0 else Verdict.WORSE


def rank(figures: Sequence[float], values: Sequence[Any], floor: NoiseFloor | None) -> list[Place]:
    """The place of each config by its figure, where what is tied has no order.

    Args:
        figures: by config, the higher the better.
        values: as `compare` takes them, by config.

    All pairs are compared together: which of them is highest was looked up in the same figures, so that comparing the
    others with it alone would find it better too often. A rank holds the highest of those left, and all that are not
    worse than it.
    """
    order = sorted(range(len(figures)), key=lambda place: -figures[place])
    pairs = list(combinations(order, 2))
    told = dict(zip(pairs, compare([(values[a], values[b]) for a, b in pairs], floor), strict=True))
    turned = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.TIED}  # none is better than the highest
    places: dict[int, Place] = {}
    left = order
    while left:
        head, *others = left
        level = [head, *(other for other in others if told[head, other].verdict is not Verdict.BETTER)]
        first, last = len(places) + 1, len(places) + len(level)
        for config in level:
            beside = told[order[0], config].verdict if config != order[0] else Verdict.TIED
            places[config] = Place(first, last, turned.get(beside, beside))
        left = [config for config in left if config not in places]
    return [places[config] for config in range(len(figures))]
