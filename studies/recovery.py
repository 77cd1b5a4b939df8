"""Trials whose worker is gone: found, put back, trained again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import filelock
import optuna
from optuna.trial import TrialState

from studies.study import next_worker

WORKER = "worker"
_FOLDER = ".workers"


@dataclass
class Registration:
    """A worker's sign of life: a lock that the operating system frees when its process dies, however it dies."""

    ordinal: int
    _lock: filelock.FileLock

    def release(self) -> None:
        """Says that this worker is gone."""
        self._lock.release()


def register(study: optuna.Study, folder: Path) -> Registration:
    """Makes this process a worker of the study. The caller holds the study's lock."""
    ordinal = next_worker(study)
    lock = _lock(folder, ordinal)
    lock.acquire(timeout=10)
    return Registration(ordinal, lock)


def put_back_orphans(study: optuna.Study, folder: Path) -> list[int]:
    """Puts back every running trial whose worker is gone; returns their numbers. The caller holds the study's lock."""
    found = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_gone(folder, trial.user_attrs.get(WORKER)):
            put_back(study, trial.number)
            found.append(trial.number)
    return found


def put_back(study: optuna.Study, number: int) -> None:
    """Makes a running trial wait again, with its params, seed and what it reported."""
    trial = study.get_trials(deepcopy=False)[number]
    study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


def _is_gone(folder: Path, ordinal: int | None) -> bool:
    if ordinal is None:
        return True  # it died between taking the trial and signing it, which happens under the study's lock
    lock = _lock(folder, ordinal)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return False
    lock.release()
    return True


def _lock(folder: Path, ordinal: int) -> filelock.FileLock:
    place = folder / _FOLDER
    place.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(place / f"{ordinal}.lock", thread_local=False)
