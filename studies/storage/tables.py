"""The tables of leases and workers beside Optuna's own, and the clock that their times come from: the database's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from sqlalchemy import Column, Double, Integer, MetaData, String, Table, case, func, select
from sqlalchemy.dialects import sqlite

METADATA = MetaData()

LEASES = Table(
    "mmtuna_leases",
    METADATA,
    Column("trial_id", Integer, primary_key=True, autoincrement=False),
    Column("study_id", Integer, nullable=False, index=True),
    Column("token", String(32), nullable=False),
    Column("worker", String(255), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("expires", Double, nullable=False),
)
"""Who trains which running trial, and until when that is believed. `token` is new for every claim."""

WORKERS = Table(
    "mmtuna_workers",
    METADATA,
    Column("worker", String(255), primary_key=True),
    Column("study_id", Integer, nullable=False, index=True),
    Column("slots", Integer, nullable=False),
    Column("started", Double, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("expires", Double, nullable=False),
)
"""Every worker that is at work, with a trial or without."""

CONTACT = Table(
    "mmtuna_contact",
    METADATA,
    Column("study_id", Integer, primary_key=True, autoincrement=False),
    Column("since", Double, nullable=False),
    Column("last", Double, nullable=False),
)
"""When a worker of the study last reached the database, and since when there was always one that did."""

CLOCKS = Table(
    "mmtuna_clocks",
    METADATA,
    Column("study", String(64), primary_key=True),
    Column("used", Double, nullable=False),
    Column("last", Double, nullable=False),
)
"""How many seconds a study, by its id, was worked on until `last`; mmtuna.studies.leases.clock."""


def now(engine: sqlalchemy.Engine) -> sqlalchemy.ColumnElement[float]:
    """Seconds since 1970 by the database's clock, whatever the clocks and time zones of the workers."""
    if engine.dialect.name == "sqlite":
        return (func.julianday("now") - 2440587.5) * 86400.0  # unixepoch('subsec') needs SQLite 3.42
    return sqlalchemy.cast(func.extract("epoch", func.clock_timestamp()), Double)


def has_expired(engine: sqlalchemy.Engine, table: Table) -> sqlalchemy.ColumnElement[bool]:
    """The condition that a row of LEASES or WORKERS has not been renewed in time."""
    return table.c.expires < now(engine)


@contextmanager
def single(engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Connection]:
    """A connection for statements each of which is a transaction: on Postgres the server ends it by itself."""
    options = {"isolation_level": "AUTOCOMMIT"} if engine.dialect.name == "postgresql" else {}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


@contextmanager
def reading(engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Connection]:
    """A connection that only reads. On SQLite it keeps nobody from writing, and waits for nobody."""
    if engine.dialect.name == "postgresql":
        with single(engine) as connection:
            yield connection
    else:
        with engine.connect().execution_options(**{READS: True}) as connection, connection.begin():
            yield connection


READS = "mmtuna_reads"
"""The execution option of a connection that only reads."""


def keep_contact(engine: sqlalchemy.Engine, study_id: int, seconds: float) -> None:
    """Notes that a worker, whose leases last `seconds`, has reached the database."""
    at = now(engine)
    # Every worker renews each third of a lease: after half of one nobody did, and then all must have missed theirs.
    resumed = case((at - CONTACT.c.last > seconds / 2, at), else_=CONTACT.c.since)
    note = upsert(engine.dialect.name, CONTACT).values(study_id=study_id, since=at, last=at)
    note = note.on_conflict_do_update(index_elements=[CONTACT.c.study_id], set_={"since": resumed, "last": at})
    # All workers write this one row: whoever is stopped within a transaction would hold up the others, or keep them
    # from noting theirs.
    with single(engine) as connection:
        connection.execute(note)


def upsert(dialect: str, table: Table) -> Any:
    """An INSERT that takes `on_conflict_do_update`."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # slow to import, and only its own studies need it

        return postgresql.insert(table)
    return sqlite.insert(table)


def has_had_its_chance(engine: sqlalchemy.Engine, patience: float | None) -> sqlalchemy.ColumnElement[bool]:
    """The condition that whoever holds a lease that has expired could have renewed it, if there.

    Not so where nobody reached the database while it expired: the server was down, the network cut, the only machine
    asleep. Then it gets a whole lease's time from the moment at which the first one did. What counts is the contact
    that was noted, not that of who asks: it may be the first one back, and not have noted its own yet. Who notes none
    of its own has `patience`: seconds after which it takes the worker of an expired lease for gone all the same.
    """
    here = CONTACT.c.study_id == LEASES.c.study_id
    since = select(CONTACT.c.since).where(here).scalar_subquery()
    last = select(CONTACT.c.last).where(here).scalar_subquery()
    never = last.is_(None)  # a study of before contact was noted
    early = since < LEASES.c.expires - LEASES.c.seconds / 2
    # Between two notes may lie an outage of half a lease of who notes. A lease is good for two thirds of its time even
    # where its renewal was due at that moment; one that is shorter than the others' has not had its chance with that.
    longest = select(func.max(WORKERS.c.seconds)).where(WORKERS.c.study_id == LEASES.c.study_id).scalar_subquery()
    unnoticed = case((longest > LEASES.c.seconds, (longest - LEASES.c.seconds) / 2), else_=0.0)
    lasted = last >= case((early, LEASES.c.expires), else_=since + LEASES.c.seconds) + unnoticed
    if patience is None:
        return sqlalchemy.or_(never, lasted)
    return sqlalchemy.or_(never, lasted, LEASES.c.expires + patience < now(engine))
