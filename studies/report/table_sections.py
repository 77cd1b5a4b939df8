"""Sections that are tables: the space, Table 2, the best trials."""

from __future__ import annotations

from mmtuna.spaces.parameter import Categorical, Float, Int, Parameter
from mmtuna.spaces.table2 import DISCREPANCIES, PUBLISHED_BEST
from mmtuna.studies.report.facts import Reading, value_of
from mmtuna.studies.report.markup import (
    Content,
    Html,
    chart,
    count,
    duration,
    join,
    listed,
    missing,
    note,
    pairs,
    paragraph,
    table,
    tag,
    value_text,
)
from mmtuna.studies.report.param_charts import table2_chart
from mmtuna.studies.report.trial_sections import chips, nothing_complete
from mmtuna.studies.results import TrialRow
from mmtuna.studies.table2 import Spread

TOP = 10


def size_of(reading: Reading) -> str:
    """How large the search space is, in words."""
    parameters = list(reading.space)
    known = reading.space.count()
    if known is not None:
        return f"{count(len(parameters), 'parameter')}, {count(known, 'combination')}"
    continuous = sum(parameter.values() is None for parameter in parameters)
    if continuous:
        return f"{count(len(parameters), 'parameter')}, {continuous} of them continuous"
    return f"{count(len(parameters), 'parameter')}, more than 100,000 combinations"


def space(reading: Reading) -> Html:
    """What was searched, on which data."""
    best = reading.best
    body = []
    for parameter in reading.space:
        when = "; ".join(
            f"{parent} is {' or '.join(value_text(value) for value in values)}"
            for parent, values in parameter.when.items()
        )
        chosen = value_text(best.params[parameter.name]) if best and parameter.name in best.params else "-"
        only = join([Html("<br>"), tag("span", f"only where {when}", class_="published")]) if when else Html("")
        body.append((tag("code", parameter.name), join([_range(parameter), only]), *([chosen] if best else [])))
    parts = [
        paragraph(f"The space holds {size_of(reading)}."),
        table("Searched parameters", ("parameter", "range", *(["best trial"] if best else [])), body),
    ]
    fixed = {name: value_text(value) for name, value in (reading.facts.fixed or {}).items()}
    if fixed:
        parts += [tag("h3", "Same in every trial"), chips(fixed)]
    return join([*parts, tag("h3", "Data and model"), _data(reading)])


def _range(parameter: Parameter) -> str:
    if isinstance(parameter, Categorical):
        return ", ".join(value_text(choice) for choice in parameter.choices)
    assert isinstance(parameter, Int | Float)
    words = f"{value_text(parameter.low)} to {value_text(parameter.high)}"
    if parameter.log:
        return f"{words}, log scale"
    return words if parameter.step in (None, 1) else f"{words} in steps of {value_text(parameter.step or 1)}"


def _data(reading: Reading) -> Html:
    facts = reading.facts
    total = sum(facts.pixels.values())

    def side(images: int | None, subjects: int | None) -> str | None:
        if images is None:
            return None
        return count(images, "image") + (f" of {count(subjects, 'subject')}" if subjects is not None else "")

    shared = facts.shared_subjects
    entries: dict[str, object] = {
        "data set": facts.dataset,
        "classes": ", ".join(
            f"{name} ({100 * facts.pixels[name] / total:.2f} % of the pixels)" if facts.pixels.get(name) else name
            for name in facts.classes
        ),
        "training": side(facts.train_images, facts.train_subjects),
        "validation": side(facts.val_images, facts.val_subjects),
        "subjects on both sides": None if shared is None else str(shared),
        "split": facts.split,
        "metric": f"{reading.metric}, of the {facts.value} evaluation",
        "base config": facts.base,
        "pretrained weights": facts.pretrained,
        "sampler": facts.sampler,
        "pruner": facts.pruner,
        "seed": facts.seed,
        "spec": facts.spec,
    }
    return pairs("What the trials share", {name: value for name, value in entries.items() if value not in (None, "")})


