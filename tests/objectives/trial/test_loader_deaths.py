"""A process that loads images and dies is named, wherever the training stands when it is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from mmtuna.objectives.outcome import Cause
from mmtuna.objectives.trial.causes import name_cause
from mmtuna.objectives.trial.loader_deaths import death_behind, error_of

KILLED = "is killed by signal: Killed"


class Dying:
    """A data set whose process dies as the kernel ends one for memory."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, _: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0


@pytest.fixture
def begin_to_load(torch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    """Starts a process that dies at its first image, and gives what has to be kept for torch to tell of it."""
    from torch.utils.data import DataLoader
    from torch.utils.data._utils import signal_handling

    begun: list[Any] = []

    def begin() -> Any:
        monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)  # in a process of its own it is the first
        begun.append(iter(DataLoader(Dying(), num_workers=1, batch_size=1)))  # type: ignore[arg-type, var-annotated]
        return begun[-1]

    before = signal.getsignal(signal.SIGCHLD)
    yield begin
    signal.signal(signal.SIGCHLD, before)
    for loading in begun:  # torch would go on telling of these deaths, to other tests
        loading._shutdown_workers()


def is_named(error: Exception | None) -> bool:
    assert error is not None
    cause, line = name_cause(error)
    return cause is Cause.CRASHED and KILLED in line


def test_where_only_its_pipe_was_seen_to_end(begin_to_load: Callable[[], Any]) -> None:
    def train() -> None:
        loading = begin_to_load()
        raise EOFError(loading)

    assert is_named(error_of(train))


def test_where_the_signal_comes_while_an_error_is_looked_at(begin_to_load: Callable[[], Any]) -> None:
    kept = []

    def train() -> None:
        kept.append(begin_to_load())
        raise ConnectionResetError

    for _ in range(20):  # the signal comes at another moment each time
        kept.clear()
        assert is_named(error_of(train))


def test_where_it_is_told_in_the_batch(begin_to_load: Callable[[], Any]) -> None:
    assert is_named(error_of(lambda: next(begin_to_load())))


def test_another_error_stays_what_it_is(begin_to_load: Callable[[], Any]) -> None:
    kept = []

    def train() -> None:
        kept.append(begin_to_load())
        raise MemoryError("not enough memory")

    assert isinstance(error_of(train), MemoryError | RuntimeError)
    assert death_behind(ValueError("no pipe")) is None
    assert error_of(lambda: None) is None

    def fail() -> None:
        raise ValueError("plain")

    assert str(error_of(fail)) == "plain"
