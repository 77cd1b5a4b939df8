"""Metrics are exact functions of pixel counts, and MMSegmentation's own to the digits that it prints."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mmtuna.objectives.evaluation.metrics import (
    Counts,
    Measures,
    accuracy,
    dice,
    iou,
    mean,
    metrics,
    per_image,
    per_image_foreground_iou,
    total,
)


def counts(intersect: tuple[int, ...], predicted: tuple[int, ...], labelled: tuple[int, ...]) -> Counts:
    return Counts(intersect=intersect, predicted=predicted, labelled=labelled)


NAN = math.nan
CASES = [
    # intersect, predicted, labelled -> IoU, Dice, mIoU, mDice, aAcc
    ((8, 2), (8, 2), (8, 2), [1.0, 1.0], [1.0, 1.0], 1.0, 1.0, 1.0),
    ((90, 0), (100, 0), (90, 10), [0.9, 0.0], [180 / 190, 0.0], 0.45, 90 / 190, 0.9),
    ((90, 0), (90, 10), (100, 0), [0.9, 0.0], [180 / 190, 0.0], 0.45, 90 / 190, 0.9),
    ((100, 0), (100, 0), (100, 0), [1.0, NAN], [1.0, NAN], 1.0, 1.0, 1.0),
    (
        (3, 4, 0),
        (5, 5, 0),
        (4, 6, 0),
        [0.5, 4 / 7, NAN],
        [6 / 9, 8 / 11, NAN],
        (0.5 + 4 / 7) / 2,
        (6 / 9 + 8 / 11) / 2,
        0.7,
    ),
    ((0, 0), (0, 0), (0, 0), [NAN, NAN], [NAN, NAN], NAN, NAN, NAN),
]


@pytest.mark.parametrize(("i", "p", "t", "ious", "dices", "miou", "mdice", "accurate"), CASES)
def test_counts_make_metrics(
    i: tuple[int, ...],
    p: tuple[int, ...],
    t: tuple[int, ...],
    ious: list[float],
    dices: list[float],
    miou: float,
    mdice: float,
    accurate: float,
) -> None:
    found = counts(i, p, t)
    assert iou(found) == pytest.approx(ious, nan_ok=True, abs=0)
    assert dice(found) == pytest.approx(dices, nan_ok=True, abs=0)
    assert mean(iou(found)) == pytest.approx(miou, nan_ok=True)
    assert mean(dice(found)) == pytest.approx(mdice, nan_ok=True)
    assert accuracy(found) == pytest.approx(accurate, nan_ok=True)


def test_metrics_carry_mmsegs_names_and_leave_out_what_is_not_known() -> None:
    found = metrics(counts((3, 4, 0), (5, 5, 0), (4, 6, 0)), ("background", "fluid", "drusen"))
    assert list(found) == ["mIoU", "mDice", "aAcc", "IoU.background", "IoU.fluid", "Dice.background", "Dice.fluid"]
    assert found["IoU.fluid"] == 4 / 7
    assert metrics(counts((0, 0), (0, 0), (0, 0)), ("a", "b")) == {}


def test_images_add_up_before_they_are_divided() -> None:
    images = [counts((10, 0), (10, 2), (12, 0)), counts((5, 6), (6, 6), (5, 7))]
    assert total(images) == counts((15, 6), (16, 8), (17, 7))
    assert iou(total(images)) == [15 / 18, 6 / 9]
    with pytest.raises(ValueError, match="no image was counted; evaluate at least one"):
        total([])


def test_table_1_averages_over_images_with_0_where_nothing_is_to_be_found() -> None:
    images = {
        "half": counts((6, 2), (8, 2), (6, 4)),
        "empty, none predicted": counts((10, 0), (10, 0), (10, 0)),
        "empty, some predicted": counts((7, 0), (7, 3), (10, 0)),
        "all": counts((5, 5), (5, 5), (5, 5)),
    }
    assert per_image_foreground_iou(images) == (0.5 + 0 + 0 + 1) / 4


@pytest.mark.parametrize("ignore_index", [255, 3])
def test_counts_and_metrics_are_mmsegs_on_random_masks(torch: ModuleType, ignore_index: int) -> None:
    from mmtuna.objectives.evaluation.counting import CountingIoUMetric

    rng = np.random.default_rng(7)
    classes = ("background", "fluid", "drusen")
    truth = rng.choice([0, 0, 0, 1, 2, ignore_index], size=(5, 40, 30))
    guess = np.where(rng.random(truth.shape) < 0.6, np.minimum(truth, 2), rng.integers(0, 3, truth.shape))
    metric = CountingIoUMetric(iou_metrics=["mIoU", "mDice"], ignore_index=ignore_index)
    metric.dataset_meta, metric.top = {"classes": classes}, Path("/")

    def sample(k: int) -> dict[str, Any]:
        masks = {"pred_sem_seg": guess[k], "gt_sem_seg": truth[k]}
        return {"img_path": f"/{k}.png"} | {key: {"data": torch.tensor(mask)[None]} for key, mask in masks.items()}

    for _ in range(2):  # a second evaluation starts anew
        for batch in ((0,), (1, 2), (3, 4)):
            metric.process({}, [sample(k) for k in batch])
        printed = metric.evaluate(5)
    assert list(metric.images) == [f"/{k}.png" for k in range(5)]
    for k in range(5):
        valid = truth[k] != ignore_index
        ours = metric.images[f"/{k}.png"]
        assert ours.labelled == tuple(int(((truth[k] == c) & valid).sum()) for c in range(3))
        assert ours.predicted == tuple(int(((guess[k] == c) & valid).sum()) for c in range(3))
        assert ours.intersect == tuple(int(((guess[k] == c) & (truth[k] == c) & valid).sum()) for c in range(3))
    exact = metrics(total(metric.images.values()), classes)
    assert metric.figures() == exact | per_image(metric.images, Measures())
    for name in ("mIoU", "mDice", "aAcc"):
        assert round(100 * exact[name], 2) == pytest.approx(printed[name], abs=0.0051)
        assert 100 * exact[name] != printed[name]  # theirs is rounded, ours is not
