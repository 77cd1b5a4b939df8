"""Pruners by name. Steps are percent of a trial's own iterations, 1 to 100, so that short and long trials compare."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, WilcoxonPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mmtuna.spaces.trials import LAST_STEP
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.storage.optuna_insides import storage_of
from mmtuna.studies.storage.worker_storage import WorkerStorage

COMPARED = 4
"""A median of fewer trials than this stops nothing."""
_OLD = 1.0
"""Seconds for which a pruner may not know of a trial that another worker has ended."""


def build_pruner(table: StudyTable) -> BasePruner:
    """The pruner of a study; `pruner_startup` and `pruner_warmup` hold for every one of them."""
    startup = table.pruner_startup
    warmup = round(LAST_STEP * table.pruner_warmup)
    match table.pruner:
        case "median":
            return _Median(n_startup_trials=startup, n_warmup_steps=warmup, n_min_trials=COMPARED)
        case "hyperband":
            return _LateHyperband(startup, warmup, min_resource=max(1, warmup), max_resource=LAST_STEP)
        case "wilcoxon":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return _LateWilcoxon(startup, warmup)
        case "none":
            return NopPruner()


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


class _LateWilcoxon(_StartsLate, WilcoxonPruner):
    pass
