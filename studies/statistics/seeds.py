"""What seeds alone change: the noise floor of a study, and what lies within it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class NoiseFloor:
    """The standard deviation of a figure between trainings that differ in their seed alone.

    `sd` is pooled over `groups` sets of params that were trained more than once, with `freedom` degrees of freedom;
    `low` and `high` are its 95 % interval (chi-squared, for normal figures).
    """

    sd: float
    freedom: int
    groups: int
    low: float
    high: float

    def margin(self, ours: int = 1, theirs: int = 1, level: float = LEVEL) -> float:
        """The least difference between means of so many trainings that seeds alone seldom make (two-sided t test)."""
        from scipy.special import stdtrit

        t = float(stdtrit(self.freedom, (1 + level) / 2))
        return t * self.sd * math.sqrt(1 / ours + 1 / theirs)

    def probability(self, difference: float, ours: int, theirs: int) -> float:
        """How probable a difference of means as large as this is between trainings of the same params."""
        from scipy.special import stdtr

        error = self.sd * math.sqrt(1 / ours + 1 / theirs)
        if not error:
            return float(not difference)
        return float(2 * stdtr(self.freedom, -abs(difference) / error))


def noise_floor(groups: Iterable[Sequence[float]]) -> NoiseFloor | None:
    """Of the figures of each set of params; None where no set has two."""
    from scipy.special import chdtri

    several = [list(group) for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    if not freedom:
        return None
    squares = sum((len(group) - 1) * statistics.variance(group) for group in several)
    low, high = (math.sqrt(squares / float(chdtri(freedom, share))) for share in (0.025, 0.975))
    return NoiseFloor(sd=math.sqrt(squares / freedom), freedom=freedom, groups=len(several), low=low, high=high)
