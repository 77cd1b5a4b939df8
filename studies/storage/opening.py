"""The database of a study: SQLite made safe for several processes, or Postgres; and the lock around "count and ask"."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import filelock
import optuna
import sqlalchemy
import sqlalchemy.exc
from optuna.storages import RDBStorage

from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec.tables import SQLITE
from mmtuna.studies.storage import tables as lease_tables
from mmtuna.studies.storage.optuna_insides import backend_of, without_version_check
from mmtuna.studies.storage.outages import StorageAwayError, is_disk_full, is_outage
from mmtuna.studies.storage.postgres import (
    POSTGRES,
    UNREADABLE,
    advisory_lock,
    create_engine,
    engine_options,
    first_line,
    limit_waits,
    masked,
    read_url,
)

BUSY_SECONDS = 60.0
_FILES = 4  # of an SQLite database: itself, its log, the log's index, and a folder for a moment
_HOPELESS = ("password", "authentication", "does not exist", "pg_hba.conf", "resolve host")

# One storage a process and Postgres server, so that all that a worker does shares its few connections.
_open: weakref.WeakValueDictionary[tuple[int, str], RDBStorage] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def hide_password(url: str) -> str:
    """`url` with `***` in the place of its password; `***` alone where it cannot be told where that stands."""
    return url if url.startswith(SQLITE) else masked(url)


def open_storage(url: str, *, check_version: bool = True) -> RDBStorage:
    """The storage at `url`, its folder and tables created where missing; safe to call from several processes at once.

    `check_version` False leaves out Optuna's check of its tables' version, for a quick look at a study that exists.
    Raises InputError for an unknown scheme, a file that cannot be written or is no database, a missing driver, or a
    server that does not answer within 10 s; the password is never in the message.
    """
    with contextlib.nullcontext() if check_version else without_version_check():
        return _open_by_scheme(url)


def _open_by_scheme(url: str) -> RDBStorage:
    if url.startswith(SQLITE):
        return _open_sqlite(url)
    read_url(url)
    if url.startswith(POSTGRES):
        return _open_postgres(url)
    raise InputError(
        f"[study] storage {hide_password(url)} is no database mmtuna knows; use {SQLITE}FILE or "
        f"{POSTGRES}USER:PASSWORD@HOST/NAME (the latter in MMTUNA_STORAGE)"
    )


def sqlite_file(url: str) -> Path:
    """The file behind a sqlite:/// URL; InputError where there is none, or where the URL has options."""
    file = url.removeprefix(SQLITE)
    if not file or file == ":memory:":
        raise InputError(f"[study] storage {url} lives in memory and dies with the command; use {SQLITE}FILE")
    if "?" in file:
        raise InputError(f"[study] storage {url}: options and question marks are not supported; use {SQLITE}FILE")
    return Path(file)


def _open_sqlite(url: str) -> RDBStorage:
    file = sqlite_file(url)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{file.parent}: cannot be created ({error.strerror}); set [study] storage") from None
    if file.is_dir():
        raise InputError(f"{file}: is a folder; [study] storage names a file, such as {SQLITE}{file}/study.db")
    for place in (file, file.parent):
        # SQLite also writes a journal beside the file.
        if place.exists() and not os.access(place, os.W_OK):
            raise InputError(f"{place}: cannot be written; make it writable, or set [study] storage to another file")
    _refuse_other_files(file)
    # Two processes that create the tables at once would both find them missing.
    with _file_lock(file, "create"):
        storage = _connect(url, {"creator": lambda: _sqlite_connection(file)})
        with storage.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    _make_sqlite_safe(storage.engine)
    return storage


