"""Notes on trials and on the study, as Markdown for the dashboard."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import optuna

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.metrics import unit, units
from mmtuna.spaces.parameter import Parameter
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.speed import Speed
from mmtuna.spaces.table2 import TABLE2, Row
from mmtuna.studies.ledger import ending
from mmtuna.studies.report.facts import Reading, value_of
from mmtuna.studies.report.sureness import why_chosen
from mmtuna.studies.report.wording import duration, hours, only_where, range_text, size_of, value_text
from mmtuna.studies.results import TrialRow
from mmtuna.studies.standing import params_key
from mmtuna.studies.storage.optuna_insides import note_keys, set_study_system_attr, study_system_attrs
from mmtuna.studies.table2 import to_markdown

MESSAGE = 2000
STEP = 1000
"""The version of our notes; the dashboard adds one when a person edits."""

# All that means something within a line; what only does at its start (lists, headings) never comes first here.
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]<>#|~$&!^:@\"])")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_CAUTION = (
    "Ours: mean ± standard deviation over *n* complete trials. Published figures compare only on the paper's data and "
    "split; rows that differ by less than seeds do (0.7 to 2 points of mIoU) cannot be ranked."
)


def plain(text: object) -> str:
    """`text` so that Markdown shows it as it is, on one line: no markup, no HTML, no formula, no table cell's end."""
    return _PUNCTUATION.sub(r"\\\1", _UNPRINTABLE.sub(" ", str(text)))


def verbatim(text: str) -> str:
    """`text` as a block that keeps its lines, whatever backticks it holds; cut beyond 2,000 characters."""
    shown = text if len(text) <= MESSAGE else f"{text[:MESSAGE]} ..."
    lines = "\n".join(_UNPRINTABLE.sub(" ", line) for line in shown.splitlines())
    fence = "`" * max(3, 1 + max((len(ticks) for ticks in re.findall("`+", lines)), default=0))
    return f"{fence}text\n{lines}\n{fence}\n"


def _table(header: Sequence[str], body: Sequence[Sequence[object]], *, figures: bool = False) -> str:
    """A table whose cells are escaped; `figures` sets all columns but the first to the right."""
    rule = [":--", *("--:" if figures else ":--" for _ in header[1:])]
    lines = [[plain(cell) for cell in header], rule, *([plain(cell) for cell in row] for row in body)]
    return _spaced("".join(f"| {' | '.join(line)} |\n" for line in lines))


def _spaced(table: str) -> str:
    """`table` with room between its columns, which the dashboard's style has none of."""
    header, rule, *body = table.splitlines(keepends=True)
    return "".join([header.replace(" | ", "\u00a0 | "), rule, *(line.replace(" | ", "\u00a0 | ") for line in body)])


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def trial_note(
    row: TrialRow,
    *,
    metric: str = "mIoU",
    value: str = "last",
    classes: Sequence[str] = (),
    published: Row | None = None,
    pictures: Mapping[str, str] | None = None,
) -> str:
    """What there is to know of an ended trial.

    Args:
        metric: what the study maximises.
        value: which evaluation counts, last or best.
        classes: names of the classes, for a table of IoU and Dice; classes without a figure are left out.
        published: the row of Table 2 that this trial repeats.
        pictures: names and addresses of pictures to show, such as `Attachments.pictures` gives.
    """
    parts = [_headline(row, metric), _failure(row)]
    if row.params:
        parts.append(_table(("param", "value"), [(name, value_text(v)) for name, v in row.params.items()]))
    metrics = row.best_metrics if value == "best" else row.metrics
    if metrics:
        parts += [
            f"Metrics of the {plain(value)} evaluation, fractions {plain(units(metrics))}:",
            _metrics(metrics, classes),
        ]
    if published is not None:
        parts.append(_published(published, metrics, classes))
    if pictures:
        # A paragraph each: side by side they would run off the page.
        parts += [f'![{plain(name)}]({address} "{plain(name)}")' for name, address in pictures.items()]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _headline(row: TrialRow, metric: str) -> str:
    how = ending(row)
    figures = (
        [f"{plain(metric)} {_figure(row.value)}"] if row.value is not None and how in ("complete", "pruned") else []
    )
    if how == "pruned" and row.curve:
        figures.append(f"stopped at {row.curve[-1].get('step', 0):g} % of its training")
    if row.seconds is not None:
        figures.append(f"{duration(row.seconds)} of its device")
    if row.iterations is not None:
        figures.append(f"{row.iterations:,} iterations")
    if row.speed is not None:
        figures.append(f"speed: {plain(str(Speed.of(row.speed)))}")
    figures.append(f"seed {plain(row.seed if row.seed is not None else 'unknown')}")
    figures.append("first training of its params" if row.replicate == 0 else f"replicate {row.replicate} of its params")
    return f"**{how.capitalize()}**: {', '.join(figures)}."


def _failure(row: TrialRow) -> str:
    if row.cause is None and row.state != "FAIL":
        return ""
    message = verbatim(row.message) if row.message else ""
    return f"**Cause: {plain(row.cause or 'unknown')}**\n\n{message}"


