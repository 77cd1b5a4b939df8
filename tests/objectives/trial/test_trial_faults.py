"""A trial's process that hangs, crashes, runs out of memory or disk, or trains what is another's by now."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.training import BASE, KIND, VAL_KIND, memory_cgroup
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import Cause, Ending, Evaluation, Outcome, TrialOrder
from mmtuna.objectives.trial.causes import MemoryKills, name_death, oom_counter
from mmtuna.objectives.trial.fork_server import SERVER
from mmtuna.objectives.trial_files import CONFIG, LAST, LOG
from tests.processes import children_of
from tests.waiting import until

ENDLESS = {"iterations": 100_000, "evaluations": 1}
Train = Callable[..., Outcome]
Attempt = Callable[..., Outcome]


@pytest.fixture
def attempt(
    tmp_path: Path, phantom: Dataset, lists: tuple[Path, Path], listening: Any, monkeypatch: pytest.MonkeyPatch
) -> Attempt:
    """Trains a few iterations with a fault: attempt(kind, loaders), and what else the objective takes."""
    monkeypatch.syspath_prepend(Path(__file__).parents[3])
    (tmp_path / "base.py").write_text(BASE)

    def run(kind: str, loaders: int = 0, key: str = KIND, listener: Any = None, **fields: Any) -> Outcome:
        fixed = {"iterations": 20, "evaluations": 1, "input_size": 64, "crop": "none", "inference": "whole"}
        known: dict[str, Any] = {"dataset": phantom, "lists": lists, "shapes": {(64, 64)}, "folder": tmp_path}
        objective = SegmentationObjective(
            base=str(tmp_path / "base.py"),
            trust_code=True,
            fixed=fixed | {"loader_workers": loaders, key: kind},
            **(known | fields),
        )
        return objective.run(TrialOrder(number=0, params={}, seed=0), listener or listening())

    return run


class Family:
    """Every process that a trial's process has had, by the fork server's children and theirs."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Family:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.05):
            for pid in children_of(SERVER.pid or -1):
                self.seen |= {pid, *children_of(pid)}


