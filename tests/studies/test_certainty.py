"""What is known of a study's best configs, from trials and counts that are made up."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mmtuna.studies.certainty import Counted, beside, certainty
from mmtuna.studies.configs import diverged_of, floor_of, means_of, top_configs
from mmtuna.studies.report.sureness import unshown_text
from mmtuna.studies.results import TrialRow
from mmtuna.studies.statistics.comparing import Verdict
from tests.studies.counted import CLASSES, IMAGES, METRIC, study


@pytest.fixture(scope="module")
def known() -> tuple[list[TrialRow], Counted]:
    return study([[0.5, 0.51, 0.49], [0.1, 0.11, 0.12], [0.115], [0.3, 0.29]])


def test_tied_configs_share_a_rank_and_stand_by_number(known: tuple[list[TrialRow], Counted]) -> None:
    found = certainty(known[0], METRIC, known[1], CLASSES)
    assert found is not None
    numbers = [tuple(row.number for row in config.rows) for config in found.configs]
    assert numbers == [(3, 4, 5), (6,), (7, 8), (0, 1, 2)]
    places = [config.place for config in found.configs]
    assert [(place.first, place.last) for place in places if place] == [(1, 2), (1, 2), (3, 3), (4, 4)]
    assert [str(place.verdict) for place in places if place] == ["tied", "tied", "worse", "worse"]
    assert [config.seeds for config in found.configs] == [3, 1, 2, 3]
    assert (found.images, found.subjects, found.why, found.missing) == (16, None, "", {})
    for config in found.configs:
        assert config.interval is not None
        assert config.interval.low < config.mean < config.interval.high
        assert config.mean == pytest.approx(np.mean([row.value for row in config.rows]))
        assert set(config.beside) == {"IoU_per_image", "Dice_per_image"}
        assert config.empty == (4,) * config.seeds


def test_without_replicates_nothing_is_ranked() -> None:
    rows, counted = study([[0.5], [0.1], [0.3]])
    found = certainty(rows, METRIC, counted, CLASSES)
    assert found is not None
    assert found.floor is None
    assert found.why.startswith("no params that found something were trained with more than one seed, so what seeds ")
    assert {config.place for config in found.configs} == {None}
    assert [config.rows[0].number for config in found.configs] == [1, 2, 0]


def test_subjects_are_drawn_whole_and_few_of_them_limit_what_is_compared(known: tuple[list[TrialRow], Counted]) -> None:
    rows, counted = known

    def of(subjects: int) -> Any:
        named = {name: str(place % subjects) for place, name in enumerate(IMAGES)}
        return certainty(rows, METRIC, Counted(trials=counted.trials, subjects=named), CLASSES)

    few, some, enough = of(4), of(7), of(8)
    assert few.why == "4 subjects are too few: a signed-rank test needs 6"
    assert few.configs[0].interval.units == few.subjects == 4
    assert (some.why, enough.why) == ("", "")
    assert (len(few.configs), len(some.configs), len(enough.configs)) == (4, 3, 4)
    assert (few.unshown, some.unshown, enough.unshown) == (0, 1, 0)
    assert unshown_text(some) == (
        "1 more config is not shown: a signed-rank test over 7 subjects can tell no more than 3 apart at once."
    )


def test_trials_whose_counts_do_not_fit_are_left_out_and_named(known: tuple[list[TrialRow], Counted]) -> None:
    rows, counted = known
    trials = dict(counted.trials)
    del trials[6]
    trials[7] = {name: trials[7][name] for name in IMAGES[:8]}
    trials[0] = trials[5]
    found = certainty(rows, METRIC, Counted(trials=trials, missing={6: "was replayed"}), CLASSES)
    assert found is not None
    assert found.missing[6] == "was replayed"
    assert found.missing[7] == "was measured on other images"
    assert found.missing[0].startswith("has counts by image that give mIoU 0.9")
    lost = next(config for config in found.configs if config.rows[0].number == 6)
    assert (lost.place, lost.interval, lost.seeds) == (None, None, 0)
    assert certainty([], METRIC, counted, CLASSES) is None


def test_one_config_beside_another(known: tuple[list[TrialRow], Counted]) -> None:
    rows, counted = known
    worst, best = rows[:3], rows[3:6]
    floor = floor_of(rows, METRIC)
    found = beside((best, worst), METRIC, (counted, counted), CLASSES, floor)
    assert (found.verdict, found.seeds, found.why) == (Verdict.BETTER, (3, 3), "")
    assert found.difference == pytest.approx(np.mean([r.value for r in best]) - np.mean([r.value for r in worst]))
    assert beside((worst, best), METRIC, (counted, counted), CLASSES, floor).verdict is Verdict.WORSE
    none = beside((best, worst), METRIC, (counted, counted), CLASSES, None)
    assert (none.verdict, none.why[:30]) == (Verdict.NOT_TESTABLE, "no params that found something")
    other = {number: {f"a{name}": one for name, one in images.items()} for number, images in counted.trials.items()}
    apart = beside((best, worst), METRIC, (counted, Counted(trials=other)), CLASSES, floor)
    assert apart.why == "they were measured on different images or masks"
    assert apart.difference is None, "figures of different images say nothing of two configs"
    gone = beside((best, worst), METRIC, (counted, Counted()), CLASSES, floor)
    assert gone.why == "trial 0 has no counts by image"


def test_where_values_are_of_best_evaluations_they_choose_and_the_last_ones_are_tested(
    known: tuple[list[TrialRow], Counted],
) -> None:
    rows, counted = [replace(row, value=1 - (row.value or 0)) for row in known[0]], known[1]
    assert top_configs(rows)[0][0].number == 0
    assert means_of(rows, 2)[0]["trials"] == [0, 1, 2]
    found = beside((rows[:3], rows[3:6]), METRIC, (counted, counted), CLASSES, floor_of(rows, METRIC))
    assert found.difference is not None
    assert found.at_last is not None
    assert found.difference == pytest.approx(-found.at_last)
    assert (found.difference > 0, found.verdict) == (True, Verdict.WORSE)
    told = certainty(rows, METRIC, counted, CLASSES)
    assert told is not None
    assert told.best.rows[0].number == 0
    assert told.best.mean == pytest.approx(np.mean([row.value for row in rows[:3]]))
    assert [config.rows[0].number for config in told.configs] == [3, 6, 7, 0], "ranks are of what is tested"


def test_what_found_nothing_with_every_seed_says_nothing_of_seeds(known: tuple[list[TrialRow], Counted]) -> None:
    rows = known[0]
    dead = [replace(row, params={"lr_adam": 1.0}, cause="collapsed", metrics={METRIC: 0.5}) for row in rows[:5]]
    assert floor_of([*rows, *dead], METRIC) == floor_of(rows, METRIC)
    assert floor_of(dead, METRIC) is None
    once = floor_of([*rows[:2], replace(rows[2], cause="collapsed")], METRIC)
    assert once == floor_of(rows[:3], METRIC), "a config that collapses with some seeds does so by chance"


def config_of(rate: float, *trials: tuple[float, dict[str, float]], last: dict[str, float] | None = None) -> Any:
    """A config's trials by value and metrics; `last` are those of the last evaluation where the best one counts."""
    return [
        TrialRow(number=0, state="COMPLETE", value=value, params={"lr_adam": rate}, metrics=last or of, best_metrics=of)
        for value, of in trials
    ]


