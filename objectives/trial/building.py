"""Building a model to look at it: quickly, and with a line that names what is not installed."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmtuna.objectives.config.classes import with_one_more_class

_FILLING = ("uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_")
_OPERATOR = re.compile(r"install onedl-mmcv for (\w+) ops")
_PACKAGE = re.compile(r"install (onedl-mm\w+|mm\w+) to use (\w+)")
_OF_MMDET = ("MaskFormerHead", "Mask2FormerHead")


@contextmanager
def unfilled() -> Iterator[None]:
    """Weights of models that are built meanwhile stay as they lie in memory: filling those of a large one takes most
    of the time that it is built in. Imports torch."""
    import torch

    before = {name: getattr(torch.nn.init, name) for name in _FILLING}
    for name in _FILLING:
        setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(torch.nn.init, name, function)


def shapes_of(model: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a model, by name."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def class_layers(model: dict[str, Any], ours: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The tensors whose shape depends on the number of classes, of a config's `model` that builds and has `ours`.
    Imports torch."""
    from mmengine.config import ConfigDict
    from mmseg.registry import MODELS

    with unfilled():
        more = shapes_of(MODELS.build(ConfigDict(with_one_more_class(model))))
    return [name for name, shape in ours.items() if more.get(name) != shape]


def missing_part(model: Mapping[str, Any], said: str) -> str | None:
    """What has to be installed where a model failed to build with the message `said`; None where it is something else.

    mmcv says of an operator that onedl-mmcv is to be installed, which it is: without its compiled operators.
    """
    operator = _OPERATOR.search(said)
    if operator:
        return (
            f"it needs mmcv's compiled operator {operator[1]}, and onedl-mmcv is installed without operators; "
            "build it with MMCV_WITH_OPS=1"
        )
    package = _PACKAGE.search(said)
    if package:
        return f"{package[2]} needs the package {package[1]}, which is not installed; pip install {package[1]}"
    kinds = [head.get("type") for head in _listed(model.get("decode_head"))]
    if set(kinds) & set(_OF_MMDET) and importlib.util.find_spec("mmdet") is None:
        return f"{kinds[-1]} needs the package onedl-mmdetection, which is not installed; pip install onedl-mmdetection"
    return None


def _listed(found: Any) -> list[Mapping[str, Any]]:
    return list(found) if isinstance(found, list | tuple) else [found] if isinstance(found, Mapping) else []
