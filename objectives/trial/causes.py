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
        killed_for_memory: whether the kernel killed any process for memory meanwhile.
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


def oom_kills() -> int:
    """How many processes the kernel has killed for memory since it started, 0 where it does not say."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0
