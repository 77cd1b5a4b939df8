"""When a trial of folds is stopped between two of them."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from mmtuna.studies.attributes import FOLDS
from mmtuna.studies.strategy.folding import falls_behind


def study_of(*trials: tuple[float, list[list[float]]]) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    for value, folds in trials:
        attrs = {FOLDS: [{"images": images} for images in folds]}
        study.add_trial(create_trial(state=TrialState.COMPLETE, value=value, user_attrs=attrs))
    return study


BEST = (0.9, [[0.8, 0.7, 0.9, 1.0], [0.6, 0.8, 0.9, 0.7]])
OTHER = (0.5, [[0.1] * 4, [0.2] * 4])


@pytest.mark.parametrize(
    ("images", "stopped"),
    [
        ([0.4, 0.5, 0.6, 0.7], True),  # four of four lower: p = 1/16
        ([0.9, 0.8, 0.9, 1.0], False),
        ([0.4, 0.5, 0.95, 1.0], False),
        ([0.8, 0.7, 0.9, 1.0], False),  # the very same
        ([0.79] * 9, False),  # of more images than the best one has
    ],
)
def test_a_trial_is_held_against_the_best_one_on_the_same_images(images: list[float], stopped: bool) -> None:
    assert falls_behind(study_of(OTHER, BEST, OTHER), images) is stopped


def test_nothing_is_stopped_before_there_is_something_to_compare_with() -> None:
    assert not falls_behind(study_of(), [0.0] * 4)
    assert not falls_behind(study_of(BEST), [0.0] * 4, startup=2)
    bare = optuna.create_study(direction="maximize")
    bare.add_trial(create_trial(state=TrialState.COMPLETE, value=0.9))
    assert not falls_behind(bare, [0.0] * 4)
