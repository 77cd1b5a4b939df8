"""A worker: one thread per slot, each asking the study for trials and training them, until the study holds enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import optuna

from mmtuna.objectives.outcome import Ending, Evaluation, Objective, Outcome, TrialOrder
from mmtuna.search.trials import conclude
from mmtuna.search.trials.showing import show_trial
from mmtuna.search.trials.uploads import Uploads
from mmtuna.search.work.progress import Board
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.trials import LAST_STEP
from mmtuna.studies import results
from mmtuna.studies import study as study_room
from mmtuna.studies.attributes import HISTORY, TABLE2
from mmtuna.studies.files.trial_store import begin as begin_files
from mmtuna.studies.leases import Leases
from mmtuna.studies.leases.transactions import Lease
from mmtuna.studies.pruning import build_pruner
from mmtuna.studies.sampling import build_sampler
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import study_lock
from mmtuna.studies.storage.optuna_insides import as_read
from mmtuna.studies.storage.outages import DiskFullError, StorageLostError, through_outages

Result = TypeVar("Result")

_DROPPED = "dropped: the lease was lost while this worker did not answer, and the trial is another's"
_WAIT = 0.5  # seconds between questions while other slots' trials fill the study


class StoppedError(Exception):
    """The search stopped before the study was full; the message says why."""


@dataclass(frozen=True)
class Slot:
    """A place where one trial trains at a time: a device and its share of the CPU's threads."""

    index: int
    device: str
    threads: int


@dataclass
class Worker:
    """Trains trials of one study on its slots.

    Call `request_stop` from a signal handler: running trials are put back and `work` returns.
    """

    spec: StudySpec
    study: optuna.Study
    space: SearchSpace
    objective: Objective
    slots: Sequence[Slot]
    board: Board
    _stop: threading.Event = field(default_factory=threading.Event)
    _reasons: list[str] = field(default_factory=list)
    _said: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._lock = study_lock(self.spec.study.storage, self.spec.study.name)
        self._leases = Leases(
            study=self.study,
            folder=self.spec.study.folder,
            seconds=self.spec.resources.lease,
            retries=self.spec.resources.retries,
            slots=len(self.slots),
            stop=self._stop,
            say=self.board.say,
        )
        ordinal = self._through(self._join)
        self._uploads = Uploads(self.spec, self.study, ordinal, self.board.say, self._stop)
        self.study.pruner = build_pruner(self.spec.study)

    def _join(self) -> int:
        with self._lock:
            ordinal = study_room.next_worker(self.study)
            if self.spec.study.artifacts is not None:
                begin_files(self.study)
            so_far = len(self.study.get_trials(deepcopy=False))
            self.study.sampler = build_sampler(self.spec.study, self.space, so_far, ordinal)
        return ordinal

    def _through(self, call: Callable[[], Result]) -> Result:
        """`call()`, a reading or claiming of the study, through a database that is away for a while."""
        return through_outages(call, stop=self._stop, say=self.board.say)

    def request_stop(self) -> None:
        """Ends the running trainings; their trials wait to be trained again."""
        self._stop.set()

    def work(self, trials: int | None) -> None:
        """Trains until the study holds `trials` finished trials; None: until nothing is left in its queue.

        Raises StoppedError where the same cause ends every trial, where the database is lost or full, or after
        `request_stop`.
        """
        self._on_threads(lambda slot: self._serve(slot, trials))
        if self._through(lambda: study_room.left(self.study, trials)):
            raise StoppedError("stopped; run the same command again to go on")

    def work_once(self, trials: int | None, patience: float = 0.0) -> study_room.Budget | None:
        """Trains one trial on every slot, towards `trials` finished ones, or says why there was none to train.

        For `patience` seconds it waits for those that others train, one of which may be lost to it. Raises what `work`
        raises.
        """
        end = time.monotonic() + patience
        found: list[study_room.Budget | None] = []

        def serve(slot: Slot) -> None:
            answer = self._serve_once(slot, trials)
            while answer is study_room.Budget.WAIT and time.monotonic() < end and not self._stop.wait(_WAIT):
                answer = self._serve_once(slot, trials)
            found.append(answer)

        self._on_threads(serve)
        return next((answer for answer in found if answer is not None), None)

    def _on_threads(self, serve: Callable[[Slot], None]) -> None:
        threads = [
            threading.Thread(target=self._guarded, args=(serve, slot), name=f"slot-{slot.index}", daemon=True)
            for slot in self.slots
        ]
        with self._leases, self._uploads:
            try:
                for thread in threads:
                    thread.start()
                while any(thread.is_alive() for thread in threads):
                    time.sleep(0.1)  # not join(): signals are handled between these
            finally:
                self._stop.set()
                for thread in threads:
                    thread.join(timeout=30)
        if self._reasons:
            raise StoppedError(self._reasons[0])

    def _guarded(self, serve: Callable[[Slot], None], slot: Slot) -> None:
        try:
            serve(slot)
        except (InputError, StorageLostError, DiskFullError) as error:
            self._halt(str(error))
        except Exception as error:  # a slot's thread must not die in silence
            import traceback

            self.board.say(traceback.format_exc())
            self._halt(f"slot {slot.index}: {type(error).__name__}: {error}")

    def _halt(self, reason: str) -> None:
        self._reasons.append(reason)
        self._stop.set()

    def _serve(self, slot: Slot, trials: int | None) -> None:
        while not self._stop.is_set():
            answer = self._serve_once(slot, trials)
            if answer is study_room.Budget.DONE:
                return
            if answer is study_room.Budget.WAIT:
                self._stop.wait(_WAIT)

    def _serve_once(self, slot: Slot, trials: int | None) -> study_room.Budget | None:
        claim = self._through(
            lambda: study_room.ask(
                self.study, self.space, self.spec.study.seed, trials=trials, lock=self._lock, leases=self._leases
            )
        )
        if isinstance(claim, study_room.Budget):
            return claim
        self._train(claim, slot)
        return None

    def _train(self, claim: study_room.Claim, slot: Slot) -> None:
        assert claim.lease is not None
        self.board.started(slot.index, claim.trial.number)
        watch = TrialWatch(self, claim.trial, claim.lease, slot.index)
        order = TrialOrder(
            number=claim.trial.number,
            params=claim.params,
            seed=claim.seed,
            device=slot.device,
            threads=slot.threads,
            resume=HISTORY in claim.trial.user_attrs,
        )
        if order.resume:
            self._uploads.fetch(order.number)
        else:
            self._uploads.clear(order.number)
        outcome = self.objective.run(order, watch)
        held = self._uploads.held_back(order.number, outcome)
        if not watch.lost():
            self._uploads.finish(order.number, claim.lease.attempt, held)
        kept = conclude.conclude(self._leases, claim.lease, outcome, self.spec)
        best = self._through(lambda: results.best(self.study))
        best_value = (best.value, best.number) if best is not None and best.value is not None else None
        self.board.counted(self._through(lambda: study_room.finished(self.study)), best_value)
        self.board.ended(slot.index, conclude.ending_text(outcome, self.spec) if kept else _DROPPED)
        if not kept:
            return
        if outcome.folder is not None and outcome.ending is not Ending.INTERRUPTED:
            number, folder = claim.trial.number, outcome.folder
            self._through(lambda: show_trial(self.spec, self.study, number, folder, self.board.say, self._said))
            self._uploads.schedule(number, claim.lease.attempt, held)  # with its overlays
            self._uploads.forget(number)
        if outcome.ending is Ending.FAILED:
            cause = self._through(lambda: results.repeated_cause(self.study))
            if cause:
                self._halt(f"the last three trials all failed by the same cause, {cause}: {outcome.message}")
        elif outcome.ending is not Ending.INTERRUPTED:
            self._through(lambda: conclude.retain_checkpoints(self.study, self.spec))


