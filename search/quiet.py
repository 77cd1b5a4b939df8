"""Optuna's own lines, which would stand between ours and tear the live table."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_within = 0
_before = 0


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Within it Optuna prints warnings and errors only; afterwards what it printed before. Threads may overlap in it.

    The verbosity is the whole process's, which may be a notebook with studies of its own.
    """
    import optuna

    global _within, _before
    with _lock:
        if not _within:
            _before = optuna.logging.get_verbosity()
            optuna.logging.set_verbosity(max(_before, optuna.logging.WARNING))
        _within += 1
    try:
        yield
    finally:
        with _lock:
            _within -= 1
            if not _within:
                optuna.logging.set_verbosity(_before)
