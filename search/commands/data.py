"""`mmtuna data check`: a data set read strictly."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.manifest import class_pixels, inspect, shapes
from mmtuna.search.errors import NotReadyError


def check(root: Path, classes: list[str], as_json: bool) -> None:
    """Reads a data set strictly and prints all problems; exit status 2 where there is one."""
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
        raise typer.Exit(2 if problems else 0)
    shown = ", ".join(f"{height} x {width}" for height, width in sizes[:5])
    print(f"{len(found.names)} images of {shown}; " + ", ".join(f"{k} {v:.2%}" for k, v in shares.items()))
    if problems:
        raise NotReadyError(problems)
