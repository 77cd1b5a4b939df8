"""The layouts of MMSegmentation's documentation: init, check and run by the command, with no edit by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmtuna.objectives.config import read_config
from mmtuna.studies.spec import StudySpec
from tests.search.conftest import mmtuna

# The config of an MMSegmentation user, with a net of 4 channels.
CONFIG = """\
dataset_type = "{kind}"
data_root = "{root}"
crop_size = (32, 32)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"{loading}),
    dict(type="RandomResize", scale=(64, 64), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(64, 64), keep_ratio=True),
    dict(type="LoadAnnotations"{loading}),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type=dataset_type, data_root=data_root, data_prefix=dict({train}), pipeline=train_pipeline{more}
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, data_prefix=dict({val}), pipeline=test_pipeline{more}),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
default_scope = "mmseg"
norm_cfg = dict(type="SyncBN", requires_grad=True)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True,
        pad_val=0, seg_pad_val=255, size=crop_size,
    ),
    backbone=dict(
        type="UNet", in_channels=3, base_channels=4, num_stages=2, strides=(1, 1), enc_num_convs=(1, 1),
        dec_num_convs=(1,), downsamples=(True,), enc_dilations=(1, 1), dec_dilations=(1,), norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        type="FCNHead", in_channels=4, in_index=1, channels=4, num_convs=1, concat_input=False,
        num_classes={classes}, norm_cfg=norm_cfg, align_corners=False, loss_decode=dict(type="CrossEntropyLoss"),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0005))
