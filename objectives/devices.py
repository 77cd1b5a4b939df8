"""Which device, and how many cores, a process may use.

Our names of devices count the GPUs that this process may use, CUDA_VISIBLE_DEVICES those of the machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from mmtuna.objectives.insides import settle_device

VARIABLE = "CUDA_VISIBLE_DEVICES"
# What the drivers of GPUs that torch trains on make: NVIDIA's, also in Jetsons and below Windows, and AMD's.
_DEVICE_FILES = ("nvidia*", "nvhost*", "nvmap", "dxg", "kfd")


def visible_to_child(device: str, environment: Mapping[str, str] = os.environ) -> str:
    """What CUDA_VISIBLE_DEVICES has to be in a trial process that is to use `device` and no other GPU.

    "cuda:1" is the second of those that the variable leaves to this process, as a cluster that deals out GPUs sets it;
    "" for the CPU.
    """
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return ""
    left = [name.strip() for name in environment.get(VARIABLE, "").split(",") if name.strip()]
    place = int(index or 0)
    return left[place] if place < len(left) else str(place)


def may_have_gpu(devices: Path = Path("/dev")) -> bool:
    """Whether this machine may have a GPU of use, by its device files, without asking torch."""
    return any(next(devices.glob(pattern), None) is not None for pattern in _DEVICE_FILES)


def mps_runs(environment: Mapping[str, str] = os.environ) -> bool | None:
    """Whether NVIDIA's MPS runs, by which processes that share a GPU compute at the same time; None where it is not
    installed."""
    if shutil.which("nvidia-cuda-mps-control", path=environment.get("PATH")) is None:
        return None
    # By its documentation, where its control daemon listens.
    return Path(environment.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"), "control").exists()  # noqa: S108


def cores() -> int:
    """CPU cores that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_of_machine() -> int | None:
    """Bytes of the machine's memory that are free or can be freed, of which a container may have less; None where the
    system does not say."""
    free = kilobytes(Path("/proc/meminfo")).get("MemAvailable")
    groups = Path("/sys/fs/cgroup")
    limits = [(groups / "memory.max", groups / "memory.current")]
    limits += [(groups / "memory/memory.limit_in_bytes", groups / "memory/memory.usage_in_bytes")]
    for limit, usage in limits:
        with contextlib.suppress(OSError, ValueError):  # there is none, or it is "max"
            left = int(limit.read_text()) - int(usage.read_text())
            free = left if free is None else min(free, left)
    return free


def kilobytes(path: Path) -> dict[str, int]:
    """The lines `Name: N kB` of a file in /proc, in bytes; empty where it cannot be read."""
    try:
        lines = [line.split() for line in path.read_text(encoding="ascii", errors="replace").splitlines()]
    except OSError:
        return {}
    return {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}


def choose_device() -> None:
    """From now on MMEngine builds models on the GPU that this process may use, else on the CPU. Starts CUDA."""
    import torch

    settle_device("cuda" if torch.cuda.is_available() else "cpu")