class TrialWatch:
    """Stands between a training and its trial: reports evaluations and passes on the pruner's answer."""

    def __init__(self, worker: Worker, trial: optuna.Trial, lease: Lease, slot: int) -> None:
        self._worker, self._trial, self._lease, self._slot = worker, trial, lease, slot
        self._metric = worker.spec.study.metric
        self._best = worker.spec.study.value == "best"
        # A trial that was put back reports some steps for a second time; the first stays.
        before = as_read(trial)
        self._reported = set(before.intermediate_values)
        self._highest = max(before.intermediate_values.values(), default=float("-inf"))
        self._table2 = TABLE2 in before.user_attrs

    def evaluated(self, evaluation: Evaluation) -> bool:
        """Reports to the study; True where the pruner gives the trial up, else the trial's files are sent."""
        stop = self._report(evaluation)
        if not stop and evaluation.step < LAST_STEP:  # one that ends sends them when it has
            self._worker._uploads.schedule(self._trial.number, self._lease.attempt)
        return stop

    def _report(self, evaluation: Evaluation) -> bool:
        self._worker.board.evaluated(self._slot, evaluation)
        value = evaluation.metrics.get(self._metric)
        if value is None:
            return False
        self._highest = max(self._highest, value)
        if evaluation.step not in self._reported:
            reported = self._highest if self._best else value
            if not self._worker._leases.report(self._trial, self._lease, evaluation.step, reported):
                return True
            self._reported.add(evaluation.step)
        # After its last evaluation a trial is complete: there is nothing left to save. A row of Table 2 is trained to
        # its end, since it is there to be compared.
        if evaluation.step >= LAST_STEP or self._table2:
            return False
        return bool(self._worker._through(self._trial.should_prune))

    def progressed(self, iteration: int, iterations: int, seconds: float) -> None:
        """Shows the progress."""
        self._worker.board.progressed(self._slot, iteration, iterations, seconds)

    def interrupted(self) -> bool:
        """Whether the worker is to stop."""
        return self._worker._stop.is_set()

    def lost(self) -> bool:
        """Whether the lease went to another worker, whose the trial's folder is now."""
        return self._worker._leases.lost(self._lease)


def make_slots(
    devices: Sequence[str], per_device: int, cores: int, threads: int | None, wanted: int | None
) -> list[Slot]:
    """`per_device` slots on every device, or `wanted` in all, dealt out in turn; CPU threads are shared evenly."""
    count = wanted if wanted is not None else per_device * len(devices)
    share = threads if threads is not None else max(1, cores // count)
    return [Slot(index, devices[index % len(devices)], share) for index in range(count)]


__all__ = ["Outcome", "Slot", "StoppedError", "Worker", "make_slots"]