def _sqlite_connection(file: Path) -> sqlite3.Connection:
    # Opened here, as versions of SQLAlchemy differ in what a % in a file's name means to them.
    # isolation_level None: the driver must not begin transactions of its own. SQLAlchemy's pool keeps threads apart.
    return sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _refuse_other_files(file: Path) -> None:
    # Before the lock file is made: what is no database is left alone, and so is its folder. Only SQLite may open the
    # file: closing it ends every POSIX lock that this process has on it, and when another process closes the database
    # it then takes itself for the last and deletes the WAL that this one writes to (sqlite.org/howtocorrupt.html, 2.2).
    if not file.exists() or file.stat().st_size == 0:
        return
    with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as looking:
        try:
            looking.execute("PRAGMA schema_version").fetchone()
        except sqlite3.Error as error:
            # Without its WAL, which this look leaves aside, a database that is written to may seem to be incomplete.
            if error.sqlite_errorname == "SQLITE_NOTADB":
                raise InputError(
                    f"[study] storage {SQLITE}{file} does not open: {error}; it must be a database of Optuna, or empty"
                ) from None


def _make_sqlite_safe(engine: sqlalchemy.Engine) -> None:
    """Takes the write lock at the start of every transaction but those that say that they only read.

    By default a transaction reads first and asks for the lock when it writes; two that have both read cannot both go
    on, and Optuna reads "is this trial waiting?" before it writes "running" (optuna#4621): trials ran twice.
    """

    def on_begin(connection: sqlalchemy.Connection) -> None:
        reads = connection.get_execution_options().get(lease_tables.READS, False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    sqlalchemy.event.listen(engine, "begin", on_begin)


def _open_postgres(url: str) -> RDBStorage:
    with _opening:
        storage = _open.get((os.getpid(), url))
        if storage is None:
            storage = _open[os.getpid(), url] = _open_new_postgres(url)
        return storage


def _open_new_postgres(url: str) -> RDBStorage:
    try:
        lock_engine = create_engine(url)
        with lock_engine.connect() as connection:
            there = sqlalchemy.inspect(connection).has_table(lease_tables.CLOCKS.name)  # made last
        with contextlib.nullcontext() if there else advisory_lock(lock_engine, "create"):
            storage = _connect(url, engine_options())
    except ImportError:
        raise InputError(
            "[study] storage is on Postgres, whose driver is not installed; pip install 'mmtuna[postgres]'"
        ) from None
    except (sqlalchemy.exc.ArgumentError, UnicodeError):  # the latter for a host that no name server could know
        raise InputError(UNREADABLE) from None
    except sqlalchemy.exc.DBAPIError as error:
        reason = first_line(error, url)
        raise _kind(error, reason)(f"[study] storage {hide_password(url)} does not open: {reason}") from None
    # The connections that made the tables go: those that stay have limits on their waits.
    storage.engine.dispose()
    limit_waits(storage.engine)
    return storage


def database_of(study: optuna.Study) -> sqlalchemy.Engine | None:
    """The engine of any study; None where it is in memory, in a journal, or anywhere but in a database."""
    backend = backend_of(study)
    return backend.engine if isinstance(backend, RDBStorage) else None


def engine_of(study: optuna.Study) -> sqlalchemy.Engine:
    """The engine of a study that was opened with `open_storage`."""
    backend: Any = backend_of(study)
    engine: sqlalchemy.Engine = backend.engine
    return engine


def _connect(url: str, options: dict[str, Any]) -> RDBStorage:
    try:
        # Optuna fills in {SCHEMA_VERSION} with str.format: a brace in a password or a path has to be doubled.
        storage = RDBStorage(url.replace("{", "{{").replace("}", "}}"), engine_kwargs=options)
        lease_tables.METADATA.create_all(storage.engine)
    except (sqlalchemy.exc.DatabaseError, optuna.exceptions.StorageInternalError) as error:
        cause = error if isinstance(error, sqlalchemy.exc.DatabaseError) else error.__cause__
        if is_disk_full(error):
            raise InputError(
                f"[study] storage {hide_password(url)} does not open: its disk is full; free some"
            ) from None
        _require_open_files()
        reason = first_line(cause, url) if isinstance(cause, sqlalchemy.exc.DBAPIError) else "it does not answer"
        raise _kind(error, reason)(
            f"[study] storage {hide_password(url)} does not open: {reason}; it must be a database of Optuna, or empty"
        ) from None
    except RuntimeError as error:  # Optuna's tables, but of another version
        raise InputError(f"[study] storage {hide_password(url)}: {error}") from None
    # Optuna leaves the pool's connections open when a storage is dropped.
    weakref.finalize(storage, storage.engine.dispose)
    return storage


def _require_open_files() -> None:
    """The system's own error where this process may not open what a database needs; SQLite does not tell why."""
    with contextlib.ExitStack() as held:
        for _ in range(_FILES):
            held.enter_context(open(os.devnull))


def _kind(error: Exception, reason: str) -> type[InputError]:
    """Whether to wait for a server that says `reason`: no time helps against a wrong name or password."""
    hopeless = any(words in reason for words in _HOPELESS)
    return StorageAwayError if is_outage(error) and not hopeless else InputError


def check_tables_and_lock(url: str, name: str, engine: sqlalchemy.Engine) -> None:
    """Whether a worker could do its work on the study `name`; InputError, or what the database says of our tables."""
    if url.startswith(SQLITE):
        _lock_file(sqlite_file(url), name)
    with engine.connect() as connection:
        for table in lease_tables.METADATA.sorted_tables:
            connection.execute(sqlalchemy.select(table).limit(0))


def _lock_file(database: Path, name: str) -> Path:
    path = database.with_name(f".{database.name}.{name}.lock")
    if path.is_dir():
        raise InputError(f"{path}: is a folder in the place of a lock's file; move it away")
    return path


@contextmanager
def _file_lock(database: Path, name: str) -> Iterator[None]:
    path = _lock_file(database, name)
    lock = filelock.FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=2 * BUSY_SECONDS, poll_interval=0.01)
    except filelock.Timeout:
        raise StorageAwayError(
            f"{path}: held by another process for {2 * BUSY_SECONDS:.0f} s; end that one and start again"
        ) from None
    try:
        yield
    finally:
        lock.release()


