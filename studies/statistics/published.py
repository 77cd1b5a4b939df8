"""A published figure beside trainings of ours: reproduced, or not."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

LEVEL = 0.95


class Reproduction(StrEnum):
    """What our trainings say of a published figure."""

    REPRODUCED = "reproduced"
    DIFFERS = "differs"
    NOT_TESTABLE = "not testable"


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """`difference` is ours minus published; one more training lies between `low` and `high` with 95 % probability."""

    verdict: Reproduction
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""
    """Why it cannot be tested, in a few words."""


def reproduced(published: float, ours: Sequence[float], *, rounding: float = 5e-5, level: float = LEVEL) -> Reproduced:
    """Whether a figure of one published training could be one of ours.

    The figure is that of one run: it is held against the interval for one more training beside ours, mean ± t sd
    sqrt(1 + 1/n) with n - 1 degrees of freedom (the prediction interval of normal figures; Hahn and Meeker 1991,
    chapter 4), widened by half a unit of its last printed digit (`rounding`). Fewer than two trainings test nothing.
    """
    from scipy.special import stdtrit

    if not ours:
        return Reproduced(verdict=Reproduction.NOT_TESTABLE, why="no complete trial")
    mean = statistics.fmean(ours)
    difference = mean - published
    if len(ours) < 2:
        return Reproduced(
            verdict=Reproduction.NOT_TESTABLE, difference=difference, why="one seed; nothing tells how seeds differ"
        )
    t = float(stdtrit(len(ours) - 1, (1 + level) / 2))
    margin = t * statistics.stdev(ours) * math.sqrt(1 + 1 / len(ours)) + rounding
    verdict = Reproduction.REPRODUCED if abs(difference) <= margin else Reproduction.DIFFERS
    return Reproduced(verdict=verdict, difference=difference, low=mean - margin, high=mean + margin)
