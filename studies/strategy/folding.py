"""A trial of several folds is stopped between two of them, by the images of those that ended."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.trial import TrialState

from mmtuna.studies.attributes import FOLDS
from mmtuna.studies.spec.tables import StudyTable

P = 0.1
"""How probable it may be, at most, that a trial which is stopped is as good as the best one: Optuna's own default."""


def fold_test(table: StudyTable) -> int | None:
    """How many trials are to be complete before one is stopped between its folds; None where none is, ever."""
    return table.pruner_startup if table.pruner == "wilcoxon" else None


def falls_behind(study: optuna.Study, images: Sequence[float], startup: int = 1) -> bool:
    """Whether a trial of which these images are known is worse than the best one on the very same, by a paired test.

    `images` are its values fold by fold, as `FOLDS` holds them of the best trial (the first of those of equal value). A
    one-sided signed-rank test (Wilcoxon 1945), as Optuna's WilcoxonPruner makes it between the values of two trials,
    here of images: folds are too few to tell anything. It is asked once a fold. False where fewer than `startup` trials
    of folds are complete, or none.
    """
    from scipy import stats  # slow to import

    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    known = [trial for trial in trials if trial.values and trial.user_attrs.get(FOLDS)]
    if len(known) < max(1, startup):
        return False
    best = max(known, key=lambda trial: (trial.values[0], -trial.number))
    theirs = [float(value) for fold in best.user_attrs[FOLDS] for value in fold["images"]][: len(images)]
    differences = [ours - other for ours, other in zip(images, theirs, strict=False)]
    if len(theirs) < len(images) or not any(differences):
        return False
    return float(stats.wilcoxon(differences, alternative="less").pvalue) < P
