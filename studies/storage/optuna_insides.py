"""What mmtuna relies on within Optuna and its dashboard that neither promises to keep: here, and nowhere else.

Every name says what is relied on and where it lives; tests/studies/storage/test_optuna_insides.py holds each against
the installed Optuna. What belongs to Optuna's interface is used where it is needed.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import optuna
import sqlalchemy
from optuna import pruners
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.storages._rdb import storage as rdb
from optuna.trial import FrozenTrial

STUDIES = models.StudyModel.__table__
"""optuna.storages._rdb.models: study_id, study_name."""
TRIALS = models.TrialModel.__table__
"""optuna.storages._rdb.models: trial_id, number, study_id, state, datetime_start and datetime_complete (UTC, naive)."""
USER_ATTRS = models.TrialUserAttributeModel.__table__
"""optuna.storages._rdb.models: trial_id, key, value_json."""
VALUES = models.TrialValueModel.__table__
"""optuna.storages._rdb.models: trial_id, objective (0, 1, ...), value, value_type as `stored_value` gives them."""
REPORTS = models.TrialIntermediateValueModel.__table__
"""optuna.storages._rdb.models: trial_id, step, intermediate_value, intermediate_value_type as of `stored_report`."""
PARAMS = models.TrialParamModel.__table__
"""optuna.storages._rdb.models: trial_id, and what `stored_param` gives."""
SYSTEM_ATTRS = models.TrialSystemAttributeModel.__table__
"""optuna.storages._rdb.models: trial_id, key, value_json."""
STUDY_SYSTEM_ATTRS = models.StudySystemAttributeModel.__table__
"""optuna.storages._rdb.models: study_id, key, value_json."""
CachedStorage = _CachedStorage
"""The cache that Optuna puts in front of a database, and takes as it is where a study is given one.

A class made from it relies on `_lock`, `_backend`, `_studies` (by study id: `trials` by number, `param_distribution` by
name), `_trial_id_to_study_id_and_number` and `_add_trials_to_cache`.
"""


def stored_value(value: float) -> tuple[float | None, Any]:
    """Value and type as a row of VALUES holds them (`TrialValueModel.value_to_stored_repr`)."""
    return models.TrialValueModel.value_to_stored_repr(value)


def stored_report(value: float) -> tuple[float | None, Any]:
    """The same for REPORTS (`TrialIntermediateValueModel.intermediate_value_to_stored_repr`); takes NaN, too."""
    return models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)


def finite_report(stored: float | None, kind: Any) -> float | None:
    """The report in a row of REPORTS; None for NaN and infinity (`TrialIntermediateValueType`)."""
    finite = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
    return float(stored) if kind == finite and stored is not None else None


def stored_param(name: str, value: Any, distribution: BaseDistribution) -> dict[str, Any]:
    """What a row of PARAMS holds beside the trial's id (`RDBStorage._set_trial_param_without_commit`)."""
    written = distribution_to_json(distribution)
    return {"param_name": name, "param_value": distribution.to_internal_repr(value), "distribution_json": written}


def read_trials(connection: sqlalchemy.Connection, ids: Collection[int]) -> list[FrozenTrial]:
    """These trials, as Optuna reads them, by id: `RDBStorage._get_trials` looks at all of a study to find a few.

    What a person may have made of a row raises what Optuna raises.
    """
    ids = list(ids)
    rows = connection.execute(sqlalchemy.select(TRIALS).where(TRIALS.c.trial_id.in_(ids)).order_by(TRIALS.c.trial_id))
    trials = {row.trial_id: _bare(row) for row in rows}

    def of(table: sqlalchemy.Table, *order: sqlalchemy.Column[Any]) -> sqlalchemy.CursorResult[Any]:
        return connection.execute(sqlalchemy.select(table).where(table.c.trial_id.in_(ids)).order_by(*order))

    for row in of(PARAMS, PARAMS.c.param_id):
        distribution = _distribution(row.distribution_json)
        trials[row.trial_id].distributions[row.param_name] = distribution
        trials[row.trial_id].params[row.param_name] = distribution.to_external_repr(row.param_value)
    for row in of(VALUES, VALUES.c.objective) if any(trial.state.is_finished() for trial in trials.values()) else ():
        value = models.TrialValueModel.stored_repr_to_value(row.value, row.value_type)
        trials[row.trial_id].values = [*(trials[row.trial_id].values or ()), value]
    for row in of(REPORTS):
        value = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value(
            row.intermediate_value, row.intermediate_value_type
        )
        trials[row.trial_id].intermediate_values[row.step] = value
    for row in of(USER_ATTRS):
        trials[row.trial_id].user_attrs[row.key] = json.loads(row.value_json)
    for row in of(SYSTEM_ATTRS):
        trials[row.trial_id].system_attrs[row.key] = json.loads(row.value_json)
    return list(trials.values())


