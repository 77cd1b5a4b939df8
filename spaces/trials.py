"""What every room knows of a trial: how far it has come, and the causes of an end that was none it should have."""

from __future__ import annotations

from enum import StrEnum

LAST_STEP = 100
"""The step of a finished training: steps are percent of a trial's own iterations, 1 to 100."""


class Cause(StrEnum):
    """Why a trial did not finish. The value stands on the trial, in tables and in messages."""

    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out of memory"
    DEADLINE = "deadline"
    HUNG = "hung"
    CRASHED = "crashed"
    DISK_FULL = "disk full"
    MISMATCH = "config mismatch"
    ERROR = "error"
    LOST = "lost"
    """With its worker, more often than `[resources] retries`."""
    OVER_LIMIT = "over a limit"
    """Its net asks for more than `[limits]` allow, so that it was not trained."""
    COLLAPSED = "collapsed"
    """It predicted none of a class that the truth has. A name alone: such a trial may be complete."""


COLLAPSE_STOPS = LAST_STEP
"""The step from which on a trial that has collapsed is stopped; 100, the end, stops none: they are named and counted.

To be set to the first evaluation after which no recorded trial came back, by benchmarks/search/recorded.
"""
