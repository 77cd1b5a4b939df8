"""What the commands that change something do, behind the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import typer
from rich.console import Console

from mmtuna.search.commands import views
from mmtuna.search.quiet import quiet_optuna
from mmtuna.search.work.running import NotReadyError, StoppedError, replay_study, run_study, watched_preparation
from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec import StudySpec


def init(folder: Path, root: Path, classes: list[str], preset: str) -> None:
    """Writes DIR/study.toml for a data set, its folders as they lie."""
    from mmtuna.objectives.data.dataset import Dataset
    from mmtuna.spaces.presets import PRESETS
    from mmtuna.studies.spec.template import write_commented

    if preset not in PRESETS:
        raise InputError(f"--preset {preset} is unknown; use {' or '.join(PRESETS)}")
    found = Dataset.open(root, classes=classes)
    values: dict[str, dict[str, Any]] = {"data": {}}
    if (root / "subjects.csv").is_file():
        values["data"]["subjects"] = "subjects.csv"
    if not (root / "splits" / "train.txt").is_file():
        values["data"]["split"] = "subject" if "subjects" in values["data"] else "random"
    path = folder / "study.toml"
    write_commented(path, data_root=root.resolve(), classes=classes, preset=preset, values=values)
    print(f"{path}: {len(found.names)} images; next: mmtuna check {path}")


def check(path: Path, as_json: bool) -> None:
    """Prints all problems and notes; exit status 2 where there is a problem."""
    spec = StudySpec.load(path)
    quiet_optuna()
    with watched_preparation(spec, Console(stderr=True), spec.resources.trials_per_device) as ready:
        problems, notes = list(ready.problems), list(ready.notes)
    if not problems:
        problems += _continuation_problem(spec, ready.fingerprints())
    if as_json:
        print(json.dumps({"ready": not problems, "problems": problems, "notes": notes}, indent=1))
    else:
        for note in notes:
            print(f"note: {note}")
        if not problems:
            assert ready.dataset is not None
            assert ready.split is not None
            cells = ready.space.count()
            size = f"{cells} combinations" if cells else "continuous or over 100,000 combinations"
            images = f"{len(ready.split.train)} + {len(ready.split.val)} images"
            print(f"ready: {images}, {len(ready.space.names)} parameters, {size}")
    if problems:
        raise _Silent(problems) if as_json else NotReadyError(problems)


def _continuation_problem(spec: StudySpec, fingerprints: dict[str, dict[str, Any]]) -> list[str]:
    from mmtuna.studies.spec.tables import SQLITE
    from mmtuna.studies.storage.opening import sqlite_file
    from mmtuna.studies.study import check_fingerprints

    if spec.study.storage.startswith(SQLITE) and not sqlite_file(spec.study.storage).exists():
        return []
    try:
        check_fingerprints(spec, fingerprints)
    except InputError as error:
        return [str(error)]
    return []


class _Silent(NotReadyError):
    """Problems that stand in the JSON document already."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems)
        self.problems = []


def run(
    path: Path,
    trials: int | None,
    slots: int | None,
    as_json: bool,
    *,
    must_exist: bool = False,
    replicates: int | None = None,
    quiet: bool = False,
) -> None:
    """Works on the study, then prints the best trial, Table 2 where the study holds it, and writes the report."""
    spec = StudySpec.load(path)
    console = Console(stderr=as_json)
    quiet_optuna()
    with _told_when_stopped():
        study = run_study(spec, console, trials=trials, slots=slots, must_exist=must_exist, replicates=replicates)
    if not quiet:
        _finish(spec, study, as_json, with_report=True)


def launch(path: Path, address: str, trials: int | None, as_json: bool) -> None:
    """Works on the study on a Ray cluster, then prints and writes what `run` does."""
    from mmtuna.search.cluster.launcher import Launch
    from mmtuna.search.cluster.nodes import connected

    spec = StudySpec.load(path)
    console = Console(file=sys.stderr if as_json else sys.stdout)  # bound: Ray's own lines on stdout are dropped
    quiet_optuna()
    with _told_when_stopped(), connected(address) as cluster:
        study = Launch(spec, path, cluster, console, trials).run()
    _finish(spec, study, as_json, with_report=True)


def replay(path: Path, trials: int | None, slots: int | None, as_json: bool) -> None:
    """Works on a study of replayed curves and prints the best trial."""
    spec = StudySpec.load(path)
    quiet_optuna()
    with _told_when_stopped():
        study = replay_study(spec, Console(stderr=as_json), trials=trials, slots=slots)
    _finish(spec, study, as_json, with_report=False)


@contextmanager
def _told_when_stopped() -> Iterator[None]:
    """A search that stops before the study is full says why, and the command ends with status 1."""
    try:
        yield
    except StoppedError as error:
        print(f"mmtuna: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def _finish(spec: StudySpec, study: optuna.Study, as_json: bool, *, with_report: bool) -> None:
    summary = views.summary(spec, study)
    if with_report:
        summary["report"] = str(views.write_report(spec, study, spec.study.folder / "report.html"))
    if as_json:
        print(json.dumps(summary, indent=1))
        return
    if "table2" in spec.study.enqueue:
        views.print_table2(spec, study)
    views.print_best(summary)


def check_data(root: Path, classes: list[str], as_json: bool) -> None:
    """Reads a data set strictly and prints all problems; exit status 2 where there is one."""
    from mmtuna.objectives.data.dataset import Dataset
    from mmtuna.objectives.data.manifest import class_pixels, inspect, shapes

    found = Dataset.open(root, classes=classes)
    inspection = inspect(found)
    problems = [str(problem) for problem in inspection.problems]
    pixels = class_pixels(inspection.manifest)
    total = sum(pixels.values()) or 1
    shares = {name: pixels.get(value, 0) / total for value, name in enumerate(classes)}
    sizes = sorted(shapes(inspection.manifest, found))
    if as_json:
        document = {"images": len(found.names), "sizes": sizes, "shares": shares, "problems": problems}
        print(json.dumps(document, indent=1))
    else:
        shown = ", ".join(f"{height} x {width}" for height, width in sizes[:5])
        print(f"{len(found.names)} images of {shown}; " + ", ".join(f"{k} {v:.2%}" for k, v in shares.items()))
    if problems:
        raise _Silent(problems) if as_json else NotReadyError(problems)
