"""Deaths of the processes that load images.

torch tells of one by a RuntimeError that its handler of SIGCHLD raises wherever the training's process stands: in the
next batch, in the loss, or while another error is being written down.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from mmtuna.objectives.insides import raise_death_of_a_loader

_SIGNAL_SECONDS = 2.0


def error_of(call: Callable[[], None]) -> Exception | None:
    """What `call()` raised, None for nothing: the death of a loader where that stands behind it.

    After an error nothing is raised from outside any more. For the main thread of a process.
    """
    found: Exception | None = None
    while True:
        try:
            if found is None:
                call()
                return None
            if hasattr(signal, "SIGCHLD"):
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return death_behind(found) or found
        except Exception as error:
            if found is None or _is_end_of_pipe(found):
                found = error


def death_behind(error: Exception) -> Exception | None:
    """What torch says of a loader that died, where `error` is only that the pipe to it has ended; None otherwise.

    The end of the pipe may be met before the death is told.
    """
    end = time.monotonic() + _SIGNAL_SECONDS
    while _is_end_of_pipe(error) and time.monotonic() < end:
        try:
            raise_death_of_a_loader()
            time.sleep(0.05)
        except RuntimeError as found:
            return found
    return None


def _is_end_of_pipe(error: Exception) -> bool:
    return isinstance(error, EOFError | ConnectionError)
