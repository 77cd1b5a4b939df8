"""Sections that give account: failures by cause, cost, versions and fingerprints."""

from __future__ import annotations

from collections.abc import Mapping

import optuna

from mmtuna.studies.report.facts import Reading
from mmtuna.studies.report.markup import Content, Html, count, hours, join, missing, note, pairs, paragraph, table, tag
from mmtuna.studies.results import TrialRow

MESSAGES = 3
MESSAGE_SIGNS = 400


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
        "A pruned trial stopped at p percent of its iterations after s seconds is taken to have needed 100 s / p; "
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
