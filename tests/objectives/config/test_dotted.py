"""Dotted keys reach plain values that exist, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mmtuna.objectives.config.dotted import get_key, refuse_key, set_key
from mmtuna.spaces.errors import InputError

CFG: dict[str, Any] = {
    "model": {
        "head": {"dropout": 0.1, "sizes": (1, 2)},
        "aux": [{"weight": 0.4}, {"weight": 0.2}],
        "scales": [1, 2, 3],
    },
    "seed": None,
}


@pytest.mark.parametrize(
    ("key", "value"),
    [("model.head.dropout", 0.5), ("model.aux.1.weight", 0.9), ("model.scales.2", 6), ("seed", 4)],
)
def test_a_value_is_replaced_where_it_stands(key: str, value: object) -> None:
    cfg = copy.deepcopy(CFG)
    set_key(cfg, key, value, "x")
    assert get_key(cfg, key, "x") == value
    before = get_key(CFG, key, "x")
    set_key(cfg, key, before, "x")
    assert cfg == CFG


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("modle.head", r"base: no key modle.head; did you mean model\?"),
        ("model.head.drop", r"base: no key model.head.drop; did you mean dropout\?"),
        ("model.zzz", r"base: no key model.zzz; model has head, aux, scales"),
        ("zzz", r"base: no key zzz; the config has model, seed"),
        ("model.aux.2.weight", r"base: no key model.aux.2.weight; model.aux has 0, 1"),
        ("model.aux.-1.weight", r"no key model.aux.-1.weight"),
        ("model.head.dropout.x", r"no key model.head.dropout.x; model.head.dropout is the plain value 0.1"),
        ("model.head", r"base: model.head is a table; name one of its values, such as model.head.dropout"),
        ("model.scales", r"base: model.scales is a list; name one of its values, such as model.scales.0"),
        ("model.head.sizes.0", r"base: model.head.sizes.0 lies in a tuple; name it as a list in the base config"),
        ("model.", r"no key model.; model has"),
        ("", r"no key ; the config has"),
    ],
)
def test_a_key_that_is_not_there_is_an_error_and_changes_nothing(key: str, message: str) -> None:
    cfg = copy.deepcopy(CFG)
    with pytest.raises(InputError, match=message):
        set_key(cfg, key, 1, "base")
    assert cfg == CFG


@pytest.mark.parametrize(
    ("key", "way"),
    [
        ("randomness.seed", "each trial has a seed of its own, from [study] seed on"),
        ("train_dataloader.dataset.ann_file", "[data] says what is trained and validated on"),
        ("val_dataloader.dataset.ann_file", "[data] says what is trained and validated on"),
        ("val_dataloader.dataset.data_root", "[data] says what is trained and validated on"),
        ("train_dataloader.dataset.metainfo.classes.0", "[data] says what is trained and validated on"),
        ("train_dataloader.dataset.pipeline.1.reduce_zero_label", "set [data] reduce_zero_label"),
        ("model.data_preprocessor.seg_pad_val", "set [data] ignore_index"),
        ("model.decode_head.ignore_index", "set [data] ignore_index"),
        ("model.decode_head.num_classes", "follows from [data] classes"),
        ("model.auxiliary_head.1.out_channels", "follows from [data] classes"),
        ("val_evaluator.iou_metrics.0", "trials are measured by [study] metric, both_empty and nsd_tolerance"),
        ("test_dataloader.batch_size", "no trial reads it; name the value of val_dataloader"),
        ("test_cfg.type", "no trial reads it"),
        ("train_cfg.type", "a trial is trained for so many iterations; set iterations and evaluations"),
        ("default_hooks.checkpoint.save_best", "set [resources] keep_checkpoints"),
        ("load_from", "set [model] pretrained, or initial_weights"),
    ],
)
def test_what_another_table_says_is_no_setting_of_a_trial(key: str, way: str) -> None:
    with pytest.raises(InputError) as caught:
        refuse_key(key, {key: 1})
    assert str(caught.value) == f"{key}: is not a setting of a trial: {way}"


@pytest.mark.parametrize(
    "key",
    [
        "train_dataloader.dataset.pipeline.3.prob",
        "train_dataloader.sampler.shuffle",
        "model.test_cfg.stride",
        "model.neck.out_channels",
        "model.decode_head.dropout_ratio",
        "optim_wrapper.optimizer.lr",
        "param_scheduler.0.eta_min",
        "env_cfg.cudnn_benchmark",
    ],
)
def test_what_changes_a_training_is_one(key: str) -> None:
    refuse_key(key, {key: 1})
