"""A worker: one thread per slot, each asking the study for trials and training them, until the study holds enough."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

import optuna

from mmtuna.objectives.folds import FoldedObjective
from mmtuna.objectives.outcome import Cause, Ending, Evaluation, Objective, Outcome, TrialOrder
from mmtuna.search.errors import StoppedError
from mmtuna.search.trials.conclude import Collapse, ending_text, has_found, is_given_up
from mmtuna.search.trials.recording import Recording
from mmtuna.search.work.energy import Meter
from mmtuna.search.work.places import Places
from mmtuna.search.work.progress import Board
from mmtuna.search.work.study_queue import StudyQueue
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.trials import LAST_STEP
from mmtuna.studies.asking import Budget, Claim
from mmtuna.studies.attributes import AGAIN, HISTORY, TABLE2
from mmtuna.studies.leases.transactions import Lease
from mmtuna.studies.storage.optuna_insides import as_read
from mmtuna.studies.storage.outages import DiskFullError, StorageLostError, failure_line

_GPU = ("CUDA", "CUBLAS", "CUDNN", "HIP")
"""What is said of a GPU's memory, and not of the machine's."""
_DROPPED = "dropped: the lease was lost while this worker did not answer, and the trial is another's"
_OVERRUN = 0.1
"""Share of a trial's expected seconds by which it may overrun the study's hours before it is put back."""
_OVERRUN_SECONDS = 10.0
"""What it may overrun them by at least, where anything was expected."""
_WAIT = 0.5  # seconds between questions while other slots' trials fill the study


@dataclass(frozen=True)
class Slot:
    """A place where one trial trains at a time: a device and its share of the CPU's threads."""

    index: int
    device: str
    threads: int


