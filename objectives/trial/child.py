"""The trial process itself: what the fork server imports and what each forked child begins with."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mmtuna.objectives.trial import training
from mmtuna.objectives.trial.causes import name_cause
from mmtuna.objectives.trial.plan import TrialPlan
from mmtuna.objectives.trial.signals import FROM_OUTSIDE, STACKS, die_with_parent


class ConnectionChannel:
    """JSON messages over a pipe: the two sides share no objects."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._interrupted = False

    def tell(self, kind: str, **content: Any) -> None:
        """Sends a message; ends the process where the worker is gone."""
        try:
            self._connection.send_bytes(json.dumps({"kind": kind, **content}).encode())
        except OSError:
            os._exit(1)  # nobody is left to train for

    def ask(self, kind: str, **content: Any) -> bool:
        """Sends a message and waits for the answer: True means stop."""
        self.tell(kind, **content)
        while "stop" not in (answer := self._receive()):
            self._interrupted = True
        return bool(answer["stop"])

    def interrupted(self) -> bool:
        """Whether the worker has asked for a checkpoint and an end."""
        while self._connection.poll(0):
            self._receive()
            self._interrupted = True
        return self._interrupted

    def _receive(self) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)  # nobody is left to train for
        return answer


def main(connection: Connection, plan: TrialPlan, scratch: Path) -> None:
    """Trains `plan` with output in the log of its folder; `scratch` is the asking process's, which removes it."""
    channel = ConnectionChannel(connection)
    try:
        _begin(plan.folder.log, scratch)
    except OSError as error:
        cause, message = name_cause(error)
        channel.tell("failed", cause=cause, message=message)
        return
    training.train(plan, channel)
    with contextlib.suppress(OSError):  # the log may lie on a disk that is full
        sys.stdout.flush()
    connection.close()


def call(
    connection: Connection,
    log: Path,
    scratch: Path,
    visible: str | None,
    function: Any,
    arguments: tuple[Any, ...],
) -> None:
    """Runs `function(*arguments)` and sends its JSON-able result, or the one line of its InputError."""
    from mmtuna.spaces.errors import InputError

    _begin(log, scratch)
    training.prepare_process(1, visible)
    try:
        answer = {"result": function(*arguments)}
    except InputError as error:
        answer = {"error": str(error)}
    connection.send_bytes(json.dumps(answer).encode())
    connection.close()


def _begin(log: Path, scratch: Path) -> None:
    # Ctrl-C reaches the whole group; the worker decides what becomes of the trial.
    for number in (signal.SIGINT, *FROM_OUTSIDE):
        signal.signal(number, signal.SIG_IGN)
    os.register_at_fork(after_in_child=_begin_loader)
    tempfile.tempdir = str(scratch)  # the sockets of processes that load images, which leave them where they are killed
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    # Into the log, where the Python code stood when it crashed or, asked by the worker, when it hung.
    faulthandler.enable(2)
    faulthandler.register(STACKS, file=2)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FROM_OUTSIDE)  # see ForkServer


def _begin_loader() -> None:
    """In the processes that load images: they end with the training, also when they hang, and with nothing else.

    A cluster's SIGTERM would end them before the training has written its checkpoint. torch, which ends loaders by that
    signal where they do not end when told to, would answer it whoever sent it; what is left of them, the training's
    process kills at its end.
    """
    die_with_parent()
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
