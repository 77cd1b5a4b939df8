"""Pruners by name. Steps are percent of a trial's own iterations, 1 to 100, so that short and long trials compare."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mmtuna.spaces.trials import COLLAPSE_STOPS, LAST_STEP
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.storage.optuna_insides import storage_of
from mmtuna.studies.storage.worker_storage import WorkerStorage

COMPARED = 4
"""A median of fewer trials than this stops nothing."""
_OLD = 1.0
"""Seconds for which a pruner may not know of a trial that another worker has ended."""


def build_pruner(table: StudyTable, evaluations: int) -> BasePruner:
    """The pruner of a study whose trainings are evaluated `evaluations` times.

    `pruner_startup` and `pruner_warmup` hold for every one of them.
    """
    startup = table.pruner_startup
    warmup = round(LAST_STEP * table.pruner_warmup)
    match table.pruner:
        case "median":
            return _Median(n_startup_trials=startup, n_warmup_steps=warmup, n_min_trials=COMPARED)
        case "hyperband":
            return _hyperband(startup, warmup, evaluations)
        case "wilcoxon" | "none":  # the first stops between folds (mmtuna.studies.folding)
            return NopPruner()


def collapse_stops(pruner: str) -> int:
    """The step from which on what never found a class is stopped: by `pruner = "none"` nothing is, ever."""
    return LAST_STEP if pruner == "none" else COLLAPSE_STOPS


class _Median(MedianPruner):
    """Reads nothing anew that was read a moment ago: a crowd's trials are asked about many times a second."""

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        storage = storage_of(study)
        with storage.not_older(_OLD) if isinstance(storage, WorkerStorage) else nullcontext():
            pruned: bool = super().prune(study, trial)
        return pruned


class _StartsLate(BasePruner):
    """Asks the pruner behind it only after `startup` completed trials and beyond step `warmup`.

    A base class and no wrapper: Optuna treats a HyperbandPruner in its own way wherever it meets one.
    """

    def __init__(self, startup: int, warmup: int, **options: Any) -> None:
        super().__init__(**options)
        self._startup = startup
        self._warmup = warmup

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        if trial.last_step is None or trial.last_step < self._warmup:
            return False
        if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < self._startup:
            return False
        pruned: bool = super().prune(study, trial)  # type: ignore[safe-super]
        return pruned


class _LateHyperband(_StartsLate, HyperbandPruner):
    pass


def _hyperband(startup: int, warmup: int, evaluations: int) -> BasePruner:
    """Hyperband whose every bracket cuts at an evaluation that there is.

    Its brackets begin at the resource min, min * factor, min * factor^2, ... up to max. Where max is the end itself,
    the last of them begins beyond the last evaluation that can stop anything: of five evaluations with factor 3, two
    fifths of all trials stood in a bracket that never cut. So min and max are the first and the last evaluation of
    those before the end, and the factor is 2 where there is no room for 3.
    """
    before_the_end = (LAST_STEP * place // evaluations for place in range(1, evaluations))
    steps = [step for step in before_the_end if step >= max(1, warmup)]
    if not steps:  # nothing is evaluated while there is anything left to save
        return NopPruner()
    factor = 3 if steps[-1] >= 3 * steps[0] else 2
    return _LateHyperband(startup, warmup, min_resource=steps[0], max_resource=steps[-1], reduction_factor=factor)