@dataclass(kw_only=True)
class Worker:
    """Trains trials of one study on its slots: from `queue` through `objective` into `recording`, told on `board`.

    Once `stop` is set, running trials are put back and `work` returns; so they are on KeyboardInterrupt.
    """

    queue: StudyQueue
    objective: Objective
    recording: Recording
    slots: Sequence[Slot]
    board: Board
    stop: threading.Event
    ended: Budget | None = field(default=None, init=False)
    """Why a slot found no further trial though the study lacks some: its hours are over, or nothing better is to be
    expected; None where it did not."""
    _reasons: list[str] = field(default_factory=list)
    _shows: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "shows"))
    _showing: dict[int, Future[None]] = field(default_factory=dict)
    _places: Places = field(init=False)
    _energy: Meter = field(default_factory=Meter, init=False)
    _asked_to_stop: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._places = Places([slot.device for slot in self.slots])

    def work(self, trials: int | None) -> None:
        """Trains until the study holds `trials` finished trials, its hours are over, or nothing better is to be
        expected; None: until nothing is left in its queue.

        Raises StoppedError where the same cause ends every trial, where the database is lost or full, or after
        `stop` was set.
        """
        self._on_threads(lambda slot: self._serve(slot, trials))
        if self.queue.left(trials) and (self.ended is None or self._asked_to_stop):
            raise StoppedError("stopped; run the same command again to go on")

    def work_once(self, trials: int | None, patience: float = 0.0) -> Budget | None:
        """Trains one trial on every slot, towards `trials` finished ones, or says why there was none to train.

        For `patience` seconds it waits for those that others train, one of which may be lost to it. Raises what `work`
        raises.
        """
        end = time.monotonic() + patience
        found: list[Budget | None] = []

        def serve(slot: Slot) -> None:
            answer = self._serve_once(slot, trials)
            while answer is Budget.WAIT and time.monotonic() < end and not self.stop.wait(_WAIT):
                answer = self._serve_once(slot, trials)
            found.append(answer)

        self._on_threads(serve)
        return next((answer for answer in found if answer is not None), None)

    def _on_threads(self, serve: Callable[[Slot], None]) -> None:
        threads = [
            threading.Thread(target=self._guarded, args=(serve, slot), name=f"slot-{slot.index}", daemon=True)
            for slot in self.slots
        ]
        with self.recording.leases, self.recording.uploads:
            try:
                for thread in threads:
                    thread.start()
                while any(thread.is_alive() for thread in threads):
                    time.sleep(0.1)  # not join(): signals are handled between these
                self._asked_to_stop = self.stop.is_set()
            finally:
                self.stop.set()
                for thread in threads:
                    thread.join(timeout=30)
                self._shows.shutdown()
        if self.recording.leases.gone or self._reasons:
            raise StoppedError(self.recording.leases.gone or self._reasons[0])

    def _guarded(self, serve: Callable[[Slot], None], slot: Slot) -> None:
        try:
            serve(slot)
            self._wait_for_show(slot)
        except (InputError, StorageLostError, DiskFullError) as error:
            self._halt(str(error))
        except Exception as error:  # a slot's thread must not die in silence
            try:
                self.queue.leases.check()
            except InputError as gone:
                self._halt(str(gone))
            else:
                logging.getLogger("mmtuna").debug("slot %d", slot.index, exc_info=True)
                said = (str(error).strip().splitlines() or ["no reason given"])[0]
                line = failure_line(error) or f"{type(error).__name__}: {said}; mmtuna --debug COMMAND shows where"
                self._halt(f"slot {slot.index}: {line}")

    def _halt(self, reason: str) -> None:
        self._reasons.append(reason)
        self.stop.set()

    def _serve(self, slot: Slot, trials: int | None) -> None:
        while not self.stop.is_set():
            answer = self._serve_once(slot, trials)
            if isinstance(answer, Budget) and answer is not Budget.WAIT:
                return
            if answer is Budget.WAIT:
                self.stop.wait(_WAIT)

    def _serve_once(self, slot: Slot, trials: int | None) -> Budget | None:
        with self._places.training(slot.index, slot.device) as room:
            if not room:
                return Budget.WAIT
            claim = self.queue.ask(trials)
            if claim is Budget.WAIT and self._helps(slot):
                return None
            if isinstance(claim, Budget):
                self.ended = claim if claim in (Budget.OVER, Budget.SETTLED) else self.ended
                return claim
            self._train(claim, slot)
            return None

    def _helps(self, slot: Slot) -> bool:
        """Trains a fold of another slot's trial, whose turn is still to come; False where there is none."""
        if not isinstance(self.objective, FoldedObjective):
            return False

        def begun(trial: int) -> None:
            self.board.started(slot.index, trial)
            self._places.began(slot.index)
            measured.enter_context(self._energy.training(trial, slot.device))

        progressed = partial(self.board.progressed, slot.index)
        with ExitStack() as measured:
            helped = self.objective.help(slot.device, slot.threads, begun, progressed)
        if helped:
            self.board.left(slot.index)
        return helped

    def _train(self, claim: Claim, slot: Slot) -> None:
        assert claim.lease is not None
        self.board.started(slot.index, claim.trial.number)
        self._places.began(slot.index)
        watch = TrialWatch(self, claim.trial, claim.lease, slot.index, _end_of_time(claim))
        order = TrialOrder(
            number=claim.trial.number,
            params=claim.params,
            seed=claim.seed,
            device=slot.device,
            threads=slot.threads,
            resume=HISTORY in claim.trial.user_attrs,
        )
        self.recording.begin(order)
        with self._energy.training(order.number, order.device, resumed=order.resume):
            outcome = self.objective.run(order, watch)
        outcome = replace(outcome, joules=self._energy.joules(order.number))
        if outcome.ending is Ending.FAILED:
            self.queue.patiently(self.queue.leases.check)  # else its folder being gone would be the cause
        outcome = self._unless_alone(slot, outcome)
        self.recording.note(order, outcome)
        kept = self.recording.end(claim.lease, outcome)
        self.board.counted(*self.queue.counted())
        self.board.ended(slot.index, ending_text(outcome, self.recording.scoring) if kept else _DROPPED)
        if not kept:
            self.recording.left(claim.lease)
            return
        self._show_beside(slot, claim.lease, outcome)
        if outcome.ending is Ending.FAILED:
            cause = self.queue.repeated_cause()
            if cause:
                self._halt(f"the last three trials all failed by the same cause, {cause}: {outcome.message}")
        elif outcome.ending is not Ending.INTERRUPTED:
            self.recording.retain()

    def _show_beside(self, slot: Slot, lease: Lease, outcome: Outcome) -> None:
        """Shows a trial that has ended while the slot trains its next one, once the trial before it is shown."""
        self._wait_for_show(slot)
        self._showing[slot.index] = self._shows.submit(self.recording.show, lease, outcome)

    def _wait_for_show(self, slot: Slot) -> None:
        """Raises what the show of the slot's last trial raised."""
        before = self._showing.pop(slot.index, None)
        if before is not None:
            before.result()

    def _unless_alone(self, slot: Slot, outcome: Outcome) -> Outcome:
        """The outcome; of a trial that ran out of memory beside others, that it is to be put back and trained again."""
        if outcome.cause is not Cause.OUT_OF_MEMORY:
            return outcome
        of_gpu = slot.device != "cpu" and any(name in outcome.message for name in _GPU)
        lowered = self._places.lower(slot.index, of_gpu=of_gpu)
        if lowered is None:
            return outcome
        return replace(outcome, ending=Ending.INTERRUPTED, cause=None, message=lowered)


