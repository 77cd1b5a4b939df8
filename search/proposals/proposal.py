"""What is proposed for a spec, and what a person should read of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(kw_only=True)
class Proposal:
    """Fields of a spec's tables ("data", "model", ...), and lines that say what was taken and why.

    `lists` are files to write beside the spec, by their path: the names of each side, where no file of the data holds
    them.
    """

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    lists: dict[Path, tuple[str, ...]] = field(default_factory=dict)

    def write_lists(self, folder: Path, root: Path, names: dict[str, tuple[str, ...]]) -> dict[str, str]:
        """The fields of a split by lists that will lie beside the spec in `folder`; by the side of `names`."""
        fields = {"split": "lists"}
        for side, listed in names.items():
            path = folder.resolve() / "splits" / f"{side}.txt"
            self.lists[path] = listed
            fields[side] = os.path.relpath(path, root.resolve())
        return fields
