"""Shifts the wall clock of a Python process by FAULTS_CLOCK_SHIFT seconds; Python loads it by its name at the start.

libfaketime does the same for any process, but with it (0.9.10) Python's time.sleep fails or never returns.
"""

import datetime
import os
import time

SHIFT = float(os.environ.get("FAULTS_CLOCK_SHIFT", "0"))
_time, _time_ns, _datetime = time.time, time.time_ns, datetime.datetime


class Shifted(_datetime):
    """A datetime whose now is another."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> "Shifted":
        """The wrong time."""
        return cls.fromtimestamp(_time() + SHIFT, tz)

    @classmethod
    def utcnow(cls) -> "Shifted":
        """The wrong time."""
        return cls.now(datetime.UTC).replace(tzinfo=None)


time.time = lambda: _time() + SHIFT
time.time_ns = lambda: _time_ns() + int(SHIFT * 1e9)
datetime.datetime = Shifted  # type: ignore[misc]
