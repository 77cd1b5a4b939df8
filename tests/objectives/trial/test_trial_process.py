"""The worker's side of a trial process: it is stopped, killed, abandoned, and never left behind."""

from __future__ import annotations

import json
import operator
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from mmtuna.objectives.config import merge_settings
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.devices import VARIABLE, visible_to_child
from mmtuna.objectives.outcome import Cause, Ending, Evaluation, Outcome
from mmtuna.objectives.trial.fork_server import SERVER
from mmtuna.objectives.trial.plan import TrialPlan
from mmtuna.objectives.trial.process import TrialProcess, call_in_child
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.objectives.weights import resolve_weights
from mmtuna.spaces.errors import InputError
from tests.waiting import until

Train = Callable[..., Outcome]
ENDLESS = {"iterations": 100_000, "evaluations": 1}


def test_a_deadline_ends_the_training_and_the_child(
    train: Train, tmp_path: Path, listening: Any, gone: Callable[[int], bool]
) -> None:
    listener = listening()
    began = time.monotonic()
    outcome = train(tmp_path, ENDLESS, listener, deadline=1.5)
    assert time.monotonic() - began < 10
    assert (outcome.ending, outcome.cause) == (Ending.FAILED, Cause.DEADLINE)
    assert outcome.message == "not done after 1.5 s"
    assert len(listener.pids) == 1
    assert all(gone(pid) for pid in listener.pids)


class SlowWatch:
    """Answers late, as where the database is away."""

    def evaluated(self, evaluation: Evaluation) -> bool:
        time.sleep(1.5)
        return False

    def progressed(self, iteration: int, iterations: int, seconds: float) -> None:
        pass

    def interrupted(self) -> bool:
        return False

    def lost(self) -> bool:
        return False


def answer_late(connection: Connection) -> None:
    """In a child: it is done as soon as its evaluation is answered."""
    evaluation = {"kind": "evaluated", "step": 100, "iteration": 8, "seconds": 1.0, "metrics": {"mIoU": 0.5}}
    connection.send_bytes(json.dumps(evaluation).encode())
    connection.recv_bytes()
    connection.send_bytes(json.dumps({"kind": "finished"}).encode())


def test_a_deadline_leaves_out_the_time_in_which_the_worker_had_no_answer() -> None:
    child = SERVER.fork(answer_late)
    settings = merge_settings({}, {}, is_unet=True, has_weights=False)
    plan = TrialPlan(folder=TrialFolder(Path()), settings=settings, metric="mIoU", visible="", threads=1)
    training = TrialProcess(plan, SlowWatch(), deadline=1.0)
    try:
        assert training._listen(child, time.monotonic()) == (Ending.FINISHED, None, "")
    finally:
        child.close()


BROKEN = """
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.spaces.errors import InputError
try:
    call_in_child(len, "four")
except InputError as error:
    print(error)
"""


