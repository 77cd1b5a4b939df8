"""build_config: pure, one edit a setting, and every row of Table 2 key by key as the notebooks set it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from objectives.config import BaseConfig, build_config, config_text, effective, load_base, read_config, write_config
from objectives.dataset import Dataset
from spaces.errors import InputError
from spaces.parameter import Value
from spaces.settings import DEFAULTS, SETTINGS
from spaces.table2 import TABLE2, Row

SEGFORMER = "segformer_mit-b0_8xb2-160k_ade20k-512x512"
BASES = {decoder: load_base("unet", decoder=decoder) for decoder in ("fcn", "pspnet", "deeplabv3")}


def build(
    dataset: Dataset,
    settings: Mapping[str, Value] | None = None,
    base: BaseConfig | None = None,
    shapes: set[tuple[int, int]] | None = None,
    weights: Path | None = Path("/weights/w.pth"),
    seed: int = 0,
) -> dict[str, Any]:
    settings = settings or {}
    return build_config(
        base or BASES[str(settings.get("decoder", "pspnet"))],
        settings,
        dataset=dataset,
        lists=(Path("/lists/train.txt"), Path("/lists/val.txt")),
        shapes=shapes or {(256, 256)},
        weights=weights,
        seed=seed,
    )


def at(cfg: Any, path: str) -> Any:
    for part in path.split("."):
        cfg = cfg[int(part) if isinstance(cfg, list) else part]
    return cfg


def kinds(pipeline: list[dict[str, Any]]) -> list[str]:
    return [step["type"] for step in pipeline]


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


TRAIN = "train_dataloader.dataset.pipeline"
CROPPED: Mapping[str, Value] = {"crop": 320, "flip": "horizontal", "optimizer": "SGD"}
CE = {"type": "CrossEntropyLoss", "use_sigmoid": False}
DICE = {"type": "DiceLoss", "use_sigmoid": False}
TVERSKY = {"type": "TverskyLoss", "alpha": 0.5, "beta": 0.5}
LOVASZ = {"type": "LovaszLoss", "per_image": False, "reduction": "none"}
HEAD, AUX = "model.decode_head.loss_decode", "model.auxiliary_head.loss_decode"
RESIZE = {"type": "Resize", "scale": (384, 384), "keep_ratio": True}
ADAM = {"type": "Adam", "lr": 0.01, "weight_decay": 5e-4}

# (settings beside CROPPED) -> {path: value}: these paths change, and no other.
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
    ({"amp": True}, {"optim_wrapper.type": "AmpOptimWrapper", "optim_wrapper.loss_scale": "dynamic"}),
    ({"model.decode_head.dropout_ratio": 0.3}, {"model.decode_head.dropout_ratio": 0.3}),
    ({"env_cfg.cudnn_benchmark": False}, {"env_cfg.cudnn_benchmark": False}),
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
    elsewhere = {"decoder", "optimizer", "rotation", "photometric", "size_scale", "iteration_scale", "loader_workers"}
    named = {name for settings, _ in EDITS for name in settings if "." not in name}
    assert named | elsewhere == set(SETTINGS)


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
            {"photometric": True, "rotation": 10, "flip": "both", "crop": 64},
            [
                *("LoadImageFromFile", "LoadAnnotations", "Resize", "RandomCrop", "RandomFlip", "RandomRotate"),
                *("PhotoMetricDistortion", "PackSegInputs"),
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


# facts.md, "Training (every row of Table 2)", and the rows themselves as the paper prints them.
NORM = {"type": "BN", "requires_grad": True}
# number: (iterations, crop, flip, loss of the decode head, of the auxiliary head, optimizer)
SGD = {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
CE_PAIR = ({**CE, "loss_weight": 1.0}, {**CE, "loss_weight": 0.4})
DICE_PAIR = ({**DICE, "loss_weight": 1.0},) * 2
FOCAL_PAIR = ({"type": "FocalLoss", "loss_weight": 1.0},) * 2
PAPER: dict[int, tuple[int, int | None, bool, tuple[Any, Any], dict[str, Any]]] = {
    1: (200, None, False, CE_PAIR, SGD),
    2: (400, None, False, CE_PAIR, SGD),
    3: (400, None, True, CE_PAIR, SGD),
    4: (400, 192, False, CE_PAIR, SGD),
    5: (400, 224, False, CE_PAIR, SGD),
    6: (400, 320, False, CE_PAIR, SGD),
    7: (400, 320, False, DICE_PAIR, SGD),
    8: (400, 320, False, FOCAL_PAIR, SGD),
    9: (400, 320, False, CE_PAIR, {"type": "Adam", "lr": 0.01, "weight_decay": 5e-4}),
    10: (400, 320, False, CE_PAIR, {**SGD, "weight_decay": 1e-4}),
    11: (400, 320, False, CE_PAIR, {**SGD, "weight_decay": 1e-3}),
}


def paper_config(number: int, dataset: Dataset) -> dict[str, Any]:
    """A row's whole config, written out from the notebooks' facts and the base config's text."""
    iterations, crop, flip, losses, optimizer = PAPER[number]
    resize = {"type": "Resize", "scale": (512, 512), "keep_ratio": True}
    crops = [{"type": "RandomCrop", "crop_size": (crop, crop), "cat_max_ratio": 0.75}] if crop else []
    flips = [{"type": "RandomFlip", "prob": 0.5, "direction": "horizontal"}] if flip else []
    load, labels, pack = ({"type": t} for t in ("LoadImageFromFile", "LoadAnnotations", "PackSegInputs"))
    side = crop or 256
    test = [load, resize, labels, pack]

    def loader(names: str, pipeline: list[Any], batch: int, sampler: dict[str, Any]) -> dict[str, Any]:
        data = {
            "type": "BaseSegDataset",
            "data_root": str(dataset.root),
            "data_prefix": {"img_path": "images", "seg_map_path": "masks"},
            "ann_file": names,
            "img_suffix": ".png",
            "seg_map_suffix": ".png",
            "metainfo": {"classes": ["background", "fluid"], "palette": [[0, 0, 0], [230, 159, 0]]},
            "reduce_zero_label": False,
            "pipeline": pipeline,
        }
        return {"batch_size": batch, "num_workers": 0, "persistent_workers": False, "sampler": sampler, "dataset": data}

    validation = loader("/lists/val.txt", test, 1, {"type": "DefaultSampler", "shuffle": False})
    head = {"num_classes": 2, "dropout_ratio": 0.1, "norm_cfg": NORM, "align_corners": False}
    psp = {"type": "PSPHead", "in_channels": 64, "in_index": 4, "channels": 16, "pool_scales": (1, 2, 3, 6)}
    fcn = {"type": "FCNHead", "in_channels": 128, "in_index": 3, "channels": 64, "num_convs": 1, "concat_input": False}
    return {
        "model": {
            "type": "EncoderDecoder",
            "pretrained": None,
            "data_preprocessor": {
                "type": "SegDataPreProcessor",
                "mean": [123.675, 116.28, 103.53],
                "std": [58.395, 57.12, 57.375],
                "bgr_to_rgb": True,
                "pad_val": 0,
                "seg_pad_val": 255,
                "size": (side, side),
            },
            "backbone": {
                "type": "UNet",
                "in_channels": 3,
                "base_channels": 64,
                "num_stages": 5,
                "strides": (1, 1, 1, 1, 1),
                "enc_num_convs": (2, 2, 2, 2, 2),
                "dec_num_convs": (2, 2, 2, 2),
                "downsamples": (True, True, True, True),
                "enc_dilations": (1, 1, 1, 1, 1),
                "dec_dilations": (1, 1, 1, 1),
                "with_cp": False,
                "conv_cfg": None,
                "norm_cfg": NORM,
                "act_cfg": {"type": "ReLU"},
                "upsample_cfg": {"type": "InterpConv"},
                "norm_eval": False,
            },
            "decode_head": {**psp, **head, "loss_decode": losses[0]},
            "auxiliary_head": {**fcn, **head, "loss_decode": losses[1]},
            "train_cfg": {},
            "test_cfg": {"mode": "slide", "crop_size": (256, 256), "stride": (170, 170)},
        },
        "train_dataloader": loader(
            "/lists/train.txt",
            [load, labels, resize, *crops, *flips, pack],
            2,
            {"type": "InfiniteSampler", "shuffle": True},
        ),
        "val_dataloader": validation,
        "test_dataloader": validation,
        "test_pipeline": test,
        "val_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU", "mDice"]},
        "test_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU", "mDice"]},
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": iterations, "val_interval": iterations // 5},
        "val_cfg": {"type": "ValLoop"},
        "test_cfg": {"type": "TestLoop"},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": optimizer, "clip_grad": None},
        "param_scheduler": [
            {"type": "PolyLR", "power": 0.9, "eta_min": 1e-4, "begin": 0, "end": 40_000, "by_epoch": False}
        ],
        "default_hooks": {
            "timer": {"type": "IterTimerHook"},
            "logger": {"type": "LoggerHook", "interval": 50, "log_metric_by_epoch": False},
            "param_scheduler": {"type": "ParamSchedulerHook"},
            "checkpoint": {
                "type": "CheckpointHook",
                "by_epoch": False,
                "interval": iterations // 5,
                "max_keep_ckpts": 1,
                "save_best": "mIoU",
                "rule": "greater",
            },
            "sampler_seed": {"type": "DistSamplerSeedHook"},
            "visualization": {"type": "SegVisualizationHook"},
        },
        "env_cfg": {
            "cudnn_benchmark": True,
            "mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0},
            "dist_cfg": {"backend": "nccl"},
        },
        "log_processor": {"by_epoch": False},
        "log_level": "INFO",
        "visualizer": {
            "type": "SegLocalVisualizer",
            "vis_backends": [{"type": "LocalVisBackend"}],
            "name": "visualizer",
        },
        "default_scope": "mmseg",
        "load_from": "/weights/w.pth",
        "resume": False,
        "randomness": {"seed": 0},
    }


