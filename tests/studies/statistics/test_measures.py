"""Metrics of many sums at once, against those of objectives, one evaluation at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mmtuna.objectives.evaluation.metrics import Counts, Measures, left_out, metrics, per_image, total
from mmtuna.spaces.metrics import maximised
from mmtuna.studies.statistics.intervals import bootstrap
from mmtuna.studies.statistics.measures import both_empty, counts_table, measured

CLASSES = ("background", "fluid", "drusen")
IMAGES = [f"{number}.png" for number in range(12)]
SUBJECTS = [str(number // 3) for number in range(12)]


def evaluation(rng: np.random.Generator) -> dict[str, Counts]:
    """Images of 100 pixels; a third has no foreground, and in some of these none is found."""
    found = {}
    for place, name in enumerate(IMAGES):
        truth = rng.choice(3, 100, p=(0.8, 0.15, 0.05)) if place % 3 else np.zeros(100, int)
        ours = np.where(rng.random(100) < 0.8, truth, rng.choice(3, 100)) if place % 2 else np.zeros(100, int)
        count = [
            [int(np.sum(mask == kind)) for kind in range(3)]
            for mask in (np.where(ours == truth, ours, -1), ours, truth)
        ]
        found[name] = Counts(intersect=tuple(count[0]), predicted=tuple(count[1]), labelled=tuple(count[2]))
    return found


@pytest.fixture(scope="module")
def evaluations() -> list[dict[str, Counts]]:
    rng = np.random.default_rng(3)
    return [evaluation(rng) for _ in range(3)]


@pytest.fixture(scope="module")
def table(evaluations: list[dict[str, Counts]]) -> Any:
    return counts_table([{name: vars(counts) for name, counts in one.items()} for one in evaluations], IMAGES)


@pytest.mark.parametrize("subjects", [None, SUBJECTS])
@pytest.mark.parametrize("missing", [None, 0.0, 1.0])
def test_metrics_are_those_of_the_objective(
    evaluations: list[dict[str, Counts]], table: Any, subjects: list[str] | None, missing: float | None
) -> None:
    of_image = dict(zip(IMAGES, SUBJECTS, strict=True))
    told = Measures(subjects=of_image if subjects else {}, both_empty=missing)
    expected = [metrics(total(one.values()), CLASSES) | per_image(one, told) for one in evaluations]
    for name in maximised(CLASSES):
        found = measured(name, table, CLASSES, subjects=subjects, missing=missing)
        if not all(name in one for one in expected):
            assert found is None  # NSD needs outlines, means over subjects need these
            continue
        assert found is not None
        assert found.by_seed == pytest.approx([one[name] for one in expected]), name
        assert found.features.shape[1] == (4 if subjects else 12)
        mean = np.nanmean(np.where(np.isnan(found.values), np.array(found.by_seed)[:, None], found.values), axis=1)
        assert mean == pytest.approx(found.by_seed, abs=0.02), name  # pseudo-values


def test_empty_images_are_counted(evaluations: list[dict[str, Counts]], table: Any) -> None:
    assert both_empty(table) == [left_out(one) for one in evaluations]
    assert min(both_empty(table)) > 0


def test_a_draw_without_a_class_that_the_images_have_is_no_draw(table: Any) -> None:
    only = table.copy()
    only[:, np.arange(12) != 5, :, 1:] = 0  # but for one image all is background
    assert only[:, 5, 2, 1:].all()
    found = measured("mIoU", only, CLASSES)
    assert found is not None
    assert np.isnan(found.values[:, 5]).all()
    interval = bootstrap(found.features, found.statistic)
    assert interval is not None
    assert interval.high < 1
