"""When a search may stop by itself: the odds that what is left of its budget finds anything better."""

from __future__ import annotations

import math

WORTH = 0.005
"""By how much a trial has to be better than the best so far to be called better, a fraction, as the metric."""
ODDS = 0.05
"""Odds below which `stop = "auto"` ends a study."""
LEAST = 12
"""Finished trials before which nothing is said: the sampler has drawn most of them at random."""
_COEFFICIENTS = (-0.63, 1.059, -0.038)
"""How much is left says nearly all, how long nothing better came hardly anything: a study is settled where a ninth of
its finished trials is left. Fitted to studies whose proposals were moved to recorded trials; fitted to what is alike
(benchmarks/results/search-stopping.json) it would be where an eleventh to a sixth is, the later the longer nothing
better came."""


def odds(finished: int, since: int, left: int) -> float:
    """How probable it is, 0 to 1, that one of `left` further trials is better than the best by `WORTH`.

    After `finished` trials, the last `since` of which brought no better one. A logistic regression on how much of the
    study was of no use and how much more there is of it, fitted to simulated studies of recorded trials, see
    benchmarks/search/stopping.py, which also says how well it does on sets that it was not fitted to.
    """
    if left <= 0:
        return 0.0
    constant, of_left, of_since = _COEFFICIENTS
    score = sum((constant, *(c * f for c, f in zip((of_left, of_since), features(finished, since, left), strict=True))))
    return 1 / (1 + math.exp(-score))


def features(finished: int, since: int, left: int) -> tuple[float, float]:
    """What the odds are made of: logarithms of what is left and of what brought nothing, as parts of the finished."""
    return math.log(left / finished), math.log((since + 1) / finished)


def further(to_search: int, searched: int, seconds: tuple[float, float] | None) -> int:
    """How many more trials a search of `to_search` will have after `searched` ones.

    Of a study that has hours no more than there will be time for, by what the trials took so far.

    `seconds` of the hours: those that were used, and those that are left to search.
    """
    more = to_search - searched
    return more if seconds is None else min(more, at_this_pace(searched, *seconds))


def at_this_pace(searched: int, used: float, left: float) -> int:
    """How many more trials there will be for what is `left`, where `searched` ones have `used` so much of the same."""
    return round(searched * left / max(1.0, used))


def is_settled(finished: int, since: int, left: int) -> bool:
    """Whether nothing better is to be expected of the trials that are left."""
    return finished >= LEAST and odds(finished, since, left) < ODDS