_distribution = functools.lru_cache(maxsize=1024)(json_to_distribution)


def _bare(row: Any) -> FrozenTrial:
    return FrozenTrial(
        number=row.number,
        trial_id=row.trial_id,
        state=row.state,
        value=None,
        datetime_start=_local(row.datetime_start),
        datetime_complete=_local(row.datetime_complete),
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )


def _local(stored: datetime | None) -> datetime | None:
    return None if stored is None else stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


@contextmanager
def without_version_check() -> Iterator[None]:
    """Within it, `RDBStorage` opens a database without comparing the version of its tables.

    Relies on `RDBStorage.__init__` making `_VersionManager` of optuna.storages._rdb.storage, which imports alembic: a
    fifth of what a quick look at a study takes.
    """

    class Unchecked:
        def __init__(self, *_: object) -> None:
            pass

        def check_table_schema_compatibility(self) -> None:
            pass

    checked = rdb._VersionManager
    rdb._VersionManager = Unchecked  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        rdb._VersionManager = checked  # type: ignore[misc]


def storage_of(study: optuna.Study) -> BaseStorage:
    """The study's storage, with the cache that Optuna puts in front of a database (`Study._storage`)."""
    return study._storage


def backend_of(study: optuna.Study) -> BaseStorage:
    """The storage without that cache (`_CachedStorage._backend`, optuna.storages._cached_storage)."""
    storage = study._storage
    backend: BaseStorage = getattr(storage, "_backend", storage)
    return backend


def study_id(study: optuna.Study) -> int:
    """The study's number in its storage (`Study._study_id`)."""
    return int(study._study_id)


def trial_id(trial: optuna.Trial | FrozenTrial) -> int:
    """The trial's number in its storage, over all studies there (`Trial._trial_id`, `FrozenTrial._trial_id`)."""
    return int(trial._trial_id)


def trial_of_number(study: optuna.Study, number: int) -> FrozenTrial:
    """Trial `number` as it is now (`BaseStorage.get_trial_id_from_study_id_trial_number`); IndexError for none."""
    try:
        found = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    except KeyError:
        raise IndexError(number) from None
    return study._storage.get_trial(found)


def as_read(trial: optuna.Trial) -> FrozenTrial:
    """The running trial as it was when it was asked for, and since changed by it (`Trial._cached_frozen_trial`)."""
    return trial._cached_frozen_trial


def give_place(trial: FrozenTrial | optuna.Trial, trial_id: int, number: int) -> None:
    """Tells a trial that was made in memory where it stands in the database (`_trial_id`, `FrozenTrial.number`)."""
    trial._trial_id = trial_id
    if isinstance(trial, FrozenTrial):
        trial.number = number
    else:
        give_place(trial._cached_frozen_trial, trial_id, number)


def note_report(trial: optuna.Trial, step: int, value: float) -> None:
    """Lets `trial` know of a report that was stored without it, as `Trial.report` does."""
    trial._cached_frozen_trial.intermediate_values[step] = value


def read_trials_again(study: optuna.Study) -> None:
    """Lets this thread's next look at the trials ask the storage (`Study._thread_local.cached_all_trials`).

    `Study.ask` and `tell` do so; who changes trials without them has to.
    """
    study._thread_local.cached_all_trials = None


