"""Children are forked from a process that knows nothing of the caller's main module, from any thread and any folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmtuna.objectives.trial.fork_server import ForkServer, NotWanted
from mmtuna.spaces.errors import InputError
from tests.objectives.trial.in_children import die, end, say, say_variable, sleep, start_another, swallow
from tests.waiting import until

ROOT = Path(__file__).parents[3]
LONG = "x" * 140


@pytest.fixture
def server() -> Iterator[Callable[[str], ForkServer]]:
    """Makes fork servers that preload next to nothing: server(module)."""
    made: list[ForkServer] = []

    def make(preload: str = "json") -> ForkServer:
        made.append(ForkServer(preload))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def run_script(text: str, folder: Path, *, way: str = "file", **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(text)
    command = {"file": ["script.py"], "-c": ["-c", text], "-m": ["-m", "script"], "stdin": ["-"]}[way]
    return subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=folder,
        input=text if way == "stdin" else "",
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


UNGUARDED = """
import threading
with open("runs.txt", "a") as file:
    file.write("once\\n")
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.spaces.errors import InputError

def call():
    try:
        call_in_child(len, "four")
    except InputError as error:
        print(error)

thread = threading.Thread(target=call)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("way", ["file", "-c", "-m", "stdin"])
def test_a_script_without_a_guard_runs_once_however_it_is_started(tmp_path: Path, way: str) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('no torch, which spares us the time to import it')")
    done = run_script(UNGUARDED, tmp_path, way=way)
    assert (done.stdout[:18], done.stderr) == ("OSError: no torch,", "")
    assert (tmp_path / "runs.txt").read_text() == "once\n"


REAL = """
import os, tempfile, threading
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.spaces.errors import InputError

def mine():
    pass

found = []
threads = [threading.Thread(target=lambda: found.append(call_in_child(tempfile.gettempdir))) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print([os.path.dirname(place) for place in found])
try:
    call_in_child(mine)
except InputError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_long_folder_for_temporary_files_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / LONG).mkdir()
    done = run_script(REAL, tmp_path, TMPDIR=str(tmp_path / LONG))
    said = "mine is a function of the main module; a child runs only those of others"
    assert (done.stdout, done.stderr) == (f"['/tmp', '/tmp']\n{said}\n", "")


UNTOUCHED = """
import multiprocessing.forkserver, signal, sys, threading, warnings
import numpy  # which adds filters of its own

def state():
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    preload = list(multiprocessing.forkserver._forkserver._preload_modules)
    return handlers, preload, list(warnings.filters), multiprocessing.get_start_method(allow_none=True)

