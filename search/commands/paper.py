"""`mmtuna paper`: the paper's tables and figures from a study."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from mmtuna.search.outputs.paper import write_paper
from mmtuna.studies.spec import StudySpec


def paper(path: Path, out: Path) -> None:
    """Writes them to a folder and prints what they show."""
    written = write_paper(StudySpec.load(path), out, Console(stderr=True))
    print(f"{written.folder}: tables 1 and 2, figures 5 and 6 (trial {written.trial}, {written.image})")
