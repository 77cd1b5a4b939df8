"""Bases and settings as people write them: refused by `mmtuna check` in one line, or ready with what is noted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from mmtuna.objectives.data.phantom import write_phantom
from mmtuna.search.checking.preparing import prepare
from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec import StudySpec

SPEC = """\
[study]
name = "s"
[data]
root = "data"
[model]
base = "{base}"
pretrained = "none"
[space]
{space}
[train]
iterations = 4
{train}
[resources]
devices = ["cpu"]
"""
BATCH = "[space.params.batch_size]\nchoices = [2, 4]\n"
OPTIMIZERS = '[space.params.optimizer]\nchoices = ["SGD", "AdamW"]\n'
FCN = "fcn_r50-d8_4xb2-40k_cityscapes-512x1024"
SEGFORMER = "segformer_mit-b0_8xb2-160k_ade20k-512x512"
OWN = f'_base_ = ["mmseg::fcn/{FCN}.py"]\n'
SMALL = "base_channels = 4\ninput_size = 64\n"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One spec. `own` is the text of a config file of one's own, `refused` a part of the problem, `note` of a note."""

    name: str
    base: str = "unet"
    own: str = ""
    space: str = BATCH
    train: str = ""
    refused: str | None = None
    note: str | None = None


CASES = [
    Case(name="a cascade of K-Net", base="knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512"),
    Case(
        name="class weights of the base's own classes",
        base="cgnet_fcn_4xb8-60k_cityscapes-512x1024",
        note="class_weight is for the base's 19 classes and is left out: the data have 2",
    ),
    Case(
        name="losses told apart by their place",
        base="pidnet-s_2xb6-120k_1024x1024-cityscapes",
        train='loss = "dice"',
        refused="loss: the head PIDHead of base config pidnet-s_2xb6-120k_1024x1024-cityscapes computes",
    ),
    Case(
        name="a loss beside a head that picks its pixels",
        base="stdc1_4xb12-80k_cityscapes-512x1024",
        train='loss = "dice"',
        refused="loss: dice cannot be weighed by pixel, and a head of base config stdc1_4xb12-80k_cityscapes-512x1024",
    ),
    Case(
        name="no backbone, and an operator that is not built",
        base="san-vit-b16_coco-stuff164k-640x640",
        train="precision = 'fp32'",
        refused="the model does not build: it needs mmcv's compiled operator point_sample, and onedl-mmcv is installed",
    ),
    Case(
        name="another package",
        base="convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512",
        refused="needs the package onedl-mmpretrain, which is not installed",
    ),
    Case(
        name="mixed precision of a base on a CPU",
        base="fcn_r101-d8_4xb2-amp-80k_cityscapes-512x1024",
        refused="[model] base has the AmpOptimWrapper: mixed precision needs a GPU and trials would train on the CPU",
    ),
    Case(name="the same turned off", base="fcn_r101-d8_4xb2-amp-80k_cityscapes-512x1024", train="precision = 'fp32'"),
    Case(name="the base's optimizer by name", base=SEGFORMER, train='optimizer = "AdamW"'),
    Case(
        name="another optimizer without its rate",
        base=SEGFORMER,
        space=OPTIMIZERS,
        refused="trains with AdamW, whose rate 6e-05 is not for it; set lr_sgd too",
    ),
    Case(
        name="a rate by its key beside a sampled optimizer",
        base=SEGFORMER,
        space=OPTIMIZERS,
        train='lr_sgd = 0.01\n"optim_wrapper.optimizer.lr" = 0.001',
        refused="optim_wrapper.optimizer.lr: is what lr_sgd or lr_adam sets; use lr_sgd or lr_adam in its place",
    ),
    Case(
        name="images mixed from several",
        own=OWN
        + "train_dataloader = dict(dataset=dict(_delete_=True, type='MultiImageMixDataset', "
        + "dataset=dict(type='BaseSegDataset', pipeline=[]), pipeline=[dict(type='RandomMosaic', prob=1.0)]))",
        refused="its training images are mixed from several (MultiImageMixDataset), which is not kept; give",
    ),
    Case(
        name="a head that says no number of classes",
        own=OWN + "model = dict(decode_head=dict(_delete_=True, type='MyHead'))",
        refused="its decode_head names no num_classes, so it cannot be told of 2 classes; name a config for",
    ),
    Case(
        name="a list of initialisations with a download in it",
        own=OWN
        + "model = dict(backbone=dict(init_cfg=[dict(type='Kaiming', layer='Conv2d'), "
        + "dict(type='Pretrained', checkpoint='https://127.0.0.1:9/r50.pth')]))",
    ),
    Case(
        name="a rate that no optimizer has",
        train=SMALL + "lr_adam = 0.0004",
        refused="[train] lr_adam = 0.0004 changes no trial: it needs optimizer = Adam | AdamW, and optimizer is SGD",
    ),
    Case(
        name="a scale of iterations that the base keeps",
        base=SEGFORMER,
        train="size_scale = 0.5",
        refused="[train] size_scale = 0.5 changes no trial: it scales input_size | crop | window | stride, which",
    ),
    Case(
        name="true and 1 as choices",
        space='[space.params."model.decode_head.align_corners"]\nchoices = [true, 1]\n',
        train=SMALL,
        refused="choices [True, 1] hold True and 1, which are equal: the second would never be tried; give each once",
    ),
    Case(
        name="0 and 0.0 as choices",
        space="[space.params.weight_decay]\nchoices = [0, 0.0]\n",
        train=SMALL,
        refused="choices [0, 0.0] hold 0 and 0.0, which are equal",
    ),
    Case(
        name="a crop larger than the images",
        train=SMALL + "crop = 96",
        note="crop = 96 is larger than the shortest side of the input (64 at input_size = 64): what is missing",
    ),
    Case(
        name="weights asked for and none named",
        train=SMALL + 'initial_weights = "pretrained"',
        refused="[train] initial_weights = 'pretrained' and [model] pretrained = 'none' contradict each other",
    ),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bases") / "data"
    write_phantom(root, subjects=2, scans=2, size=64, val_share=0.5)
    return root


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_base_is_ready_or_refused_in_one_line(case: Case, data: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(data)
    base = case.base
    if case.own:
        (tmp_path / "own.py").write_text(case.own)
        base = "./own.py"
    text = SPEC.format(base=base, space=case.space, train=case.train)
    try:
        ready = prepare(StudySpec.parse(text, tmp_path / "study.toml"))
        problems, notes = ready.problems, ready.notes
    except InputError as error:
        problems, notes = [str(error)], []
    assert all("\n" not in problem for problem in problems)
    if case.refused is None:
        assert problems == []
    else:
        assert any(case.refused in problem for problem in problems), problems
    assert case.note is None or any(case.note in note for note in notes), notes
