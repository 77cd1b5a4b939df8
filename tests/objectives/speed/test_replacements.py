"""The focal loss that stands in for MMSegmentation's own is Lin et al. 2017, eq. 5, per class; crops are its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest


def by_hand(logits: list[list[float]], labels: list[int], gamma: float, alpha: float, ignore: int) -> float:
    """Mean over pixels and classes of -a_t (1 - p_t)^gamma log p_t; ignored pixels add 0 and count."""
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        for c, logit in enumerate(row):
            if label == ignore:
                continue
            p = 1 / (1 + math.exp(-logit))
            p_t, a_t = (p, alpha) if c == label else (1 - p, 1 - alpha)
            total -= a_t * (1 - p_t) ** gamma * math.log(p_t)
    return total / (len(labels) * len(logits[0]))


@pytest.mark.parametrize(("gamma", "alpha", "weight", "ignore"), [(2.0, 0.5, 1.0, 255), (1.5, 0.25, 0.4, 200)])
@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_the_formula_and_leaves_ignored_pixels_out(
    torch: Any, gamma: float, alpha: float, weight: float, ignore: int, classes: int
) -> None:
    from mmseg.models.losses import FocalLoss

    from mmtuna.objectives.speed.replacements import forward

    generator = torch.Generator().manual_seed(1)
    logits = (3 * torch.randn(2, classes, 5, 4, generator=generator)).requires_grad_()
    labels = torch.randint(0, classes, (2, 5, 4), generator=generator)
    labels[0, :2] = ignore
    loss = forward(FocalLoss(gamma=gamma, alpha=alpha, loss_weight=weight), logits, labels, ignore_index=ignore)
    rows = logits.detach().double().movedim(1, -1).reshape(-1, classes).tolist()
    wanted = weight * by_hand(rows, labels.flatten().tolist(), gamma, alpha, ignore)
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert (logits.grad[0, :, :2] == 0).all()
    assert (logits.grad[0, :, 2:] != 0).all()
    assert (logits.grad[1] != 0).all()


def test_a_step_against_the_gradient_lowers_it(torch: Any) -> None:
    from mmseg.models.losses import FocalLoss

    from mmtuna.objectives.speed.replacements import forward

    logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
    labels = torch.ones(1, 4, 4, dtype=torch.long)
    before = forward(FocalLoss(), logits, labels)
    assert before.item() == pytest.approx(0.5 * 0.25 * math.log(2), rel=1e-6)
    before.backward()  # type: ignore[no-untyped-call]
    assert forward(FocalLoss(), logits.detach() - logits.grad, labels).item() < before.item()
    assert (logits.grad[0, 1] < 0).all()
    assert (logits.grad[0, 0] > 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
@pytest.mark.parametrize(
    ("ratio", "ignored", "size"), [(0.75, 255, (20, 30)), (0.6, 1, (40, 25)), (1.0, 255, (90, 90))]
)
def test_crops_are_those_of_mmsegmentation(
    torch: Any, dtype: type, ratio: float, ignored: int, size: tuple[int, int]
) -> None:
    """The same boxes, and the same random state behind them, whatever the masks hold."""
    from mmseg.datasets.transforms import RandomCrop

    from mmtuna.objectives.speed.replacements import crop_box

    stock = RandomCrop.__dict__["crop_bbox"].func
    assert stock.__module__.startswith("mmseg.")
    crop, masks = RandomCrop(size, cat_max_ratio=ratio, ignore_index=ignored), np.random.default_rng(0)
    tried = set()
    for seed in range(40):
        mask = (masks.random((60, 50)) < masks.choice([0.0, 0.05, 0.3, 0.5])).astype(dtype)
        mask[: masks.integers(0, 60)] = 255
        results = {"img": np.zeros((60, 50, 3), np.uint8), "gt_seg_map": mask}
        np.random.seed(seed)
        theirs, after = stock(crop, results), np.random.get_state()[1:3]
        np.random.seed(seed)
        assert crop_box(crop, results) == theirs
        assert str(np.random.get_state()[1:3]) == str(after)
        tried.add(int(after[1]))
    assert len(tried) > 1 or ratio == 1.0  # some were drawn again, and not all as often
