"""MMSegmentation's focal loss where its own does not run.

On the CPU its FocalLoss takes one column of the one-hot target where it means all (mmsegmentation#3249) and fails; on
a GPU it needs mmcv's compiled operators. The loss itself is Lin et al. 2017, eq. 5, with sigmoid, per class.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmseg.models.losses import focal_loss

from mmtuna.objectives.insides import has_focal_operator, replace_focal_loss


def repair_focal_loss() -> None:
    """Puts `forward` below in the place of FocalLoss's own, unless mmcv's operator is there for the GPU."""
    if not (has_focal_operator() and torch.cuda.is_available()):
        replace_focal_loss(forward)


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
