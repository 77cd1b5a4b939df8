"""Folds that other slots train before their turn. No figure depends on it: each fold is a training of its own."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from queue import SimpleQueue

from mmtuna.objectives.evaluation.metrics import Counts
from mmtuna.objectives.outcome import Ending, Evaluation, Outcome, TrialOrder, Watch
from mmtuna.objectives.trial_files import TrialFolder

Counted = Mapping[str, Counts]
"""An evaluation's counts by image; empty where they are not known."""


class Ahead:
    """Watches the training of a fold before its turn: what it says is kept for the trial, which hears it then.

    Args:
        watch: the trial's own.
        counted: finds an evaluation's counts by image; asked at once, as the next evaluation may take their place.
        progressed: takes the signs of life.
    """

    def __init__(
        self, watch: Watch, counted: Callable[[Evaluation], Counted], progressed: Callable[[int, int, float], None]
    ) -> None:
        self._watch, self._counted, self._progressed = watch, counted, progressed
        self._said: SimpleQueue[tuple[Evaluation, Counted] | Outcome | None] = SimpleQueue()
        self._given_up = threading.Event()
        self._heard: Callable[[int, int, float], None] | None = None

    def evaluated(self, evaluation: Evaluation) -> bool:
        """Keeps it; whether it is the last is known when the trial has heard it."""
        self._said.put((evaluation, self._counted(evaluation)))
        return False

    def progressed(self, iteration: int, iterations: int, seconds: float) -> None:
        """Passes it on, to the trial too, once it is the fold's turn."""
        self._progressed(iteration, iterations, seconds)
        if self._heard is not None:
            self._heard(iteration, iterations, seconds)

    def interrupted(self) -> bool:
        """Whether the trial is to be put back, or needs the fold no more."""
        return self._given_up.is_set() or self._watch.interrupted()

    def lost(self) -> bool:
        """Whether the trial is another's by now."""
        return self._watch.lost()

    def give_up(self) -> None:
        """The fold is not needed."""
        self._given_up.set()

    def end(self, outcome: Outcome | None) -> None:
        """How the training ended; None where it broke off and tells nothing."""
        self._said.put(outcome)

    def follow(
        self, evaluated: Callable[[Evaluation, Counted], bool], progressed: Callable[[int, int, float], None]
    ) -> Outcome | None:
        """It is the fold's turn: passes on what it has said and says, until it ends.

        The outcome is that of a fold which `evaluated` would have stopped where it did now, less in its seconds.
        """
        self._heard, passed, stopped = progressed, 0, False
        while isinstance(said := self._said.get(), tuple):
            if stopped:
                continue
            passed += 1
            try:
                stopped = evaluated(*said)
            except BaseException:  # such as a database that is lost: nothing may train on in the trial's folder
                self.give_up()
                self.wait()
                raise
            if stopped:
                self.give_up()
        if said is None or not stopped:
            return said
        if len(said.curve) > passed and said.folder is not None:  # its masks are of an evaluation that nobody heard
            shutil.rmtree(TrialFolder(said.folder).predictions, ignore_errors=True)
        curve = said.curve[:passed]
        return replace(said, ending=Ending.STOPPED, cause=None, message="", curve=curve, iterations=curve[-1].iteration)

    def wait(self) -> float:
        """Seconds that it trained for, once it has ended."""
        while isinstance(said := self._said.get(), tuple):
            pass
        return 0.0 if said is None else said.seconds


@dataclass
class Team:
    """A trial whose folds are trained: by the slot that has it in their order, and by others ahead of that."""

    order: TrialOrder
    watch: Watch
    folder: TrialFolder
    turn: int = 1
    ahead: dict[int, Ahead] = field(default_factory=dict)


class Teams:
    """The trials at work whose folds others may train; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._teams: dict[int, Team] = {}

    def begin(self, team: Team) -> None:
        """Its folder holds nothing of an earlier trial any more."""
        with self._lock:
            self._teams[team.order.number] = team

    def turn(self, team: Team, number: int) -> Ahead | None:
        """The slot that has the trial comes to fold `number`; what trains or has trained that ahead."""
        with self._lock:
            team.turn = number
            return team.ahead.pop(number, None)

    def join(self, device: str, folds: int, make: Callable[[Team, int], Ahead]) -> tuple[Team, int, Ahead] | None:
        """A fold to train ahead on a device, with what is to watch it; None where no trial has one.

        A trial's folds are all trained on devices of one kind, as another would round otherwise.
        """
        with self._lock:
            for team in (team for team in self._teams.values() if _kind_of(team.order.device) == _kind_of(device)):
                for number in range(team.turn + 1, folds + 1):
                    if number not in team.ahead and not team.folder.fold(number).course.exists():
                        team.ahead[number] = make(team, number)
                        return team, number, team.ahead[number]
        return None

    def end(self, team: Team) -> dict[int, Ahead]:
        """The trial takes no more help; the folds whose turn never came, each given up."""
        with self._lock:
            self._teams.pop(team.order.number, None)
        for ahead in team.ahead.values():
            ahead.give_up()
        return team.ahead


def _kind_of(device: str) -> str:
    """The kind of a device: "cuda" of "cuda:1"."""
    return device.partition(":")[0]
