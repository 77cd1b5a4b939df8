"""The tables of leases and workers beside Optuna's own, and the clock that their times come from: the database's."""

from __future__ import annotations

import sqlalchemy
from sqlalchemy import Column, Double, Integer, MetaData, String, Table, and_, func

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


def now(engine: sqlalchemy.Engine) -> sqlalchemy.ColumnElement[float]:
    """Seconds since 1970 by the database's clock, whatever the clocks and time zones of the workers."""
    if engine.dialect.name == "sqlite":
        return (func.julianday("now") - 2440587.5) * 86400.0  # unixepoch('subsec') needs SQLite 3.42
    return sqlalchemy.cast(func.extract("epoch", func.clock_timestamp()), Double)


def has_expired(engine: sqlalchemy.Engine, table: Table) -> sqlalchemy.ColumnElement[bool]:
    """The condition that a row of LEASES or WORKERS has not been renewed in time."""
    return table.c.expires < now(engine)


def missed_by_restart(engine: sqlalchemy.Engine) -> sqlalchemy.ColumnElement[bool] | None:
    """The condition that a lease expired while the server was away, when nobody could renew; None on SQLite."""
    if engine.dialect.name == "sqlite":
        return None
    started = sqlalchemy.cast(func.extract("epoch", func.pg_postmaster_start_time()), Double)
    return and_(has_expired(engine, LEASES), LEASES.c.expires - LEASES.c.seconds < started)
