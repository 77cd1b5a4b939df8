"""docs/search.md: what the search is measured to be worth, as a page, from the results that lie in benchmarks/results.

python benchmarks/search/page.py
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from contests import RESULTS, ROOT, shown

PAGE = ROOT / "docs" / "search.md"
HEAD = """\
# What the search is worth

Whole curves of random trials of the untouched `extended` preset were recorded on three sets at the scale of a small
machine: the paper's images (duke), the vessels of DRIVE and synthetic eyes (phantom). Simulated studies search them,
with the very samplers and pruners of `mmtuna run`, hundreds of times a setting by the seeds 0, 1, ..., and a proposal
is told the curve of a recorded trial that is alike ([how](spec.md#record-and-replay)): each study searches another
world that the recorded trials allow. What they know of others, portfolio and trials, is made from the other sets
alone. What holds among these trials need not hold elsewhere: record
your own, and simulate.

**Read this first.** A search is worth what trainings of the config come to that it chose (*worth*). How far
one training can be trusted was recorded: 28 to 34 configs of each set were trained with a second seed. The best third
of them differ by a standard deviation of 0.02 on duke, 0.05 on drive and 0.10 on phantom. At the end of 30 trials
the config that mmtuna chose is worth 0.03 more than plain Optuna's on duke and drive and 0.05 more on phantom, and
plain Optuna's score costs 0.16 to 0.5 of its iterations; of 100 trials it is worth 0.02 to 0.06 more, at 0.08 to 0.34
of the cost. Nearly all of this lead is the portfolio's configs: where
random draws follow them in the place of TPE the studies come as far, and without what others found they are behind
plain Optuna on duke and drive. Three sets are few to show what did well on the others. And in such a world a whole
neighbourhood comes to the same: whoever refines a good config gains nothing, as in trainings one may, which is hard on
samplers that do. In the searches that were
trained for real, at the end of this page, mmtuna was ahead on one set, even on one and behind on one, and a little
behind in the few short races so far. All of these are of before weights were taken for the balance of classes, and all
but the race on drive of a version in which TPE heeded others' trials; a forest does now.

In the tables: *of plain* is the cost (training iterations) until the score that plain Optuna, `TPESampler()` and
`MedianPruner()`, has at the end of its budget, as a share of its own; *reached* the share of studies that came there;
*worth* the mean of what trainings of the chosen config come to, mean of the studies; *regret* how far that stays below
what the best config is worth, median and 95 % of the studies. All of it is of what configs are worth, not of what a
study was told.
"""
MOVED = (
    "Made before what is alike was told: proposals were moved to the nearest recorded trial, which makes samplers look "
    "more alike than they are, and what others knew was among these. It tells pruners and ends apart, not samplers."
)
"""Of results that lack what `--answers` was."""
COLUMNS = {
    "of_plain": "of plain",
    "reached": "reached",
    "worth": "worth",
    "regret": "regret",
    "regret_95": "95 %",
    "iterations": "iterations",
}


def main() -> None:
    """Writes the page."""
    parts = [HEAD, *(_section(title, name, of) for title, name, of in SECTIONS), _cold(), _races()]
    PAGE.write_text("\n".join(part for part in parts if part), encoding="utf-8")
    print(PAGE)


def _section(title: str, name: str, of: Callable[[Mapping[str, Any]], Iterable[str]]) -> str:
    path = RESULTS / f"search-{name}.json"
    if not path.exists():
        return ""
    document = json.loads(path.read_text(encoding="utf-8"))
    recorded = ", ".join(f"{count} on {one}" for one, count in document.get("recorded", {}).items())
    on = f", recorded trials: {recorded}" if recorded else ""
    moved = f" {MOVED}" if "recorded" in document and "answers" not in document else ""
    return "\n".join([f"## {title}", "", *of(document), "", f"`{document['command']}`{on}.{moved}", ""])


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def _contests(document: Mapping[str, Any]) -> Iterable[str]:
    """A table for each set and budget."""
    for place, lines in document["sets"].items():
        columns = {figure: head for figure, head in COLUMNS.items() if figure in lines[0]}
        rows = [[line["what"], line["workers"], *(shown(line[figure]) for figure in columns)] for line in lines]
        yield from (f"{place}:", "", *_table(["", "workers", *columns.values()], rows), "")


def _portfolio(document: Mapping[str, Any]) -> Iterable[str]:
    yield "Chosen on the other sets, tried on the one that was left out:"
    yield ""
    fields = {
        "best_of_portfolio": "best of the portfolio",
        "best_of_as_many_random": "of as many random ones, mean",
        "share_of_random_that_beat_it": "random ones that beat it",
        "best_recorded": "best recorded",
        "foretold": "rank correlation, foretold and true",
        "iterations_of_portfolio": "iterations",
        "iterations_of_as_many_random": "of as many random ones",
    }
    rows = [[name, *(found[field] for field in fields)] for name, found in document["sets"].items()]
    yield from _table(["set", *fields.values()], rows)


def _balance(document: Mapping[str, Any]) -> Iterable[str]:
    yield "The other sets' best configs, trained on the one that was left out with a foreground weight for the balance"
    yield "of its classes (same power of the odds of the background), beside what was recorded with it as it was:"
    yield ""
    rows = []
    for name, found in document["sets"].items():
        between = f"{found['interval']['low']:+.3f} to {found['interval']['high']:+.3f}" if found["interval"] else "-"
        means = [f"{found[f'{best}{of}']:.4f}" for best in ("", "best_") for of in ("as_it_was", "rebalanced")]
        better = f"{found['better']} better, {found['worse']} worse of {found['configs']}"
        odds = document["background_to_foreground"][name]
        rows.append([name, f"{odds:.3g}", *means, better, between, f"{found['p']:.3f}"])
    of = [f"{weight}, {which}" for which in ("mean", "best") for weight in ("as it was", "for the balance")]
    header = ["set", "odds", *of, "", "difference, 95 %", "p"]
    yield from (*_table(header, rows), "", "Weights, one config a row:", "")
    pairs = [[name, *pair.values()] for name, found in document["sets"].items() for pair in found["pairs"]]
    yield from _table(["set", "weight", "for the balance", "as it was", "mIoU"], pairs)


def _collapse(document: Mapping[str, Any]) -> Iterable[str]:
    yield "Trials that had found none of a class at any evaluation so far, and in brackets those that did in the end:"
    yield ""
    steps = sorted({entry["step"] for entries in document["collapses"].values() for entry in entries})
    rows = []
    for name, entries in document["collapses"].items():
        by_step = {entry["step"]: f"{entry['trials']} ({entry['came_back']})" for entry in entries}
        rows.append([name, *(by_step.get(step, "-") for step in steps)])
    yield from (*_table(["set", *(f"{step} %" for step in steps)], rows), "")
    yield from ("Studies that stop these from some evaluation on:", "")
    yield from _contests(document)


def _replay(document: Mapping[str, Any], stem: str = "search-replay") -> Iterable[str]:
    yield from _contests(document)
    for place in document["sets"]:
        name, trials = place.removesuffix(" trials").split(", ")
        yield f"![The regret over the iterations, {place}](../benchmarks/results/{stem}-{name}-{trials}.png)"


def _stopping(document: Mapping[str, Any]) -> Iterable[str]:
    yield "Odds by the regression that was fitted to the other sets, and how often a better trial did follow:"
    yield ""
    rows = [
        [name, odds, entry["times"], entry["said"], entry["came"]]
        for name, found in document["left_out"].items()
        for odds, entry in found["by_odds"].items()
    ]
    yield from (*_table(["set", "odds", "times", "said", "came"], rows), "")
    yield from ("What stopping saves, and loses of the best value in pairs of studies of the same seed:", "")
    rows = [[place, *found.values()] for place, found in document["stopped"].items()]
    yield from _table(["", *(key.replace("_", " ") for key in next(iter(document["stopped"].values())))], rows)


SECTIONS: Sequence[tuple[str, str, Callable[[Mapping[str, Any]], Iterable[str]]]] = (
    ("Beside plain Optuna", "replay", _replay),
    ("Beside plain Optuna, longer", "replay-long", partial(_replay, stem="search-replay-long")),
    ("Each part, left out once", "parts", _contests),
    ("The portfolio", "portfolio", _portfolio),
    ("Weights by the balance of classes", "balance", _balance),
    ("When a trial is dead", "collapse", _collapse),
    ("Pruners, at equal iterations", "pruners", _contests),
    ("Iterations: searched, or rationed", "iterations", _contests),
    ("The end of the budget, where seeds mislead", "ending", _contests),
    ("When a search may stop", "stopping", _stopping),
)


def _cold() -> str:
    """The searches that were trained for real."""
    paths = sorted(RESULTS.glob("cold-*.json"))
    if not paths:
        return ""
    rows = []
    for path in paths:
        document = json.loads(path.read_text(encoding="utf-8"))
        for side, final in document["final"].items():
            search = document["searches"].get(side, {})
            name = path.stem.removeprefix("cold-")
            how = [search.get(what, "-") for what in ("pruner", "trials", "iterations")]
            rows.append([name, side, *how, final["mean"], final["sd"]])
    header = ["study", "", "pruner", "trials", "iterations", "mean over fresh seeds", "sd"]
    commands = [f"`{json.loads(path.read_text(encoding='utf-8'))['command']}`" for path in paths]
    pictures = [
        f"![The best so far of both searches, {path.stem}](../benchmarks/results/{path.stem}.svg)" for path in paths
    ]
    once = "One search a side, which is chance in part."
    parts = [*_table(header, rows), "", once, "", *pictures, "", *commands]
    return "\n".join(["## Trained for real, from a cold start", "", *parts, ""])


def _races() -> str:
    """The short searches, many a side."""
    paths = sorted(RESULTS.glob("races-*.json"))
    if not paths:
        return ""
    documents = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    rows = []
    for stem, document in documents.items():
        apart, interval = document["difference"], document["difference"]["interval"] or {}
        between = f"{interval['low']:+.4f} to {interval['high']:+.4f}" if interval else "-"
        won = f"{apart['better']} of {apart['races']}"
        means = [f"{document['mean'][side]:.4f}" for side in ("mmtuna", "optuna")]
        rows.append([stem.removeprefix("races-"), *means, f"{apart['mean']:+.4f}", between, won, f"{apart['p']:.3f}"])
    header = ["set", "mmtuna", "plain Optuna", "difference", "95 %", "mmtuna won", "p"]
    what = (
        "Of what each search chose, trained with fresh seeds. In each race plain Optuna has the iterations that mmtuna "
        "used, and those of the trials that are running when they are used up."
    )
    pictures = [f"![Both sides of each race, {stem}](../benchmarks/results/{stem}.svg)" for stem in documents]
    commands = [f"`{document['command']}`" for document in documents.values()]
    parts = [what, "", *_table(header, rows), "", *pictures, "", *commands]
    return "\n".join(["## Trained for real, many short searches", "", *parts, ""])


if __name__ == "__main__":
    main()
