"""Signals that end a process ask for a stop in order."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def on_signals(request_stop: Callable[[], None], say: Callable[[str], None]) -> Iterator[None]:
    """Within it, the signals that end a process ask for a stop; a second Ctrl-C ends it at once.

    For the main thread of a command alone: Python lets no other set what a signal does.
    """
    asked = False

    def on_signal(number: int, _frame: object) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            os._exit(1)  # the children die with the fork server, which dies with this process
        if asked:  # a cluster warns with one signal and follows it with another
            return
        asked = True
        say("stopping: running trials are put back; Ctrl-C once more stops at once")
        request_stop()

    # Clusters send SIGUSR1 or SIGUSR2 some time before they take the machine away.
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_by_ctrl_c() -> NoReturn:
    """Ends a command that Ctrl-C has interrupted: one line, and the exit status that shells have for it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one in Python's end would print where it stood
    print("mmtuna: stopped by Ctrl-C", file=sys.stderr)
    sys.exit(128 + signal.SIGINT)