def table2(reading: Reading) -> Html:
    """The paper's Table 2 beside ours."""
    lines = reading.table2
    tried = sum(sum(line.states.values()) for line in lines)
    best = f"Published best: row {PUBLISHED_BEST.number}, mIoU {PUBLISHED_BEST.miou:.4f}."
    if not tried:
        return missing(
            f"None of the paper's eleven rows was trained in this study. {best} `mmtuna table2` trains them."
        )
    body = [
        (
            str(line.number),
            line.label,
            str(line.n),
            _beside(line.published_mdice, line.mdice),
            _beside(line.published_miou, line.miou),
            _beside(line.published_fluid_iou, line.class_iou),
        )
        for line in lines
    ]
    header = ("row", "settings", "n", "mDice", "mIoU", f"IoU.{reading.foreground}")
    caption = "In each cell the published figure, and below it ours: mean ± sample standard deviation of n trials"
    parts: list[Content] = []
    if any(line.miou for line in lines):
        words = "mIoU of the paper's rows: published figures as diamonds, this study's means as dots."
        parts.append(chart("table2", table2_chart(lines), words, 380))
    else:
        parts.append(missing(f"{count(tried, 'trial')} of these rows, none of them complete."))
    return join(
        [
            *parts,
            table(caption, header, body, numbers=(2, 3, 4, 5)),
            tag("h3", "What the published figures hide"),
            tag("ul", *(tag("li", text) for text in _table2_notes(reading)), class_="notes"),
            note("Published figures are of 22 B-scans of Duke DME; they compare only with a study of the same."),
        ]
    )


def _table2_notes(reading: Reading) -> list[str]:
    lines = reading.table2
    said = [f"Row {line.number}: {line.note}." for line in lines if line.note]
    for line in lines:
        open_ones = [f"{n} {state.lower()}" for state, n in line.states.items() if state != "COMPLETE"]
        if open_ones:
            said.append(f"Row {line.number}, beside its complete trials: {listed(open_ones)}.")
    return [*said, *DISCREPANCIES]


def _beside(published: float | None, ours: Spread | None) -> Html:
    paper = tag("span", "no log" if published is None else f"{published:.4f}", class_="published")
    if ours is None:
        return join([paper, Html("<br>"), "-"])
    sd = "" if ours.sd is None else f" ± {ours.sd:.4f}"
    return join([paper, Html("<br>"), tag("b", f"{ours.mean:.4f}"), sd])


def best_trials(reading: Reading) -> Html:
    """Figures per class of the best ten."""
    top = reading.ranked[:TOP]
    if not top:
        return missing(nothing_complete(reading), " Figures per class are those of complete trials.")
    known = [name for row in top for name in reading.metrics(row)]
    per_class = [f"IoU.{name}" for name in reading.facts.classes]
    per_class += sorted({name for name in known if name.startswith("IoU.")} - set(per_class))
    wanted = ["mIoU", "mDice", *per_class]
    metrics = [name for name in dict.fromkeys(wanted) if name in known]
    header: list[Content] = ["trial", *metrics, "iterations", "time"]
    if not metrics:
        header.insert(1, reading.metric)
    shared = {
        name: value_text(value)
        for name, value in top[0].params.items()
        if len(top) > 1 and all(name in row.params and row.params[name] == value for row in top)
    }
    body = []
    for row in top:
        figures = [str(row.number), *_figures(reading, row, metrics)]
        own = {name: value_text(value) for name, value in row.params.items() if name not in shared}
        mark = " best" if row is top[0] else ""
        body.append(tag("tr", *(tag("td", text, class_="number") for text in figures), class_="first" + mark))
        cell = tag("td", chips(own) if own else "as shared", colspan=str(len(header)))
        body.append(tag("tr", cell, class_="second" + mark))
    caption = f"The best {len(top)} complete trials, by {reading.metric}; below each its params"
    parts: list[Content] = [table(caption, header, body, numbers=range(len(header)))]
    if shared:
        parts += [tag("p", "Shared by all of them:", class_="note"), chips(shared)]
    return join(parts)


def _figures(reading: Reading, row: TrialRow, metrics: list[str]) -> list[str]:
    found = reading.metrics(row)
    values = [found.get(name) for name in metrics] if metrics else [value_of(row)]
    return [
        *("-" if value is None or value != value else f"{value:.4f}" for value in values),
        "-" if row.iterations is None else f"{row.iterations:,}",
        "-" if row.seconds is None else duration(row.seconds),
    ]
