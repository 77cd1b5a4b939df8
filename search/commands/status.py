"""`mmtuna status`: where a study stands, once or again and again."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from mmtuna.search.outputs.summary import standing
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.limits import in_words
from mmtuna.spaces.metrics import figure_text
from mmtuna.studies.report.sureness import why_chosen
from mmtuna.studies.report.wording import duration
from mmtuna.studies.results import named_trials
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.statistics.seeds import NoiseFloor
from mmtuna.studies.study import open_to_read

_SHOWN_TRIALS = 3


def status(path: Path, as_json: bool, watch: float | None = None) -> None:
    """Prints where a study stands; as JSON with every trial, which `mmtuna replay` can play.

    With `watch` again and again, every so many seconds, until Ctrl-C.
    """
    spec = StudySpec.load(path)
    if watch is not None and as_json:
        raise InputError("--watch and --json: one JSON document cannot be repeated; take one of them")
    study = open_to_read(spec, to_look=True)
    while True:
        document = standing(spec, study)
        if as_json:
            print(json.dumps(document, indent=1))
            return
        if watch is not None and sys.stdout.isatty():
            print("\033[2J\033[H", end="")  # clears the terminal
        print_status(document)
        if watch is None:
            return
        sys.stdout.flush()
        time.sleep(watch)


def print_status(document: dict[str, Any]) -> None:
    """The document of `status` for a person."""
    states = ", ".join(f"{count} {state.lower()}" for state, count in document["states"].items()) or "no trials"
    print(f"study {document['study']}: {document['finished']} of {document['asked']} finished ({states})")
    if document["damaged"]:
        left = "the database does not hold what mmtuna wrote there; `mmtuna report` says what is left"
        print(f"  {named_trials(document['damaged'])}: {left}")
    if document["hours"] is not None:
        print(f"{duration(3600 * document['hours']['used'])} of {document['hours']['asked']:g} hours used")
    for cause, count in document["causes"].items():
        print(f"  {count} ended by: {cause}")
    for kind, speed in document["speeds"].items():
        print(f"speed on {kind}: {speed}")
    for worker in document["workers"]:
        training = ", ".join(str(number) for number in worker["trials"][:_SHOWN_TRIALS])
        more = f" and {len(worker['trials']) - _SHOWN_TRIALS} more" if len(worker["trials"]) > _SHOWN_TRIALS else ""
        doing = f"trains {training}{more}" if training else "waits"
        life = doing if worker["alive"] else _death(worker["seconds_left"])
        print(f"worker {worker['worker']}: {worker['slots']} slot{'s' if worker['slots'] > 1 else ''}, {life}")
    for lease in document["expiring"]:
        print(f"  trial {lease['trial']}: its lease {_expiry(lease['seconds_left'])}")
    if document["trials_per_hour"] is not None:
        eta = document["eta_seconds"]
        until = "" if eta is None else "; full" if eta == 0 else f"; full in about {clock(eta)}"
        print(f"{document['trials_per_hour']:.1f} trials an hour{until}")
    print_best(document)
    if document["noise_floor"] is not None:
        print(f"noise floor: {NoiseFloor(**document['noise_floor']).text(document['metric'])}")


def print_best(document: dict[str, Any]) -> None:
    """The best trial, its metrics, params and config path."""
    best = document["best"]
    if best is None:
        print("no trial is complete yet")
        return
    print(f"best: trial {best['trial']}, {document['metric']} {best['value']:.4f}")
    where = "at its last evaluation: " if best["at_last"] else ""
    print(f"  {where}" + ", ".join(figure_text(name, value) for name, value in best["metrics"].items()))
    if best["folds"]:
        each = [f"{fold[document['metric']]:.4f}" if document["metric"] in fold else "-" for fold in best["folds"]]
        print(f"  {document['metric']} by fold: {', '.join(each)}")
    print("  " + ", ".join(f"{name} = {value}" for name, value in best["params"].items()))
    if best["demand"]:
        print(f"  {in_words(best['demand'])}")
    if best["config"]:
        print(f"  config: {best['config']}")
    if document["chosen"] != best["trial"]:
        why = why_chosen(document["chosen_seeds"])
        print(f"  chosen: trial {document['chosen']}, whose config {why}; export takes it")
    if "report" in document:
        print(f"  report: {document['report']}")


def _death(seconds_left: float) -> str:
    return f"expired {-seconds_left:.0f} s ago" if seconds_left < 0 else "is gone; whoever works next trains its trials"


def _expiry(seconds: float) -> str:
    return f"expires in {seconds:.0f} s" if seconds >= 0 else f"expired {-seconds:.0f} s ago"


def clock(seconds: float) -> str:
    """`seconds` as 2 h 05 min, or 3 min, or 40 s."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
