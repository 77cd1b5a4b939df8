"""The study in its storage: created once, opened by many, counted and asked under one lock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.attributes import FINGERPRINTS, SAID, SEARCHED, SPEC, WORKERS
from mmtuna.studies.begun import moved_preset, refuse_change, refuse_other_meaning, space_of
from mmtuna.studies.fingerprints import merged
from mmtuna.studies.identity import give_id
from mmtuna.studies.results import UNREADABLE, sound_rows
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.space import said
from mmtuna.studies.spec.tables import SQLITE, StudyTable
from mmtuna.studies.standing import standing_of
from mmtuna.studies.storage.opening import (
    check_tables_and_lock,
    database_of,
    engine_of,
    open_storage,
    sqlite_file,
    study_lock,
)
from mmtuna.studies.storage.optuna_insides import (
    enqueued_params,
)
from mmtuna.studies.storage.worker_storage import WorkerStorage


class DamagedError(InputError):
    """The study's attributes in the database are not what mmtuna wrote there."""


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


def _require_ours(study: optuna.Study, mend: str = "take another [study] name or storage") -> None:
    """InputError for a study that others made, with how to `mend` that, and for one whose attributes were damaged."""
    try:
        attrs = study.user_attrs
        tables = [attrs.get(name, {}) for name in (SPEC, FINGERPRINTS)]
        sound = all(isinstance(table, Mapping) for table in tables)
        sound &= isinstance(attrs.get(WORKERS, 0), int) and isinstance(attrs.get(SEARCHED, []), list)
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
            f"values may be anything; {mend}"
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
    study = find_to_look(spec.study)
    if study is None:
        return spec.search_space(), None
    moved = moved_preset(study, spec)
    return (spec.search_space(), None) if moved is None else (space_of(study, spec), moved)


def find_to_look(table: StudyTable) -> optuna.Study | None:
    """The study, to look at alone; None where there is none, or none that can be looked at."""
    try:
        return open_existing(table, to_look=True)
    except InputError:
        return None


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


def open_to_read(spec: StudySpec, *, to_look: bool = False) -> optuna.Study:
    """`open_existing`, whose figures are what `spec` calls them; InputError where they are not."""
    study = open_existing(spec.study, to_look=to_look)
    refuse_other_meaning(study, spec)
    return study


def require_readable(study: optuna.Study, spec: StudySpec) -> None:
    """InputError for a study that a person gives and whose figures are not what `spec` calls them.

    So are those of a study that mmtuna did not train, that minimises, or that has several objectives.
    """
    if [direction.name for direction in study.directions] != ["MAXIMIZE"]:
        raise InputError(
            f"study {study.study_name}: it does not maximise one value, as every study that mmtuna trains; give one "
            "that an Objective trained for"
        )
    _require_ours(study, "give one that an Objective trained for")
    refuse_other_meaning(study, spec)


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
    return sum(was_enqueued(trial) for trial in begun)


def was_enqueued(trial: FrozenTrial) -> bool:
    """Whether a trial was put in the queue, and not proposed by the sampler."""
    return enqueued_params(trial) is not None
