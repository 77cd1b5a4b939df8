"""Files and folders of a data set by their names, without regard to upper and lower case."""

from __future__ import annotations

import os
from pathlib import Path


def file_in(folder: Path, name: str) -> str | None:
    """The file of this name in `folder`, as it is spelt there: the very name before one in other letters."""
    if (folder / name).is_file():
        return name
    try:
        found = sorted(entry for entry in os.listdir(folder) if entry.lower() == name and (folder / entry).is_file())
    except OSError:  # no folder, which others tell
        return None
    return found[0] if found else None
