"""What a trial costs, measured in children that train for a moment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import Outcome
from mmtuna.objectives.probes.extent import Extent, extent_of
from mmtuna.objectives.probes.measuring import TrialCost, free_memory, measure
from mmtuna.spaces.errors import InputError

Objective = Callable[..., SegmentationObjective]
Train = Callable[..., Outcome]


def config(objective: Objective, folder: Path, **params: Any) -> dict[str, Any]:
    return objective(folder).config(params, seed=0)


def test_what_is_measured_is_about_what_a_trial_takes(objective: Objective, train: Train, tmp_path: Path) -> None:
    params = {"iterations": 60, "evaluations": 3}
    cfg = config(objective, tmp_path, **params)
    (cost,) = measure(cfg, 3, visible="", seconds=1.0)
    said = cost.seconds(extent_of(cfg, {(64, 64)}))
    took = train(tmp_path, params).seconds
    # Other processes on the machine take their share of one and not of the other.
    assert took / 8 < said < took * 8, (cost, took)
    assert 5 << 20 < cost.memory < 1 << 30


def test_a_larger_batch_takes_longer_and_more_memory(objective: Objective, tmp_path: Path) -> None:
    (small,), (large,) = (
        measure(config(objective, tmp_path, batch_size=size), 3, visible="", seconds=0.3) for size in (1, 16)
    )
    assert large.iteration > small.iteration  # some eight times, on an idle machine
    assert large.memory > small.memory
    assert 0 < small.evaluation < 60
    assert 0 < small.start < 60


def test_several_train_at_the_same_time(objective: Objective, tmp_path: Path) -> None:
    cfg = config(objective, tmp_path)
    began = time.monotonic()
    found = measure(cfg, 3, visible="", beside=2, seconds=0.5)
    assert len(found) == 2
    assert time.monotonic() - began < 60
    assert all(0 < cost.iteration < 30 and cost.memory > 0 for cost in found)


@pytest.mark.parametrize("beside", [1, 2])
def test_a_training_that_fails_is_told_in_its_own_line(objective: Objective, tmp_path: Path, beside: int) -> None:
    cfg = config(objective, tmp_path)
    cfg["train_dataloader"]["dataset"]["data_prefix"]["img_path"] = "nowhere"
    with pytest.raises(InputError, match=r"^FileNotFoundError: .*nowhere"):
        measure(cfg, 3, visible="", beside=beside, seconds=0.3)


def test_nothing_is_left_behind(objective: Objective, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    measure(config(objective, tmp_path), 3, visible="", seconds=0.1)
    assert not os.listdir(tmp_path / "scratch")


def test_the_seconds_of_a_trial_are_those_of_its_parts() -> None:
    cost = TrialCost(start=2.0, iteration=0.5, evaluation=3.0, memory=1)
    assert cost.seconds(Extent(iterations=10, evaluations=2, train=1.0, val=1.0)) == 2 + 5 + 6


def test_the_extent_of_a_training_is_read_off_its_config(objective: Objective, tmp_path: Path) -> None:
    def of(shapes: tuple[int, int] = (64, 64), **params: Any) -> Extent:
        return extent_of(config(objective, tmp_path, **params), {shapes})

    width = 4**2
    assert of() == Extent(iterations=4, evaluations=2, train=2 * 64 * 64 * width, val=64 * 64 * width)
    assert of(batch_size=3, crop=32).train == 3 * 32 * 32 * width
    assert of((32, 64)).val == 32 * 64 * width
    assert of(input_size=128).train == 2 * 128 * 128 * width
    assert of(iterations=100, evaluations=3).evaluations == 3
    slid = of(input_size=512, inference="slide", window=256, stride=128)
    assert slid.val == 9 * 256 * 256 * width
    assert of(base_channels=8).train == 2 * 64 * 64 * 8**2


def test_the_free_memory_of_this_machine_is_known() -> None:
    free = free_memory("")
    assert free is not None
    assert 1 << 20 < free < 1 << 50
