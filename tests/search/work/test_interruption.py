"""Ctrl-C, SIGTERM and kill -9 at any point: nothing is lost, nothing is left behind."""

from __future__ import annotations

import getpass
import os
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes import alive_in_group
from tests.search.conftest import ENVIRONMENT, interrupt, mmtuna, start, status, wait_for

WriteSpec = Callable[..., Path]
LONG = "# long enough to be caught in the middle\n"


def caught_in_the_middle(spec: Path, trials: Path) -> bool:
    """Whether a training has begun: its log tells of iterations."""
    return any("Iter(train)" in log.read_text() for log in trials.glob("*/train.log"))


def long_spec(write_spec: WriteSpec) -> tuple[Path, Path]:
    spec = write_spec(train=LONG)
    text = spec.read_text().replace("iterations = 8", "iterations = 100000")
    spec.write_text(text.replace("trials = 3", "trials = 2"))
    return spec, spec.parent / "runs" / "tiny" / "trials"


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """With room for the path of a socket, which the folders of tests do not have."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def states(spec: Path) -> dict[str, int]:
    """Trials by state, read at once: a command would take a second of what it is to wait for."""
    with closing(sqlite3.connect(spec.parent / "runs" / "tiny" / "study.db")) as connection:
        return dict(connection.execute("SELECT state, count(*) FROM trials GROUP BY state"))


def make_short(trials: Path, spec: Path) -> None:
    """Lets the same study end: its trials' iterations are part of the config, so the deadline does it."""
    spec.write_text(spec.read_text().replace("threads = 1", "threads = 1\ndeadline = 2.0"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_puts_running_trials_back_and_leaves_no_process(write_spec: WriteSpec, number: int) -> None:
    """A shell's Ctrl-C, and systemd's and Slurm's SIGTERM: trials and loaders hear it too; only the worker may act."""
    spec, trials = long_spec(write_spec)
    spec.write_text(spec.read_text().replace(LONG, "loader_workers = 2\n"))
    process = start("run", spec)
    wait_for(lambda: caught_in_the_middle(spec, trials), 60, "training begins")
    assert len(alive_in_group(process.pid)) >= 5  # with the fork server, the trial and its loaders
    os.killpg(process.pid, number)
    output = process.communicate(timeout=15)[0]
    assert process.returncode == 1
    assert "stopped; run the same command again to go on" in output
    wait_for(lambda: not alive_in_group(process.pid), 5, "all processes of the group are gone")
    found = status(spec)
    assert found["states"] == {"WAITING": 1}

    again = start("run", spec)
    wait_for(lambda: states(spec) == {"RUNNING": 1}, 60, "the same trial runs again")
    interrupt(again)
    again.communicate(timeout=15)
    (trial,) = status(spec)["trials"]
    assert (trial["number"], trial["params"]) == (0, found["trials"][0]["params"])


def test_kill_9_leaves_no_child_and_the_next_worker_trains_the_trial_again(
    write_spec: WriteSpec, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does anything else stay: the next worker clears what it wrote at that moment, and its loaders' sockets."""
    temporary = short_folder
    (temporary / "mmtuna-notes").write_text("a person's own")
    monkeypatch.setitem(ENVIRONMENT, "TMPDIR", str(temporary))
    spec, trials = long_spec(write_spec)
    spec.write_text(spec.read_text().replace(LONG, "loader_workers = 2\n"))
    process = start("run", spec)
    wait_for(lambda: caught_in_the_middle(spec, trials), 60, "training begins")
    process.kill()
    process.communicate(timeout=15)
    wait_for(lambda: not alive_in_group(process.pid), 5, "all processes of the group are gone")
    assert status(spec)["states"] == {"RUNNING": 1}
    left = [path for path in temporary.rglob("*") if "listener-" in path.name]
    assert left, "the loaders' sockets"

    half = trials / "00000" / f".overlays.{left[0].relative_to(temporary).parts[0].removeprefix('mmtuna-')}"
    half.mkdir()  # as if it had been drawing them
    make_short(trials, spec)
    done = mmtuna("run", spec)
    assert "trial 0: its worker is gone, it is trained again" in done.stdout
    assert status(spec)["trials"][0]["cause"] == "deadline"
    assert not half.exists()
    assert {path.name for path in temporary.iterdir()} <= {"mmtuna-notes", f"torchinductor_{getpass.getuser()}"}


def test_the_trial_of_a_living_worker_is_left_alone(write_spec: WriteSpec) -> None:
    spec, trials = long_spec(write_spec)
    process = start("run", spec)
    wait_for(lambda: caught_in_the_middle(spec, trials), 60, "training begins")
    second = start("worker", spec)
    wait_for(lambda: states(spec) == {"RUNNING": 2}, 60, "the second worker takes another trial")
    for worker in (process, second):
        interrupt(worker)
        assert "its worker is gone" not in worker.communicate(timeout=15)[0]
    assert status(spec)["states"] == {"WAITING": 2}


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path) -> None:
    process = start("data", "phantom", tmp_path / "eyes", "--subjects", "200")
    wait_for(lambda: any(tmp_path.glob(".eyes.*/images/*")), 60, "images are written")
    interrupt(process)
    assert process.communicate(timeout=15)[0].splitlines() == ["mmtuna: stopped by Ctrl-C"]
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_check_ends_in_one_line(
    write_spec: WriteSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "MMTUNA_CACHE", str(tmp_path / "cache"))  # else it may know the models
    process = start("check", write_spec())
    wait_for(lambda: len(alive_in_group(process.pid)) > 1, 60, "a child looks at the models")
    interrupt(process)
    output = process.communicate(timeout=15)[0]
    assert process.returncode == 130
    assert output.splitlines() == ["mmtuna: stopped by Ctrl-C"]
    wait_for(lambda: not alive_in_group(process.pid), 5, "all processes of the group are gone")