class StudyLock(AbstractContextManager["StudyLock"]):
    """Excludes every other holder of the same study's lock: other threads and other processes. Not reentrant.

    May be entered any number of times, one after another. The lock of a process that dies is free again.

    On Postgres `connection` is the one that holds the lock while it is held: what is written on it becomes true
    together with the release, or not at all. On SQLite it is None.
    """

    _threads: ClassVar[defaultdict[tuple[str, str], threading.Lock]] = defaultdict(threading.Lock)

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        # Threads queue here, so that one process polls the file at most once at a time.
        self._thread_lock = self._threads[url, name]
        self._held = contextlib.ExitStack()
        self.connection: sqlalchemy.Connection | None = None

    def __enter__(self) -> StudyLock:
        self._thread_lock.acquire()
        try:
            if self._url.startswith(SQLITE):
                file = sqlite_file(self._url)
                file.parent.mkdir(parents=True, exist_ok=True)
                self._held.enter_context(_file_lock(file, self._name))
            else:
                storage = _open.get((os.getpid(), self._url))
                engine = storage.engine if storage is not None else create_engine(self._url)
                self.connection = self._held.enter_context(advisory_lock(engine, f"study {self._name}"))
        except BaseException:
            self._thread_lock.release()
            raise
        return self

    def keep(self) -> None:
        """Tells the server that the holder lives: one that is silent for two minutes loses the lock on Postgres."""
        if self.connection is not None:
            self.connection.exec_driver_sql("SELECT 1")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._held.__exit__(kind, error, trace)
        finally:
            self.connection = None
            self._thread_lock.release()


def study_lock(storage_url: str, name: str) -> StudyLock:
    """The lock of study `name` in the storage at `storage_url`: `with study_lock(url, name): ...`."""
    return StudyLock(storage_url, name)
