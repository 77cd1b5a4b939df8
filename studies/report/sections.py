"""What the sections of the report show, as plain data: each function fills the block of its name in report.html.j2.

Sentences and layout stand in the template; what has to be chosen, counted or ordered stands here.
"""

from __future__ import annotations

import base64
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna

from mmtuna.spaces.table2 import DISCREPANCIES, PUBLISHED_BEST
from mmtuna.studies.certainty import BESIDE, Config
from mmtuna.studies.ledger import ENDINGS
from mmtuna.studies.report import charts, param_charts
from mmtuna.studies.report.facts import Reading, folded_text
from mmtuna.studies.report.sureness import (
    diverged_text,
    empty_text,
    floor_text,
    interval_text,
    mean_text,
    measured_on,
    numbers_of,
    rank_text,
    unshown_text,
    verdict_of,
    why_chosen,
)
from mmtuna.studies.report.wording import count, duration, listed, only_where, range_text, size_of, value_text
from mmtuna.studies.results import TrialRow
from mmtuna.studies.table2 import scaling_note

View = dict[str, Any]
MESSAGES = 3
MESSAGE_SIGNS = 400


def nothing_complete(reading: Reading) -> str:
    """Why there is no complete trial, in a sentence."""
    if not reading.rows:
        return "The study holds no trial yet."
    words = {"running": "still running", "waiting": "not begun"}
    parts = [
        f"{len(reading.ended(how)):,} {words.get(how, how)}"
        for how in ("pruned", "diverged", "failed", "running", "waiting")
        if reading.ended(how)
    ]
    return f"None of the {count(len(reading.rows), 'trial')} is complete: {listed(parts)}."


def headline(reading: Reading) -> View:
    """The figures of the study at one look."""
    still = [f"{len(reading.ended(how)):,} {how}" for how in ("running", "waiting") if reading.ended(how)]
    asked = f"of {reading.facts.asked:,} asked for; " if reading.facts.asked is not None else ""
    return {
        "trials": f"{asked}{len(reading.complete):,} complete" + (f"; {listed(still)}" if still else ""),
        "pruned": _stopped(reading.stopped),
        "why_chosen": why_chosen(reading.chosen_seeds),
    }


def _stopped(by: Mapping[str, int]) -> str:
    words = {"pruner": "by the pruner", "collapse": "as collapsed", "limit": "over a limit, not trained"}
    if not by or set(by) == {"pruner"}:
        return "stopped early by the pruner"
    return listed([f"{by[rule]:,} {said}" for rule, said in words.items() if rule in by])


def space(reading: Reading) -> View:
    """What was searched, on which data."""
    best = reading.best.params if reading.best else {}
    parameters = [
        {
            "name": parameter.name,
            "range": range_text(parameter),
            "only": only_where(parameter),
            "best": value_text(best[parameter.name]) if parameter.name in best else "-",
        }
        for parameter in reading.space
    ]
    return {"size": size_of(reading.space), "parameters": parameters, "shared": _shared(reading)}


def _shared(reading: Reading) -> dict[str, object]:
    facts, folded = reading.facts, folded_text(reading.facts)
    total = sum(facts.pixels.values())

    def side(images: int | None, subjects: int | None) -> str | None:
        if images is None:
            return None
        return count(images, "image") + (f" of {count(subjects, 'subject')}" if subjects is not None else "")

    entries: dict[str, object] = {
        "data set": facts.dataset,
        "classes": ", ".join(
            f"{name} ({100 * facts.pixels[name] / total:.2f} % of the pixels)" if facts.pixels.get(name) else name
            for name in facts.classes
        ),
        **(
            {"training and validation": folded}
            if folded
            else {
                "training": side(facts.train_images, facts.train_subjects),
                "validation": side(facts.val_images, facts.val_subjects),
            }
        ),
        "set aside, seen by no trial": side(reading.test_images, None),
        "subjects on both sides": facts.shared_subjects,
        "split": facts.split,
        "metric": f"{reading.metric}, of the {facts.value} evaluation",
        "limits": facts.limits,
        "base config": facts.base,
        "pretrained weights": facts.pretrained,
        "sampler": ", later ".join(reading.samplers),
        "pruner": ", later ".join(reading.pruners),
        "seed": facts.seed,
        "spec": facts.spec,
    }
    return {name: value for name, value in entries.items() if value not in (None, "")}


def history(reading: Reading) -> View:
    """Values in the order of trials."""
    return {"figure": charts.history(reading) if reading.complete else None}


def curves(reading: Reading) -> View:
    """The metric while training."""
    drawn = len(charts.chosen_curves(reading))
    return {
        "drawn": drawn,
        "found": len(charts.drawable(reading)),
        "best": charts.BEST_CURVES,
        "figure": charts.learning_curves(reading) if drawn else None,
    }


