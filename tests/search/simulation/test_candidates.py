"""Pruners that only simulated studies have."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.pruners import MedianPruner, NopPruner, PatientPruner, PercentilePruner
from optuna.trial import TrialState, create_trial

from mmtuna.search.quiet import quiet_optuna
from mmtuna.search.simulation.candidates import Extrapolation, Rungs, candidate
from mmtuna.search.simulation.course import Simulation, searchers
from mmtuna.spaces.errors import InputError
from mmtuna.studies.strategy.pruning import BestOfAll
from tests.search.simulation.pools import random_pool
from tests.search.simulation.test_course import TABLE, course, setting


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("median:4:0.2", MedianPruner),
        ("percentile:25:4:0.2", PercentilePruner),
        ("started:25:4:0.2", BestOfAll),
        ("patient:1:4:0.2", PatientPruner),
        ("asha:2", NopPruner),
        ("extrapolate:4:0.1", Extrapolation),
    ],
)
def test_a_name_with_figures_is_a_candidate(name: str, kind: type) -> None:
    assert type(candidate(name)) is kind
    found = course(random_pool(20), setting(pruner=name))
    assert sum(found.ends.values()) == 20
    assert (found.ends["pruned"] > 0) == (kind is not PatientPruner), "curves that only climb try no patience"
    assert found.final > 0


@pytest.mark.parametrize("name", ["median:4", "median:x:1", "dreams:1", "asha:2:3"])
def test_other_figures_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"is no candidate; use median:NUMBER:NUMBER, percentile:NUMBER:NUMBER:NUMBER"):
        candidate(name)


def test_a_name_of_a_study_is_none() -> None:
    assert candidate("median") is None
    assert Rungs.of("median", 5) is None


def test_a_curve_is_gone_on_with_as_others_that_were_near_it_went_on() -> None:
    study = optuna.create_study(direction="maximize")
    # From 0.2 on some came to the top and some stayed; from 0.1 on none came far.
    for early, final in ((0.2, 0.8), (0.2, 0.7), (0.2, 0.3), (0.1, 0.2), (0.1, 0.15), (0.1, 0.2)):
        values = {"state": TrialState.COMPLETE, "value": final, "intermediate_values": {20: early, 100: final}}
        study.add_trial(create_trial(**values))
    pruner = Extrapolation(startup=6, odds=0.15)

    def stops(value: float) -> bool:
        return pruner.prune(study, create_trial(state=TrialState.RUNNING, intermediate_values={20: value}))

    assert [stops(value) for value in (0.25, 0.21, 0.1)] == [False, False, True]
    assert not Extrapolation(startup=7, odds=0.15).prune(study, study.trials[3])


def test_of_each_rung_the_best_go_on_and_others_once_worse_ones_came() -> None:
    rungs: Rungs[str] | None = Rungs.of("asha:2", 5)
    assert rungs is not None
    assert rungs.places == (1, 2, 4)
    assert rungs.passes(3, 0.0, "between two rungs")
    assert not rungs.passes(1, 0.5, "a"), "one of one is no half"
    assert rungs.passes(1, 0.7, "b")
    assert rungs.next() is None, "half of two has gone on"
    assert not rungs.passes(1, 0.6, "c")
    assert not rungs.passes(1, 0.4, "d")
    assert rungs.next() == "c", "the second best of four"
    assert rungs.next() is None
    assert not rungs.passes(2, 0.6, "c")
    assert rungs.passes(2, 0.8, "b")
    for value, name in ((0.1, "e"), (0.2, "f")):
        assert not rungs.passes(1, value, name)
    assert not rungs.passes(2, 0.1, "g")
    assert not rungs.passes(2, 0.2, "h")
    assert rungs.next() == "c", "the higher rung first"
    assert rungs.next() == "a"
    assert rungs.next() is None


def test_trials_that_wait_cost_what_they_trained_and_no_evaluation_twice() -> None:
    pool = random_pool(30)
    whole = course(pool, setting(trials=30))
    how = setting(pruner="asha:2", trials=30)
    with quiet_optuna():
        simulation = Simulation(pool, how, *searchers(pool, TABLE, how, 0))
        found = simulation.run()
    assert found.ends["complete"] + found.ends["pruned"] == 30
    complete = [trial for trial in simulation.study.trials if trial.state.name == "COMPLETE"]
    assert 3 <= len(complete) <= 30 / 2
    played = {repr(sorted(trial.params.items())): trial for trial in pool.trials}
    reached: dict[str, int] = {}
    for trial in simulation.study.trials:
        reached[repr(sorted(trial.params.items()))] = max(trial.intermediate_values)
    trained = sum(
        next(point.iteration for point in played[params].curve if point.step == step)
        for params, step in reached.items()
    )
    assert found.iterations == trained < whole.iterations
    assert math.isclose(found.final, pool.best), "this pool's early evaluations rank as its last ones do"
