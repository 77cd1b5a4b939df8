"""`mmtuna run`, `worker`, `launch` and `replay`: a study is worked on, then its best trial and report are told."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console

from mmtuna.search.commands.status import print_best
from mmtuna.search.commands.table2 import print_table2
from mmtuna.search.outputs.report import report_file, write_report
from mmtuna.search.outputs.summary import summary
from mmtuna.search.work.running import replay_study, run_study
from mmtuna.studies.configs import means_of
from mmtuna.studies.report.sureness import diverged_text
from mmtuna.studies.report.wording import count
from mmtuna.studies.results import named_trials, rows
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.strategy.enqueuing import Top


def run(
    path: Path,
    trials: int | None,
    slots: int | None,
    as_json: bool,
    *,
    must_exist: bool = False,
    record: Path | None = None,
    replicates: int | None = None,
    top: int | None = None,
) -> None:
    """Works on the study, then prints the best trial, Table 2 where the study holds it, and writes the report.

    With `replicates` the best `top` configs are trained with as many seeds, and their means are printed.
    """
    spec, again = StudySpec.load(path), Top.of(replicates, top)
    study = run_study(
        spec,
        Console(stderr=as_json),
        trials=trials,
        slots=slots,
        must_exist=must_exist,
        top=again,
        record=record,
        heed_signals=True,
    )
    _finish(spec, study, as_json, with_report=True, top=again)


def launch(path: Path, address: str, trials: int | None, as_json: bool) -> None:
    """Works on the study on a Ray cluster, then prints and writes what `run` does."""
    from mmtuna.search.cluster.launcher import Launch
    from mmtuna.search.cluster.nodes import connected

    spec = StudySpec.load(path)
    console = Console(file=sys.stderr if as_json else sys.stdout)  # bound: Ray's own lines on stdout are dropped
    with connected(address) as cluster:
        study = Launch(spec, path, cluster, console, trials).run()
    _finish(spec, study, as_json, with_report=True)


def replay(path: Path, trials: int | None, slots: int | None, as_json: bool) -> None:
    """Works on a study of replayed curves and prints the best trial."""
    spec = StudySpec.load(path)
    study = replay_study(spec, Console(stderr=as_json), trials=trials, slots=slots, heed_signals=True)
    _finish(spec, study, as_json, with_report=False)


def _finish(spec: StudySpec, study: optuna.Study, as_json: bool, *, with_report: bool, top: Top | None = None) -> None:
    entries = rows(study)
    document = summary(spec, study, entries)
    if top is not None or any(entry.again for entry in entries):
        document["top"] = means_of(entries, 2 if top is None else top.replicates)
    if with_report:
        document["report"] = str(write_report(spec, study, report_file(spec)))
    if as_json:
        print(json.dumps(document, indent=1))
        return
    if "table2" in spec.study.enqueue:
        print_table2(spec, study)
    print_best(document)
    for line in lines_of_top(document):
        print(line)


def lines_of_top(document: dict[str, Any]) -> Iterator[str]:
    """What further seeds made of the best configs."""
    for config in document.get("top", []):
        seeds, lost = len(config["values"]) + config["diverged"], diverged_text(config["diverged"])
        each = ", ".join(f"{value:.4f}" for value in config["values"])
        mean = f"{document['metric']} {config['mean']:.4f} on average"
        mean += "" if config["least"] is None else f", {config['least']:.4f} at least,"
        yield f"  {named_trials(config['trials'])}: {mean} of {count(seeds, 'seed')} ({each}){lost}"
