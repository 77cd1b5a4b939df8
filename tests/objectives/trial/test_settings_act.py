"""Settings whose work a config does not show change in a training what they are said to change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.spaces.parameter import Params
from tests.objectives.trial.acting import told

RATE = 0.05
PLAIN: Params = {"iterations": 6, "evaluations": 1, "lr_sgd": RATE, "weight_decay": 0.0, "dropout": 0.0}
CROPPED: Params = {"crop": 16, "batch_size": 8}
SETTINGS: dict[str, Params] = {
    "plain": {},
    "cropped": CROPPED,
    "clip_norm": {"clip_norm": 0.01},
    "clip_norm, mixed": {"clip_norm": 0.01},
    "warmup": {"warmup": 0.5},
    "dropout": {"dropout": 0.5},
    "gamma": {"gamma": 1.0},
    "scale_jitter": {**CROPPED, "scale_jitter": 1.0},
    "cat_max_ratio": {**CROPPED, "cat_max_ratio": 0.99},
    "ema": {"ema": 0.5},
}


@pytest.fixture(scope="module")
def of(
    objective: Callable[..., SegmentationObjective], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What each of these did."""
    folder = tmp_path_factory.mktemp("acting")
    ours = objective(folder)
    cfgs = {name: ours.config({**PLAIN, **params}, seed=0) for name, params in SETTINGS.items()}
    found: dict[str, dict[str, Any]] = call_in_child(told, cfgs, str(folder), ("clip_norm, mixed",))
    return found


def test_gradients_are_clipped_to_the_norm(of: dict[str, dict[str, Any]]) -> None:
    for name in ("clip_norm", "clip_norm, mixed"):
        assert of[name]["steps"][0] == pytest.approx(RATE * 0.01, rel=0.02)
    assert of["plain"]["steps"][0] > RATE * 0.1


def test_the_rate_rises_before_the_schedule(of: dict[str, dict[str, Any]]) -> None:
    assert of["warmup"]["rates"][:3] == pytest.approx([RATE * 0.1, RATE * 0.55, RATE])
    assert of["plain"]["rates"][0] == RATE


def test_heads_drop_channels(of: dict[str, dict[str, Any]]) -> None:
    assert of["dropout"]["dropped"] == pytest.approx(0.5, abs=0.1)
    assert of["plain"]["dropped"] == 0


def test_gamma_moves_what_lies_between_black_and_white(of: dict[str, dict[str, Any]]) -> None:
    plain, changed = of["plain"]["images"], of["gamma"]["images"]
    assert [image[0] for image in changed] == [image[0] for image in plain]
    assert [image[1:3] for image in changed] == [pytest.approx(image[1:3]) for image in plain]
    moved = [abs(other[3] - image[3]) > 0.1 for image, other in zip(plain, changed, strict=True)]
    assert 0 < sum(moved) < len(moved)  # with a probability of a half


def test_images_are_scaled_both_ways(of: dict[str, dict[str, Any]]) -> None:
    scales = [image[-1] for image in of["scale_jitter"]["images"]]
    assert 0.5 <= min(scales) < 0.8
    assert 1.5 < max(scales) <= 2.0
    assert {image[-1] for image in of["cropped"]["images"]} == {1.0}


def test_a_ratio_near_1_finds_crops_with_the_rare_class_and_the_papers_does_not(of: dict[str, dict[str, Any]]) -> None:
    aware, papers = ([image[4] for image in of[name]["images"]] for name in ("cat_max_ratio", "cropped"))
    assert sum(share > 0.01 for share in aware) > 1.2 * sum(share > 0.01 for share in papers)


def test_what_is_kept_is_the_average_of_the_weights(of: dict[str, dict[str, Any]]) -> None:
    unlike = of["ema"]["unlike"]
    assert unlike["average"] == pytest.approx(0, abs=1e-4)
    assert unlike["last"] > 0.01
    assert of["plain"]["unlike"]["last"] == 0
