"""Leases: who trains which trial, renewed while the worker lives, taken over when it does not.

A lease is a row in the study's own database whose time comes from the database's clock. The worker's renewal thread
extends all of its leases at once, every third of their time, and goes on through database errors; a lease that is gone
all the same was given to somebody else, and its result is dropped.
"""

from __future__ import annotations

import copy
import math
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.trial import TrialState
from sqlalchemy import delete, insert, select, update

from mmtuna.studies.attributes import HISTORY
from mmtuna.studies.identity import PUT_BACK, StudyGoneError, id_of
from mmtuna.studies.leases import clock, signs_of_life, transactions
from mmtuna.studies.leases.transactions import End, Lease, Reaped
from mmtuna.studies.storage.opening import database_of, engine_of
from mmtuna.studies.storage.optuna_insides import (
    TRIALS,
    as_read,
    note_report,
    read_trials_again,
    storage_of,
    study_id,
    trial_id,
    view_of_sampler,
)
from mmtuna.studies.storage.outages import OUTAGE_SECONDS, through_outages
from mmtuna.studies.storage.tables import (
    CONTACT,
    LEASES,
    WORKERS,
    has_expired,
    has_had_its_chance,
    keep_contact,
    now,
    reading,
    single,
)

_LOOK_AROUND = 1 / 12
"""Share of a lease's time between two looks at other workers while there is work."""
_REMEMBERED_SECONDS = 3600.0  # a worker that was lost is shown as lost for so long


