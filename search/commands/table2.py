"""`mmtuna table2`: the paper's Table 2 beside the study's."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mmtuna.spaces.errors import InputError
from mmtuna.studies import table2 as tables
from mmtuna.studies.begun import space_of
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.strategy.enqueuing import Replicates
from mmtuna.studies.study import open_to_read
from mmtuna.studies.table2 import Spread

if TYPE_CHECKING:
    import optuna

_STYLES = {"markdown": tables.to_markdown, "csv": tables.to_csv, "latex": tables.to_latex}


def table2(path: Path, replicates: int | None, slots: int | None, style: str, as_json: bool) -> None:
    """Prints Table 2 beside the study's rows, after training `replicates` of each where that is asked for."""
    if style != "text" and style not in _STYLES:
        raise InputError(f"--format {style} is unknown; use text, {', '.join(_STYLES)}")
    if as_json and style != "text":
        raise InputError(f"--format {style} and --json: one document has one form; take one of them")
    spec = StudySpec.load(path)
    if replicates is not None:
        from rich.console import Console

        from mmtuna.search.work.running import run_study

        rows = Replicates(count=replicates)
        run_study(spec, Console(stderr=as_json), slots=slots, replicates=rows, heed_signals=True)
    study = open_to_read(spec)
    if style == "text" and not as_json:
        print_table2(spec, study)
        return
    lines = tables.table2(study, space_of(study, spec))
    print(json.dumps([asdict(line) for line in lines], indent=1) + "\n" if as_json else _STYLES[style](lines), end="")


def print_table2(spec: StudySpec, study: optuna.Study) -> None:
    """Table 2 for a terminal."""
    from rich.console import Console
    from rich.table import Table

    last = "" if spec.study.value == "last" else ", both by last evaluations (the study counts best ones)"
    table = Table(title=f"The paper's Table 2 beside ours{last}", box=None, title_justify="left")
    for title in ("row", "settings"):
        table.add_column(title, justify="left")
    for title in ("mIoU paper", "mIoU", "mDice paper", "mDice", "fluid IoU log", f"IoU.{spec.data.classes[1]}", "n"):
        table.add_column(title, justify="right")
    table.add_column("mIoU is", justify="left")
    lines = tables.table2(study, space_of(study, spec))
    for line in lines:
        published = "-" if line.published_fluid_iou is None else f"{line.published_fluid_iou:.4f}"
        cells = [f"{line.published_miou:.4f}", _figure(line.miou), f"{line.published_mdice:.4f}", _figure(line.mdice)]
        states = "" if line.n or not line.states else " " + ", ".join(line.states).lower()
        table.add_row(
            str(line.number),
            line.label,
            *cells,
            published,
            _figure(line.class_iou),
            f"{tables.seeds_text(line)}{states}",
            str(line.reproduction.verdict),
        )
    Console(width=None if Console().is_terminal else 140).print(table)
    if note := tables.scaling_note(lines):
        print(note)


def _figure(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"{spread.mean:.4f}" + (f" ± {spread.sd:.4f}" if spread.sd is not None else "")
