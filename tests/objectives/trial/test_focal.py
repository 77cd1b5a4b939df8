"""The focal loss that stands in for MMSegmentation's own is Lin et al. 2017, eq. 5, per class."""

from __future__ import annotations

import math
from typing import Any

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

    from mmtuna.objectives.trial.focal import forward

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

    from mmtuna.objectives.trial.focal import forward

    logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
    labels = torch.ones(1, 4, 4, dtype=torch.long)
    before = forward(FocalLoss(), logits, labels)
    assert before.item() == pytest.approx(0.5 * 0.25 * math.log(2), rel=1e-6)
    before.backward()  # type: ignore[no-untyped-call]
    assert forward(FocalLoss(), logits.detach() - logits.grad, labels).item() < before.item()
    assert (logits.grad[0, 1] < 0).all()
    assert (logits.grad[0, 0] > 0).all()
