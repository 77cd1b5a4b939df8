"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.traces import clear_dead, is_of_the_dead, is_of_the_living, marked, remove

ASIDE = "."
"""How names begin of what is being written."""
_WRONG_PLACE = (
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
)
"""What the system says of a place that was chosen badly; a disk that is full or broken is no person's mistake."""


class PlaceError(InputError, OSError):
    """A place that cannot be written: a person's mistake where they chose it, else an error of the system as any."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a new name beside `path` to write to; that file becomes `path` when the block ends without an error.

    Parent folders are made. PlaceError where `path` is a folder or cannot be written.
    """
    with _refusing(path):
        if path.is_dir():
            raise PlaceError(f"{path}: is a folder and should be a file; name a file, such as {path / 'NAME'}")
        path.parent.mkdir(parents=True, exist_ok=True)
    _clear_once(path.absolute().parent)
    part = _beside(path)
    try:
        with _refusing(path, only=part):
            yield part
            os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):  # a disk that takes no file says so here once more
            part.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` by way of a temporary name in the same folder; parent folders are made."""
    with whole_file(path) as part, part.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)


def write_json_whole(path: Path, value: object) -> None:
    """`write_whole` for JSON; NaN is refused, since other readers cannot parse it."""
    write_whole(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


@contextmanager
def whole_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty sibling of `folder` to fill; it becomes `folder` when the block ends without an error.

    Raises InputError if `folder` exists and is not an empty folder, unless it is to be replaced, and PlaceError where
    it cannot be written. Of several that replace it at the same time one comes last, and its files are all there. A
    process that is killed in the moment between two renames leaves no `folder`, and the old one beside it under a
    hidden name.
    """
    with _refusing(folder):
        if not replace:
            _require_empty(folder)
        _clear_once(folder.absolute().parent)
        part = _beside(folder)
        part.mkdir(parents=True)
    try:
        yield part
        if replace:
            _swap(part, folder)
        else:
            if folder.exists():
                folder.rmdir()  # fails, as it should, where something was put in meanwhile
            os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def require_new_folder(folder: Path) -> None:
    """Raises what `whole_folder` would, before the hours that it takes to make what is to lie there."""
    with _refusing(folder):
        _require_empty(folder)
        above = next(place for place in folder.absolute().parents if place.exists())
        part = above / _beside(folder).name
        part.mkdir()
        part.rmdir()


def remove_unfinished(folder: Path, older_than: float = 0.0) -> None:
    """Removes what a process that was killed left half written in `folder`; only while nobody else writes there.

    Where others may, `older_than` are the seconds for which nobody must have touched what a process left that may live
    for all that is known here.
    """
    for path in folder.glob(f"{ASIDE}*"):
        if not older_than or is_of_the_dead(path.name) or _is_left(path, older_than):
            remove(path)


def _is_left(path: Path, seconds: float) -> bool:
    try:
        return not is_of_the_living(path.name) and time.time() - path.lstat().st_mtime >= seconds
    except OSError:
        return False


_clear_once = lru_cache(maxsize=256)(clear_dead)


@contextmanager
def _refusing(path: Path, only: Path | None = None) -> Iterator[None]:
    """Turns the system's refusal to write at `path` into a PlaceError; with `only`, its refusal of that file alone."""
    try:
        yield
    except OSError as error:
        if error.errno not in _WRONG_PLACE or (only is not None and str(error.filename) != str(only)):
            raise
        taken = next((place for place in path.absolute().parents if place.is_file()), None)
        why = error.strerror if taken is None else f"{taken} is a file"
        raise PlaceError(f"{path}: cannot be written ({why}); name a place in a folder that can be written") from None


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists and is not an empty folder; name a new or an empty one")


def _swap(part: Path, folder: Path) -> None:
    """Puts `part` in the place of `folder`, which may not be there, and removes what was there."""
    while True:
        aside = _beside(folder)
        with contextlib.suppress(FileNotFoundError):
            os.rename(folder, aside)
        try:
            os.rename(part, folder)
        except OSError as error:
            # Not by a look at `folder`: a third one may have moved it aside by now.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            continue  # another one put theirs there between the two
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return


def _beside(path: Path) -> Path:
    """A hidden name in the same folder (so on the same disk) that no other writer picks."""
    path = path.absolute()
    return path.with_name(marked(f"{ASIDE}{path.name}."))
