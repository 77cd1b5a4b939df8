"""Database errors that pass, and how a call is repeated until they have."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Callable

import sqlalchemy.exc

from mmtuna.spaces.errors import InputError
from mmtuna.studies.patience import LONGEST_PAUSE, Result, repeat

OUTAGE_SECONDS = 600.0
_FIRST_PAUSE = 0.1
_POSTGRES_DISK_FULL = "53100"
_POSTGRES_READ_ONLY = "25006"  # a stand-in that has not taken over yet
# sqlite.org/rescode.html; the second where the file that readers and writers of a WAL share cannot grow.
_SQLITE_DISK_FULL = ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")
_DISK_FULL = "disk full: the database cannot grow; free some room and run again"
_LOST = "the database did not answer; start it and run the same command again"


class StorageAwayError(InputError):
    """The database cannot be reached now, or is in use by another process; the same call may succeed later."""


class StorageLostError(Exception):
    """The database could not be reached for too long."""


class DiskFullError(Exception):
    """The database's disk is full: nothing can be stored, not even a failure."""


def database_error(error: BaseException | None) -> sqlalchemy.exc.SQLAlchemyError | None:
    """The database's own error behind `error`, which Optuna wraps into one of its own; None where there is none."""
    while error is not None and not isinstance(error, sqlalchemy.exc.SQLAlchemyError):
        error = error.__cause__
    return error


def is_disk_full(error: BaseException) -> bool:
    """Whether the database said that its disk is full."""
    found = database_error(error)
    if not isinstance(found, sqlalchemy.exc.DBAPIError):
        return False
    if isinstance(found.orig, sqlite3.Error):
        named = getattr(found.orig, "sqlite_errorname", None) in _SQLITE_DISK_FULL
        return named or "disk is full" in str(found.orig)
    return getattr(found.orig, "sqlstate", None) == _POSTGRES_DISK_FULL


def is_outage(error: BaseException) -> bool:
    """Whether the same call may succeed later: no connection, a lock not got, a deadlock; not a wrong statement."""
    if isinstance(error, StorageAwayError):
        return True
    found = database_error(error)
    # No connection of the pool became free; or Optuna asked again on one that was just lost.
    if isinstance(found, sqlalchemy.exc.TimeoutError | sqlalchemy.exc.PendingRollbackError):
        return True
    if not isinstance(found, sqlalchemy.exc.DBAPIError) or is_disk_full(error):
        return False
    if isinstance(found.orig, sqlite3.Error):
        return any(word in str(found.orig) for word in ("locked", "busy"))
    if getattr(found.orig, "sqlstate", None) == _POSTGRES_READ_ONLY:
        return True
    lost = isinstance(found, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError)
    return lost or found.connection_invalidated


def failure_line(error: BaseException) -> str | None:
    """The one line for a person where it is the machine or the database that failed; None otherwise."""
    if isinstance(error, OSError) and not isinstance(error, InputError):
        return _os_line(error)
    if isinstance(error, DiskFullError | StorageLostError):
        return str(error)
    if is_disk_full(error):
        return _DISK_FULL
    if is_outage(error):
        return _LOST
    found = database_error(error)
    if isinstance(found, sqlalchemy.exc.DBAPIError):
        # Of a server only what it says itself: a driver's words may repeat the URL with its password.
        own = getattr(getattr(found.orig, "diag", None), "message_primary", None)
        reason = str(found.orig) if isinstance(found.orig, sqlite3.Error) else own or type(found.orig).__name__
        return f"the database does not hold what mmtuna wrote there ({reason.splitlines()[0]}); restore a copy of it"
    return None


def _os_line(error: OSError) -> str | None:
    name = "a file" if error.filename is None else os.fsdecode(error.filename)
    place = name if len(name) <= 100 else f"...{name[-97:]}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"disk full: {place} cannot be written; free some room and run again"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many open files: this process may not open more; raise the limit (ulimit -n 1024) and run again"
    try:
        os.getcwd()
    except OSError:
        return "the working directory is gone; change to one that is there and run again"
    return None if error.filename is None else f"{place}: {error.strerror}"


def through_outages(
    call: Callable[[], Result],
    *,
    stop: threading.Event | None = None,
    limit: float = OUTAGE_SECONDS,
    say: Callable[[str], None] | None = None,
) -> Result:
    """`call()`, repeated while the database is away; `call` must bear being repeated after it did all or part.

    Pauses grow from 0.1 to 5 s. Gives up after `limit` seconds, or 5 s after `stop` was set, with StorageLostError; a
    full disk is a DiskFullError at once. Other errors pass through.
    """
    said = say is None

    def passes(error: Exception) -> bool:
        if is_disk_full(error):
            raise DiskFullError(_DISK_FULL) from None
        return is_outage(error)

    def on_failure(seconds: float, pause: float) -> None:
        nonlocal said
        if say is not None and not said and pause == LONGEST_PAUSE:
            say(f"the database does not answer since {seconds:.0f} s; trying again for {limit:.0f} s")
            said = True

    def given_up(_error: Exception, seconds: float) -> Exception:
        return StorageLostError(
            f"the database did not answer for {seconds:.0f} s; start it and run the same command again"
        )

    return repeat(
        call, passes, limit=limit, first_pause=_FIRST_PAUSE, stop=stop, on_failure=on_failure, given_up=given_up
    )
