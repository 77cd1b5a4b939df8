"""How a study is asked for a trial: counted, sampled, enqueued and leased under one lock."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from mmtuna.spaces.parameter import Params
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.trials import LAST_STEP, Cause
from mmtuna.studies.attributes import AGAIN, CAUSE, MESSAGE, REPLICATE, SEED
from mmtuna.studies.leases import Lease, Leases, clock, transactions
from mmtuna.studies.standing import FINISHED, params_of, standing_of
from mmtuna.studies.storage.opening import StudyLock, engine_of
from mmtuna.studies.storage.optuna_insides import (
    as_read,
    enqueued_params,
    give_place,
    read_trials_again,
    storage_of,
    study_id,
    trial_id,
)
from mmtuna.studies.storage.outages import StorageAwayError, is_disk_full, is_outage
from mmtuna.studies.storage.worker_storage import DRAFT, worker_storage
from mmtuna.studies.strategy import confirming, stopping
from mmtuna.studies.strategy.confirming import Plan
from mmtuna.studies.study import was_enqueued

_TELLING = 50
"""How many of the trials that finished last tell what others will take."""
_DRAWS = 20
"""How many sets of params are drawn at most to find one that is trained in what is left of the hours."""


class Budget(enum.Enum):
    """Why `ask` gave no trial."""

    DONE = "done"
    """The study holds the trials it shall hold, or nothing is left in its queue where only that was asked for."""
    WAIT = "wait"
    """The trials that are running would fill the study, or may come back; ask again when one has ended."""
    OVER = "over"
    """The study's hours are used, or what is left of them is too short for any trial that was found."""
    SETTLED = "settled"
    """Nothing better is to be expected of the trials that are left, and the study is to stop then."""


@dataclass(frozen=True)
class Hours:
    """How long a study may be worked on (mmtuna.studies.leases.clock), and how long a trial is likely to take.

    Args:
        seconds: in all.
        expected: from params, of which some may be missing, to a trial's seconds; None where nothing is known.
        learn: is told the trials that finished last.
        study: the study's id, where that is known already.
    """

    seconds: float
    expected: Callable[[Params], float | None]
    learn: Callable[[Sequence[FrozenTrial]], None] = lambda _trials: None
    study: str | None = None


@dataclass(frozen=True)
class Claim:
    """A trial that is this caller's to train: all params suggested, `seed` the training's, `lease` the right to it.

    In a study that has hours `left` is what is left of them, in seconds, and `expected` how long the trial should take.
    """

    trial: optuna.Trial
    params: Params
    seed: int
    replicate: int
    lease: Lease | None = None
    left: float | None = None
    expected: float | None = None


_SEARCH_ALL = Plan()


def ask(
    study: optuna.Study,
    space: SearchSpace,
    seed: int,
    *,
    trials: int | None,
    lock: StudyLock,
    leases: Leases | None = None,
    hours: Hours | None = None,
    plan: Plan = _SEARCH_ALL,
) -> Claim | Budget:
    """A trial to train, or why there is none: the study is to hold `trials` finished ones, and no more.

    None for `trials`: only what is in the study's queue. With `hours` no trial is given that is expected to take longer
    than what is left of them: one that waits goes on waiting, and up to 20 sets of params are drawn to find one.

    Enqueued trials come first, those that were put back among them. All of it happens under `lock`, the study's own, so
    that any number of threads and processes may ask. The trial gets the user attrs `replicate` (the lowest number that
    no other trial of these params has, failed ones aside) and `seed` (the study's `seed` plus that), unless it was
    enqueued with them. With `leases` it also gets a lease, and trials whose worker is gone are put back before anything
    is counted; without them nobody would notice that this trial's worker died.

    May be called again after a database error: what it had begun is then put back.
    """
    lease = None
    # Before the lock, which many wait for: what has happened since is little.
    standing_of(study).look(begun=True, locked=False)
    try:
        with lock as held, worker_storage(study).reads_on(held.connection):
            found = _Asking(study, space, seed, leases, held.connection, hours, plan.of(trials)).ask(trials)
            if isinstance(found, Budget):
                return found
            lease = _store(study, found, leases, held.connection)
    except BaseException:
        if leases is not None:
            leases.look_around_next()  # the trial may be running all the same
            if lease is not None:
                leases.drop(lease)
        raise
    worker_storage(study).note_claim(study_id(study), as_read(found.trial))
    if leases is None or lease is None:
        return found
    leases.hold(lease)
    return replace(found, lease=lease)


def _store(
    study: optuna.Study, claim: Claim, leases: Leases | None, connection: sqlalchemy.Connection | None
) -> Lease | None:
    """Stores what is new of the trial, and its lease, in one transaction: that of the lock where it has one."""
    trial, attrs = claim.trial, {REPLICATE: claim.replicate, SEED: claim.seed}
    drafted = trial_id(trial) == DRAFT
    if not drafted:
        _require_stored(study, trial)
    as_read(trial).user_attrs.update(attrs)
    with nullcontext(connection) if connection is not None else engine_of(study).begin() as own:
        if drafted:
            newest = worker_storage(study).newest(study_id(study))
            give_place(trial, *transactions.begin(own, study_id(study), as_read(trial), newest))
        else:
            transactions.write_attrs(own, trial_id(trial), attrs)
        return None if leases is None else leases.claim(trial, {}, own)


