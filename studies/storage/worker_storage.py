"""Optuna's storage as a worker uses it: reads what changed since it last looked, and keeps a new trial to itself until
it is claimed whole.

Optuna's own cache reads every trial that has not ended, with all that it holds, whenever anybody looks at the trials,
and stores each param of a new one in a transaction of its own.
"""

from __future__ import annotations

import copy
import math
import threading
import time
from bisect import insort
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, bindparam, func, or_, select

from mmtuna.studies.attributes import SEED
from mmtuna.studies.storage.optuna_insides import (
    STUDIES,
    TRIALS,
    CachedStorage,
    enqueued_params,
    read_trials,
    storage_of,
    trial_id,
)
from mmtuna.studies.storage.tables import reading

DRAFT = -1
"""The id of a trial that no database holds yet."""
_OPEN = (TrialState.RUNNING, TrialState.WAITING)
_AT_ONCE = 500  # trials; databases limit what a list of ids may hold

# Of the trials beyond the settled ones, as of one moment: those that were begun, those that are new, and the first that
# waits. A queue may be long, and is not read anew each time.
_BEYOND = (TRIALS.c.study_id == bindparam("study")) & (TRIALS.c.trial_id > bindparam("settled"))
_FIRST = select(func.min(TRIALS.c.trial_id)).where(_BEYOND, TRIALS.c.state == TrialState.WAITING).scalar_subquery()
_ALL = select(TRIALS.c.trial_id, TRIALS.c.state).where(_BEYOND)
_MOVED = _ALL.where(
    or_(TRIALS.c.state != TrialState.WAITING, TRIALS.c.trial_id > bindparam("newest"), TRIALS.c.trial_id == _FIRST)
)


@dataclass(frozen=True)
class Look:
    """What a look at a study found: the ids of the trials that run, and that of the first one that waits."""

    running: frozenset[int] = frozenset()
    waiting: int | None = None


@dataclass
class _Known:
    settled: int = 0
    """Every trial up to this id has ended, and is in the cache as it ended."""
    newest: int = 0
    """The highest id that was read by who holds the study's lock, or as it was enqueued."""
    count: int = 0
    """One more than the highest number that was read."""
    unsure: set[int] = field(default_factory=set)
    """Trials that were read as running without the study's lock: only some of their params may have been there."""
    held: dict[int, TrialState] = field(default_factory=dict)
    """By id the state of trials that need not be read again as long as it is that."""
    made: set[int] = field(default_factory=set)
    """Trials that Optuna's own ways have made here, of which `changes` tell nothing yet."""
    changes: list[FrozenTrial] = field(default_factory=list)
    ended: defaultdict[TrialState, list[FrozenTrial]] = field(default_factory=lambda: defaultdict(list))
    """By number."""
    look: Look = field(default_factory=Look)
    looked_at: float = -math.inf


