"""`mmtuna compare`: which of two trials' configs is better, and the two beside the truth."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from mmtuna.search.outputs.comparison import Against, against
from mmtuna.search.outputs.comparison import compare as draw
from mmtuna.studies.report.wording import count
from mmtuna.studies.spec import StudySpec


def compare(
    path: Path, a: int, b: int, out: Path | None, image: str | None, other: Path | None = None, *, as_json: bool = False
) -> None:
    """Prints what is known of trial `b` beside trial `a`; with `out` draws the picture, and prints what it shows."""
    spec, theirs = StudySpec.load(path), None if other is None else StudySpec.load(other)
    known = against(spec, a, b, theirs)
    drawn = None if out is None else draw(spec, a, b, out, image, theirs)
    if as_json:
        picture = None if drawn is None else {"path": str(drawn.path), "images": drawn.images}
        print(json.dumps(asdict(known) | {"picture": picture}, indent=1))
        return
    print(line_of(known, a, b))
    if drawn is not None:
        print(f"{drawn.path}: trials {a} and {b} on {', '.join(drawn.images)}")


def line_of(known: Against, a: int, b: int) -> str:
    """The verdict, and what it rests on."""
    found = known.beside
    seeds = [f"trial {one} ({count(number, 'seed')})" for one, number in zip((b, a), found.seeds, strict=True)]
    difference = "" if found.difference is None else f", {known.metric} {found.difference:+.4f}"
    if known.value == "best" and found.at_last is not None:  # images are counted in the last evaluation alone
        difference += f" by the best evaluations, and at the last, which alone is tested, {found.at_last:+.4f}"
    said = f"{' beside '.join(seeds)}: {found.verdict}{difference}"
    tested = found.comparison
    if found.why or tested is None or tested.by_seeds is None:
        return f"{said}; {found.why}"
    units = count(tested.units, found.unit)
    return (
        f"{said}; p = {tested.by_units:.2g} over {units} (Wilcoxon), p = {tested.by_seeds:.2g} against seeds and "
        f"{found.unit}s together (t test)"
    )
