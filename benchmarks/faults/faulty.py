"""Faults in a trial's own process, for trials that ask for one. Imported there alone: it needs mmseg.

The `kind` of a trial: none; slow (half a second an image, from the first); hang; segfault; memory (more of it than a
limit of its own, 256 MiB above what it has); oom (more than the memory cgroup allows whose folder is `cgroup`); large
(40 MiB of what that allows, kept to the end).
"""

from __future__ import annotations

import ctypes
import os
import resource
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch.utils.data
from mmseg.registry import TRANSFORMS

CLEAN = 8
"""Images that a process loads before the fault."""


@TRANSFORMS.register_module()
class FaultsFaulty:
    """A transform that passes images on until `CLEAN` have gone through; then the fault happens."""

    def __init__(self, kind: str, cgroup: str = "") -> None:
        in_cgroup = {"oom": _be_killed_for_memory, "large": _take_much_memory}
        self._fault = partial(in_cgroup[kind], Path(cgroup)) if kind in in_cgroup else _FAULTS[kind]
        self._left = 0 if kind == "slow" else CLEAN

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        self._left -= 1
        if self._left < 0:
            if self._left == -1:
                print(f"fault at {time.time():.3f}", flush=True)  # into the trial's log
            self._fault()
        return results


def _hang() -> None:
    time.sleep(100_000)


def _segfault() -> None:
    ctypes.string_at(0)


def _take_all_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), resource.RLIM_INFINITY))
    _fill()


def _be_killed_for_memory(cgroup: Path) -> None:
    _move_into(cgroup)
    _fill()


def _move_into(cgroup: Path) -> None:
    """As if the trial had begun there: its process too where a loader asks, and long enough ago to have been seen."""
    in_loader = torch.utils.data.get_worker_info() is not None
    for pid in [os.getpid(), *([os.getppid()] if in_loader else [])]:
        (cgroup / "cgroup.procs").write_text(str(pid))
    Path("/proc/self/oom_score_adj").write_text("1000")  # of several processes, the one that asks for too much
    time.sleep(1.0)


_kept: list[bytes] = []


def _take_much_memory(cgroup: Path) -> None:
    if not _kept:
        _move_into(cgroup)
        _kept.append(b"x" * (40 << 20))


def _fill() -> None:
    kept = []
    while True:
        kept.append(b"x" * (16 << 20))


_FAULTS = {
    "none": lambda: None,
    "slow": lambda: time.sleep(0.5),
    "hang": _hang,
    "segfault": _segfault,
    "memory": _take_all_memory,
}
