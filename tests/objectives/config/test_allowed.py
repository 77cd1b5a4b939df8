"""A config names what is registered, and nothing that runs code, fetches files or writes outside of a trial."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmtuna.objectives.config import load_base
from mmtuna.objectives.config.allowed import TRIAL_KEYS, check_trial_config
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.trial import training  # noqa: F401  # registers mmseg's classes, as in a child
from mmtuna.objectives.trial.registered import admit
from mmtuna.spaces.errors import InputError
from tests.objectives.config.test_base_config import ZOO_BASE, write
from tests.objectives.configs import build

REFUSED = {
    "a function as a loss": (
        "model = dict(decode_head=dict(loss_decode=dict(_delete_=True, type='os.system', command='x')))",
        r"model.decode_head.loss_decode.type = 'os.system' is no name of a registry; write the name alone",
    ),
    "a function as a hook": ("custom_hooks = [dict(type='os.mkdir')]", r"custom_hooks.0.type = 'os.mkdir' is no name"),
    "a function as a transform": (
        "train_dataloader = dict(dataset=dict(pipeline=[dict(type='shutil.rmtree', path='x')]))",
        r"train_dataloader.dataset.pipeline.0.type = 'shutil.rmtree' is no name",
    ),
    "a function as a constructor": (
        "optim_wrapper = dict(constructor='os.system')",
        r"optim_wrapper.constructor = 'os.system' is no name",
    ),
    "a class by its path": (
        "model = dict(type='mmseg.models.segmentors.EncoderDecoder')",
        r"model.type = 'mmseg.models.segmentors.EncoderDecoder' is no name",
    ),
    "a type that is no text": ("model = dict(type=3)", r"model.type = 3 must be the name of a registered class"),
    "another package": (
        "model = dict(decode_head=dict(loss_decode=dict(_delete_=True, type='mmdet.FocalLoss')))",
        r"type = 'mmdet.FocalLoss' needs the package onedl-mmdetection, which is not installed; pip",
    ),
    "a package nobody knows": ("model = dict(type='evil.X')", r"model.type = 'evil.X' is no name of a registry"),
    "a scope": ("model = dict(_scope_='evil')", r"model._scope_ = 'evil' is no package whose registry is used; take"),
    "the whole scope": ("default_scope = 'evil'", r"default_scope = 'evil' is no package whose registry is used"),
    "code in a hook": ("custom_hooks = [dict(type='RFSearchHook')]", r"'RFSearchHook' runs text of the config as code"),
    "a file elsewhere": (
        "custom_hooks = [dict(type='LoggerHook', out_dir='/tmp')]",
        r"custom_hooks.0.out_dir = '/tmp' writes where the config says, and a trial writes into its own folder only",
    ),
    "images from a server": (
        "test_pipeline = [dict(type='LoadImageFromFile', backend_args=dict(backend='http'))]",
        r"test_pipeline.0.backend_args = {'backend': 'http'} reads through a server, and mmtuna reads files; take",
    ),
    "pickled images": (
        "train_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadBiomedicalData', decode_backend='pickle')]))",
        r"decode_backend = 'pickle' unpickles files, which runs what they hold",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_base_config_that_names_what_it_may_not_is_refused_as_it_is_loaded(case: str, tmp_path: Path) -> None:
    text, message = REFUSED[case]
    with pytest.raises(InputError, match=rf"^base config .*mine.py: .*{message}"):
        load_base(write(tmp_path / "mine.py", f"_base_ = '{ZOO_BASE}'\n{text}\n"))


@pytest.mark.slow
def test_the_zoo_is_refused_only_for_packages_that_are_missing() -> None:
    from mmtuna.objectives.config.base import _zoo

    refused = {}
    for path in _zoo().glob("*/*.py"):
        try:
            load_base(str(path))
        except InputError as error:
            refused[path.stem] = str(error)
    missing = {name for name, why in refused.items() if "needs the package onedl-mm" in why}
    assert len(missing) == 28
    assert {name.split("_")[0] for name in missing} == {
        *("convnext-base", "convnext-large", "convnext-small", "convnext-tiny", "convnext-xlarge"),
        *("mask2former", "maskformer", "fpn"),
    }
    assert {name for name, why in refused.items() if "has no" not in why} - missing == {
        *("vpd_sd_4xb8-25k_nyu-480x480", "vpd_sd_4xb8-25k_nyu-512x512")
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"launcher": "pytorch"}, "sets launcher, which no trial's config does; it was changed from outside"),
        (
            {"custom_imports": {"imports": ["antigravity"]}},
            r"imports antigravity \(custom_imports\), which the study's base config does not; only what a base with",
        ),
        (
            {"visualizer": {"type": "Visualizer", "vis_backends": [{"type": "mmengine.WandbVisBackend"}]}},
            "the visualizer's mmengine.WandbVisBackend sends what it sees to a server; nothing leaves the machine",
        ),
        (
            {"load_from": "https://example.org/a.pth"},
            r"load_from = 'https.*' is an address; a trial loads files of its",
        ),
        ({"default_hooks": {"x": {"type": "os.system"}}}, r"default_hooks.x.type = 'os.system' is no name of a reg"),
    ],
)
def test_a_trials_config_that_was_changed_is_refused(change: dict[str, object], message: str, phantom: Dataset) -> None:
    cfg = build(phantom, {"iterations": 3})
    assert set(cfg) <= set(TRIAL_KEYS)
    check_trial_config(cfg, "trials/00003/config.py")
    with pytest.raises(InputError, match=rf"^trials/00003/config.py: {message}"):
        check_trial_config(cfg | change, "trials/00003/config.py")


def test_a_config_is_admitted_where_every_name_is_registered(phantom: Dataset) -> None:
    cfg = build(phantom, {"iterations": 3})
    admit(cfg, "config.py", ())
    cfg["optim_wrapper"]["clip_grad"] = {"type": "value", "clip_value": 1.0}
    cfg["optim_wrapper"]["constructor"] = "LayerDecayOptimizerConstructor"
    cfg["model"]["type"] = "mmseg.EncoderDecoder"
    cfg["model"]["backbone"]["act_cfg"] = {"type": "mmcv.ReLU6"}
    admit(cfg, "config.py", ())
    for name, message in (
        ("CrossEntropyLos", r"= 'CrossEntropyLos' is no class that mmengine, mmcv, mmseg registers; did you mean Cr"),
        ("system", r"= 'system' is no class that mmengine, mmcv, mmseg registers; see the names in MMSegmentation"),
        ("mmcv.CrossEntropyLoss", r"= 'mmcv.CrossEntropyLoss' is no class that mmcv registers"),
    ):
        cfg["model"]["decode_head"]["loss_decode"] = {"type": name}
        with pytest.raises(InputError, match=rf"^config.py: model.decode_head.loss_decode.type {message}"):
            admit(cfg, "config.py", ())


def test_albumentations_is_asked_for_by_name(phantom: Dataset) -> None:
    cfg = build(phantom, {"iterations": 3})
    step = {"type": "Albu", "transforms": [{"type": "HorizontalFlip"}, {"type": "load", "filepath": "x"}]}
    cfg["train_dataloader"]["dataset"]["pipeline"].insert(2, step)
    with pytest.raises(InputError, match=r"pipeline.2: Albu needs the package albumentations; pip install albument"):
        admit(cfg, "config.py", ())


@pytest.mark.parametrize(
    "init",
    [
        "backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='{url}'))",
        "backbone=dict(init_cfg=[dict(type='Kaiming', layer='Conv2d'), dict(type='Pretrained', checkpoint='{url}')])",
        "decode_head=dict(init_cfg=dict(type='Pretrained', checkpoint='{url}'))",
        "init_cfg=dict(type='Pretrained', checkpoint='{url}')",
        "pretrained='{url}'",
        "backbone=dict(pretrained='{url}')",
        "auxiliary_head=dict(x=[dict(y=dict(checkpoint='{url}'))])",
    ],
)
def test_no_address_of_weights_reaches_a_trial(init: str, tmp_path: Path, phantom: Dataset) -> None:
    url = "https://example.org/a.pth"
    base = load_base(write(tmp_path / "mine.py", f"_base_ = '{ZOO_BASE}'\nmodel = dict({init.format(url=url)})\n"))
    assert url in str(base.cfg)
    cfg = build(phantom, {"iterations": 3}, base)
    assert url not in str(cfg)
    assert "Pretrained" not in str(cfg)


def test_an_address_under_another_name_is_refused(tmp_path: Path, phantom: Dataset) -> None:
    text = f"_base_ = '{ZOO_BASE}'\nmodel = dict(backbone=dict(weights='s3://bucket/a.pth'))\n"
    with pytest.raises(InputError, match=r"model.backbone.weights = 's3://bucket/a.pth' is an address; a trial loads"):
        build(phantom, {"iterations": 3}, load_base(write(tmp_path / "mine.py", text)))
