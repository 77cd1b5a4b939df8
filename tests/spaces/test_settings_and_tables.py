import re
from typing import Any

import pytest

from mmtuna.spaces.claimed import CLAIMED
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Categorical
from mmtuna.spaces.presets import extended, paper
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import DEFAULTS, FORMER, SETTINGS, by_present_names, check_settings
from mmtuna.spaces.table2 import PUBLISHED_BEST, TABLE1, TABLE2, Row


@pytest.mark.parametrize("row", TABLE2, ids=lambda row: f"row {row.number}")
@pytest.mark.parametrize("space", [paper(), extended()], ids=["paper", "extended"])
def test_every_row_lies_in_both_presets(row: Row, space: SearchSpace) -> None:
    params = row.params(space)
    assert space.why_not(params) is None
    check_settings(row.settings, "row")
    assert {**DEFAULTS, **params} == row.settings  # what is not sampled is the paper's by default


def test_table2_is_the_published_one() -> None:
    assert [row.number for row in TABLE2] == list(range(1, 12))
    assert (PUBLISHED_BEST.number, PUBLISHED_BEST.miou, PUBLISHED_BEST.mdice) == (10, 0.7600, 0.8430)
    assert PUBLISHED_BEST.weight_decay == 1e-4
    assert [row.number for row in TABLE2 if row.fluid_iou is None] == [11]
    assert len({str(row.params(paper())) for row in TABLE2}) == 11
    assert TABLE2[2].label == "400 it, crop none, flip horizontal, CE, SGD, 0.0005"
    assert TABLE1 == {"pspnet": 0.0022, "fcn": 0.0008, "deeplabv3": 0.0016}


@pytest.mark.parametrize("row", [row for row in TABLE2 if row.fluid_iou], ids=lambda row: f"row {row.number}")
def test_published_figures_agree_with_each_other(row: Row) -> None:
    """With two classes, mIoU and fluid IoU give the background's IoU, and Dice = 2 IoU / (1 + IoU) gives mDice."""
    assert row.fluid_iou is not None
    background = 2 * row.miou - row.fluid_iou
    dice = [2 * iou / (1 + iou) for iou in (background, row.fluid_iou)]
    assert sum(dice) / 2 == pytest.approx(row.mdice, abs=2e-4)


def test_a_space_that_lacks_a_row_says_what() -> None:
    narrow = SearchSpace([Categorical(name="crop", choices=(192, 224))])
    with pytest.raises(InputError, match="space: crop = 320 is outside its range"):
        TABLE2[5].params(narrow)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input_size", 512),
        ("cat_max_ratio", 0.75),
        ("lr_sgd", 0.01),
        ("lr_adam", 0.01),
        ("momentum", 0.9),
        ("batch_size", 2),
        ("schedule", "poly_40k"),
        ("inference", "slide"),
        ("window", 256),
        ("stride", 170),
        ("initial_weights", "pretrained"),
    ],
)
def test_fixed_settings_of_the_paper_are_cited(name: str, value: object) -> None:
    assert DEFAULTS[name] == value
    assert SETTINGS[name].source.startswith("notebooks")