def test_what_was_found_is_asked_of_the_figure_itself_and_not_of_the_last_evaluation() -> None:
    live = config_of(1e-3, (0.70, {"Dice.fluid": 0.70}), (0.74, {"Dice.fluid": 0.74}))
    wrong_pixels = config_of(2e-3, (0.0, {"Dice.fluid": 0.0}), (0.0, {"Dice.fluid": 0.0}))  # none "collapsed"
    assert floor_of(live + wrong_pixels) == floor_of(live + wrong_pixels, "Dice.fluid") == floor_of(live)
    nothing = {"Dice.fluid": 0.0, "IoU.background": 0.9, "IoU.fluid": 0.0}
    lost = config_of(3e-3, (0.5, {"Dice.fluid": 0.5}), (0.6, {"Dice.fluid": 0.6}), last=nothing)
    found = floor_of(live + lost)
    assert floor_of(live + lost, "Dice.fluid") == floor_of(live, "Dice.fluid")
    assert found is not None
    assert found.groups == 2, "their best evaluations found something"
    metrics = [{"mIoU": (0.9 - off) / 2, "IoU.background": 0.9 - off, "IoU.fluid": 0.0} for off in (0.0, 1e-5)]
    pooled = config_of(4e-3, *((one["mIoU"], one) for one in metrics))
    assert floor_of(live + pooled) == floor_of(live), "a few wrong pixels are nothing found"


