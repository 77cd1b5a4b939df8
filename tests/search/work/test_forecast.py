"""What a study will take is measured before it begins, and is about what it takes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.console import Console

from mmtuna.objectives.probes.extent import Extent, extent_of
from mmtuna.objectives.probes.measuring import TrialCost
from mmtuna.objectives.trial.fork_server import ForkServer
from mmtuna.search.checking.costs import Costs, Drawn, Expectation, Measured
from mmtuna.search.checking.preparing import prepare
from mmtuna.search.work.beginning import check_study
from mmtuna.search.work.forecast import duration, size
from mmtuna.search.work.pace import worth_measuring
from mmtuna.spaces.parameter import Params
from mmtuna.studies.attributes import COST, CURVE
from mmtuna.studies.spec import StudySpec
from tests.search.conftest import mmtuna, status

WriteSpec = Callable[..., Path]
FACTOR = 8.0
"""Within which forecast and truth agree, though other tests take their share of one and not of the other."""


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MMTUNA_CACHE", str(tmp_path / "cache"))


def longer(write_spec: WriteSpec) -> Path:
    path = write_spec(study='pruner = "none"')
    path.write_text(path.read_text().replace("iterations = 8", "iterations = 60").replace("trials = 3", "trials = 2"))
    return path


@pytest.mark.slow
def test_forecast_and_truth_agree(write_spec: WriteSpec) -> None:
    path = longer(write_spec)
    checked = mmtuna("check", path, "--time", "--json")
    assert checked.returncode == 0, checked.stderr
    said = json.loads(checked.stdout)["time"]
    assert (said["trials"], said["slots"], said["measured"]) == (2, 1, 1)
    assert said["trial_memory_bytes"]["median"] > 5 << 20
    done = mmtuna("run", path)
    assert done.returncode == 0, done.stderr
    assert "forecast: an iteration takes " in done.stdout
    assert "forecast: 2 trials take about " in done.stdout
    trials = status(path)["trials"]
    took = sum(trial["seconds"] for trial in trials)
    assert took / FACTOR < said["study_seconds"]["expected"] < took * FACTOR, (took, said)
    assert said["study_seconds"]["expected"] <= said["study_seconds"]["most"]
    assert all(
        trial["seconds"] / FACTOR < said["trial_seconds"]["median"] < trial["seconds"] * FACTOR for trial in trials
    )


def test_the_lines_say_what_a_trial_and_the_study_take(write_spec: WriteSpec) -> None:
    path = write_spec(space="[space.params.batch_size]\nchoices = [1, 2, 8]")
    path.write_text(path.read_text().replace("batch_size = 2\n", ""))
    *_, each, whole = mmtuna("check", path, "--time").stdout.splitlines()
    figure = r"[\d.e+]+ (ms|s|min|h)"
    span = rf"{figure} \({figure} to {figure}\)"
    assert re.fullmatch(
        rf"forecast: an iteration takes {span}, a trial {figure}( \({figure} to {figure}\))? and "
        r"\d+ MiB( \(\d+ MiB to \d+ MiB\))? of memory, on cpu",
        each,
    ), each
    assert whole.startswith("forecast: 3 trials take about "), whole
    assert whole.endswith("; pruning makes it less"), whole


def test_what_was_measured_is_remembered(write_spec: WriteSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, quiet = StudySpec.load(write_spec()), Console(quiet=True)
    _, first = check_study(spec, quiet, time=True)
    asked = []
    for method in (ForkServer.begin, ForkServer.fork):
        monkeypatch.setattr(ForkServer, method.__name__, lambda *_: asked.append(1))
    _, second = check_study(spec, quiet, time=True)
    assert first is not None
    assert (first, asked) == (second, [])


def extent(train: float, val: float = 1.0) -> Extent:
    return Extent(iterations=10, evaluations=1, train=train, val=val)


def measured(train: float, iteration: float, memory: int = 100) -> Measured:
    cost = TrialCost(start=1.0, iteration=iteration, evaluation=2.0, memory=memory)
    return Measured(extent=extent(train), cost=cost)


def test_what_was_not_measured_is_scaled() -> None:
    costs = Costs((measured(100.0, 1.0), measured(400.0, 2.0, memory=400)))
    assert [costs.of(extent(train)).iteration for train in (100.0, 400.0)] == [1.0, 2.0]
    assert costs.of(extent(200.0)).iteration == pytest.approx(2**0.5)  # a power of the work between the two
    assert costs.of(extent(50.0)).iteration == pytest.approx(0.5)  # and in proportion beyond
    assert costs.of(extent(800.0)).iteration == pytest.approx(4.0)
    assert [costs.of(extent(train)).memory for train in (50.0, 200.0, 800.0)] == [100, 200, 400]
    assert costs.of(extent(100.0, val=3.0)).evaluation == pytest.approx(6.0)
    assert Costs((measured(100.0, 1.0),)).of(extent(300.0)).iteration == pytest.approx(3.0)


def test_the_usual_the_dearest_and_the_cheapest_are_measured() -> None:
    def places(*works: float, by_chance: int) -> list[int]:
        extents = tuple(extent(work) for work in works)
        return Drawn(params=tuple({} for _ in works), extents=extents, by_chance=by_chance).telling()

    assert places(1.0, 4.0, 9.0, 30.0, 0.1, by_chance=3) == [1, 3, 4]
    assert places(1.0, 1.1, 1.05, by_chance=3) == [2]
    assert places(1.0, 1.0, 2.0, by_chance=2) == [1, 2]


def ended(number: int, params: Params, seconds: float, step: int = 100) -> FrozenTrial:
    attrs = {COST: {"seconds": seconds, "iterations": 1}, CURVE: [{"step": step}]}
    state = TrialState.COMPLETE if step == 100 else TrialState.PRUNED
    distributions = {"batch_size": IntDistribution(1, 8)}
    trial = create_trial(state=state, value=0.5, params=params, distributions=distributions, user_attrs=attrs)
    trial.number = number
    return trial


def test_trials_that_ended_tell_what_others_take(write_spec: WriteSpec) -> None:
    path = write_spec(space="[space.params.batch_size]\nlow = 1\nhigh = 8")
    path.write_text(path.read_text().replace("batch_size = 2\n", ""))
    objective = prepare(StudySpec.load(path)).dry_objective()

    def of(size: int) -> Extent:
        return extent_of(objective.config({"batch_size": size}, seed=0), objective.shapes)

    unknown = Expectation(objective, 4, None)
    assert unknown({"batch_size": 2}) is None
    unknown.learn([ended(0, {"batch_size": 2}, 5.0)])
    small, large = unknown({"batch_size": 2}), unknown({"batch_size": 8})
    assert small == pytest.approx(5.0)
    assert large is not None
    assert 10.0 < large < 20.0  # four times the images, and the same evaluations

    cost = TrialCost(start=0.0, iteration=1.0, evaluation=0.0, memory=1)
    known = Expectation(objective, 4, Costs((Measured(extent=of(2), cost=cost),)))
    assert known({"batch_size": 2}) == pytest.approx(8.0)  # iterations
    known.learn([ended(0, {"batch_size": 2}, 8.0, step=50)])  # would have taken twice as long
    assert known({"batch_size": 2}) == pytest.approx(16.0)
    assert known({"batch_size": 4}) == pytest.approx(32.0)
    known.learn([ended(number, {"batch_size": 2}, 8.0) for number in range(1, 9)])
    known.learn([ended(0, {"batch_size": 2}, 1e9)])  # known already
    assert known({"batch_size": 2}) == pytest.approx(8.0)
    assert known({"batch_size": 9999}) is None


def test_figures_are_spoken_in_few_digits() -> None:
    assert [duration(value) for value in (0.00361, 0.0123, 0.5, 3.44, 42.0, 150.0, 20_000.0)] == [
        *("3.6 ms", "12 ms", "500 ms", "3.4 s", "42 s", "2 min", "5.56 h"),
    ]
    assert (size(3 << 20), size(5 << 29)) == ("3 MiB", "2.5 GiB")


def test_speeds_are_measured_for_a_twentieth_of_a_study_within_bounds() -> None:
    assert [worth_measuring(seconds) for seconds in (10.0, 200.0, 3600.0, math.inf)] == [5.0, 10.0, 25.0, 25.0]
