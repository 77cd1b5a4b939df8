"""Small real studies: phantom eyes of 64 pixels and a UNet of 4 channels, trained by the real command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mmtuna.objectives.data.phantom import write_phantom
from tests.search import commands_loaded
from tests.waiting import until

SPEC = """\
[study]
name = "tiny"
trials = 3
{study}

[data]
root = "{root}"
{data}

[model]
pretrained = "none"
{model}

[space]
{space}
[space.params.lr_adam]
low = 1e-4
high = 1e-2
log = true

[train]
base_channels = 4
input_size = 64
batch_size = 2
evaluations = 4
iterations = 8
decoder = "fcn"
optimizer = "AdamW"
inference = "whole"
{train}

[resources]
devices = ["cpu"]
threads = 1
{resources}
"""
# A fixture must not inherit a storage or a cache from the person who runs the tests.
# Nor Python's setting that makes every start compile everything anew, which nobody uses a command with.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith("MMTUNA_") and name != "PYTHONDONTWRITEBYTECODE"
}


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(cache: Path) -> None:
    ENVIRONMENT["MMTUNA_CACHE"] = str(cache)


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "phantom"
    write_phantom(root, subjects=4, scans=3, size=64)
    return root


@pytest.fixture
def write_spec(tmp_path: Path, phantom: Path) -> Callable[..., Path]:
    """Writes tmp_path/study.toml; keywords add lines to a table."""

    def write(text: str = SPEC, root: Path = phantom, **tables: str) -> Path:
        return write_study(tmp_path, root, text, **tables)

    return write


def write_study(folder: Path, root: Path, text: str = SPEC, **tables: str) -> Path:
    """Writes folder/study.toml on the data in `root`; keywords add lines to a table."""
    lines = dict.fromkeys(("study", "data", "model", "space", "train", "resources"), "") | tables
    if 'pruner = "none"' not in lines["study"]:
        lines["study"] += "\npruner_startup = 0"
    path = folder / "study.toml"
    path.write_text(text.format(root=root, **lines))
    return path


def mmtuna(
    *arguments: object, timeout: float = 120, env: dict[str, str] | None = None, cwd: Path | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs the command; with other `options` of subprocess.run in an interpreter of its own."""
    words = [str(argument) for argument in arguments]
    if not options and env is None:
        return commands_loaded.run(words, ENVIRONMENT, cwd, timeout)
    command = [sys.executable, "-m", "mmtuna", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, cwd=cwd, env=env or ENVIRONMENT, **options
    )


_started: list[commands_loaded.Started] = []


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    """What a test has started and not ended, as it failed, ends with it."""
    yield
    while _started:
        _started.pop().close()


def start(*arguments: object) -> commands_loaded.Started:
    """Starts the command in a process group of its own, as a shell does; what it says on stderr is in its output."""
    _started.append(commands_loaded.Started([str(argument) for argument in arguments], ENVIRONMENT))
    return _started[-1]


def status(spec: Path) -> dict[str, Any]:
    """The study as `mmtuna status --json` tells it."""
    done = mmtuna("status", spec, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Waits until `condition` holds; fails the test after `seconds`."""
    assert until(condition, seconds), f"not within {seconds} s: {what}"


def interrupt(process: commands_loaded.Started) -> None:
    """Ctrl-C: the signal reaches the whole process group."""
    os.killpg(process.pid, signal.SIGINT)