before = state()
import mmtuna
import mmtuna.objectives.objective
import mmtuna.objectives.trial.process
print(state() == before, threading.active_count(), "torch" in sys.modules)
"""


def test_importing_changes_nothing_for_others(tmp_path: Path) -> None:
    done = run_script(UNTOUCHED, tmp_path)
    assert (done.stdout, done.stderr) == ("True 1 False\n", "")


@pytest.mark.parametrize(("told", "spins"), [("", "10000"), ("OMP_WAIT_POLICY", None), ("GOMP_SPINCOUNT", "7")])
def test_threads_of_torch_soon_sleep_while_they_wait(
    server: Callable[..., ForkServer], monkeypatch: pytest.MonkeyPatch, told: str, spins: str | None
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if told:
        monkeypatch.setenv(told, "7")
    child = server().fork(say_variable, "GOMP_SPINCOUNT")
    assert child.connection.recv() == spins
    child.close()


def test_several_threads_get_a_child_each(server: Callable[..., ForkServer], tmp_path: Path) -> None:
    ours, found = server(), []

    def ask(number: int) -> None:
        child = ours.fork(say, str(number))
        found.append((number, child.pid, child.connection.recv()))
        assert child.ended(10.0)
        assert child.status == 0
        child.close()

    before = len(os.listdir("/proc/self/fd"))
    crew = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    assert sorted(found) == sorted((n, pid, (str(n), pid, ours.pid, os.getcwd())) for n, pid, _ in found)
    assert len({pid for _, pid, _ in found}) == 12
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the socket


@pytest.mark.parametrize(
    ("function", "argument", "status"),
    [(end, 7, 7), (end, None, 0), (end, "why", 1), (die, signal.SIGKILL, -9), (die, signal.SIGSEGV, -11)],
)
def test_how_a_child_ended_is_told(
    server: Callable[..., ForkServer], function: Callable[..., None], argument: object, status: int
) -> None:
    child = server().fork(function, argument)
    assert child.ended(10.0)
    assert child.status == status
    child.signal(signal.SIGKILL)  # nobody is hit by it
    child.close()


def test_what_a_child_started_is_gone_when_it_has_ended(
    server: Callable[..., ForkServer], gone: Callable[[int], bool]
) -> None:
    child = server().fork(start_another)
    other = child.connection.recv()
    assert child.ended(10.0)
    assert gone(other)
    child.close()


def test_what_a_pipe_cannot_hold_reaches_the_child(server: Callable[..., ForkServer]) -> None:
    child = server().fork(swallow, bytes(1 << 20))
    assert child.connection.recv() == 1 << 20
    child.close()


def test_a_child_is_in_the_callers_folder(
    server: Callable[..., ForkServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = server()
    ours.fork(say, "").close()
    monkeypatch.chdir(tmp_path)
    child = ours.fork(say, "here")
    assert child.connection.recv()[3] == str(tmp_path)
    child.close()


def test_a_server_that_dies_takes_its_children_with_it_and_another_begins(
    server: Callable[..., ForkServer], gone: Callable[[int], bool]
) -> None:
    ours = server()
    child = ours.fork(sleep, 60)
    pid, first = child.connection.recv(), ours.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert child.ended(5.0)
    assert child.status is None
    assert until(lambda: gone(pid), 5)
    child.close()
    assert until(lambda: gone(first), 5)
    other = ours.fork(say, "again")
    assert other.connection.recv()[0] == "again"
    other.close()


def test_signals_to_all_do_not_end_it_while_it_imports(server: Callable[..., ForkServer]) -> None:
    ours = server("tests.objectives.trial.slow_import")

    def hit() -> None:
        while ours.pid is None:
            time.sleep(0.001)
        for _ in range(20):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
                os.kill(ours.pid, number)
            time.sleep(0.02)

    thread = threading.Thread(target=hit)
    thread.start()
    child = ours.fork(say, "unharmed")
    assert child.connection.recv()[0] == "unharmed"
    child.close()
    thread.join()
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGINT, signal.SIGTERM}


def test_who_gives_up_does_not_wait_for_its_imports(
    server: Callable[..., ForkServer], capfd: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C in the first seconds of a study: what was asked for ends unheard, and the next child is as any other."""
    ours = server("tests.objectives.trial.slow_import")
    began = time.monotonic()
    with pytest.raises(NotWanted):
        ours.fork(say, "unheard", given_up=lambda: True)
    assert time.monotonic() - began < 0.7
    child = ours.fork(say, "heard")
    assert child.connection.recv()[0] == "heard"
    child.close()
    assert capfd.readouterr() == ("", "")


def test_a_system_without_room_for_a_process_is_told_in_one_line(server: Callable[..., ForkServer]) -> None:
    ours = server("tests.objectives.trial.unforkable")
    for _ in range(2):  # the server goes on
        said = (
            r"^no process for a trial \(Resource temporarily unavailable\); raise the limit of processes \(ulimit -u\)"
        )
        with pytest.raises(InputError, match=said):
            ours.fork(say, "")


def test_a_server_that_cannot_begin_is_told_in_one_line(
    server: Callable[..., ForkServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(InputError, match=r"^the process that trials are forked from died; its last words stand on"):
        server().fork(say, "")


FORKED = """
import os, sys
from mmtuna.objectives.trial.fork_server import ForkServer, NotWanted
from tests.objectives.trial.in_children import say

server = ForkServer("json")
server.fork(say, "first").close()
other = os.fork()
child = server.fork(say, "mine")
words, pid, parent, _ = child.connection.recv()
assert (words, pid, parent) == ("mine", child.pid, server.pid)
child.close()
print(server.pid, flush=True)
if other == 0:
    server.stop()
    os._exit(0)
os.waitpid(other, 0)
"""


def test_a_fork_of_the_caller_has_a_server_of_its_own(tmp_path: Path) -> None:
    done = run_script(FORKED, tmp_path)
    assert done.stderr == ""
    assert len(set(done.stdout.split())) == 2
