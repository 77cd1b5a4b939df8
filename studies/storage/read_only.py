"""A study's storage opened for looking: no transaction of it writes, and none makes a worker wait."""

from __future__ import annotations

import sqlite3
import weakref

import sqlalchemy
import sqlalchemy.exc
from optuna.storages import RDBStorage

from mmtuna.studies.spec.tables import SQLITE
from mmtuna.studies.storage.opening import BUSY_SECONDS, open_storage, sqlite_file
from mmtuna.studies.storage.postgres import engine_options, limit_waits


def open_read_only(url: str) -> RDBStorage:
    """The storage at `url`; whatever would change it raises a database error.

    `open_storage` takes SQLite's write lock at the start of every transaction, also of those that only read. Here a
    transaction begins without a lock and reads the state of that moment (WAL), so workers write on meanwhile. On
    Postgres every transaction is READ ONLY, which the server holds to.

    Raises InputError as `open_storage` does.
    """
    # Tables and a person's mistakes are seen to there.
    open_storage(url)
    sqlite = url.startswith(SQLITE)
    storage = RDBStorage(
        # Optuna fills in {SCHEMA_VERSION} with str.format: a brace in a password or a path has to be doubled.
        url.replace("{", "{{").replace("}", "}}"),
        engine_kwargs=_sqlite_options(url) if sqlite else engine_options(),
        skip_table_creation=True,
    )
    begin = "BEGIN DEFERRED" if sqlite else "SET TRANSACTION READ ONLY"
    if not sqlite:
        limit_waits(storage.engine)
    sqlalchemy.event.listen(storage.engine, "begin", lambda connection: _execute(connection, begin))
    weakref.finalize(storage, storage.engine.dispose)
    return storage


def _sqlite_options(url: str) -> dict[str, object]:
    file = sqlite_file(url)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        # Not mode=ro: a reader of a WAL database has to keep its place in the -shm file, which that mode may deny it.
        connection.execute("PRAGMA query_only = ON")
        return connection

    return {"creator": connect}


def _execute(connection: sqlalchemy.Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)