def test_every_default_is_allowed_and_every_setting_explained() -> None:
    check_settings(DEFAULTS, "defaults")
    assert [name for name, setting in SETTINGS.items() if not setting.meaning or not setting.source] == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crpo": 64}, "[train]: crpo is no setting; did you mean crop?"),
        ({"zzzzzz": 64}, "[train]: zzzzzz is no setting; known: decoder,"),
        ({"crop": "all"}, "[train]: crop = 'all' is not allowed; it takes 'none' or a whole number from 16 to 8192"),
        ({"warmup": "none"}, "[train]: warmup = 'none' is not allowed; it takes 'schedule' or a number from 0 to 0.5"),
        ({"amp": 1}, "[train]: amp = 1 is not allowed; it takes false | true"),
        ({"precision": "half"}, "[train]: precision = 'half' is not allowed; it takes fp32 | fp16 | bf16"),
        ({"precision": "fp16", "amp": True}, "[train]: amp and precision are one setting; remove amp"),
        ({"flip": "up"}, "[train]: flip = 'up' is not allowed; it takes none | horizontal | vertical | both"),
        ({"size_scale": 2.0}, "[train]: size_scale = 2.0 is not allowed; it takes a number from 0.01 to 1"),
        ({"iterations": 0}, "[train]: iterations = 0 is not allowed; it takes a whole number from 1"),
    ],
)
def test_wrong_settings(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        check_settings(values, "[train]")


# A key for each pattern, in the table's order, and what the message says to use.
TAKEN = {
    "randomness.seed": "[study] seed",
    "model.decode_head.loss_decode.0.ignore_index": "[data] ignore_index",
    "model.data_preprocessor.seg_pad_val": "[data] ignore_index",
    "train_dataloader.dataset.pipeline.4.pad_val.seg": "[data] ignore_index",
    "train_dataloader.dataset.pipeline.1.reduce_zero_label": "[data] reduce_zero_label",
    "val_dataloader.dataset.ann_file": "[data] split",
    "train_dataloader.dataset.data_root": "[data] root",
    "val_dataloader.dataset.data_prefix.img_path": "[data] images",
    "train_dataloader.dataset.data_prefix.seg_map_path": "[data] masks",
    "train_dataloader.dataset.img_suffix": "[data] image_suffix",
    "val_dataloader.dataset.seg_map_suffix": "[data] mask_suffix",
    "train_dataloader.dataset.metainfo.classes.0": "[data] classes",
    "val_dataloader.dataset.metainfo.palette.0.1": "[data] palette",
    "test_dataloader.dataset.pipeline.1.keep_ratio": "val_dataloader.dataset.pipeline",
    "test_pipeline.1.keep_ratio": "val_dataloader.dataset.pipeline",
    "train_dataloader.dataset.pipeline.2.keep_ratio": "",
    "test_dataloader.dataset.type": "[data]",
    "image_source.img_suffix": "[data] range or channels",
    "mask_source.seg_map_suffix": "[data] values",
    "model.decode_head.num_classes": "[data] classes",
    "model.auxiliary_head.1.num_classes": "[data] classes",
    "model.text_encoder.dataset_name": "[data] classes",
    "model.text_encoder.vocabulary.0": "[data] classes",
    "model.pretrained": "[model] pretrained",
    "model.backbone.init_cfg.checkpoint": "[model] pretrained",
    "model.decode_head.class_embed_path": "[model] pretrained",
    "val_evaluator.iou_metrics.0": "[study] metric",
    "default_hooks.checkpoint.interval": "the setting evaluations",
    "default_hooks.checkpoint.max_keep_ckpts": "[resources] keep_checkpoints",
    "default_hooks.checkpoint.save_best": "[study] metric and value",
    "train_cfg.val_interval": "the setting evaluations",
    "train_cfg.type": "the setting iterations",
    "val_cfg.type": "the setting evaluations",
    "test_cfg.type": "model.test_cfg or the setting inference",
    "test_dataloader.num_workers": "the setting loader_workers",
    "test_dataloader.batch_size": "the same key of val_dataloader",
}


@pytest.mark.parametrize(("key", "use"), [(key, use) for key, use in TAKEN.items() if use])
def test_a_dotted_key_that_mmtuna_sets_is_refused(key: str, use: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"[train]: {key} is set by mmtuna; use {use} in its place") + "$"):
        check_settings({"crop": 64, key: 3}, "[train]")


def test_every_pattern_of_what_mmtuna_sets_has_its_key() -> None:
    assert list(TAKEN.values()) == list(CLAIMED.values())


@pytest.mark.parametrize(
    "key",
    [
        "model.decode_head.dropout_ratio",
        "model.auxiliary_head.loss_decode.loss_weight",
        "model.decode_head.loss_decode.class_weight.1",
        "model.decode_head.norm_cfg.type",
        "model.decode_head.align_corners",
        "model.decode_head.channels",
        "model.decode_head.out_channels",  # the base says whether it counts classes
        "model.backbone.base_channels",
        "model.backbone.out_channels",
        "model.backbone.init_cfg.type",
        "model.data_preprocessor.bgr_to_rgb",
        "model.test_cfg.mode",
        "model.train_cfg.rate",
        "optim_wrapper.optimizer.weight_decay",
        "optim_wrapper.optimizer.betas.0",
        "param_scheduler.0.eta_min",
        "env_cfg.cudnn_benchmark",
        "custom_hooks.0.momentum",
        "default_hooks.logger.interval",
        "train_dataloader.batch_size",
        "train_dataloader.num_workers",
        "train_dataloader.sampler.shuffle",
        "train_dataloader.dataset.pipeline.2.kind",
        "train_dataloader.dataset.pipeline.3.prob",
        "val_dataloader.batch_size",
        "val_dataloader.dataset.pipeline.1.kind",
    ],
)
def test_other_dotted_keys_are_free(key: str) -> None:
    check_settings({key: 3}, "[train]")


def test_settings_of_before_stand_under_todays_names() -> None:
    assert by_present_names({"amp": True, "crop": 64, "a.b": 1}) == {"precision": "fp16", "crop": 64, "a.b": 1}
    assert by_present_names({"amp": False}) == {"precision": "fp32"}
    assert set(FORMER).isdisjoint(SETTINGS)
    for former in FORMER.values():
        assert set(former.values) == set(former.allowed.choices)
        assert all(SETTINGS[former.now].allowed.contains(value) for value in former.values.values())
