"""What the commands that only look print: status, Table 2, the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec import StudySpec

if TYPE_CHECKING:
    import optuna

    from mmtuna.studies.table2 import Spread


def summary(spec: StudySpec, study: optuna.Study) -> dict[str, Any]:
    """The study in a few figures, as JSON data."""
    from collections import Counter

    from mmtuna.search.trials.folder import folder_to_look
    from mmtuna.studies import results
    from mmtuna.studies.files.trial_store import trial_marks

    entries = results.rows(study)
    best = results.best(study)
    document: dict[str, Any] = {
        "study": spec.study.name,
        "metric": spec.study.metric,
        "asked": spec.study.trials,
        "finished": sum(entry.state in ("COMPLETE", "PRUNED") for entry in entries),
        "states": dict(sorted(Counter(entry.state for entry in entries).items())),
        "causes": dict(results.causes(study)),
        "seconds": round(sum(entry.seconds or 0.0 for entry in entries), 1),
        "folder": str(spec.study.folder),
        "best": None,
    }
    if best is not None:
        config = spec.study.folder / (best.folder or "") / "config.py"
        marks = trial_marks(spec.study, study)
        if best.folder and marks is not None and (marks.left_over(best.folder) or not config.is_file()):
            config = folder_to_look(spec, study, best.folder) / "config.py"
        document["best"] = {
            "trial": best.number,
            "value": best.value,
            "params": best.params,
            "seed": best.seed,
            "metrics": best.metrics,
            "config": str(config) if best.folder and config.is_file() else None,
        }
    return document


def print_best(document: dict[str, Any]) -> None:
    """The best trial, its metrics, params and config path."""
    best = document["best"]
    if best is None:
        print("no trial is complete yet")
        return
    print(f"best: trial {best['trial']}, {document['metric']} {best['value']:.4f}")
    print("  " + ", ".join(f"{name} {value:.4f}" for name, value in best["metrics"].items()))
    print("  " + ", ".join(f"{name} = {value}" for name, value in best["params"].items()))
    if best["config"]:
        print(f"  config: {best['config']}")
    if "report" in document:
        print(f"  report: {document['report']}")


def table2(path: Path, style: str, as_json: bool) -> None:
    """Prints Table 2 beside the study's rows."""
    from dataclasses import asdict

    from mmtuna.studies import table2 as tables
    from mmtuna.studies.study import open_existing

    styles = {"markdown": tables.to_markdown, "csv": tables.to_csv, "latex": tables.to_latex}
    if style != "text" and style not in styles:
        raise InputError(f"--format {style} is unknown; use text, {', '.join(styles)}")
    spec = StudySpec.load(path)
    study = open_existing(spec)
    lines = tables.table2(study, spec.search_space())
    if as_json:
        print(json.dumps([asdict(line) for line in lines], indent=1))
    elif style == "text":
        print_table2(spec, study)
    else:
        print(styles[style](lines), end="")


def print_table2(spec: StudySpec, study: optuna.Study) -> None:
    """Table 2 for a terminal."""
    from rich.console import Console
    from rich.table import Table

    from mmtuna.studies.table2 import table2 as lines_of

    table = Table(title="The paper's Table 2 beside ours", box=None, title_justify="left")
    for title in ("row", "settings"):
        table.add_column(title, justify="left")
    for title in ("mIoU paper", "mIoU", "mDice paper", "mDice", "fluid IoU log", f"IoU.{spec.data.classes[1]}", "n"):
        table.add_column(title, justify="right")
    for line in lines_of(study, spec.search_space()):
        published = "-" if line.published_fluid_iou is None else f"{line.published_fluid_iou:.4f}"
        cells = [f"{line.published_miou:.4f}", _figure(line.miou), f"{line.published_mdice:.4f}", _figure(line.mdice)]
        states = "" if line.n or not line.states else " " + ", ".join(line.states).lower()
        table.add_row(str(line.number), line.label, *cells, published, _figure(line.class_iou), f"{line.n}{states}")
    Console(width=None if Console().is_terminal else 140).print(table)


def _figure(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"{spread.mean:.4f}" + (f" ± {spread.sd:.4f}" if spread.sd is not None else "")


def report(path: Path, out: Path | None) -> None:
    """Writes the report of a study."""
    from mmtuna.studies.study import open_existing

    spec = StudySpec.load(path)
    study = open_existing(spec)
    print(write_report(spec, study, out or spec.study.folder / "report.html"))


def write_report(spec: StudySpec, study: optuna.Study, out: Path) -> Path:
    """Writes the report's HTML to `out`, whole or not at all."""
    from mmtuna.search.commands.report_facts import gather_facts
    from mmtuna.spaces.files import write_whole
    from mmtuna.studies import results
    from mmtuna.studies.report import report_html

    write_whole(out, report_html(study, spec.search_space(), gather_facts(spec, study, results.best(study))))
    return out