@pytest.mark.parametrize("loaders", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_a_loader_that_hangs_is_named_and_nothing_of_it_is_left(
    attempt: Attempt, tmp_path: Path, gone: Callable[[int], bool], loaders: int
) -> None:
    with Family() as family:
        outcome = attempt("hang", loaders, hung=6.0)
    assert (outcome.ending, outcome.cause) == (Ending.FAILED, Cause.HUNG)
    # On a busy machine its loaders hang before the first iteration is told.
    heard = r"(last heard of at iteration [1-9]|before its first iteration)"
    assert re.fullmatch(f"no sign of life for 6 s, {heard}; the end of train.log shows where it stood", outcome.message)
    assert outcome.seconds < 6 + 20
    assert len(family.seen) >= 1 + loaders  # the validation's loaders begin later
    assert until(lambda: all(gone(pid) for pid in family.seen), 5)
    log = (tmp_path / "trials/00000" / LOG).read_text()
    assert ("in _hang" if loaders == 0 else "in _get_data") in log


@pytest.mark.parametrize(
    ("loaders", "message"),
    [
        (0, "the trial process was killed by SIGSEGV; see train.log"),
        (2, "is killed by signal: Segmentation fault."),
    ],
)
def test_a_segfault_is_named_and_the_log_tells_where(
    attempt: Attempt, tmp_path: Path, gone: Callable[[int], bool], loaders: int, message: str
) -> None:
    with Family() as family:
        outcome = attempt("segfault", loaders, hung=60.0)
    assert (outcome.ending, outcome.cause) == (Ending.FAILED, Cause.CRASHED)
    assert message in outcome.message
    assert until(lambda: all(gone(pid) for pid in family.seen), 5)
    if loaders == 0:
        assert "in _segfault" in (tmp_path / "trials/00000" / LOG).read_text()


def test_a_crash_is_noticed_at_once_though_loaders_that_hang_hold_the_pipe(
    attempt: Attempt, listening: Any, gone: Callable[[int], bool]
) -> None:
    listener = listening()
    killed: list[float] = []

    def kill_late() -> bool:
        (pid,) = listener.pids
        if len(children_of(pid)) == 2 and not killed:
            time.sleep(1.0)  # by now its loaders hang
            os.kill(pid, signal.SIGSEGV)
            killed.append(time.monotonic())
        return False

    listener.asked = kill_late
    with Family() as family:
        outcome = attempt("hang", 2, listener=listener, hung=60.0)
    assert time.monotonic() - killed[0] < 15
    assert outcome.message == "the trial process was killed by SIGSEGV; see train.log"
    assert until(lambda: all(gone(pid) for pid in family.seen), 5)


def test_memory_that_runs_out_in_a_loader_is_named(attempt: Attempt) -> None:
    outcome = attempt("memory", 2)
    assert outcome.cause is Cause.OUT_OF_MEMORY
    assert outcome.message == "MemoryError: Caught MemoryError in DataLoader worker process 0."


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with memory_cgroup(64 << 20) as group:
        if group is None:
            pytest.skip("a memory cgroup of one's own needs root")
        yield group


@pytest.mark.parametrize("loaders", [0, 2])
def test_a_process_that_the_kernel_kills_for_memory_is_named(
    attempt: Attempt, small_memory: Path, tmp_path: Path, loaders: int
) -> None:
    # Not by the environment: the fork server has that of the first test.
    (tmp_path / "base.py").write_text(BASE.replace("kind='none'", f"kind='none', cgroup={str(small_memory)!r}"))
    outcome = attempt("oom", loaders)
    assert (outcome.ending, outcome.cause) == (Ending.FAILED, Cause.OUT_OF_MEMORY), outcome.message


def test_a_loaders_death_is_only_the_kernels_doing_where_it_has_killed() -> None:
    told = "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed."
    assert name_death(1, told, True) == (Cause.OUT_OF_MEMORY, told)
    assert name_death(1, told, False) == (Cause.CRASHED, told)
    segfault = told.replace("Killed", "Segmentation fault")
    assert name_death(1, segfault, True) == (Cause.CRASHED, segfault)
    assert name_death(-9, "", False)[0] is Cause.CRASHED


def test_a_kill_for_memory_counts_where_the_process_is_and_nowhere_else(small_memory: Path) -> None:
    fill = f"import os; open({str(small_memory / 'cgroup.procs')!r}, 'w').write(str(os.getpid())); x = b'x' * (1 << 28)"
    (beside,) = small_memory.joinpath("cgroup.procs").read_text().split()
    here, there = MemoryKills(), MemoryKills()
    here.look(int(beside))
    there.look(os.getpid())
    assert not here.happened()
    assert subprocess.run([sys.executable, "-c", fill], check=False).returncode == -signal.SIGKILL
    here.look(2**22 + 1)  # one that has ended, in no group
    assert (here.happened(), there.happened()) == (True, False)


@pytest.mark.parametrize(
    ("groups", "file", "counter"),
    [
        ("5:cpu:/\n4:memory:/slurm/job\n0::/\n", "memory/slurm/job/memory.oom_control", None),
        ("4:memory:/docker/not-to-be-seen\n", "memory/memory.oom_control", None),
        ("0::/user.slice/app.scope\n", "user.slice/app.scope/memory.events", None),
        ("0::/user.slice/app.scope\n", "user.slice/memory.events", None),
        ("0::/\n", "memory.events", None),
        ("0::/\n", "cgroup.procs", Path("/proc/vmstat")),
    ],
)
def test_the_count_of_kills_is_found(groups: str, file: str, counter: Path | None, tmp_path: Path) -> None:
    (tmp_path / "cgroup" / file).parent.mkdir(parents=True)
    (tmp_path / "cgroup" / file).touch()
    (tmp_path / "memory.events").touch()  # above what is mounted
    assert oom_counter(groups, tmp_path / "cgroup") == (counter or tmp_path / "cgroup" / file)


@pytest.mark.slow
def test_a_slow_evaluation_is_not_a_hung_one(attempt: Attempt, phantom: Dataset, tmp_path: Path) -> None:
    both = (tmp_path / "all.txt",) * 2
    both[0].write_text("\n".join(phantom.names) + "\n")
    outcome = attempt("slow", key=VAL_KIND, lists=both, hung=3.0)
    assert (outcome.ending, outcome.message) == (Ending.FINISHED, "")
    assert outcome.seconds > 0.5 * len(phantom.names) > 3.0


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_trial_that_was_lost_is_ended_at_once_and_writes_nothing_more(
    train: Train, tmp_path: Path, listening: Any, gone: Callable[[int], bool]
) -> None:
    listener = listening()
    at: list[float] = []

    def taken() -> bool:
        log = tmp_path / "trials/00000" / LOG
        if not at and log.is_file() and "Iter(train)" in log.read_text():
            at.append(time.monotonic())
        return bool(at)

    listener.taken = taken
    outcome = train(tmp_path, ENDLESS, listener)
    assert time.monotonic() - at[0] < 5
    assert (outcome.ending, outcome.cause) == (Ending.INTERRUPTED, None)
    assert all(gone(pid) for pid in listener.pids)
    assert not (tmp_path / "trials/00000" / LAST).exists()


def test_a_loss_that_an_evaluation_brings_to_light_is_not_answered(
    train: Train, tmp_path: Path, listening: Any
) -> None:
    lost: list[dict[str, int]] = []
    folder = tmp_path / "trials/00000"

    def lose(_: Evaluation) -> bool:
        (folder / ".last.pth.1").write_text("what another writes there")
        lost.append(snapshot(folder))
        return True

    outcome = train(tmp_path, listener=listening(on_evaluated=lose, taken=lambda: bool(lost)))
    assert (outcome.ending, len(outcome.curve)) == (Ending.INTERRUPTED, 1)
    assert snapshot(folder) == lost[0]


def test_what_a_killed_process_had_half_written_is_removed(
    train: Train, tmp_path: Path, listening: Any, trial_pid: Callable[[], int]
) -> None:
    folder = tmp_path / "trials/00000"

    def kill(_: Evaluation) -> bool:
        (folder / ".last.pth.1").write_text("half")
        (folder / ".predictions.1").mkdir()
        os.kill(trial_pid(), signal.SIGKILL)
        return False

    outcome = train(tmp_path, listener=listening(on_evaluated=kill))
    assert outcome.cause is Cause.CRASHED
    assert {path.name for path in folder.iterdir() if path.name.startswith(".")} == set()
    assert (folder / LAST).is_file()


def test_a_failure_is_told_though_the_log_lies_on_a_full_disk(
    objective: Callable[..., SegmentationObjective], tmp_path: Path, listening: Any
) -> None:
    log = tmp_path / "trials/00000" / LOG
    log.parent.mkdir(parents=True)
    log.symlink_to("/dev/full")
    outcome = objective(tmp_path).run(
        TrialOrder(number=0, params={"precision": "fp16"}, seed=0, resume=True), listening()
    )
    assert (outcome.ending, outcome.cause) == (Ending.FAILED, Cause.ERROR)
    assert "amp" in outcome.message.lower() or "cuda" in outcome.message.lower(), outcome.message


def test_a_folder_that_cannot_be_written_fails_the_trial_alone(
    objective: Callable[..., SegmentationObjective], tmp_path: Path, listening: Any
) -> None:
    (tmp_path / "trials").write_text("in the way")
    outcome = objective(tmp_path).run(TrialOrder(number=0, params={}, seed=0), listening())
    assert (outcome.ending, outcome.cause) == (Ending.FAILED, Cause.ERROR)
    assert outcome.message.startswith("FileExistsError: ") or outcome.message.startswith("NotADirectoryError: ")
    assert CONFIG in outcome.message or "trials" in outcome.message
