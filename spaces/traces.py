"""What a killed process leaves is cleared by the next one: names tell whose it is, and whether that process lives.

Nothing else tells it for files of any program, on any disk: a lock would have to be held open, and to be seen by
containers that share a folder.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from uuid import uuid4

_MARK = re.compile(r"[.-]([0-9a-f]{6})-([0-9]+)-([0-9a-f]+)\.[0-9a-f]{6}$")
_SCRATCH = "mmtuna-"
_SHORT = Path("/tmp")  # noqa: S108
_LONGEST = 33
"""Bytes: a socket's path has room for some 104, of which a scratch folder and multiprocessing's names in it take 70."""
_open: set[Path] = set()


def marked(name: str) -> str:
    """`name` with the mark of this process, and something that sets it apart from the process's other ones."""
    return f"{name}{_mark(os.getpid())}.{uuid4().hex[:6]}"


def is_of_the_dead(name: str) -> bool:
    """Whether `name` ends in the mark of a process of this machine that has ended."""
    whose = _owner(name)
    return whose is not None and not _lives(*whose)


def is_of_the_living(name: str) -> bool:
    """Whether `name` ends in the mark of a process of this machine that has not ended."""
    whose = _owner(name)
    return whose is not None and _lives(*whose)


def clear_dead(folder: Path, prefix: str = ".") -> None:
    """Removes what processes of this machine left in `folder` when they died, of names that begin with `prefix`.

    Nothing without a mark is touched, and nothing of another machine or container, whose processes nobody sees here.
    """
    with contextlib.suppress(OSError):  # it cannot be read, or is gone
        for path in [folder / name for name in os.listdir(folder) if name.startswith(prefix)]:
            if is_of_the_dead(path.name):
                remove(path)


def remove(path: Path) -> None:
    """Removes a file or a folder, if that can be: what is left is in nobody's way."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


@contextmanager
def scratch_folder(place: Path | None = None, *, for_sockets: bool = False) -> Iterator[Path]:
    """A new folder for what this process needs for a while, in the system's temporary folder or hidden in `place`.

    It is gone afterwards, at the latest at the end of the process; of one that was killed, with the next such folder
    that is made there. `for_sockets`: at a path that has room for theirs below it.
    """
    above = place or Path(tempfile.gettempdir())
    if for_sockets and len(os.fsencode(above)) > _LONGEST and os.access(_SHORT, os.W_OK):
        above = _SHORT
    prefix = _SCRATCH if place is None else f".{_SCRATCH}"
    clear_dead(above, prefix)
    folder = above / marked(prefix)
    folder.mkdir(mode=0o700)
    _open.add(folder)
    try:
        yield folder
    finally:
        remove(folder)
        _open.discard(folder)


@atexit.register
def _clear_own() -> None:
    """Where Ctrl-C ended the main thread, others may not have come to it."""
    for folder in list(_open):
        if _mark(os.getpid()) in folder.name:  # not those of a process that forked this one
            remove(folder)


@lru_cache(maxsize=1)
def _mark(pid: int) -> str:
    return f"{_machine()}-{pid}-{_start(pid):x}"


@cache
def _machine() -> str:
    """By boot and by container: within these alone a process's number means one process."""
    try:
        whole = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii") + os.readlink("/proc/self/ns/pid")
    except OSError:
        whole = socket.gethostname()
    return hashlib.sha256(whole.encode()).hexdigest()[:6]


def _owner(name: str) -> tuple[int, int] | None:
    """Process number and start of the process of this machine whose mark stands in `name`; None where there is none."""
    found = _MARK.search(name)
    return (int(found[2]), int(found[3], 16)) if found and found[1] == _machine() else None


def _lives(pid: int, start: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's, which may not be asked
        return True
    return _start(pid) in (0, start)


def _start(pid: int) -> int:
    """Clock ticks since boot at which the process began; 0 where the system does not say, -1 once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0
    return -1 if fields[0] in "ZX" else int(fields[19])
