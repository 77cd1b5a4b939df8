"""Simulated studies over the recorded trials: mmtuna's samplers and pruners beside plain Optuna, on each set.

Writes benchmarks/results/search-replay.json and a picture for each set and budget beside it. Needs what record.py left.

    python benchmarks/search/replay.py --studies 200
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
RESULTS = ROOT / "benchmarks" / "results"
SETS = ("duke", "drive", "phantom")


def main() -> None:
    """Simulates everything and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200, help="of each setting")
    parser.add_argument("--trials", default="30,100", help="budgets by comma")
    parser.add_argument("--evaluations", type=int, default=5, help="of each training: what a study has by default")
    options = parser.parse_args()
    began = time.monotonic()
    found = {
        f"{name}, {trials} trials": _simulated(name, trials, options)
        for name in SETS
        for trials in options.trials.split(",")
    }
    document = {
        "what": f"{options.studies} simulated studies of each setting over recorded trials, cold start",
        "command": " ".join(["python", "benchmarks/search/replay.py", *sys.argv[1:]]),
        "wall_seconds": round(time.monotonic() - began, 1),
        "sets": found,
    }
    out = RESULTS / "search-replay.json"
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(out)


def _simulated(name: str, trials: str, options: argparse.Namespace) -> dict[str, object]:
    recorded = HERE / "recorded" / f"{name}.jsonl"
    command = [sys.executable, "-m", "mmtuna", "replay", str(HERE / f"{name}.toml"), "--recorded", str(recorded)]
    command += ["--studies", str(options.studies), "--trials", trials, "--evaluations", str(options.evaluations)]
    command += ["--sampler", "tpe,random", "--pruner", "median,hyperband,none", "--workers", "1,8", "--json"]
    command += ["-o", str(RESULTS / f"search-replay-{name}-{trials}.png")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    told: dict[str, object] = json.loads(done.stdout)
    return told


if __name__ == "__main__":
    main()