def importances(reading: Reading) -> View:
    """How much each parameter matters."""
    found = param_charts.importances(reading)
    if isinstance(found, str):
        return {"missing": found}
    shares, trials = found
    if not shares:
        return {"missing": "The complete trials have no parameter that varies."}
    return {
        "missing": "",
        "figure": param_charts.importance_chart(shares),
        "first": listed([f"{name} {100 * share:.0f} %" for name, share in list(shares.items())[:3]]),
        "height": 70 + 27 * len(shares),
        "good_share": param_charts.good_share(len(reading.complete)),
        "trials": trials,
    }


def slices(reading: Reading) -> View:
    """The value over every parameter."""
    shown, absent, outside, thinned = [], [], [], False
    for index, parameter in enumerate(reading.space):
        found = [row for row in reading.ranked if parameter.name in row.params]
        having = [row for row in found if parameter.contains(row.params[parameter.name])]
        rows = param_charts.slice_rows(having)
        thinned = thinned or len(rows) < len(having)
        if len(having) < len(found):
            outside.append(f"{parameter.name} of {count(len(found) - len(having), 'trial')}")
        if not rows:
            absent.append(parameter.name)
            continue
        figure = param_charts.slice_chart(reading, parameter, rows)
        shown.append({"name": f"slice-{index}", "figure": figure, "trials": len(rows), "parameter": parameter.name})
    return {
        "charts": shown,
        "absent": absent,
        "outside": outside,
        "thinned": thinned,
        "most": param_charts.SLICE_POINTS,
    }


def table2(reading: Reading) -> View:
    """The paper's Table 2 beside ours."""
    lines = reading.table2
    notes = [f"Row {line.number}: {line.note}." for line in lines if line.note]
    for line in lines:
        others = [f"{n} {state.lower()}" for state, n in line.states.items() if state != "COMPLETE"]
        if others:
            lost = f" ({line.diverged} of them diverged, in no mean)" if line.diverged else ""
            notes.append(f"Row {line.number}, beside its complete trials: {listed(others)}{lost}.")
    return {
        "trials": sum(sum(line.states.values()) for line in lines),
        "figure": param_charts.table2_chart(lines) if any(line.miou for line in lines) else None,
        "notes": [*filter(None, [scaling_note(lines)]), *notes, *DISCREPANCIES],
        "published": PUBLISHED_BEST,
    }


def certainty(reading: Reading) -> View:
    """The best configs with intervals and verdicts, and what these rest on."""
    known = reading.certainty
    if known is None:
        return {"rows": []}
    beside = [name for name in BESIDE if any(name in config.beside for config in known.configs)]
    emptied = any(any(config.empty) for config in known.configs)
    of_best = reading.facts.value == "best"
    figure = f"{known.metric}{' at the last evaluation' if of_best else ''} (95 % interval)"
    header = ["rank", "trial", "seeds", *([f"{known.metric}, the value"] if of_best else []), figure, *beside]
    own, shared = _params(known.configs)
    return {
        "known": known,
        "header": [*header, *(["both empty"] if emptied else []), "beside the best"],
        "rows": [
            {
                "figures": [
                    rank_text(config.place),
                    numbers_of(config.rows),
                    f"{config.trained}{diverged_text(config.diverged)}",
                    *([f"{config.mean:.4f}"] if of_best else []),
                    interval_text(None, config.interval) if of_best else mean_text(config),
                    *(interval_text(None, config.beside.get(name)) for name in beside),
                    *([_span(config.empty)] if emptied else []),
                ],
                "verdict": verdict_of(config),
                "best": reading.best in config.rows,
                "own": params,
            }
            for config, params in zip(known.configs, own, strict=True)
        ],
        "shared": shared,
        "measured": measured_on(known, reading.facts.folds),
        "unshown": unshown_text(known),
        "floor": floor_text(known),
        "emptied": empty_text(reading.facts.counted.missing_value, known) if emptied and beside else "",
        "missing": [f"Trial {number} {why}." for number, why in list(known.missing.items())[:MESSAGES]],
        "more": max(0, len(known.missing) - MESSAGES),
        "last": of_best,
    }


def _params(configs: Sequence[Config]) -> tuple[list[dict[str, object]], dict[str, object]]:
    """The params of each config that not all of them have, and those that all have."""
    params = [dict(config.rows[0].params) for config in configs]
    shared = {
        name: value
        for name, value in params[0].items()
        if len(params) > 1 and all(name in other and other[name] == value for other in params)
    }
    return [{name: value for name, value in one.items() if name not in shared} for one in params], dict(shared)


