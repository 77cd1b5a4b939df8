"""Transactions on a running trial: each checks that the trial is still the caller's, and is done whole or not at all.

Written on Optuna's own tables, since Optuna's interface needs one transaction for every attribute and another one for
the state: whoever dies between two of them leaves half an end. Every one of them locks the trial's row first and
touches the lease second, so that no two wait for each other.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import bindparam, delete, func, insert, select, update

from mmtuna.spaces.trials import Cause
from mmtuna.studies.attributes import CAUSE, HISTORY, MESSAGE
from mmtuna.studies.storage.optuna_insides import (
    CONSTRAINT,
    PARAMS,
    REPORTS,
    STUDIES,
    SYSTEM_ATTRS,
    TRIALS,
    USER_ATTRS,
    VALUES,
    finite_report,
    stored_param,
    stored_report,
    stored_value,
)
from mmtuna.studies.storage.tables import LEASES, has_expired, now, upsert

INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Lease:
    """The right to train trial `number` for its `attempt`th time, 1 at first. `token` is new for every claim."""

    trial_id: int
    number: int
    token: str
    worker: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class End:
    """How a trial ends. `report` is a last (step, value), moved behind all other reports where it is not the last.

    A complete trial needs a value; that of a pruned one is its last report. `constraints` are Optuna's, by name: one
    above 0 is violated.
    """

    state: TrialState
    value: float | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    report: tuple[int, float] | None = None
    constraints: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Reaped:
    """A trial whose worker was lost: it waits again, or after `losses` of them has failed."""

    number: int
    worker: str
    losses: int
    failed: bool


def begin(connection: sqlalchemy.Connection, study_id: int, draft: FrozenTrial, newest: int) -> tuple[int, int]:
    """Stores a trial that was drafted in memory as a running one, whole; its id and number.

    Args:
        newest: id of a trial of the study, as high as is known; 0 where none is.
    """
    # As Optuna does it: who makes a trial holds the study's row, so that numbers have no gaps and are given once.
    connection.execute(select(STUDIES.c.study_id).where(STUDIES.c.study_id == study_id).with_for_update())
    later = (TRIALS.c.study_id == study_id) & (TRIALS.c.trial_id >= newest)
    last = connection.scalar(select(TRIALS.c.number).where(later).order_by(TRIALS.c.trial_id.desc()).limit(1))
    number = 0 if last is None else last + 1
    row = {"study_id": study_id, "number": number, "state": TrialState.RUNNING}
    started = datetime.now(UTC).replace(tzinfo=None)
    made = insert(TRIALS).values(**row, datetime_start=started).returning(TRIALS.c.trial_id)
    trial_id = int(connection.execute(made).scalar_one())
    params = [stored_param(name, value, draft.distributions[name]) for name, value in draft.params.items()]
    if params:
        connection.execute(insert(PARAMS), [{"trial_id": trial_id, **param} for param in params])
    for table, attrs in ((USER_ATTRS, draft.user_attrs), (SYSTEM_ATTRS, draft.system_attrs)):
        if attrs:
            connection.execute(insert(table), _attr_rows(trial_id, attrs))
    return trial_id, number


def claim(connection: sqlalchemy.Connection, lease: Lease, study_id: int, seconds: float, expires: Any) -> None:
    """Writes `lease`; the caller holds the study's lock and has made the trial running."""
    row = {"study_id": study_id, "token": lease.token, "worker": lease.worker, "attempt": lease.attempt}
    row |= {"seconds": seconds, "expires": expires}
    # SQLite gives the numbers of a deleted study again, and Optuna's deletion leaves our rows.
    write = upsert(connection.dialect.name, LEASES).values(trial_id=lease.trial_id, **row)
    connection.execute(write.on_conflict_do_update(index_elements=[LEASES.c.trial_id], set_=row))


def report(connection: sqlalchemy.Connection, lease: Lease, step: int, value: float) -> bool:
    """Stores an intermediate value; False, and nothing stored, where the trial is not the lease's any more."""
    stored, kind = stored_report(value)
    values = {"of": lease.trial_id, "token": lease.token, "step": step, "value": stored, "kind": kind}
    return (
        connection.scalar(_report(connection.dialect.name), {f"our_{name}": held for name, held in values.items()})
        is not None
    )


