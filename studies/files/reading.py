"""The files of a folder as they are read to be sent, while a training may be writing there."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from mmtuna.studies.files.file_list import is_safe

_CHUNK = 1 << 20


class Head:
    """The first `size` bytes of a file, for boto3, which sends what it cannot seek in part by part."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int = -1) -> bytes:
        """The next bytes, up to `size` of them."""
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def sha256_of(body: Any, size: int) -> tuple[int, str]:
    """How many bytes there are up to `size`, and their sha256."""
    digest, left = hashlib.sha256(), size
    while left and (piece := body.read(min(_CHUNK, left))):
        digest.update(piece)
        left -= len(piece)
    return size - left, digest.hexdigest()


def open_files(folder: Path, first: Sequence[str], without: Collection[str]) -> Iterator[tuple[str, BinaryIO]]:
    """The files in `folder` and below but for those `without`, by name relative to it, each open while it is yielded.

    No links, and nothing hidden or in the making. Files `first` are opened at once, in this order, before any other.
    """
    with contextlib.ExitStack() as opened:
        early = []
        for relative in first:
            path = folder / relative
            # What is gone was replaced by others just now, which the next push sends; so below.
            with contextlib.suppress(FileNotFoundError):
                if relative not in without and _is_plain(path):
                    early.append((relative, opened.enter_context(path.open("rb"))))
        yield from early
    for relative, path in _files_of(folder):
        if relative in without or relative in first:
            continue
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue
        with file:
            yield relative, file


def _files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if is_safe(name))
        for name in sorted(names):
            path = Path(place) / name
            relative = path.relative_to(folder).as_posix()
            if is_safe(relative) and _is_plain(path):
                yield relative, path


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
