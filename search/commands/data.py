"""`mmtuna data check`: a data set read strictly."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.manifest import Manifest, class_pixels, inspect, shapes
from mmtuna.objectives.data.sides import check_sides, class_pixels_by_side
from mmtuna.objectives.data.split import published
from mmtuna.search.checking.data import recall, remember
from mmtuna.search.errors import NotReadyError
from mmtuna.spaces.errors import InputError

_LISTS = ("splits/train.txt", "splits/val.txt")


def check(root: Path, classes: list[str], as_json: bool) -> None:
    """Reads a data set strictly and prints all problems; exit status 2 where there is one.

    Where splits/train.txt and splits/val.txt are there, each side is told of as well.
    """
    found = Dataset.open(root, classes=classes)
    inspection = inspect(found, manifest=recall(root))
    remember(root, inspection.manifest)
    sides = _Sides(found, inspection.manifest)
    problems = [*map(str, inspection.problems), *sides.problems]
    pixels = class_pixels(inspection.manifest)
    total = sum(pixels.values()) or 1
    shares = {name: pixels.get(value, 0) / total for value, name in enumerate(classes)}
    sizes = sorted(shapes(inspection.manifest, found))
    if as_json:
        document = {"images": len(found.names), "sizes": sizes, "shares": shares, "problems": problems}
        print(json.dumps(document | {"pixels": sides.pixels, "notes": sides.notes}, indent=1))
        raise typer.Exit(2 if problems else 0)
    shown = ", ".join(f"{height} x {width}" for height, width in sizes[:5])
    print(f"{len(found.names)} images of {shown}; " + ", ".join(f"{k} {v:.2%}" for k, v in shares.items()))
    for side, counts in sides.pixels.items():
        print(f"{side}: " + ", ".join(f"{name} {count}" for name, count in counts.items()) + " pixels")
    for note in sides.notes:
        print(f"note: {note}")
    if problems:
        raise NotReadyError(problems)


class _Sides:
    """What is on each side of the published split, `pixels` by side and class; nothing where there are no lists."""

    def __init__(self, dataset: Dataset, manifest: Manifest) -> None:
        self.pixels: dict[str, dict[str, int]] = {}
        self.problems: list[str] = []
        self.notes: list[str] = []
        if not all((dataset.root / file).is_file() for file in _LISTS):
            return
        try:
            split = published(dataset, *_LISTS)
        except InputError as error:
            self.problems.append(str(error))
            return
        self.pixels = class_pixels_by_side(manifest, dataset, split)
        self.problems, self.notes = check_sides(dataset, split, manifest)
