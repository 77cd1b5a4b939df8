"""Studies in simulated time: the same as real ones, by the seed, in the time that their workers would need."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.pruners import BasePruner, NopPruner, ThresholdPruner
from optuna.samplers import RandomSampler
from rich.console import Console

from mmtuna.objectives.evaluation.metrics import Counts
from mmtuna.objectives.outcome import Ending, Outcome, TrialOrder
from mmtuna.objectives.recorded import RecordFile
from mmtuna.search.quiet import quiet_optuna
from mmtuna.search.simulation.course import Course, Simulation, searchers, since_best
from mmtuna.search.simulation.figures import Contest
from mmtuna.search.simulation.pool import Pool
from mmtuna.search.simulation.setting import PLAIN, Setting
from mmtuna.search.trials.conclude import Scoring
from mmtuna.search.work.running import replay_study
from mmtuna.spaces.parameter import Int, Params
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.strategy.sampling import SpaceSampler
from mmtuna.studies.strategy.stopping import is_settled
from tests.search.simulation.pools import CLOSING, diverged, random_pool, recorded

TABLE = StudySpec(study={"name": "s"}, data={"root": "."}, space={"preset": "extended"}).study


def setting(**how: object) -> Setting:
    usual = {"sampler": "random", "pruner": "none", "workers": 1, "trials": 20, "collapse": 100}
    return Setting(**{**usual, **how})  # type: ignore[arg-type]


def course(pool: Pool, how: Setting, seed: int = 0, first: Sequence[Params] = ()) -> Course:
    with quiet_optuna():
        return Simulation(pool, how, *searchers(pool, TABLE, how, seed), seed=seed, first=first).run()


def with_pruner(pool: Pool, pruner: BasePruner, trials: int) -> Course:
    with quiet_optuna():
        sampler = SpaceSampler(RandomSampler(seed=0), pool.space, seed=0)
        return Simulation(pool, setting(trials=trials), sampler, pruner).run()


@pytest.mark.parametrize(("sampler", "pruner"), [("tpe", "median"), ("random", "best-third"), (PLAIN, PLAIN)])
def test_a_seed_gives_the_same_study_and_another_one_another(sampler: str, pruner: str) -> None:
    pool, how = random_pool(), setting(sampler=sampler, pruner=pruner, workers=3)
    once, again, other = course(pool, how, 1), course(pool, how, 1), course(pool, how, 2)
    assert once == again
    assert once != other
    assert sum(once.ends.values()) == 20


def test_one_worker_takes_what_its_trials_take() -> None:
    pool = random_pool(20)
    found = course(pool, setting())  # every recorded trial, each once
    assert found.iterations == sum(trial.iterations for trial in pool.trials)
    assert found.seconds == pytest.approx(sum(trial.seconds for trial in pool.trials))
    assert found.final == pool.best
    assert found.ends == {"complete": 20}
    assert not found.starved


def test_more_workers_end_sooner_at_the_same_cost() -> None:
    pool = random_pool(20)
    found = [course(pool, setting(workers=workers)) for workers in (1, 2, 8)]
    assert len({one.iterations for one in found}) == 1
    assert found[0].seconds > 1.7 * found[1].seconds > 3.4 * found[2].seconds
    longest = max(trial.seconds for trial in pool.trials)
    assert found[2].seconds <= found[0].seconds / 8 + longest


def test_a_pruner_that_stops_all_saves_what_is_left_of_each() -> None:
    pool = random_pool(20)
    whole, cut = (with_pruner(pool, pruner, 20) for pruner in (NopPruner(), ThresholdPruner(lower=2.0)))
    assert cut.ends == {"pruned": 20}
    assert cut.iterations == pytest.approx(0.2 * whole.iterations)  # the first of five evaluations
    assert cut.seconds == pytest.approx(0.2 * (whole.seconds - 20 * CLOSING) + 20 * CLOSING)
    assert (cut.final, cut.found) == (0.0, [])


def test_what_no_recorded_trial_is_near_to_is_said_and_not_made_up() -> None:
    pool, how = random_pool(), setting(trials=5)
    sampler, pruner = searchers(pool, TABLE, how, 0)
    with quiet_optuna():
        found = Simulation(pool, how, sampler, pruner, answers="nearest", within=0.05).run()
    assert set(found.ends) == {"unanswered"}
    assert found.starved
    assert (found.iterations, found.final) == (0, 0.0)


@pytest.mark.parametrize("confirm", [0.0, 0.2])
def test_of_answers_that_are_alike_it_is_known_what_the_chosen_config_is_worth(confirm: float) -> None:
    pool, how = random_pool(), setting(trials=12, confirm=confirm)
    with quiet_optuna():
        simulation = Simulation(pool, how, *searchers(pool, TABLE, how, 3), seed=3, answers="alike")
        found = simulation.run()
    assert found.moved == []
    assert {str(trial.params) for trial in simulation.study.trials}.isdisjoint(str(one.params) for one in pool.trials)
    complete = [trial for trial in simulation.study.trials if trial.state.name == "COMPLETE"]
    order = sorted(complete, key=lambda trial: -(trial.value or 0.0))
    of_all = [pool.worth(trial.params, 0.0, "alike", 3) for trial in order]
    assert found.final in (of_all[:3] if confirm else of_all[:1])


def test_further_trainings_of_the_best_are_told_as_they_were_recorded_and_decide() -> None:
    """The luckiest config comes to nothing with another seed, the others to the same."""
    once, (space, scoring) = random_pool(40), (random_pool(1).space, random_pool(1).scoring)
    order = sorted(once.trials, key=lambda one: -(once.value(one) or 0.0))
    again = [replace(one, curve=order[-1].curve) for one in order[:2]] + order[2:]
    pool, how = Pool(space, [*order, *again], scoring), setting(trials=20, confirm=0.4)
    luckiest, chosen = [], []
    for seed in range(12):
        with quiet_optuna():
            found = Simulation(pool, how, *searchers(pool, TABLE, how, seed), seed=seed, answers="alike").run()
        assert max(found.told) <= pool.best
        luckiest.append(found.found[-2][2])
        chosen.append(found.final)
    assert luckiest != chosen
    assert sum(chosen) > sum(luckiest)


def test_of_a_part_of_the_space_alone_is_proposed_what_the_whole_answers() -> None:
    pool, how = random_pool(), setting(trials=12)
    long = Int(name="iterations", low=1200, high=1600, step=200)
    part = pool.proposing(SearchSpace([long if one.name == "iterations" else one for one in pool.space]))
    with quiet_optuna():
        simulation = Simulation(part, how, *searchers(part, TABLE, how, 3), seed=3, answers="alike")
        found = simulation.run()
    assert {trial.params["iterations"] for trial in simulation.study.trials} <= {1200, 1400, 1600}
    best = max(simulation.study.trials, key=lambda trial: trial.value or 0.0)
    assert found.final == pool.worth(best.params, 0.0, "alike", 3)
    told = pool.answer(best.params, "alike", 0.0, 3)
    assert told is not None
    assert best.value == pool.value(told)


def test_a_diverged_trial_costs_what_it_took_and_teaches() -> None:
    pool = random_pool(4)
    bad = Pool(pool.space, [diverged(pool.trials[0], 2), diverged(pool.trials[1], 0), *pool.trials[2:]], pool.scoring)
    how = setting(trials=4)
    with quiet_optuna():
        simulation = Simulation(bad, how, *searchers(bad, TABLE, how, 0))
        found = simulation.run()
    assert found.ends == {"diverged": 2, "complete": 2}
    assert found.iterations == sum(trial.iterations for trial in bad.trials)
    pruned = [trial for trial in simulation.study.trials if trial.state.name == "PRUNED"]
    assert [trial.value for trial in pruned] == [0.0, 0.0]


def test_a_collapse_is_stopped_from_the_step_asked_for_and_counted() -> None:
    none = Counts(intersect=(90, 0), predicted=(100, 0), labelled=(90, 10))
    trials = random_pool(10).trials
    dead = [
        replace(trial, curve=tuple(replace(point, counts=none) for point in trial.curve[:3]) + trial.curve[3:])
        for trial in trials[:4]
    ]
    dead[0] = replace(dead[0], curve=tuple(replace(point, counts=none) for point in dead[0].curve))
    pool = Pool(random_pool(1).space, [*dead, *trials[4:]], Scoring("mIoU"))
    assert [(at.step, at.trials, at.came_back) for at in pool.collapses()] == [
        *((step, 4, 3) for step in (20, 40, 60)),
        *((step, 1, 0) for step in (80, 100)),
    ]
    finds = [trials[-1].params]  # what finds all comes first; before that nobody knows that it can be found
    never, late, early = (course(pool, setting(trials=10, collapse=step), first=finds) for step in (100, 70, 40))
    assert (never.ends, never.collapsed) == ({"complete": 10}, 1)
    assert (late.ends, late.collapsed) == ({"complete": 9, "pruned": 1}, 1)
    assert (early.ends, early.collapsed) == ({"complete": 6, "pruned": 4}, 4)
    assert early.iterations < late.iterations < never.iterations
    all_dead = Pool(pool.space, [replace(trial, curve=dead[0].curve) for trial in trials], Scoring("mIoU"))
    assert course(all_dead, setting(trials=10, collapse=40)).ends == {"complete": 10}


def test_a_budget_of_iterations_ends_the_study_and_a_pool_that_is_used_up_does() -> None:
    pool = random_pool(30)
    found = course(pool, setting(iterations=5000))
    longest = max(trial.iterations for trial in pool.trials)
    assert 5000 <= found.iterations < 5000 + longest
    assert not found.starved
    assert course(pool, setting(trials=31)).starved


def test_a_budget_of_seconds_ends_the_study_on_time() -> None:
    pool = random_pool(30)
    one, four = (course(pool, setting(seconds=500.0, workers=workers)) for workers in (1, 4))
    assert one.seconds == four.seconds == 500.0
    assert 3 * one.iterations < four.iterations < 5 * one.iterations


def test_a_simulated_study_is_the_real_one(tmp_path: Path) -> None:
    """Where every params set is recorded, `mmtuna replay` and the simulation ask and tell the very same."""
    space = {"crop": [64, 96, 128], "flip": ["none", "horizontal"], "rotation": [0, 10, 20], "iterations": [200, 400]}
    text = "".join(f"[space.params.{name}]\nchoices = {choices}\n" for name, choices in space.items())
    path = tmp_path / "study.toml"
    path.write_text(
        '[study]\nname = "r"\ntrials = 25\nsampler = "tpe"\npruner = "median"\npruner_startup = 4\nseed = 3\n'
        f'[data]\nroot = "."\n[replay]\ncurves = "./all.jsonl"\n{text}'.replace("'", '"')
    )
    spec = StudySpec.load(path)
    cells = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    trials = [recorded(cell) for cell in cells]
    file = RecordFile(tmp_path / "all.jsonl", "r", {})
    for number, one in enumerate(trials):
        ended = Outcome(ending=Ending.FINISHED, curve=one.curve, seconds=one.seconds, iterations=one.iterations)
        file.append(TrialOrder(number=number, params=one.params, seed=0), ended)
    real = replay_study(spec, Console(quiet=True))
    pool = Pool(spec.search_space(), trials, Scoring("mIoU"))
    how = Setting(sampler="tpe", pruner="median", workers=1, trials=25)
    with quiet_optuna():
        simulation = Simulation(pool, how, *searchers(pool, spec.study, how, 3), answers="nearest")
        simulation.run()
    assert {trial.state.name for trial in real.trials} == {"COMPLETE", "PRUNED"}
    assert [told(trial) for trial in simulation.study.trials] == [told(trial) for trial in real.trials]


def told(trial: optuna.trial.FrozenTrial) -> tuple[object, ...]:
    reports = {step: round(value, 6) for step, value in trial.intermediate_values.items()}
    return trial.params, trial.state, None if trial.value is None else round(trial.value, 6), reports


@pytest.mark.slow
def test_hundreds_of_studies_within_seconds() -> None:
    contest = Contest(random_pool(), TABLE, "recorded", 0.1, studies=200)
    began = time.monotonic()
    plain, line = contest.lines([setting(trials=10, pruner="median")])
    assert time.monotonic() - began < 60  # some eight on an idle machine
    assert (plain.studies, line.studies, plain.of_plain) == (200, 200, 1.0)


def test_figures_are_the_same_over_several_processes() -> None:
    contest = Contest(random_pool(), TABLE, "recorded", 0.1, studies=6)
    settings = [setting(trials=8, workers=workers) for workers in (1, 2)]
    lines = contest.lines(settings)
    assert contest.lines(settings, processes=2) == lines
    assert [str(line.setting) for line in lines] == [
        "plain Optuna, 1 worker",
        "random + none, 1 worker",
        "plain Optuna, 2 workers",
        "random + none, 2 workers",
    ]
    best = contest.pool.best
    for line in lines:
        assert line.regret == pytest.approx(best - line.final)
        assert 0 <= line.regret <= line.regret_95
        assert line.regrets[-1][1] == pytest.approx(line.regret)
        assert (line.reached >= 0.5) == (line.iterations_to is not None)
    assert all(line.reached >= 0.5 for line in lines[::2])  # plain Optuna is what it is held against


def test_a_share_of_the_budget_trains_the_best_once_more_and_finds_them_where_seeds_mislead() -> None:
    pool = random_pool(60)
    contest = Contest(pool, TABLE, "recorded", 1.0, studies=15)
    noisy = setting(trials=30, noise=0.1)
    found = contest.courses([noisy, replace(noisy, confirm=0.5), setting(trials=30, confirm=0.5)])
    for how, courses in found.items():
        assert {len(course.told) for course in courses} == {15 if how.confirm else 30}
    exact = found[setting(trials=30, confirm=0.5)]
    assert all(course.final == max(course.told) for course in exact)
    misled = [max(course.told) - course.final for course in found[noisy]]
    assert sum(misled) / len(misled) > 0.05  # the luckiest draw promises more than its config holds


def test_a_simulated_study_stops_by_itself_as_a_real_one_does() -> None:
    pool = random_pool(120)
    whole, stops = course(pool, setting(trials=100)), course(pool, setting(trials=100, stop=True))
    assert not whole.settled
    assert stops.settled
    assert stops.told == whole.told[: len(stops.told)]
    since = since_best(stops.told)
    assert is_settled(len(stops.told), since, 100 - len(stops.told))
    assert not is_settled(len(stops.told) - 1, since - 1, 101 - len(stops.told))


@pytest.mark.parametrize("budget", ["iterations", "seconds"])
def test_what_is_left_is_reckoned_in_the_budget_s_own_measure(budget: str) -> None:
    pool = random_pool(120)
    whole = course(pool, setting(trials=100))
    # As much as those hundred trials take, of a study that names twelve of them: at the twelfth it is not done.
    stops = course(pool, setting(trials=12, stop=True, **{budget: getattr(whole, budget)}))
    assert stops.settled
    assert len(stops.told) > 60
    assert stops.told == whole.told[: len(stops.told)]


@pytest.mark.parametrize("budget", ["iterations", "seconds"])
def test_a_study_that_stops_by_itself_confirms_a_share_of_what_it_used(budget: str) -> None:
    pool = random_pool(120)
    given = getattr(course(pool, setting(trials=100)), budget)
    searched, confirmed = (
        course(pool, setting(stop=True, confirm=share, **{budget: whole}))
        for share, whole in ((0.0, 0.8 * given), (0.2, given))
    )
    assert searched.settled
    assert searched.told == confirmed.told
    used, in_all = (getattr(one, budget) for one in (searched, confirmed))
    longest = max(getattr(trial, budget) for trial in pool.trials)
    assert used < in_all < used / 0.8 + longest < given


def test_how_many_have_finished_since_the_best() -> None:
    assert [since_best(told) for told in ([], [math.nan] * 2, [0.5, 0.7, math.nan, 0.7])] == [0, 2, 2]