@dataclass(kw_only=True)
class Leases:
    """The leases of one worker process, for all of its slots; safe to call from several threads.

    `with Leases(...) as leases:` registers the worker, renews in the background, and at the end puts back what it still
    holds. Storage errors that pass are waited for in `report`, `end` and `put_back`; all others pass through.

    Args:
        folder: the study's folder, for the signs of life of workers on the same machine.
        seconds: how long a trial waits for a sign of life of its worker.
        retries: how often a trial is trained again after its worker was lost.
        slots: how many trials this worker trains at a time; only shown.
        stop: set when the worker is to stop, which ends the waiting for a database that is away.
        still_there: raises StudyGoneError where the study is not what the worker joined; asked at every renewal.
    """

    study: optuna.Study
    folder: Path
    seconds: float = 60.0
    retries: int = 3
    slots: int = 1
    stop: threading.Event = field(default_factory=threading.Event)
    say: Callable[[str], None] = lambda _text: None
    still_there: Callable[[], None] = lambda: None
    gone: str = field(default="", init=False)
    """Why the worker has to stop, once the study was found to be gone."""

    def __post_init__(self) -> None:
        self.engine = engine_of(self.study)
        self._registration = signs_of_life.register(self.folder)
        self._clock: str | None = None
        self._kept = math.inf
        self.worker = self._registration.worker
        self._mutex = threading.Lock()
        self._claimed: set[str] = set()
        self._renewed: dict[str, Lease] = {}
        self._lost: set[str] = set()
        self._trials: dict[str, optuna.Trial] = {}
        self._look_around_at = 0.0
        # What this worker noted as the end of its time, which nobody else writes: both, where an answer was lost.
        self._ends: set[float] = set()
        self._noting = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="leases", daemon=True)

    def __enter__(self) -> Leases:
        through_outages(self._begin_clock, stop=self.stop)
        through_outages(self._renew, stop=self.stop)
        through_outages(self._forget_old_workers, stop=self.stop)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Puts back the trials that this worker still holds, and says that it is gone."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=10)
        self.stop.set()  # no long waits any more: what cannot be put back now expires
        try:
            for lease in list(self._renewed.values()):
                self.put_back(lease)
            self._keep_clock()
            with self.engine.begin() as connection:
                connection.execute(delete(WORKERS).where(WORKERS.c.worker == self.worker))
        except Exception as error:
            self.say(f"the trials of this worker wait until their leases expire: {type(error).__name__}")
        self._registration.release()

    def _begin_clock(self) -> None:
        self._clock = id_of(self.study)
        if self._clock is not None:
            clock.begin(self.engine, self._clock, study_id(self.study), self.worker)
            self._kept = time.monotonic()

    def _keep_clock(self) -> None:
        if self._clock is None:
            return
        # A database that was away kept nobody from working.
        begun, worked = time.monotonic(), time.monotonic() - self._kept
        clock.keep(self.engine, self._clock, max(self.seconds, worked + 1.0))
        self._kept = begun

    def _forget_old_workers(self) -> None:
        old = WORKERS.c.expires < now(self.engine) - _REMEMBERED_SECONDS
        with self.engine.begin() as connection:
            connection.execute(delete(WORKERS).where(WORKERS.c.study_id == study_id(self.study), old))

    def claim(self, trial: optuna.Trial, attrs: Mapping[str, Any], connection: sqlalchemy.Connection | None) -> Lease:
        """Takes a lease on a trial that was just made running, and sets user attributes with it.

        The caller holds the study's lock, gives that lock's connection, and calls `hold` after its release or `drop`.
        """
        history = trial.user_attrs.get(HISTORY, [])
        lease = Lease(trial_id(trial), trial.number, secrets.token_hex(8), self.worker, len(history) + 1)
        with self._mutex:
            self._claimed.add(lease.token)
            self._trials[lease.token] = trial
        if connection is not None:
            self._write_claim(connection, lease, attrs)
        else:
            with self.engine.begin() as own:
                self._write_claim(own, lease, attrs)
        return lease

    def _write_claim(self, connection: sqlalchemy.Connection, lease: Lease, attrs: Mapping[str, Any]) -> None:
        expires = now(self.engine) + self.seconds
        transactions.claim(connection, lease, study_id(self.study), self.seconds, expires)
        if attrs:
            transactions.write_attrs(connection, lease.trial_id, attrs)

    def hold(self, lease: Lease) -> None:
        """Renews `lease` from now on: its claim stands in the database."""
        with self._mutex:
            self._renewed[lease.token] = lease

    def drop(self, lease: Lease) -> None:
        """Forgets `lease`: its claim came to nothing, or is known to have; what stands of it is put back."""
        self._let_go(lease)
        self.look_around_next()

    def _let_go(self, lease: Lease) -> None:
        with self._mutex:
            self._claimed.discard(lease.token)
            self._renewed.pop(lease.token, None)
            self._trials.pop(lease.token, None)

    def forget(self, told: Collection[Lease]) -> None:
        """Deletes leases on trials whose end Optuna itself was told."""
        if told:
            with self.engine.begin() as connection:
                connection.execute(delete(LEASES).where(LEASES.c.token.in_([lease.token for lease in told])))

    def lost(self, lease: Lease) -> bool:
        """Whether `lease` is known to be lost: the training is to end, and its result will be dropped."""
        return lease.token in self._lost

    def report(self, trial: optuna.Trial, lease: Lease, step: int, value: float) -> bool:
        """Reports an intermediate value; False where the lease is lost and nothing was stored."""

        def once() -> bool:
            with single(self.engine) as connection:
                return transactions.report(connection, lease, step, value)

        if not through_outages(once, stop=self.stop, say=self.say):
            self._lost.add(lease.token)
            return False
        note_report(trial, step, value)
        return True

    def end(self, lease: Lease, how: End) -> bool:
        """Ends the trial with all that it leaves, in one transaction; False, and nothing stored, where it was lost."""
        through_outages(lambda: self._tell_sampler(lease, how), stop=self.stop)
        kept = self._through(lambda connection: transactions.end(connection, lease, how))
        self._let_go(lease)
        return kept

    def put_back(self, lease: Lease) -> bool:
        """Lets the trial wait again without spending a retry; False where the lease is lost."""
        kept = self._through(lambda connection: transactions.put_back(connection, lease))
        self._let_go(lease)
        return kept

    def _tell_sampler(self, lease: Lease, how: End) -> None:
        # As Study.tell does. It may compute what a sampler stores with the trial, and so it comes before the end.
        read_trials_again(self.study)
        own = self._trials.get(lease.token)
        frozen = storage_of(self.study).get_trial(lease.trial_id) if own is None else copy.copy(as_read(own))
        values = None if how.value is None else [how.value]
        if how.state == TrialState.PRUNED and (how.report or frozen.intermediate_values):
            values = [how.report[1] if how.report else frozen.intermediate_values[frozen.last_step or 0]]
        view = view_of_sampler(self.study, frozen)
        view.sampler.after_trial(view, frozen, how.state, values)

    def _through(self, call: Callable[[sqlalchemy.Connection], bool]) -> bool:
        def once() -> bool:
            with self.engine.begin() as connection:
                return call(connection)

        return through_outages(once, stop=self.stop, say=self.say)

    def reap(self, connection: sqlalchemy.Connection | None = None) -> list[Reaped]:
        """Takes every trial from a worker that is gone, as `reap` of this module does, and says so."""
        found = reap(self.study, self.folder, self.retries, but_not=self.worker, patience=None, connection=connection)
        for reaped in found:
            self.say(_reaped_text(reaped))
        return found

    def look_around(
        self, running: Collection[int], *, at_once: bool = False, connection: sqlalchemy.Connection | None = None
    ) -> bool:
        """Puts back the trials of dead workers, and those of `running` (ids) that nobody claimed; whether one was.

        The caller holds the study's lock, by `connection` where that has one. As long as there is other work this is
        done now and then only, since it looks at every lease and at every worker of this machine: `at_once` says that
        there is none.
        """
        if not at_once and time.monotonic() < self._look_around_at:
            return False
        self._look_around_at = time.monotonic() + self.seconds * _LOOK_AROUND
        return bool(self.reap(connection)) | self.put_back_unclaimed(running, connection)

    def look_around_next(self) -> None:
        """Lets the next `look_around` look: a claim of this worker came to nothing, or its answer was lost."""
        self._look_around_at = 0.0

    def put_back_unclaimed(self, running: Collection[int], connection: sqlalchemy.Connection | None = None) -> bool:
        """Puts back those of the trials (ids) that run without a lease; whether there was one.

        The caller holds the study's lock, under which every claim is made: such a trial's claimer died, or lost the
        database, before the claim was whole. A lease in this worker's name that it does not know is one of these.
        """
        with nullcontext(connection) if connection is not None else reading(self.engine) as used:
            leases = used.execute(select(LEASES).where(LEASES.c.study_id == study_id(self.study))).all()
            unknown = [row for row in leases if row.worker == self.worker and row.token not in self._claimed]
            free = set(running) - {row.trial_id for row in leases} | {row.trial_id for row in unknown}
            # Most have ended since the caller looked.
            still = select(TRIALS.c.trial_id).where(TRIALS.c.trial_id.in_(free), TRIALS.c.state == TrialState.RUNNING)
            free = set(used.scalars(still)) if free else free
        if not free and not unknown:
            return False
        # By itself: who goes on to claim one of them does so on another connection than the lock's.
        with self.engine.begin() as writing:
            for row in unknown:
                writing.execute(delete(LEASES).where(LEASES.c.token == row.token))
            for unclaimed in free:
                transactions.put_back_unclaimed(writing, unclaimed)
        return bool(free)

    def _keep(self) -> None:
        pause = interval = self.seconds / 3
        failing = False
        while not self._closing.wait(pause):
            try:
                self.check()
                self._renew()
                self.reap()
                pause, failing = interval, False
            except StudyGoneError as error:
                self.gone = str(error)
                self.stop.set()
                return
            except Exception as error:
                # Whatever it is, the next try may succeed, and a thread that ended here would lose every lease.
                if not failing:
                    self.say(f"leases could not be renewed ({type(error).__name__}); trying again")
                pause, failing = min(interval, 1.0), True

    def check(self) -> None:
        """StudyGoneError where the study is not what the worker joined: `still_there`, and as it last renewed in it."""
        self.still_there()
        with self._noting, self.engine.begin() as connection:
            self._check_noted(connection)

    def _check_noted(self, connection: sqlalchemy.Connection) -> None:
        noted = connection.scalar(select(WORKERS.c.expires).where(WORKERS.c.worker == self.worker))
        # Not there: others forgot this worker, which slept for hours.
        if noted is not None and self._ends and noted not in self._ends:
            raise StudyGoneError(f"the database {PUT_BACK}")

    def _renew(self) -> None:
        with self._noting:
            self._renew_noted()

    def _renew_noted(self) -> None:
        with self._mutex:
            held = dict(self._renewed)
        with self.engine.begin() as connection:
            self._check_noted(connection)
            until = float(connection.scalar(select(now(self.engine))) or 0.0) + self.seconds
            self._ends.add(until)
            mine = WORKERS.c.worker == self.worker
            if connection.execute(update(WORKERS).where(mine).values(expires=until)).rowcount == 0:
                row = {"worker": self.worker, "study_id": study_id(self.study), "slots": self.slots}
                times = {"started": now(self.engine), "seconds": self.seconds, "expires": until}
                connection.execute(insert(WORKERS).values(**row, **times))
            tokens = LEASES.c.token.in_(list(held))
            there = set(held)
            if connection.execute(update(LEASES).where(tokens).values(expires=until)).rowcount != len(held):
                there = set(connection.scalars(select(LEASES.c.token).where(tokens)))
        self._ends = {until}
        for token in held.keys() - there:
            self._lost.add(token)
            self.drop(held[token])
        # Last: who asks between the two finds leases that were renewed.
        keep_contact(self.engine, study_id(self.study), self.seconds)
        self._keep_clock()


