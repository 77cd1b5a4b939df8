"""256 workers on one Postgres: how much of their time is training, where a trial trains for 10 to 30 s, 20 on average.

    python benchmarks/speed/crowd.py                # six minutes on an idle machine
    python benchmarks/speed/crowd.py --machines 2 --slots 4 --seconds 2 --rounds 3      # to see that it runs

Machines are processes, slots their threads, as with `mmtuna launch`; a training is a sleep between real reports.
Claims, reports, renewals, ends and the choice of checkpoints are mmtuna's own. All begin at the same moment, as after a
cluster was started. Writes benchmarks/results/crowd.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import optuna  # noqa: E402
from optuna.trial import TrialState  # noqa: E402

from benchmarks.speed.searching import FORK, SPACE, Took, our_study, ours  # noqa: E402
from mmtuna.search.versions import machine, versions  # noqa: E402
from tests.postgres import PostgresServer  # noqa: E402
from tests.studies.filled import fill  # noqa: E402


def main() -> None:
    """Runs the crowd and writes what it did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=32)
    parser.add_argument("--slots", type=int, default=8, help="of each machine")
    parser.add_argument("--seconds", type=float, default=20.0, help="that a trial trains, on average")
    parser.add_argument("--rounds", type=int, default=15, help="trials of each slot")
    parser.add_argument("--before", type=int, default=1000, help="ended trials that the study holds at first")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "crowd.json")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="crowd") as folder, PostgresServer(max_connections=600) as server:
        found = crowd(server, Path(folder), options)
    command = " ".join(["python", *sys.argv])
    document = {"command": command, "machine": machine(), "versions": versions(), **found}
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


def crowd(server: PostgresServer, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What the crowd did: `utilisation` is the share of all slots' time, first claims included, that was training."""
    url = server.create("crowd")
    study, _ = our_study(url, folder)
    fill(study, SPACE, options.before)
    served = _cpu_seconds(server)
    count = options.machines * options.slots
    barrier, told = FORK.Barrier(options.machines + 1, timeout=300), FORK.Queue()
    processes = [
        FORK.Process(target=_machine, args=(url, folder, n, options, barrier, told)) for n in range(options.machines)
    ]
    for process in processes:
        process.start()
    barrier.wait()
    began = time.monotonic()
    machines = [told.get(timeout=600 + 10 * options.rounds * options.seconds) for _ in processes]
    slots = [slot for _, of_machine in machines for slot in of_machine]
    for process in processes:
        process.join()
    idle = [wait for slot in slots for wait in slot["idle"]]
    shares = [slot["asleep"] / (slot["ended"] - began) for slot in slots]
    later = [slot["later"] for slot in slots]
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    return {
        "workers": count,
        "machines": options.machines,
        "mean_trial_seconds": options.seconds,
        "rounds": options.rounds,
        "ended_before": options.before,
        "seconds": round(max(slot["ended"] for slot in slots) - began, 1),
        "utilisation": round(statistics.mean(shares), 4),
        "utilisation_after_first_trial": round(statistics.mean(later), 4),
        "idle_seconds_a_trial": {
            "median": round(statistics.median(idle), 3),
            "highest": round(max(idle), 3),
        },
        "cpu_ms_a_trial": round(1000 * sum(cpu for cpu, _ in machines) / len(idle), 1),
        "server_cpu_ms_a_trial": round(1000 * (_cpu_seconds(server) - served) / len(idle), 1),
        "finished": sum(state == TrialState.COMPLETE for state in states) - options.before,
        "left_running": sum(state == TrialState.RUNNING for state in states),
    }


def _cpu_seconds(server: PostgresServer) -> float:
    """Of the server's main process and of those that it has seen end: one a connection."""
    pid = (server.folder / "data" / "postmaster.pid").read_text().splitlines()[0]
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def _machine(url: str, folder: Path, place: int, options: argparse.Namespace, barrier: Any, told: Any) -> None:
    found: list[dict[str, Any]] = []
    with ExitStack() as stack:
        # A folder of its own: on another machine no sign of life of this one would be seen.
        own = folder / str(place)
        one = stack.enter_context(ours(url, own, place + 1, seconds=options.seconds))
        barrier.wait()
        before = time.process_time()

        def serve() -> None:
            trials: list[Took] = []
            ends: list[float] = []
            for _ in range(options.rounds):
                took = one()
                assert took is not None
                trials.append(took)
                ends.append(time.monotonic())
            later = sum(took.asleep for took in trials[1:]) / max(ends[-1] - ends[0], 1e-9)
            found.append(
                {
                    "idle": [took.trial - took.asleep for took in trials],
                    "asleep": sum(took.asleep for took in trials),
                    "ended": ends[-1],
                    "later": later,
                }
            )

        threads = [threading.Thread(target=serve) for _ in range(options.slots)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told.put((time.process_time() - before, found))


if __name__ == "__main__":
    main()
