"""Intervals, comparisons and verdicts against references, and against simulated studies whose truth is known."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mmtuna.studies.statistics.comparing import Place, Verdict, compare, holm, least_units, rank, signed_rank
from mmtuna.studies.statistics.intervals import bootstrap, by_group, jackknife, mean_features, ratio
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
        features = mean_features(found) if groups is None else by_group(mean_features(found), groups)
        interval = bootstrap(features, draws=600, seed=draw)
        assert interval is not None
        held += interval.low <= TRUE <= interval.high
    return held / draws


STUDIES = {
    "images alone": {"seeds": 1, "images": 22, "image": 0.15, "training": 0.0, "rest": 0.05},
    "images and seeds": {"seeds": 5, "images": 22, "image": 0.15, "training": 0.02, "rest": 0.05},
    "noisy seeds": {"seeds": 5, "images": 40, "image": 0.10, "training": 0.05, "rest": 0.05},
    "two subjects": {
        "seeds": 1,
        "images": 8,
        "image": 0.02,
        "training": 0.0,
        "rest": 0.02,
        "subject": 0.1,
        "grouped": 1,
    },
    "subjects": {"seeds": 3, "images": 80, "image": 0.05, "training": 0.0, "rest": 0.05, "subject": 0.1, "grouped": 1},
}


@pytest.mark.parametrize("study", STUDIES)
def test_intervals_hold_the_truth(study: str) -> None:
    assert abs(coverage(150, **STUDIES[study]) - 0.95) <= 0.055  # type: ignore[arg-type]  # three deviations


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_intervals_hold_the_truth_as_often_as_they_say(study: str) -> None:
    assert abs(coverage(1000, **STUDIES[study]) - 0.95) <= 0.02  # type: ignore[arg-type]


def equals(rng: np.random.Generator, rows: int, seeds: int, own: float) -> Any:
    """(rows, seeds, images) of configs that are equally good on all images there are, and on these 22 differ by `own`.

    `own` is the deviation of what a config makes of an image with every seed.
    """
    images = 0.15 * rng.normal(size=22) + own * rng.normal(size=(rows, 1, 22))
    return images + rng.normal(0, 0.05, (rows, seeds, 22)) + rng.normal(0, 0.02, (rows, seeds, 1))


def false_verdicts(draws: int, rows: int, seeds: int, own: float = 0.0) -> tuple[float, float]:
    """Shares of studies of `rows` configs, all as good as the first, in which one is called better; or not tied."""
    rng, better, wrong = np.random.default_rng(5), 0, 0
    for _ in range(draws):
        found = equals(rng, rows, seeds, own)
        floor = noise_floor(found.mean(axis=2).tolist())
        told = compare([(row, found[0]) for row in found[1:]], floor)
        better += any(one.verdict is Verdict.BETTER for one in told)
        wrong += any(one.verdict is not Verdict.TIED for one in told)
    return better / draws, wrong / draws


def false_ranks(draws: int, rows: int, seeds: int, own: float) -> float:
    """The share of studies of equally good configs that are not all tied."""
    rng, wrong = np.random.default_rng(6), 0
    for _ in range(draws):
        found = equals(rng, rows, seeds, own)
        figures = found.mean(axis=(1, 2))
        places = rank(figures, list(found), noise_floor(found.mean(axis=2).tolist()))
        wrong += any(place.verdict is not Verdict.TIED for place in places)
    return wrong / draws


def test_equals_are_seldom_called_better() -> None:
    assert false_verdicts(100, rows=5, seeds=3)[0] <= 0.05
    assert false_ranks(60, rows=5, seeds=3, own=0.05) <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "seeds", "own"), [(2, 3, 0.0), (2, 10, 0.0), (11, 3, 0.0), (2, 3, 0.08), (2, 10, 0.05)]
)
def test_equals_are_called_better_in_one_study_of_twenty_at_most(rows: int, seeds: int, own: float) -> None:
    better, either = false_verdicts(1000, rows=rows, seeds=seeds, own=own)
    assert better <= 0.05
    assert either <= 0.05  # the level of both tests together


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "seeds", "own"), [(6, 3, 0.0), (6, 3, 0.08)])
def test_the_highest_of_equals_is_called_best_in_one_study_of_twenty_at_most(rows: int, seeds: int, own: float) -> None:
    assert false_ranks(500, rows=rows, seeds=seeds, own=own) <= 0.05


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
    subjects = [str(k // 11) for k in range(22)]
    by_subject = [jackknife(by_group(mean_features(table), subjects)) for table in (two, one)]
    (told_by_two,) = compare([(by_subject[0], by_subject[1])], floor)
    assert (told_by_two.units, told_by_two.verdict) == (2, Verdict.NOT_TESTABLE)  # two subjects can show nothing


def test_what_is_tied_shares_a_rank() -> None:
    rng = np.random.default_rng(4)
    base = 0.1 * rng.normal(size=22)
    gains = (0.0, 0.2, 0.4, 0.2, 0.4)
    tables = [0.3 + base + gain + rng.normal(0, 0.01, (3, 22)) for gain in gains]
    floor = noise_floor([table.mean(axis=1).tolist() for table in tables])
    places = rank([float(table.mean()) for table in tables], tables, floor)
    worse, tied = Verdict.WORSE, Verdict.TIED
    assert places == [Place(5, 5, worse), Place(3, 4, worse), Place(1, 2, tied), Place(3, 4, worse), Place(1, 2, tied)]
    assert rank([0.5, 0.6], tables[:2], None) == [Place(1, 2, Verdict.NOT_TESTABLE), Place(1, 2, tied)]
    assert rank([0.5], tables[:1], floor) == [Place(1, 1, tied)]


def test_fewer_units_than_could_show_anything_are_not_tested() -> None:
    assert (least_units(1), least_units(10), least_units(45)) == (
        6,
        9,
        11,
    )  # 2 / 2 ** n, times the comparisons, is < 0.05
    ours, theirs, floor = np.full((2, 5), 0.9), np.full((2, 5), 0.1), noise_floor([[0.7, 0.71]])
    assert compare([(ours + np.arange(5) / 100, theirs)], floor)[0].verdict is Verdict.NOT_TESTABLE


def test_most_images_must_point_where_the_mean_does() -> None:
    differences = np.array([*[-0.01] * 20, 1.0, 2.0])
    assert differences.mean() > 0
    assert stats.wilcoxon(differences).pvalue < 0.05
    assert signed_rank(differences) == 1.0


def test_an_image_that_one_config_alone_takes_for_empty_still_counts() -> None:
    ours = np.array([[0.8, math.nan, math.nan, 0.6]])
    theirs = np.array([[0.8, 0.0, math.nan, 0.6]])
    (told,) = compare([(ours, theirs)], noise_floor([[0.7, 0.71]]))
    assert told.units == 3
    assert told.difference == pytest.approx(np.nanmean(ours) - np.nanmean(theirs))


def test_one_seeds_luck_is_no_difference() -> None:
    base = np.linspace(0.5, 0.8, 22)
    lucky = base + 0.01 + np.linspace(0, 0.001, 22)
    told = compare([(lucky[None], base[None])], noise_floor([[0.7, 0.72], [0.6, 0.63]]))[0]
    assert told.by_units < 0.001  # all images agree
    assert told.verdict is Verdict.TIED


def test_a_difference_on_these_images_need_not_be_one_on_others() -> None:
    base = np.linspace(0.5, 0.8, 22)
    here = base + np.array([*[0.02] * 20, 1.0, -0.9])  # most agree, and two decide
    floor = noise_floor([[0.7, 0.7001], [0.6, 0.6001]])
    assert floor is not None
    told = compare([(np.stack([here] * 3), np.stack([base] * 3))], floor)[0]
    assert floor.probability(told.difference, 3, 3) < 1e-4  # seeds would never make as much
    assert told.by_units < 0.01
    assert told.by_seeds is not None
    assert told.by_seeds > 0.05
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
        for step, place in enumerate(np.argsort(found)):
            if found[place] > alpha / (len(found) - step):
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
    grouped = bootstrap(by_group(counts, list("aabbcc")), ratio)
    assert grouped == bootstrap(counts.reshape(2, 3, 2, 2).sum(axis=2), ratio)
    assert grouped is not None
    assert grouped.units == 3
    assert bootstrap(by_group(counts, ["a"] * 6), ratio) is None
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
