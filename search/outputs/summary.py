"""Where a study stands: its figures, its best trial, its workers, how fast it goes, when it will be done."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import optuna

from mmtuna.search.trials.files import StudyFiles
from mmtuna.spaces.errors import InputError
from mmtuna.studies import configs, results
from mmtuna.studies.configs import floor_of
from mmtuna.studies.leases import clock
from mmtuna.studies.leases.crew import Crew, crew_of
from mmtuna.studies.results import TrialRow
from mmtuna.studies.spec import StudySpec

WINDOW = 3600.0
"""Seconds over which trials an hour are counted; less where trials ran for less of them."""


def summary(spec: StudySpec, study: optuna.Study, entries: Sequence[TrialRow] | None = None) -> dict[str, Any]:
    """The study in a few figures, as JSON data: study, metric, asked, finished, states, causes, seconds, hours, folder,
    best, chosen, chosen_seeds.

    `hours` is None where the study may be worked on without limit, else: asked, and used until the last note of it.
    `best` is None where no trial is complete, else: trial, value, params, seed, metrics of the last evaluation,
    at_last (whether the value is that of another one), folds (metrics of each),
    demand (what the net asks, in a study with limits), config (a path, or None where it is not on this machine).
    `chosen` is the trial that export takes, of the config that is surest where some were confirmed, else the best one,
    and `chosen_seeds` with how many seeds that was trained.
    `entries` are the study's trials, read where they are not given.
    """
    entries = results.rows(study) if entries is None else entries
    best, chosen = results.best(entries), configs.chosen(entries)
    document: dict[str, Any] = {
        "study": spec.study.name,
        "metric": spec.study.metric,
        "asked": spec.study.trials,
        "finished": sum(entry.finished for entry in entries),
        "states": dict(sorted(Counter(entry.state for entry in entries).items())),
        "causes": dict(results.causes(entries)),
        "seconds": round(sum(entry.seconds or 0.0 for entry in entries), 1),
        "hours": None,
        "folder": str(spec.study.folder),
        "best": None,
        "chosen": None if chosen is None else chosen.number,
        "chosen_seeds": 0 if chosen is None else configs.seeds_of(entries, chosen),
    }
    if spec.study.hours is not None:
        document["hours"] = {"asked": spec.study.hours, "used": round(clock.used(study) / 3600, 4)}
    if best is not None:
        document["best"] = {
            "trial": best.number,
            "value": best.value,
            "params": best.params,
            "seed": best.seed,
            "metrics": best.metrics,
            "at_last": spec.study.value == "best",
            "demand": best.demand,
            "folds": best.folds,
            "config": _config(StudyFiles(spec.study, spec.data.root, study), best),
        }
    return document


def _config(files: StudyFiles, entry: TrialRow) -> str | None:
    folder = files.here(entry.folder) if entry.folder else None
    if entry.folder and files.store is not None and (folder is None or not folder.config.is_file()):
        with contextlib.suppress(InputError):  # the study's folder is another's
            folder = files.to_look(entry.folder)
    return str(folder.config) if folder is not None and folder.config.is_file() else None


def standing(spec: StudySpec, study: optuna.Study) -> dict[str, Any]:
    """`summary` with every trial, and what `progress` tells, as JSON data that `mmtuna replay` can play."""
    entries = results.rows(study)
    document = summary(spec, study, entries) | progress(entries, crew_of(study, spec.study.folder), spec.study.trials)
    document["speeds"] = results.speeds(study)
    floor = floor_of(entries)
    document["noise_floor"] = None if floor is None else asdict(floor)
    document["damaged"] = [entry.number for entry in entries if entry.damaged]
    return document | {"trials": [asdict(entry) for entry in entries]}


def progress(entries: Sequence[TrialRow], crew: Crew, asked: int, now: datetime | None = None) -> dict[str, Any]:
    """Workers, leases that will expire, trials an hour and seconds until the study is full, as JSON data.

    Trials an hour are those of the last hour, or where no worker lives of the hour until the last trial ended, and None
    where none finished within it. `eta_seconds` is None there too, and where no worker lives, but 0 once it is full.
    """
    finished = [entry for entry in entries if entry.finished]
    alive = any(worker.alive for worker in crew.workers)
    ended = [entry for entry in entries if entry.ended]
    if alive:
        speed = per_hour(entries, now or datetime.now())
    else:  # what it left running is waited for by nobody
        speed = per_hour(ended, max(datetime.fromisoformat(str(entry.ended)) for entry in ended)) if ended else None
    left = max(0, asked - len(finished))
    eta = 0.0 if not left else left / speed * 3600 if speed and alive else None
    return {
        "workers": [asdict(worker) for worker in crew.workers],
        "slots": sum(worker.slots for worker in crew.workers if worker.alive),
        "expiring": [asdict(lease) for lease in crew.expiring],
        "trials_per_hour": None if speed is None else round(speed, 1),
        "eta_seconds": None if eta is None else round(eta),
    }


def per_hour(entries: Sequence[TrialRow], now: datetime) -> float | None:
    """Finished trials an hour of the time within the hour before `now` in which any trial ran; None where none
    finished within it. Trials that still run do so until `now`."""
    began = now - timedelta(seconds=WINDOW)
    finished, ran, until = 0, 0.0, began
    begun = [entry for entry in entries if entry.started and (entry.ended or entry.state == "RUNNING")]
    for entry in sorted(begun, key=lambda entry: str(entry.started)):
        ended = now if entry.ended is None else datetime.fromisoformat(entry.ended)
        finished += entry.finished and began <= ended <= now
        start = max(datetime.fromisoformat(str(entry.started)), until)
        ran += max(0.0, (ended - start).total_seconds())
        until = max(until, ended)
    return finished / ran * 3600 if finished and ran else None
