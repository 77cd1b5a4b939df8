"""Which recorded trial is near, what is told where one is, and what that is worth."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from mmtuna.objectives.outcome import Evaluation
from mmtuna.objectives.recorded import Recorded
from mmtuna.search.simulation.pool import Answers, Pool, thinned
from mmtuna.search.trials.conclude import Scoring
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Categorical, Float, Int, Params
from mmtuna.spaces.search_space import SearchSpace
from tests.search.simulation.pools import diverged, random_pool

SPACE = SearchSpace(
    [
        Categorical(name="optimizer", choices=("SGD", "AdamW")),
        Float(name="lr_sgd", low=1e-4, high=1e-2, log=True, when={"optimizer": ("SGD",)}),
        Int(name="rotation", low=0, high=20, step=5),
    ]
)
LINE = SearchSpace([Float(name="lr_sgd", low=0.0, high=1.0), Int(name="iterations", low=100, high=400, step=100)])


def trial(value: float, **params: float | str) -> Recorded:
    curve = tuple(
        Evaluation(step=step, iteration=2 * step, seconds=float(step), metrics={"mIoU": value * step / 100})
        for step in (50, 100)
    )
    return Recorded(params=dict(params), curve=curve, seconds=110.0, iterations=200)


@pytest.mark.parametrize(
    ("params", "distance"),
    [
        ({"optimizer": "SGD", "lr_sgd": 1e-3, "rotation": 10}, 0.0),
        ({"optimizer": "SGD", "lr_sgd": 1e-2, "rotation": 10}, 0.5 / 3),  # half of the range on its own scale
        ({"optimizer": "SGD", "lr_sgd": 1e-3, "rotation": 20}, 0.5 / 3),
        ({"optimizer": "AdamW", "rotation": 10}, 2 / 3),  # another optimizer, and no rate of that one
    ],
)
def test_distances_follow_the_space(params: Params, distance: float) -> None:
    pool = Pool(SPACE, [trial(0.5, optimizer="SGD", lr_sgd=1e-3, rotation=10)], Scoring("mIoU"))
    assert pool.distances(params) == pytest.approx([distance])


def test_what_exists_on_neither_side_counts_nothing() -> None:
    pool = Pool(SPACE, [trial(0.5, optimizer="AdamW", rotation=0)], Scoring("mIoU"))
    assert pool.distances({"optimizer": "AdamW", "rotation": 20}) == pytest.approx([0.5])


def test_where_none_is_near_nothing_is_told() -> None:
    pool = Pool(LINE, [trial(0.5, lr_sgd=0.2, iterations=200)], Scoring("mIoU"))
    assert pool.answer({"lr_sgd": 0.7, "iterations": 200}, "nearest", 0.24) is None
    told = pool.answer({"lr_sgd": 0.7, "iterations": 200}, "nearest", 0.26)
    assert told == pool.trials[0]


def test_the_cost_is_that_of_the_iterations_asked_for() -> None:
    pool = Pool(LINE, [trial(0.5, lr_sgd=0.2, iterations=200)], Scoring("mIoU"))
    told = pool.answer({"lr_sgd": 0.2, "iterations": 400}, "nearest", 1.0)
    assert told is not None
    assert (told.iterations, told.seconds) == (400, 220.0)
    assert [(point.iteration, point.seconds) for point in told.curve] == [(200, 100.0), (400, 200.0)]


def test_a_blend_lies_between_and_follows_the_nearer() -> None:
    trials = [trial(0.2, lr_sgd=0.0, iterations=200), trial(0.8, lr_sgd=1.0, iterations=200)]
    pool = Pool(LINE, trials, Scoring("mIoU"))
    values = []
    for rate in (0.1, 0.5, 0.9):
        told = pool.answer({"lr_sgd": rate, "iterations": 200}, "blend", 1.0)
        assert told is not None
        values.append(told.curve[-1].metrics["mIoU"])
    assert 0.2 < values[0] < values[1] < values[2] < 0.8
    assert values[1] == pytest.approx(0.5)


def test_held_out_trials_show_what_an_answer_is_worth() -> None:
    smooth = [trial(place / 40, lr_sgd=place / 40, iterations=200) for place in range(41)]
    pool = Pool(LINE, smooth, Scoring("mIoU"))
    for answers in ("nearest", "blend"):
        held = pool.held_out(answers, 0.05)
        assert held.answered == 1.0
        assert held.error < 0.1 * held.guess
        assert held.ranks > 0.99
    alone = pool.held_out("nearest", 0.001)
    assert alone.answered == 0.0
    assert math.isnan(alone.error)


def test_trials_of_another_space_are_left_out_and_said() -> None:
    pool = Pool(LINE, [trial(0.5, lr_sgd=0.2, iterations=200), trial(0.9, lr_sgd=7.0, iterations=200)], Scoring("mIoU"))
    assert (len(pool.trials), pool.left_out, pool.best) == (1, 1, 0.5)
    with pytest.raises(InputError, match=r"fits \[space\] \(lr_sgd = 7.0 is outside its range\); take the spec that"):
        Pool(LINE, [trial(0.9, lr_sgd=7.0, iterations=200)], Scoring("mIoU"))


def test_a_diverged_trial_is_worth_nothing_and_is_no_one_s_guess() -> None:
    trials = random_pool(4).trials
    pool = Pool(random_pool(1).space, [diverged(trials[0], 2), *trials[1:]], Scoring("mIoU"))
    assert math.isnan(pool.values[0])
    assert pool.best == max(pool.values[1:])
    told = pool.answer(trials[0].params, "blend", 0.5)
    assert told is not None
    assert told.cause == "diverged"


@pytest.mark.parametrize(
    ("evaluations", "steps"), [(5, [20, 40, 60, 80, 100]), (2, [60, 100]), (1, [100]), (3, [40, 80, 100])]
)
def test_a_curve_can_be_looked_at_more_seldom(evaluations: int, steps: list[int]) -> None:
    (whole,) = random_pool(1).trials
    few = thinned(whole, evaluations)
    assert [evaluation.step for evaluation in few.curve] == steps
    assert few.curve[-1] == whole.curve[-1]
    assert (few.iterations, few.seconds) == (whole.iterations, whole.seconds)


def test_what_diverged_before_it_was_looked_at_has_no_curve() -> None:
    (whole,) = random_pool(1).trials
    assert thinned(diverged(whole, 1), 2).curve == ()
    assert [evaluation.step for evaluation in thinned(diverged(whole, 3), 2).curve] == [60]


def test_what_is_alike_is_what_comes_to_the_same() -> None:
    """The rate says all, the iterations nothing: of all that is near the forest takes what has such a rate."""
    chance = random.Random(0)
    trials = []
    for _ in range(120):
        rate = chance.random()
        trials.append(trial(0.9 if rate > 0.5 else 0.1, lr_sgd=rate, iterations=100 * chance.randint(1, 4)))
    pool = Pool(LINE, trials, Scoring("mIoU"))
    params: Params = {"lr_sgd": 0.8, "iterations": 200}
    for seed in range(20):
        told = pool.answer(params, "alike", 0.0, seed)
        assert told is not None
        assert told.params == params
        assert told.iterations == 200 * 200 // int(trials[pool.likeness.draw(params, seed)].params["iterations"])
        assert told.curve[-1].metrics["mIoU"] == 0.9
        assert told == pool.answer(params, "alike", 0.0, seed)
        assert pool.worth(params, 0.0, "alike", seed) == 0.9
        assert pool.worth({**params, "lr_sgd": 0.1}, 0.0, "alike", seed) == 0.1
    held = pool.held_out("alike", 1.0)
    assert held.answered == 1.0
    assert held.error < 0.2 * held.guess


def twice_trained(noise: float, configs: int = 60) -> Pool:
    """Configs of which nothing but the training tells what they come to, a third of them trained twice."""
    chance, trials = random.Random(1), []
    for place in range(configs):
        params: Params = {"lr_sgd": chance.random(), "iterations": 200}
        worth = chance.uniform(0.2, 0.8)
        for _ in range(1 + (place % 3 == 0)):
            trials.append(trial(worth + chance.uniform(-noise, noise), **params))
    return Pool(LINE, trials, Scoring("mIoU"))


def told_of(pool: Pool, params: Params, seed: int, times: int) -> float:
    told = pool.answer(params, "alike", 0.0, seed, times)
    assert told is not None
    return told.curve[-1].metrics["mIoU"]


def test_where_seeds_change_nothing_each_further_training_of_a_config_is_told_about_the_same() -> None:
    pool = twice_trained(0.0, configs=300)
    params: Params = {"lr_sgd": 0.4, "iterations": 200}
    for seed in range(10):
        first = told_of(pool, params, seed, 0)
        assert [told_of(pool, params, seed, times) for times in range(5)] == pytest.approx([first] * 5, abs=0.02)
        assert pool.worth(params, 0.0, "alike", seed) == pytest.approx(first, abs=0.02)
    assert len({told_of(pool, params, seed, 0) for seed in range(10)}) > 1


def test_what_seeds_change_is_told_and_more_where_it_is_more() -> None:
    """The standard deviation of uniform numbers is their range over the root of 12."""
    told = twice_trained(0.15, configs=900).repeats()
    assert told is not None
    assert told.configs == 300
    assert told.sd == pytest.approx(2 * 0.15 / math.sqrt(12), rel=0.1)
    trials = [
        trial(value + spread, lr_sgd=value, iterations=200) for value, spread in TWICE for spread in (0.0, spread)
    ]
    few = Pool(LINE, trials, Scoring("mIoU")).repeats()
    assert few is not None
    assert (few.configs, few.sd_best) == (6, pytest.approx(0.0))
    assert few.sd == pytest.approx(math.sqrt(4 * 0.1**2 / 2 / 6))
    assert Pool(LINE, trials[:6], Scoring("mIoU")).repeats() is None


TWICE = ((0.1, 0.1), (0.2, 0.1), (0.3, 0.1), (0.4, 0.1), (0.8, 0.0), (0.9, 0.0))


def test_a_further_training_is_that_of_a_config_which_came_to_about_the_same() -> None:
    """Where the best come to the same again and the others do not, they are told so."""
    trials = [
        trial(value + spread, lr_sgd=value, iterations=200) for value, spread in TWICE for spread in (0.0, spread)
    ]
    pool = Pool(LINE, trials, Scoring("mIoU"))
    params: Params = {"lr_sgd": 0.6, "iterations": 200}
    of_good, of_bad = set[float](), set[float]()
    for seed in range(40):
        first, *further = (round(told_of(pool, params, seed, times), 6) for times in range(9))
        (of_good if first >= 0.8 else of_bad).update(further)
    assert of_good == {0.8, 0.9}
    assert len(of_bad) > 2
    assert max(of_bad) <= 0.5


def test_what_params_are_worth_is_the_mean_of_their_trainings_or_what_was_told() -> None:
    params: Params = {"lr_sgd": 0.4, "iterations": 200}
    for pool in (twice_trained(0.15), Pool(LINE, twice_trained(0.15).trials[1::2], Scoring("mIoU"))):
        for seed in range(4):
            mean = statistics.mean(told_of(pool, params, seed, times) for times in range(2000))
            assert mean == pytest.approx(pool.worth(params, 0.0, "alike", seed), abs=0.02)
            assert pool.worth(params, 0.3, "alike", seed) <= pool.most("alike") <= pool.best
            assert pool.worth(params, 0.3, "blend", seed) == 0.3
    assert pool.most("blend") == pool.best


def test_two_trainings_of_the_same_params_are_told_as_far_apart_as_recorded_ones() -> None:
    pool = twice_trained(0.15, configs=600)
    pairs = [(pool.values[place], pool.values[place + 1]) for place in range(0, len(pool.values), 4)]
    assert all(pool.trials[4 * place].params == pool.trials[4 * place + 1].params for place in range(len(pairs)))
    chance = random.Random(0)
    both: list[Params] = [{"lr_sgd": chance.random(), "iterations": 200} for _ in range(600)]
    told = [[told_of(pool, params, seed, times) for times in (0, 1)] for seed, params in enumerate(both)]
    recorded, simulated = (statistics.correlation(*zip(*some, strict=True)) for some in (pairs, told))
    assert simulated == pytest.approx(recorded, abs=0.08)
    spreads = [statistics.stdev(one for one, _ in some) for some in (pairs, told)]
    assert spreads[1] == pytest.approx(spreads[0], rel=0.1)


def test_in_one_world_what_lies_near_comes_to_the_same_and_in_others_to_other_things() -> None:
    pool = Pool(LINE, twice_trained(0.15).trials[1::2], Scoring("mIoU"))
    told = [
        [told_of(pool, {"lr_sgd": 0.4 + off, "iterations": 200}, seed, 0) for off in (0, 1e-9)] for seed in range(9)
    ]
    assert all(one == other for one, other in told)
    assert len({one for one, _ in told}) > 2


def test_what_came_to_something_else_says_nothing_of_seeds() -> None:
    """Good configs were recorded twice and differ, bad ones once."""
    good = [trial(value, lr_sgd=rate, iterations=200) for rate in (0.7, 0.8, 0.9, 1.0) for value in (0.8, 0.9)]
    bad = [trial(0.1, lr_sgd=rate / 100, iterations=200) for rate in range(40)]
    pool = Pool(LINE, good + bad, Scoring("mIoU"))
    assert {told_of(pool, {"lr_sgd": 0.2, "iterations": 200}, 0, times) for times in range(50)} == {0.1}
    assert {told_of(pool, {"lr_sgd": 0.9, "iterations": 200}, 0, times) for times in range(50)} == {0.8, 0.9}


def test_a_config_of_many_seeds_counts_as_one() -> None:
    often = [trial(0.5, lr_sgd=0.5, iterations=200) for _ in range(20)]
    others = [trial(value, lr_sgd=rate, iterations=200) for rate in (0.1, 0.2, 0.3) for value in (0.5, 0.9)]
    pool = Pool(LINE, often + others, Scoring("mIoU"))
    assert pool.worth({"lr_sgd": 0.5, "iterations": 200}, 0.0, "alike") == pytest.approx(
        0.5 * 0.5 + 0.5 * (0.5 + 3 * 0.9) / 4
    )


def test_of_one_config_alone_nothing_is_foretold() -> None:
    pool = Pool(LINE, [trial(value, lr_sgd=0.5, iterations=200) for value in (0.4, 0.6)], Scoring("mIoU"))
    assert pool.held_out("alike", 1.0).answered == 0.0


@pytest.mark.parametrize("answers", ["nearest", "blend", "alike"])
def test_what_was_trained_twice_is_not_foretold_by_itself(answers: Answers) -> None:
    pool = twice_trained(0.0, configs=90)
    twice = Pool(LINE, [one for one in pool.trials for _ in range(2)], Scoring("mIoU"))
    held = twice.held_out(answers, 1.0)
    assert held.error > 0.5 * held.guess


def test_answers_that_are_alike_have_the_spread_of_their_leaves() -> None:
    chance = random.Random(0)
    trials = [trial(chance.random(), lr_sgd=chance.random(), iterations=200) for _ in range(80)]
    pool = Pool(LINE, trials, Scoring("mIoU"))
    params: Params = {"lr_sgd": 0.4, "iterations": 200}
    told = [pool.answer(params, "alike", 0.0, seed) for seed in range(400)]
    values = [one.curve[-1].metrics["mIoU"] for one in told if one is not None]
    assert pool.repeats() is None
    elsewhere = [pool.worth(params, 0.0, "alike", seed) for seed in range(400, 800)]
    assert statistics.mean(values) == pytest.approx(statistics.mean(elsewhere), abs=0.06)
    assert statistics.stdev(values) > 0.02
