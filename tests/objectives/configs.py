"""Configs for the tests of what builds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmtuna.objectives.config import BaseConfig, build_config, load_base, merge_settings
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.spaces.parameter import Value

SEGFORMER = "segformer_mit-b0_8xb2-160k_ade20k-512x512"
BASES = {decoder: load_base("unet", decoder=decoder) for decoder in ("fcn", "pspnet", "deeplabv3")}


def build(
    dataset: Dataset,
    settings: Mapping[str, Value] | None = None,
    base: BaseConfig | None = None,
    shapes: set[tuple[int, int]] | None = None,
    weights: Path | None = Path("/weights/w.pth"),
    backbones: Mapping[str, Path] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    base = base or BASES[str((settings or {}).get("decoder", "pspnet"))]
    return build_config(
        base,
        merge_settings(settings or {}, {}, is_unet=base.is_unet, has_weights=bool(weights or backbones)),
        dataset=dataset,
        lists=(Path("/lists/train.txt"), Path("/lists/val.txt")),
        shapes=shapes or {(256, 256)},
        weights=weights,
        backbones=backbones,
        seed=seed,
    )


def at(cfg: Any, path: str) -> Any:
    for part in path.split("."):
        cfg = cfg[int(part) if isinstance(cfg, list) else part]
    return cfg


def kinds(pipeline: list[dict[str, Any]]) -> list[str]:
    return [step["type"] for step in pipeline]


TRAIN = "train_dataloader.dataset.pipeline"
CROPPED: Mapping[str, Value] = {"crop": 320, "flip": "horizontal", "optimizer": "SGD"}
CE = {"type": "CrossEntropyLoss", "use_sigmoid": False}
DICE = {"type": "DiceLoss", "use_sigmoid": False}
TVERSKY = {"type": "TverskyLoss", "alpha": 0.5, "beta": 0.5}
LOVASZ = {"type": "LovaszLoss", "per_image": False, "reduction": "none"}
HEAD, AUX = "model.decode_head.loss_decode", "model.auxiliary_head.loss_decode"
RESIZE = {"type": "Resize", "scale": (384, 384), "keep_ratio": True}
ADAM = {"type": "Adam", "lr": 0.01, "weight_decay": 5e-4}
