"""Real workers on replayed curves: killed, stopped, signalled; the long versions stand in benchmarks/faults."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.faults.cases import Ground, kill_some, stopped_worker
from benchmarks.faults.crew import ROOT, Site
from mmtuna.search.commands.status import clock
from mmtuna.search.outputs.summary import progress
from mmtuna.studies.leases.crew import Crew, LeaseLife, WorkerLife
from mmtuna.studies.results import TrialRow
from tests.waiting import until

DEPLOY = ROOT / "deploy"


@pytest.fixture(params=["sqlite", "postgres"])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    if request.param == "sqlite":
        found = Ground(Site(tmp_path, None), seed=0)
    else:
        server, database = request.getfixturevalue("server"), request.getfixturevalue("database")
        found = Ground(Site(tmp_path, server.url(database)), 0, server, database)
    yield found
    found.site.kill()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path, None)
    yield found
    found.kill()


def states(site: Site) -> dict[str, int]:
    found: dict[str, int] = site.status()["states"]
    return found


def training(site: Site) -> bool:
    return (site.folder / "runs").exists() and "RUNNING" in states(site)


@pytest.mark.parametrize("ground", [pytest.param("sqlite", marks=pytest.mark.slow), "postgres"], indirect=True)
def test_kill_9_loses_and_doubles_nothing(ground: Ground) -> None:
    passed, found = kill_some(ground, workers=3, trials=16, kills=2)
    assert passed, found
    assert found["retries"] >= 1


@pytest.mark.slow
def test_a_worker_stopped_past_its_lease_drops_its_late_result_and_lives(ground: Ground) -> None:
    passed, found = stopped_worker(ground)
    assert passed, found


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        *(pytest.param(other, marks=pytest.mark.slow) for other in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)),
    ],
)
def test_signals_put_trials_back_without_spending_a_retry(site: Site, number: int) -> None:
    site.write(trials=4, pause=0.5, retries=0)
    worker = site.start("--slots", "2")
    assert until(lambda: training(site), 60)
    worker.send_signal(number)
    if number != signal.SIGINT:
        worker.send_signal(signal.SIGTERM)  # as clusters do, a little later: it must not cut the putting back short
    assert worker.wait(20) == 1
    assert "stopped; run the same command again to go on" in site.outputs()
    found = site.status()
    assert set(found["states"]) <= {"WAITING", "COMPLETE"}
    assert (found["workers"], found["causes"]) == ([], {})


def test_a_second_ctrl_c_stops_at_once(site: Site) -> None:
    site.write(trials=4, pause=30.0)
    worker = site.start()
    assert until(lambda: training(site), 60)
    worker.send_signal(signal.SIGINT)
    assert until(lambda: "once more stops at once" in site.outputs(), 10)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(5) == 1  # the pause of half a minute is not waited for


def test_status_tells_at_once_of_a_worker_that_died_here(site: Site) -> None:
    site.write(trials=4, pause=30.0, lease=600.0)
    worker = site.start()
    assert until(lambda: training(site), 60)
    worker.kill()
    worker.wait()
    (life,) = site.status()["workers"]
    assert not life["alive"]
    assert life["seconds_left"] > 0
    command = [sys.executable, "-m", "mmtuna", "status", str(site.spec)]
    said = subprocess.run(command, env=site.env(), capture_output=True, text=True, check=True).stdout
    assert "1 slot, is gone; whoever works next trains its trials" in said


def test_status_tells_of_workers_slots_and_speed(site: Site) -> None:
    site.write(trials=40, pause=0.3, lease=30.0)
    worker = site.start("--slots", "3")
    found: dict[str, Any] = {}

    def under_way() -> bool:  # a look may fall between two trials
        found.update(site.status() if training(site) else {})
        return found.get("finished", 0) > 0 and any(life["trials"] for life in found["workers"])

    assert until(under_way, 60)
    (alive,) = found["workers"]
    assert (alive["alive"], alive["slots"], found["slots"]) == (True, 3, 3)
    assert 1 <= len(alive["trials"]) <= 3
    assert 10 < alive["seconds_left"] <= 30
    assert found["trials_per_hour"] > 0
    assert found["eta_seconds"] > 0
    command = [sys.executable, "-m", "mmtuna", "status", str(site.spec)]

    def shows(line: str) -> bool:
        done = subprocess.run(command, env=site.env(), capture_output=True, text=True, check=True)
        return re.search(line, done.stdout) is not None

    assert until(lambda: shows(r"worker \S+: 3 slots, trains \d+"), 20)
    assert shows(r"trials an hour; full in about \d+ ")
    worker.terminate()
    worker.wait(20)


def test_the_figures_of_status() -> None:
    from datetime import datetime

    def row(number: int, state: str, started: str, ended: str | None) -> TrialRow:
        day = "2026-01-01T"
        return TrialRow(
            number=number,
            state=state,
            value=None,
            params={},
            started=day + started,
            ended=day + ended if ended else None,
        )

    rows = [
        row(0, "COMPLETE", "08:00:00", "08:10:00"),  # more than an hour ago
        row(1, "COMPLETE", "11:00:00", "11:20:00"),
        row(2, "PRUNED", "11:20:00", "11:30:00"),
        row(3, "FAIL", "11:30:00", "11:40:00"),
        row(4, "RUNNING", "11:40:00", None),
    ]
    crew = Crew((WorkerLife("a:1:x", 2, True, 50.0, (4,)), WorkerLife("b:2:y", 4, False, -9.0, ())), ())
    now = datetime(2026, 1, 1, 12)
    found = progress(rows, crew, asked=10, now=now)
    assert (found["trials_per_hour"], found["eta_seconds"], found["slots"]) == (2.0, 7 * 1800, 2)
    young = progress(
        rows[1:], Crew(crew.workers, (LeaseLife(4, "a:1:x", 3.0),)), asked=10, now=datetime(2026, 1, 1, 11, 40)
    )
    assert young["trials_per_hour"] == 3.0  # two in forty minutes
    assert young["expiring"] == [{"trial": 4, "worker": "a:1:x", "seconds_left": 3.0}]
    assert progress(rows, Crew((), ()), asked=10, now=now)["eta_seconds"] is None  # nobody works on it
    assert progress(rows, Crew((), ()), asked=3, now=now)["eta_seconds"] == 0
    left = [progress(rows, Crew((), ()), asked=3, now=now.replace(hour=hour)) for hour in (12, 23)]
    assert [one["trials_per_hour"] for one in left] == [3.0, 3.0]  # the forty minutes in which trials ran, whoever asks
    assert progress(rows[:1], crew, asked=3, now=now)["trials_per_hour"] is None  # nothing within the hour
    later = [*rows[:4], row(4, "COMPLETE", "11:56:00", "11:58:00"), row(5, "RUNNING", "11:58:00", None)]
    assert progress(later, crew, asked=9, now=now)["trials_per_hour"] == round(3 / 44 * 60, 1)  # it paused between
    assert [clock(seconds) for seconds in (40, 200, 7500)] == ["40 s", "3 min", "2 h 05 min"]


def test_the_slurm_script_puts_back_on_the_signal_it_asks_for(site: Site) -> None:
    """The script itself, under a srun that passes signals to what it starts; benchmarks/slurm.py has a real Slurm."""
    script = (DEPLOY / "worker.sbatch").read_text(encoding="utf-8")
    assert "--signal=USR1@60" in script
    site.write(trials=50, pause=0.5)
    programs = site.folder / "bin"
    programs.mkdir()
    (programs / "srun").write_text('#!/bin/bash\nshift\n"$@" &\ntrap "kill -USR1 $!" USR1\nwait $!; wait $!\n')
    (programs / "mmtuna").write_text(f'#!/bin/bash\nexec {sys.executable} -m mmtuna replay "$2"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    script = script.replace("\nsrun ", "\nexec srun ")
    env = site.env(PATH=f"{programs}{os.pathsep}{os.environ['PATH']}")
    process = subprocess.Popen(
        ["bash", "-c", script, "worker.sbatch", str(site.spec)], env=env, stdout=subprocess.PIPE, text=True
    )
    try:
        assert until(lambda: training(site), 60)
        process.send_signal(signal.SIGUSR1)
        output = process.communicate(timeout=30)[0]
    finally:
        process.kill()
    assert "stopping: running trials are put back" in output
    assert process.returncode == 1
    assert "RUNNING" not in states(site)


def test_the_kubernetes_manifest_lets_the_worker_end_in_order() -> None:
    pod = yaml.safe_load((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"][:2] == ["mmtuna", "run"]
    assert pod["terminationGracePeriodSeconds"] >= 30
    values = {entry["name"]: entry for entry in container["env"]}
    assert "secretKeyRef" in values["PGPASSWORD"]["valueFrom"]
    assert ":" not in values["MMTUNA_STORAGE"]["value"].split("://")[1]


def test_the_compose_file_is_closed_by_default() -> None:
    service = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]["postgres"]
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", service["image"])
    assert all(port.startswith("${MMTUNA_BIND:-127.0.0.1}:") for port in service["ports"])
    assert "pg_isready" in service["healthcheck"]["test"]
    assert set(service["environment"]) & {"POSTGRES_PASSWORD", "POSTGRES_HOST_AUTH_METHOD"} == set()