def test_libraries_that_do_not_load_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libcublas.so.12: cannot open shared object file')")
    (tmp_path / "main.py").write_text(BROKEN)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])}
    command = [sys.executable, str(tmp_path / "main.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    line = "OSError: libcublas.so.12: cannot open shared object file; install what it names"
    assert (done.stdout[: len(line)], done.stdout.count("\n"), done.stderr) == (line, 1, "")


def test_a_request_to_stop_puts_the_trial_back_and_ends_the_child(
    train: Train, tmp_path: Path, listening: Any, gone: Callable[[int], bool]
) -> None:
    end = time.monotonic() + 1
    listener = listening(asked=lambda: time.monotonic() > end)
    outcome = train(tmp_path, ENDLESS, listener)
    assert (outcome.ending, outcome.cause) == (Ending.INTERRUPTED, None)
    assert len(listener.pids) == 1
    assert all(gone(pid) for pid in listener.pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_is_killed_is_a_crash_with_the_signals_name(
    train: Train,
    tmp_path: Path,
    listening: Any,
    trial_pid: Callable[[], int],
    gone: Callable[[int], bool],
    number: signal.Signals,
) -> None:
    def kill(_: Evaluation) -> bool:
        pid = trial_pid()
        os.kill(pid, number)
        assert until(lambda: gone(pid), 5)
        return False

    outcome = train(tmp_path, listener=listening(on_evaluated=kill))
    assert (outcome.ending, outcome.cause) == (Ending.FAILED, Cause.CRASHED)
    assert outcome.message == f"the trial process was killed by {number.name}; see train.log"
    assert len(outcome.curve) == 1


def test_a_child_killed_while_it_trains_is_a_crash(train: Train, tmp_path: Path, listening: Any) -> None:
    listener = listening()

    def kill_one() -> bool:
        for pid in listener.pids:
            os.kill(pid, signal.SIGKILL)
        return False

    listener.asked = kill_one
    outcome = train(tmp_path, ENDLESS, listener)
    assert (outcome.ending, outcome.cause) == (Ending.FAILED, Cause.CRASHED)
    assert "SIGKILL" in outcome.message


def test_signals_that_reach_every_process_are_the_workers_alone(
    train: Train, tmp_path: Path, listening: Any, trial_pid: Callable[[], int]
) -> None:
    """Ctrl-C goes to the whole group, a cluster's signal to all of a job: the child and the fork server go on."""

    def interrupt(_: Evaluation) -> bool:
        child = trial_pid()
        fork_server = int(Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[1])
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(child, number)
            os.kill(fork_server, number)
        return False

    outcome = train(tmp_path, listener=listening(on_evaluated=interrupt))
    assert (outcome.ending, len(outcome.curve)) == (Ending.FINISHED, 2)


def test_a_watch_that_fails_takes_the_child_with_it(
    train: Train, tmp_path: Path, listening: Any, gone: Callable[[int], bool]
) -> None:
    def fail(_: Evaluation) -> bool:
        raise ConnectionError("the database went away")

    listener = listening(on_evaluated=fail)
    with pytest.raises(ConnectionError, match="the database went away"):
        train(tmp_path, listener=listener)
    assert len(listener.pids) == 1
    assert all(gone(pid) for pid in listener.pids)


def test_trainings_side_by_side_are_what_they_are_alone(
    train: Train, tmp_path: Path, lively_weights: Callable[[str], Path]
) -> None:
    outcomes: dict[int, Outcome] = {}

    weights = {"fcn": lively_weights("fcn")}

    def run(number: int, lr: float) -> None:
        outcomes[number] = train(tmp_path, {"iterations": 2, "lr_sgd": lr}, number=number, weights=weights)

    crew = [threading.Thread(target=run, args=(number, lr)) for number, lr in ((0, 0.001), (1, 0.01))]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    alone = train(tmp_path, {"iterations": 2, "lr_sgd": 0.001}, number=2, weights=weights)
    assert [o.ending for o in (*outcomes.values(), alone)] == [Ending.FINISHED] * 3
    assert [e.metrics for e in outcomes[0].curve] == [e.metrics for e in alone.curve]
    assert outcomes[0].curve[-1].metrics["IoU.fluid"] > 0
    assert outcomes[0].folder != outcomes[1].folder


WORKER = """
import json, sys
from pathlib import Path
from mmtuna.objectives.config import merge_settings
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import TrialOrder
from mmtuna.objectives.trial.fork_server import SERVER

class Watch:
    def evaluated(self, evaluation): return False
    def progressed(self, iteration, iterations, seconds):
        print(Path(f"/proc/{SERVER.pid}/task/{SERVER.pid}/children").read_text(), flush=True)
    def interrupted(self): return False
    def lost(self): return False

root, folder, fixed = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
objective = SegmentationObjective(
    base="unet", dataset=Dataset.open(root, classes=("background", "fluid")), folder=folder, fixed=fixed,
    lists=(root / "splits/train.txt", root / "splits/val.txt"), shapes={(64, 64)},
)
objective.run(TrialOrder(number=0, params={}, seed=0), Watch())
"""


def test_a_worker_that_is_killed_leaves_no_child(tmp_path: Path, phantom: Dataset, gone: Callable[[int], bool]) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    fixed = {"decoder": "fcn", "base_channels": 4, "input_size": 64, **ENDLESS}
    command = [sys.executable, str(tmp_path / "worker.py"), str(phantom.root), str(tmp_path), json.dumps(fixed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        child = int(worker.stdout.readline())  # it has trained for half a second
        assert not gone(child)
        worker.kill()
        worker.wait()
        assert until(lambda: gone(child), 5)


def test_a_call_in_a_child_gives_its_result() -> None:
    assert call_in_child(operator.add, 2, 3) == 5
    assert call_in_child(os.getpid) not in (os.getpid(), None)


def test_an_input_error_comes_back_as_it_is(tmp_path: Path) -> None:
    from mmtuna.objectives.config import load_base

    base = load_base("unet")
    with pytest.raises(InputError, match=rf"^weights {tmp_path}/no.pth: no such file; set \[model\]"):
        call_in_child(resolve_weights, str(tmp_path / "no.pth"), base)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (operator.truediv, (1, 0), "^truediv failed: ZeroDivisionError: division by zero$"),
        (os._exit, (3,), "^_exit failed: its process ended with status 3; see stderr$"),
        (os.abort, (), "^abort failed: "),
    ],
)
def test_a_call_that_dies_says_how(function: Callable[..., Any], arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call_in_child(function, *arguments)


def test_a_call_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    before = {p.name for p in Path(f"/proc/{os.getpid()}/fd").iterdir()}
    with pytest.raises(InputError, match=r"no answer in 0.5 s"):
        call_in_child(time.sleep, 60, timeout=0.5)
    assert len({p.name for p in Path(f"/proc/{os.getpid()}/fd").iterdir()}) <= len(before)


@pytest.mark.parametrize(
    ("device", "inherited", "visible"),
    [
        ("cpu", {}, ""),
        ("cpu", {VARIABLE: "3"}, ""),
        ("cuda:0", {}, "0"),
        ("cuda:1", {}, "1"),
        ("cuda:0", {VARIABLE: "3"}, "3"),  # as Slurm and Ray deal them out
        ("cuda:1", {VARIABLE: "5, GPU-8f6e"}, "GPU-8f6e"),
    ],
)
def test_a_trial_is_pinned_to_a_gpu_that_its_worker_may_use(
    device: str, inherited: dict[str, str], visible: str
) -> None:
    assert visible_to_child(device, inherited) == visible
