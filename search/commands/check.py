"""`mmtuna check`: everything that can be known to fail before trial 1."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from rich.console import Console

from mmtuna.search.errors import NotReadyError
from mmtuna.search.work.running import check_study
from mmtuna.studies.spec import StudySpec


def check(path: Path, as_json: bool, *, quick: bool = False) -> None:
    """Prints all problems and notes; exit status 2 where there is a problem. `quick`: nothing is trained for it."""
    ready = check_study(StudySpec.load(path), Console(stderr=True), probe=not quick)
    if as_json:
        print(json.dumps({"ready": not ready.problems, "problems": ready.problems, "notes": ready.notes}, indent=1))
        raise typer.Exit(2 if ready.problems else 0)
    for note in ready.notes:
        print(f"note: {note}")
    if ready.problems:
        raise NotReadyError(ready.problems)
    assert ready.split is not None
    cells = ready.space.count()
    size = f"{cells} combinations" if cells else "continuous or over 100,000 combinations"
    images = f"{len(ready.split.train)} + {len(ready.split.val)} images"
    print(f"ready: {images}, {len(ready.space.names)} parameters, {size}")
