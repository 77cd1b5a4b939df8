"""`mmtuna check`: everything that can be known to fail before trial 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from mmtuna.search.errors import NotReadyError
from mmtuna.search.work.beginning import check_study, lacking
from mmtuna.studies.spec import StudySpec


def check(path: Path, as_json: bool, *, quick: bool = False, time: bool = False) -> None:
    """Prints all problems and notes; exit status 2 where there is a problem.

    `quick`: no combination is tried for it; `time`: how long the study will take is measured and told, too.
    """
    spec = StudySpec.load(path)
    ready, forecast = check_study(spec, Console(stderr=True), probe=not quick, time=time)
    if as_json:
        found: dict[str, Any] = {"ready": not ready.problems, "problems": ready.problems, "notes": ready.notes}
        if time:
            found["time"] = None if forecast is None else forecast.document(lacking(spec))
        print(json.dumps(found, indent=1))
        raise typer.Exit(2 if ready.problems else 0)
    for note in ready.notes:
        print(f"note: {note}")
    if ready.problems:
        raise NotReadyError(ready.problems)
    assert ready.split is not None
    cells = ready.space.count()
    size = f"{cells} combinations" if cells else "continuous or over 100,000 combinations"
    images = f"{len(ready.split.train)} + {len(ready.split.val)} images"
    images += f" in the first of {spec.folds} folds" if spec.folds > 1 else ""
    print(f"ready: {images}, {len(ready.space.names)} parameters, {size}")
    if forecast is not None:
        for line in forecast.lines(lacking(spec), pruned=spec.study.pruner != "none"):
            print(line)