def _end_of_time(claim: Claim) -> float | None:
    """When (`time.monotonic()`) a trial is put back though it trains on, since the study's hours are over; None never.

    One of which nothing was known, not even that it would fit, has until the end of them.
    """
    if claim.left is None:
        return None
    more = 0.0 if claim.expected is None else max(_OVERRUN_SECONDS, _OVERRUN * claim.expected)
    return time.monotonic() + claim.left + more


class TrialWatch:
    """Stands between a training and its trial: reports evaluations and passes on the pruner's answer.

    `end` is when it is put back though it trains on (`time.monotonic()`), None for never.
    """

    def __init__(self, worker: Worker, trial: optuna.Trial, lease: Lease, slot: int, end: float | None = None) -> None:
        self._worker, self._trial, self._lease, self._slot, self._end = worker, trial, lease, slot, end
        self._recording = worker.recording
        # A trial that was put back reports some steps for a second time; the first stays.
        before = as_read(trial)
        self._reported = set(before.intermediate_values)
        self._highest = max(before.intermediate_values.values(), default=float("-inf"))
        self._collapse = Collapse(self._recording.collapse, self._others_found)
        self._to_its_end = not {TABLE2, AGAIN}.isdisjoint(before.user_attrs)

    def evaluated(self, evaluation: Evaluation) -> bool:
        """Reports to the study; True where the pruner gives the trial up, else the trial's files are sent."""
        stop = self._report(evaluation)
        if not stop and evaluation.step < LAST_STEP:  # one that ends sends them when it has
            self._recording.uploads.schedule(self._trial.number, self._lease.attempt)
        return stop

    def _report(self, evaluation: Evaluation) -> bool:
        self._worker.board.evaluated(self._slot, evaluation)
        dead = self._collapse.is_dead(evaluation)
        value = evaluation.metrics.get(self._recording.scoring.metric)
        if value is None:
            return False
        reported = self._recording.scoring.reported(value, self._highest)
        self._highest = max(self._highest, value)
        if evaluation.step not in self._reported:
            if not self._recording.leases.report(self._trial, self._lease, evaluation.step, reported):
                return True
            self._reported.add(evaluation.step)
        # After its last evaluation a trial is complete: there is nothing left to save. A row of Table 2, and a
        # config that is trained once more, have no other purpose than to be compared, and are trained to their end.
        if evaluation.step >= LAST_STEP or self._to_its_end:
            return False
        kept, patiently = self._recording, self._worker.queue.patiently
        given_up = dead or patiently(lambda: is_given_up(evaluation, self._trial, kept.fold_test))
        return bool(given_up or patiently(self._trial.should_prune))

    def _others_found(self) -> bool:
        return bool(self._worker.queue.patiently(lambda: has_found(self._trial.study)))

    def progressed(self, iteration: int, iterations: int, seconds: float) -> None:
        """Shows the progress."""
        self._worker.board.progressed(self._slot, iteration, iterations, seconds)

    def interrupted(self) -> bool:
        """Whether the worker is to stop, or the time for the trial is over."""
        return self._worker.stop.is_set() or (self._end is not None and time.monotonic() > self._end)

    def lost(self) -> bool:
        """Whether the lease went to another worker, whose the trial's folder is now."""
        return self._recording.leases.lost(self._lease)


def make_slots(
    devices: Sequence[str], per_device: int, cores: int, threads: int | None, wanted: int | None
) -> list[Slot]:
    """`per_device` slots on every device, or `wanted` in all, dealt out in turn; CPU threads are shared evenly."""
    count = wanted if wanted is not None else per_device * len(devices)
    share = threads if threads is not None else max(1, cores // count)
    return [Slot(index, devices[index % len(devices)], share) for index in range(count)]
