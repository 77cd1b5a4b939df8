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
from mmtuna.objectives.trial_files import BEST, LAST, TrialFolder, trial_name
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
    """Asks for an end at the evaluation of `iteration`, or once there is what its Runner makes at first, `begun`.

    That is before the first iteration, after which the training ends: of one this short hardly any other is heard of.
    """

    def __init__(self, iteration: int | None = None, *, begun: Path | None = None) -> None:
        self.iteration, self.begun = iteration, begun
        self.asked = False
        self.steps: list[int] = []

    def evaluated(self, evaluation: Evaluation) -> bool:
        self.steps.append(evaluation.step)
        if evaluation.iteration == self.iteration:
            self.asked = True
        return False

    def progressed(self, iteration: int, iterations: int, seconds: float) -> None:
        pass

    def interrupted(self) -> bool:
        self.asked |= self.begun is not None and self.begun.exists()
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


@pytest.mark.parametrize("iteration", [4, 1])
def test_the_resumed_training_is_the_uninterrupted_one_bit_for_bit(
    dataset: Dataset, tmp_path: Path, iteration: int
) -> None:
    uninterrupted = whole(dataset, tmp_path / "whole")
    cut, folder = objective(dataset, tmp_path / "cut"), TrialFolder(tmp_path / "cut" / trial_name(ORDER.number))
    first = cut.run(ORDER, InterruptAt(4) if iteration == 4 else InterruptAt(begun=folder.work))
    assert first.ending is Ending.INTERRUPTED
    # Whether the order to end is heard before the next iteration is a matter of milliseconds.
    assert load_strictly(folder.last)["meta"]["iter"] in (iteration, iteration + 1)
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
    again.run(ORDER, InterruptAt(4))
    outcome = again.run(ORDER, InterruptAt())
    assert [point.step for point in outcome.curve] == [33, 67, 100]


def test_a_resume_without_a_checkpoint_begins_anew(dataset: Dataset, tmp_path: Path) -> None:
    outcome = objective(dataset, tmp_path).run(replace(ORDER, resume=True), InterruptAt())
    assert outcome.ending is Ending.FINISHED
    assert len(outcome.curve) == 3
