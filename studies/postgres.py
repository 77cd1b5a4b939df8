"""Postgres as a study's storage: few connections, short waits, and a lock that goes with its connection."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
import sqlalchemy.exc

from spaces.errors import InputError

POSTGRES = "postgresql+psycopg://"
CONNECT_SECONDS = 10
CONNECTIONS = 2
"""Connections that one process keeps at most: one that holds the study's lock, one that reads and writes."""
_ROW_LOCK_SECONDS = 30
_IDLE_SECONDS = 120
"""A process that was stopped within a transaction holds its locks no longer than this."""
_STUDY_LOCK_SECONDS = 4 * _IDLE_SECONDS
_POOL_SECONDS = 60
_CONNECT_ARGS = {
    "connect_timeout": CONNECT_SECONDS,
    # A server whose machine has gone is noticed after about a minute, not after the system's two hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "fallback_application_name": "mmtuna",
}


def engine_options() -> dict[str, Any]:
    """Options of `sqlalchemy.create_engine` for a storage on Postgres."""
    return {
        "pool_pre_ping": True,  # a server restarted in mid-trial must not kill the worker
        "pool_size": CONNECTIONS,
        "max_overflow": 0,
        "pool_timeout": _POOL_SECONDS,
        "connect_args": dict(_CONNECT_ARGS),
    }


def limit_waits(engine: sqlalchemy.Engine) -> None:
    """Lets no statement of `engine` wait for a row for ever, and no stopped process keep one for ever."""

    def on_connect(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{_ROW_LOCK_SECONDS}s'")
            cursor.execute(f"SET idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'")
        connection.commit()

    sqlalchemy.event.listen(engine, "connect", on_connect)


@contextmanager
def advisory_lock(engine: sqlalchemy.Engine, name: str) -> Iterator[sqlalchemy.Connection]:
    """Holds the lock `name` of this database, within a transaction of the connection it gives.

    What is written on that connection is committed together with the release, and only if the lock was held until
    then: where the connection was lost, by a restart of the server or by a stop of this process for over two minutes,
    leaving raises the database's error. An exception within rolls it back.
    """
    key = int.from_bytes(hashlib.sha256(f"mmtuna {name}".encode()).digest()[:8], "big", signed=True)
    with engine.connect() as connection, connection.begin():
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_STUDY_LOCK_SECONDS}s'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({key})")
        yield connection


def create_engine(url: str) -> sqlalchemy.Engine:
    """An engine for one short use: it keeps no connection."""
    return sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args=dict(_CONNECT_ARGS))


def holds_password(url: str) -> bool:
    """Whether a password stands in `url`, before the @ or among the options."""
    return bool(re.search(r"://[^/@:]*:[^@]+@", url) or re.search(r"[?&](?:ssl)?password=[^&]", url, re.IGNORECASE))


def without_password(url: str) -> str:
    """`url` without a password, for a place where the password comes from the environment; others are as they were.

    InputError, which does not repeat it, for one that is no URL.
    """
    if not url.startswith(POSTGRES):
        return url
    try:
        parsed = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise InputError(f"[study] storage is no URL; write {POSTGRES}USER@HOST/NAME") from None
    secret = [name for name in parsed.query if name.lower() in ("password", "sslpassword", "passwd", "pwd")]
    bare = parsed._replace(password=None).difference_update_query(secret)  # set(password=None) changes nothing
    return bare.render_as_string(hide_password=False)


def first_line(error: sqlalchemy.exc.DBAPIError, url: str) -> str:
    """What the server or the driver said, without the password of `url`."""
    line = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else "no answer"
    password = sqlalchemy.make_url(url).password
    return line.replace(str(password), "***") if password else line
