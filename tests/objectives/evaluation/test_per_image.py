"""Means over images and subjects against sums over the masks themselves, and outlines against every pair of pixels."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, dice, jaccard

from mmtuna.objectives.evaluation.boundary import boundary_distances
from mmtuna.objectives.evaluation.metrics import Counts, Measures, left_out, per_image

Masks = NDArray[np.uint8]


def blobs(count: int, size: int = 24, seed: int = 3) -> tuple[Masks, Masks]:
    """Truths and predictions, (count, size, size): blocks, every third truth and every fourth prediction empty."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((2, count, size, size), np.uint8)
    for side in range(2):
        for image in range(count):
            if image % (3 + side):
                top, left = rng.integers(0, size - 6, 2)
                high, wide = rng.integers(2, 12, 2)
                masks[side, image, top : top + high, left : left + wide] = 1
    return masks[0], masks[1]


def counted(truth: Masks, found: Masks) -> Counts:
    return Counts(
        intersect=tuple(int(((truth == c) & (found == c)).sum()) for c in range(2)),
        predicted=tuple(int((found == c).sum()) for c in range(2)),
        labelled=tuple(int((truth == c).sum()) for c in range(2)),
    )


TRUTH, FOUND = blobs(30)
IMAGES = {str(k): counted(TRUTH[k], FOUND[k]) for k in range(30)}
SUBJECTS = {str(k): f"s{k // 4}" for k in range(30)}
BOTH_EMPTY = [k for k in range(30) if not TRUTH[k].any() and not FOUND[k].any()]


def reference(truths: list[Any], founds: list[Any], missing: float | None) -> tuple[float, float]:
    """Mean IoU and Dice by SciPy's dissimilarities of the flat masks."""
    pairs = [(t.ravel() > 0, f.ravel() > 0) for t, f in zip(truths, founds, strict=True)]
    some = [(t, f) for t, f in pairs if t.any() or f.any()]
    ious, dices = [1 - jaccard(t, f) for t, f in some], [1 - dice(t, f) for t, f in some]
    rest = [] if missing is None else [missing] * (len(pairs) - len(some))
    return float(np.mean(ious + rest)), float(np.mean(dices + rest))


@pytest.mark.parametrize("missing", [None, 0.0, 1.0])
def test_means_are_those_of_the_masks(missing: float | None) -> None:
    assert BOTH_EMPTY
    assert left_out(IMAGES) == len(BOTH_EMPTY)
    found = per_image(IMAGES, Measures(subjects=SUBJECTS, both_empty=missing))
    assert (found["IoU_per_image"], found["Dice_per_image"]) == pytest.approx(
        reference(list(TRUTH), list(FOUND), missing)
    )
    groups = [range(start, min(start + 4, 30)) for start in range(0, 30, 4)]
    truths, founds = ([np.concatenate([side[k] for k in group]) for group in groups] for side in (TRUTH, FOUND))
    assert (found["IoU_per_subject"], found["Dice_per_subject"]) == pytest.approx(reference(truths, founds, missing))


def test_detection_is_that_of_the_masks() -> None:
    there, seen = TRUTH.any(axis=(1, 2)), FOUND.any(axis=(1, 2))
    found = per_image(IMAGES, Measures())
    assert found["sensitivity_per_image"] == pytest.approx(seen[there].mean())
    assert found["specificity_per_image"] == pytest.approx(1 - seen[~there].mean())
    assert "Dice_per_subject" not in found


def test_what_has_no_value_is_left_out() -> None:
    empty = {"a": counted(TRUTH[0] * 0, TRUTH[0] * 0)}
    assert per_image(empty, Measures()) == {"specificity_per_image": 1.0}
    shown = {"a": counted(TRUTH[1], TRUTH[1] * 0)}
    assert per_image(shown, Measures()) == {"IoU_per_image": 0.0, "Dice_per_image": 0.0, "sensitivity_per_image": 0.0}


def outline(mask: Masks) -> NDArray[Any]:
    """(pixels, 2) rows and columns of the foreground pixels with a neighbour that is none, one by one."""
    padded = np.pad(mask, 1)
    inside = [(r, c) for r, c in zip(*np.nonzero(mask), strict=True)]
    steps = ((0, 1), (2, 1), (1, 0), (1, 2))
    return np.array([(r, c) for r, c in inside if not all(padded[r + i, c + j] for i, j in steps)])


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.5])
def test_outlines_are_measured_as_by_every_pair_of_pixels(tolerance: float) -> None:
    for truth, found in zip(TRUTH, FOUND, strict=True):
        measured = boundary_distances(truth, found, tolerance)
        if not truth.any() and not found.any():
            assert measured is None
        elif not (truth.any() and found.any()):
            assert measured == (0.0, math.hypot(24, 24))
        else:
            apart = cdist(outline(truth), outline(found))
            there, back = apart.min(axis=1), apart.min(axis=0)
            near = (there <= tolerance).sum() + (back <= tolerance).sum()
            hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
            assert measured == pytest.approx((near / (len(there) + len(back)), hd95))


def test_an_evaluation_measures_what_is_asked_for(torch: ModuleType) -> None:
    from mmtuna.objectives.evaluation.counting import CountingIoUMetric

    metric = CountingIoUMetric(iou_metrics=["mIoU"], ignore_index=255)
    metric.dataset_meta, metric.top = {"classes": ("background", "fluid")}, Path("/")
    metric.measures = Measures(tolerance=1.0)
    truth = TRUTH.copy()
    truth[1] = np.where(FOUND[1] > truth[1], 255, truth[1])  # ignored wherever too much was found
    for k in range(30):
        masks = {"pred_sem_seg": FOUND[k], "gt_sem_seg": truth[k]}
        metric.process({}, [{"img_path": f"/{k}"} | {n: {"data": torch.tensor(m)[None]} for n, m in masks.items()}])
    metric.evaluate(30)
    pairs = [boundary_distances(TRUTH[k], FOUND[k] * (truth[k] != 255), 1.0) for k in range(30)]
    known = np.array([pair for pair in pairs if pair is not None])
    figures = metric.figures()
    assert (figures["NSD_per_image"], figures["HD95_per_image"]) == pytest.approx(tuple(known.mean(axis=0)))
    metric.measures = Measures()
    for k in range(2):
        masks = {"pred_sem_seg": FOUND[k], "gt_sem_seg": truth[k]}
        metric.process({}, [{"img_path": f"/{k}"} | {n: {"data": torch.tensor(m)[None]} for n, m in masks.items()}])
    metric.evaluate(2)
    assert "NSD_per_image" not in metric.figures()
