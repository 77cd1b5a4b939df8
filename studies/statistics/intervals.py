"""The interval of a figure that was measured on some images, after trainings with some seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Statistic = Callable[[Numbers], Numbers]
"""From features summed over images, (..., features), to a figure each, (...); NaN where it has none."""

LEVEL = 0.95
DRAWS = 2000
FEW = 8
"""Fewer units than these are drawn from in vain: see `bootstrap`."""
_AT_ONCE = 2_000_000
_ALIKE = 1e-12
"""A standard error that rounding alone makes."""


class How(StrEnum):
    """What an interval was made by."""

    BOOTSTRAP = "bootstrap"
    ERROR = "t times the standard error"
    EXACT = "Clopper-Pearson"
    EFFECTIVE = "Clopper-Pearson of the effective number"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure with the interval that holds the true one with a probability of `level`.

    `units` are the images, or subjects, and `seeds` the trainings that it was estimated from; `how` it was made.
    """

    mean: float
    low: float
    high: float
    units: int
    seeds: int
    level: float = LEVEL
    how: How = How.BOOTSTRAP


def ratio(sums: Numbers) -> Numbers:
    """The statistic of a mean of some images' values: features are (value or 0, 1 or 0)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


def mean_features(values: Any) -> Numbers:
    """Features (seeds, images, 2) for `ratio` of `values`, (seeds, images); NaN values count nowhere."""
    values = np.asarray(values, float)
    known = ~np.isnan(values)
    return np.stack([np.where(known, values, 0.0), known.astype(float)], axis=-1)


def by_group(features: Any, groups: Sequence[str]) -> Numbers:
    """Features (seeds, images, ...) summed over the images of each group, such as a subject: (seeds, groups, ...)."""
    table, named = np.asarray(features, float), np.asarray(groups)
    return np.stack([table[:, named == name].sum(axis=1) for name in sorted(set(groups))], axis=1)


def jackknife(features: Any, statistic: Statistic = ratio) -> Numbers:
    """What each unit makes of a statistic in each training, (seeds, units): Tukey's pseudo-values.

    Their mean over units is the statistic, nearly; of a mean of values they are the values. NaN where a unit has no
    features at all, or where without it the statistic has no figure.
    """
    table = np.asarray(features, float)
    having = (table != 0).any(axis=-1)
    units = having.sum(axis=1, keepdims=True)
    sums = table.sum(axis=1, keepdims=True)
    values = units * statistic(sums) - (units - 1) * statistic(sums - table)
    return np.where(having, values, np.nan)


def bootstrap(
    features: Any,
    statistic: Statistic = ratio,
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
    within: tuple[float, float] | None = None,
) -> Interval | None:
    """The mean over seeds of a statistic, with its interval; None where there are fewer than two units to draw from.

    Args:
        features: (seeds, units, features): what adds up over images, such as pixel counts. Units are images, or where
            these are known subjects (`by_group`), which are then drawn whole, since their images are alike.
        statistic: what is made of the sums.
        within: the least and the most that a unit can make of it, where these are known.

    Units and seeds are drawn with replacement (the pigeonhole bootstrap; Owen 2007). Its percentiles are
    too narrow for few units: they are spread around the figure to the standard error that both have, each corrected by
    n / (n - 1), and to Student's t of Satterthwaite's degrees of freedom in the place of the normal (the expanded
    percentile interval; Hesterberg 2015, The American Statistician 69:371). Where a few units decide, as of pooled
    figures those with most foreground, the jackknife's error is taken if it is larger, and degrees of freedom as their
    kurtosis leaves them. Draws of fewer than 8 units never go as far as such a t (of two, 57 % of the intervals held
    the true figure; of eight, 93 %): there it is the figure -+ t times the error, which may lie beyond 0 or 1. With one
    seed the interval is that of images alone: how trainings differ is then not in it. Where all units are alike nothing
    is spread: then the interval is that of how many others there may be (`_alike`), without `within` of no width.
    """
    from scipy import special

    table = np.asarray(features, float)
    seeds, units = table.shape[:2]
    by_seed = _by_seed(table, statistic)
    if by_seed is None:
        return None
    centre = float(np.mean(by_seed))
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([statistic(sums) for sums in _draws(table, draws, rng)])
    drawn = drawn[np.isfinite(drawn).all(axis=1)]  # a draw may hold no image with a value
    picked = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=len(drawn)) / seeds
    by_jackknife, freedom = _error_of_units(table, statistic)
    of_units = max(float(np.var(drawn.mean(axis=1))) * units / (units - 1), by_jackknife)
    squared, freedom = _error_of_both(of_units, freedom, by_seed)
    both = (drawn * picked).sum(axis=1)
    spread = float(np.std(both))
    if min(np.sqrt(squared), spread) < _ALIKE:
        low, high = (centre, centre) if within is None else _alike(centre, _having(table), within, level)
        how = How.BOOTSTRAP if within is None else How.EXACT
        return Interval(mean=centre, low=low, high=high, units=units, seeds=seeds, level=level, how=how)
    t = float(special.stdtrit(freedom, (1 - level) / 2))
    if units < FEW:
        margin = -t * float(np.sqrt(squared))
        low, high, how = centre - margin, centre + margin, How.ERROR
        return Interval(mean=centre, low=low, high=high, units=units, seeds=seeds, level=level, how=how)
    tail = float(special.ndtr(t))
    low, high = np.quantile((both - both.mean()) / spread, [tail, 1 - tail]) * np.sqrt(squared) + centre
    return Interval(mean=centre, low=float(low), high=float(high), units=units, seeds=seeds, level=level)


def share(features: Any, *, level: float = LEVEL) -> Interval | None:
    """The mean over seeds of values that are 0 or 1, with its interval; None where there are fewer than two units.

    Clopper and Pearson's of a count of images, never too narrow. Images of a subject are alike, and so are those of
    several trainings: then their effective number, by the variance of the share beside that of so many independent
    images, with Student's t of fewer degrees of freedom (Korn and Graubard 1998, Survey Methodology 24:193). It is
    never more than the images are. Where all are 0 or all 1 nothing tells how alike they are: the number of units.

    Args:
        features: of `mean_features`, or these by group.
    """
    table = np.asarray(features, float)
    seeds, units = table.shape[:2]
    by_seed = _by_seed(table, ratio)
    if by_seed is None:
        return None
    centre = float(np.mean(by_seed))
    number, how = float(_having(table)), How.EXACT
    if centre not in (0, 1) and (seeds > 1 or table[..., 1].max() > 1):
        number, how = _effective(table, by_seed, level), How.EFFECTIVE
    low, high = clopper_pearson(centre * number, number, level)
    return Interval(mean=centre, low=low, high=high, units=units, seeds=seeds, level=level, how=how)


def clopper_pearson(found: float, number: float, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of a share of which `found` of `number` were found; neither need be whole."""
    from scipy import special

    rest, tail = number - found, (1 - level) / 2
    low = float(special.betaincinv(found, rest + 1, tail)) if found > 0 else 0.0
    return low, float(special.betaincinv(found + 1, rest, 1 - tail)) if rest > 0 else 1.0


