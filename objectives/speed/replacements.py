"""What stands in a trial's process in the place of MMSegmentation's own: the focal loss, and the choice of a crop.

On the CPU its FocalLoss takes one column of the one-hot target where it means all (mmsegmentation#3249) and fails; on
a GPU it needs mmcv's compiled operators. The loss itself is Lin et al. 2017, eq. 5, with sigmoid, per class.

Its RandomCrop sorts the labels of every crop that it tries in order to count them: three quarters of what loading an
image of 512 takes for crops of 320.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmseg.models.losses import focal_loss

from mmtuna.objectives.insides import has_focal_operator, replace_crop_box, replace_focal_loss

_TRIES = 10  # MMSegmentation's own


def replace_in_stock() -> None:
    """Puts `crop_box` in the place of RandomCrop's own, and `forward` in that of FocalLoss's, unless mmcv's operator is
    there for the GPU."""
    replace_crop_box(crop_box)
    if not (has_focal_operator() and torch.cuda.is_available()):
        replace_focal_loss(forward)


def crop_box(self: Any, results: dict[str, Any]) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the crop that RandomCrop draws for these `results`: the same by the same state.

    One of which a class takes `cat_max_ratio` or more, or that has one class alone, is drawn again, ten times at most.
    """
    mask = results["gt_seg_map"]
    box = _drawn(results["img"].shape, self.crop_size)
    if self.cat_max_ratio < 1.0:
        for _ in range(_TRIES):
            counts = _counted(self.crop(mask, box), self.ignore_index)
            if len(counts) > 1 and counts.max() / counts.sum() < self.cat_max_ratio:
                break
            box = _drawn(results["img"].shape, self.crop_size)
    return box


def _drawn(shape: Sequence[int], size: Sequence[int]) -> tuple[int, int, int, int]:
    top, left = (np.random.randint(0, max(whole - part, 0) + 1) for whole, part in zip(shape, size, strict=False))
    return top, top + size[0], left, left + size[1]


def _counted(mask: np.ndarray, ignored: int) -> np.ndarray:
    """Pixels of each label that occurs, but for the one that is ignored."""
    if mask.dtype != np.uint8:  # a label that is no byte may be negative, or as large as it likes
        labels, counts = np.unique(mask, return_counts=True)
        kept: np.ndarray = counts[labels != ignored]
        return kept
    counts = np.bincount(mask.ravel(), minlength=256)
    if 0 <= ignored < len(counts):
        counts[ignored] = 0
    return counts[counts > 0]


def forward(
    self: Any,
    pred: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    avg_factor: int | None = None,
    reduction_override: str | None = None,
    ignore_index: int = 255,
    **_: Any,
) -> torch.Tensor:
    """The loss of logits `pred` (N, C, H, W) for class indices `target` (N, H, W); ignored pixels weigh 0.

    As in MMSegmentation, the mean is over all pixels and classes, ignored ones included.
    """
    classes = pred.size(1)
    valid = target != ignore_index
    one_hot = F.one_hot(torch.where(valid, target, 0), num_classes=classes).reshape(-1, classes)
    loss: torch.Tensor = self.loss_weight * focal_loss.py_sigmoid_focal_loss(
        pred.movedim(1, -1).reshape(-1, classes),
        one_hot,
        None,
        weight,
        gamma=self.gamma,
        alpha=self.alpha,
        class_weight=self.class_weight,
        valid_mask=valid.reshape(-1, 1),
        reduction=reduction_override or self.reduction,
        avg_factor=avg_factor,
    )
    return loss