def _span(counts: Sequence[int]) -> str:
    if not counts:
        return "-"
    return str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def best(reading: Reading) -> View:
    """Figures per class of the best configs, means over their seeds, and what was measured on images that none saw."""
    known, looks = reading.certainty, _looks(reading)
    if known is None:
        return {"rows": [], "looks": looks}
    metrics = [[reading.metrics(row) for row in config.rows] for config in known.configs]
    names = [name for of_config in metrics for found in of_config for name in found]
    per_class = [f"IoU.{name}" for name in reading.facts.classes]
    per_class += sorted({name for name in names if name.startswith("IoU.")} - set(per_class))
    shown = [name for name in dict.fromkeys(["mIoU", "mDice", *per_class]) if name in names]
    return {
        "header": ["trial", *(shown or [reading.metric]), "iterations", "time"],
        "rows": [
            {
                "figures": [
                    numbers_of(config.rows) + diverged_text(config.diverged, "not in these means"),
                    *(_mean_text([found.get(name) for found in of_config]) for name in shown),
                    *([] if shown else [_mean_text([row.value for row in config.rows])]),
                    _mean_text([row.iterations for row in config.rows], "{:,.0f}".format),
                    _mean_text([row.seconds for row in config.rows], duration),
                ],
                "best": reading.best in config.rows,
            }
            for config, of_config in zip(known.configs, metrics, strict=True)
        ],
        "looks": looks,
    }


def _looks(reading: Reading) -> View:
    """The looks at the test set: a row each, with the study's metric and those of the table of the best."""
    known = {name for look in reading.looks for name in look.figures}
    names = dict.fromkeys([reading.metric, "mIoU", "mDice", *(f"IoU.{name}" for name in reading.facts.classes)])
    shown = [name for name in names if name in known]
    return {
        "header": ["look", "when", "trial", f"{reading.metric}, validation", *shown],
        "rows": [
            [number, look.at[:16].replace("T", " "), look.trial, f"{look.value:.4f}", *map(look.text, shown)]
            for number, look in enumerate(reading.looks, start=1)
        ],
    }


def _mean_text(values: Sequence[float | None], text: Callable[[float], str] = "{:.4f}".format) -> str:
    known = [value for value in values if value is not None and value == value]
    return text(statistics.fmean(known)) if known else "-"


def overlays(reading: Reading) -> View:
    """Pictures of predictions."""
    pictures = [
        {"title": title, "caption": caption, "source": f"data:image/png;base64,{base64.b64encode(png).decode()}"}
        for title, caption, png in reading.facts.overlays
    ]
    return {"pictures": pictures}


def failures(reading: Reading) -> View:
    """What went wrong, by cause, the most frequent first."""
    wrong: dict[str, list[TrialRow]] = {}
    for row in reading.rows:
        if row.state == "FAIL" or row.cause is not None:
            wrong.setdefault(row.cause or "unknown", []).append(row)
    found = []
    for cause, rows in sorted(wrong.items(), key=lambda item: (-len(item[1]), item[0])):
        messages = list(dict.fromkeys(row.message for row in rows if row.message))
        numbers = ", ".join(str(row.number) for row in rows[:12])
        found.append(
            {
                "name": cause,
                "trials": len(rows),
                "numbers": numbers + (f" and {len(rows) - 12:,} more" if len(rows) > 12 else ""),
                "messages": [_clipped(message) for message in messages[:MESSAGES]],
                "more": len(messages[MESSAGES:]),
            }
        )
    return {"causes": found, "diverged": "diverged" in wrong}


def _clipped(message: str) -> str:
    return message if len(message) <= MESSAGE_SIGNS else message[:MESSAGE_SIGNS] + " ..."


def cost(reading: Reading) -> View:
    """The ledger: what was spent on what, and saved."""
    account = reading.ledger
    spent = {how: getattr(account, how) for how in ENDINGS}
    ends = [
        {"how": one.ending, "cause": one.cause, "trials": one.trials, "seconds": one.seconds} for one in account.entries
    ]
    widths = {how: seconds for how, seconds in spent.items() if seconds}
    widths |= {"saved": account.saved} if account.saved else {}
    return {"ends": ends, "trials": sum(one.trials for one in account.entries), "widths": widths}


def provenance(reading: Reading) -> View:
    """Versions, machine, fingerprints."""
    times = sorted(time for row in reading.rows for time in (row.started, row.ended) if time)
    return {
        "versions": reading.facts.versions or {"optuna": optuna.__version__},
        "fingerprints": _flat(reading.facts.fingerprints or {}),
        "span": [time[:16].replace("T", " ") for time in (times[0], times[-1])] if times else None,
    }


def _flat(nested: Mapping[str, object], place: str = "") -> dict[str, object]:
    """The leaves by their dotted place; the space, which has a table of its own, only by what it fixes."""
    leaves: dict[str, object] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            if not place and name == "space":
                continue
            leaves |= _flat(value, f"{place}{name}.")
        else:
            leaves[place + name] = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
    return leaves
