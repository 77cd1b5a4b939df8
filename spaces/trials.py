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
