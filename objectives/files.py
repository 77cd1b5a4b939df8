"""Files and folders that appear whole or not at all."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from spaces.errors import InputError

ASIDE = "."
"""How names begin of what is being written."""


def write_whole(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` by way of a temporary name in the same folder; parent folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _beside(path)
    try:
        with part.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty sibling of `folder` to fill; it becomes `folder` when the block ends without an error.

    Raises InputError if `folder` exists and is not an empty folder, unless it is to be replaced.
    """
    if not replace and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists and is not an empty folder; name a new or an empty one")
    part = _beside(folder)
    part.mkdir(parents=True)
    try:
        yield part
        if replace and folder.exists():
            shutil.rmtree(folder)
        elif folder.exists():
            folder.rmdir()  # fails, as it should, where something was put in meanwhile
        os.replace(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _beside(path: Path) -> Path:
    """A hidden name in the same folder (so on the same disk) that no other writer picks."""
    path = path.absolute()
    return path.with_name(f"{ASIDE}{path.name}.{uuid4().hex[:12]}")


def remove_unfinished(folder: Path) -> None:
    """Removes what a process that was killed left half written in `folder`; only while nobody else writes there."""
    for path in folder.glob(f"{ASIDE}*"):
        with contextlib.suppress(OSError):  # it is in nobody's way
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def write_json_whole(path: Path, value: object) -> None:
    """`write_whole` for JSON; NaN is refused, since other readers cannot parse it."""
    write_whole(path, json.dumps(value, indent=1, allow_nan=False) + "\n")
