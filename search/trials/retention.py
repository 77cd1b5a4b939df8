"""Which trials keep their checkpoints: the best so many complete ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from optuna.trial import TrialState

from mmtuna.search.trials.files import StudyFiles
from mmtuna.spaces.trials import Cause
from mmtuna.studies.results import TrialRow, ranked

_PUSHED_OUT = 16


@dataclass(frozen=True)
class Retention:
    """The best `keep` complete trials keep theirs, of equals the earlier."""

    keep: int

    def keeps(self, entries: Sequence[TrialRow], number: int) -> bool:
        """Whether trial `number` keeps its checkpoints."""
        return number in self._kept(entries)

    def would_keep(self, entries: Sequence[TrialRow], number: int, value: float) -> bool:
        """Whether trial `number` would keep them if it ended complete now, with `value`."""
        complete = TrialState.COMPLETE.name
        ended = [replace(e, state=complete, value=value) if e.number == number else e for e in entries]
        return self.keeps(ended, number)

    def superfluous(self, entries: Sequence[TrialRow], number: int) -> list[int]:
        """Trials that may hold checkpoints without keeping them, now that trial `number` has ended.

        Itself, those that it and others that end at the same time push out of the best, and those lost with their
        workers: few, since S3 is asked about each.
        """
        best = [entry.number for entry in ranked(entries)]
        lost = (entry.number for entry in entries if entry.state == TrialState.FAIL.name and entry.cause == Cause.LOST)
        return sorted({number, *best[self.keep : self.keep + _PUSHED_OUT], *lost} - set(best[: self.keep]))

    def apply(self, entries: Sequence[TrialRow], files: StudyFiles) -> None:
        """Deletes the checkpoints on this machine of all ended trials that do not keep them."""
        kept = self._kept(entries)
        for entry in entries:
            if TrialState[entry.state].is_finished() and entry.folder and entry.number not in kept:
                files.trial(entry.folder).delete_checkpoints()

    def _kept(self, entries: Sequence[TrialRow]) -> set[int]:
        return {entry.number for entry in ranked(entries)[: self.keep]}
