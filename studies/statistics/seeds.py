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

    def text(self, metric: str) -> str:
        """The floor of `metric` in words, with its interval and what it was estimated from."""
        sets = "set" if self.groups == 1 else "sets"
        return (
            f"seeds alone change {metric} by a standard deviation of {self.sd:.4f} (95 % interval {self.low:.4f} to "
            f"{self.high:.4f}, from {self.groups:,} {sets} of params trained with more than one seed)"
        )

    def margin(self, ours: int = 1, theirs: int = 1, level: float = LEVEL) -> float:
        """The least difference between means of so many trainings that seeds alone seldom make (two-sided t test)."""
        from scipy import special  # and not scipy.stats, which `mmtuna status` would wait for

        t = float(special.stdtrit(self.freedom, (1 + level) / 2))
        return t * self.sd * math.sqrt(1 / ours + 1 / theirs)

    def least(self, mean: float, seeds: int, level: float = LEVEL) -> float:
        """What further seeds' mean is not below, given that of so many, with a probability of `level` (one-sided t)."""
        from scipy import special

        return mean - float(special.stdtrit(self.freedom, level)) * self.sd / math.sqrt(seeds)

    def probability(
        self, difference: float, ours: int, theirs: int, *, of_units: float = 0.0, units: int | None = None
    ) -> float:
        """How probable a difference of means as large as this is between trainings of configs that are equally good.

        Args:
            difference: of the means of `ours` and of `theirs` trainings.
            of_units: the variance of this difference that comes from which `units` images, or subjects, were measured;
                0 asks about these very images alone.

        A t test whose variance is that of seeds and of images together, by Satterthwaite's degrees of freedom.
        """
        from scipy import special

        of_seeds = self.sd**2 * (1 / ours + 1 / theirs)
        squared = of_seeds + of_units
        if not squared:
            return float(not difference)
        terms = of_seeds**2 / self.freedom + (of_units**2 / (units - 1) if units and units > 1 else 0.0)
        return float(2 * special.stdtr(squared**2 / terms, -abs(difference) / math.sqrt(squared)))


def noise_floor(groups: Iterable[Sequence[float]]) -> NoiseFloor | None:
    """Of the figures of each set of params; None where no set has two."""
    several = [list(group) for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    if not freedom:
        return None
    from scipy import special

    squares = sum((len(group) - 1) * statistics.variance(group) for group in several)
    # chdtri(freedom, p) is the value that a chi-squared figure exceeds with probability p.
    low, high = (math.sqrt(squares / float(special.chdtri(freedom, share))) for share in (0.025, 0.975))
    return NoiseFloor(sd=math.sqrt(squares / freedom), freedom=freedom, groups=len(several), low=low, high=high)
