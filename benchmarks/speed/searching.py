"""One trial without training, through mmtuna and through plain Optuna, and workers that train many of them."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner, MedianPruner
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from mmtuna.search.trials.files import StudyFiles
from mmtuna.search.trials.retention import Retention
from mmtuna.search.work.study_queue import StudyQueue
from mmtuna.spaces.parameter import Float
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.asking import Claim
from mmtuna.studies.identity import Joined
from mmtuna.studies.leases import End, Leases
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.standing import standing_of
from mmtuna.studies.storage.opening import study_lock
from mmtuna.studies.strategy.beginning import next_worker
from mmtuna.studies.strategy.pruning import build_pruner
from mmtuna.studies.strategy.sampling import SpaceSampler
from mmtuna.studies.study import create_or_open

REPORTS = tuple(range(12, 97, 12))
SPACE = SearchSpace(
    [
        Float(name=name, low=0.001, high=0.1)
        for name in ("lr_sgd", "lr_adam", "momentum", "weight_decay", "rotation", "poly_power")
    ]
)
SPEC = """\
[study]
name = "cost"
trials = 100000
sampler = "random"
pruner_startup = 1000000000
[data]
root = "."
[space]
preset = "paper"
"""
ATTRS: dict[str, Any] = {
    "metrics": {"mIoU": 0.5, "mDice": 0.6, "IoU.fluid": 0.4},
    "best_metrics": {"mIoU": 0.5, "mDice": 0.6, "IoU.fluid": 0.4},
    "curve": [{"step": step, "iteration": 4 * step, "seconds": 1.0 * step, "mIoU": 0.5} for step in REPORTS],
    "cost": {"seconds": 100.0, "iterations": 400},
    "folder": "trials/00000",
}
STAMPS = {"seed": 0, "replicate": 0}
SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Took:
    """Seconds of a trial, of these in its reports with the pruner's answers, and of these asleep."""

    trial: float
    reports: float
    asleep: float = 0.0


Trial = Callable[[], Took | None]
"""Does one trial; None where the study is full."""


def pruner() -> BasePruner:
    """Optuna's as the spec above has it: it asks for the trials at every report, and stops none."""
    return MedianPruner(n_startup_trials=10**9)


@contextmanager
def ours(url: str, folder: Path, seed: int, *, trials: int = 10**9, seconds: float = 0.0) -> Iterator[Trial]:
    """Trials as a worker does them, without training, each of half to one and a half times `seconds`."""
    study, spec = our_study(url, folder)
    lock = study_lock(url, spec.study.name)
    with lock:
        joined = Joined(study, url, next_worker(study, "random", spec.study.pruner))
    study.sampler, study.pruner = (
        SpaceSampler(RandomSampler(seed=seed), SPACE, seed=seed),
        build_pruner(spec.study),
    )
    files, retention = StudyFiles(spec.study, folder, study), Retention(5)
    lengths = random.Random(seed)
    with Leases(study=study, folder=folder, still_there=joined.check) as leases:
        queue = StudyQueue(study=study, space=SPACE, seed=0, lock=lock, leases=leases)

        def one() -> Took | None:
            began = time.perf_counter()
            claim = queue.ask(trials)
            if not isinstance(claim, Claim):
                return None
            assert claim.lease is not None
            reporting = time.perf_counter()
            pause = lengths.uniform(0.5, 1.5) * seconds / len(REPORTS)
            for step in REPORTS:
                time.sleep(pause)
                leases.report(claim.trial, claim.lease, step, 0.5)
                queue.patiently(claim.trial.should_prune)
            reported = time.perf_counter()
            leases.end(claim.lease, End(state=TrialState.COMPLETE, value=0.5, attrs=ATTRS))
            queue.counted()
            retention.apply(standing_of(study), files)
            return Took(time.perf_counter() - began, reported - reporting, pause * len(REPORTS))

        yield one


def our_study(url: str, folder: Path) -> tuple[optuna.Study, StudySpec]:
    """The study at `url`, made where it does not exist, and its spec."""
    path = folder / "study.toml"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():  # else another worker may be reading it
        path.write_text(SPEC)
    os.environ["MMTUNA_STORAGE"] = url
    spec = StudySpec.load(path)
    del os.environ["MMTUNA_STORAGE"]
    return create_or_open(spec, {}), spec


@contextmanager
def plain(url: str, _folder: Path, seed: int, *, attrs: bool = True) -> Iterator[Trial]:
    """The same through Optuna's own interface, with the same attributes or without any."""
    # By default whoever finds SQLite's file locked for 5 s dies.
    options = {"connect_args": {"timeout": 300}} if url.startswith(SQLITE) else {}
    storage = RDBStorage(url, engine_kwargs=options)
    study = optuna.create_study(
        study_name="cost", storage=storage, load_if_exists=True, direction="maximize", pruner=pruner()
    )
    study.sampler = RandomSampler(seed=seed)

    def one() -> Took:
        began = time.perf_counter()
        trial = study.ask()
        for parameter in SPACE:
            trial.suggest_float(parameter.name, 0.001, 0.1)
        for name, value in (STAMPS if attrs else {}).items():
            trial.set_user_attr(name, value)
        reporting = time.perf_counter()
        for step in REPORTS:
            trial.report(0.5, step)
            trial.should_prune()
        reported = time.perf_counter()
        for name, value in (ATTRS if attrs else {}).items():
            trial.set_user_attr(name, value)
        study.tell(trial, 0.5)
        return Took(time.perf_counter() - began, reported - reporting)

    yield one
    storage.remove_session()
    storage.engine.dispose()


SIDES = {"ours": ours, "plain": plain}
FORK = multiprocessing.get_context("fork")


def crew(side: str, url: str, folder: Path, workers: int, trials: int) -> dict[str, Any]:
    """Trials a second of `workers` processes that share `trials` trials, counted while all of them are at work.

    The storage is made, and each worker has opened it, before the clock starts.
    """
    with SIDES[side](url, folder, 0) as one:
        one()
    barrier, ends = FORK.Barrier(workers + 1, timeout=300), FORK.Queue()
    shares = [trials // workers + (place < trials % workers) for place in range(workers)]
    crew_of = [
        FORK.Process(target=_work, args=(side, url, folder, n, shares[n], barrier, ends)) for n in range(workers)
    ]
    for worker in crew_of:
        worker.start()
    barrier.wait()
    began = time.monotonic()
    told = [ends.get(timeout=1800) for _ in crew_of]
    seconds = max(at for at, _, _ in told) - began
    for worker in crew_of:
        worker.join()
    errors = sorted({error for _, _, error in told if error})
    done = sum(count for _, count, _ in told)
    found = {"side": side, "trials": done, "seconds": round(seconds, 2), "per_second": round(done / seconds, 2)}
    return found | ({"errors": errors} if errors else {})


def _work(side: str, url: str, folder: Path, place: int, share: int, barrier: Any, ends: Any) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    done, error = 0, ""
    with ExitStack() as stack:
        one = stack.enter_context(SIDES[side](url, folder, place + 1))
        barrier.wait()
        try:
            while done < share:
                one()
                done += 1
        except Exception as raised:  # what a crowd does to plain Optuna is a result
            error = f"{type(raised).__name__}: {str(raised).splitlines()[0]}"
        ends.put((time.monotonic(), done, error))
