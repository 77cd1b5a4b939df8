"""Commands run in forks of one process that has imported them: a second less for each than in a new interpreter.

The process that a command forks its trials from is likewise a fork of one that has torch: five seconds less. What only
a new interpreter shows (how quickly it starts, what it imports) the tests of that start themselves, with subprocess.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mmtuna.search.commands.check
import mmtuna.search.commands.export
import mmtuna.search.commands.run
import mmtuna.search.commands.table2  # noqa: F401
from mmtuna.objectives.trial import fork_server
from mmtuna.objectives.trial.fork_server import Child, ForkServer
from mmtuna.objectives.trial.serving import serve
from mmtuna.objectives.trial.signals import FROM_OUTSIDE
from mmtuna.search.cli import main

COMMANDS = ForkServer(__name__)
LATE = ("alembic.command", "jinja2", "optuna.importance", "PIL.Image", "plotly.graph_objects", "scipy.special", "yaml")
"""What commands import where they need it: nearly all do, half a second each."""
for name in LATE:
    import_module(name)


class Started:
    """A command at work, in a process group of its own as a shell's is.

    Args:
        together: what it says on stderr comes with what it says on stdout, and not by itself.
    """

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], cwd: Path | None = None, *, together: bool = True
    ) -> None:
        self._words = ["mmtuna", *words]
        self._folder = TemporaryDirectory(prefix="said-")
        self._output = Path(self._folder.name) / "out"
        self._errors = self._output if together else Path(self._folder.name) / "err"
        outputs = str(self._output), str(self._errors)
        self._child = COMMANDS.fork(_command, list(words), dict(environment), str(cwd or Path.cwd()), *outputs)
        self.pid = self._child.pid
        with _socket_of(self._child.connection) as way:
            socket.send_fds(way, [b"t"], [fork_server.SERVER._started().fileno()])
        self._child.connection.recv_bytes()  # it has its group

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal; None before its end was waited for."""
        return self._child.status

    def communicate(self, timeout: float) -> tuple[str, str]:
        """What it has said, once it has ended; subprocess.TimeoutExpired where that takes longer."""
        if not self._child.ended(timeout):
            raise subprocess.TimeoutExpired(self._words, timeout, self._output.read_text())
        return self._output.read_text(), self._errors.read_text()

    def send_signal(self, number: int) -> None:
        """Sends it, and not its group, a signal."""
        self._child.signal(number)

    def kill(self) -> None:
        """Ends it as the system does that has no memory left."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Ends it, where it has not ended, and forgets what it said."""
        self._child.close()
        self._folder.cleanup()


def run(
    words: Sequence[str], environment: Mapping[str, str], cwd: Path | None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Runs `mmtuna *words` to its end, as subprocess.run would with captured text."""
    with closing(Started(words, environment, cwd, together=False)) as started:
        said, errors = started.communicate(timeout)
        assert started.returncode is not None
        return subprocess.CompletedProcess(["mmtuna", *words], started.returncode, said, errors)


def _command(connection: Any, words: list[str], environment: dict[str, str], cwd: str, *outputs: str) -> None:
    """In the fork: becomes the command, with streams, environment, folder and signals of its own."""
    with _socket_of(connection) as way:
        _, (loaded,), _, _ = socket.recv_fds(way, 1, 1)
    os.setpgid(0, 0)
    _become(environment, cwd, outputs)
    connection.send_bytes(b"begun")
    server = fork_server.SERVER
    server._start = lambda: _start(server, socket.socket(fileno=loaded), outputs)  # type: ignore[method-assign]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FROM_OUTSIDE)
    sys.argv = ["mmtuna", *words]
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # a fork that ends by os._exit would leave them out


def _become(environment: Mapping[str, str], cwd: str, outputs: Sequence[str]) -> None:
    for number, path in enumerate(outputs, start=1):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)


def _socket_of(connection: Any) -> socket.socket:
    return socket.socket(fileno=os.dup(connection.fileno()))


class _Loaded(ForkServer):
    """One that another process has started, asked by way of the socket that it sent."""

    def __init__(self, way: socket.socket) -> None:
        super().__init__("")
        self._way = way

    def _started(self) -> socket.socket:
        return self._way


class _Process:
    """What ForkServer asks of the process that it started."""

    def __init__(self, child: Child) -> None:
        self.child, self.pid, self.returncode = child, child.pid, None
        self.kill, self.wait = child.close, lambda: None

    def poll(self) -> int | None:
        return self.child.status or 0 if self.child.ended() else None


def _start(server: Any, loaded: socket.socket, outputs: Sequence[str]) -> socket.socket:
    """In the place of ForkServer._start: a fork of the process that has torch instead of one that imports it."""
    child = _Loaded(loaded).fork(_serve, os.getpgrp(), dict(os.environ), list(outputs), server._preload)
    server._process, server._owner = _Process(child), os.getpid()
    atexit.register(server.stop)
    return _socket_of(child.connection)


def _serve(connection: Any, group: int, environment: dict[str, str], outputs: list[str], preload: str) -> None:
    """In the fork of the process that has torch: serves the command that asked for it, in its process group."""
    with suppress(ProcessLookupError, PermissionError):  # the command has ended meanwhile
        os.setpgid(0, group)
    _become(environment, os.getcwd(), outputs)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, *FROM_OUTSIDE))
    asked = os.dup(connection.fileno())
    connection.close()
    serve(str(asked), preload)