@pytest.mark.parametrize("row", TABLE2, ids=lambda row: f"row{row.number}")
def test_every_row_of_table_2_is_the_notebooks_config_key_by_key(phantom: Dataset, row: Row) -> None:
    cfg, wanted = build(phantom, row.settings), paper_config(row.number, phantom)
    assert cfg.keys() == wanted.keys()
    for key, value in wanted.items():
        if key == "param_scheduler":
            assert cfg[key][0].pop("eta_min") == pytest.approx(1e-4, rel=1e-12)
            value[0].pop("eta_min")
        assert cfg[key] == value, key


def test_the_rows_of_the_paper_are_all_there() -> None:
    assert [row.number for row in TABLE2] == sorted(PAPER)
    assert BASES["pspnet"].name == "unet-s5-d16_pspnet_4xb4-40k_hrf-256x256"


def test_settings_left_out_are_the_papers(phantom: Dataset) -> None:
    assert build(phantom) == build(phantom, DEFAULTS)


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


def test_another_base_keeps_its_own_values(phantom: Dataset) -> None:
    base = load_base(SEGFORMER)
    cfg = build(phantom, {"iterations": 100}, base, weights=None)
    for key in ("optim_wrapper", "param_scheduler", "env_cfg"):
        assert cfg[key] == base.cfg[key], key
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
    assert build(phantom, {"iterations": 7}, epochs)["train_cfg"]["max_iters"] == 7


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
    with pytest.raises(ValueError, match="malformed node"):
        read_config(path)
    assert not canary.exists()
