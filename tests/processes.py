"""The machine's processes, for tests that ask what is left of one that was ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def children_of(parent: int) -> list[int]:
    """The processes that `parent` has started, zombies aside."""
    return [pid for pid, state, its_parent, _ in _processes() if its_parent == parent and state != "Z"]


def alive_in_group(group: int) -> list[int]:
    """Processes of a process group that are still there, zombies aside."""
    return [pid for pid, state, _, its_group in _processes() if its_group == group and state != "Z"]


def _processes() -> Iterator[tuple[int, str, int, int]]:
    """Process id, state, parent and group of every process."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        yield int(stat.parent.name), state, int(parent), int(group)
