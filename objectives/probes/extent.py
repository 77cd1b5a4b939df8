"""How much a training has to do, read off its config: what its seconds and its memory grow with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_RESIZES = ("Resize", "RandomResize", "RandomChoiceResize", "ResizeShortestEdge")


@dataclass(frozen=True, kw_only=True)
class Extent:
    """What a training does. `train` and `val` are pixels an iteration and an evaluated image pass through the net,
    times the square of its width where the config names one: a measure to compare configs of one study by.
    """

    iterations: int
    evaluations: int
    train: float
    val: float


def extent_of(cfg: Mapping[str, Any], shapes: Collection[tuple[int, int]]) -> Extent:
    """The extent of a trial's complete config; `shapes` are the (height, width) in pixels that occur."""
    loop = cfg["train_cfg"]
    iterations, interval = int(loop["max_iters"]), max(1, int(loop["val_interval"]))
    width = float(cfg["model"].get("backbone", {}).get("base_channels", 1)) ** 2
    batch = int(cfg["train_dataloader"].get("batch_size", 1))
    return Extent(
        iterations=iterations,
        evaluations=-(-iterations // interval),
        train=batch * _pixels(cfg["train_dataloader"]["dataset"]["pipeline"], shapes) * width,
        val=_evaluated(cfg, shapes) * width,
    )


def _evaluated(cfg: Mapping[str, Any], shapes: Collection[tuple[int, int]]) -> float:
    """Pixels that the net sees of one image: with a sliding window those of all windows."""
    whole = _pixels(cfg["val_dataloader"]["dataset"]["pipeline"], shapes)
    how = cfg["model"].get("test_cfg") or {}
    if how.get("mode") != "slide":
        return whole
    (window, _), (stride, _) = _sides(how["crop_size"]), _sides(how["stride"])
    side = whole**0.5
    steps = max(1, -(-(side - window) // stride) + 1)
    return float(steps**2 * window**2)


def _pixels(pipeline: Sequence[Mapping[str, Any]], shapes: Collection[tuple[int, int]]) -> float:
    """Pixels of an image behind the pipeline: of the crop, else of what it is resized to, else of the largest one."""
    height, width = max(shapes, key=lambda shape: shape[0] * shape[1], default=(512, 512))
    pixels = float(height * width)
    for step in pipeline:
        if step["type"] in _RESIZES and (scale := step.get("scale") or (step.get("scales") or [None])[0]):
            long, short = sorted(_sides(scale), reverse=True)
            if step.get("keep_ratio", True):
                factor = min(long / max(height, width), short / min(height, width))
                pixels = height * width * factor**2
            else:
                pixels = float(long * short)
        elif step["type"] == "RandomCrop":
            one, other = _sides(step["crop_size"])
            pixels = float(one * other)
    return pixels


def _sides(size: Any) -> tuple[int, int]:
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) else (int(size), int(size))
