"""What is kept of a worker's trials: their end in the study, files, pictures, and the checkpoints of the best."""

from __future__ import annotations

from dataclasses import dataclass

import optuna

from mmtuna.objectives.outcome import Ending, Outcome, TrialOrder
from mmtuna.objectives.recorded import RecordFile
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.search.trials.conclude import Scoring, conclude
from mmtuna.search.trials.files import StudyFiles
from mmtuna.search.trials.retention import Retention
from mmtuna.search.trials.showing import Showing
from mmtuna.search.trials.uploads import Uploads
from mmtuna.spaces.trials import LAST_STEP
from mmtuna.studies.leases import Lease, Leases
from mmtuna.studies.standing import standing_of
from mmtuna.studies.storage.outages import through_outages


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Keeps what the trials of one worker leave; safe to call from several threads.

    With `record` every trial's curve is appended there. `fold_test`: how many trials are to be complete before one is
    stopped between its folds, by the images of those that ended; None stops none. `collapse`: the step from which on
    one that never found a class is stopped; 100 stops none.
    """

    study: optuna.Study
    leases: Leases
    scoring: Scoring
    retention: Retention
    files: StudyFiles
    uploads: Uploads
    showing: Showing
    record: RecordFile | None = None
    fold_test: int | None = None
    collapse: int = LAST_STEP

    def begin(self, order: TrialOrder) -> None:
        """Lays out what an earlier attempt at the trial left, from S3 where that is elsewhere."""
        if order.resume:
            self.uploads.fetch(order.number)

    def note(self, order: TrialOrder, outcome: Outcome) -> None:
        """Appends a trial that ended to the record, if there is one: before the study knows, or a kill between the two
        would leave a trial that nobody trains again out of it. InputError where the file cannot be written."""
        if self.record is not None and outcome.ending is not Ending.INTERRUPTED:
            self.record.append(order, outcome)

    def end(self, lease: Lease, outcome: Outcome) -> bool:
        """Sends the trial's files and tells how it ended; False where the trial is another's, and nothing is kept."""
        if not self.leases.lost(lease):
            self.uploads.finish(
                lease.number, lease.attempt, self.uploads.held_back(lease.number, outcome, self.scoring)
            )
        return conclude(self.leases, lease, outcome, self.scoring, self.files.folder.path)

    def show(self, lease: Lease, outcome: Outcome) -> None:
        """Draws and shows a trial that has ended, and sends its pictures; S3 forgets checkpoints that do not stay."""
        number = lease.number
        if outcome.folder is None or outcome.ending is Ending.INTERRUPTED:
            return
        folder = TrialFolder(outcome.folder)
        through_outages(lambda: self.showing.show(number, folder), stop=self.leases.stop, say=self.leases.say)
        self.uploads.schedule(number, lease.attempt, self.uploads.held_back(number, outcome, self.scoring))
        self.uploads.forget(number)

    def retain(self) -> None:
        """Deletes the checkpoints on this machine of trials that were not among the best at the last look."""
        self.retention.apply(standing_of(self.study), self.files)

    def left(self, lease: Lease) -> None:
        """Takes note that a trial which became another's was trained here until now, and wrote into its folder."""
        self.retention.look_again(lease.number)
