"""A process that has imported torch and mmseg once and forks a child whenever it is asked: the asking side.

Python's own fork server (multiprocessing) is one for all that use it in a process, and imports the caller's main module
into every child: a script without `if __name__ == "__main__"` would start its search anew in each. This one is reached
by a socket that has no path, which below a long TMPDIR has no room.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from mmtuna.objectives.trial.serving import FORK, read_number
from mmtuna.objectives.trial.signals import FROM_OUTSIDE
from mmtuna.spaces.errors import InputError

_BEGIN = (
    "import sys; sys.path[:] = sys.argv[3:]; from mmtuna.objectives.trial.serving import serve; serve(*sys.argv[1:3])"
)
# Not -W: what the caller's own code must not warn of is no matter of what is trained.
_FLAGS = {"isolated": "-I", "ignore_environment": "-E", "no_user_site": "-s", "dont_write_bytecode": "-B"}
_HOW_THREADS_WAIT = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
_LOOK = 0.1
"""Seconds between looks at whether a child is still wanted, while the server imports."""


class NotWanted(Exception):
    """Whoever asked for a child gave up before there was one."""


class Child:
    """A process that the fork server has forked; for one thread at a time.

    `connection` is the way to it, `sentinel` a descriptor to wait for: it is ready once the process has ended.
    """

    def __init__(self, connection: Connection, sentinel: int, pid: int) -> None:
        self.connection, self.sentinel, self.pid = connection, sentinel, pid
        self.status: int | None = None
        """Exit status, negative for a signal. None until `ended` has said so, and where the fork server ended with it,
        which alone would know."""
        self._ended = False

    def ended(self, seconds: float = 0.0) -> bool:
        """Whether the process has ended, after waiting for that up to so many seconds."""
        if not self._ended and wait([self.sentinel], seconds):
            self.status = read_number(self.sentinel)
            self._ended = True
        return self._ended

    def signal(self, number: int) -> None:
        """Sends it a signal, unless it has ended."""
        if not self.ended():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def close(self) -> None:
        """Ends the process, where it has not ended, and everything that this side holds of it."""
        self.signal(signal.SIGKILL)
        self.ended(10.0)
        os.close(self.sentinel)
        self.connection.close()


class ForkServer:
    """Started by `begin` or at the first child, and anew where it died. It ends with this process, however that ends,
    and its children with it. Any thread may ask.

    Args:
        preload: the module that it imports; where that fails, children find out.
    """

    def __init__(self, preload: str) -> None:
        self._preload = preload
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._owner = 0

    @property
    def pid(self) -> int | None:
        """Its process id; None before the first child."""
        return self._process.pid if self._process else None

    def begin(self) -> None:
        """Starts it now, so that it imports while this process does other things; what fails, the first child tells."""
        with self._lock, contextlib.suppress(InputError, OSError):
            self._started()

    def fork(
        self, function: Callable[..., Any], *arguments: Any, given_up: Callable[[], bool] = lambda: False
    ) -> Child:
        """A child that runs `function(connection, *arguments)`, with this process's sys.path and current folder.

        What is given must pickle; functions must lie in a module that is not the main one. InputError where the system
        has no room for another process, or there is no fork server to be had; NotWanted once `given_up` says so while
        the server still imports, which takes seconds.
        """
        here, there = Pipe()
        sentinel, status = os.pipe()
        try:
            try:
                with self._lock, contextlib.suppress(BrokenPipeError):  # it died, which no answer tells as well
                    socket.send_fds(self._started(), [FORK], [there.fileno(), status])
            finally:
                there.close()
                os.close(status)
            while not wait([sentinel], _LOOK):
                if given_up():
                    raise NotWanted
            pid = _pid(sentinel)
        except BaseException:
            here.close()
            os.close(sentinel)
            raise
        with contextlib.suppress(OSError):  # it died already, which its sentinel tells
            here.send((search_path(), os.getcwd(), sys.argv, function, arguments))
        return Child(here, sentinel, pid)

    def _started(self) -> socket.socket:
        forked = self._owner != os.getpid()  # this process, from the one that began the server
        if self._socket is None or self._process is None or forked or self._process.poll() is not None:
            if self._socket is not None and self._process is not None:
                self._socket.close()
                self._process.returncode = self._process.returncode or 0  # another's child is not waited for
            self._socket = self._start()
        return self._socket

    def _start(self) -> socket.socket:
        if not hasattr(socket, "send_fds") or not hasattr(os, "fork"):
            raise InputError("trials are trained in forked processes; use Linux or macOS, on Windows WSL")
        flags = [letter for name, letter in _FLAGS.items() if getattr(sys.flags, name)]
        ours, theirs = socket.socketpair()
        # A cluster's signal reaches every process, Ctrl-C the whole group; the server would die of it before it can
        # say that it does not listen, and its children with it. A process inherits what its thread does not hear.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, *FROM_OUTSIDE))
        try:
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-c", _BEGIN, str(theirs.fileno()), self._preload, *search_path()],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=not_spinning(os.environ),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        if not self._owner:
            atexit.register(self.stop)
        self._owner = os.getpid()
        return ours

    def stop(self) -> None:
        """Ends it, and its children. The next child starts it anew."""
        if self._socket is None or self._process is None or self._owner != os.getpid():
            return
        self._socket.close()
        self._socket = None
        self._process.kill()  # it may be importing still
        self._process.wait()


def _pid(answer: int) -> int:
    pid = read_number(answer)
    if pid is None:
        raise InputError("the process that trials are forked from died; its last words stand on stderr")
    if pid < 0:
        raise InputError(
            f"no process for a trial ({os.strerror(-pid)}); raise the limit of processes (ulimit -u) or of memory, or "
            "lower [resources] trials_per_device"
        )
    return pid


def not_spinning(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment`, in which torch's threads soon sleep while they wait for one another, unless it says how they wait.

    By default those of GNU's OpenMP spin 300,000 times before. Where another process has one of the cores, each of a
    net's many barriers then waits for a thread that has none: on 2 cores beside two trainings an iteration took 55
    times as long as on idle ones, with 10,000 it is 11 times. On idle ones 10,000 cost 5 %, not to spin at all 120 %.
    No result depends on it. https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
    """
    told = any(name in environment for name in _HOW_THREADS_WAIT)
    return {**environment} if told else {**environment, "GOMP_SPINCOUNT": "10000"}


def search_path() -> list[str]:
    """sys.path for another process: the current folder by its name, which in a child may be another."""
    return [os.getcwd() if place == "" else place for place in sys.path]


SERVER = ForkServer("mmtuna.objectives.trial.preload")
"""The one of all trials of this process."""
