"""A training that is stopped and resumed ends as one that was not: same weights, same curve, no step twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.phantom import write_phantom
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import Ending, Evaluation, Outcome, TrialOrder
from mmtuna.objectives.trial.training import load_strictly
from mmtuna.objectives.trial_files import BEST, LAST
from mmtuna.spaces.parameter import Params

ORDER = TrialOrder(number=0, params={"lr_adam": 3e-3}, seed=5)
SETTINGS: Params = {
    "base_channels": 4,
    "input_size": 64,
    "crop": 48,
    "batch_size": 2,
    "iterations": 12,
    "evaluations": 3,
    "flip": "both",
    "rotation": 20,
    "photometric": True,
    "gamma": 0.5,
    "scale_jitter": 0.5,
    "dropout": 0.3,
    "clip_norm": 1.0,
    "warmup": 0.25,
    "ema": 0.25,
    "optimizer": "AdamW",
    "schedule": "cosine",
    "decoder": "fcn",
    "inference": "whole",
}


class InterruptAt:
    """Asks for an end once `iteration` has been heard of, or at the evaluation of that iteration."""

    def __init__(self, iteration: int | None = None, *, at_evaluation: bool = False) -> None:
        self.iteration, self.at_evaluation = iteration, at_evaluation
        self.asked = False
        self.steps: list[int] = []

    def evaluated(self, evaluation: Evaluation) -> bool:
        self.steps.append(evaluation.step)
        if self.at_evaluation and evaluation.iteration == self.iteration:
            self.asked = True
        return False

    def progressed(self, iteration: int, iterations: int, seconds: float) -> None:
        if not self.at_evaluation and self.iteration is not None and iteration >= self.iteration:
            self.asked = True

    def interrupted(self) -> bool:
        return self.asked

    def lost(self) -> bool:
        return False


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_phantom(tmp_path_factory.mktemp("data") / "phantom", subjects=3, scans=3, size=64)


def objective(dataset: Dataset, folder: Path, **settings: object) -> SegmentationObjective:
    lists = (dataset.root / "splits" / "train.txt", dataset.root / "splits" / "val.txt")
    fixed: Params = {**SETTINGS, **settings}  # type: ignore[dict-item]
    return SegmentationObjective(
        base="unet", dataset=dataset, lists=lists, shapes={(64, 64)}, folder=folder, fixed=fixed
    )


def weights(outcome: Outcome) -> dict[str, torch.Tensor]:
    assert outcome.folder is not None
    last = load_strictly(outcome.folder / LAST)
    # Averaged ones, which are evaluated, and those that are trained on.
    state: dict[str, torch.Tensor] = last["state_dict"] | last["ema_state_dict"]
    return state


def figures(outcome: Outcome) -> list[tuple[int, dict[str, float]]]:
    return [(point.iteration, point.metrics) for point in outcome.curve]


def whole(dataset: Dataset, folder: Path, **settings: object) -> Outcome:
    outcome = objective(dataset, folder, **settings).run(ORDER, InterruptAt())
    assert outcome.ending is Ending.FINISHED, outcome.message
    return outcome


@pytest.mark.parametrize(("iteration", "at_evaluation"), [(4, True), (1, False)])
def test_the_resumed_training_is_the_uninterrupted_one_bit_for_bit(
    dataset: Dataset, tmp_path: Path, iteration: int, at_evaluation: bool
) -> None:
    uninterrupted = whole(dataset, tmp_path / "whole")
    cut = objective(dataset, tmp_path / "cut")
    first = cut.run(ORDER, InterruptAt(iteration, at_evaluation=at_evaluation))
    assert first.ending is Ending.INTERRUPTED
    assert 0 < first.iterations < 12
    watch = InterruptAt()
    second = cut.run(replace(ORDER, resume=True), watch)

    assert second.ending is Ending.FINISHED, second.message
    assert figures(second) == figures(uninterrupted)
    assert [point.step for point in second.curve] == [33, 67, 100]
    assert watch.steps == [33, 67, 100]
    expected, found = weights(uninterrupted), weights(second)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert second.folder is not None
    assert "ema_state_dict" not in load_strictly(second.folder / BEST)  # what was evaluated, and no more
    seconds = [point.seconds for point in second.curve]  # of both attempts
    assert seconds == sorted(seconds)
    assert second.seconds > seconds[-1]


@pytest.mark.slow
def test_without_resume_an_old_checkpoint_is_not_used(dataset: Dataset, tmp_path: Path) -> None:
    again = objective(dataset, tmp_path)
    again.run(ORDER, InterruptAt(4, at_evaluation=True))
    outcome = again.run(ORDER, InterruptAt())
    assert [point.step for point in outcome.curve] == [33, 67, 100]


def test_a_resume_without_a_checkpoint_begins_anew(dataset: Dataset, tmp_path: Path) -> None:
    outcome = objective(dataset, tmp_path).run(replace(ORDER, resume=True), InterruptAt())
    assert outcome.ending is Ending.FINISHED
    assert len(outcome.curve) == 3