param_scheduler = [dict(type="PolyLR", eta_min=1e-4, power=0.9, begin=0, end={iters}, by_epoch=False)]
train_cfg = dict(type="{loop}", {length}={iters}, val_interval=2)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
"""
PREFIX = 'img_path="{images}", seg_map_path="{masks}"'


def write_config(folder: Path, kind: str, root: str, folders: Iterable[tuple[str, str]], **filled: Any) -> Path:
    """my_config.py; `folders` are images and masks of training and of validation."""
    train, val = (PREFIX.format(images=images, masks=masks) for images, masks in folders)
    usual = {"loading": "", "more": "", "loop": "IterBasedTrainLoop", "length": "max_iters", "iters": 4}
    path = folder / "my_config.py"
    path.write_text(CONFIG.format(kind=kind, root=root, train=train, val=val, **usual | filled))
    return path


def save(path: Path, array: np.ndarray[Any, Any], **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def noise(seed: int, height: int = 64, width: int = 64) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def blocks(seed: int, values: Iterable[int]) -> np.ndarray[Any, Any]:
    """64 x 64 pixels, blocks of 4 x 4 of each value in turn, shuffled."""
    listed = np.resize(np.array(list(values), np.uint8), 256)
    return np.kron(np.random.default_rng(seed).permutation(listed).reshape(16, 16), np.ones((4, 4), np.uint8))


def search(folder: Path, *init: str) -> tuple[StudySpec, dict[str, Any], dict[str, Any], str]:
    """init, check and run --trials 1: the spec, the trial's config and evaluation, and what the commands said."""
    path = folder / "study" / "study.toml"
    commands = [["init", str(path.parent), *init], ["check", str(path)], ["run", str(path), "--trials", "1"]]
    said = ""
    for words in commands:
        done = mmtuna(*words, cwd=folder, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        said += done.stdout
    trial = path.parent / "runs" / "study" / "trials" / "00000"
    evaluation = json.loads((trial / "evaluation.json").read_text())
    return StudySpec.load(path), read_config(trial / "config.py"), evaluation, said


def labelled(evaluation: Mapping[str, Any]) -> list[int]:
    """Pixels of each class in the masks of the last evaluation, over all its images."""
    return [sum(counts) for counts in zip(*(image["labelled"] for image in evaluation["images"].values()), strict=True)]


@pytest.mark.slow
def test_ade20k_as_mmsegmentation_lays_it_out(tmp_path: Path) -> None:
    """0 is unlabelled, 1 to 150 are classes: reduce_zero_label."""
    root = tmp_path / "data/ade/ADEChallengeData2016"
    masks: dict[str, np.ndarray[Any, Any]] = {}
    for side, tag, count in (("training", "train", 4), ("validation", "val", 2)):
        for i in range(count):
            name = f"{side}/ADE_{tag}_{i:08d}"
            masks[name] = blocks(len(masks), range(151))
            save(root / f"images/{name}.jpg", noise(len(masks)), quality=95)
            save(root / f"annotations/{name}.png", masks[name])
    config = write_config(
        tmp_path,
        "ADE20KDataset",
        "data/ade/ADEChallengeData2016",
        [(f"images/{side}", f"annotations/{side}") for side in ("training", "validation")],
        classes=150,
        loading=", reduce_zero_label=True",
    )
    spec, cfg, evaluation, said = search(tmp_path, "--config", str(config))
    assert "data: 4 training and 2 validation images of ADE20KDataset" in said
    assert "ready: 4 + 2 images, 2 parameters" in said
    assert spec.data.reduce_zero_label
    assert (spec.data.split, spec.data.train, spec.data.val) == ("folders", "training", "validation")
    assert (len(spec.data.classes), spec.data.classes[0], spec.data.classes[149]) == (150, "wall", "flag")

    loaded = cfg["train_dataloader"]["dataset"]
    assert (loaded["img_suffix"], loaded["seg_map_suffix"], loaded["reduce_zero_label"]) == (".jpg", ".png", True)
    assert loaded["data_prefix"] == {"img_path": "images", "seg_map_path": "annotations"}
    assert loaded["metainfo"]["palette"][0] == [120, 120, 120]
    kinds = [step["type"] for step in loaded["pipeline"]]
    assert kinds == [*("LoadImageFromFile", "LoadAnnotations", "RandomResize", "RandomCrop", "RandomFlip"), kinds[-1]]
    assert Path(loaded["ann_file"]).read_text().split() == [name for name in masks if name.startswith("training")]
    assert cfg["train_cfg"]["max_iters"] == 4

    truth = np.concatenate([mask.ravel() for name, mask in masks.items() if name.startswith("validation")])
    assert labelled(evaluation) == [int((truth == value + 1).sum()) for value in range(150)]
    assert set(evaluation["images"]) == {f"validation/ADE_val_{i:08d}.jpg" for i in range(2)}
    assert sum(labelled(evaluation)) == int((truth > 0).sum())


@pytest.mark.slow
@pytest.mark.slow
def test_cityscapes_as_mmsegmentation_lays_it_out(tmp_path: Path) -> None:
    """Folders of cities within the sides, suffixes of several words, other masks beside those that count."""
    root = tmp_path / "data/cityscapes"
    masks: dict[str, np.ndarray[Any, Any]] = {}
    for side, cities in (("train", ("aachen", "bremen")), ("val", ("munster",))):
        for city in cities:
            for i in range(2):
                name = f"{side}/{city}/{city}_{i:06d}_000019"
                masks[name] = blocks(len(masks), [*range(19), 255])
                save(root / f"leftImg8bit/{name}_leftImg8bit.png", noise(len(masks)))
                save(root / f"gtFine/{name}_gtFine_labelTrainIds.png", masks[name])
                save(root / f"gtFine/{name}_gtFine_labelIds.png", blocks(i, range(34)))
    config = write_config(
        tmp_path,
        "CityscapesDataset",
        "data/cityscapes/",
        [(f"leftImg8bit/{side}", f"gtFine/{side}") for side in ("train", "val")],
        classes=19,
        loop="EpochBasedTrainLoop",
        length="max_epochs",
        iters=2,
    )
    spec, cfg, evaluation, said = search(tmp_path, "--config", str(config), "--set", "train.evaluations=1")
    assert "data: 4 training and 2 validation images of CityscapesDataset" in said
    assert "ready: 4 + 2 images, 2 parameters" in said
    assert "train: 2 epochs of 4 images, 2 a batch, are 4 iterations" in said
    assert spec.data.classes[:3] == ("road", "sidewalk", "building")
    assert not spec.data.reduce_zero_label

    loaded = cfg["val_dataloader"]["dataset"]
    assert loaded["img_suffix"] == "_leftImg8bit.png"
    assert loaded["seg_map_suffix"] == "_gtFine_labelTrainIds.png"
    assert loaded["data_prefix"] == {"img_path": "leftImg8bit", "seg_map_path": "gtFine"}
    assert loaded["metainfo"]["palette"][0] == [128, 64, 128]
    assert Path(loaded["ann_file"]).read_text().split() == [name for name in masks if name.startswith("val")]
    assert cfg["train_cfg"]["max_iters"] == 4

    truth = np.concatenate([mask.ravel() for name, mask in masks.items() if name.startswith("val")])
    assert labelled(evaluation) == [int((truth == value).sum()) for value in range(19)]


SMALL = [
    *("model.pretrained=none", "train.base_channels=2", "train.size_scale=0.125", "train.iteration_scale=0.02"),
    'space.drop=["decoder", "crop", "loss", "flip", "optimizer"]',
    "train.evaluations=1",
]


def test_a_plain_folder_of_images_of_several_sizes(tmp_path: Path) -> None:
    """0/255 masks, a side a folder, suffixes of one's own: what init says of a folder, with a net made small."""
    sizes = [(64, 64), (48, 80), (96, 64), (64, 40), (57, 71)]
    counted = 0
    for side, count in (("train", 5), ("val", 3)):
        for i in range(count):
            height, width = sizes[i % len(sizes)]
            save(tmp_path / f"eyes/img_dir/{side}/{i:03d}_scan.png", noise(i, height, width))
            mask = np.zeros((height, width), np.uint8)
            mask[10 : 20 + i, 5:30] = 255
            save(tmp_path / f"eyes/ann_dir/{side}/{i:03d}_seg.png", mask)
            counted += int((mask == 255).sum()) if side == "val" else 0
    options = [word for change in SMALL for word in ("--set", change)]
    spec, cfg, evaluation, said = search(tmp_path, "--data", "eyes", *options)
    assert "images in img_dir (*_scan.png), masks in ann_dir (*_seg.png)" in said
    assert "split: folders train (5 images) and val (3)" in said
    assert "ready: 5 + 3 images, 2 parameters" in said
    assert "8 masks hold 0, 255, so 255 is the second class" in said
    assert spec.data.classes == ("background", "foreground")
    assert spec.data.values == ((0,), (255,))

    loaded = cfg["val_dataloader"]["dataset"]
    assert (loaded["img_suffix"], loaded["reduce_zero_label"]) == ("_scan.png", False)
    copies = Path(loaded["data_prefix"]["seg_map_path"])
    with Image.open(copies / "val/000.png") as copy:
        assert np.unique(np.asarray(copy)).tolist() == [0, 1]
    assert labelled(evaluation)[1] == counted
