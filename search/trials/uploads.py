"""What a worker sends to S3: trials' files while they train and when they end, without holding up the training.

Metrics matter more than files. Where S3 is away for long, a trial ends all the same; its files stay in the study's
folder, and this worker, or the next one on this machine, sends them when S3 is back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from types import TracebackType

import optuna

from mmtuna.objectives.outcome import Ending, Outcome
from mmtuna.objectives.trial_files import CHECKPOINTS, trial_name
from mmtuna.search.trials.conclude import Scoring
from mmtuna.search.trials.files import StudyFiles
from mmtuna.search.trials.retention import Retention
from mmtuna.studies.files.bucket import S3Error, patiently
from mmtuna.studies.files.trial_store import TrialFiles
from mmtuna.studies.standing import Standing, standing_of
from mmtuna.studies.storage.outages import through_outages

PATIENCE = 120.0
"""Seconds that a trial's end, or its start on another's checkpoint, waits for an S3 that is away."""
_PAUSE = 30.0
_LAST_SECONDS = 30.0


class Uploads:
    """The files that one worker sends and fetches; where they do not lie in S3 every method does nothing.

    `with Uploads(...) as uploads:` sends in one thread for all slots, a set at a time; only `finish` and `fetch` work
    in the caller's, since a trial must not be told to have ended before its files are there.

    Args:
        ordinal: the worker's, of which no two of the study have the same.
        say: takes a line for the person.
        stop: set when the worker is to stop, which ends the waiting for an S3 that is away.
    """

    def __init__(
        self,
        files: StudyFiles,
        retention: Retention,
        study: optuna.Study,
        ordinal: int,
        say: Callable[[str], None],
        stop: threading.Event,
    ) -> None:
        self._files, self._retention, self._study, self._say, self._stop = files, retention, study, say, stop
        self._store: TrialFiles | None = files.store
        self._ordinal = ordinal
        self._wake = threading.Condition()
        # By what they are about: a newer one takes an older one's place.
        self._jobs: dict[str, Callable[[], object]] = {}
        self._given_up: dict[str, Callable[[], object]] = {}
        self._forgotten: set[int] = set()
        self._running: dict[str, Callable[[], object]] = {}
        self._closing = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)

    def __enter__(self) -> Uploads:
        if self._store is not None:
            self._put("shared files", lambda: self._files.push_shared(self._ordinal))
            self._put("earlier trials", self._owe)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store is None:
            return
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout=_LAST_SECONDS)
        about = {**self._given_up, **self._running, **self._jobs}
        left = sorted(int(name.rpartition(" ")[2]) for name in about if name.startswith("trial "))
        if left:
            shown = ", ".join(str(number) for number in left[:5]) + (", ..." if len(left) > 5 else "")
            place = self._files.folder.path
            self._say(
                f"not in S3 yet: files of trial {shown}; they lie in {place}, and the next worker here sends them"
            )

    def fetch(self, number: int) -> None:
        """Brings the folder of a trial that another machine began up to date; where that fails, it says so."""
        store, folder = self._store, self._files.folder.trial(number).path
        if store is None:
            return
        try:
            patiently(lambda: store.fetch(trial_name(number), folder), PATIENCE, self._stop)
        except (S3Error, OSError) as error:
            self._say(f"trial {number}: goes on from what lies on this machine, its files were not fetched: {error}")

    def schedule(self, number: int, attempt: int, hold_back: Collection[str] = ()) -> None:
        """Sends the trial's files soon."""
        if self._store is not None:
            self._put(f"trial {number}", self._push(number, attempt, hold_back))

    def finish(self, number: int, attempt: int, hold_back: Collection[str] = ()) -> None:
        """Sends the trial's files now, and waits for an S3 that is away; in vain, it says so and tries again later."""
        if self._store is None:
            return
        push = self._push(number, attempt, hold_back)
        with self._wake:
            self._jobs.pop(f"trial {number}", None)
        try:
            patiently(push, PATIENCE, self._stop)
        except (S3Error, OSError) as error:
            self._say(f"trial {number}: its files stay on this machine for now: {error}")
            self._put(f"trial {number}", push)

    def held_back(self, number: int, outcome: Outcome, scoring: Scoring) -> Collection[str]:
        """Files that trial `number` need not send as it ends, since they will not stay: checkpoints beyond the best."""
        if self._store is None or outcome.ending is Ending.INTERRUPTED:
            return ()
        value = scoring.value_of(outcome) if outcome.ending is Ending.FINISHED else None
        return () if value is not None and self._is_kept(number, value) else CHECKPOINTS

    def forget(self, number: int) -> None:
        """Deletes checkpoints that stay no longer, now that trial `number` has ended."""
        if self._store is not None:
            self._put(f"checkpoints {number}", lambda: self._forget(number))

    def _is_kept(self, number: int, value: float) -> bool:
        return self._retention.would_keep(self._standing(self._say), number, value)

    def _standing(self, say: Callable[[str], None] | None = None) -> Standing:
        standing = standing_of(self._study)
        through_outages(standing.look, stop=self._stop, say=say)
        return standing

    def _forget(self, number: int) -> None:
        assert self._store is not None
        for other in self._retention.superfluous(self._standing(), number):
            if other not in self._forgotten:
                self._store.forget(trial_name(other), CHECKPOINTS)
                self._forgotten.add(other)

    def _push(self, number: int, attempt: int, hold_back: Collection[str]) -> Callable[[], object]:
        store, folder = self._store, self._files.folder.trial(number).path
        assert store is not None

        def push() -> bool:
            # The best is written before the last, which tells that an evaluation is written: a set whose best is older
            # than its last would be resumed with a best value that has no weights. Where the best is the newer one the
            # resumed training comes to its evaluation again, and writes it again. A replayed trial has no folder.
            name = trial_name(number)
            return folder.is_dir() and store.push(folder, name, attempt, hold_back=hold_back, first=CHECKPOINTS)

        return push

    def _owe(self) -> None:
        """Sends what an earlier worker on this machine could not."""
        assert self._store is not None
        unsent = self._store.unsent()
        if not unsent:
            return
        standing = self._standing()
        for entry in standing.ended(0):
            attempt = unsent.get(trial_name(entry.number))
            if attempt is not None:
                kept = self._retention.keeps(standing, entry.number)
                self.schedule(entry.number, attempt, () if kept else CHECKPOINTS)
                if not kept:  # the set may hold those that it sent while it trained
                    self.forget(entry.number)

    def _put(self, about: str, job: Callable[[], object]) -> None:
        with self._wake:
            self._jobs[about] = job
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._jobs or self._closing)
                if not self._jobs:
                    return
                about = next(iter(self._jobs))
                job = self._jobs.pop(about)
                self._running = {about: job}
            try:
                job()
            except Exception as error:  # whatever it is, the thread must go on: the next one may succeed
                if not self._later(about, job, error):
                    return
            else:
                self._failing = False
            self._running = {}

    def _later(self, about: str, job: Callable[[], object], error: Exception) -> bool:
        """Puts the job back and waits a while; False where there is no time left and nothing else could be done."""
        if not self._failing:
            self._failing = True
            text = str(error) if isinstance(error, S3Error | OSError) else f"{type(error).__name__}: {error}"
            self._say(f"{about}: waits for S3, the search goes on: {text}")
        with self._wake:
            if self._closing:
                self._given_up[about] = job
                return not getattr(error, "passing", False)
            self._jobs.setdefault(about, job)
            self._wake.wait_for(lambda: self._closing, timeout=_PAUSE)
        return True