def test_of_several_classes_one_that_is_missed_leaves_the_others_figures() -> None:
    ious = {"IoU.background": 0.9, "IoU.ribbon": 0.0}
    trials = [(value, {**ious, "Dice.blob": value, "IoU.blob": 0.5}) for value in (0.4509, 0.3265)]
    rows = [replace(row, cause="collapsed") for row in config_of(1e-3, *trials)]
    for metric in (None, "Dice.blob"):
        found = floor_of(rows, metric)
        assert found is not None
        assert found.sd == pytest.approx(np.std([0.4509, 0.3265], ddof=1))
    assert floor_of(rows, "IoU.ribbon") is None


def test_the_best_configs_are_those_of_the_highest_means(known: tuple[list[TrialRow], Counted]) -> None:
    assert [config[0].number for config in top_configs(known[0])][2:] == [7, 0]
    assert {config[0].number for config in top_configs(known[0], 2)} == {3, 6}


def test_after_replicates_the_config_with_the_surest_mean_leads() -> None:
    def row(number: int, rate: float, value: float) -> TrialRow:
        return TrialRow(number=number, state="COMPLETE", value=value, params={"lr_adam": rate}, metrics={"mIoU": value})

    rates = {1e-3: [0.70, 0.74], 2e-3: [0.70, 0.72, 0.73, 0.71], 3e-3: [0.90]}
    pairs = [(rate, value) for rate, values in rates.items() for value in values]
    rows = [row(number, *pair) for number, pair in enumerate(pairs)]
    sure, higher = means_of(rows, 2)
    assert (sure["trials"], higher["trials"]) == ([2, 3, 4, 5], [0, 1])
    assert sure["mean"] < higher["mean"]
    # scipy's own interval of a mean, one-sided, with the deviation pooled: 1 + 3 degrees of freedom.
    deviation = math.sqrt((0.0008 + 0.0005) / 4)
    for found in (sure, higher):
        spread = deviation / math.sqrt(len(found["values"]))
        assert found["least"] == pytest.approx(stats.t.ppf(0.05, 4, loc=found["mean"], scale=spread))
    assert [config["trials"] for config in means_of(rows[1:2], 1)] == [[1]]
    assert means_of(rows[1:2], 1)[0]["least"] is None
    low = [row(0, 1e-3, 0.02), row(1, 1e-3, 0.5), row(2, 2e-3, 0.1), row(3, 2e-3, 0.3)]
    assert [(one["trials"], one["least"]) for one in means_of(low, 2)] == [([0, 1], 0.0), ([2, 3], 0.0)]


def test_seeds_that_diverged_count_in_means_and_are_told_wherever_these_are(
    known: tuple[list[TrialRow], Counted],
) -> None:
    rows, counted = known
    lost = TrialRow(number=90, state="PRUNED", value=0.0, params=rows[3].params, cause="diverged", again=True)
    everything = [*rows, lost]
    mean = sum(row.value or 0.0 for row in rows[3:6]) / 4
    assert top_configs(everything)[-1] == rows[3:6], "by its mean it was the best without"
    found = next(config for config in means_of(everything, 4) if config["trials"] == [3, 4, 5])
    assert (found["diverged"], found["mean"]) == (1, pytest.approx(mean))
    told = certainty(everything, METRIC, counted, CLASSES)
    assert told is not None
    config = next(config for config in told.configs if config.rows[0].number == 3)
    assert (config.mean, config.diverged, config.trained, config.place) == (pytest.approx(mean), 1, 4, None)
    assert told.best.rows[0].number == 6
    assert [one.rows[0].number for one in told.configs if one.place and one.place.first == 1] == [6]
    of = diverged_of(everything)
    pair = beside((rows[3:6], rows[:3]), METRIC, (counted, counted), CLASSES, floor_of(rows, METRIC), (of, of))
    assert (pair.verdict, pair.seeds) == (Verdict.NOT_TESTABLE, (4, 3))
    assert pair.why == "1 of 4 seeds of the config of trial 3 diverged, counting 0"
    assert pair.difference == pytest.approx(mean - np.mean([row.value for row in rows[:3]]))
