"""`mmtuna init`: a commented study.toml for a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.presets import PRESETS
from mmtuna.studies.spec.template import write_commented


def init(folder: Path, root: Path, classes: list[str], preset: str) -> None:
    """Writes DIR/study.toml for a data set, its folders as they lie."""
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
