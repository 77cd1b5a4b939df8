"""`mmtuna leak`: how much of a figure comes from subjects that stand on both sides of the split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmtuna.search.outputs.leak import Leak, chosen_configs, measure_leak
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.statistics.intervals import Interval


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
        f"{found.metric} on the {found.images} validation images ({found.split}), {found.shared} of them of subjects "
        f"that train; {found.replicates} seeds, {found.folds} folds by subject"
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
    print(f"in brackets: 95 %, over subjects and seeds; the studies lie in {found.folder}")


def _figure(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.mean:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
