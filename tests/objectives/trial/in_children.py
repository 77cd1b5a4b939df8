"""What the tests of the fork server let its children do; quick to import, as every child does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.connection import Connection


def say(connection: Connection, what: str) -> None:
    connection.send((what, os.getpid(), os.getppid(), os.getcwd()))


def end(connection: Connection, status: object) -> None:
    sys.exit(status)  # type: ignore[arg-type]


def die(connection: Connection, number: int) -> None:
    signal.raise_signal(number)


def sleep(connection: Connection, seconds: float) -> None:
    connection.send(os.getpid())
    time.sleep(seconds)


def swallow(connection: Connection, text: bytes) -> None:
    connection.send(len(text))


def start_another(connection: Connection) -> None:
    other = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    other.start()
    connection.send(other.pid)


def say_variable(connection: Connection, name: str) -> None:
    connection.send(os.environ.get(name))
