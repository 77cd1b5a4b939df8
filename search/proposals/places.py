"""Files and folders of a data set by their names, without regard to upper and lower case."""

from __future__ import annotations

import os
import re
from pathlib import Path

TRAIN = ("train", "training")
VAL = ("val", "valid", "validation", "dev")
TEST = ("test", "testing")
_WORDS = re.compile("[A-Z]?[a-z]+|[A-Z]+")


def file_in(folder: Path, name: str) -> str | None:
    """The file of this name in `folder`, as it is spelt there: the very name before one in other letters."""
    if (folder / name).is_file():
        return name
    try:
        found = sorted(entry for entry in os.listdir(folder) if entry.lower() == name and (folder / entry).is_file())
    except OSError:  # no folder, which others tell
        return None
    return found[0] if found else None


def side_of(folder: str) -> str | None:
    """ "train", "val" or "test" where one of these alone is a word in the folder's path: `Training_Data`, `val2017`."""
    words = {word.lower() for word in _WORDS.findall(folder)}
    sides = [side for side, known in (("train", TRAIN), ("val", VAL), ("test", TEST)) if words & set(known)]
    return sides[0] if len(sides) == 1 else None