def _require_stored(study: optuna.Study, trial: optuna.Trial) -> None:
    """Refuses, for now, a trial whose stored params are not those that were suggested here.

    A process that lost the lock while it asked, to a restart of the server, may go on to suggest for a trial that was
    put back and is this one's now. Optuna keeps what is stored first, and does not say so.
    """
    if storage_of(study).get_trial(trial_id(trial)).params != trial.params:
        raise StorageAwayError(f"trial {trial.number}: another process suggests its params as well; ask again")


class _Asking:
    """One question, while the study's lock is held."""

    def __init__(
        self,
        study: optuna.Study,
        space: SearchSpace,
        seed: int,
        leases: Leases | None,
        connection: sqlalchemy.Connection | None,
        hours: Hours | None,
        plan: Plan,
    ) -> None:
        self._study, self._space, self._seed = study, space, seed
        self._leases, self._connection, self._hours, self._plan = leases, connection, hours, plan
        self._standing = standing_of(study)
        self._look = self._standing.look(begun=True)

    def ask(self, trials: int | None) -> Claim | Budget:
        budget = self._budget(trials)
        leases, running = self._leases, self._look.running
        if leases is not None and leases.look_around(running, at_once=budget is not None, connection=self._connection):
            self._look = self._standing.look(begun=True)
            budget = self._budget(trials)
        if budget is not None:
            return budget
        left = self._seconds_left()
        if left is not None and left <= 0:
            return Budget.OVER
        self._learn()
        if self._look.waiting is not None:
            claim = self._waiting(left)
            if claim is not None:
                return claim
        if trials is None:  # somebody took it without the lock, or it does not fit
            return Budget.WAIT if left is None else Budget.OVER
        return self._next(trials, left)

    def _budget(self, trials: int | None) -> Budget | None:
        """Why there is no trial to be given, so far as it lies in their number."""
        if trials is None:
            return _queue_budget(self._study)
        if self._standing.finished >= trials:
            return Budget.DONE
        return Budget.WAIT if self._standing.finished + len(self._look.running) >= trials else None

    def _seconds_left(self) -> float | None:
        """Of the study's hours; None where these have no limit."""
        hours = self._hours
        if hours is None:
            return None
        return hours.seconds - clock.used(self._study, hours.study, at_work=True, connection=self._connection)

    def _waiting(self, left: float | None) -> Claim | None:
        """The first trial that waits and that what is left of the hours is expected to hold, made running."""
        if left is None:
            taken = self._first_waiting()
            return None if taken is None else self._suggested(taken)
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            expected = self._expected(trial)
            taken = self._take(trial_id(trial)) if _fits(expected, left) else None
            if taken is not None:
                return replace(self._suggested(taken), left=left, expected=expected)
        return None

    def _next(self, trials: int, left: float | None) -> Claim | Budget:
        """What the search proposes, and at its end one of the best configs, to be trained once more."""
        reserved = self._reserved()
        ends = self._search_ends(trials, left, reserved)
        if ends is not None:
            # Which configs are the best is known when no trial of the search runs any more.
            if self._searching():
                return Budget.WAIT
            if self._standing.best() is not None:
                return self._once_more(ends, trials, left)
        if left is None or self._hours is None:
            return self._sampled()
        claim = self._drawn_in_time(left - reserved, self._hours)
        if claim is not None:
            return replace(claim, left=left)
        waits = self._plan.confirm and self._searching()
        return Budget.WAIT if waits else self._once_more(Budget.OVER, trials, left)

    def _drawn_in_time(self, seconds: float, hours: Hours) -> Claim | None:
        """What the sampler proposes and `seconds` are expected to hold; None where nothing was found.

        Nothing is drawn anew until another trial has finished: a slot that waits asks twice a second.
        """
        standing = self._standing
        if self._plan.confirm and standing.drawn_out == standing.finished:
            return None
        for _ in range(_DRAWS):
            claim = self._sampled()
            expected = hours.expected(claim.params)
            if _fits(expected, seconds):
                return replace(claim, expected=expected)
        standing.drawn_out = standing.finished
        return None

    def _reserved(self) -> float:
        """Seconds of the hours that are still to confirm the best; none while there is nothing that could be.

        What confirmed them before, in a study that goes on with more hours, is a part of the share.
        """
        if self._hours is None or not self._plan.confirm or self._standing.best() is None:
            return 0.0
        took = confirming.seconds_of(self._study.get_trials(deepcopy=False))
        return max(0.0, self._plan.confirm * self._hours.seconds - took)

    def _search_ends(self, trials: int, left: float | None, reserved: float) -> Budget | None:
        """Why the search proposes nothing more, though the study has not all of its trials; None where it does.

        While no trial is complete it goes on: there is nothing to be confirmed, and nothing to be content with.
        """
        plan, standing = self._plan, self._standing
        searched = standing.finished - standing.confirmed()
        to_search = confirming.to_search(plan.confirm, trials)
        begun = searched + len(self._look.running)
        if plan.confirm and begun >= to_search and searched + self._searching() >= to_search:
            return Budget.DONE
        if left is not None and left <= reserved:
            return Budget.OVER
        if not plan.stops or standing.best() is None:
            return None
        seconds = None
        if left is not None and self._hours is not None:
            seconds = self._hours.seconds - left, left - reserved
        more, since = stopping.further(to_search, searched, seconds), standing.since_best()
        if not stopping.is_settled(searched, since, more):
            return None
        if standing.settled is None or standing.settled[0] != searched:  # what confirms the best uses hours after that
            standing.settled = searched, since, more
        return Budget.SETTLED

    def _searching(self) -> int:
        """How many trials of the search run."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return sum(AGAIN not in trial.user_attrs for trial in running)

    def _once_more(self, ends: Budget, trials: int, left: float | None) -> Claim | Budget:
        """One of the best configs, or why there is none: all of its share is used, or why the search `ends`.

        Where the hours ended it, what is left of them is the share, as many trainings as that holds.
        """
        plan, standing, running = self._plan, self._standing, len(self._look.running)
        if not plan.confirm:
            return ends
        confirmed = standing.confirmed()
        wanted = trials  # the whole budget, which is not used yet
        if ends is Budget.SETTLED:
            wanted = confirming.trainings(plan.confirm, standing.finished - confirmed, trials)
        number = standing.least_trained(confirming.CONFIGS)
        if confirmed >= wanted or number is None:
            return ends
        if confirmed + running >= wanted:
            return Budget.WAIT
        params = params_of(self._study.get_trials(deepcopy=False)[number])
        expected = None if self._hours is None else self._hours.expected(params)
        if left is not None and not _fits(expected, left):
            return Budget.OVER
        attrs = {REPLICATE: standing.free_replicate(params, DRAFT), AGAIN: True}
        self._study.enqueue_trial(dict(params), user_attrs=attrs)
        taken = self._take(trial_id(self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))[-1]))
        return Budget.WAIT if taken is None else replace(self._suggested(taken), left=left, expected=expected)

    def _learn(self) -> None:
        if self._hours is not None:
            self._hours.learn(self._study.get_trials(deepcopy=False, states=FINISHED)[-_TELLING:])

    def _expected(self, waiting: FrozenTrial) -> float | None:
        """Seconds that are left to train of a trial: one that was put back goes on from its last evaluation."""
        whole = None if self._hours is None else self._hours.expected(params_of(waiting))
        done = max(waiting.intermediate_values, default=0) / LAST_STEP
        return None if whole is None else whole * max(0.0, 1.0 - done)

    def _first_waiting(self) -> optuna.Trial | None:
        """The first trial that waits, made running; None where none does."""
        while self._look.waiting is not None:
            trial = self._take(self._look.waiting)
            if trial is not None:
                return trial
            self._look = self._standing.look(begun=True)  # somebody took it without the lock
        return None

    def _take(self, waiting: int) -> optuna.Trial | None:
        """The trial of this id that waits, made running; None where it does not wait any more, and for one with params
        that are none of the space's, which fails: nobody would notice that they are left out."""
        read_trials_again(self._study)
        if not storage_of(self._study).set_trial_state_values(waiting, TrialState.RUNNING):
            return None
        trial = optuna.Trial(self._study, waiting)
        strange = [name for name in enqueued_params(as_read(trial)) or {} if name not in self._space]
        if not strange:
            return trial
        said = f"enqueued with {', '.join(strange)}, none of the space's {', '.join(self._space.names)}; enqueue these"
        for name, value in ((CAUSE, Cause.ERROR), (MESSAGE, said)):
            trial.set_user_attr(name, value)
        self._study.tell(trial, state=TrialState.FAIL)
        return None

    def _sampled(self) -> Claim:
        with worker_storage(self._study).drafting(study_id(self._study)):
            return self._suggested(self._study.ask())

    def _suggested(self, trial: optuna.Trial) -> Claim:
        try:
            params = self._space.suggest(trial)
            known = trial.user_attrs
            free = self._standing.free_replicate(params, trial.number)
            replicate = int(known.get(REPLICATE, free))
            seed = int(known.get(SEED, self._standing.first_seed(self._seed) + replicate))
            return Claim(trial, params, seed, replicate)
        except Exception as error:
            # Left running, it would be counted against the budget for ever; where the database is away, nothing can be
            # said now, and the next to ask finds it without a lease. Of a draft nobody knows.
            away = self._leases is not None and (is_outage(error) or is_disk_full(error))
            if trial_id(trial) != DRAFT and not away:
                self._study.tell(trial, state=TrialState.FAIL)
            raise


def _fits(expected: float | None, left: float) -> bool:
    return expected is None or expected <= left


def _queue_budget(study: optuna.Study) -> Budget | None:
    begun = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))
    states = {trial.state for trial in begun if was_enqueued(trial)}
    if TrialState.WAITING in states:
        return None
    return Budget.WAIT if TrialState.RUNNING in states else Budget.DONE
