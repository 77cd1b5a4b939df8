"""A portfolio is chosen greedily, of what was recorded on every set."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from mmtuna.objectives.outcome import Ending, Outcome, TrialOrder
from mmtuna.objectives.recorded import RecordFile
from mmtuna.search.quiet import quiet_optuna
from mmtuna.search.simulation.course import Simulation, searchers
from mmtuna.search.simulation.pool import Pool
from mmtuna.search.simulation.portfolio import SIZE, choose
from mmtuna.search.simulation.setting import Knows, Setting
from mmtuna.search.trials.conclude import Scoring
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.portfolio import load
from mmtuna.spaces.presets import extended
from mmtuna.spaces.search_space import SearchSpace
from tests.search.conftest import ENVIRONMENT
from tests.search.simulation.pools import diverged, random_pool
from tests.search.simulation.test_course import TABLE
from tests.search.simulation.test_pool import LINE, trial

SCRIPT = str(Path(__file__).parents[3] / "benchmarks" / "search" / "portfolio.py")


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


def test_what_was_recorded_twice_counts_by_its_mean() -> None:
    twice = pool(a=1.0, b=0.8, c=0.0)
    lucky = Pool(LINE, [*twice.trials, trial(0.2, lr_sgd=0.1, iterations=100)], Scoring("mIoU"))
    found = choose({"one": lucky, "other": pool(a=0.9, b=0.9, c=0.9)}, 2)
    assert [one.params["lr_sgd"] for one in found] == [0.2, 0.1]
    assert [one.values["one"] for one in found] == [0.8, pytest.approx(0.6)]


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


def test_the_script_writes_the_same_portfolio_from_the_same_recordings(tmp_path: Path) -> None:
    space = SearchSpace([one for one in extended() if one.name != "initial_weights"])
    for name in ("duke", "drive"):
        file = RecordFile(tmp_path / f"{name}.jsonl", name, {"fingerprints": {"data": {"sha256": f"of {name}"}}})
        for number, one in enumerate(random_pool(20, space).trials):
            ended = Outcome(ending=Ending.FINISHED, curve=one.curve, seconds=one.seconds, iterations=one.iterations)
            file.append(TrialOrder(number=number, params=one.params, seed=0), ended)
    texts: list[tuple[str, str]] = []
    for place in range(2):
        out = tmp_path / f"{place}.toml"
        options = ("--only", "duke,drive", "--recorded", tmp_path, "--out", out, "--results", tmp_path / "tried.json")
        done = subprocess.run(
            [sys.executable, SCRIPT, *map(str, options)], capture_output=True, text=True, env=ENVIRONMENT
        )
        assert done.returncode == 0, done.stderr
        texts.append((out.read_text(), out.with_suffix(".json").read_text()))
    assert texts[0] == texts[1]
    found = load(tmp_path / "0.toml")
    assert f"# Version {found.version}." in texts[0][0]
    assert 'name = "duke"\ntrials = 20\ndata = "of duke"' in texts[0][0]
    best = sorted(random_pool(20, space).trials, key=lambda one: -one.curve[-1].metrics["mIoU"])
    assert list(found.configs) == [one.params for one in best[:SIZE]]  # both sets are alike
    assert [one.params for one in found.earlier[:20]] == [
        {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in one.params.items()}
        for one in best
    ]
    assert [one.rank for one in found.earlier[:20]] == [one.rank for one in found.earlier[20:]]
    assert all(better.rank > worse.rank for better, worse in pairwise(found.earlier[:20]))
    tried = json.loads((tmp_path / "tried.json").read_text())["sets"]["duke"]
    assert tried["best_of_portfolio"] == tried["best_recorded"]
    assert tried["best_of_as_many_random"] < tried["best_recorded"]
