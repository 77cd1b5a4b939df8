"""Two studies of replayed curves as commit 0b81b06 left them: one of each preset, in one SQLite database."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from mmtuna.studies.spec import StudySpec

HERE = Path(__file__).parent
PRESETS = ("extended", "paper")


def restored(preset: str, folder: Path) -> StudySpec:
    """The spec of the study of that preset, whose database lies in `folder` where the spec says."""
    path = folder / "study.toml"
    shutil.copyfile(HERE / f"{preset}.toml", path)
    spec = StudySpec.load(path)
    spec.study.folder.mkdir(parents=True)
    with closing(sqlite3.connect(spec.study.folder / "study.db")) as database:
        database.executescript((HERE / "study.sql").read_text(encoding="utf-8"))
    return spec
