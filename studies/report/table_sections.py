"""Sections that are tables: the space, Table 2, the best trials, failures, cost, versions."""

from __future__ import annotations

from collections.abc import Mapping

import optuna

from spaces.parameter import Categorical, Float, Int, Parameter
from spaces.table2 import DISCREPANCIES, PUBLISHED_BEST
from studies.report.facts import Reading, value_of
from studies.report.markup import (
    Content,
    Html,
    chart,
    count,
    duration,
    hours,
    join,
    listed,
    missing,
    note,
    pairs,
    paragraph,
    table,
    tag,
)
from studies.report.param_charts import table2_chart
from studies.report.trial_sections import chips, nothing_complete
from studies.results import TrialRow, value_text
from studies.table2 import Spread

TOP = 10
MESSAGES = 3
MESSAGE_SIGNS = 400


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
        body.append((tag("code", parameter.name), _range(parameter), when or "always", chosen))
    parts = [
        paragraph(f"The space holds {size_of(reading)}."),
        table("Searched parameters", ("parameter", "range", "exists when", "best trial"), body),
    ]
    fixed = {name: _text(value) for name, value in (reading.facts.fixed or {}).items()}
    if fixed:
        parts += [tag("h3", "Same in every trial"), chips(fixed)]
    return join([*parts, tag("h3", "Data and model"), _data(reading)])


def _text(value: object) -> str:
    return value_text(value) if isinstance(value, bool | int | float | str) else str(value)


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
    name = reading.facts.classes[1] if len(reading.facts.classes) > 1 else "fluid"
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
    header = ("row", "settings", "n", "mDice", "mIoU", f"IoU.{name}")
    caption = "In each cell the published figure, and below it ours: mean ± sample standard deviation of n trials"
    parts: list[Content] = []
    if any(line.miou for line in lines):
        words = "mIoU of the paper's rows: published figures as diamonds, this study's means as dots."
        parts.append(chart("table2", table2_chart(lines), words, 380))
    else:
        parts.append(missing(f"{count(tried, 'trial')} of these rows, none of them complete."))
    unfinished = [
        f"Row {line.number}: {listed([f'{n} {state.lower()}' for state, n in line.states.items() if state != 'COMPLETE'])}."
        for line in lines
        if set(line.states) - {"COMPLETE"}
    ]
    notes = [f"Row {line.number}: {line.note}." for line in lines if line.note]
    items = [tag("li", text) for text in (*notes, *DISCREPANCIES, *unfinished)]
    return join(
        [
            *parts,
            table(caption, header, body, numbers=(2, 3, 4, 5)),
            tag("h3", "What the published figures hide"),
            tag("ul", *items, class_="notes"),
            note(
                "Published figures are of 22 B-scans of Duke DME; they compare only with a study of that data and split."
            ),
        ]
    )


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


def failures(reading: Reading) -> Html:
    """What went wrong, by cause."""
    wrong: dict[str, list[TrialRow]] = {}
    for row in reading.rows:
        if row.state == "FAIL" or (row.cause is not None and row.state == "PRUNED"):
            wrong.setdefault(row.cause or "unknown", []).append(row)
    if not wrong:
        return paragraph("No trial failed or diverged." if reading.rows else "The study holds no trial yet.")
    body = []
    for cause, rows in sorted(wrong.items(), key=lambda item: (-len(item[1]), item[0])):
        messages = list(dict.fromkeys(row.message for row in rows if row.message))
        shown = [tag("pre", _clipped(message)) for message in messages[:MESSAGES]]
        if len(messages) > MESSAGES:
            shown.append(tag("span", f"and {count(len(messages) - MESSAGES, 'other message')}", class_="note"))
        numbers = ", ".join(str(row.number) for row in rows[:12])
        more = f" and {len(rows) - 12:,} more" if len(rows) > 12 else ""
        body.append((cause, f"{len(rows):,}", numbers + more, join(shown) if shown else "no message"))
    said = "A diverged trial counts as pruned with the value 0, so that the sampler learns to stay away."
    header = ("cause", "trials", "numbers", "messages")
    parts: list[Content] = [table("Trials that did not end well", header, body, numbers=(1,))]
    return join([*parts, note(said)] if "diverged" in wrong else parts)


def _clipped(message: str) -> str:
    return message if len(message) <= MESSAGE_SIGNS else message[:MESSAGE_SIGNS] + " ..."


def cost(reading: Reading) -> Html:
    """The ledger: what was spent on what, and saved."""
    account = reading.ledger
    if not account.spent:
        return missing("No trial has recorded what it cost, so there is nothing to account for.")
    entries = [
        (how, len(reading.ended(how)), seconds)
        for how, seconds in (
            ("complete", account.complete),
            ("pruned", account.pruned),
            ("diverged", account.diverged),
            ("failed", account.failed),
        )
    ]
    body: list[tuple[Content, ...]] = [
        (join([_key(how), how]), f"{n:,}", hours(seconds), f"{100 * seconds / account.spent:.0f} %")
        for how, n, seconds in entries
        if n
    ]
    body.append((tag("b", "spent"), f"{sum(n for _, n, _ in entries):,}", hours(account.spent), "100 %"))
    if account.saved:
        share = f"{100 * account.saved / account.spent:.0f} %"
        body.append((join([_key("saved"), "saved by pruning, estimated"]), "", hours(account.saved), share))
    widths = [(how, seconds) for how, _, seconds in entries if seconds] + [("saved", account.saved)] * (
        account.saved > 0
    )
    pieces = [tag("span", class_=f"is-{how}", style=f"flex:{seconds:.6g} 1 0") for how, seconds in widths]
    words = ", ".join(f"{how} {hours(seconds)} device-hours" for how, seconds in widths)
    said = (
        "A pruned trial stopped at p percent of its iterations after s seconds is taken to have needed s × 100 / p; "
        "saved is the difference. Starting up counts as training here, so the estimate runs high for short trials."
    )
    if account.unestimated:
        said += f" {count(account.unestimated, 'pruned trial')} without cost or step left out."
    if account.untimed:
        said += f" {count(account.untimed, 'ended trial')} recorded no cost."
    return join(
        [
            tag("div", *pieces, class_="bar", role="img", aria_label=words),
            table("Device-hours", ("trials", "number", "device-hours", "of spent"), body, numbers=(1, 2, 3)),
            note(said),
        ]
    )


def _key(how: str) -> Html:
    return tag("span", class_=f"key is-{how}")


def provenance(reading: Reading) -> Html:
    """Versions, machine, fingerprints."""
    facts = reading.facts
    tables = [
        pairs("Versions", facts.versions or {"optuna": optuna.__version__}),
        *([pairs("Machine", facts.machine)] if facts.machine else []),
    ]
    leaves = flat(facts.fingerprints or {})
    if leaves:
        tables.append(pairs("Fingerprints: a study goes on only where all of these are equal", leaves))
    else:
        tables.append(missing("No fingerprints: the study was not begun by mmtuna, or holds no spec."))
    times = sorted(time for row in reading.rows for time in (row.started, row.ended) if time)
    if times:
        tables.append(note(f"Trials ran from {times[0][:16].replace('T', ' ')} to {times[-1][:16].replace('T', ' ')}."))
    return join(tables)


def flat(nested: Mapping[str, object], place: str = "") -> dict[str, object]:
    """The leaves by their dotted place; the space, which has a table of its own, only by what it fixes."""
    leaves: dict[str, object] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            if not place and name == "space":
                continue
            leaves |= flat(value, f"{place}{name}.")
        else:
            leaves[place + name] = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
    return leaves
