"""The study in its storage: created once, opened by many, counted and asked under one lock."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.trials import LAST_STEP
from mmtuna.studies.attributes import FINGERPRINTS, REPLICATE, SAID, SEED, SPEC, WORKERS
from mmtuna.studies.begun import moved_preset, refuse_change, space_of
from mmtuna.studies.fingerprints import merged
from mmtuna.studies.identity import give_id
from mmtuna.studies.leases import Lease, Leases, clock, transactions
from mmtuna.studies.results import UNREADABLE, sound_rows
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.space import said
from mmtuna.studies.spec.tables import SQLITE, StudyTable
from mmtuna.studies.standing import FINISHED, Standing, params_of, standing_of
from mmtuna.studies.storage.opening import (
    StudyLock,
    check_tables_and_lock,
    database_of,
    engine_of,
    open_storage,
    sqlite_file,
    study_lock,
)
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
from mmtuna.studies.storage.worker_storage import DRAFT, Look, WorkerStorage, worker_storage

_TELLING = 50
"""How many of the trials that finished last tell what others will take."""
_DRAWS = 20
"""How many sets of params are drawn at most to find one that is trained in what is left of the hours."""


class DamagedError(InputError):
    """The study's attributes in the database are not what mmtuna wrote there."""


class Budget(enum.Enum):
    """Why `ask` gave no trial."""

    DONE = "done"
    """The study holds the trials it shall hold, or nothing is left in its queue where only that was asked for."""
    WAIT = "wait"
    """The trials that are running would fill the study, or may come back; ask again when one has ended."""
    OVER = "over"
    """The study's hours are used, or what is left of them is too short for any trial that was found."""


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


def create_or_open(spec: StudySpec, fingerprints: Mapping[str, Mapping[str, Any]]) -> optuna.Study:
    """The study of `spec`, direction maximize, created where it does not exist.

    `fingerprints`, and what `spec.describe()` adds to them, must be the ones it was created with; InputError names the
    first that differs. Sampler and pruner are Optuna's defaults: set `study.sampler` and `study.pruner`.
    """
    storage = WorkerStorage(open_storage(spec.study.storage))
    with study_lock(spec.study.storage, spec.study.name):
        study = optuna.create_study(
            study_name=spec.study.name, storage=storage, direction="maximize", load_if_exists=True
        )
        _require_ours(study)
        adopt(study, spec, fingerprints)
        give_id(study)
    return study


def _require_ours(study: optuna.Study) -> None:
    """InputError for a study that others made, and for one whose attributes were damaged."""
    try:
        attrs = study.user_attrs
        tables = [attrs.get(name, {}) for name in (SPEC, FINGERPRINTS)]
        sound = all(isinstance(table, Mapping) for table in tables) and isinstance(attrs.get(WORKERS, 0), int)
    except UNREADABLE:
        attrs, sound = {}, False
    if not sound:
        raise DamagedError(
            f"study {study.study_name}: its attributes cannot be read, since the database does not hold what mmtuna "
            "wrote there; restore a copy of the database, or see what is left with `mmtuna report`"
        )
    if FINGERPRINTS not in attrs and study.get_trials(deepcopy=False):
        raise InputError(
            f"study {study.study_name} is not a study of mmtuna: what its trials were trained on is not known, and its "
            "values may be anything; take another [study] name or storage"
        )


def adopt(study: optuna.Study, spec: StudySpec, fingerprints: Mapping[str, Mapping[str, Any]]) -> None:
    """Notes on `study` what its trials are trained on; InputError where it was begun on something else."""
    attrs = study.user_attrs
    if FINGERPRINTS in attrs:
        refuse_change(study, spec, fingerprints)
    else:
        study.set_user_attr(SPEC, spec.describe())
        study.set_user_attr(FINGERPRINTS, merged(spec.describe(), fingerprints))
    if SAID not in attrs:
        study.set_user_attr(SAID, said(spec.space))


