"""What each part of the search is worth: simulated studies with all parts, with one left out, and with one more known.

On each set over its recorded trials. The portfolio is made from the other sets alone, and so is what earlier studies
found (warm); both also turned upside down, where others' worst trials pass for good. A right belief (prior) is
optimizer, rate and loss of this set's best recorded trial, a wrong one those of its worst.
Writes benchmarks/results/search-parts.json and prints a table. Needs what record.py left.

    python benchmarks/search/parts.py --studies 200
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmtuna.objectives.recorded import load_recorded
from mmtuna.objectives.trial.devices import cores
from mmtuna.search.simulation.course import Knows, Setting
from mmtuna.search.simulation.figures import Contest, Line
from mmtuna.search.simulation.pool import Pool, thinned
from mmtuna.search.simulation.portfolio import SIZE, choose
from mmtuna.search.trials.conclude import Scoring
from mmtuna.search.versions import machine, versions
from mmtuna.spaces.files import write_whole
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.prior import Prior
from mmtuna.spaces.trials import LAST_STEP
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.warming import Drawn, Earlier, warmth_of

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
SETS = "duke,drive,phantom"
BELIEVED = ("optimizer", "lr_sgd", "lr_adam", "loss")
FIGURES = ("of_plain", "reached", "final", "regret", "regret_95", "iterations")


def main() -> None:
    """Simulates everything, writes and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200, help="of each setting")
    parser.add_argument("--trials", default="30", help="budgets by comma")
    parser.add_argument("--workers", default="1", help="by comma")
    parser.add_argument("--only", default=SETS, help="names of the sets by comma")
    parser.add_argument("--evaluations", type=int, default=5, help="of each training: what a study has by default")
    parser.add_argument("--answers", default="recorded", help="recorded or blend, as of mmtuna replay")
    parser.add_argument("--recorded", type=Path, default=HERE / "recorded", help="folder of the recorded trials")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "search-parts.json")
    options = parser.parse_args()
    began = time.monotonic()
    pools = {name: pool_of(name, options) for name in options.only.split(",")}
    found = {}
    for name, pool in pools.items():
        for trials in map(int, options.trials.split(",")):
            place = f"{name}, {trials} trials"
            found[place] = _lines(name, pools, trials, options)
            print(f"{place}, of {len(pool.trials)} recorded, the best {pool.best:.4f}", flush=True)
            for line in found[place]:
                figures = ", ".join(f"{figure} {shown(line[figure])}" for figure in FIGURES)
                print(f"  {line['what']}, {line['workers']} workers: {figures}", flush=True)
    document = {
        "what": f"{options.studies} simulated studies a setting; of_plain is the cost until plain Optuna's end score",
        "command": " ".join(["python", "benchmarks/search/parts.py", *sys.argv[1:]]),
        "wall_seconds": round(time.monotonic() - began, 1),
        "recorded": {name: len(pool.trials) for name, pool in pools.items()},
        "machine": machine(),
        "versions": versions(),
        "sets": found,
    }
    write_whole(options.out, json.dumps(document, indent=1) + "\n")


def shown(figure: float | None) -> str:
    """A figure of a line as a person reads it."""
    return "-" if figure is None else f"{figure:,.0f}" if figure >= 100 else f"{figure:.4f}"


def pool_of(name: str, options: argparse.Namespace) -> Pool:
    """The recorded trials of a set, of as many evaluations as a study's have."""
    spec = StudySpec.load(HERE / f"{name}.toml")
    recorded = load_recorded(options.recorded / f"{name}.jsonl")
    thin = [thinned(trial, options.evaluations) for trial in recorded]
    return Pool(spec.search_space(), thin, Scoring.of(spec.study))


def _lines(name: str, pools: Mapping[str, Pool], trials: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    pool, spec = pools[name], StudySpec.load(HERE / f"{name}.toml")
    contest = Contest(pool, spec.study, options.answers, 1.0, options.studies, _knows(name, pools))
    settings = {}
    for workers in map(int, options.workers.split(",")):
        whole = Setting(
            sampler="tpe",
            pruner="median",
            workers=workers,
            trials=trials,
            evaluations=options.evaluations,
            portfolio="of the others",
        )
        settings[whole.plain()] = "plain Optuna"
        for what, setting in _variants(whole).items():
            settings.setdefault(setting, what)  # a part that does nothing by default is no line of its own
    lines = contest.lines([one for one in settings if one != one.plain()], processes=cores())
    return [told(line, settings[line.setting]) for line in lines]


def _variants(whole: Setting) -> dict[str, Setting]:
    nothing = replace(whole, portfolio="")
    return {
        "all parts": whole,
        "without the portfolio": nothing,
        "without TPE": replace(whole, sampler="random"),
        "without the pruner": replace(whole, pruner="none"),
        "without stopping collapses": replace(whole, collapse=LAST_STEP),
        "a portfolio of the others' worst": replace(whole, portfolio="upside down"),
        "warm, without the portfolio": replace(nothing, warm="of the others"),
        "warm and the portfolio": replace(whole, warm="of the others"),
        "warm upside down, without the portfolio": replace(nothing, warm="upside down"),
        "a right prior, without the portfolio": replace(nothing, prior="right"),
        "a wrong prior, without the portfolio": replace(nothing, prior="wrong"),
    }


def _knows(name: str, pools: Mapping[str, Pool]) -> Knows:
    pool, others = pools[name], {other: found for other, found in pools.items() if other != name}
    values = np.nan_to_num(pool.values, nan=-1.0)
    earlier = [one for found in others.values() for one in _earlier(found)]
    everything = [one.params for one in choose(others, len(pool.trials))]
    return Knows(
        portfolio={"of the others": everything[:SIZE], "upside down": everything[::-1][:SIZE]},
        warm={"of the others": earlier, "upside down": [Earlier(one.params, 1 - one.rank) for one in earlier[::-1]]},
        prior={
            "right": _priors(pool.trials[int(values.argmax())].params),
            "wrong": _priors(pool.trials[int(values.argmin())].params),
        },
    )


def _earlier(pool: Pool) -> tuple[Earlier, ...]:
    drawn = [Drawn(trial.params, pool.value(trial)) for trial in pool.trials]
    return warmth_of("", drawn, pool.space, {}).earlier


def _priors(params: Params) -> dict[str, Prior]:
    return {name: Prior(params[name]) for name in BELIEVED if name in params}


def told(line: Line, what: str) -> dict[str, Any]:
    """What is written of a line."""
    plain = line.plain()
    return {"what": what, "workers": line.setting.workers, **{name: plain[name] for name in FIGURES}}


if __name__ == "__main__":
    main()
