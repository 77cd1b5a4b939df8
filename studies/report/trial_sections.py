"""Sections about trials: headline, history, learning curves, importances, slices, overlays."""

from __future__ import annotations

import base64

from mmtuna.studies.report import charts, param_charts
from mmtuna.studies.report.facts import Reading, value_of
from mmtuna.studies.report.markup import (
    Html,
    chart,
    count,
    duration,
    hours,
    join,
    listed,
    missing,
    note,
    tag,
    value_text,
)


def nothing_complete(reading: Reading) -> str:
    """Why there is no complete trial, in a sentence."""
    if not reading.rows:
        return "The study holds no trial yet."
    parts = []
    for how, words in (
        ("pruned", "pruned"),
        ("diverged", "diverged"),
        ("failed", "failed"),
        ("running", "still running"),
        ("waiting", "not begun"),
    ):
        n = len(reading.ended(how))
        if n:
            parts.append(f"{n:,} {words}")
    return f"None of the {count(len(reading.rows), 'trial')} is complete: {listed(parts)}."


def headline(reading: Reading) -> Html:
    """The figures of the study at one look."""
    best, account = reading.best, reading.ledger
    cards = [
        _card(
            f"Best {reading.metric}",
            "none" if best is None else f"{value_of(best):.4f}",
            "no complete trial" if best is None else f"trial {best.number}, on validation images",
            "card main",
        ),
        _card(
            "Finished trials",
            f"{reading.finished:,}",
            _open_trials(reading),
        ),
        _card("Pruned", f"{len(reading.ended('pruned')):,}", "stopped early by the pruner"),
        _card(
            "Failed",
            f"{len(reading.ended('failed')):,}",
            f"and {len(reading.ended('diverged')):,} diverged (loss became NaN)",
        ),
        _card("Device-hours", hours(account.spent), f"{duration(account.spent)} in all trials together"),
        _card(
            "Saved by pruning",
            f"{100 * account.saved_share:.0f} %" if account.saved else "0 %",
            f"about {hours(account.saved)} device-hours" if account.saved else "nothing was saved",
        ),
    ]
    parts = [tag("div", *cards, class_="cards")]
    if best is None:
        parts.append(missing(nothing_complete(reading), " There is no best trial to show."))
    else:
        parts.append(tag("p", "Best params: ", class_="note"))
        parts.append(chips({name: value_text(value) for name, value in best.params.items()}))
    return join(parts)


def _open_trials(reading: Reading) -> str:
    running, waiting = len(reading.ended("running")), len(reading.ended("waiting"))
    still = [f"{n:,} {word}" for n, word in ((running, "running"), (waiting, "waiting")) if n]
    asked = f"of {reading.facts.asked:,} asked for; " if reading.facts.asked is not None else ""
    return f"{asked}{len(reading.complete):,} complete" + (f"; {listed(still)}" if still else "")


def _card(name: str, figure: str, more: str, class_: str = "card") -> Html:
    parts = (("name", name), ("figure", figure), ("more", more))
    return tag("div", *(tag("div", text, class_=kind) for kind, text in parts), class_=class_)


def chips(entries: dict[str, str]) -> Html:
    """Names and values as small boxes."""
    if not entries:
        return tag("span", "no params", class_="note")
    boxes = (tag("span", tag("b", name), " ", value, class_="chip") for name, value in entries.items())
    return tag("div", *boxes, class_="chips")


def history(reading: Reading) -> Html:
    """Values in the order of trials."""
    if not reading.complete:
        return missing(nothing_complete(reading), " The history begins with the first complete trial.")
    words = (
        f"{reading.metric} of {count(len(reading.complete), 'complete trial')} by trial number, with the best so far."
    )
    parts = [chart("history", charts.history(reading), words, 400)]
    said = "Pruned trials stand at their last value before they were stopped; it does not compete for the best."
    if reading.metric == "mIoU":
        said += (
            " The dashed line is the best row of the paper's Table 2, measured on 22 B-scans of Duke DME;"
            " it compares only with a study of that data and split."
        )
    return join([*parts, note(said)])


def learning_curves(reading: Reading) -> Html:
    """The metric while training."""
    shown = charts.chosen_curves(reading)
    if not shown:
        return missing("No trial has reported an evaluation, so there are no learning curves.")
    have = sum(bool(reading.curve(row)) and row.state in ("COMPLETE", "PRUNED") for row in reading.rows)
    figure = chart(
        "curves",
        charts.learning_curves(reading),
        f"Learning curves of {count(len(shown), 'trial')}; pruned ones are dashed and end in a cross.",
        420,
    )
    said = "One line a trial, over the share of its own iterations. Pruned trials are dashed and end in a cross. "
    if len(shown) < have:
        said += (
            f"Drawn are {len(shown)} of {have:,} trials: the best {charts.BEST_CURVES}, "
            "and an even spread of the others over the study."
        )
    else:
        said += f"All {count(have, 'trial')} with an evaluation are drawn." if have > 1 else "One trial has any."
    return join([figure, note(said)])


def importances(reading: Reading) -> Html:
    """How much each parameter matters."""
    found = param_charts.importances(reading)
    if isinstance(found, str):
        return missing(found)
    if not found:
        return missing("The complete trials have no parameter that varies.")
    n = len(reading.complete)
    order = listed([f"{name} {100 * share:.0f} %" for name, share in list(found.items())[:3]])
    figure = chart(
        "importances",
        param_charts.importance_chart(found),
        f"Importances, the largest first: {order}.",
        70 + 27 * len(found),
    )
    rough = " With so few trials the order of close ones is chance." if n < 100 else ""
    return join(
        [
            figure,
            note(
                f"PED-ANOVA over {n:,} complete trials: how far the params of the best "
                f"{100 * param_charts.good_share(n):.0f} % differ from those of all. A parameter that exists only "
                f"for some values of another is rated where it exists.{rough}"
            ),
        ]
    )


def slices(reading: Reading) -> Html:
    """The value over every parameter."""
    if not reading.complete:
        return missing(nothing_complete(reading), " Slices show complete trials only.")
    figures, absent, thinned = [], [], False
    for index, parameter in enumerate(reading.space):
        rows = param_charts.slice_rows(reading, parameter)
        thinned = thinned or len(rows) < sum(parameter.name in row.params for row in reading.complete)
        if not rows:
            absent.append(parameter.name)
            continue
        words = f"{reading.metric} of {count(len(rows), 'trial')} over {parameter.name}."
        figures.append(
            chart(f"slice-{index}", param_charts.slice_chart(reading, parameter, rows), words, 230, small=True)
        )
    said = "Complete trials; the star is the best one, a short line the median of a choice."
    if thinned:
        said += (
            f" At most {param_charts.SLICE_POINTS} trials a chart: the best hundred and an even spread of the others."
        )
    parts = [tag("div", *figures, class_="slices"), note(said)]
    if absent:
        parts.append(note(f"In no complete trial: {listed(absent)}."))
    return join(parts)


def overlays(reading: Reading) -> Html:
    """Pictures of predictions."""
    shown = reading.facts.overlays
    if not shown:
        return missing("No overlays were kept for this report.")
    figures = []
    for title, caption, png in shown:
        source = "data:image/png;base64," + base64.b64encode(png).decode()
        image = Html(tag("img", src=source, alt=f"{title}: {caption}").removesuffix("</img>"))
        figures.append(tag("figure", image, tag("figcaption", tag("b", title), caption)))
    return tag("div", *figures, class_="overlays")
