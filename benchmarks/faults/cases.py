"""The faults, one function each: it makes the fault happen and returns (passed, what was counted)."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.faults.crew import ROOT, Site, account, enqueue, opened
from benchmarks.faults.searching import places_of, process_titles, say
from tests.postgres import PostgresServer
from tests.waiting import until

Found = dict[str, Any]
Outcome = tuple[bool, Found]
ZEROES = ("missing", "surplus", "doubled", "running", "failed", "queued_not_done", "lost_reports")


@dataclass
class Ground:
    """Where a case happens: a fresh site, the seed, and on Postgres the server and the database's name."""

    site: Site
    seed: int
    server: PostgresServer | None = None
    database: str = ""


def sound(found: Found) -> bool:
    """Whether nothing was lost, doubled or left over."""
    return all(found[name] == 0 for name in ZEROES)


def killed_workers(ground: Ground) -> Outcome:
    """1: 6 workers, 60 trials of which 30 are enqueued, kill -9 of 3 at random times."""
    return kill_some(ground, workers=6, trials=60, kills=3)


def kill_some(ground: Ground, *, workers: int, trials: int, kills: int) -> Outcome:
    """`workers` work on `trials`, half of them enqueued; `kills` of them are killed, the first while it trains."""
    site, draw = ground.site, random.Random(ground.seed)
    site.write(trials=trials, seed=ground.seed, pause=0.1)
    enqueue(site, trials // 2)
    crew = [site.start() for _ in range(workers)]
    until(lambda: _running(site) > 0, 60)
    for place, worker in enumerate(draw.sample(crew, kills)):
        time.sleep(draw.uniform(0.3, 3.0))
        if place == 0:  # the others whenever it comes, also while they start or are between two trials
            until(partial(_trains, site, worker.pid), 60)
        worker.kill()
    ended = site.wait(300)
    found = account(site, trials, trials // 2)
    return ended and sound(found), found


def killed_reapers(ground: Ground) -> Outcome:
    """2: three stale trials; a reaper killed at every statement in turn, then four reapers at once: one retry each."""
    site = ground.site
    site.write(trials=3, seed=ground.seed, pause=30, lease=0.5, retries=99)
    dead = site.start("--slots", "3")
    until(lambda: _running(site) == 3, 60)
    dead.kill()
    dead.wait()
    steps, killed = 0, 0
    for steps in range(1, 200):
        time.sleep(0.6)
        done = subprocess.run([sys.executable, "-c", _REAPER, str(site.spec), str(steps)], env=site.env(), check=False)
        if done.returncode == 0:
            break
        killed += done.returncode == -signal.SIGKILL
    crew = [subprocess.Popen([sys.executable, "-c", _REAPER, str(site.spec), "0"], env=site.env()) for _ in range(4)]
    for process in crew:
        process.wait()
    with opened(site) as study:
        histories = [[e["ended"] for e in t.user_attrs.get("history", [])] for t in study.get_trials()]
        states = [trial.state.name for trial in study.get_trials()]
    found = {"killed_at_steps": killed, "retries": sum(map(len, histories)), "waiting": states.count("WAITING")}
    return histories == [["lost"]] * 3 and states == ["WAITING"] * 3 and killed == steps - 1, found


_REAPER = """
import sys
from pathlib import Path
from mmtuna.studies.spec import StudySpec
from tests.studies.leases.reaping import reap_and_die
spec = Path(sys.argv[1])
reap_and_die(spec, int(sys.argv[2]), StudySpec.load(spec).study.folder, 99)
"""


def _running(site: Site) -> int:
    with opened(site) as study:
        return sum(trial.state.name == "RUNNING" for trial in study.get_trials(deepcopy=False))


def _trains(site: Site, pid: int) -> bool:
    from mmtuna.studies.leases.crew import crew_of

    with opened(site) as study:
        return any(life.trials for life in crew_of(study).workers if life.worker.split(":")[1] == str(pid))


def restarted_server(down: float) -> Callable[[Ground], Outcome]:
    """3: Postgres stopped with -m immediate in the middle, and started again after `down` seconds; 8 workers."""

    def case(ground: Ground) -> Outcome:
        site, server = ground.site, ground.server
        assert server is not None
        site.write(trials=80, seed=ground.seed, pause=0.2, lease=6.0)
        enqueue(site, 40)
        workers = [site.start() for _ in range(8)]
        # Not while they start: a worker that finds no server at its start says so and ends, as it should.
        until(lambda: len(site.status()["workers"]) == 8, 120)
        time.sleep(random.Random(ground.seed).uniform(0.0, 1.5))
        server.stop()
        time.sleep(down)
        server.start()
        ended = site.wait(400)
        found = account(site, 80, 40)
        found["dead_workers"] = sum(worker.returncode != 0 for worker in workers)
        return ended and sound(found) and found["dead_workers"] == 0 and found["retries"] == 0, found

    return case


def distinct_runs(ground: Ground) -> Outcome:
    """4a: 8 workers, 200 enqueued configs: 200 runs of 200 configs."""
    site = ground.site
    site.write(trials=200, seed=ground.seed, pause=0.01, lease=20.0)
    enqueue(site, 200)
    for _ in range(8):
        site.start()
    ended = site.wait(500)
    found = account(site, 200, 200)
    return ended and sound(found) and found["retries"] == 0, found


def crowd(ground: Ground) -> Outcome:
    """4b: 32 workers, 1,000 trials: no deadlock, memory flat, at most 2 connections a worker."""
    site, server = ground.site, ground.server
    site.write(trials=1000, seed=ground.seed, pause=0.01, lease=120.0)
    began = time.monotonic()
    workers = [site.start() for _ in range(32)]
    memory: list[float] = []
    most, over = 0, 0
    while any(worker.poll() is None for worker in workers) and time.monotonic() - began < 1800:
        alive = [worker.pid for worker in workers if worker.poll() is None]
        memory.append(sum(map(_resident, alive)) / max(1, len(alive)))
        if server is not None:
            open_now = server.connections(ground.database)
            most, over = max(most, open_now), over + (open_now > 2 * len(workers))
        time.sleep(1)
    ended = site.wait(10)
    found = account(site, 1000, 0)
    settled = memory[len(memory) // 3 :] or [0.0]
    found |= {
        "seconds": round(time.monotonic() - began),
        "MiB_a_worker": round(settled[-1] if len(settled) < 3 else sorted(settled)[len(settled) // 2]),
        "MiB_grown": round(max(settled) - settled[0]),
        "connections_most": most,
        "deadlocks": server.log.count("deadlock detected") if server else 0,
    }
    return ended and sound(found) and not over and found["deadlocks"] == 0 and found["MiB_grown"] < 30, found


def _resident(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    match = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(match.group(1)) / 1024 if match else 0.0


def stopped_worker(ground: Ground) -> Outcome:
    """5: SIGSTOP past the lease while it trains, then SIGCONT: late result dropped, one COMPLETE, the worker lives."""
    site = ground.site
    site.write(trials=6, seed=ground.seed, pause=0.5, lease=2.0)
    slow = site.start()
    # Not within the question for a trial: on SQLite that holds a lock which no other process can take away.
    until(lambda: _reported(site) > 0, 60)
    time.sleep(random.Random(ground.seed).uniform(0.0, 1.0))
    slow.send_signal(signal.SIGSTOP)
    site.start()
    until(lambda: _losses(site) > 0, 60)
    time.sleep(1)
    slow.send_signal(signal.SIGCONT)
    ended = site.wait(120)
    found = account(site, 6, 0)
    output = site.outputs()
    found |= {"dropped": output.count("dropped: the lease was lost"), "worker_exit": slow.returncode}
    passed = ended and sound(found) and found["retries"] == found["dropped"] == 1 and slow.returncode == 0
    return passed, found


def _reported(site: Site) -> int:
    with opened(site) as study:
        return sum(len(trial.intermediate_values) for trial in study.get_trials(deepcopy=False))


def _losses(site: Site) -> int:
    with opened(site) as study:
        trials = study.get_trials(deepcopy=False)
    return sum(entry["ended"] == "lost" for trial in trials for entry in trial.user_attrs.get("history", []))


ZONES = ("UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Kiritimati")


def other_clocks(ground: Ground) -> Outcome:
    """8: workers in four time zones whose clocks are up to two hours apart (shifted/sitecustomize.py)."""
    site = ground.site
    site.write(trials=40, seed=ground.seed, pause=0.2, lease=3.0)
    shim = os.pathsep.join([str(ROOT / "benchmarks" / "faults" / "shifted"), str(ROOT)])
    for zone, shift in zip(ZONES, (0, 3600, -3600, 1800), strict=True):
        site.start(TZ=zone, PYTHONPATH=shim, FAULTS_CLOCK_SHIFT=str(shift))
    ended = site.wait(200)
    found = account(site, 40, 0)
    with opened(site) as study:
        starts = [trial.datetime_start.timestamp() for trial in study.get_trials() if trial.datetime_start]
    found["minutes_apart"] = round((max(starts) - min(starts)) / 60)  # that the clocks were apart indeed
    return ended and sound(found) and found["retries"] == 0 and found["minutes_apart"] >= 90, found


def canary(ground: Ground) -> Outcome:
    """11: the password is nowhere: outputs, logs, files, process titles, error messages, also when all goes wrong."""
    site, server = ground.site, ground.server
    assert server is not None
    site.write(trials=20, seed=ground.seed, pause=0.2, lease=2.0)
    for _ in range(3):
        site.start("--slots", "2")
    with process_titles() as titles:
        until(lambda: _running(site) > 0, 60)
        said = [say(site, "status"), say(site, "status", "--json"), say(site, "copy", "--to", site.url or "")]
        site.workers[0].kill()
        server.stop()
        said += [say(site, "status"), say(site, "replay")]
        server.start()
        ended = site.wait(200)
        said.append(say(site, "report"))
        wrong = (site.url or "").replace("mmtuna:", "nobody:")
        said.append(say(site, "status", MMTUNA_STORAGE=wrong))
    # The harness itself put it on the command line of `copy`, to see it refused without being repeated.
    shown = {title for title in titles if " copy " not in title}
    found = places_of(server.password, [*said, site.outputs()], shown, [site.folder], server, [ground.database])
    return ended and not any(found[name] for name in found if name.startswith("in_")), found


BOTH, SQLITE, POSTGRES = ("sqlite", "postgres"), ("sqlite",), ("postgres",)
CASES: dict[str, tuple[Callable[[Ground], Outcome], tuple[str, ...]]] = {
    "1 kill -9 of 3 of 6 workers": (killed_workers, BOTH),
    "2 reapers killed, two at once": (killed_reapers, BOTH),
    "3 server down 0 s": (restarted_server(0), POSTGRES),
    "3 server down 3 s": (restarted_server(3), POSTGRES),
    "3 server down 30 s": (restarted_server(30), POSTGRES),
    "4a 200 configs, 8 workers": (distinct_runs, BOTH),
    "4b 1,000 trials, 32 workers": (crowd, BOTH),
    "5 SIGSTOP past the lease": (stopped_worker, BOTH),
    "8 clocks and time zones": (other_clocks, BOTH),
    "11 password canary": (canary, POSTGRES),
}

__all__ = ["CASES", "Ground"]
