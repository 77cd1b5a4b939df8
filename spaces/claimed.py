"""Dotted config keys that mmtuna sets itself from other fields of a spec: they are refused, with the field to use.

Such a key would overrule in silence what data, split, seed and evaluation say, or change nothing at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

CLAIMED: Mapping[str, str] = {
    "randomness.*": "[study] seed",
    "*.ignore_index": "[data] ignore_index",
    "*.seg_pad_val": "[data] ignore_index",
    "*.pad_val.seg": "[data] ignore_index",
    "*.reduce_zero_label": "[data] reduce_zero_label",
    "*_dataloader.dataset.ann_file": "[data] split",
    "*_dataloader.dataset.data_root": "[data] root",
    "*_dataloader.dataset.data_prefix.img_path": "[data] images",
    "*_dataloader.dataset.data_prefix.seg_map_path": "[data] masks",
    "*_dataloader.dataset.img_suffix": "[data] image_suffix",
    "*_dataloader.dataset.seg_map_suffix": "[data] mask_suffix",
    "*_dataloader.dataset.metainfo.classes*": "[data] classes",
    "*_dataloader.dataset.metainfo.palette*": "[data] palette",
    "test_dataloader.dataset.pipeline.*": "val_dataloader.dataset.pipeline",
    "test_pipeline.*": "val_dataloader.dataset.pipeline",
    "*_dataloader.dataset.pipeline.*": "",
    "*_dataloader.dataset.*": "[data]",
    "image_source.*": "[data] range or channels",
    "mask_source.*": "[data] values",
    "model.decode_head*.num_classes": "[data] classes",
    "model.auxiliary_head*.num_classes": "[data] classes",
    "model.text_encoder.dataset_name": "[data] classes",
    "model.text_encoder.vocabulary*": "[data] classes",
    "model*.pretrained": "[model] pretrained",
    "model*.checkpoint": "[model] pretrained",
    "model*.class_embed_path": "[model] pretrained",
    "*_evaluator.*": "[study] metric",
    "default_hooks.checkpoint.interval": "the setting evaluations",
    "default_hooks.checkpoint.max_keep_ckpts": "[resources] keep_checkpoints",
    "default_hooks.checkpoint.*": "[study] metric and value",
    "train_cfg.val_interval": "the setting evaluations",
    "train_cfg.*": "the setting iterations",
    "val_cfg.*": "the setting evaluations",
    "test_cfg.*": "model.test_cfg or the setting inference",
    "test_dataloader.num_workers": "the setting loader_workers",
    "test_dataloader.*": "the same key of val_dataloader",
}
"""Pattern -> what to use in place of the key, "" where the key is free; the first pattern that fits counts."""


def in_place_of(key: str) -> str:
    """What to use in place of a dotted `key` that mmtuna sets itself, "" for a key that a person may set."""
    return next((use for pattern, use in CLAIMED.items() if fnmatchcase(key, pattern)), "")


def refusal(key: str, use: str) -> str:
    """Why `key` may not be set, in words."""
    return f"{key} is set by mmtuna; use {use} in its place"
