"""The paper's Table 2 beside what a study measured, as plain data and as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import optuna

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import scaled_by
from mmtuna.spaces.table2 import TABLE2, Row
from mmtuna.studies.attributes import SPEC
from mmtuna.studies.configs import diverged_of
from mmtuna.studies.results import TrialRow, shared_settings, sound_rows
from mmtuna.studies.standing import params_key
from mmtuna.studies.statistics.published import Reproduced, Reproduction, reproduced


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Replicates of one metric, a fraction 0 to 1; `sd` is the sample's (n - 1), None for one value."""

    mean: float
    sd: float | None
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Table2Line:
    """A row of Table 2: the published figures, and ours over the `n` complete replicates, beside which some `diverged`.

    `states` counts all trials of the row by Optuna's state; a spread is None where there is no complete trial.
    """

    number: int
    label: str
    published_mdice: float
    published_miou: float
    published_fluid_iou: float | None
    note: str
    n: int
    diverged: int
    mdice: Spread | None
    miou: Spread | None
    class_iou: Spread | None
    states: dict[str, int]
    reproduction: Reproduced
    """What the replicates say of the published mIoU."""
    scaled: str = ""
    """What sides and iterations that `label` names were scaled by in its trials; empty where by nothing."""


def table2(study: optuna.Study, space: SearchSpace, class_name: str | None = None) -> list[Table2Line]:
    """The eleven lines. A trial belongs to a row by the row's number that it was enqueued with, or by equal params.

    `class_name` is the class whose IoU stands beside the published fluid IoU: by default the study's class 1.
    """
    if class_name is None:
        classes = study.user_attrs.get(SPEC, {}).get("data", {}).get("classes", ["background", "fluid"])
        class_name = classes[1]
    return lines(sound_rows(study), space, class_name, shared_settings(study.user_attrs) or {})


def lines(
    trials: Sequence[TrialRow], space: SearchSpace, class_name: str, shared: Mapping[str, object]
) -> list[Table2Line]:
    """The eleven lines of `trials`, which have the `shared` settings, with the IoU of the class `class_name`."""
    return [_line(entry, _of_row(entry, trials, space), f"IoU.{class_name}", shared) for entry in TABLE2]


def scaling_note(lines: Sequence[Table2Line]) -> str:
    """That the trainings of the table were scaled down, and by what; empty where none was."""
    found = dict.fromkeys(line.scaled for line in lines if line.scaled)
    said = f"Trained with {'; or '.join(found)}: sides and iterations of the settings were scaled by these"
    return f"{said}, and published figures are of trainings that were not." if found else ""


def _of_row(entry: Row, trials: Sequence[TrialRow], space: SearchSpace) -> list[TrialRow]:
    params: Params | None
    try:
        params = entry.params(space)
    except InputError:
        params = None  # the space does not hold this row: only trials that carry its number are its own
    return [
        trial
        for trial in trials
        if trial.table2 == entry.number
        or (trial.table2 is None and params is not None and params_key(trial.params) == params_key(params))
    ]


def _line(entry: Row, trials: Sequence[TrialRow], class_metric: str, shared: Mapping[str, object]) -> Table2Line:
    complete = [trial for trial in trials if trial.state == "COMPLETE"]

    def measured(metric: str) -> list[float]:
        found = [trial.metrics[metric] for trial in complete if metric in trial.metrics]
        return [value for value in found if value == value]  # NaN: of a class that no image holds

    def spread(metric: str) -> Spread | None:
        values = measured(metric)
        if not values:
            return None
        sd = statistics.stdev(values) if len(values) > 1 else None
        return Spread(mean=statistics.fmean(values), sd=sd, low=min(values), high=max(values))

    return Table2Line(
        number=entry.number,
        label=entry.label,
        published_mdice=entry.mdice,
        published_miou=entry.miou,
        published_fluid_iou=entry.fluid_iou,
        note=entry.note,
        n=len(complete),
        diverged=diverged_of(trials).total(),
        mdice=spread("mDice"),
        miou=spread("mIoU"),
        class_iou=spread(class_metric),
        states=dict(sorted(Counter(trial.state for trial in trials).items())),
        reproduction=_reproduction(entry, measured("mIoU")),
        scaled="; or ".join(dict.fromkeys(said for trial in trials if (said := scaled_by({**shared, **trial.params})))),
    )