def check_opening(spec: StudySpec, fingerprints: Mapping[str, Mapping[str, Any]]) -> optuna.Study | None:
    """Raises what `create_or_open` would, and changes nothing; the study, or None where it does not exist yet."""
    study = find_sound(spec.study)
    if study is not None:
        refuse_change(study, spec, fingerprints)
    return study


def find_sound(table: StudyTable) -> optuna.Study | None:
    """The study, or None where it does not exist yet; InputError where it is not mmtuna's, or was damaged."""
    study = _find(table)
    if study is not None:
        _require_ours(study)
        check_tables_and_lock(table.storage, table.name, engine_of(study))
        sound_rows(study)  # nobody shall search beside trials that cannot be read whole
    return study


def space_for(spec: StudySpec) -> tuple[SearchSpace, str | None]:
    """The space that a run of `spec` draws from, and a note where that is not what its preset holds now."""
    try:
        study = open_existing(spec.study, to_look=True)
    except InputError:  # there is none, or none that can be looked at
        return spec.search_space(), None
    moved = moved_preset(study, spec)
    return (spec.search_space(), None) if moved is None else (space_of(study, spec), moved)


def open_existing(table: StudyTable, *, to_look: bool = False, damaged: bool = False) -> optuna.Study:
    """The study of `table` as it is; InputError where it does not exist, and then nothing is made, or is not mmtuna's.

    `to_look`: only to read, and quickly; `damaged`: whatever stands in the database.
    """
    study = _find(table, check_version=not to_look)
    if study is None:
        raise InputError(f"study {table.name} does not exist yet; `mmtuna run SPEC` begins it")
    if not damaged:
        _require_ours(study)
    return study


def _find(table: StudyTable, *, check_version: bool = True) -> optuna.Study | None:
    if table.storage.startswith(SQLITE) and not sqlite_file(table.storage).exists():
        return None
    try:
        storage = WorkerStorage(open_storage(table.storage, check_version=check_version))
        return optuna.load_study(study_name=table.name, storage=storage)
    except KeyError:
        return None


def lies_in(study: optuna.Study, url: str) -> bool:
    """Whether the study is kept in the database at `url`."""
    engine = database_of(study)
    return engine is not None and engine.url == sqlalchemy.make_url(url)


def next_worker(study: optuna.Study) -> int:
    """The ordinal of a new worker: 0, 1, ... The caller holds the study's lock."""
    ordinal = int(study.user_attrs.get(WORKERS, 0))
    study.set_user_attr(WORKERS, ordinal + 1)
    return ordinal


def finished(study: optuna.Study) -> int:
    """How many trials are complete or pruned: those that count."""
    standing = standing_of(study)
    standing.look()
    return standing.finished


def left(study: optuna.Study, trials: int | None) -> int:
    """How many trials the study lacks of `trials` finished ones; None: how many of its queue have not ended."""
    if trials is not None:
        return max(0, trials - finished(study))
    begun = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))
    return sum(_was_enqueued(trial) for trial in begun)


def _was_enqueued(trial: FrozenTrial) -> bool:
    return enqueued_params(trial) is not None


