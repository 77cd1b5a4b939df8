"""Nets that ask for more than [limits] allow: not trained, named, told to the sampler, never the best."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from mmtuna.objectives import demand
from mmtuna.search.checking import smallest
from mmtuna.search.checking.preparing import prepare
from mmtuna.search.checking.smallest import Smallest
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.limits import Demand, Limits
from mmtuna.spaces.parameter import Categorical, Int, Params
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import open_storage
from tests.search.conftest import SPEC, mmtuna, status

WriteSpec = Callable[..., Path]
TWO_NETS = SPEC.replace("base_channels = 4\n", "").replace(
    "[space.params.lr_adam]\nlow = 1e-4\nhigh = 1e-2\nlog = true", "[space.params.base_channels]\nchoices = [4, 8]"
)


@pytest.fixture
def spec(write_spec: WriteSpec) -> Path:
    path = write_spec(TWO_NETS)
    limits = "[limits]\nmax_parameters = 200_000\nmax_latency_ms = 60_000.0\nmax_memory_mib = 4096.0\n"
    path.write_text(path.read_text().replace("trials = 3", "trials = 2") + limits)
    return path


def test_a_net_beyond_a_limit_is_not_trained_and_never_the_best(spec: Path) -> None:
    done = mmtuna("run", spec, timeout=280)
    assert done.returncode == 0, done.stderr
    said = "over a limit: 458,890 parameters, more than max_parameters = 200,000"
    assert f"{said}, not trained" in done.stdout
    found = status(spec)
    small, large = sorted(found["trials"], key=lambda trial: trial["params"]["base_channels"])
    assert (small["state"], large["state"], large["cause"]) == ("COMPLETE", "PRUNED", "over a limit")
    assert large["curve"] == []
    assert found["causes"]["over a limit"] == 1
    assert found["best"]["trial"] == small["number"]
    assert set(found["best"]["demand"]) == {"parameters", "latency_ms", "memory_mib"}
    assert small["demand"]["parameters"] == 116_550
    assert 0 < small["demand"]["latency_ms"] < 60_000
    assert 1 < small["demand"]["memory_mib"] < 4096
    shown = mmtuna("status", spec).stdout
    assert "1 ended by: over a limit" in shown
    assert "  116,550 parameters, " in shown
    # As Optuna has it, for its samplers and its dashboard.
    study = optuna.load_study(study_name="tiny", storage=open_storage(StudySpec.load(spec).study.storage))
    excess = {trial.number: trial.constraints["parameters"] for trial in study.trials}
    assert excess[large["number"]] == pytest.approx(458_890 / 200_000 - 1)
    assert excess[small["number"]] < 0
    assert study.best_trial.number == small["number"]
    refused = mmtuna("export", spec, "--trial", large["number"], "-o", spec.parent / "bundle")
    assert refused.returncode == 2
    assert f"trial {large['number']} of study tiny is pruned; take a complete trial" in refused.stderr
    assert "Of those stopped early 1 asks for more than was allowed (max_parameters = 200000" in " ".join(
        (StudySpec.load(spec).study.folder / "report.html").read_text(encoding="utf-8").split()
    )

    spec.write_text(spec.read_text().replace("200_000", "300_000"))
    other = mmtuna("run", spec, "--trials", 3)
    assert other.returncode == 2
    assert "limits.max_parameters was 200000 and is 300000; its trials would not compare" in other.stderr


def test_a_limit_that_the_smallest_net_breaks_is_told_before_trial_1(spec: Path) -> None:
    spec.write_text(spec.read_text().replace("200_000", "100_000"))
    done = mmtuna("check", spec, "--quick", "--json")
    assert done.returncode == 2
    (problem,) = json.loads(done.stdout)["problems"]
    assert problem == (
        "[limits]: the smallest net of the space (base_channels = 4) has 116,550 parameters, more than "
        "max_parameters = 100,000; allow more, or search smaller nets"
    )


@pytest.mark.parametrize("choices", ["[8, 512]", "[512, 8]"])
def test_a_space_with_one_net_that_is_allowed_passes_in_whatever_order(write_spec: WriteSpec, choices: str) -> None:
    path = write_spec(space=f'[space.params."model.decode_head.channels"]\nchoices = {choices}')
    spec = path.read_text()
    path.write_text(f"{spec}\n[limits]\nmax_parameters = 120_000\n")
    assert prepare(StudySpec.load(path)).problems == []
    path.write_text(f"{spec}\n[limits]\nmax_parameters = 100_000\n")
    (problem,) = prepare(StudySpec.load(path)).problems
    assert problem.startswith("[limits]: the smallest net of the space (model.decode_head.channels = 8) has 1")


KEYS = SearchSpace(
    [
        Int(name="model.a", low=1, high=9),
        Categorical(name="model.b", choices=(70, 300, 20)),
        Categorical(name="model.c", choices=(50, 1), when={"model.b": (20,)}),
        Categorical(name="loss", choices=("dice", "focal")),
    ]
)


def looked(limits: Limits, broken: tuple[str, ...] = ()) -> tuple[Smallest, list[Params]]:
    """A search among nets of as many parameters as their keys add up to, and the params that were measured."""
    seen: list[Params] = []

    def demand(cfg: Any) -> Demand:
        seen.append(cfg["params"])
        if any(str(value) in broken for value in cfg["params"].values()):
            raise InputError("it does not build")
        return {"parameters": sum(cfg["model"].values())}

    def config(params: Params) -> dict[str, Any]:
        net = {name: value for name, value in params.items() if "." in name}
        return {"params": params, "model": net, "test_pipeline": []}

    return Smallest(space=KEYS, limits=limits, config=config, demand=demand), seen


def test_the_smallest_net_is_found_among_all_that_differ() -> None:
    search, seen = looked(Limits(max_parameters=1))
    params, asked = search.find()
    assert {name: value for name, value in params.items() if "." in name} == {"model.a": 1, "model.b": 20, "model.c": 1}
    assert asked == {"parameters": 22}
    assert not search.over()
    nets = [json.dumps({name: value for name, value in one.items() if "." in name}, sort_keys=True) for one in seen]
    assert len(nets) == len(set(nets))
    search, seen = looked(Limits(max_parameters=1000))
    search.find()
    assert len(seen) == 1  # the first one will do


def test_nets_that_do_not_build_are_left_to_what_tries_them(monkeypatch: pytest.MonkeyPatch) -> None:
    search, _ = looked(Limits(max_parameters=1), broken=("20",))
    assert search.find()[1] == {"parameters": 71}
    monkeypatch.setattr(smallest, "NETS", 2)
    search, seen = looked(Limits(max_parameters=1))
    search.find()
    assert (len(seen), search.over()) == (2, True)


def test_memory_that_the_system_does_not_tell_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demand.sys, "platform", "darwin")
    with pytest.raises(InputError, match="this system does not say how much memory a process has taken; remove max_"):
        demand._peak_memory()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("max_parameters = 0", r"\[limits\] max_parameters = 0 is wrong: Input should be greater than or equal"),
        ("max_latency_ms = 0.0", r"\[limits\] max_latency_ms = 0.0 is wrong: Input should be greater than 0"),
        ("latency = 3", r"\[limits\] latency is unknown"),
    ],
)
def test_a_wrong_limit_is_refused(write_spec: WriteSpec, line: str, message: str) -> None:
    path = write_spec()
    path.write_text(f"{path.read_text()}\n[limits]\n{line}\n")
    with pytest.raises(InputError, match=message):
        StudySpec.load(path)
