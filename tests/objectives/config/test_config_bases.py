"""Other base configs, dotted keys, and the file that is written and read back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mmengine.config import Config

from mmtuna.objectives.config import config_text, load_base, read_config, write_config
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Value
from mmtuna.spaces.table2 import TABLE2
from tests.objectives.configs import SEGFORMER, TRAIN, at, build


def test_another_base_keeps_its_own_values(phantom: Dataset) -> None:
    base = load_base(SEGFORMER)
    cfg = build(phantom, {"iterations": 100}, base, weights=None)
    for key in ("optim_wrapper", "env_cfg"):
        assert cfg[key] == base.cfg[key], key
    (_, poly), (shorter,) = base.cfg["param_scheduler"], cfg["param_scheduler"]
    assert shorter == {**poly, "begin": 1, "end": 100}  # a warm-up of 1,500 in 160,000 is less than one in 100
    assert cfg["train_dataloader"]["batch_size"] == base.cfg["train_dataloader"]["batch_size"]
    theirs = [step for step in base.cfg["train_dataloader"]["dataset"]["pipeline"] if step["type"] != "LoadAnnotations"]
    ours = [step for step in at(cfg, TRAIN) if step["type"] != "LoadAnnotations"]
    assert ours == theirs
    assert {"type": "LoadAnnotations"} in at(cfg, TRAIN)  # reduce_zero_label is gone: class 0 is a class
    assert cfg["model"]["decode_head"]["num_classes"] == 2
    assert cfg["model"]["decode_head"]["norm_cfg"]["type"] == "BN"
    assert cfg["model"]["backbone"]["init_cfg"] is None  # the backbone's own download is neither verified nor recorded
    assert cfg["model"]["data_preprocessor"]["size"] == (512, 512)
    assert cfg["train_cfg"] == {"type": "IterBasedTrainLoop", "max_iters": 100, "val_interval": 20}
    assert cfg["load_from"] is None


def test_another_base_takes_the_settings_that_are_named(phantom: Dataset) -> None:
    base = load_base(SEGFORMER)
    settings: dict[str, Value] = {
        "iterations": 100,
        "lr_adam": 0.002,
        "crop": 128,
        "loss": "ce_dice",
        "schedule": "poly",
    }
    cfg = build(phantom, settings, base)
    ours, theirs = (c["optim_wrapper"]["optimizer"] for c in (cfg, base.cfg))
    assert ours == {**theirs, "lr": 0.002}
    assert cfg["optim_wrapper"]["paramwise_cfg"] == base.cfg["optim_wrapper"]["paramwise_cfg"]
    assert {s["type"]: s for s in at(cfg, TRAIN)}["RandomCrop"]["crop_size"] == (128, 128)
    assert [term["type"] for term in cfg["model"]["decode_head"]["loss_decode"]] == ["CrossEntropyLoss", "DiceLoss"]
    assert [s["type"] for s in cfg["param_scheduler"]] == ["PolyLR"]
    assert cfg["param_scheduler"][0]["end"] == 100


def test_what_nobody_names_of_a_base_stays(phantom: Dataset) -> None:
    base = load_base(SEGFORMER)
    own = {"type": "CrossEntropyLoss", "loss_weight": 0.7, "class_weight": [0.5, 2.0], "avg_non_ignore": True}
    base.cfg["model"]["decode_head"] |= {"loss_decode": own, "num_classes": 2}
    base.cfg["model"]["test_cfg"] = slides = {"mode": "slide", "crop_size": (48, 64), "stride": (32, 40)}
    steps = base.cfg["train_dataloader"]["dataset"]["pipeline"]
    steps[[step["type"] for step in steps].index("RandomCrop")] = {
        "type": "RandomCrop",
        "crop_size": (64, 64),
        "cat_max_ratio": 0.95,
        "ignore_index": 255,
    }
    cfg = build(phantom, {"iterations": 100, "loss": "cross_entropy", "inference": "slide", "crop": 32}, base)
    assert cfg["model"]["decode_head"]["loss_decode"] == {**own, "use_sigmoid": False}
    assert cfg["model"]["test_cfg"] == slides
    crop = {step["type"]: step for step in at(cfg, TRAIN)}["RandomCrop"]
    assert crop == {"type": "RandomCrop", "crop_size": (32, 32), "cat_max_ratio": 0.95, "ignore_index": 255}

    named: dict[str, Value] = {"foreground_weight": 1.0, "window": 32, "stride": 16, "cat_max_ratio": 0.5}
    named |= {"inference": "slide", "crop": 32}
    cfg = build(phantom, {"iterations": 100, "loss": "ce_dice", **named}, base)
    assert "class_weight" not in cfg["model"]["decode_head"]["loss_decode"][0]
    assert cfg["model"]["test_cfg"] == {"mode": "slide", "crop_size": (32, 32), "stride": (16, 16)}
    assert {step["type"]: step for step in at(cfg, TRAIN)}["RandomCrop"]["cat_max_ratio"] == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decoder": "fcn"}, r"decoder: base config segformer.* has a decoder of its own; drop it from the space"),
        ({"base_channels": 8}, r"base_channels: base config segformer.* has a decoder of its own"),
        ({"lr_sgd": 0.1}, r"lr_sgd: the base config's optimizer is AdamW; use lr_adam, or set optimizer"),
        ({"momentum": 0.1}, r"momentum: the base config's optimizer is AdamW; drop it, or set optimizer"),
        ({"stride": 8}, r"stride: without inference base config segformer.* keeps its own; set inference too"),
        ({"cat_max_ratio": 0.5}, r"cat_max_ratio: without crop .* set crop too"),
        ({"foreground_weight": 2.0}, r"foreground_weight: without loss .* set loss too"),
    ],
)
def test_another_base_refuses_what_would_have_no_effect(
    phantom: Dataset, settings: dict[str, Value], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        build(phantom, {"iterations": 100, **settings}, load_base(SEGFORMER))


def test_a_base_that_counts_epochs_needs_iterations(phantom: Dataset) -> None:
    base = load_base(SEGFORMER)
    epochs = replace(base, cfg={**base.cfg, "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 3}})
    with pytest.raises(InputError, match=r"iterations: the base config counts epochs; set iterations in \[train\]"):
        build(phantom, {}, epochs)
    assert build(phantom, {"iterations": 7, "schedule": "poly"}, epochs)["train_cfg"]["max_iters"] == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crpo": 320}, r"settings: crpo is no setting; did you mean crop\?"),
        ({"zzz": 1}, r"settings: zzz is no setting; known: decoder, .*, or a dotted config key"),
        ({"crop": 8}, r"settings: crop = 8 is not allowed; it takes 'none' or a whole number from 16 to 8192"),
        ({"loss": "hinge"}, r"settings: loss = 'hinge' is not allowed; it takes cross_entropy \| dice"),
        (
            {"model.decode_head.dropuot_ratio": 0.1},
            r"no key model.decode_head.dropuot_ratio; did you mean dropout_ratio\?",
        ),
        ({"model.nose": 1}, r"base config unet-s5.*: no key model.nose; model has type, data_preprocessor"),
        (
            {"optim_wrapper.optimizer.lr": 0.1},
            r"optim_wrapper.optimizer.lr: is what lr_sgd or lr_adam sets; use lr_sgd or",
        ),
        (
            {"train_dataloader.batch_size": 4},
            r"train_dataloader.batch_size: is what batch_size sets; use batch_size in",
        ),
    ],
)
def test_an_unknown_setting_or_key_is_an_error_with_a_hint(
    phantom: Dataset, settings: dict[str, Value], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        build(phantom, settings)


SEGMENTER = "segmenter_vit-t_mask_8xb1-160k_ade20k-512x512"


def test_dropout_is_every_heads_of_another_base_and_refused_where_the_deciding_one_has_none(phantom: Dataset) -> None:
    pspnet = build(phantom, {"iterations": 9, "dropout": 0.4}, load_base("pspnet_r18-d8_4xb2-80k_cityscapes-512x1024"))
    assert [pspnet["model"][place]["dropout_ratio"] for place in ("decode_head", "auxiliary_head")] == [0.4, 0.4]
    with pytest.raises(InputError, match=r"^dropout: the head SegmenterMaskTransformerHead of base config segmenter"):
        build(phantom, {"iterations": 9, "dropout": 0.4}, load_base(SEGMENTER))


def test_a_random_scale_lies_around_the_size_of_another_base(phantom: Dataset) -> None:
    settings: dict[str, Value] = {"iterations": 9, "crop": 64, "scale_jitter": 0.25}
    base = load_base(SEGFORMER)
    resize = next(step for step in at(build(phantom, settings, base), TRAIN) if step["type"] == "RandomResize")
    assert (resize["scale"], resize["ratio_range"]) == ((2048, 512), (0.8, 1.25))
    plain = at(build(phantom, {**settings, "scale_jitter": 0.0}, base), TRAIN)
    assert {"type": "Resize", "scale": (2048, 512), "keep_ratio": True} in plain
    base.cfg["train_dataloader"]["dataset"]["pipeline"][2] = {"type": "RandomChoiceResize", "scales": [512, 768]}
    with pytest.raises(
        InputError, match=r"^scale_jitter: base config .* resizes to no single size; set input_size too$"
    ):
        build(phantom, settings, base)
    around = at(build(phantom, {**settings, "input_size": 96}, base), TRAIN)
    assert {"type": "RandomResize", "scale": (96, 96), "keep_ratio": True, "ratio_range": (0.8, 1.25)} in around


def test_a_dotted_key_takes_what_no_setting_of_another_base_claims(phantom: Dataset) -> None:
    cfg = build(phantom, {"iterations": 9, "optim_wrapper.optimizer.lr": 0.5}, load_base(SEGFORMER))
    assert cfg["optim_wrapper"]["optimizer"]["lr"] == 0.5


@pytest.mark.parametrize("number", [1, 6, 8])
def test_the_exported_file_is_read_back_as_it_was_by_us_and_by_mmengine(
    phantom: Dataset, tmp_path: Path, number: int
) -> None:
    cfg = build(phantom, TABLE2[number - 1].settings)
    path = tmp_path / "config.py"
    write_config(cfg, path, "trial 3, seed 7\ncrop = 320")
    assert path.read_text().splitlines()[:2] == ["# trial 3, seed 7", "# crop = 320"]
    assert read_config(path) == cfg
    assert Config.fromfile(str(path)).to_dict() == cfg
    assert config_text(read_config(path)) == config_text(cfg)
    assert "mmtuna" not in config_text(cfg)


def test_reading_a_config_back_runs_nothing(tmp_path: Path) -> None:
    path, canary = tmp_path / "config.py", tmp_path / "canary"
    path.write_text(f"import os\nos.mkdir({str(canary)!r})\nmodel = dict(type=open({str(canary)!r}, 'w'))\n")
    with pytest.raises(ValueError, match=r"config.py, line 1: holds code \(Import\)"):
        read_config(path)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"type": "LoadImageFromFile", "color_type": "unchanged"}, r"LoadImageFromFile\(color_type = 'unchanged'\)"),
        ({"type": "LoadImageFromFile", "imdecode_backend": "tifffile"}, r"imdecode_backend = 'tifffile'"),
        ({"type": "LoadImageFromFile", "backend_args": {"backend": "petrel"}}, r"backend_args = {'backend': 'petrel'}"),
        ({"type": "LoadSingleRSImageFromFile"}, r"loads files by LoadSingleRSImageFromFile\(\)"),
        ({"type": "LoadImageFromFile", "to_float32": False, "backend_args": None, "color_type": "color"}, None),
        ({"type": "LoadImageFromFile", "file_client_args": {"backend": "disk"}}, None),
    ],
)
def test_files_are_loaded_as_check_reads_them(phantom: Dataset, step: dict[str, object], said: str | None) -> None:
    base = load_base(SEGFORMER)
    for loader in ("train_dataloader", "val_dataloader"):
        base.cfg[loader]["dataset"]["pipeline"][0] = step
    if said is None:
        assert at(build(phantom, {"iterations": 100}, base), TRAIN)[0] == {"type": "LoadImageFromFile"}
    else:
        with pytest.raises(InputError, match=said) as raised:
            build(phantom, {"iterations": 100}, base)
        assert "use LoadImageFromFile and LoadAnnotations as they are, and [data] range or" in str(raised.value)
