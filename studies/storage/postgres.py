"""Postgres as a study's storage: few connections, short waits, and a lock that goes with its connection."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
import sqlalchemy.exc

from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec.tables import SQLITE

POSTGRES = "postgresql+psycopg://"
UNREADABLE = (
    "[study] storage, MMTUNA_STORAGE or --to cannot be read as a URL; write "
    f"{SQLITE}FILE or {POSTGRES}USER@HOST/NAME, special signs percent-encoded"
)
_SECRETS = ("password", "sslpassword", "passwd", "pwd")
_SECRET_OPTION = re.compile(rf"(?:{'|'.join(_SECRETS)})=", re.IGNORECASE)
_HARMLESS = ("user", "host", "hostaddr", "port", "dbname", "service", "sslmode", "connect_timeout", "application_name")
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
        wait = f"SET LOCAL lock_timeout = '{_STUDY_LOCK_SECONDS}s'"
        connection.exec_driver_sql(f"{wait}; SELECT pg_advisory_xact_lock({key})")
        yield connection


def create_engine(url: str) -> sqlalchemy.Engine:
    """An engine for one short use: it keeps no connection."""
    return sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args=dict(_CONNECT_ARGS))


def read_url(url: str) -> sqlalchemy.URL:
    """The parts of a database URL; InputError, which repeats nothing of it, where they are in doubt.

    A URL that was mistyped may hold its password anywhere: as the port where the host was forgotten, within the host
    where the password has an @ of its own.
    """
    try:
        parsed = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise InputError(UNREADABLE) from None
    options = [text for _, values in _options(parsed) for text in values]
    shown = [text for text in (parsed.username, parsed.host, parsed.database, *options) if text]
    if (
        "@" in (parsed.host or "") + (parsed.database or "")
        or any(_SECRET_OPTION.search(text) for text in shown)
        or not url.isprintable()
    ):
        raise InputError(UNREADABLE)
    return parsed


def _options(url: sqlalchemy.URL) -> list[tuple[str, list[str]]]:
    return [(name, [values] if isinstance(values, str) else list(values)) for name, values in url.query.items()]


def masked(url: str) -> str:
    """`url` with `***` in the place of its password and of options that may hold one; `***` where it is no URL."""
    try:
        parsed = read_url(url)
    except InputError:
        return "***"
    # An option's name may be mistyped too, so only those that are known to be harmless are shown.
    options = [f"{name}={text if name in _HARMLESS else '***'}" for name, values in _options(parsed) for text in values]
    bare = parsed.set(query={}).render_as_string()
    return f"{bare}?{'&'.join(options)}" if options else bare


def holds_password(url: str) -> bool:
    """Whether a password stands in `url`, before the @ or among the options."""
    return bool(re.search(r"://[^/@:]*:[^@]+@", url) or re.search(r"[?&](?:ssl)?password=[^&]", url, re.IGNORECASE))


def without_password(url: str) -> str:
    """`url` without a password, for a place where the password comes from the environment; SQLite's as they were.

    InputError, which does not repeat it, for one that is no URL.
    """
    if not url or url.startswith(SQLITE):
        return url
    parsed = read_url(url)
    secret = [name for name in parsed.query if name.lower() in _SECRETS]
    bare = parsed._replace(password=None).difference_update_query(secret)  # set(password=None) changes nothing
    return bare.render_as_string(hide_password=False)


def first_line(error: sqlalchemy.exc.DBAPIError, url: str) -> str:
    """What the server or the driver said, without the password of `url`."""
    line = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else "no answer"
    parsed = read_url(url)
    options = [text for name, values in _options(parsed) for text in values if name not in _HARMLESS]
    for secret in (str(parsed.password or ""), *options):
        line = line.replace(secret, "***") if secret else line
    return line