def keeps_leases(study: optuna.Study) -> bool:
    """Whether leases can be kept on the study's trials: mmtuna has opened its database once."""
    engine = database_of(study)
    return engine is not None and sqlalchemy.inspect(engine).has_table(CONTACT.name)  # made last


def reap(
    study: optuna.Study,
    folder: Path,
    retries: int,
    *,
    but_not: str = "",
    patience: float | None = OUTAGE_SECONDS,
    connection: sqlalchemy.Connection | None = None,
) -> list[Reaped]:
    """Takes every trial whose lease has expired, or whose worker died on this machine, from its worker.

    It waits to be trained again, or fails after `retries` times. Any number may do this at the same time: each trial is
    taken once. `but_not` is the caller's own name, whose leases it renews. `patience` seconds after its end a lease is
    taken for expired also where no worker reached the database meanwhile; None for a worker, which notes that it does.
    `connection` is the one that the leases are read on, where the caller has one.
    """
    engine = engine_of(study)
    where = (LEASES.c.study_id == study_id(study)) & (LEASES.c.worker != but_not)
    over = sqlalchemy.and_(has_expired(engine, LEASES), has_had_its_chance(engine, patience))
    leased = select(LEASES, TRIALS.c.number, over.label("expired"))
    with nullcontext(connection) if connection is not None else reading(engine) as used:
        rows = used.execute(leased.join(TRIALS, TRIALS.c.trial_id == LEASES.c.trial_id).where(where)).all()
    gone = {worker for worker in {row.worker for row in rows} if signs_of_life.is_gone(folder, worker)}
    found = []
    for row in rows:
        if not row.expired and row.worker not in gone:
            continue
        lease = Lease(row.trial_id, row.number, row.token, row.worker, row.attempt)
        with engine.begin() as writing:
            reaped = transactions.reap(writing, lease, retries, dead=row.worker in gone)
        if reaped is not None:
            found.append(reaped)
    for worker in gone:
        _forget(study, folder, worker)
    return found


def _forget(study: optuna.Study, folder: Path, worker: str) -> None:
    held = (LEASES.c.worker == worker) & (LEASES.c.study_id == study_id(study))
    with engine_of(study).begin() as connection:
        if connection.scalar(select(LEASES.c.token).where(held)) is not None:
            return  # another one had locked one of its trials at this moment
        connection.execute(delete(WORKERS).where(WORKERS.c.worker == worker))
    signs_of_life.forget(folder, worker)


def _reaped_text(reaped: Reaped) -> str:
    if reaped.failed:
        return f"trial {reaped.number}: lost with its worker {reaped.losses} times, given up"
    return f"trial {reaped.number}: its worker is gone, it is trained again"