def _effective(table: Numbers, by_seed: Numbers, level: float) -> float:
    """How many independent images would make a share as uncertain, and its interval as wide; of no 0 and no 1."""
    from scipy import special

    centre, images = float(np.mean(by_seed)), float(table[..., 1].sum(axis=1).mean())
    of_units = _error_of_units(table, ratio)[0]
    squared, freedom = _error_of_both(of_units, max(1.0, _having(table) - 1.0), by_seed)
    alone = centre * (1 - centre) / max(1.0, images - 1)
    t, wider = (float(special.stdtrit(n, (1 + level) / 2)) for n in (max(1.0, images - 1), freedom))
    return min(images, images / max(1.0, squared / alone) * (t / wider) ** 2)


def _by_seed(table: Numbers, statistic: Statistic) -> Numbers | None:
    """The statistic of each training; None where there are fewer than two units, or one training has no figure."""
    by_seed = statistic(table.sum(axis=1))
    return by_seed if table.shape[1] > 1 and np.isfinite(np.mean(by_seed)) else None


def _error_of_both(of_units: float, freedom: float, by_seed: Numbers) -> tuple[float, float]:
    """The variance that comes of units and of seeds together, and its degrees of freedom (Satterthwaite)."""
    seeds = len(by_seed)
    of_seeds = float(np.var(by_seed, ddof=1)) / seeds if seeds > 1 else 0.0
    squared = of_units + of_seeds
    if not of_seeds:
        return squared, freedom
    return squared, squared**2 / (of_units**2 / freedom + of_seeds**2 / (seeds - 1))


def _having(table: Numbers) -> int:
    """How many units have any features."""
    return int((table != 0).any(axis=(0, 2)).sum())


def _alike(centre: float, units: int, within: tuple[float, float], level: float) -> tuple[float, float]:
    """The interval of a figure of units that are all alike: at worst as many others as none of so many leaves.

    Those may lie anywhere `within`; of a share that is 0 or 1 it is Clopper and Pearson's.
    """
    others = clopper_pearson(0, units, level)[1]
    least, most = within
    return centre - others * (centre - least), centre + others * (most - centre)


def _draws(table: Numbers, draws: int, rng: np.random.Generator) -> Iterator[Numbers]:
    """Features summed over units drawn with replacement, (draws, seeds, features), some draws at a time.

    All weights of a set of 20,000 images together would fill hundreds of megabytes.
    """
    units = table.shape[1]
    for first in range(0, draws, step := max(1, _AT_ONCE // units)):
        size = min(step, draws - first)
        weights = rng.multinomial(units, np.full(units, 1 / units), size=size).astype(float)
        yield np.einsum("du,suf->dsf", weights, table, optimize=True)


def _error_of_units(table: Numbers, statistic: Statistic) -> tuple[float, float]:
    """The variance of a statistic that comes from which units were drawn, by the jackknife; its degrees of freedom.

    A sample variance of n figures of kurtosis k has about the precision of 2 n / (k - 1) degrees of freedom: n for
    normal ones, few where a few stand out.
    """
    made = jackknife(table, statistic)
    made = made[:, ~np.isnan(made).all(axis=0)]
    squares = np.square(np.nanmean(made, axis=0) - np.nanmean(made)) if made.size else np.zeros(1)
    units = len(squares)
    if units < 2 or not squares.any():
        return 0.0, max(1.0, units - 1.0)
    kurtosis = units * float(np.sum(squares**2)) / float(np.sum(squares)) ** 2
    freedom = 2 * units / max(kurtosis - 1, 1e-9) - 1
    return float(np.sum(squares)) / (units - 1) / units, min(units - 1.0, max(2.0, freedom))