CONSTRAINT = "constraints:"
"""How a trial's system attributes with a constraint begin; its name follows (`Trial.set_constraint`, which writes to a
running trial alone, in a transaction of its own). One above 0 is violated."""


def view_of_sampler(study: optuna.Study, trial: FrozenTrial) -> optuna.Study:
    """The study as its sampler sees it for `trial`: under Hyperband one bracket (`optuna.pruners._filter_study`)."""
    return pruners._filter_study(study, trial)


def whole_study(view: optuna.Study) -> optuna.Study:
    """The study behind a `view_of_sampler` (`_study` of the class in `HyperbandPruner._create_bracket_study`)."""
    whole: optuna.Study = getattr(view, "_study", view)
    return whole


def enqueued_params(trial: FrozenTrial) -> dict[str, Any] | None:
    """The params that `trial` was enqueued with; None where it was sampled (the system attribute "fixed_params").

    They stay when it has begun, and when it was put back: what was sampled and put back waits without.
    """
    return trial.system_attrs.get("fixed_params")


def study_system_attrs(study: optuna.Study, keys: Collection[str] | None = None) -> dict[str, Any]:
    """The system attributes of a study (`BaseStorage.get_study_system_attrs`), where Optuna keeps its own.

    Where `keys` are given those alone are read of a database: notes and files of all trials stand among them.
    """
    backend = backend_of(study)
    if keys is None or not isinstance(backend, RDBStorage):
        return study._storage.get_study_system_attrs(study._study_id)
    table = STUDY_SYSTEM_ATTRS
    wanted = (table.c.study_id == study._study_id) & table.c.key.in_(list(keys))
    with backend.engine.begin() as connection:
        rows = connection.execute(sqlalchemy.select(table.c.key, table.c.value_json).where(wanted)).all()
    return {row.key: json.loads(row.value_json) for row in rows}


def set_study_system_attr(study: optuna.Study, key: str, value: Any) -> None:
    """Sets one of them, in a transaction of its own (`BaseStorage.set_study_system_attr`)."""
    study._storage.set_study_system_attr(study._study_id, key, value)


def set_trial_system_attr(study: optuna.Study, trial: FrozenTrial, key: str, value: Any) -> None:
    """Sets a trial's (`BaseStorage.set_trial_system_attr`); UpdateFinishedTrialError once it has ended."""
    study._storage.set_trial_system_attr(trial._trial_id, key, value)


PLOT = "dashboard:plot_data:{name}:0"
"""Study's system attribute of a plot, as JSON in one part (optuna_dashboard._custom_plot_data)."""
ARTIFACT_OF_TRIAL = "artifacts:"
"""How a trial's system attributes with an artifact's metadata begin; its id follows (optuna.artifacts._upload).

A trial that has ended takes none any more.
"""
ARTIFACT_OF_ENDED_TRIAL = "dashboard:artifacts:{trial_id}:"
"""The same among the study's, which the dashboard also reads (optuna_dashboard.artifact._backend)."""
_ENDED = re.compile(r"dashboard:artifacts:(\d+):(.+)")


def note_keys(trial: int | None) -> tuple[str, str]:
    """Study's system attributes of a note, text and version, by trial id; None for the study's own.

    A note without a version is not shown, and a person's edit in the dashboard adds one to it (optuna_dashboard._note).
    """
    prefix = "dashboard:" if trial is None else f"dashboard:{trial}:"
    return f"{prefix}note_str:0", f"{prefix}note_ver"


def artifact_of_ended_trial(key: str) -> tuple[int, str] | None:
    """Trial id and artifact id of a study's system attribute; None where it is no artifact's."""
    found = _ENDED.fullmatch(key)
    return (int(found[1]), found[2]) if found else None


def artifact_address(study: optuna.Study, trial: FrozenTrial, artifact_id: str) -> str:
    """Where the dashboard serves an artifact of a trial (optuna_dashboard.artifact._backend)."""
    return f"/artifacts/{study._study_id}/{trial._trial_id}/{artifact_id}"
