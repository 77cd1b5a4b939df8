"""Which pruner serves: simulated studies with those that there are, with other settings, and with others.

On each set over its recorded trials, by the sampler of a study, beside no pruner and plain Optuna; also ASHA whose
trials wait and go on. All have the iterations that the budget's trials would take without any pruner.
Writes benchmarks/results/search-pruners.json and prints a table. Needs what record.py left.

    python benchmarks/search/pruners.py --studies 200 --workers 1,8
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import parts

from mmtuna.objectives.trial.devices import cores
from mmtuna.search.simulation.course import Setting
from mmtuna.search.simulation.figures import Contest
from mmtuna.search.versions import machine, versions
from mmtuna.spaces.files import write_whole
from mmtuna.studies.spec import StudySpec

PRUNERS = (
    *("none", "median", "hyperband"),
    *(f"median:{startup}:{warmup}" for startup in (4, 8) for warmup in (0, 0.2, 0.4)),
    *(f"percentile:{best}:{startup}:0.2" for best in (25, 75) for startup in (4, 8)),
    *(f"patient:{patience}:4:0.2" for patience in (1, 2)),
    *("asha:2", "asha:3", "asha:4"),
)


def main() -> None:
    """Simulates everything, writes and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200, help="of each setting")
    parser.add_argument("--trials", default="30,100", help="budgets by comma")
    parser.add_argument("--workers", default="1,8", help="by comma")
    parser.add_argument("--only", default=parts.SETS, help="names of the sets by comma; all by default")
    parser.add_argument("--evaluations", type=int, default=5, help="of each training: what a study has by default")
    parser.add_argument("--answers", default="recorded", help="recorded or blend, as of mmtuna replay")
    parser.add_argument("--recorded", type=Path, default=parts.HERE / "recorded", help="folder of the recorded trials")
    parser.add_argument("--out", type=Path, default=parts.ROOT / "benchmarks" / "results" / "search-pruners.json")
    options = parser.parse_args()
    began, found = time.monotonic(), {}
    for name in options.only.split(","):
        for trials in map(int, options.trials.split(",")):
            found[f"{name}, {trials} trials"] = lines = _lines(name, trials, options)
            print(f"{name}, {trials} trials", flush=True)
            for line in lines:
                figures = ", ".join(f"{figure} {parts.shown(line[figure])}" for figure in parts.FIGURES)
                print(f"  {line['what']}, {line['workers']} workers: {figures}", flush=True)
    document = {
        "what": f"{options.studies} simulated studies a setting; of_plain is the cost until plain Optuna's end score",
        "command": " ".join(["python", "benchmarks/search/pruners.py", *sys.argv[1:]]),
        "wall_seconds": round(time.monotonic() - began, 1),
        "machine": machine(),
        "versions": versions(),
        "sets": found,
    }
    write_whole(options.out, json.dumps(document, indent=1) + "\n")


def _lines(name: str, trials: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    pool, table = parts.pool_of(name, options), StudySpec.load(parts.HERE / f"{name}.toml").study
    contest = Contest(pool, table, options.answers, 1.0, options.studies)
    whole = Setting(
        sampler="tpe",
        pruner="none",
        workers=1,
        trials=trials,
        iterations=round(trials * fmean(trial.iterations for trial in pool.trials)),
        evaluations=options.evaluations,
    )
    settings = [
        replace(whole, pruner=pruner, workers=workers)
        for workers in map(int, options.workers.split(","))
        for pruner in PRUNERS
    ]
    lines = contest.lines(settings, processes=cores())
    names = {setting: setting.pruner for setting in settings}
    return [parts.told(line, names.get(line.setting, "plain Optuna")) for line in lines]


if __name__ == "__main__":
    main()
