"""A small spec in code: phantom eyes of 64 pixels and a UNet of 4 channels that learns in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mmtuna
from mmtuna.objectives.data.phantom import write_phantom

TRAIN = {
    "decoder": "fcn",
    "base_channels": 4,
    "input_size": 64,
    "inference": "whole",
    "optimizer": "AdamW",
    "iterations": 8,
    "evaluations": 4,
}
SPACE = {"params": {"lr_adam": {"low": 1e-4, "high": 1e-2, "log": True}}}


@pytest.fixture(scope="session")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("python") / "eyes"
    write_phantom(root, subjects=6, scans=4, size=64)
    return root


@pytest.fixture
def make_spec(tmp_path: Path, eyes: Path) -> Callable[..., mmtuna.StudySpec]:
    """A spec whose study lies in tmp_path/study; keywords are tables, whose keys come before the usual ones."""

    def make(**tables: dict[str, Any]) -> mmtuna.StudySpec:
        usual: dict[str, dict[str, Any]] = {
            "study": {"name": "tiny", "folder": str(tmp_path / "study"), "trials": 2, "pruner_startup": 0},
            "data": {"root": str(eyes), "subjects": "subjects.csv"},
            "model": {"pretrained": "none"},
            "space": SPACE,
            "train": TRAIN,
            "resources": {"devices": ["cpu"], "threads": 1},
        }
        return mmtuna.StudySpec(**{name: {**table, **tables.get(name, {})} for name, table in usual.items()})

    return make
