"""Pruners by name. Steps are percent of a trial's own iterations, 1 to 100, so that short and long trials compare."""

from __future__ import annotations

from contextlib import nullcontext

from optuna.pruners import BasePruner, NopPruner, PercentilePruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from mmtuna.spaces.trials import COLLAPSE_STOPS, LAST_STEP
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.storage.optuna_insides import storage_of
from mmtuna.studies.storage.worker_storage import WorkerStorage

COMPARED = 4
"""A share of fewer trials than this stops nothing."""
_GO_ON = {"percentile": 75.0, "median": 50.0}
"""Percent of the trials that were as far which a trial has to be among."""
_OLD = 1.0
"""Seconds for which a pruner may not know of a trial that another worker has ended."""


def build_pruner(table: StudyTable) -> BasePruner:
    """The pruner of a study; `pruner_startup` and `pruner_warmup` hold for every one of them."""
    if table.pruner not in _GO_ON:  # wilcoxon stops between folds (mmtuna.studies.strategy.folding)
        return NopPruner()
    warmup = round(LAST_STEP * table.pruner_warmup)
    return _Best(_GO_ON[table.pruner], table.pruner_startup, warmup, n_min_trials=COMPARED)


def collapse_stops(pruner: str) -> int:
    """The step from which on what never found a class is stopped: by `pruner = "none"` nothing is, ever."""
    return LAST_STEP if pruner == "none" else COLLAPSE_STOPS


class _Best(PercentilePruner):
    """Reads nothing anew that was read a moment ago: a crowd's trials are asked about many times a second."""

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        storage = storage_of(study)
        with storage.not_older(_OLD) if isinstance(storage, WorkerStorage) else nullcontext():
            pruned: bool = super().prune(study, trial)
        return pruned
