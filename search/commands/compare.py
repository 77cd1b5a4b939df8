"""`mmtuna compare`: two trials beside the truth."""

from __future__ import annotations

from pathlib import Path

from mmtuna.search.outputs.comparison import compare as draw
from mmtuna.studies.spec import StudySpec


def compare(path: Path, a: int, b: int, out: Path, image: str | None) -> None:
    """Draws the picture and prints what it shows."""
    drawn = draw(StudySpec.load(path), a, b, out, image)
    print(f"{drawn.path}: trials {a} and {b} on {', '.join(drawn.images)}")
