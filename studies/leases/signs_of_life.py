"""A worker's sign of life on its own machine: a file lock, which the system frees however the process dies.

Leases tell on every machine, after their time, that a worker is gone; on the same machine this tells it at once.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

import filelock

_FOLDER = ".workers"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass
class Registration:
    """A living worker. `worker` is its name in the storage: host:pid:random."""

    worker: str
    _lock: filelock.BaseFileLock | None

    def release(self) -> None:
        """Says that this worker is gone."""
        if self._lock is not None:
            self._lock.release()
            Path(self._lock.lock_file).unlink(missing_ok=True)


def register(folder: Path) -> Registration:
    """Makes this process a worker of the study whose files lie in `folder`."""
    worker = f"{socket.gethostname()[:200]}:{os.getpid()}:{secrets.token_hex(4)}"
    path: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = _path(folder, worker)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path, thread_local=False)
        lock.acquire(timeout=10)
    except (OSError, NotImplementedError):
        with contextlib.suppress(OSError):  # a file that nobody locks would say that this worker is dead
            if path is not None:
                path.unlink(missing_ok=True)
        return Registration(worker, None)  # a file system without locks: the leases alone tell then
    return Registration(worker, lock)


def is_gone(folder: Path, worker: str) -> bool:
    """Whether `worker` is known to have died on this machine; False for one of another machine, which nobody knows."""
    try:
        path = _path(folder, worker)
        if not path.exists():
            return False
        lock = filelock.FileLock(path, thread_local=False)
        lock.acquire(timeout=0)
    except (filelock.Timeout, OSError, NotImplementedError):
        return False
    lock.release()
    return True


def forget(folder: Path, worker: str) -> None:
    """Removes what a dead worker left."""
    _path(folder, worker).unlink(missing_ok=True)


def _path(folder: Path, worker: str) -> Path:
    # By kernel and by mount: locks of another machine or container, seen through a shared folder, need not be seen to
    # be held. OSError where `folder` is not there.
    try:
        machine = _BOOT_ID.read_text(encoding="ascii").strip()[:13]
    except OSError:
        machine = socket.gethostname()
    return folder / _FOLDER / f"{machine}-{folder.stat().st_dev:x}" / (worker.replace(":", "-") + ".lock")
