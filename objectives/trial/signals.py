"""Which signals mean what to a trial's process, and that it ends with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

STACKS = signal.SIGUSR1
"""On this signal a trial process writes into its log where each of its threads stands."""
FROM_OUTSIDE = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals with which clusters ask for an end, many of them every process; what becomes of a trial, its worker says."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int | None = None) -> None:
    """On Linux this process is killed when its parent ends, however that ended; at once where `parent` is gone."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1 or (parent is not None and os.getppid() != parent):
        os._exit(1)
