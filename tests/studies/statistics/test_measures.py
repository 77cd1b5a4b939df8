"""Metrics of many sums at once, against those of objectives, one evaluation at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from mmtuna.objectives.evaluation.metrics import Counts, Measures, left_out, metrics, per_image, total
from mmtuna.spaces.metrics import maximised
from mmtuna.studies.statistics.intervals import How, bootstrap, share
from mmtuna.studies.statistics.measures import Measured, both_empty, counts_table, measured

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


def found_or_not(found: Any) -> Any:
    """Counts of images of 100 pixels with ten of fluid each, in which all or none were found: (seeds, images)."""
    truth, ours = 10 * np.ones_like(found, float), 10 * np.asarray(found, float)
    return np.stack([np.stack([100 - one, one], axis=-1) for one in (ours, ours, truth)], axis=-2)


@pytest.mark.parametrize("right", [6, 5, 0])
def test_a_share_of_images_has_the_interval_of_clopper_and_pearson(right: int) -> None:
    found = measured("sensitivity_per_image", found_or_not(np.arange(6)[np.newaxis] < right), CLASSES[:2])
    assert found is not None
    interval = found.interval()
    assert interval is not None
    expected = stats.binomtest(right, 6).proportion_ci(method="exact")
    assert (interval.mean, interval.low, interval.high) == pytest.approx((right / 6, expected.low, expected.high))
    assert interval.how is How.EXACT


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("metric", [*maximised(CLASSES[:2])])
def test_images_that_are_all_alike_do_not_make_a_figure_certain(metric: str, seeds: int) -> None:
    table = found_or_not(np.ones((seeds, 6)))
    table[:, ::2, :, 0] += table[:, ::2, :, 1]
    table[:, ::2, :, 1] = 0  # half of them hold no fluid
    found = measured(metric, table, CLASSES[:2], subjects=list("aabbcc"), missing=1.0)
    if found is None:
        return  # NSD needs outlines
    interval = found.interval()
    assert interval is not None
    expected = stats.binomtest(3, 3).proportion_ci(method="exact")  # three subjects and no more
    assert (interval.mean, interval.low, interval.high) == pytest.approx((1, expected.low, expected.high))
    few = measured("Dice_per_image", found_or_not(np.ones((seeds, 6))) + 1, CLASSES[:2])
    assert few is not None
    near = few.interval()
    assert near is not None
    assert near.high - near.low > 0.1


def shares_hold(draws: int, seeds: int, images: int, truth: float, *, each: int = 1) -> float:
    """How often intervals hold a true share, of images that come `each` a subject and are then alike."""
    rng, held = np.random.default_rng(7), 0
    for _ in range(draws):
        own = np.repeat(rng.normal(0, 0.6, images // each), each) + rng.normal(0, 0.7, images)
        level = own + rng.normal(0, np.sqrt(1 - 0.6**2 - 0.7**2), (seeds, images))
        table, subjects = found_or_not(level < stats.norm.ppf(truth)), [str(place // each) for place in range(images)]
        found = measured("sensitivity_per_image", table, CLASSES[:2], subjects=subjects if each > 1 else None)
        assert found is not None
        interval = found.interval()
        assert interval is not None
        held += interval.low <= truth <= interval.high
    return held / draws


SHARES = [(1, 12, 0.9, 1), (1, 22, 0.95, 1), (1, 50, 0.98, 1), (3, 22, 0.9, 1), (1, 100, 0.9, 10), (3, 80, 0.8, 4)]


@pytest.mark.parametrize(("seeds", "images", "truth", "each"), SHARES)
def test_intervals_of_shares_hold_the_truth(seeds: int, images: int, truth: float, each: int) -> None:
    assert shares_hold(150, seeds, images, truth, each=each) >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "images", "truth", "each"), SHARES)
def test_intervals_of_shares_hold_the_truth_as_often_as_they_say(
    seeds: int, images: int, truth: float, each: int
) -> None:
    assert shares_hold(1500, seeds, images, truth, each=each) >= 0.945


def test_a_share_of_one_image_has_no_interval() -> None:
    assert share(np.ones((3, 1, 2))) is None


def few_decide(rng: np.random.Generator, seeds: int, images: int) -> Any:
    """Counts of images of 256 x 256 pixels: half of them without fluid, a few with most of it."""
    fluid = np.where(rng.random(images) < 0.5, rng.lognormal(6, 1, images), 0)
    share = rng.beta(6, 3, images) + rng.normal(0, 0.05, (seeds, 1)) + rng.normal(0, 0.05, (seeds, images))
    found = fluid * np.clip(share, 0.02, 0.99)
    false = np.exp(rng.normal(3.5, 1, images) + rng.normal(0, 0.3, (seeds, images)))
    right, ours = np.stack([65536 - fluid - false, found], -1), np.stack([65536 - found - false, found + false], -1)
    return np.stack([right, ours, np.broadcast_to(np.stack([65536 - fluid, fluid], -1), right.shape)], axis=-2)


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "images"), [("mIoU", 22), ("mIoU", 100), ("Dice_per_image", 22)])
def test_intervals_hold_the_truth_where_few_images_decide(metric: str, images: int) -> None:
    def of(table: Any) -> Measured:
        found = measured(metric, table, CLASSES[:2])
        assert found is not None
        return found

    truth = np.mean(of(few_decide(np.random.default_rng(1), 40, 40_000)).by_seed)
    rng, held = np.random.default_rng(2), 0
    for draw in range(1000):
        found = of(few_decide(rng, 3, images))
        interval = bootstrap(found.features, found.statistic, draws=600, seed=draw)
        assert interval is not None
        held += interval.low <= truth <= interval.high
    assert abs(held / 1000 - 0.95) <= 0.02