def ask(
    study: optuna.Study,
    space: SearchSpace,
    seed: int,
    *,
    trials: int | None,
    lock: StudyLock,
    leases: Leases | None = None,
    hours: Hours | None = None,
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
            found = _ask(study, space, seed, trials, leases, held.connection, hours)
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


def _ask(
    study: optuna.Study,
    space: SearchSpace,
    first_seed: int,
    trials: int | None,
    leases: Leases | None,
    connection: sqlalchemy.Connection | None,
    hours: Hours | None,
) -> Claim | Budget:
    standing = standing_of(study)
    look = standing.look(begun=True)
    budget = _budget(study, standing, look, trials)
    if leases is not None and leases.look_around(look.running, at_once=budget is not None, connection=connection):
        look = standing.look(begun=True)
        budget = _budget(study, standing, look, trials)
    if budget is not None:
        return budget
    if hours is not None:
        return _ask_in_time(study, space, first_seed, trials, leases, look, connection, hours)
    trial = _take_waiting(study, look)
    if trial is not None:
        return _suggested(study, trial, space, first_seed, leases)
    return _sampled(study, space, first_seed, leases)


def _sampled(study: optuna.Study, space: SearchSpace, first_seed: int, leases: Leases | None) -> Claim:
    with worker_storage(study).drafting(study_id(study)):
        return _suggested(study, study.ask(), space, first_seed, leases)


def _ask_in_time(
    study: optuna.Study,
    space: SearchSpace,
    first_seed: int,
    trials: int | None,
    leases: Leases | None,
    look: Look,
    connection: sqlalchemy.Connection | None,
    hours: Hours,
) -> Claim | Budget:
    """A trial that waits or is sampled, of which what is left of the hours is expected to hold the whole."""
    left = hours.seconds - clock.used(study, hours.study, at_work=True, connection=connection)
    if left <= 0:
        return Budget.OVER
    hours.learn(study.get_trials(deepcopy=False, states=FINISHED)[-_TELLING:])
    if look.waiting is not None:
        waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        for trial in waiting:
            expected = _expected(hours, trial)
            taken = _take(study, trial_id(trial)) if _fits(expected, left) else None
            if taken is not None:
                return replace(_suggested(study, taken, space, first_seed, leases), left=left, expected=expected)
    if trials is None:
        return Budget.OVER
    for _ in range(_DRAWS):
        claim = _sampled(study, space, first_seed, leases)
        expected = hours.expected(claim.params)
        if _fits(expected, left):
            return replace(claim, left=left, expected=expected)
    return Budget.OVER


def _fits(expected: float | None, left: float) -> bool:
    return expected is None or expected <= left


def _expected(hours: Hours, waiting: FrozenTrial) -> float | None:
    """Seconds that are left to train of a trial: one that was put back is gone on with from its last evaluation."""
    whole, done = hours.expected(params_of(waiting)), max(waiting.intermediate_values, default=0) / LAST_STEP
    return None if whole is None else whole * max(0.0, 1.0 - done)


def _take_waiting(study: optuna.Study, look: Look) -> optuna.Trial | None:
    """The first trial that waits, made running; None where none does."""
    while look.waiting is not None:
        trial = _take(study, look.waiting)
        if trial is not None:
            return trial
        look = standing_of(study).look(begun=True)  # somebody took it without the lock
    return None


def _take(study: optuna.Study, waiting: int) -> optuna.Trial | None:
    """The trial of this id that waits, made running; None where it does not wait any more."""
    read_trials_again(study)
    if storage_of(study).set_trial_state_values(waiting, TrialState.RUNNING):
        return optuna.Trial(study, waiting)
    return None


def _suggested(
    study: optuna.Study, trial: optuna.Trial, space: SearchSpace, first_seed: int, leases: Leases | None
) -> Claim:
    try:
        params = space.suggest(trial)
        known = trial.user_attrs
        free = standing_of(study).free_replicate(params, trial.number)
        replicate = int(known.get(REPLICATE, free))
        return Claim(trial, params, int(known.get(SEED, first_seed + replicate)), replicate)
    except Exception as error:
        # Left running, it would be counted against the budget for ever; where the database is away, nothing can be
        # said now, and the next to ask finds it without a lease. Of a draft nobody knows.
        away = leases is not None and (is_outage(error) or is_disk_full(error))
        if trial_id(trial) != DRAFT and not away:
            study.tell(trial, state=TrialState.FAIL)
        raise


def _budget(study: optuna.Study, standing: Standing, look: Look, trials: int | None) -> Budget | None:
    if trials is None:
        return _queue_budget(study)
    if standing.finished >= trials:
        return Budget.DONE
    return Budget.WAIT if standing.finished + len(look.running) >= trials else None


def _queue_budget(study: optuna.Study) -> Budget | None:
    begun = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))
    states = {trial.state for trial in begun if _was_enqueued(trial)}
    if TrialState.WAITING in states:
        return None
    return Budget.WAIT if TrialState.RUNNING in states else Budget.DONE
