"""The head of a data pipeline, which draws nothing at random: computed once for all trials of this machine.

Loading an image, its mask and a plain resize give the same pixels in every trial. What they gave lies in a folder that
a worker's trials share, a file an image, named by everything that it was made from. Batches are the same bit for bit:
the steps behind the head get what they would have got, in memory of their own.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mmtuna.objectives.devices import free_of_machine
from mmtuna.spaces.files import whole_file
from mmtuna.spaces.traces import scratch_folder

_ALWAYS_THE_SAME = ("LoadImageFromFile", "LoadAnnotations", "Resize")
"""Transforms of mmcv and MMSegmentation that draw nothing; those behind the first other one stay as they are."""
_ARRAYS = ("img", "gt_seg_map")
_SIZE_LINE = 16  # bytes: how long the line behind it is, as text
_MOST = 2 << 30
_SHARE = 4
_LOOKED_AGAIN = 64  # files that a process writes between two looks at what the folder holds

_kept, _making = contextlib.ExitStack(), threading.Lock()

Results = dict[str, Any]


def shared_folder() -> Path | None:
    """The folder that the trials of this process share: made when it is first asked for, gone with the process.

    None where none can be made: then every trial reads its images itself.
    """
    with _making:
        return _folder_of(os.getpid())


@cache
def _folder_of(pid: int) -> Path | None:  # noqa: ARG001
    try:
        return _kept.enter_context(scratch_folder())
    except OSError:
        return None


def share_heads(runner: Any, folder: Path) -> None:
    """Lets training and validation of a built Runner take what the heads of their pipelines give from `folder`."""
    for dataset in (runner.train_dataloader.dataset, runner.val_dataloader.dataset):
        transforms = dataset.pipeline.transforms
        head = _head_of(transforms)
        if head:
            transforms[: len(head)] = [SharedHead(head, folder)]


def _head_of(transforms: Sequence[Any]) -> list[Any]:
    head: list[Any] = []
    for step in transforms:
        kind = type(step)
        if kind.__name__ not in _ALWAYS_THE_SAME or kind.__module__.split(".")[0] not in ("mmcv", "mmseg"):
            break
        head.append(step)
    return head


class SharedHead:
    """Stands in a pipeline for its first `steps`, whose results it keeps in `folder` and takes from there.

    Where the folder has no more room, or cannot be written or read, the steps do their work as ever.
    """

    def __init__(self, steps: Sequence[Callable[[Results], Results | None]], folder: Path) -> None:
        self.steps, self._folder = list(steps), folder
        # Before any of them has run: one notes what the data set says of its masks.
        self._made_by = repr([(type(step).__name__, sorted(vars(step).items())) for step in steps])
        self._writes = 0

    def __call__(self, results: Results) -> Results | None:
        """What the steps make of `results`, an entry of the data set."""
        name = self._name(results)
        if name is None:
            return self._run(results)
        found = _read(self._folder / name)
        if found is not None:
            return results | found
        before = dict(results, seg_fields=list(results.get("seg_fields", ())))
        made = self._run(results)
        if made is not None and self._has_room():
            _write(self._folder / name, before, made)
        return made

    def _run(self, results: Results) -> Results | None:
        found: Results | None = results
        for step in self.steps:
            if found is None:
                return None
            found = step(found)
        return found

    def _name(self, results: Results) -> str | None:
        """The name of the file, from all that the head's result depends on; None where a file cannot be looked at."""
        entry = {key: value for key, value in results.items() if key != "sample_idx"}
        try:
            stats = [os.stat(results[key]) for key in ("img_path", "seg_map_path") if results.get(key)]
        except OSError:
            return None  # whoever reads it says what is wrong
        files = [(stat.st_size, stat.st_mtime_ns, stat.st_ino) for stat in stats]
        return hashlib.sha256(repr([self._made_by, sorted(entry.items()), files]).encode()).hexdigest()

    def _has_room(self) -> bool:
        if self._writes % _LOOKED_AGAIN == 0:
            self._room = _room(self._folder)
        self._writes += 1
        return self._room


def _room(folder: Path) -> bool:
    """Whether the folder may grow: up to 2 GiB, and to a quarter of what disk and memory had free without it."""
    memory = free_of_machine()
    memory = _MOST * _SHARE if memory is None else memory
    with contextlib.suppress(OSError):
        with os.scandir(folder) as entries:
            used = sum(entry.stat().st_size for entry in entries)
        return used < min(_MOST, (min(shutil.disk_usage(folder).free, memory) + used) // _SHARE)
    return False  # the folder is gone, or another process has just removed what it was writing


def _write(path: Path, before: Mapping[str, Any], made: Results) -> None:
    """Keeps what the head has added to `before`; nothing where that is more than arrays of bytes and plain values."""
    arrays = {key: made[key] for key in _ARRAYS if key in made}
    plain = {
        key: value for key, value in made.items() if key not in arrays and (key not in before or before[key] != value)
    }
    shapes = {key: array.shape for key, array in arrays.items()}
    line = repr((shapes, plain))
    if any(array.dtype != np.uint8 or not array.flags.c_contiguous for array in arrays.values()):
        return
    with contextlib.suppress(OSError, ValueError, SyntaxError):  # the disk is full; a value that is not plain
        if ast.literal_eval(line) != (shapes, plain):
            return
        text = line.encode()
        with whole_file(path) as part, part.open("xb") as file:
            file.write(f"{len(text):<{_SIZE_LINE}}".encode() + text)
            for array in arrays.values():
                file.write(array)


def _read(path: Path) -> Results | None:
    """What `_write` has kept, in memory of its own; None where there is nothing."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError:
        return None
    start = _SIZE_LINE + int(content[:_SIZE_LINE].tobytes())
    shapes, found = ast.literal_eval(content[_SIZE_LINE:start].tobytes().decode())
    for key, shape in shapes.items():
        size = int(np.prod(shape))
        found[key] = content[start : start + size].reshape(shape)
        start += size
    return dict(found)
