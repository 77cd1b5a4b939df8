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


COLLAPSE_STOPS = 60
"""The step from which on a trial is stopped that has collapsed at every evaluation so far; 100, the end, stops none.

From there on recorded trials hardly ever came back: benchmarks/results/search-collapse.json says how many did.
"""
