"""Which named cause stands behind an exception, an operating system's error, or the death of a process."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

from mmtuna.objectives.outcome import Cause
from mmtuna.objectives.trial.readback import MismatchError

# torch on the CPU (Linux, Windows), OpenCV, torch's shared memory and, beyond torch's own allocator, CUDA, cuBLAS and
# cuDNN raise plain errors; and of an error in a process that loads images torch may keep the text alone.
_NO_MEMORY = (
    *("can't allocate memory", "not enough memory", "Insufficient memory", "MemoryError"),
    *("CUDA error: out of memory", "_STATUS_ALLOC_FAILED", "_HOST_ALLOCATION_FAILED"),
    *("unable to mmap", "unable to write to file </torch_", "out of shared memory"),
)
_NO_DISK = ("No space left on device", "Disk quota exceeded")
_LOADER_KILLED = "is killed by signal: "


class TrainingFailure(Exception):
    """A named cause that ends a training; the message is for people."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


def name_cause(error: BaseException) -> tuple[Cause, str]:
    """The named cause behind an exception, and one line for people."""
    if isinstance(error, TrainingFailure):
        return error.cause, str(error)
    if isinstance(error, MismatchError):
        return Cause.MISMATCH, str(error)
    told = next((link for link in _chain(error) if _LOADER_KILLED in str(link)), error)
    lines = str(told).strip().splitlines()
    message = f"{type(told).__name__}: {lines[0].strip()}" if lines else type(told).__name__
    if any(_is_out_of_memory(link) for link in _chain(error)):
        return Cause.OUT_OF_MEMORY, message
    if any(is_disk_full(link) or any(words in str(link) for words in _NO_DISK) for link in _chain(error)):
        return Cause.DISK_FULL, message
    if any(isinstance(link, OSError) and link.errno == errno.EMFILE for link in _chain(error)):
        return Cause.ERROR, f"{message}; raise the limit (ulimit -Hn), or set [train] loader_workers = 0"
    # torch tells of the death of a process that loads images in words alone.
    return (Cause.CRASHED if _LOADER_KILLED in message else Cause.ERROR), message


def name_os_error(error: OSError) -> tuple[Cause, str]:
    """`name_cause` for errors of the operating system alone, which needs no torch."""
    return (Cause.DISK_FULL if is_disk_full(error) else Cause.ERROR), f"{type(error).__name__}: {error}"


def is_disk_full(error: BaseException) -> bool:
    """Whether the system said that a disk or a quota is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _chain(error: BaseException) -> list[BaseException]:
    """`error` and what it was raised from, the outermost first, as a traceback shows them."""
    found = [error]
    while True:
        last = found[-1]
        deeper = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
        if deeper is None or deeper in found:
            return found
        found.append(deeper)


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or any(words in str(error) for words in _NO_MEMORY)


def name_death(code: int | None, told: str, killed_for_memory: bool) -> tuple[Cause, str]:
    """The named cause of a crash, and one line for people.

    Args:
        code: the trial process's exit status, negative for a signal; None where it ended with the fork server.
        told: what it said itself, if it came to that: one of its loaders may be what died.
        killed_for_memory: whether the kernel killed for memory where it was, itself or another process.
    """
    if told:
        by_kernel = killed_for_memory and f"{_LOADER_KILLED}Killed" in told
        return (Cause.OUT_OF_MEMORY if by_kernel else Cause.CRASHED), told
    if code is None:
        return Cause.CRASHED, "the trial process was killed, and what it was forked from with it; see train.log"
    if code >= 0:
        return Cause.CRASHED, f"the trial process ended with status {code} and said nothing; see train.log"
    name = signal.Signals(-code).name
    if -code == signal.SIGKILL and killed_for_memory:
        return Cause.OUT_OF_MEMORY, "the kernel killed the trial process for memory (SIGKILL)"
    return Cause.CRASHED, f"the trial process was killed by {name}; see train.log"


class MemoryKills:
    """Whether the kernel kills for memory where a process is: in its memory cgroup, which a container, a Slurm step and
    a systemd unit have of their own, and on the whole machine where none is to be seen."""

    def __init__(self) -> None:
        self._before: dict[Path, int] = {}

    def look(self, pid: int) -> None:
        """Finds the count where the process `pid` is, and keeps those where it was: one that ends is in none."""
        try:
            counter = oom_counter(Path(f"/proc/{pid}/cgroup").read_text())
        except OSError:
            return
        if counter not in self._before:
            self._before[counter] = _oom_kills(counter)

    def happened(self) -> bool:
        """Whether there was one since it was first seen there."""
        return any(_oom_kills(counter) > before for counter, before in self._before.items())


def oom_counter(groups: str, mounted: Path = Path("/sys/fs/cgroup")) -> Path:
    """The file that counts what the kernel killed for memory in one of a process's `groups` (/proc/PID/cgroup), which
    are `mounted` there; the whole machine's where no group has one."""
    paths = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in groups.splitlines()}
    # Version 2 counts for the groups above too, of which the nearest with the memory controller has the file; of
    # version 1 a container sees its own group alone, as the root, under whatever path the process has outside.
    for controller, root, name in (
        ("memory", mounted / "memory", "memory.oom_control"),
        ("", mounted, "memory.events"),
    ):
        own = root / paths.get(controller, "").lstrip("/")
        for folder in [own, *own.parents][: len(own.parents) - len(root.parents) + 1]:
            if (folder / name).is_file():
                return folder / name
    return Path("/proc/vmstat")


def _oom_kills(counter: Path) -> int:
    """The `oom_kill N` of memory.events, memory.oom_control or vmstat, 0 where the kernel does not say."""
    try:
        lines = [line.split() for line in counter.read_text().splitlines()]
    except OSError:
        return 0
    return next((int(line[1]) for line in lines if line[:1] == ["oom_kill"]), 0)
