"""A base's own schedule, ignore values and hooks in trials: none stays behind as what it was made for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mmtuna.objectives.config import load_base
from mmtuna.objectives.config.schedules import average_gamma
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.spaces.errors import InputError
from tests.objectives.configs import SEGFORMER, at, build

Fit = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def fit(phantom: Dataset) -> Fit:
    """The schedulers that a trial of so many iterations has of a base with these."""

    def make(schedulers: Any, iterations: int, **train: int) -> list[dict[str, Any]]:
        base = load_base(SEGFORMER)
        cfg = {**base.cfg, "param_scheduler": schedulers, "train_cfg": train or {"max_iters": 1000}}
        built = build(phantom, {"iterations": iterations}, replace(base, cfg=cfg), weights=None)
        found: list[dict[str, Any]] = built["param_scheduler"]
        return found

    return make


WARM = {"type": "LinearLR", "start_factor": 1e-6, "by_epoch": False, "begin": 0, "end": 100}
POLY = {"type": "PolyLR", "power": 1.0, "begin": 100, "end": 1000, "by_epoch": False}
STEPS = {"type": "MultiStepLR", "milestones": [600, 900], "by_epoch": False}


def test_a_schedule_is_as_long_as_its_training(fit: Fit) -> None:
    assert fit([WARM, POLY, STEPS], 1000) == [WARM, POLY, STEPS]
    assert fit([WARM, POLY, STEPS], 300) == [
        {**WARM, "end": 30},
        {**POLY, "begin": 30, "end": 300},
        {**STEPS, "milestones": [180, 270]},
    ]
    assert fit([WARM, POLY], 2000) == [{**WARM, "end": 200}, {**POLY, "begin": 200, "end": 2000}]
    assert fit([], 300) == []
    assert fit(POLY, 500) == [{**POLY, "begin": 50, "end": 500}]


def test_a_warm_up_that_would_be_one_iteration_is_none(fit: Fit) -> None:
    assert fit([WARM, POLY], 10) == [{**POLY, "begin": 1, "end": 10}]


def test_a_schedule_of_epochs_is_put_into_iterations(fit: Fit) -> None:
    epochs = {"type": "PolyLR", "power": 0.9}
    assert fit([epochs], 300, max_epochs=50) == [{**epochs, "end": 300, "by_epoch": False}]
    steps = {"type": "MultiStepLR", "milestones": [30, 40], "by_epoch": True, "convert_to_iter_based": True}
    assert fit([steps], 300, max_epochs=50) == [{"type": "MultiStepLR", "milestones": [180, 240], "by_epoch": False}]
    step = {"type": "StepLR", "step_size": 10, "by_epoch": True, "end": 50}
    assert fit([step], 300, max_epochs=50) == [{**step, "step_size": 60, "end": 300, "by_epoch": False}]
    assert fit([{**WARM, "end": 20}, step], 300, max_epochs=50)[0] == {**WARM, "end": 20}


@pytest.mark.parametrize(
    ("scheduler", "train", "message"),
    [
        (
            {"type": "PolyLR"},
            {},
            r"PolyLR counts epochs \(by_epoch\) in a training that counts iterations, so it would",
        ),
        (
            {"type": "ExponentialLR", "gamma": 0.9},
            {"max_epochs": 9},
            "ExponentialLR does a step an epoch, which has no",
        ),
        (WARM | {"end": 500}, {"max_epochs": 9}, "LinearLR goes on for 500 iterations and the training for 300; train"),
    ],
)
def test_what_cannot_be_put_into_iterations_is_refused(
    fit: Fit, scheduler: dict[str, Any], train: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=rf"^base config segformer.*: {message}"):
        fit([scheduler], 300, **train)


def test_rates_rise_and_fall_as_the_bases_own(fit: Fit) -> None:
    """By MMEngine's own schedulers: as a share of the training the rates are those of the base's own length."""
    assert rates(fit([WARM, POLY], 1000), 1000)[::10] == pytest.approx(rates(fit([WARM, POLY], 100), 100), abs=0.1)


def test_the_cosine_of_a_short_training_reaches_its_rate(phantom: Dataset) -> None:
    for iterations in (1, 5, 10, 19, 20, 50):
        schedulers = build(phantom, {"schedule": "cosine", "iterations": iterations})["param_scheduler"]
        assert max(rates(schedulers, iterations)) == pytest.approx(1.0), iterations


@pytest.mark.parametrize("schedule", ["poly_40k", "poly", "cosine"])
def test_a_warm_up_comes_before_any_schedule(phantom: Dataset, schedule: str) -> None:
    for iterations, warm in ((4, 2), (10, 2), (200, 50)):
        cfg = build(phantom, {"schedule": schedule, "warmup": 0.25, "iterations": iterations})
        found = rates(cfg["param_scheduler"], iterations)
        assert found[:warm] == pytest.approx([0.1 + 0.9 * step / (warm - 1) for step in range(warm)])
        assert found[warm:] == sorted(found[warm:], reverse=True)
        assert max(found) == pytest.approx(1.0)
    assert len(build(phantom, {"schedule": schedule, "warmup": 0.0})["param_scheduler"]) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": 3}, r"^warmup = 0.5: a training of 3 iterations has no room for it; take warmup = 0$"),
        (
            {"iterations": 90_000},
            r"^warmup = 0.5: its 45000 iterations last until poly_40k has ended, at 40000; ",
        ),
    ],
)
def test_a_warm_up_that_cannot_be_is_refused(phantom: Dataset, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(phantom, {"warmup": 0.5, **settings})


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("end", [200, 1600])
def test_half_of_an_average_is_younger_than_its_share_of_the_iterations_so_far(share: float, end: int) -> None:
    gamma, held = average_gamma(share), 1.0  # what is held of all that came before the last `share`
    for step in range(round((1 - share) * end), end):
        held *= 1 - gamma / (gamma + step)
    assert held == pytest.approx(0.5, rel=0.03)


def rates(schedulers: list[dict[str, Any]], iterations: int) -> list[float]:
    import torch
    from mmengine.registry import PARAM_SCHEDULERS

    from mmtuna.objectives.trial import training  # noqa: F401  # registers MMEngine's

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    built = [PARAM_SCHEDULERS.build(dict(one), default_args={"optimizer": optimizer}) for one in schedulers]
    found = []
    for _ in range(iterations):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for one in built:
            one.step()
    return found


@pytest.mark.parametrize("ignored", [255, 7])
def test_a_bases_own_ignore_values_become_the_datas(ignored: int, phantom: Dataset) -> None:
    base = load_base(SEGFORMER)
    steps = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations"},
        {"type": "RandomCrop", "crop_size": (8, 8), "ignore_index": 0},
        {"type": "RandomRotate", "prob": 0.5, "degree": 3, "seg_pad_val": 0},
        {"type": "Pad", "size": (8, 8), "pad_val": {"img": 0, "seg": 0}},
        {"type": "PackSegInputs"},
    ]
    model = {**base.cfg["model"]}
    model["data_preprocessor"] = {**model["data_preprocessor"], "seg_pad_val": 0}
    loss = {"type": "TverskyLoss", "ignore_index": 0}
    model["decode_head"] = {**model["decode_head"], "ignore_index": 0, "loss_decode": [loss]}
    loader = {**base.cfg["train_dataloader"], "dataset": {"pipeline": steps}}
    changed = replace(base, cfg={**base.cfg, "model": model, "train_dataloader": loader})
    cfg = build(replace(phantom, ignore_index=ignored), {"iterations": 9}, changed, weights=None)
    for place in (
        "model.decode_head.ignore_index",
        "model.decode_head.loss_decode.0.ignore_index",
        "model.data_preprocessor.seg_pad_val",
        "train_dataloader.dataset.pipeline.2.ignore_index",
        "train_dataloader.dataset.pipeline.3.seg_pad_val",
        "train_dataloader.dataset.pipeline.4.pad_val.seg",
    ):
        assert at(cfg, place) == ignored, place


def test_the_bases_own_average_is_replaced(phantom: Dataset) -> None:
    base = load_base(SEGFORMER)
    other = {"type": "SegVisualizationHook"}
    own = replace(base, cfg={**base.cfg, "custom_hooks": [{"type": "mmengine.EMAHook", "momentum": 0.1}, other]})
    kept, new = build(phantom, {"iterations": 9, "ema": 0.2}, own, weights=None)["custom_hooks"]
    assert (kept, new["gamma"]) == (other, average_gamma(0.2))
    assert build(phantom, {"iterations": 9, "ema": 0.0}, own, weights=None)["custom_hooks"] == [other]
    assert len(build(phantom, {"iterations": 9}, own, weights=None)["custom_hooks"]) == 2
    usual = replace(base, cfg={**base.cfg, "default_hooks": {"ema": {"type": "EMAHook"}, "logger": None}})
    built = build(phantom, {"iterations": 9, "ema": 0.2}, usual, weights=None)
    assert ("ema" in built["default_hooks"], len(built["custom_hooks"])) == (False, 1)


@pytest.mark.parametrize("least", [1e-300, 1e-17, 1e-9])
def test_the_shortest_average_is_the_last_weights(least: float) -> None:
    assert average_gamma(least) / (average_gamma(least) + 1e7) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("place", ["custom_hooks", "default_hooks"])
def test_a_hook_that_ends_trainings_is_refused(place: str, phantom: Dataset) -> None:
    base = load_base(SEGFORMER)
    hook = {"type": "EarlyStoppingHook", "monitor": "mIoU"}
    hooks: Any = [{"type": "EMAHook"}, hook] if place == "custom_hooks" else {"early": hook}
    with pytest.raises(InputError, match=r"its EarlyStoppingHook ends trainings that would count as complete; take it"):
        build(phantom, {"iterations": 9}, replace(base, cfg={**base.cfg, place: hooks}), weights=None)
