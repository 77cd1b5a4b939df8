"""1,000 replayed trials through the real storage, sampler and pruner: `python benchmarks/replay_1000.py [--slots 2]`.

Generated curves over the extended space, SQLite, TPE, median pruner, one worker process. Writes
benchmarks/results/replay-1000.json and checks what must hold: exactly 1,000 finished, none running or failed.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from mmtuna.search.versions import machine, versions

HERE = Path(__file__).resolve().parent
SPEC = """\
[study]
name = "replay-1000"
trials = 1000
enqueue = ["table2"]
[data]
root = "."
[space]
preset = "extended"
[replay]
"""


def main() -> None:
    """Runs the study in a temporary folder and writes its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, default=2)
    slots = parser.parse_args().slots
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "study.toml"
        spec.write_text(SPEC)
        began = time.monotonic()
        command = [sys.executable, "-m", "mmtuna", "replay", str(spec), "--slots", str(slots), "--json"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        wall = time.monotonic() - began
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        status = [sys.executable, "-m", "mmtuna", "status", str(spec), "--json"]
        found = json.loads(subprocess.run(status, capture_output=True, text=True, check=True).stdout)
        database = (Path(folder) / "runs" / "replay-1000" / "study.db").stat().st_size
    states = found["states"]
    assert found["finished"] == 1000, states
    assert set(states) <= {"COMPLETE", "PRUNED"}, states
    trials = found["trials"]
    gaps = [_seconds(trials[n + 1]["started"]) - _seconds(trials[n]["started"]) for n in range(len(trials) - 1)]
    document = {
        "what": "1,000 replayed trials, extended space, SQLite, TPE, median pruner",
        "command": f"python benchmarks/replay_1000.py --slots {slots}",
        "machine": machine(),
        "versions": versions(),
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_memory_mib": round(usage.ru_maxrss / 1024),
        "trials_per_second": round(1000 / wall, 2),
        "median_seconds_between_starts": {
            "trials 0 to 99": round(statistics.median(gaps[:99]), 3),
            "trials 900 to 998": round(statistics.median(gaps[900:]), 3),
        },
        "states": states,
        "distinct_params": len({json.dumps(trial["params"], sort_keys=True) for trial in trials}),
        "best_value": found["best"]["value"],
        "best_of_the_first_100": max(trial["value"] for trial in trials[:100] if trial["state"] == "COMPLETE"),
        "database_mib": round(database / 2**20, 1),
    }
    out = HERE / "results" / "replay-1000.json"
    out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


if __name__ == "__main__":
    main()
