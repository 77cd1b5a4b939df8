"""A study moved to another storage: whole, compared with what it was made from, or not there at all."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import update

from mmtuna.spaces.errors import InputError
from mmtuna.studies.attributes import COPIED_FROM, ID
from mmtuna.studies.fingerprints import short
from mmtuna.studies.identity import pass_on
from mmtuna.studies.leases import clock
from mmtuna.studies.leases.leases import reap
from mmtuna.studies.results import UNREADABLE, rows
from mmtuna.studies.spec.tables import ResourcesTable, StudyTable
from mmtuna.studies.storage.opening import engine_of, hide_password, open_storage, study_lock
from mmtuna.studies.storage.optuna_insides import STUDIES, set_study_system_attr, storage_of, study_system_attrs
from mmtuna.studies.storage.outages import OUTAGE_SECONDS
from mmtuna.studies.storage.postgres import holds_password
from mmtuna.studies.study import open_existing

_COPYING = ".copying-"
_FIELDS = (
    "number",
    "state",
    "values",
    "params",
    "distributions",
    "user_attrs",
    "system_attrs",
    "intermediate_values",
    "datetime_start",
    "datetime_complete",
)


def copy_study(
    table: StudyTable, resources: ResourcesTable, url: str, on_trial: Callable[[int, int], None] | None = None
) -> int:
    """Copies the study of `table` into the storage at `url` and returns how many trials it has.

    Everything is copied: trials of every state with their params, distributions, values, intermediate values,
    attributes and times, and the study's attributes but for its id: the study's folder goes over to the copy when that
    is first worked on, and until then both may be. The copy gets its name last, after it was read back and compared,
    so that a copy that was cut off is no study; the next one removes what it left. `on_trial` is told trials done and
    in all.

    Raises InputError for a study that is running or does not exist, a target that holds a study of this name, and a
    password in `url`, which on a command line everybody on the machine can read.
    """
    if holds_password(url):
        raise InputError(
            f"--to {hide_password(url)}: everybody on the machine can read a password on a command line; leave it "
            "out and set PGPASSWORD, or use ~/.pgpass or a service file"
        )
    name = table.name
    source = open_existing(table)
    rows(source)  # InputError where some cannot be read
    storage = open_storage(url)
    with study_lock(table.storage, name) as source_lock:
        _refuse_running(source, table, resources)
        if _same_place(source, storage):
            raise InputError(f"--to {hide_password(url)}: the study lies there already; name another storage")
        with study_lock(url, f"copy {name}") as target_lock:

            def copied(done: int, trials: int) -> None:
                source_lock.keep()
                target_lock.keep()
                if on_trial is not None:
                    on_trial(done, trials)

            try:
                return _copy(source, storage, url, copied)
            except InputError:
                raise
            except UNREADABLE as error:
                raise InputError(
                    f"study {name} cannot be copied: its database does not hold what mmtuna wrote there ({error}); "
                    "restore a copy of the database"
                ) from None


def _same_place(source: optuna.Study, storage: optuna.storages.RDBStorage) -> bool:
    return bool(engine_of(source).url == storage.engine.url)


def _refuse_running(source: optuna.Study, table: StudyTable, resources: ResourcesTable) -> None:
    reap(source, table.folder, resources.retries)
    running = [trial.number for trial in source.get_trials(deepcopy=False, states=(TrialState.RUNNING,))]
    if running:
        raise InputError(
            f"study {table.name}: trial {running[0]} is running; stop its worker first; one that is gone "
            f"is noticed by the study's other workers after {resources.lease:.0f} s, and by this command after "
            f"{(resources.lease + OUTAGE_SECONDS) / 60:.0f} min"
        )


def _copy(
    source: optuna.Study,
    storage: optuna.storages.RDBStorage,
    url: str,
    on_trial: Callable[[int, int], None],
) -> int:
    name = source.study_name
    names = [study.study_name for study in storage.get_all_studies()]
    if name in names:
        raise InputError(f"--to {hide_password(url)}: holds a study {name} already; name another storage")
    for left in names:  # by a copy that was cut off: nobody else copies this study there now
        if left.startswith(name + _COPYING):
            optuna.delete_study(study_name=left, storage=storage)
    copying = name + _COPYING + secrets.token_hex(4)
    copy = optuna.create_study(study_name=copying, storage=storage, directions=source.directions)
    try:
        count = _fill(source, copy, on_trial)
        _compare(source, copy)
        with engine_of(copy).begin() as connection:
            connection.execute(update(STUDIES).where(STUDIES.c.study_name == copying).values(study_name=name))
    except BaseException:
        optuna.delete_study(study_name=copying, storage=storage)
        raise
    return count


def _fill(source: optuna.Study, copy: optuna.Study, on_trial: Callable[[int, int], None]) -> int:
    for key, value in source.user_attrs.items():
        copy.set_user_attr(key, value)
    pass_on(source, copy)
    clock.pass_on(source, copy)
    for key, value in study_system_attrs(source).items():
        set_study_system_attr(copy, key, value)
    trials = source.get_trials(deepcopy=False)
    for done, trial in enumerate(trials, 1):
        copy.add_trial(trial)
        on_trial(done, len(trials))
    return len(trials)


def _compare(source: optuna.Study, copy: optuna.Study) -> None:
    """Raises InputError that names the first thing that differs."""
    theirs = optuna.load_study(study_name=copy.study_name, storage=storage_of(copy))
    before, after = source.get_trials(deepcopy=False), theirs.get_trials(deepcopy=False)
    pairs: list[tuple[str, object, object]] = [
        ("direction", source.directions, theirs.directions),
        ("user attributes", _copied(source), _copied(theirs)),
        ("system attributes", study_system_attrs(source), study_system_attrs(theirs)),
        ("number of trials", len(before), len(after)),
    ]
    for one, other in zip(before, after, strict=False):
        pairs += [(f"{field} of trial {one.number}", _plain(one, field), _plain(other, field)) for field in _FIELDS]
    for what, was, now in pairs:
        if was != now:
            raise InputError(
                f"study {source.study_name}: {what} came out otherwise ({short(str(was))} became {short(str(now))}); "
                "the copy was removed, the study is unchanged"
            )


def _copied(study: optuna.Study) -> dict[str, Any]:
    return {key: value for key, value in study.user_attrs.items() if key not in (ID, COPIED_FROM)}


def _plain(trial: FrozenTrial, field: str) -> object:
    value = getattr(trial, field)
    if field == "intermediate_values":  # NaN differs from itself
        return {step: "nan" if math.isnan(at) else at for step, at in value.items()}
    return value
