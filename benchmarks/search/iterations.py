"""Are iterations a parameter to search, or what is rationed? Simulated studies at equal iterations.

On each set: all recorded trials, of 200 to 1,600 iterations, beside those of 1,200 and more alone, of which a pruner or
ASHA takes what it costs to find that they are no good. All studies of a set have the iterations that the budget's
trials of all lengths take without a pruner; regret is to the best of all recorded trials of the set.
Writes benchmarks/results/search-iterations.json and prints a table. Needs what record.py left.

    python benchmarks/search/iterations.py --studies 200
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import contests
import numpy as np

from mmtuna.objectives.devices import cores
from mmtuna.search.simulation.pool import Pool
from mmtuna.search.trials.conclude import Scoring
from mmtuna.studies.spec import StudySpec

LONG = 1200
"""Of the parameter, before it is scaled to a small machine."""
PRUNERS = ("none", "median", "asha:2", "asha:3")


def main() -> None:
    """Simulates everything, writes and prints it."""
    parser = contests.parser_of(__doc__, "30", "1", "search-iterations.json")
    sets = contests.Sets.load(parser.parse_args())
    began, found = time.monotonic(), {}
    for name in sets.pools:
        for trials in map(int, sets.options.trials.split(",")):
            found[f"{name}, {trials} trials"] = lines = _lines(name, sets, trials)
            print(f"{name}, {trials} trials", flush=True)
            for line in lines:
                print("  " + ", ".join(f"{key} {value}" for key, value in line.items()), flush=True)
    what = f"{sets.options.studies} simulated studies a setting at equal iterations"
    sets.write(what, time.monotonic() - began, {"sets": found})


def _lines(name: str, sets: contests.Sets, trials: int) -> list[dict[str, Any]]:
    whole, spec = sets.pools[name], StudySpec.load(contests.HERE / f"{name}.toml")
    long = [trial for trial in whole.trials if int(trial.params["iterations"]) >= LONG]
    pools = {"all": whole, f"{LONG} and more": Pool(spec.search_space(), long, Scoring.of(spec.study))}
    setting = sets.setting(name, trials, equal=True)
    found = []
    for what, pool in pools.items():
        contest = replace(sets.contest(name), pool=pool)
        settings = {replace(setting, pruner=pruner): pruner for pruner in PRUNERS}
        for how, courses in contest.courses(list(settings), processes=cores()).items():
            regrets = np.array([whole.best - course.final for course in courses])
            found.append(
                {
                    "iterations": what,
                    "pruner": settings[how],
                    "recorded": len(pool.trials),
                    "best_recorded": round(pool.best, 4),
                    "regret": round(float(np.median(regrets)), 4),
                    "regret_95": round(float(np.quantile(regrets, 0.95)), 4),
                    "starved": sum(course.starved for course in courses),
                }
            )
    return found


if __name__ == "__main__":
    main()
