"""A portfolio is chosen greedily, of what was recorded on every set."""

from __future__ import annotations

import pytest

from mmtuna.search.quiet import quiet_optuna
from mmtuna.search.simulation.course import Knows, Setting, Simulation, searchers
from mmtuna.search.simulation.pool import Pool
from mmtuna.search.simulation.portfolio import choose
from mmtuna.search.trials.conclude import Scoring
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Params
from tests.search.simulation.pools import diverged, random_pool
from tests.search.simulation.test_course import TABLE
from tests.search.simulation.test_pool import LINE, trial


def pool(**values: float) -> Pool:
    """A set where the rate a is worth 0.5, and so on; one that diverged is worth NaN."""
    rates = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4}
    trials = [trial(value, lr_sgd=rates[name], iterations=100) for name, value in values.items() if value == value]
    lost = [trial(0.5, lr_sgd=rates[name], iterations=100) for name, value in values.items() if value != value]
    return Pool(LINE, [*trials, *(diverged(one, 1) for one in lost)], Scoring("mIoU"))


def rates(pools: dict[str, Pool], size: int) -> list[object]:
    return [one.params["lr_sgd"] for one in choose(pools, size)]


def test_the_first_is_the_best_on_average_and_the_next_fills_its_gap() -> None:
    pools = {"one": pool(a=1.0, b=0.8, c=0.7, d=0.0), "other": pool(a=0.0, b=0.5, c=0.7, d=1.0)}
    # Regrets: a 0 1, b .2 .5, c .3 .3, d 1 0.
    assert rates(pools, 3) == [0.3, 0.1, 0.4]  # c, then a (with d it would be as low, and a comes first), then d
    found = choose(pools, 1)[0]
    assert found.values == {"one": 0.7, "other": 0.7}
    assert found.regrets == pytest.approx({"one": 0.3, "other": 0.3})


def test_only_what_was_recorded_everywhere_and_what_diverged_counts_as_the_worst() -> None:
    nan = float("nan")
    pools = {"one": pool(a=1.0, b=0.9, c=0.1), "other": pool(b=nan, c=0.9, d=0.2)}
    assert rates(pools, 5) == [0.3, 0.2]
    with pytest.raises(InputError, match="no params were recorded on every one of these sets; record the same"):
        choose({"one": pool(a=1.0), "other": pool(b=1.0)})


def test_studies_begin_with_the_portfolio_each_config_once() -> None:
    recorded = random_pool(30)
    first: list[Params] = [recorded.trials[place].params for place in (7, 3, 7)]
    how = Setting(sampler="tpe", pruner="none", workers=2, trials=8, portfolio="own")
    with quiet_optuna():
        study = Simulation(recorded, how, *searchers(recorded, TABLE, how, 0, Knows()), first=first)
        course = study.run()
    params = [trial.params for trial in study.study.trials]
    worth = {str(trial.params): recorded.value(trial) for trial in recorded.trials}
    assert [trial.value for trial in study.study.trials] == [worth[str(one)] for one in params]
    assert params[:2] == first[:2]
    assert params[2] != params[0]  # the nearest that was left
    assert course.ends == {"complete": 8}
    assert course.moved[:2] == [0.0, 0.0]
    assert len({str(sorted(one.items())) for one in params}) == 8
