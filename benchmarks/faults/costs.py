"""What the storage costs: time a trial beside plain Optuna on the same storage, and trials a second of many workers."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import RandomSampler

from benchmarks.faults.crew import Site, opened
from mmtuna.spaces.parameter import Float
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.leases import End, Leases
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import study_lock
from mmtuna.studies.study import Claim, ask, create_or_open

REPORTS = tuple(range(12, 97, 12))
PARAMS = 6
SPEC = """\
[study]
name = "cost"
trials = 100000
sampler = "random"
[data]
root = "."
[space]
preset = "paper"
"""
_ATTRS: dict[str, Any] = {
    "metrics": {"mIoU": 0.5, "mDice": 0.6, "IoU.fluid": 0.4},
    "best_metrics": {"mIoU": 0.5, "mDice": 0.6, "IoU.fluid": 0.4},
    "curve": [{"step": step, "iteration": 4 * step, "seconds": 1.0 * step, "mIoU": 0.5} for step in REPORTS],
    "cost": {"seconds": 100.0, "iterations": 400},
    "folder": "trials/00000",
}
_STAMPS = {"seed": 0, "replicate": 0}
_NAMES = ("lr_sgd", "lr_adam", "momentum", "weight_decay", "rotation", "poly_power")


def cost_per_trial(fresh: Callable[[str], str], trials: int) -> dict[str, float]:
    """Median ms a trial of 6 params, 8 reports with the pruner's answer, and an end: ours beside plain Optuna.

    `plain` stores the same attributes through Optuna's own interface, `bare` none. The three take turns, a trial each,
    so that whatever else the machine does falls on all of them. `fresh` gives the URL of an empty storage.
    """
    with tempfile.TemporaryDirectory() as folder:
        contenders = {
            "ours": _ours(fresh("ours"), Path(folder)),
            "plain": _plain(fresh("plain"), with_attrs=True),
            "bare": _plain(fresh("bare"), with_attrs=False),
        }
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(trials):
            for name, one in contenders.items():
                began = time.perf_counter()
                one()
                times[name].append(1000 * (time.perf_counter() - began))
    found = {f"{name}_ms": round(statistics.median(taken[len(taken) // 5 :]), 1) for name, taken in times.items()}
    return found | {
        "ratio_to_plain": round(found["ours_ms"] / found["plain_ms"], 2),
        "ratio_to_bare": round(found["ours_ms"] / found["bare_ms"], 2),
    }


def _ours(url: str, folder: Path) -> Callable[[], None]:
    import os

    path = folder / "study.toml"
    path.write_text(SPEC)
    os.environ["MMTUNA_STORAGE"] = url
    spec = StudySpec.load(path)
    del os.environ["MMTUNA_STORAGE"]
    study = create_or_open(spec, {})
    study.sampler, study.pruner = RandomSampler(seed=0), MedianPruner(n_startup_trials=10**6)
    leases, lock = Leases(study=study, folder=folder), study_lock(url, "cost")
    space = SearchSpace([Float(name=name, low=0.001, high=0.1) for name in _NAMES])

    def one() -> None:
        claim = ask(study, space, spec.study.seed, trials=10**6, lock=lock, leases=leases)
        assert isinstance(claim, Claim)
        assert claim.lease is not None
        for step in REPORTS:
            leases.report(claim.trial, claim.lease, step, 0.5)
            claim.trial.should_prune()
        leases.end(claim.lease, End(state=optuna.trial.TrialState.COMPLETE, value=0.5, attrs=_ATTRS))

    return one


def _plain(url: str, *, with_attrs: bool) -> Callable[[], None]:
    study = optuna.create_study(
        storage=url, sampler=RandomSampler(seed=0), pruner=MedianPruner(n_startup_trials=10**6), direction="maximize"
    )

    def one() -> None:
        trial = study.ask()
        for name in _NAMES:
            trial.suggest_float(name, 0.001, 0.1)
        for name, value in (_STAMPS if with_attrs else {}).items():
            trial.set_user_attr(name, value)
        for step in REPORTS:
            trial.report(0.5, step)
            trial.should_prune()
        for name, value in (_ATTRS if with_attrs else {}).items():
            trial.set_user_attr(name, value)
        study.tell(trial, 0.5)

    return one


def throughput(site: Site, workers: int, trials: int) -> dict[str, float]:
    """Trials a second of `workers` processes that train nothing, from the first trial's start to the last one's end."""
    site.write(trials=trials, pause=0.0, lease=120.0)
    for _ in range(workers):
        site.start()
    ended = site.wait(900)
    with opened(site) as study:
        done = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
    began = min(t.datetime_start for t in done if t.datetime_start)
    last = max(t.datetime_complete for t in done if t.datetime_complete)
    rate = len(done) / max((last - began).total_seconds(), 1e-9)
    return {"workers": workers, "trials": len(done), "per_second": round(rate, 2), "in_order": float(ended)}