@functools.cache
def _report(dialect: str) -> Any:
    """One statement, which locks the lease and stores nothing where it is gone: whoever takes the trial deletes it."""
    columns = (REPORTS.c.step, REPORTS.c.intermediate_value, REPORTS.c.intermediate_value_type)
    given = [
        bindparam(name, type_=column.type)
        for name, column in zip(("our_step", "our_value", "our_kind"), columns, strict=True)
    ]
    running = (TRIALS.c.trial_id == LEASES.c.trial_id) & (TRIALS.c.state == TrialState.RUNNING)
    ours = (LEASES.c.trial_id == bindparam("our_of")) & (LEASES.c.token == bindparam("our_token"))
    held = select(LEASES.c.trial_id, *given).join(TRIALS, running).where(ours)
    store = upsert(dialect, REPORTS).from_select(
        [REPORTS.c.trial_id, *columns], held.with_for_update(read=True, of=LEASES)
    )
    return store.on_conflict_do_update(
        index_elements=[REPORTS.c.trial_id, REPORTS.c.step],
        set_={column.name: store.excluded[column.name] for column in columns[1:]},
    ).returning(REPORTS.c.trial_id)


def _of(lease: Lease) -> sqlalchemy.ColumnElement[bool]:
    return (LEASES.c.trial_id == lease.trial_id) & (LEASES.c.token == lease.token)


def end(connection: sqlalchemy.Connection, lease: Lease, how: End) -> bool:
    """Ends the trial and the lease; False, and nothing stored, where the trial is not the lease's any more.

    Said twice, since the answer to the first time was lost, it is True again.
    """
    if not _lock_held(connection, lease):
        return _ended_by(connection, lease)
    trial_id = lease.trial_id
    if how.report is not None:
        last = connection.scalar(select(func.max(REPORTS.c.step)).where(REPORTS.c.trial_id == trial_id))
        step, reported = how.report
        _write_report(connection, trial_id, step if last is None else max(step, last + 1), reported)
    value = _pruned_value(connection, trial_id) if how.state == TrialState.PRUNED else how.value
    if value is not None:
        stored, kind = stored_value(value)
        row = {"trial_id": trial_id, "objective": 0, "value": stored, "value_type": kind}
        connection.execute(insert(VALUES).values(**row))
    entry = _entry(lease.worker, lease.attempt, how.state.name.lower(), token=lease.token, at=_time(connection))
    write_attrs(connection, trial_id, {**how.attrs, HISTORY: [*_history(connection, trial_id), entry]})
    if how.constraints:
        held = {f"{CONSTRAINT}{name}": value for name, value in how.constraints.items()}
        _write_attrs(connection, SYSTEM_ATTRS, trial_id, held)
    _set_state(connection, trial_id, how.state)
    connection.execute(delete(LEASES).where(LEASES.c.trial_id == trial_id))
    return True


def put_back(connection: sqlalchemy.Connection, lease: Lease) -> bool:
    """Lets the trial wait again, without spending a retry; False where it is not the lease's any more."""
    if not _lock_held(connection, lease):
        return False
    entry = _entry(lease.worker, lease.attempt, INTERRUPTED)
    write_attrs(connection, lease.trial_id, {HISTORY: [*_history(connection, lease.trial_id), entry]})
    _set_state(connection, lease.trial_id, TrialState.WAITING)
    connection.execute(delete(LEASES).where(LEASES.c.trial_id == lease.trial_id))
    return True


def put_back_unclaimed(connection: sqlalchemy.Connection, trial_id: int) -> None:
    """Lets a running trial without a lease wait again: nobody trained it. The caller holds the study's lock."""
    none = ~sqlalchemy.exists().where(LEASES.c.trial_id == TRIALS.c.trial_id)
    running = (TRIALS.c.trial_id == trial_id) & (TRIALS.c.state == TrialState.RUNNING)
    connection.execute(update(TRIALS).where(running, none).values(state=TrialState.WAITING))


