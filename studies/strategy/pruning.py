"""Pruners by name. Steps are percent of a trial's own iterations, 1 to 100, so that short and long trials compare."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.trials import COLLAPSE_STOPS, LAST_STEP
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.storage.optuna_insides import storage_of
from mmtuna.studies.storage.worker_storage import WorkerStorage

COMPARED = 4
"""Beside fewer trials than this none is stopped."""
THIRD = 1 / 3
_OLD = 1.0
"""Seconds for which a pruner may not know of a trial that another worker has ended."""


def build_pruner(table: StudyTable) -> BasePruner:
    """The pruner of a study; `pruner_startup` and `pruner_warmup` hold for every one of them."""
    warmup = round(LAST_STEP * table.pruner_warmup)
    if table.pruner == "best-third":
        return BestOfAll(THIRD, table.pruner_startup, warmup)
    if table.pruner == "median":
        return _Median(table.pruner_startup, warmup, n_min_trials=COMPARED)
    if table.pruner in ("none", "wilcoxon"):  # wilcoxon stops between folds (mmtuna.studies.strategy.folding)
        return NopPruner()
    raise InputError(f'[study] pruner = "{table.pruner}" is unknown; use best-third, median, wilcoxon or none')


def collapse_stops(pruner: str | BasePruner) -> int:
    """The step from which on what never found a class is stopped: by `pruner = "none"`, or Optuna's NopPruner as
    another study's, nothing is, ever."""
    return LAST_STEP if pruner == "none" or isinstance(pruner, NopPruner) else COLLAPSE_STOPS


class BestOfAll(BasePruner):
    """Stops a trial that is not among the best `share` (0 to 1) of all trials, at any step from `warmup` on, once
    `startup` trials are complete.

    Its best value so far is compared with what each of the others had at this step; one that was stopped before is
    worse than all that came so far. Who compares with complete trials alone, as Optuna's pruners do, compares with ever
    better ones the more it stops: after a few good trials hardly one goes on. Here about `share` of all do.
    """

    def __init__(self, share: float, startup: int, warmup: int) -> None:
        self._share, self._startup, self._warmup = share, startup, warmup

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or step < self._warmup:
            return False
        with _not_anew(study):
            ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        pruned = [one.intermediate_values for one in ended if one.state is TrialState.PRUNED]
        if len(ended) - len(pruned) < self._startup:
            return False
        there = [one.intermediate_values[step] for one in ended if step in one.intermediate_values]
        # One without any was not trained: its net is over a limit.
        before = sum(bool(curve) and step not in curve and max(curve) < step for curve in pruned)
        others = len(there) + before
        if others < COMPARED:
            return False
        best = max(trial.intermediate_values.values())
        better = sum(value > best for value in there)
        return better >= math.ceil(self._share * (others + 1))


class _Median(MedianPruner):
    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        with _not_anew(study):
            pruned: bool = super().prune(study, trial)
        return pruned


def _not_anew(study: Study) -> AbstractContextManager[None]:
    """Reads nothing anew that was read a moment ago: a crowd's trials are asked about many times a second."""
    storage = storage_of(study)
    return storage.not_older(_OLD) if isinstance(storage, WorkerStorage) else nullcontext()
