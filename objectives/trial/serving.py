"""What a fork server does: import what children need, fork one whenever it is asked, and say how each ended.

It only imports: what has started CUDA, or threads that hold locks, cannot be forked.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import multiprocessing
import os
import select
import signal
import socket
import struct
import sys
import warnings
from multiprocessing.connection import Connection
from typing import NoReturn

from mmtuna.objectives.trial.signals import die_with_parent

FORK = b"f"
"""Asks for a child; comes with the descriptors of its end of a connection, and of the pipe for its pid and status."""
_LAST_SECONDS = 2.0
_NUMBER = struct.Struct("q")


def read_number(descriptor: int) -> int | None:
    """A number from a pipe; None where its other end was closed."""
    text = b""
    while len(text) < _NUMBER.size:
        more = os.read(descriptor, _NUMBER.size - len(text))
        if not more:
            return None
        text += more
    number: int = _NUMBER.unpack(text)[0]
    return number


def serve(descriptor: str, preload: str) -> NoReturn:
    """Imports the module `preload` and forks children for who has the socket's other end, until that is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGCHLD))
    # What fails here would end the fork server, and nobody would hear why; each child tries again and says it.
    with contextlib.suppress(Exception):
        importlib.import_module(preload)
    gc.freeze()  # what was imported stays: looking through it took a fifth of a short trial's time
    asked = socket.socket(fileno=int(descriptor))
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([asked, woken], [], [])
        if woken in ready:
            woken.recv(1024)
            _tell_ends(running)
        if asked in ready:
            word, descriptors, _, _ = socket.recv_fds(asked, len(FORK), 2)
            if not word:
                os._exit(0)  # nobody is left to fork for
            connection, status = descriptors
            pid = _fork()
            if pid == 0:
                for other in (asked, woken, waker):
                    other.close()
                for other_status in (status, *running.values()):
                    os.close(other_status)
                _run(connection)
            os.close(connection)
            _write_number(status, pid)
            if pid > 0:
                running[pid] = status
            else:
                os.close(status)


def _fork() -> int:
    """os.fork, in whose child nothing is left of the server's signals; -errno where the system has no room for it."""
    server = os.getpid()
    with warnings.catch_warnings():
        # Python warns of threads, of which NumPy's libraries start some; they are made for being forked.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            pid = os.fork()
        except OSError as error:
            return -(error.errno or 1)
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        die_with_parent(server)
    return pid


def _tell_ends(running: dict[int, int]) -> None:
    while running:
        pid, end = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        status = running.pop(pid, None)
        if status is not None:  # what was imported may have started a process of its own
            _write_number(status, os.waitstatus_to_exitcode(end))
            os.close(status)


def _write_number(descriptor: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the worker has lost interest
        os.write(descriptor, _NUMBER.pack(number))


def _run(descriptor: int) -> NoReturn:
    """In the child: what the worker sends it, to its end, which is that of the process."""
    status = 1
    try:
        os.set_inheritable(descriptor, False)
        connection = Connection(descriptor)
        try:
            sys.path[:], folder, sys.argv[:], function, arguments = connection.recv()
        except EOFError:  # who asked for it gave up meanwhile
            sys.exit(0)
        os.chdir(folder)
        function(connection, *arguments)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        _end_children()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # the log may lie on a disk that is full
                stream.flush()
        # Not by way of Python's end: what was imported has registered there, in the server, what is to be done once.
        os._exit(status)


def _end_children() -> None:
    """Ends what this child has started by multiprocessing, such as processes that load images: none outlives it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's would raise for each
    for process in multiprocessing.active_children():
        process.kill()
        process.join(_LAST_SECONDS)