def reap(connection: sqlalchemy.Connection, lease: Lease, retries: int, *, dead: bool) -> Reaped | None:
    """Takes the trial from a worker that is gone: `dead` where that is known, otherwise if the lease has expired.

    The trial waits again, under its number and with all that it has; lost more than `retries` times, it fails with the
    cause "lost". None where nothing was to do, be it that another reaper was first.
    """
    # Whoever holds the row lives, or did a moment ago: others are not to wait for it.
    if not _lock_held(connection, lease, skip=True):
        return None
    gone = delete(LEASES).where(LEASES.c.trial_id == lease.trial_id, LEASES.c.token == lease.token)
    if not dead:
        # Asked in the same statement: the worker may renew at this moment.
        gone = gone.where(has_expired(connection.engine, LEASES))
    if connection.execute(gone).rowcount != 1:
        return None
    entry = _entry(lease.worker, lease.attempt, Cause.LOST, at=_time(connection))
    history = [*_history(connection, lease.trial_id), entry]
    losses = sum(earlier.get("ended") == Cause.LOST for earlier in history)
    attrs: dict[str, Any] = {HISTORY: history}
    failed = losses > retries
    if failed:
        attrs |= {CAUSE: Cause.LOST, MESSAGE: f"lost with its worker {losses} times, last with {lease.worker}"}
    write_attrs(connection, lease.trial_id, attrs)
    _set_state(connection, lease.trial_id, TrialState.FAIL if failed else TrialState.WAITING)
    return Reaped(lease.number, lease.worker, losses, failed)


def write_attrs(connection: sqlalchemy.Connection, trial_id: int, attrs: Mapping[str, Any]) -> None:
    """Sets user attributes of a trial."""
    _write_attrs(connection, USER_ATTRS, trial_id, attrs)


def _write_attrs(
    connection: sqlalchemy.Connection, table: sqlalchemy.Table, trial_id: int, attrs: Mapping[str, Any]
) -> None:
    write = upsert(connection.dialect.name, table)
    write = write.on_conflict_do_update(
        index_elements=[table.c.trial_id, table.c.key], set_={"value_json": write.excluded.value_json}
    )
    connection.execute(write, _attr_rows(trial_id, attrs))


def _attr_rows(trial_id: int, attrs: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in attrs.items()]


def _lock_held(connection: sqlalchemy.Connection, lease: Lease, *, skip: bool = False) -> bool:
    # Two statements: the second must see what whoever held the row until now has committed.
    row = select(TRIALS.c.state).where(TRIALS.c.trial_id == lease.trial_id)
    # NO KEY UPDATE: Optuna's inserts of params and attributes refer to the trial and need not wait.
    state = connection.scalar(row.with_for_update(key_share=True, skip_locked=skip))
    return state == TrialState.RUNNING and connection.scalar(select(LEASES.c.token).where(_of(lease))) is not None


def _ended_by(connection: sqlalchemy.Connection, lease: Lease) -> bool:
    return any(entry.get("token") == lease.token for entry in _history(connection, lease.trial_id))


def _history(connection: sqlalchemy.Connection, trial_id: int) -> list[dict[str, Any]]:
    text = connection.scalar(
        select(USER_ATTRS.c.value_json).where(USER_ATTRS.c.trial_id == trial_id, USER_ATTRS.c.key == HISTORY)
    )
    history: list[dict[str, Any]] = json.loads(text) if text else []
    return history


def _entry(worker: str, attempt: int, ended: str, **more: Any) -> dict[str, Any]:
    return {"worker": worker, "attempt": attempt, "ended": ended, **more}


def _time(connection: sqlalchemy.Connection) -> float:
    return float(connection.scalar(select(now(connection.engine))) or 0.0)


def _set_state(connection: sqlalchemy.Connection, trial_id: int, state: TrialState) -> None:
    values: dict[str, Any] = {"state": state}
    if state.is_finished():
        values["datetime_complete"] = datetime.now(UTC).replace(tzinfo=None)  # as Optuna stores it
    connection.execute(update(TRIALS).where(TRIALS.c.trial_id == trial_id).values(**values))


def _write_report(connection: sqlalchemy.Connection, trial_id: int, step: int, value: float) -> None:
    stored, kind = stored_report(value)
    values = {"intermediate_value": stored, "intermediate_value_type": kind}
    row = upsert(connection.dialect.name, REPORTS).values(trial_id=trial_id, step=step, **values)
    connection.execute(row.on_conflict_do_update(index_elements=[REPORTS.c.trial_id, REPORTS.c.step], set_=values))


def _pruned_value(connection: sqlalchemy.Connection, trial_id: int) -> float | None:
    reports = select(REPORTS.c.intermediate_value, REPORTS.c.intermediate_value_type)
    last = connection.execute(reports.where(REPORTS.c.trial_id == trial_id).order_by(REPORTS.c.step.desc())).first()
    return None if last is None else finite_report(last[0], last[1])
