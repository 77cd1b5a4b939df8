"""What `mmtuna status` tells beside the trials: workers, their leases, how fast it goes, when it will be done."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from mmtuna.search.commands import views
from mmtuna.spaces.errors import InputError
from mmtuna.studies.leases.crew import Crew, crew_of
from mmtuna.studies.results import TrialRow, rows
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.study import open_existing

WINDOW = 3600.0
"""Seconds over which trials an hour are counted; less where the study is younger."""
_SHOWN_TRIALS = 3


def status(path: Path, as_json: bool, watch: float | None = None) -> None:
    """Prints where a study stands; as JSON with every trial, which `mmtuna replay` can play.

    With `watch` again and again, every so many seconds, until Ctrl-C.
    """
    spec = StudySpec.load(path)
    if watch is not None and as_json:
        raise InputError("--watch and --json: one JSON document cannot be repeated; take one of them")
    study = open_existing(spec, to_look=True)
    while True:
        entries = rows(study)
        document = views.summary(spec, study) | progress(entries, crew_of(study), spec.study.trials)
        if as_json:
            print(json.dumps(document | {"trials": [asdict(entry) for entry in entries]}, indent=1))
            return
        if watch is not None and sys.stdout.isatty():
            print("\033[2J\033[H", end="")  # clears the terminal
        print_status(document)
        if watch is None:
            return
        sys.stdout.flush()
        time.sleep(watch)


def progress(entries: Sequence[TrialRow], crew: Crew, asked: int, now: datetime | None = None) -> dict[str, Any]:
    """Workers, leases that will expire, trials an hour and seconds until the study is full, as JSON data.

    `trials_per_hour` and `eta_seconds` are None where nothing finished within the last hour, or no worker lives.
    """
    finished = [entry for entry in entries if entry.state in ("COMPLETE", "PRUNED")]
    speed = per_hour(entries, now or datetime.now())
    left = max(0, asked - len(finished))
    alive = any(worker.alive for worker in crew.workers)
    eta = 0.0 if not left else left / speed * 3600 if speed and alive else None
    return {
        "workers": [asdict(worker) for worker in crew.workers],
        "slots": sum(worker.slots for worker in crew.workers if worker.alive),
        "expiring": [asdict(lease) for lease in crew.expiring],
        "trials_per_hour": None if speed is None else round(speed, 1),
        "eta_seconds": None if eta is None else round(eta),
    }


def per_hour(entries: Sequence[TrialRow], now: datetime) -> float | None:
    """Finished trials an hour, counted over the last hour or since the first trial began within it."""
    ended = [datetime.fromisoformat(e.ended) for e in entries if e.ended and e.state in ("COMPLETE", "PRUNED")]
    recent = [at for at in ended if (now - at).total_seconds() <= WINDOW]
    if not recent:
        return None
    began = min(datetime.fromisoformat(entry.started) for entry in entries if entry.started)
    span = min(WINDOW, (now - began).total_seconds())
    return len(recent) / span * 3600 if span > 0 else None


def print_status(document: dict[str, Any]) -> None:
    """The document of `status` for a person."""
    states = ", ".join(f"{count} {state.lower()}" for state, count in document["states"].items()) or "no trials"
    print(f"study {document['study']}: {document['finished']} of {document['asked']} finished ({states})")
    for cause, count in document["causes"].items():
        print(f"  {count} ended by: {cause}")
    for worker in document["workers"]:
        training = ", ".join(str(number) for number in worker["trials"][:_SHOWN_TRIALS])
        more = f" and {len(worker['trials']) - _SHOWN_TRIALS} more" if len(worker["trials"]) > _SHOWN_TRIALS else ""
        doing = f"trains {training}{more}" if training else "waits"
        life = doing if worker["alive"] else f"expired {-worker['seconds_left']:.0f} s ago"
        print(f"worker {worker['worker']}: {worker['slots']} slot{'s' if worker['slots'] > 1 else ''}, {life}")
    for lease in document["expiring"]:
        print(f"  trial {lease['trial']}: its lease {_expiry(lease['seconds_left'])}")
    if document["trials_per_hour"] is not None:
        eta = document["eta_seconds"]
        until = "" if eta is None else "; full" if eta == 0 else f"; full in about {clock(eta)}"
        print(f"{document['trials_per_hour']:.1f} trials an hour{until}")
    views.print_best(document)


def _expiry(seconds: float) -> str:
    return f"expires in {seconds:.0f} s" if seconds >= 0 else f"expired {-seconds:.0f} s ago"


def clock(seconds: float) -> str:
    """`seconds` as 2 h 05 min, or 3 min, or 40 s."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
