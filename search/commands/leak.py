"""`mmtuna leak`: how much of a figure comes from subjects that stand on both sides of the split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmtuna.search.outputs.leak import Leak, LeakLine, chosen_configs, measure_leak
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.statistics.intervals import LEVEL, Interval


def leak(
    path: Path,
    replicates: int,
    folds: int,
    trials: Sequence[int],
    configs: Path | None,
    metric: str | None,
    slots: int | None,
    as_json: bool,
) -> None:
    """Trains what is missing, then prints each config's figures on known and on unseen subjects, and the difference."""
    spec = StudySpec.load(path)
    found = measure_leak(
        spec,
        chosen_configs(spec, trials, configs),
        Console(stderr=as_json),
        replicates=replicates,
        folds=folds,
        metric=metric,
        slots=slots,
        heed_signals=True,
    )
    if as_json:
        print(json.dumps(asdict(found), indent=1))
        return
    print_leak(found)


def print_leak(found: Leak) -> None:
    """The leak for a terminal."""
    title = (
        f"{found.metric} on the {found.shared} of {found.images} validation images ({found.split}) that are of "
        f"subjects that train; {found.replicates} seeds, {found.folds} folds by subject"
    )
    table = Table(title=title, box=None, title_justify="left")
    for name in ("config", "by the split", "subjects unseen", "difference", "verdict", "all images, subjects unseen"):
        table.add_column(name, justify="left")
    for line in found.lines:
        figures = [_figure(entry) for entry in (line.known, line.unseen, line.leak)]
        table.add_row(line.name, *figures, line.verdict, _figure(line.everything))
    Console(width=None if Console().is_terminal else 200).print(table)
    if found.together is not None:
        print(f"all configs together: {_figure(found.together)}")
    print(f"in brackets: {_levels(found.lines)}; the studies lie in {found.folder}")


def _levels(lines: Sequence[LeakLine]) -> str:
    """What the intervals are of: those of several differences are wider, to hold all together."""
    plain, apart = f"{100 * LEVEL:g} %", {line.leak.level for line in lines if line.leak is not None}
    wider = "".join(f", of each difference {100 * level:.4g} %" for level in sorted(apart) if level > LEVEL)
    return f"{plain}{wider}{f', so that all hold together with {plain}' if wider else ''}, over subjects and seeds"


def _figure(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.mean:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
