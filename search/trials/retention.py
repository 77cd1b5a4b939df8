"""Which trials keep their checkpoints: the best so many complete ones, and the best of each confirmed config."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from mmtuna.search.trials.files import StudyFiles
from mmtuna.studies.standing import Ended, Standing

_PUSHED_OUT = 16


@dataclass
class Retention:
    """The best `keep` complete trials keep theirs, of equals the earlier, and so does the best one of each config that
    was trained once more, and of the `configs` that are to be. One for all that a process does to a study.

    Each ended trial is looked at when its end becomes known, and once more when others push it out of the best.
    """

    keep: int
    configs: int = 0
    _seen: int = 0
    _keeping: dict[int, Ended] = field(default_factory=dict)
    _again: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def keeps(self, standing: Standing, number: int) -> bool:
        """Whether trial `number` keeps its checkpoints."""
        return number in standing.kept(self.keep, self.configs)

    def would_keep(self, standing: Standing, number: int, value: float) -> bool:
        """Whether trial `number` would keep them if it ended complete now, with `value`."""
        return (
            standing.rank(number, value, self.keep) < self.keep
            or standing.confirms(number)
            or standing.better_configs(value, self.configs) < self.configs
        )

    def superfluous(self, standing: Standing, number: int) -> list[int]:
        """Trials that may hold checkpoints without keeping them, now that trial `number` has ended.

        Itself, those that it and others that end at the same time push out of the best, and those lost with their
        workers: few, since S3 is asked about each.
        """
        pushed_out = standing.ranks(self.keep, self.keep + _PUSHED_OUT)
        return sorted({number, *pushed_out, *standing.lost()} - set(standing.kept(self.keep, self.configs)))

    def look_again(self, number: int) -> None:
        """Has the trial's folder looked at once more, when it has ended: something was written there since."""
        with self._lock:
            self._again.add(number)

    def apply(self, standing: Standing, files: StudyFiles) -> None:
        """Deletes the checkpoints on this machine of all ended trials that do not keep them."""
        with self._lock:
            fresh = standing.ended(self._seen)
            again = [entry for number in self._again if (entry := standing.end_of(number))]
            looked_at = self._keeping | {entry.number: entry for entry in (*fresh, *again) if entry.folder}
            kept = set(standing.kept(self.keep, self.configs))
            for number, entry in looked_at.items():
                if number not in kept:
                    assert entry.folder is not None
                    files.trial(entry.folder).delete_checkpoints()
            # Only now: what raised is tried again.
            self._seen += len(fresh)
            self._again -= {entry.number for entry in again}
            self._keeping = {number: entry for number, entry in looked_at.items() if number in kept}
