"""A call that is repeated until what is away is back: the one loop for databases and for S3."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

LONGEST_PAUSE = 5.0
STOPPING_SECONDS = 5.0
"""How long a call is still repeated once a stop was asked for."""


def repeat(
    call: Callable[[], Result],
    passes: Callable[[Exception], bool],
    *,
    limit: float,
    first_pause: float,
    stop: threading.Event | None = None,
    since: float | None = None,
    on_failure: Callable[[float, float], None] | None = None,
    given_up: Callable[[Exception, float], Exception] = lambda error, _seconds: error,
) -> Result:
    """`call()`, repeated while it raises an error that `passes`; `call` must bear being repeated.

    Pauses grow from `first_pause` to 5 s. Gives up after `limit` seconds, or 5 s after `stop` was set.

    Args:
        since: the moment (`time.monotonic()`) from which `limit` counts; that of the first failure by default.
        on_failure: is told at each failure the seconds since that moment and the pause that follows.
        given_up: makes what is raised from the last error and the seconds; that error itself by default.
    """
    stopping: float | None = None
    pause = first_pause
    while True:
        try:
            return call()
        except Exception as error:
            if not passes(error):
                raise
            now = time.monotonic()
            since = now if since is None else since
            if on_failure is not None:
                on_failure(now - since, pause)
            if stop is not None and stop.is_set():
                stopping = stopping or now
            if now - since > limit or (stopping is not None and now - stopping > STOPPING_SECONDS):
                raise given_up(error, now - since) from None
        # Workers that lost the server together must not come back together.
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, LONGEST_PAUSE)
