"""Intervals, comparisons and verdicts against references, and against simulated studies whose truth is known."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mmtuna.studies.statistics.comparing import Verdict, compare, holm, signed_rank
from mmtuna.studies.statistics.intervals import bootstrap, mean_features, ratio
from mmtuna.studies.statistics.published import Reproduction, reproduced
from mmtuna.studies.statistics.seeds import noise_floor

TRUE = 0.7


def values(
    rng: np.random.Generator, seeds: int, images: int, *, image: float, training: float, rest: float, subject: float = 0
) -> Any:
    """(seeds, images) of a metric around TRUE: skewed images, trainings that differ as a whole, and what is left.

    With `subject` images come four a subject, whose level they share.
    """
    hard = (rng.gamma(4.0, 1.0, images) - 4.0) / 2.0  # mean 0, sd 1, skewness 1
    level = np.repeat(rng.normal(0, 1, -(-images // 4)), 4)[:images]
    noise = rng.normal(0, rest, (seeds, images)) + rng.normal(0, training, (seeds, 1))
    return TRUE - image * hard + subject * level + noise


def coverage(draws: int, seeds: int, images: int, *, grouped: bool = False, **spread: float) -> float:
    rng = np.random.default_rng(11)
    groups = [str(k // 4) for k in range(images)] if grouped else None
    held = 0
    for draw in range(draws):
        found = values(rng, seeds, images, **spread)
        interval = bootstrap(mean_features(found), groups=groups, draws=600, seed=draw)
        assert interval is not None
        held += interval.low <= TRUE <= interval.high
    return held / draws


STUDIES = {
    "images alone": {"seeds": 1, "images": 22, "image": 0.15, "training": 0.0, "rest": 0.05},
    "images and seeds": {"seeds": 5, "images": 22, "image": 0.15, "training": 0.02, "rest": 0.05},
    "noisy seeds": {"seeds": 5, "images": 40, "image": 0.10, "training": 0.05, "rest": 0.05},
    "subjects": {"seeds": 3, "images": 80, "image": 0.05, "training": 0.0, "rest": 0.05, "subject": 0.1, "grouped": 1},
}


@pytest.mark.parametrize("study", STUDIES)
def test_intervals_hold_the_truth(study: str) -> None:
    assert abs(coverage(150, **STUDIES[study]) - 0.95) <= 0.055  # type: ignore[arg-type]  # three deviations


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_intervals_hold_the_truth_as_often_as_they_say(study: str) -> None:
    assert abs(coverage(1000, **STUDIES[study]) - 0.95) <= 0.02  # type: ignore[arg-type]


def false_verdicts(draws: int, rows: int, seeds: int) -> tuple[float, float]:
    """Shares of studies of `rows` configs, all as good as the first, in which one is called better; or not tied."""
    rng, better, wrong = np.random.default_rng(5), 0, 0
    for _ in range(draws):
        images = 0.15 * rng.normal(size=22)
        found = images + rng.normal(0, 0.05, (rows, seeds, 22)) + rng.normal(0, 0.02, (rows, seeds, 1))
        floor = noise_floor(found.mean(axis=2).tolist())
        told = compare([(row, found[0]) for row in found[1:]], floor)
        better += any(one.verdict is Verdict.BETTER for one in told)
        wrong += any(one.verdict is not Verdict.TIED for one in told)
    return better / draws, wrong / draws


def test_equals_are_seldom_called_better() -> None:
    assert false_verdicts(150, rows=5, seeds=3)[0] <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "seeds"), [(2, 3), (2, 10), (11, 3)])
def test_equals_are_called_better_in_one_study_of_twenty_at_most(rows: int, seeds: int) -> None:
    better, either = false_verdicts(1000, rows=rows, seeds=seeds)
    assert better <= 0.05
    assert either <= 0.05 + 0.014  # the tests' level, and two deviations of 1,000 draws


def test_what_is_better_is_found() -> None:
    rng = np.random.default_rng(2)
    base = 0.15 * rng.normal(size=22)
    one, two, three = (base + gain + rng.normal(0, 0.02, (5, 22)) for gain in (0.0, 0.1, 0.0))
    floor = noise_floor([table.mean(axis=1).tolist() for table in (one, two, three)])
    told = compare([(two, one), (one, two), (three, one)], floor)
    assert [comparison.verdict for comparison in told] == [Verdict.BETTER, Verdict.WORSE, Verdict.TIED]
    assert told[0].difference == pytest.approx(0.1, abs=0.01)
    assert told[0].units == 22
    assert [c.verdict for c in compare([(two, one)], None)] == [Verdict.NOT_TESTABLE]
    by_subject = compare([(two, one)], floor, groups=[str(k // 11) for k in range(22)])[0]
    assert (by_subject.units, by_subject.verdict) == (2, Verdict.TIED)  # two subjects can show nothing


def test_one_seeds_luck_is_no_difference() -> None:
    base = np.linspace(0.5, 0.8, 22)
    lucky = base + 0.01 + np.linspace(0, 0.001, 22)
    told = compare([(lucky[None], base[None])], noise_floor([[0.7, 0.72], [0.6, 0.63]]))[0]
    assert told.by_units < 0.001  # all images agree
    assert told.verdict is Verdict.TIED


def test_signed_rank_is_that_of_every_choice_of_signs() -> None:
    differences = np.array([0.3, -0.1, 0.25, 0.7, -0.05, 0.4, 0.9, 0.15])
    ranks = stats.rankdata(np.abs(differences))
    sums = [sum(r for r, s in zip(ranks, signs, strict=True) if s) for signs in itertools.product((0, 1), repeat=8)]
    observed, middle = ranks[differences > 0].sum(), ranks.sum() / 2
    expected = np.mean([abs(total - middle) >= abs(observed - middle) for total in sums])
    assert signed_rank(differences) == pytest.approx(expected)
    assert signed_rank([*differences, math.nan]) == pytest.approx(expected)
    assert signed_rank([0.0, 0.0]) == signed_rank([]) == 1.0


def test_holm_as_by_rejecting_one_after_another() -> None:
    found = [0.01, 0.04, 0.03, 0.005, 0.5]
    adjusted = holm(found)
    assert adjusted == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.5])  # R: p.adjust(c(...), "holm")
    for alpha in (0.02, 0.045, 0.1):  # the procedure as Holm wrote it
        rejected = set()
        for rank, place in enumerate(np.argsort(found)):
            if found[place] > alpha / (len(found) - rank):
                break
            rejected.add(int(place))
        assert rejected == {place for place, p in enumerate(adjusted) if p <= alpha}


def test_the_floor_is_the_pooled_deviation() -> None:
    floor = noise_floor([[0.70, 0.72, 0.71], [0.5], [0.60, 0.64]])
    assert floor is not None
    assert floor.sd == pytest.approx(math.sqrt((2 * 0.0001 + 1 * 0.0008) / 3))
    assert (floor.freedom, floor.groups) == (3, 2)
    assert floor.low < floor.sd < floor.high
    a, b = [0.70, 0.72, 0.71], [0.60, 0.64, 0.62]
    pooled = noise_floor([a, b])
    assert pooled is not None
    expected = stats.ttest_ind(a, b)  # the same where the floor is of these two alone
    assert pooled.probability(np.mean(a) - np.mean(b), 3, 3) == pytest.approx(expected.pvalue)
    assert pooled.probability(pooled.margin(3, 3), 3, 3) == pytest.approx(0.05)
    assert noise_floor([[0.5], [0.6]]) is None


def test_an_interval_of_images_alone_is_near_students() -> None:
    found = np.random.default_rng(0).normal(0.7, 0.1, (1, 30))
    interval = bootstrap(mean_features(found), draws=20_000)
    assert interval is not None
    expected = stats.t.interval(0.95, 29, found.mean(), stats.sem(found[0]))
    assert (interval.low, interval.high) == pytest.approx(expected, abs=0.003)
    assert (interval.units, interval.seeds) == (30, 1)


def test_intervals_leave_out_what_has_no_value_and_draw_whole_subjects() -> None:
    found = np.array([[0.5, math.nan, 0.7, 0.9], [0.6, math.nan, 0.8, 0.7]])
    interval = bootstrap(mean_features(found))
    assert interval is not None
    assert interval.mean == pytest.approx(0.7)
    counts = np.random.default_rng(0).integers(1, 50, (2, 6, 2)).astype(float)
    grouped = bootstrap(counts, ratio, groups=list("aabbcc"))
    assert grouped == bootstrap(counts.reshape(2, 3, 2, 2).sum(axis=2), ratio)
    assert grouped is not None
    assert grouped.units == 3
    assert bootstrap(counts, ratio, groups=["a"] * 6) is None
    same = bootstrap(mean_features(np.full((3, 5), 0.4963)))
    assert same is not None
    assert (same.low, same.high) == pytest.approx((same.mean, same.mean))


def test_a_published_figure_is_held_against_one_more_training() -> None:
    ours = [0.75, 0.76, 0.77]
    margin = stats.t.ppf(0.975, 2) * 0.01 * math.sqrt(4 / 3)
    near, far = reproduced(0.76 + margin, ours), reproduced(0.76 + margin + 0.001, ours)
    assert (near.verdict, far.verdict) == (Reproduction.REPRODUCED, Reproduction.DIFFERS)
    assert near.difference == pytest.approx(-margin)
    assert reproduced(0.4963, [0.49632, 0.49632]).verdict is Reproduction.REPRODUCED  # equal as far as it is printed
    assert reproduced(0.76, [0.75]).verdict is Reproduction.NOT_TESTABLE
    assert reproduced(0.76, []).difference is None


@pytest.mark.slow
def test_trainings_of_the_same_config_are_reproduced_as_often_as_they_should() -> None:
    rng = np.random.default_rng(3)
    found = [reproduced(run[0], run[1:].tolist()).verdict for run in rng.normal(0.7, 0.01, (2000, 4))]
    assert abs(np.mean([one is Reproduction.REPRODUCED for one in found]) - 0.95) <= 0.02
