"""build_config is pure, and a setting edits its own keys and no other."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from mmtuna.objectives.config.effective import effective
from mmtuna.objectives.data.dataset import Dataset, MaskRule
from mmtuna.spaces.claimed import in_place_of
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Value
from mmtuna.spaces.settings import DEFAULTS, FORMER, SETTINGS
from tests.objectives.configs import AUX, BASES, CE, CROPPED, DICE, HEAD, LOVASZ, TRAIN, TVERSKY, at, build, kinds


def changed_paths(one: Any, other: Any, path: str = "") -> set[str]:
    """Paths of the values that differ; a list whose length differs, or a key on one side only, counts as a whole."""
    if isinstance(one, dict) and isinstance(other, dict):
        both = one.keys() & other.keys()
        found = {f"{path}{key}" for key in one.keys() ^ other.keys()}
        return found.union(*(changed_paths(one[key], other[key], f"{path}{key}.") for key in both))
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return set().union(
            *(changed_paths(a, b, f"{path}{i}.") for i, (a, b) in enumerate(zip(one, other, strict=True)))
        )
    return set() if one == other else {path.rstrip(".")}


def test_the_same_input_gives_the_same_config_and_is_left_as_it_was(phantom: Dataset) -> None:
    settings: dict[str, Value] = {"crop": 320, "loss": "ce_dice", "model.decode_head.dropout_ratio": 0.2}
    before = (copy.deepcopy(settings), copy.deepcopy(BASES["pspnet"].cfg), BASES["pspnet"].fingerprint())
    first, second = build(phantom, settings), build(phantom, settings)
    assert first == second
    assert (settings, BASES["pspnet"].cfg, BASES["pspnet"].fingerprint()) == before
    first["model"]["decode_head"]["norm_cfg"]["type"] = "GN"
    first["train_dataloader"]["dataset"]["pipeline"][0]["type"] = "x"
    assert build(phantom, settings) == second


def test_what_a_config_holds_twice_is_no_shared_object(phantom: Dataset) -> None:
    cfg = build(phantom)
    cfg["test_pipeline"][0]["type"] = "x"
    cfg["test_dataloader"]["dataset"]["pipeline"][1]["type"] = "x"
    assert kinds(cfg["val_dataloader"]["dataset"]["pipeline"])[:2] == ["LoadImageFromFile", "Resize"]
    cfg["model"]["decode_head"]["loss_decode"]["loss_weight"] = 7
    assert cfg["model"]["auxiliary_head"]["loss_decode"]["loss_weight"] == 0.4


# (settings beside CROPPED) -> {path: value}: these paths change, and no other.
MIXED = {"optim_wrapper.type": "AmpOptimWrapper", "optim_wrapper.loss_scale": "dynamic"}
EDITS: list[tuple[dict[str, Value], dict[str, Any]]] = [
    (
        {"base_channels": 32},
        {
            "model.backbone.base_channels": 32,
            "model.decode_head.in_channels": 32,
            "model.auxiliary_head.in_channels": 64,
        },
    ),
    (
        {"input_size": 384},
        {
            f"{TRAIN}.2.scale": (384, 384),
            "val_dataloader.dataset.pipeline.1.scale": (384, 384),
            "test_dataloader.dataset.pipeline.1.scale": (384, 384),
            "test_pipeline.1.scale": (384, 384),
        },
    ),
    ({"crop": 192}, {f"{TRAIN}.3.crop_size": (192, 192), "model.data_preprocessor.size": (192, 192)}),
    ({"cat_max_ratio": 0.5}, {f"{TRAIN}.3.cat_max_ratio": 0.5}),
    (
        {"scale_jitter": 0.25},
        {f"{TRAIN}.2.type": "RandomResize", f"{TRAIN}.2.ratio_range": (0.8, 1.25)},
    ),
    ({"flip": "vertical"}, {f"{TRAIN}.4.direction": "vertical"}),
    ({"flip": "both"}, {f"{TRAIN}.4.direction": ["horizontal", "vertical"]}),
    ({"loss": "dice"}, {HEAD: {**DICE, "loss_weight": 1.0}, AUX: {**DICE, "loss_weight": 1.0}}),
    (
        {"loss": "focal"},
        {HEAD: {"type": "FocalLoss", "loss_weight": 1.0}, AUX: {"type": "FocalLoss", "loss_weight": 1.0}},
    ),
    ({"loss": "lovasz"}, {HEAD: {**LOVASZ, "loss_weight": 1.0}, AUX: {**LOVASZ, "loss_weight": 1.0}}),
    (
        {"loss": "ce_dice", "mix_weight": 3.0},
        {
            HEAD: [{**CE, "loss_weight": 1.0}, {**DICE, "loss_weight": 3.0}],
            AUX: [{**CE, "loss_weight": 0.4}, {**DICE, "loss_weight": 0.4 * 3.0}],
        },
    ),
    (
        {"loss": "ce_tversky", "foreground_weight": 10.0},
        {
            HEAD: [{**CE, "loss_weight": 1.0, "class_weight": [1.0, 10.0]}, {**TVERSKY, "loss_weight": 1.0}],
            AUX: [{**CE, "loss_weight": 0.4, "class_weight": [1.0, 10.0]}, {**TVERSKY, "loss_weight": 0.4}],
        },
    ),
    (
        {"loss": "ce_lovasz"},
        {
            HEAD: [{**CE, "loss_weight": 1.0}, {**LOVASZ, "loss_weight": 1.0}],
            AUX: [{**CE, "loss_weight": 0.4}, {**LOVASZ, "loss_weight": 0.4}],
        },
    ),
    ({"foreground_weight": 5.0}, {f"{HEAD}.class_weight": [1.0, 5.0], f"{AUX}.class_weight": [1.0, 5.0]}),
    ({"lr_sgd": 0.1}, {"optim_wrapper.optimizer.lr": 0.1, "param_scheduler.0.eta_min": 0.001}),
    ({"lr_adam": 0.1}, {}),  # belongs to another optimizer
    ({"mix_weight": 5.0}, {}),  # belongs to another loss
    ({"momentum": 0.5}, {"optim_wrapper.optimizer.momentum": 0.5}),
    ({"weight_decay": 0.002}, {"optim_wrapper.optimizer.weight_decay": 0.002}),
    ({"schedule": "poly"}, {"param_scheduler.0.end": 400}),
    (
        {"warmup": 0.05},
        {
            "param_scheduler": [
                {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 20},
                {"type": "PolyLR", "power": 0.9, "eta_min": 1e-4, "begin": 20, "end": 40_000, "by_epoch": False},
            ]
        },
    ),
    ({"warmup": "schedule"}, {}),
    ({"clip_norm": 0.5}, {"optim_wrapper.clip_grad": {"max_norm": 0.5, "norm_type": 2}}),
    (
        {"ema": 0.5},
        {
            "custom_hooks": [
                {
                    "type": "EMAHook",
                    "ema_type": "MomentumAnnealingEMA",
                    "update_buffers": True,
                    "gamma": pytest.approx(1),
                    "momentum": 1e-9,
                }
            ]
        },
    ),
    ({"dropout": 0.4}, {"model.decode_head.dropout_ratio": 0.4, "model.auxiliary_head.dropout_ratio": 0.4}),
    ({"batch_size": 6}, {"train_dataloader.batch_size": 6}),
    (
        {"iterations": 200},
        {"train_cfg.max_iters": 200, "train_cfg.val_interval": 40, "default_hooks.checkpoint.interval": 40},
    ),
    ({"evaluations": 8}, {"train_cfg.val_interval": 50, "default_hooks.checkpoint.interval": 50}),
    ({"evaluations": 7}, {"train_cfg.val_interval": 58, "default_hooks.checkpoint.interval": 58}),
    ({"initial_weights": "none"}, {"load_from": None}),
    ({"inference": "whole"}, {"model.test_cfg.mode": "whole"}),
    ({"window": 128}, {"model.test_cfg.crop_size": (128, 128)}),
    ({"stride": 85}, {"model.test_cfg.stride": (85, 85)}),
    ({"precision": "fp16"}, MIXED | {"optim_wrapper.dtype": "float16"}),
    ({"precision": "bf16"}, MIXED | {"optim_wrapper.dtype": "bfloat16"}),
    ({"speed": "auto"}, {}),  # stands in no config
    ({"amp": True}, MIXED | {"optim_wrapper.dtype": "float16"}),
    ({"amp": False}, {}),
    ({"model.decode_head.dropout_ratio": 0.3}, {"model.decode_head.dropout_ratio": 0.3}),
    ({"env_cfg.cudnn_benchmark": False}, {"env_cfg.cudnn_benchmark": False}),
    (
        {"val_dataloader.dataset.pipeline.1.keep_ratio": False},  # what is exported reads images as evaluations do
        {
            "val_dataloader.dataset.pipeline.1.keep_ratio": False,
            "test_dataloader.dataset.pipeline.1.keep_ratio": False,
            "test_pipeline.1.keep_ratio": False,
        },
    ),
]


@pytest.mark.parametrize(("settings", "wanted"), EDITS, ids=[str(settings) for settings, _ in EDITS])
def test_each_setting_edits_its_keys_and_no_other(
    phantom: Dataset, settings: dict[str, Value], wanted: dict[str, Any]
) -> None:
    before, after = build(phantom, CROPPED), build(phantom, {**CROPPED, **settings})
    for path, value in wanted.items():
        assert at(after, path) == value, path
    gone = {"model.test_cfg.crop_size", "model.test_cfg.stride"} if settings == {"inference": "whole"} else set()
    inside = {path for path in changed_paths(before, after) if not any(path.startswith(f"{w}.") for w in wanted)}
    assert inside - set(wanted) == gone
    assert all(any(p == w or p.startswith(f"{w}.") for p in changed_paths(before, after)) for w in wanted)


def test_the_table_of_edits_names_every_setting() -> None:
    elsewhere = {"decoder", "optimizer", "size_scale", "iteration_scale", "loader_workers"}
    elsewhere |= {"rotation", "photometric", "gamma"}
    named = {name for settings, _ in EDITS for name in settings if "." not in name}
    assert named | elsewhere == set(SETTINGS) | set(FORMER)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, ["LoadImageFromFile", "LoadAnnotations", "Resize", "PackSegInputs"]),
        ({"crop": 64}, ["LoadImageFromFile", "LoadAnnotations", "Resize", "RandomCrop", "PackSegInputs"]),
        ({"rotation": 10}, ["LoadImageFromFile", "LoadAnnotations", "Resize", "RandomRotate", "PackSegInputs"]),
        (
            {"photometric": True},
            ["LoadImageFromFile", "LoadAnnotations", "Resize", "PhotoMetricDistortion", "PackSegInputs"],
        ),
        (
            {"gamma": 1.0, "photometric": True, "rotation": 10, "flip": "both", "crop": 64, "scale_jitter": 0.5},
            [
                *("LoadImageFromFile", "LoadAnnotations", "RandomResize", "RandomCrop", "RandomFlip", "RandomRotate"),
                *("PhotoMetricDistortion", "BioMedicalRandomGamma", "PackSegInputs"),
            ],
        ),
    ],
)
def test_transforms_come_in_mmsegs_order(phantom: Dataset, settings: dict[str, Value], wanted: list[str]) -> None:
    cfg = build(phantom, settings)
    assert kinds(at(cfg, TRAIN)) == wanted
    assert kinds(cfg["test_pipeline"]) == ["LoadImageFromFile", "Resize", "LoadAnnotations", "PackSegInputs"]


def test_rotation_shows_black_and_ignored_corners(phantom: Dataset) -> None:
    step = at(build(phantom, {"rotation": 20}), TRAIN)[3]
    assert step == {"type": "RandomRotate", "prob": 0.5, "degree": 20, "pad_val": 0, "seg_pad_val": 255}


def test_gamma_is_spread_as_far_up_as_down(phantom: Dataset) -> None:
    step = at(build(phantom, {"gamma": 1.0}), TRAIN)[3]
    assert step == {"type": "BioMedicalRandomGamma", "prob": 0.5, "gamma_range": (0.5, 2.0)}


def test_a_scale_is_drawn_only_where_a_crop_makes_images_one_size_again(phantom: Dataset) -> None:
    assert build(phantom, {"scale_jitter": 0.5}) == build(phantom)


def test_a_dotted_key_of_before_there_was_a_setting_stands_for_it(phantom: Dataset) -> None:
    cfg = build(phantom, {"model.auxiliary_head.dropout_ratio": 0.3})
    assert (at(cfg, "model.decode_head.dropout_ratio"), at(cfg, "model.auxiliary_head.dropout_ratio")) == (0.1, 0.3)
    with pytest.raises(InputError, match=r"model.decode_head.dropout_ratio: is what dropout sets; use dropout in its"):
        build(phantom, {"model.decode_head.dropout_ratio": 0.3, "dropout": 0.2})


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"optimizer": "Adam"}, {"type": "Adam", "lr": 0.01, "weight_decay": 5e-4}),
        ({"optimizer": "AdamW", "lr_adam": 0.002}, {"type": "AdamW", "lr": 0.002, "weight_decay": 5e-4}),
        ({"optimizer": "AdamW", "lr_sgd": 0.5}, {"type": "AdamW", "lr": 0.01, "weight_decay": 5e-4}),
    ],
)
def test_adam_takes_its_own_rate_and_no_momentum(
    phantom: Dataset, settings: dict[str, Value], wanted: dict[str, Any]
) -> None:
    assert build(phantom, settings)["optim_wrapper"]["optimizer"] == wanted


def test_cosine_warms_up_over_a_tenth(phantom: Dataset) -> None:
    warm, cosine = build(phantom, {"schedule": "cosine", "iterations": 200})["param_scheduler"]
    assert warm == {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 20}
    expected = {"type": "CosineAnnealingLR", "T_max": 180, "eta_min": 0.0, "by_epoch": False, "begin": 20, "end": 200}
    assert cosine == expected
    assert [s["type"] for s in build(phantom, {"schedule": "cosine", "iterations": 1})["param_scheduler"]] == [
        "CosineAnnealingLR"
    ]


def test_decoders_are_the_zoos_three_unets(phantom: Dataset) -> None:
    types = {decoder: build(phantom, {"decoder": decoder})["model"]["decode_head"]["type"] for decoder in BASES}
    assert types == {"fcn": "FCNHead", "pspnet": "PSPHead", "deeplabv3": "ASPPHead"}


def test_a_rehearsal_scales_sizes_to_multiples_of_16_and_counts_to_at_least_one(phantom: Dataset) -> None:
    settings: dict[str, Value] = {"crop": 320, "size_scale": 0.3, "iteration_scale": 0.01}
    cfg = build(phantom, settings)
    assert at(cfg, TRAIN)[2]["scale"] == (160, 160)  # 512 * 0.3 = 153.6
    assert at(cfg, TRAIN)[3]["crop_size"] == (96, 96)
    assert cfg["model"]["test_cfg"] == {"mode": "slide", "crop_size": (80, 80), "stride": (51, 51)}
    assert cfg["train_cfg"]["max_iters"] == 4
    assert cfg["param_scheduler"][0]["end"] == 400
    assert effective({"iterations": 5, "iteration_scale": 0.0001})["iterations"] == 1
    assert effective({"crop": "none", "size_scale": 0.5}) == {"crop": "none", "poly_end": 40_000}
    assert effective({"crop": 17, "input_size": 33}) == {"crop": 17, "input_size": 33, "poly_end": 40_000}


def test_loader_workers_stay_between_epochs(phantom: Dataset) -> None:
    for loader in ("train_dataloader", "val_dataloader"):
        assert build(phantom, {"loader_workers": 3})[loader]["num_workers"] == 3
        assert build(phantom, {"loader_workers": 3})[loader]["persistent_workers"] is True
        assert build(phantom)[loader]["persistent_workers"] is False


def test_settings_left_out_are_the_papers(phantom: Dataset) -> None:
    assert build(phantom) == build(phantom, DEFAULTS)


def test_no_dotted_key_overrules_data_split_or_seed(phantom: Dataset) -> None:
    settings: dict[str, Value] = {"crop": 64, "rotation": 10, "loss": "ce_tversky"}
    one = replace(phantom, ignore_index=200, source={"img_suffix": ".tif"}, mask_source={"seg_map_suffix": ".tif"})
    other = replace(
        phantom,
        root=phantom.root / "elsewhere",
        images="i",
        masks="m",
        image_suffix=".jpg",
        mask_suffix=".bmp",
        classes=("c0", "c1"),
        palette=((1, 2, 3), (4, 5, 6)),
        ignore_index=201,
        mask_rule=MaskRule(reduce_zero_label=True),
        source={"img_suffix": ".png"},
        mask_source={"seg_map_suffix": ".png"},
    )
    changed = changed_paths(build(one, settings), build(other, settings, seed=1))
    assert {"randomness.seed", "val_dataloader.dataset.data_root", "model.decode_head.ignore_index"} <= changed
    assert [path for path in sorted(changed) if not in_place_of(path)] == []
    with pytest.raises(InputError, match=r"^settings: randomness.seed is set by mmtuna; use \[study\] seed in"):
        build(phantom, {"randomness.seed": 3})


def test_channels_that_count_classes_follow_from_the_classes(phantom: Dataset) -> None:
    base = BASES["pspnet"]
    head = {**base.cfg["model"]["decode_head"], "num_classes": 2, "out_channels": 1}
    sigmoid = replace(base, cfg={**base.cfg, "model": {**base.cfg["model"], "decode_head": head}})
    key = "model.decode_head.out_channels"
    with pytest.raises(InputError, match=rf"{key} is set by mmtuna; use \[data\] classes in its place"):
        build(phantom, {key: 1}, sigmoid)
    features = replace(base, cfg={**sigmoid.cfg, "model": {**sigmoid.cfg["model"]}})
    features.cfg["model"]["decode_head"] = {**head, "out_channels": 256}  # as MaskFormer's
    assert at(build(phantom, {key: 128}, features), key) == 128


def test_a_multi_class_data_set_reaches_heads_weights_and_metric(phantom: Dataset) -> None:
    classes = tuple(f"c{k}" for k in range(12))
    cfg = build(replace(phantom, classes=classes), {"foreground_weight": 4.0})
    assert [cfg["model"][head]["num_classes"] for head in ("decode_head", "auxiliary_head")] == [12, 12]
    assert at(cfg, f"{HEAD}.class_weight") == [1.0] + [4.0] * 11
    info = at(cfg, "train_dataloader.dataset.metainfo")
    assert info["classes"] == list(classes)
    assert len({tuple(colour) for colour in info["palette"]}) == 12
    assert all(0 <= part <= 255 for colour in info["palette"] for part in colour)


def test_another_ignore_index_reaches_all_that_fills_skips_or_counts(phantom: Dataset) -> None:
    other = replace(phantom, ignore_index=200)
    cfg = build(other, {"rotation": 10, "crop": 64, "loss": "ce_tversky"})
    assert [cfg["model"][head]["ignore_index"] for head in ("decode_head", "auxiliary_head")] == [200, 200]
    assert cfg["model"]["data_preprocessor"]["seg_pad_val"] == 200
    steps = {step["type"]: step for step in at(cfg, TRAIN)}
    assert steps["RandomRotate"]["seg_pad_val"] == 200
    assert steps["RandomCrop"]["ignore_index"] == 200
    assert at(cfg, f"{HEAD}.1.ignore_index") == 200
    for key in ("val_evaluator", "test_evaluator"):
        assert cfg[key]["ignore_index"] == 200
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        assert cfg[loader]["dataset"]["ignore_index"] == 200


@pytest.mark.parametrize(
    ("settings", "shapes", "size", "test_cfg"),
    [
        ({}, {(256, 256)}, (256, 256), None),
        ({}, {(496, 768)}, (512, 512), {"size_divisor": 16}),
        ({}, {(496, 768), (256, 256)}, (512, 512), {"size_divisor": 16}),
        ({"crop": 192}, {(496, 768)}, (192, 192), {"size_divisor": 16}),
        ({"input_size": 128}, {(256, 256)}, (128, 128), None),
        ({"input_size": 200, "crop": 96}, {(256, 256)}, (96, 96), {"size_divisor": 16}),
    ],
)
def test_batches_are_padded_to_one_shape_that_the_unet_can_halve(
    phantom: Dataset,
    settings: dict[str, Value],
    shapes: set[tuple[int, int]],
    size: tuple[int, int],
    test_cfg: dict[str, int] | None,
) -> None:
    preprocessor = build(phantom, settings, shapes=shapes)["model"]["data_preprocessor"]
    assert preprocessor["size"] == size
    assert preprocessor.get("test_cfg") == test_cfg
