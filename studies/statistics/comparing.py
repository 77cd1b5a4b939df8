"""Two configs on the same images: better, tied or worse, or not testable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
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

    `by_units` is Wilcoxon's p, corrected for the comparisons made together; `by_seeds` that of the t test against the
    study's noise floor, likewise; None where there is none.
    """

    difference: float
    units: int
    by_units: float
    by_seeds: float | None
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
    """Two-sided p of Wilcoxon's signed-rank test; 1 where all differences are 0 or there are none."""
    from scipy import stats

    known = np.asarray(differences, float)
    known = known[~np.isnan(known)]
    return float(stats.wilcoxon(known).pvalue) if np.any(known) else 1.0


def compare(
    pairs: Sequence[tuple[Any, Any]],
    floor: NoiseFloor | None,
    *,
    groups: Sequence[str] | None = None,
    alpha: float = ALPHA,
) -> list[Comparison]:
    """The first of each pair beside the second, all pairs together.

    Args:
        pairs: values per image of two configs, (seeds, images) each, of the same images; NaN where an image has none.
        floor: the study's noise floor, of the mean over the same values.
        groups: the subject of each image; differences are then those of subjects' means.

    "better" and "worse" need both: images agree (Wilcoxon over images or subjects, of means over seeds), and the
    difference is more than seeds alone make (t test with the floor's deviation). Either test alone would answer half
    the question: trainings that differ only in their seed differ on all images at once. Both are corrected by Holm;
    without a floor nothing is testable.
    """
    tested = []
    for ours, theirs in pairs:
        a, b = np.asarray(ours, float), np.asarray(theirs, float)
        differences = _by_group(a.mean(axis=0) - b.mean(axis=0), groups)
        mean = float(np.mean(differences)) if len(differences) else 0.0
        by_seeds = None if floor is None else floor.probability(mean, len(a), len(b))
        tested.append((mean, len(differences), signed_rank(differences), by_seeds))
    units = holm([by_units for _, _, by_units, _ in tested])
    seeds = holm([1.0 if by_seeds is None else by_seeds for *_, by_seeds in tested])
    return [
        Comparison(
            difference=mean,
            units=count,
            by_units=units[place],
            by_seeds=None if by_seeds is None else seeds[place],
            verdict=_verdict(mean, max(units[place], seeds[place]), alpha, testable=by_seeds is not None),
        )
        for place, (mean, count, _, by_seeds) in enumerate(tested)
    ]


def _by_group(differences: Any, groups: Sequence[str] | None) -> Any:
    known = ~np.isnan(differences)
    if groups is None:
        return differences[known]
    named = np.asarray(groups)[known]
    return np.array([differences[known][named == name].mean() for name in sorted(set(named))])


def _verdict(difference: float, probability: float, alpha: float, *, testable: bool) -> Verdict:
    if not testable:
        return Verdict.NOT_TESTABLE
    if probability >= alpha:
        return Verdict.TIED
    return Verdict.BETTER if difference > 0 else Verdict.WORSE
