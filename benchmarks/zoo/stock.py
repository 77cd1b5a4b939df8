"""The stock side: what MMSegmentation itself does with a config, on a CPU. Each function runs in a child of its own.

What a person would have to edit by hand is edited here: SyncBN becomes BN, weights that would be downloaded are left
out, the data are a folder of ours, images and crops are `side` pixels, two iterations on batches of two, and mixed
precision, which needs a GPU, is off. The classes stay the config's own: masks of two classes fit them, too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import MODELS

import mmtuna.objectives.trial.training  # noqa: F401  imports mmseg with its warnings kept quiet

MODULE2PACKAGE["mmseg"] = "mmseg"  # the distribution has another name than the configs say

RESIZES = ("Resize", "RandomResize", "ResizeShortestEdge", "RandomChoiceResize", "ResizeToMultiple")


def build(path: str) -> dict[str, Any]:
    """Builds the model; its number of parameters and whether training asks for mixed precision."""
    cfg = _load(path)
    with _without_random_numbers():
        model = MODELS.build(cfg.model)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "amp": "Amp" in cfg.optim_wrapper.get("type", "OptimWrapper"),
    }


def train(path: str, root: str, side: int) -> dict[str, Any]:
    """Trains two iterations and evaluates on two images; the metrics."""
    torch.set_num_threads(1)  # as our trials; several on a busy machine wait for each other
    cfg = _load(path)
    classes = _classes(cfg.model)
    for name, lists in (("train", "train"), ("val", "val"), ("test", "val")):
        loader = cfg[f"{name}_dataloader"]
        loader.dataset = _dataset(loader.dataset, root, lists, classes, side)
        loader.update(num_workers=0, persistent_workers=False, batch_size=2 if name == "train" else 1)
        loader.sampler = {"type": "InfiniteSampler" if name == "train" else "DefaultSampler", "shuffle": False}
        loader.pop("batch_sampler", None)
    cfg.train_cfg = {"type": "IterBasedTrainLoop", "max_iters": 2, "val_interval": 2}
    cfg.val_cfg = {"type": "ValLoop"}
    cfg.val_evaluator = {"type": "IoUMetric", "iou_metrics": ["mIoU"]}
    for name in ("test_dataloader", "test_cfg", "test_evaluator"):
        cfg.pop(name, None)
    if "Amp" in cfg.optim_wrapper.get("type", ""):
        cfg.optim_wrapper.type = "OptimWrapper"
        cfg.optim_wrapper.pop("loss_scale", None)
        cfg.optim_wrapper.pop("dtype", None)
    _set_side(cfg.model, side)
    cfg.default_hooks.pop("checkpoint", None)
    cfg.default_hooks.pop("visualization", None)
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        cfg.work_dir = folder
        runner = Runner.from_cfg(cfg)
        runner.train()
        scalars = runner.message_hub.log_scalars
        loss, miou = (scalars[name].current() for name in ("train/loss", "val/mIoU"))
        return {"loss": float(loss), "mIoU": float(miou) / 100}


@contextmanager
def _without_random_numbers() -> Iterator[None]:
    """Weights stay as they lie in memory: to fill those of a large net takes most of the time that it is built in."""
    names = ("uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_")
    before = {name: getattr(torch.nn.init, name) for name in names}
    for name in names:
        setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(torch.nn.init, name, function)


def _load(path: str) -> Any:
    cfg = Config.fromfile(path)
    init_default_scope("mmseg")
    cfg.load_from = None
    _prepare(cfg.model)
    return cfg


def _prepare(node: Any) -> None:
    """SyncBN to BN, and no weights that a download would bring."""
    if isinstance(node, dict):
        if node.get("type") == "SyncBN":
            node["type"] = "BN"
        if isinstance(node.get("init_cfg"), dict) and node["init_cfg"].get("type") == "Pretrained":
            node["init_cfg"] = None
        if isinstance(node.get("pretrained"), str):
            node["pretrained"] = None
        for child in node.values():
            _prepare(child)
    elif isinstance(node, list | tuple):
        for child in node:
            _prepare(child)


def _classes(model: Any) -> int:
    head = model.decode_head
    while not (isinstance(head, dict) and "num_classes" in head):
        inner = head[-1] if isinstance(head, list) else head.get("kernel_generate_head")
        if inner is None:
            raise KeyError("the decode head says no num_classes")
        head = inner
    return int(head["num_classes"])


def _dataset(found: Any, root: str, lists: str, classes: int, side: int) -> dict[str, Any]:
    while "pipeline" not in found or found.get("type") == "MultiImageMixDataset":
        found = found["dataset"] if "dataset" in found else found["datasets"][0]
    pipeline = [dict(step) for step in found["pipeline"]]
    for step in pipeline:
        if step["type"] == "LoadAnnotations":
            step["reduce_zero_label"] = False
        if step["type"] in RESIZES and "scale" in step:
            step["scale"] = (side, side)
        if step["type"] == "RandomChoiceResize":
            step["scales"] = [side]
        if step["type"] == "RandomCrop":
            step["crop_size"] = (side, side)
    return {
        "type": "BaseSegDataset",
        "data_root": root,
        "data_prefix": {"img_path": "images", "seg_map_path": "masks"},
        "ann_file": str(Path(root) / "splits" / f"{lists}.txt"),
        "img_suffix": ".png",
        "seg_map_suffix": ".png",
        "metainfo": {
            "classes": [str(number) for number in range(classes)],
            "palette": [[n, n, n] for n in range(classes)],
        },
        "reduce_zero_label": False,
        "pipeline": pipeline,
    }


def _set_side(model: Any, side: int) -> None:
    """The size that batches are padded to, and that nets with a fixed grid of patches are made for."""
    preprocessor = model.data_preprocessor
    if "size" in preprocessor:
        preprocessor["size"] = (side, side)
    if preprocessor.get("size_divisor"):
        preprocessor["size_divisor"] = side
    if "img_size" in model.get("backbone", {}):
        model.backbone.img_size = (side, side)
    if model.get("test_cfg", {}).get("mode") == "slide":
        model.test_cfg.update(crop_size=(side, side), stride=(side * 2 // 3, side * 2 // 3))
