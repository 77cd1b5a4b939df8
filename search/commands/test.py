"""`mmtuna test`: the chosen trial on the images that no trial saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mmtuna.search.outputs.unseen import Tested, measure_unseen
from mmtuna.spaces.metrics import unit
from mmtuna.studies.looks import Look
from mmtuna.studies.report.sureness import way_of
from mmtuna.studies.report.wording import count, listed
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.statistics.intervals import How


def look(path: Path, trial: int | None, again: bool, as_json: bool) -> None:
    """Measures, unless the test set was looked at before, and prints every look."""
    spec = StudySpec.load(path)
    tested = measure_unseen(spec, trial, again=again, say=lambda line: print(line, file=sys.stderr))
    if as_json:
        print(json.dumps(document(tested), indent=1))
        return
    for line in lines(tested, spec.study.metric):
        print(line)


def document(tested: Tested) -> dict[str, Any]:
    """What `--json` prints: measured (whether now), best (the best trial now), looks."""
    return {"measured": tested.fresh, "best": tested.best, "looks": [look.plain() for look in tested.looks]}


def lines(tested: Tested, metric: str) -> list[str]:
    """What a person is told: whether this was measured now, and every look with its figures."""
    looks = tested.looks
    count = f"{len(looks)} look{'s' if len(looks) > 1 else ''} at the test set"
    told = []
    if not tested.fresh:
        told.append(
            f"{count} before, and none now: figures that are looked at until they please are no test; --again looks "
            "once more, which is kept and told"
        )
    elif len(looks) > 1:
        told.append(f"{count}, this one included: the first is the test")
    for number, look in enumerate(looks, start=1):
        told += _of(look, number, metric)
    if looks[-1].trial != tested.best:
        told.append(f"the trial that export takes is {tested.best} now")
    return told


def _of(look: Look, number: int, metric: str) -> list[str]:
    whose = f" of {look.subjects} subject{'s' * (look.subjects > 1)}" if look.subjects else ""
    head = (
        f"look {number}, {look.at}, after {count(look.finished, 'trial')}: trial {look.trial} "
        f"({metric} {look.value:.4f} on validation images) on {look.images} image{'s' * (look.images > 1)}{whose}"
    )
    rows = [f"  {name:<22}{look.text(name):>26}{unit(name)}" for name in look.figures]
    units, found = ("subjects", look.subjects) if look.subjects else ("images", look.images)
    told = f"  no intervals: two {units} are needed at least" if found < 2 else "  no intervals"
    if look.intervals:
        told = f"  intervals over {units}: {_ways(look)}"
    return [head, f"  {'metric':<22}{'figure and 95 % interval':>26}", *rows, told]


def _ways(look: Look) -> str:
    """What the intervals were made by; of what most were not, by name."""
    ways: dict[str, list[str]] = {}
    for metric in look.intervals:
        ways.setdefault(way_of(look.methods.get(metric, How.BOOTSTRAP)), []).append(metric)
    first, *others = sorted(ways, key=lambda way: -len(ways[way]))
    return "; ".join([first, *(f"of {listed(ways[way])} {way}" for way in others)])
