"""The errors of search: why a study cannot begin or go on, and why a search stopped."""

from __future__ import annotations

from mmtuna.spaces.errors import InputError


class NotReadyError(InputError):
    """A preparation found problems; all of them stand in `problems`, a line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StoppedError(Exception):
    """The search stopped before the study was full; the message says why."""