class WorkerStorage(CachedStorage):
    """Optuna's cache over `backend`, for `optuna.create_study(storage=...)`; safe to use from several threads.

    A trial's params are fixed from its claim on and an ended trial never changes: each is read when it has begun and
    when it has ended. Running ones are read anew only for who asks Optuna for them.
    """

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)
        self.database = backend
        self._known: defaultdict[int, _Known] = defaultdict(_Known)
        self._thread = threading.local()

    def look(self, study_id: int, *, begun: bool = False, anew: bool = False, locked: bool = True) -> Look:
        """Brings the ended trials of a study up to date.

        Args:
            begun: also those that run or wait and were not read yet.
            anew: also those that were.
            locked: whether who asks for those that have begun holds the study's lock; else some are read once more.
        """
        if self._draft is not None:  # its maker holds the study's lock and has looked
            return self._known[study_id].look
        self.get_study_directions(study_id)  # makes the cache's entry
        # The connection first: whoever waits for one, while all are in use, keeps nobody from the cache.
        with self._reading() as connection, self._lock:
            return self._look(connection, study_id, begun, anew, sure=begun and locked)

    @contextmanager
    def reads_on(self, connection: Connection | None) -> Iterator[None]:
        """Within it this thread looks at trials on that connection, None for one of the pool's.

        For who holds the study's lock by it: many wait for that, and it need not wait for another connection.
        """
        self._thread.connection = connection
        try:
            yield
        finally:
            self._thread.connection = None

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        own: Connection | None = getattr(self._thread, "connection", None)
        if own is not None:
            yield own
        else:
            with reading(self.database.engine) as connection:
                yield connection

    def _look(self, connection: Connection, study_id: int, begun: bool, anew: bool, *, sure: bool) -> Look:
        known = self._known[study_id]
        values = {"study": study_id, "settled": known.settled, "newest": known.newest}
        rows = connection.execute(_ALL if anew else _MOVED, values).all()
        if not rows and connection.scalar(select(STUDIES.c.study_id).where(STUDIES.c.study_id == study_id)) is None:
            raise KeyError(f"study {study_id} is gone from the database")
        # Of a crowd's trials nearly all are as they were a moment ago.
        moved = rows if anew else [row for row in rows if known.held.get(row.trial_id) is not row.state]
        if stale := [row.trial_id for row in moved if self._is_stale(study_id, row.trial_id, row.state, begun, anew)]:
            self._read(connection, study_id, stale, sure=sure)
        if begun or anew:
            known.newest = max([known.newest, *(row.trial_id for row in rows)])
        opened = [row for row in rows if row.state in _OPEN]
        last = max((row.trial_id for row in rows), default=0)
        known.settled = max(known.settled, min((row.trial_id - 1 for row in opened), default=last))
        waiting = [row.trial_id for row in opened if row.state == TrialState.WAITING]
        running = frozenset(row.trial_id for row in opened if row.state == TrialState.RUNNING)
        known.look, known.looked_at = Look(running, min(waiting, default=None)), time.monotonic()
        return known.look

    def _is_stale(self, study_id: int, number: int, state: TrialState, begun: bool, anew: bool) -> bool:
        cached = self._cached(study_id, number)
        unsure = number in self._known[study_id].unsure
        if cached is not None and cached.state.is_finished() and not unsure:
            return False
        if state.is_finished() or anew:
            return True
        if not begun:
            return False
        moved = cached is None or (cached.state == TrialState.WAITING and state == TrialState.RUNNING)
        return moved or unsure

    def _cached(self, study_id: int, trial: int) -> FrozenTrial | None:
        place = self._trial_id_to_study_id_and_number.get(trial)
        # SQLite gives the ids of a deleted study again.
        return self._studies[study_id].trials.get(place[1]) if place is not None and place[0] == study_id else None

    def _read(self, connection: Connection, study_id: int, ids: Sequence[int], *, sure: bool) -> None:
        for place in range(0, len(ids), _AT_ONCE):
            for trial in read_trials(connection, ids[place : place + _AT_ONCE]):
                self._keep(study_id, trial, sure=sure)

    def _keep(self, study_id: int, trial: FrozenTrial, *, sure: bool) -> None:
        known, number = self._known[study_id], trial_id(trial)
        before = self._cached(study_id, number)
        if before is not None and before.state.is_finished() and number not in known.unsure:
            return
        self._add_trials_to_cache(study_id, [trial])
        known.count = max(known.count, trial.number + 1)
        if trial.state.is_finished():
            insort(known.ended[trial.state], trial, key=_number)
        if before is None or number in known.made or _told(before) != _told(trial):
            known.changes.append(trial)
        known.made.discard(number)
        known.unsure.discard(number)
        known.held[number] = trial.state
        if trial.state == TrialState.RUNNING and not (sure or _is_whole(trial)):
            known.unsure.add(number)
            del known.held[number]

    def changes(self, study_id: int, since: int) -> list[FrozenTrial]:
        """What looks have found, in their order, but the first `since`: trials as they were read."""
        return self._known[study_id].changes[since:]

    def newest(self, study_id: int) -> int:
        """The highest id that was read of the study's trials, 0 where there was none."""
        return self._known[study_id].newest

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """As Optuna's; who makes a draft gets what the last look has found, and nothing that waits."""
        drafted = self._draft is not None
        if drafted and states is not None and TrialState.WAITING in states and TrialState.RUNNING not in states:
            return []
        ended_only = states is not None and not any(state in states for state in _OPEN)
        age = time.monotonic() - self._known[study_id].looked_at
        if not ended_only or age > getattr(self._thread, "old", 0.0):
            self.look(study_id, anew=not ended_only)
        with self._lock:
            if ended_only:
                trials = self._ended(study_id, states)
            else:
                cached = self._studies[study_id].trials
                trials = sorted(cached.values(), key=_number)
                trials = [trial for trial in trials if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def _ended(self, study_id: int, states: Container[TrialState] | None) -> list[FrozenTrial]:
        parts = [of_state for state, of_state in self._known[study_id].ended.items() if states and state in states]
        together = [trial for part in parts for trial in part]
        return sorted(together, key=_number) if len(parts) > 1 else together

    @property
    def _draft(self) -> FrozenTrial | None:
        draft: FrozenTrial | None = getattr(self._thread, "draft", None)
        return draft

    @contextmanager
    def not_older(self, seconds: float) -> Iterator[None]:
        """Within it this thread is content with ended trials as of a look that is no older."""
        self._thread.old = seconds
        try:
            yield
        finally:
            self._thread.old = 0.0

    @contextmanager
    def drafting(self, study_id: int) -> Iterator[None]:
        """Within it the trial that this thread asks the study for is a draft, with the number that it is to have.

        Its params and attributes stay in memory until `transactions.begin` stores them all at once. The caller holds
        the study's lock, has looked at what has begun, and found nothing that waits.
        """
        self._thread.study_id = study_id
        self._thread.draft = FrozenTrial(
            number=self._known[study_id].count,
            trial_id=DRAFT,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.now(),
            datetime_complete=None,
            params={},
            distributions={},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
        )
        try:
            yield
        finally:
            self._thread.draft = None

    def note_claim(self, study_id: int, trial: FrozenTrial) -> None:
        """Takes note of a trial that the database holds now as its maker has it, so that it need not be read."""
        with self._lock:
            self._keep(study_id, copy.copy(trial), sure=True)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """As Optuna's."""
        if self._draft is not None and template_trial is None:
            return DRAFT
        made = super().create_new_trial(study_id, template_trial)
        with self._lock:
            known = self._known[study_id]
            known.unsure.add(made)  # Optuna's cache has it as it was made
            known.held.pop(made, None)
            known.made.add(made)
        return made

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """As Optuna's; a draft is the one object, which its `optuna.Trial` changes."""
        draft = self._draft
        if draft is not None and trial_id == DRAFT:
            return draft
        found = super().get_trial(trial_id)
        if trial_id == getattr(self._thread, "put_back", None):
            found = copy.copy(found)
            found.state = TrialState.RUNNING
        return found

    def note_put_back(self, trial_id: int) -> None:
        """Lets the trial run on, as this thread sees it, until it is told to have failed, which is not stored.

        Optuna tells so after a Ctrl-C, of a trial that waits by then to be gone on with, and by another one perhaps.
        """
        self._thread.put_back = trial_id

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As Optuna's, but for a trial that was put back."""
        if trial_id == getattr(self._thread, "put_back", None):
            self._thread.put_back = None
            if state == TrialState.FAIL:
                return True
        return super().set_trial_state_values(trial_id, state, values)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """As Optuna's; the params of a draft are noted by its `optuna.Trial`."""
        draft = self._draft
        if draft is None or trial_id != DRAFT:
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
            return
        with self._lock:
            study = self._studies[self._thread.study_id]
            if param_name not in study.param_distribution:
                with_it = (trial.distributions for trial in study.trials.values() if param_name in trial.distributions)
                study.param_distribution[param_name] = next(with_it, {param_name: distribution})[param_name]
            first = study.param_distribution[param_name]
        check_distribution_compatibility(first, distribution)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As Optuna's."""
        if self._draft is not None and trial_id == DRAFT:
            self._draft.user_attrs[key] = value
        else:
            super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """As Optuna's."""
        if self._draft is not None and trial_id == DRAFT:
            self._draft.system_attrs[key] = value
        else:
            super().set_trial_system_attr(trial_id, key, value)

    def delete_study(self, study_id: int) -> None:
        """As Optuna's."""
        super().delete_study(study_id)
        with self._lock:
            self._known.pop(study_id, None)


_number = attrgetter("number")


def _is_whole(trial: FrozenTrial) -> bool:
    """Whether the params of a running trial are all there: a draft is stored with its seed, in one transaction."""
    return SEED in trial.user_attrs and enqueued_params(trial) is None


def _told(trial: FrozenTrial) -> tuple[object, ...]:
    return trial.state, trial.params, trial.user_attrs


def worker_storage(study: optuna.Study) -> WorkerStorage:
    """The storage of a study that this package has opened."""
    storage = storage_of(study)
    assert isinstance(storage, WorkerStorage)
    return storage
