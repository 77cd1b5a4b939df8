"""What was asked for reaches the built Runner, and a trial whose settings did not fails by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmtuna.objectives.config import write_config
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import Cause, Ending, Outcome
from mmtuna.objectives.trial.plan import TrialPlan
from mmtuna.objectives.trial.process import TrialProcess
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.settings import DEFAULTS

# Between them, every setting at a value that is not the paper's.
COMBINATIONS: dict[str, Params] = {
    "pspnet, crop, slide, cosine, Adam": {
        "decoder": "pspnet",
        "crop": 32,
        "cat_max_ratio": 0.5,
        "flip": "horizontal",
        "rotation": 10,
        "photometric": True,
        "scale_jitter": 0.5,
        "gamma": 0.5,
        "dropout": 0.3,
        "clip_norm": 2.0,
        "loss": "ce_dice",
        "mix_weight": 2.0,
        "foreground_weight": 3.0,
        "optimizer": "Adam",
        "lr_adam": 0.001,
        "weight_decay": 0.002,
        "schedule": "cosine",
        "batch_size": 3,
        "inference": "slide",
        "window": 32,
        "stride": 16,
    },
    "deeplabv3, whole, poly, AdamW": {
        "decoder": "deeplabv3",
        "flip": "both",
        "loss": "ce_tversky",
        "mix_weight": 0.5,
        "optimizer": "AdamW",
        "lr_adam": 0.003,
        "schedule": "poly",
        "inference": "whole",
        "loader_workers": 1,
    },
    "fcn, scaled, focal, SGD": {
        "decoder": "fcn",
        "flip": "vertical",
        "loss": "focal",
        "momentum": 0.5,
        "input_size": 128,
        "crop": 96,
        "inference": "slide",
        "window": 64,
        "stride": 32,
        "size_scale": 0.5,
        "iterations": 40,
        "iteration_scale": 0.1,
        "warmup": 0.5,
        "ema": 0.25,
    },
    "dotted keys, Dice": {
        "loss": "dice",
        "model.decode_head.dropout_ratio": 0.3,
        "env_cfg.cudnn_benchmark": False,
        "train_dataloader.dataset.pipeline.2.keep_ratio": False,
    },
    "Lovasz": {"loss": "lovasz"},
    "cross entropy and Lovasz": {"loss": "ce_lovasz", "mix_weight": 3.0, "foreground_weight": 0.5},
}
ELSEWHERE = {
    "precision",  # all but fp32 needs a GPU
    "speed",  # tests/objectives/speed/test_pace.py
    "initial_weights",  # "none" in all of these
    "base_channels",  # 4 in all of these
    "lr_sgd",  # 0.05 in those with SGD
    "evaluations",  # 1 in all of these
}


def test_the_combinations_cover_every_setting() -> None:
    named = {name for params in COMBINATIONS.values() for name in params if "." not in name}
    assert named | ELSEWHERE == set(DEFAULTS)
    same = {n for n in named if all(params.get(n, DEFAULTS[n]) == DEFAULTS[n] for params in COMBINATIONS.values())}
    assert same == set()


@pytest.mark.parametrize("name", COMBINATIONS)
def test_settings_reach_the_runner(train: Callable[..., Outcome], tmp_path: Path, name: str) -> None:
    outcome = train(tmp_path, {"iterations": 2, "evaluations": 1, **COMBINATIONS[name]})
    assert (outcome.ending, outcome.message) == (Ending.FINISHED, "")
    assert [e.step for e in outcome.curve] == [100]


def test_mixed_precision_without_a_gpu_fails_by_name(train: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = train(tmp_path, {"precision": "bf16"})
    assert (outcome.ending, outcome.cause) == (Ending.FAILED, Cause.ERROR)
    assert "AmpOptimizerWrapper" in outcome.message


SEGFORMER = "segformer_mit-b0_8xb2-160k_ade20k-512x512"


def test_settings_of_another_base_reach_the_runner(
    objective: Callable[..., SegmentationObjective], tmp_path: Path, listening: Any
) -> None:
    from dataclasses import replace

    from mmtuna.objectives.outcome import TrialOrder

    fixed: Params = {"iterations": 2, "evaluations": 1, "input_size": 64, "crop": 64, "schedule": "poly"}
    own: Params = {
        "lr_adam": 0.001,
        "optim_wrapper.optimizer.weight_decay": 0.03,
        "model.decode_head.dropout_ratio": 0.2,
    }
    ours = replace(objective(tmp_path, base=SEGFORMER), fixed=fixed)
    outcome = ours.run(TrialOrder(number=0, params=own, seed=0), listening())
    assert (outcome.ending, outcome.message) == (Ending.FINISHED, "")


# (what is built, what the trial says) -> what the message says of it
SABOTAGE: list[tuple[Params, Params, list[str]]] = [
    (
        {"lr_sgd": 0.05, "flip": "vertical", "loss": "dice", "batch_size": 3, "weight_decay": 0.001, "momentum": 0.8},
        {"crop": 32},
        [
            "lr is 0.05 in the Runner and 0.01 in the trial",
            "crop is 'none' in the Runner and 32 in the trial",
            "cat_max_ratio is 'not to be found' in the Runner and 0.75 in the trial",
            "flip is 'vertical' in the Runner and 'none' in the trial",
            "loss is 'dice' in the Runner and 'cross_entropy' in the trial",
            "batch_size is 3 in the Runner and 2 in the trial",
            "weight_decay is 0.001 in the Runner and 0.0005 in the trial",
            "momentum is 0.8 in the Runner and 0.9 in the trial",
        ],
    ),
    (
        {
            "optimizer": "Adam",
            "schedule": "poly",
            "iterations": 6,
            "evaluations": 1,
            "inference": "whole",
            "gamma": 0.5,
            "clip_norm": 1.0,
            "dropout": 0.3,
            "ema": 0.5,
        },
        {
            "inference": "slide",
            "window": 64,
            "decoder": "pspnet",
            "base_channels": 8,
            "rotation": 5,
            "photometric": True,
            "warmup": 0.5,
        },
        [
            "optimizer is 'Adam' in the Runner and 'SGD' in the trial",
            "momentum is None in the Runner and 0.9 in the trial",
            "poly_end is 6 in the Runner and 40000 in the trial",
            "iterations is 6 in the Runner and 4 in the trial",
            "val_interval is 6 in the Runner and 2 in the trial",
            "inference is 'whole' in the Runner and 'slide' in the trial",
            "window is 'not to be found' in the Runner and 64 in the trial",
            "decoder is 'fcn' in the Runner and 'pspnet' in the trial",
            "base_channels is 4 in the Runner and 8 in the trial",
            "rotation is 0 in the Runner and 5 in the trial",
            "photometric is False in the Runner and True in the trial",
            "gamma is 0.5 in the Runner and 0.0 in the trial",
            "clip_norm is 1.0 in the Runner and 0.0 in the trial",
            "dropout is 0.3 in the Runner and 0.1 in the trial",
            "ema is 'gamma 1' in the Runner and 0.0 in the trial",
            "warmup is 0 in the Runner and 2 in the trial",
        ],
    ),
    (
        {
            "ema": 0.1,
            "custom_hooks.0.momentum": 0.5,
            "custom_hooks.0.update_buffers": False,
        },
        {"ema": 0.1},
        [
            (
                "ema is 'gamma 6.57881, momentum 0.5, statistics of the last weights' in the Runner and "
                "'gamma 6.57881' in the trial"
            )
        ],
    ),
    (
        {
            "input_size": 96,
            "schedule": "cosine",
            "loss": "ce_dice",
            "mix_weight": 2.0,
            "foreground_weight": 5.0,
            "crop": 48,
            "cat_max_ratio": 0.9,
            "scale_jitter": 0.5,
        },
        {"input_size": 64, "loss": "ce_dice", "crop": 32, "model.decode_head.dropout_ratio": 0.5, "model.nose": 1},
        [
            "input_size is 96 in the Runner and 64 in the trial",
            "schedule is 'cosine' in the Runner and 'poly' in the trial",
            "mix_weight is 2.0 in the Runner and 1.0 in the trial",
            "foreground_weight is 5.0 in the Runner and 1.0 in the trial",
            "crop is 48 in the Runner and 32 in the trial",
            "cat_max_ratio is 0.9 in the Runner and 0.75 in the trial",
            "scale_jitter is 0.5 in the Runner and 0.0 in the trial",
            "model.decode_head.dropout_ratio is 0.1 in the Runner and 0.5 in the trial",
            "model.nose is 'not to be found' in the Runner and 1 in the trial",
        ],
    ),
]


@pytest.mark.parametrize(
    ("built", "said", "named"), SABOTAGE, ids=["training", "schedule and model", "average", "sizes and losses"]
)
def test_settings_that_never_reached_training_fail_the_trial(
    objective: Callable[..., SegmentationObjective],
    tmp_path: Path,
    listening: Any,
    built: Params,
    said: Params,
    named: list[str],
) -> None:
    ours = objective(tmp_path, {"lr_sgd": 0.01})
    write_config(ours.config(built, seed=0), tmp_path / "config.py")
    folder, settings = TrialFolder(tmp_path), ours.settings(said)
    plan = TrialPlan(folder=folder, settings=settings, metric="mIoU", visible="", threads=1)
    outcome = TrialProcess(plan, listening()).run()
    assert (outcome.ending, outcome.cause) == (Ending.FAILED, Cause.MISMATCH)
    for line in named:
        assert line in outcome.message
    both = {*named} | {part for part in outcome.message.split("; ") if part.startswith(("poly_end", "stride", "lr "))}
    assert set(outcome.message.split("; ")) == both
    assert outcome.curve == ()
    assert not (tmp_path / "last.pth").exists()
