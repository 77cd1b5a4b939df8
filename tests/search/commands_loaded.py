"""Commands run in forks of one process that has imported them: a second less for each than in a new interpreter.

What only a new one shows (how quickly it starts, what it imports, signals to its group) the tests of that start
themselves, with tests.search.conftest.start or subprocess.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mmtuna.search.commands.check
import mmtuna.search.commands.export
import mmtuna.search.commands.run
import mmtuna.search.commands.table2  # noqa: F401
from mmtuna.objectives.trial.fork_server import ForkServer
from mmtuna.search.cli import main

COMMANDS = ForkServer(__name__)


def run(
    words: Sequence[str], environment: Mapping[str, str], cwd: Path | None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Runs `mmtuna *words` to its end, as subprocess.run would with captured text."""
    with TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        child = COMMANDS.fork(_command, list(words), dict(environment), str(cwd or Path.cwd()), str(out), str(err))
        try:
            if not child.ended(timeout):
                raise subprocess.TimeoutExpired(["mmtuna", *words], timeout)
        finally:
            child.close()
        assert child.status is not None
        return subprocess.CompletedProcess(["mmtuna", *words], child.status, out.read_text(), err.read_text())


def _command(_: Any, words: list[str], environment: dict[str, str], cwd: str, *outputs: str) -> None:
    """In the fork: becomes the command, with streams, environment, folder and signals of its own."""
    for number, path in enumerate(outputs, start=1):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["mmtuna", *words]
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # a fork that ends by os._exit would leave them out
