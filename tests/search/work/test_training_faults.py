"""Faults in real trainings, by the commands; the cases with all their figures stand in benchmarks/faults."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.faults.cases import Ground
from benchmarks.faults.crew import Site
from benchmarks.faults.disk_cases import MIB, fill, full_database, full_folder, full_pictures, small_disk
from benchmarks.faults.searching import holds
from benchmarks.faults.training import TrainingSite, training_site
from benchmarks.faults.training_cases import (
    broken_trials,
    late_child,
    lay_out_faults,
    terminated_evaluation,
    terminated_training,
    trained_canary,
)
from tests.processes import alive_in_group
from tests.waiting import until


@pytest.fixture
def site(tmp_path: Path) -> Iterator[TrainingSite]:
    with training_site(tmp_path / "tiny", None) as found:
        yield found


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    found = Ground(Site(tmp_path, None), seed=1)
    yield found
    found.site.kill()


@pytest.fixture
def on_postgres(ground: Ground, request: pytest.FixtureRequest) -> Ground:
    server, database = request.getfixturevalue("server"), request.getfixturevalue("database")
    return Ground(Site(ground.site.folder, server.url(database)), 1, server, database)


@pytest.fixture
def may_mount(tmp_path: Path) -> None:
    try:
        with small_disk(tmp_path / "try", MIB):
            pass
    except (RuntimeError, OSError) as error:
        pytest.skip(str(error))


@pytest.mark.slow  # likewise, up to where another goes on, in test_interruption.py
def test_sigterm_to_every_process_ends_the_worker_in_time_and_another_goes_on(site: TrainingSite) -> None:
    """As systemd and Slurm send it: the fork server, the trial and its loaders hear it too; only the worker may act."""
    site.lay_out(trials=1, train="iterations = 100\nevaluations = 5\nloader_workers = 2")
    worker = site.launch("run")
    assert until(lambda: site.reported() > 0, 90)
    assert len(alive_in_group(worker.pid)) >= 5  # with the fork server, the trial and its loaders
    began = time.monotonic()
    os.killpg(worker.pid, signal.SIGTERM)
    assert worker.wait(30) == 1
    assert time.monotonic() - began < 10
    assert "stopped; run the same command again to go on" in site.outputs()
    assert until(lambda: not alive_in_group(worker.pid), 15)
    assert site.states() == ["WAITING"]

    assert site.launch("worker").wait(120) == 0, site.outputs()
    (trial,) = site.trials()
    assert trial.state.name == "COMPLETE"
    assert list(trial.intermediate_values) == [20, 40, 60, 80, 100]
    assert [entry["ended"] for entry in trial.user_attrs["history"]] == ["interrupted", "complete"]
    assert re.search(r"resumed epoch: 0, iter: [1-9]", (site.trial(0) / "train.log").read_text())


@pytest.mark.slow  # a process that hangs is ended and named in tests/objectives/trial/test_trial_faults.py
def test_a_trial_that_hangs_is_named_and_the_next_begins_in_seconds(site: TrainingSite) -> None:
    lay_out_faults(site, 0, [("hang", 2, "hung")], hung=20.0)  # what a busy machine may need to begin
    worker = site.launch("run")
    assert worker.wait(120) == 0, site.outputs()
    hung, good = site.trials()
    assert (hung.state.name, hung.user_attrs["cause"]) == ("FAIL", "hung")
    message = hung.user_attrs["message"]
    where = r"(last heard of at iteration \d|before its first iteration)"
    assert re.match(rf"no sign of life for 20 s, {where}; the end of train.log shows", message)
    assert f"failed: hung: {message}" in site.outputs()
    assert good.state.name == "COMPLETE"
    at = float(re.findall(r"fault at (\d+\.\d+)", (site.trial(0) / "train.log").read_text())[0])
    assert 19 < good.datetime_start.timestamp() - at < 35
    assert until(lambda: not alive_in_group(worker.pid), 15)


@pytest.mark.usefixtures("may_mount")
def test_a_database_on_a_full_disk_is_named_by_every_command(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2 * MIB) as disk:
        site = Site(tmp_path / "site", f"sqlite:///{disk}/study.db")
        site.write(trials=2)
        assert site.start().wait(60) == 0, site.outputs()
        fill(disk)
        for command in ("replay", "status"):
            words = [sys.executable, "-m", "mmtuna", command, str(site.spec)]
            done = subprocess.run(words, env=site.env(), capture_output=True, text=True, check=False)
            assert done.returncode in (1, 2)
            (line,) = done.stderr.splitlines()
            assert line == f"mmtuna: [study] storage {site.url} does not open: its disk is full; free some"


def test_a_secret_is_found_wherever_it_is_written(tmp_path: Path) -> None:
    """The search that the canary's cases rely on."""
    plain, archive, name = tmp_path / "a.txt", tmp_path / "b.pth", tmp_path / "canary.txt"
    plain.write_text("a canary sings")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("data.pkl", "a canary sings" * 100)
    name.write_text("")
    assert all(holds(path, b"canary") for path in (plain, archive, name))
    assert not any(holds(path, b"sparrow") for path in (plain, archive, name))


CASES = (terminated_training, terminated_evaluation, late_child, broken_trials)
DISK_CASES = (full_folder, full_pictures, full_database)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_faults_of_trainings(ground: Ground, case: object) -> None:
    assert callable(case)
    passed, found = case(ground)
    assert passed, found


@pytest.mark.slow
@pytest.mark.usefixtures("may_mount")
@pytest.mark.parametrize("case", DISK_CASES, ids=lambda case: case.__name__)
def test_full_disks(ground: Ground, case: object) -> None:
    assert callable(case)
    passed, found = case(ground)
    assert passed, found


@pytest.mark.slow
def test_what_is_trained_exported_and_copied_shows_no_password(on_postgres: Ground) -> None:
    passed, found = trained_canary(on_postgres)
    assert passed, found
