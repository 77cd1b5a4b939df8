"""Many short searches in place of a long one: mmtuna's and plain Optuna's, race by race, on nets that are trained.

What cold.py compares once is chance in part. Here trainings are short, and both sides search again and again: in a race
with the same seed, and plain Optuna (`study.optimize` of the same objective, TPESampler() and MedianPruner()) for as
many iterations as mmtuna has used. What each search has chosen is trained with seeds that none has seen, and the
difference is told with its interval over races. On a set of the recorded trials mmtuna begins with what was made from
the other sets alone. Stop it at any time; the same command goes on where it stopped. Writes
benchmarks/results/races-SET.json, and a picture beside it, after each race.

    python benchmarks/search/races.py drive --data DATA
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cold import (
    FRESH,
    ROOT,
    iterations_of,
    knowing_the_others,
    params_of,
    parser_of,
    search_plainly,
    spec_of,
    trained_again,
    values_with,
)
from contests import SETS, command
from rich.console import Console

import mmtuna
from mmtuna.search.versions import machine, versions
from mmtuna.search.work.running import run_study
from mmtuna.spaces.files import write_whole
from mmtuna.spaces.parameter import Params
from mmtuna.studies.configs import chosen
from mmtuna.studies.results import TrialRow
from mmtuna.studies.statistics.comparing import signed_rank
from mmtuna.studies.statistics.intervals import bootstrap, mean_features

SIDES = {"mmtuna": "#0072B2", "optuna": "#D55E00"}
Race = dict[str, Sequence[TrialRow]]
"""The trials of both sides."""


def main() -> None:
    """Races until there are so many, and writes the result after each."""
    options = _options()
    races = list[Race]()
    for seed in range(options.races):
        races.append(_race(options, seed))
        found = [_chosen(rows) for race in races for rows in race.values()]
        _write(options, races, trained_again(_short(options, "final", seed=FRESH, pruner="none"), found, options))


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__, "races", seeds=2)
    parser.add_argument("set", choices=SETS, help="whose cold start is searched")
    parser.add_argument("--races", type=int, default=8, help="searches of each side")
    parser.add_argument("--size-scale", type=float, default=0.25, help="of the sides that the space says")
    parser.add_argument("--iteration-scale", type=float, default=0.3, help="of the iterations that it says")
    options = parser.parse_args()
    options.spec = ROOT / "benchmarks" / f"{options.set}-cold" / "study.toml"
    return options


def _short(options: argparse.Namespace, side: str, **study: Any) -> mmtuna.StudySpec:
    """The cold start's study of one side with small and short trainings, whose speed it does not pay to measure."""
    spec = spec_of(options, side, **study)
    scales = {"size_scale": options.size_scale, "iteration_scale": options.iteration_scale}
    return spec.model_copy(update={"train": {**spec.train, **scales, "speed": "exact"}})


def _race(options: argparse.Namespace, seed: int) -> Race:
    first = seed * FRESH // 100  # trials count their own seeds on from it
    ours = knowing_the_others(_short(options, f"{seed}-mmtuna", seed=first))
    run_study(ours, Console(), slots=options.slots)
    rows = mmtuna.trials(ours)
    plain = _short(options, f"{seed}-optuna", seed=first, portfolio=False, confirm=0.0)
    return {"mmtuna": rows, "optuna": search_plainly(plain, iterations_of(rows), options)}


def _chosen(rows: Sequence[TrialRow]) -> Params:
    return params_of(chosen(rows))


def _write(options: argparse.Namespace, races: Sequence[Race], final: Sequence[TrialRow]) -> None:
    told = [{side: _about(rows, final) for side, rows in race.items()} for race in races]
    values = {side: [race[side]["mean"] for race in told] for side in SIDES}
    apart = [ours - theirs for ours, theirs in zip(*values.values(), strict=True)]
    interval = bootstrap(mean_features([apart]))
    document = {
        "what": f"mIoU of what short searches chose, with {options.seeds} fresh seeds, race by race",
        "command": command(options.data),
        "difference": {
            "mean": statistics.fmean(apart),
            "interval": None if interval is None else asdict(interval),
            "better": sum(difference > 0 for difference in apart),
            "races": len(apart),
            "p": signed_rank(apart),
        },
        "mean": {side: statistics.fmean(own) for side, own in values.items()},
        "races": told,
        "machine": machine(),
        "versions": versions(),
    }
    out = options.results / f"races-{options.set}.json"
    write_whole(out, json.dumps(document, indent=1) + "\n")
    _draw(values, options.set, out.with_suffix(".svg"))
    print(json.dumps(document["difference"], indent=1), out, sep="\n", flush=True)


def _about(rows: Sequence[TrialRow], final: Sequence[TrialRow]) -> dict[str, Any]:
    params = _chosen(rows)
    values = values_with(final, params)
    return {
        "trials": len(rows),
        "complete": sum(row.state == "COMPLETE" for row in rows),
        "iterations": iterations_of(rows),
        "best": max(row.value for row in rows if row.state == "COMPLETE" and row.value is not None),
        "chosen": params,
        "values": values,
        "mean": statistics.fmean(values),
    }


def _draw(values: dict[str, list[float]], name: str, out: Path) -> None:
    """Both sides of each race, joined by a line."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4, 3))
    for pair in zip(*values.values(), strict=True):
        axes.plot(range(len(pair)), pair, color="#bbbbbb", linewidth=1, zorder=1)
    for place, (side, colour) in enumerate(SIDES.items()):
        axes.plot([place] * len(values[side]), values[side], "o", color=colour, alpha=0.7)
        axes.plot([place - 0.15, place + 0.15], [statistics.fmean(values[side])] * 2, color=colour, linewidth=2)
    axes.set_xticks(range(len(SIDES)), list(SIDES))
    axes.set_xlim(-0.5, len(SIDES) - 0.5)
    axes.set_ylabel("mIoU, fresh seeds")
    axes.set_title(f"{name}: what each search chose", fontsize=10)
    figure.tight_layout()
    figure.savefig(out)


if __name__ == "__main__":
    main()