def _metrics(metrics: Mapping[str, float], classes: Sequence[str]) -> str:
    per_class = [
        (name, _figure(metrics.get(f"IoU.{name}")), _figure(metrics.get(f"Dice.{name}")))
        for name in classes
        if f"IoU.{name}" in metrics or f"Dice.{name}" in metrics
    ]
    shown = {f"{kind}.{name}" for name, *_ in per_class for kind in ("IoU", "Dice")} | {"mIoU", "mDice"}
    mean = [("mean", _figure(metrics.get("mIoU")), _figure(metrics.get("mDice")))]
    others = [(name, _figure(figure)) for name, figure in metrics.items() if name not in shown]
    tables = [_table(("class", "IoU", "Dice"), per_class + mean, figures=True)]
    return "\n".join([*tables, *([_table(("metric", "value"), others, figures=True)] if others else [])])


def _published(row: Row, metrics: Mapping[str, float], classes: Sequence[str]) -> str:
    fluid = f"IoU.{classes[1]}" if len(classes) > 1 else "IoU.fluid"
    body = [
        ("mIoU", _figure(row.miou), _figure(metrics.get("mIoU"))),
        ("mDice", _figure(row.mdice), _figure(metrics.get("mDice"))),
        (fluid, _figure(row.fluid_iou), _figure(metrics.get(fluid))),
    ]
    note = f"\nOf the published row: {plain(row.note)}." if row.note else ""
    return (
        f"Row {row.number} of the paper's Table 2, {plain(row.label)}:\n\n"
        f"{_table(('metric', 'published', 'this trial'), body, figures=True)}{note}"
    )


def row_of_table2(row: TrialRow, space: SearchSpace) -> Row | None:
    """The row of Table 2 that a trial repeats: the one it was enqueued for, or the one of equal params."""
    for entry in TABLE2:
        if row.table2 is not None:
            if entry.number == row.table2:
                return entry
            continue
        try:
            if params_key(entry.params(space)) == params_key(row.params):
                return entry
        except InputError:
            continue  # the space does not hold this row
    return None


def study_note(reading: Reading) -> str:
    """The study at a glance: best so far, Table 2 beside ours, what was searched."""
    parts = [_progress(reading), _best(reading)]
    if any(line.states for line in reading.table2):
        parts += [
            "### The paper's Table 2 beside ours",
            _spaced(to_markdown(reading.table2)),
            _CAUTION,
        ]
    parts += [
        "### What was searched",
        f"{size_of(reading.space)}:",
        _table(("parameter", "range"), [(parameter.name, _range(parameter)) for parameter in reading.space]),
    ]
    fixed = reading.facts.fixed
    if fixed:
        parts += [
            "Same in every trial:",
            _table(("setting", "value"), [(name, value_text(setting)) for name, setting in fixed.items()]),
        ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _progress(reading: Reading) -> str:
    ledger = reading.ledger
    ended = {how: len(reading.ended(how)) for how in ("complete", "pruned", "diverged", "failed", "running", "waiting")}
    states = ", ".join(f"{n} {how}" for how, n in ended.items() if n)
    asked = f" of {reading.facts.asked}" if reading.facts.asked is not None else ""
    saved = f"; pruning saved about {100 * ledger.saved_share:.0f} %" if ledger.saved else ""
    return (
        f"{reading.finished}{asked} {'trial' if reading.finished == 1 and not asked else 'trials'} finished "
        f"({states or 'none begun'}), {hours(ledger.spent)} device-hours{saved}."
    )


def _best(reading: Reading) -> str:
    best = reading.best
    if best is None:
        return "No trial is complete yet."
    params = ", ".join(f"{plain(name)} = {plain(value_text(value))}" for name, value in best.params.items())
    others = {name: figure for name, figure in reading.metrics(best).items() if name != reading.metric}
    figures = "".join(f", {plain(name)} {_figure(figure)}{unit(name)}" for name, figure in others.items())
    seeds = " One training each: repeat the best params with other seeds before trusting small differences."
    chosen = reading.chosen
    surest = ""
    if chosen is not None and chosen.number != best.number:
        surest = (
            f" The config of trial {chosen.number} ({_figure(value_of(chosen))}) {why_chosen(reading.chosen_seeds)}: "
            "`mmtuna export` takes it."
        )
    return (
        f"**Best so far: trial {best.number}, {plain(reading.metric)} {_figure(value_of(best))}**{figures}.{surest}"
        f"\n\n{params}.{seeds if not reading.replicated and len(reading.complete) > 1 else ''}"
    )


def _range(parameter: Parameter) -> str:
    only = only_where(parameter)
    return range_text(parameter) + (f" ({only})" if only else "")


def save_notes(study: optuna.Study, notes: Mapping[int | None, str], stop: Callable[[], bool] = lambda: False) -> int:
    """Stores notes by trial id (None: the study's) where they differ from what is stored; returns how many did.

    A note that a person has edited in the dashboard stays theirs. Unlike `optuna_dashboard.save_note` this takes ended
    trials, and writes a note in one transaction, so that no page shows half of one. Once `stop` says so, it leaves the
    rest for another time.
    """
    stored = study_system_attrs(
        study, [key for about in notes for key in note_keys(about)] if len(notes) == 1 else None
    )
    saved = 0
    for trial_id, body in notes.items():
        text_key, version_key = note_keys(trial_id)
        version = int(stored.get(version_key, 0))
        if version % STEP or (version and stored.get(text_key) == body):
            continue
        if stop():
            break
        set_study_system_attr(study, text_key, body)
        if not version:  # a note without a version is not shown
            set_study_system_attr(study, version_key, STEP)
        saved += 1
    return saved


__all__ = [
    *("plain", "verbatim", "trial_note", "row_of_table2", "study_note", "save_notes"),
    *("MESSAGE", "STEP"),
]