def _reproduction(entry: Row, ours: Sequence[float]) -> Reproduced:
    if entry.fluid_iou is None:  # what was printed belongs to no training that is known
        return Reproduced(verdict=Reproduction.NOT_TESTABLE, why="the published figure has no log")
    return reproduced(entry.miou, ours)


def verdict_text(line: Table2Line) -> str:
    """The verdict on the published mIoU with our difference from it; why, where there is none."""
    found = line.reproduction
    if found.why:
        return f"{found.verdict}: {found.why}"
    return f"{found.verdict} ({found.difference:+.4f}; one more of ours: {found.low:.4f} to {found.high:.4f})"


def seeds_text(line: Table2Line) -> str:
    """`2`; `2 (1 diverged)`, which is in no mean."""
    return f"{line.n} ({line.diverged} diverged)" if line.diverged else str(line.n)


_HEADER = ("row", "settings", "mDice paper", "mDice", "mIoU paper", "mIoU", "IoU paper", "IoU", "n", "verdict", "note")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _spread(spread: Spread | None, plus_minus: str) -> str:
    if spread is None:
        return "-"
    return _figure(spread.mean) + ("" if spread.sd is None else f" {plus_minus} {spread.sd:.4f}")


def _cells(line: Table2Line, plus_minus: str, escape: Callable[[str], str]) -> list[str]:
    return [
        str(line.number),
        escape(line.label),
        _figure(line.published_mdice),
        _spread(line.mdice, plus_minus),
        _figure(line.published_miou),
        _spread(line.miou, plus_minus),
        _figure(line.published_fluid_iou),
        _spread(line.class_iou, plus_minus),
        seeds_text(line),
        escape(verdict_text(line)),
        escape(line.note),
    ]


def to_markdown(lines: Sequence[Table2Line]) -> str:
    """A Markdown table: mean and sample standard deviation of ours beside the published figures, and its note."""

    def escape(text: str) -> str:
        return text.replace("|", "\\|")

    table = [_HEADER, tuple("---" for _ in _HEADER), *(_cells(line, "±", escape) for line in lines)]
    note = scaling_note(lines)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in table) + (f"\n{note}\n" if note else "")


def to_csv(lines: Sequence[Table2Line]) -> str:
    """CSV with one number a cell, at full precision; an empty cell is no value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    metrics = ("mdice", "miou", "class_iou")
    parts = ("mean", "sd", "low", "high")
    published = ("published_mdice", "published_miou", "published_fluid_iou")
    found = ("verdict", "difference", "low", "high", "why")
    spreads = [f"{metric}_{part}" for metric in metrics for part in parts]
    named = [name if name == "verdict" else f"verdict_{name}" for name in found]
    writer.writerow(["row", "settings", *published, "n", "diverged", *spreads, *named, "note", "scaled"])
    for line in lines:
        ours = [getattr(getattr(line, metric), part, None) for metric in metrics for part in parts]
        figures = [getattr(line, name) for name in published]
        said = [getattr(line.reproduction, name) for name in found]
        told = [line.number, line.label, *figures, line.n, line.diverged, *ours, *said]
        writer.writerow([*told, line.note, line.scaled])
    return out.getvalue()


def to_latex(lines: Sequence[Table2Line]) -> str:
    """A LaTeX tabular without the rows' notes, and below it what it was scaled by; needs no package."""

    def escape(text: str) -> str:
        return "".join(f"\\{sign}" if sign in "&%$#_{}" else sign for sign in text)

    cells = [_cells(line, "$\\pm$", escape)[:-1] for line in lines]
    body = "".join(f"{' & '.join(row)} \\\\\n" for row in cells)
    header = f"{' & '.join(_HEADER[:-1])} \\\\\n"
    note = scaling_note(lines)
    below = f"\n\\par {escape(note)}\n" if note else ""
    return f"\\begin{{tabular}}{{rlrrrrrrrl}}\n\\hline\n{header}\\hline\n{body}\\hline\n\\end{{tabular}}\n{below}"
