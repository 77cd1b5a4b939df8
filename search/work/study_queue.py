"""A study as a worker asks it: for trials to train, and how far it is. Every question outlasts a database away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import optuna

from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies import study as study_room
from mmtuna.studies.asking import Budget, Claim, Hours
from mmtuna.studies.asking import ask as ask_for
from mmtuna.studies.leases import Leases
from mmtuna.studies.standing import repeated_cause, standing_of
from mmtuna.studies.storage.opening import StudyLock
from mmtuna.studies.storage.outages import through_outages
from mmtuna.studies.strategy.confirming import Plan

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class StudyQueue:
    """Raises StorageLostError and DiskFullError where no patience helps.

    Args:
        seed: the study's, from which every training's is counted.
        lock: the study's own.
        leases: the worker's, which also know when it is to stop and to whom it speaks.
        hours: how long the study may be worked on, None for no limit.
        plan: how the budget is used.
    """

    study: optuna.Study
    space: SearchSpace
    seed: int
    lock: StudyLock
    leases: Leases
    hours: Hours | None = None
    plan: Plan = field(default_factory=Plan)

    def ask(self, trials: int | None) -> Claim | Budget:
        """A trial to train towards `trials` finished ones, or why there is none; None: only what is in the queue.

        StudyGoneError where the study is not what the worker joined.
        """

        def ask() -> Claim | Budget:
            self.leases.check()
            return ask_for(
                self.study,
                self.space,
                self.seed,
                trials=trials,
                lock=self.lock,
                leases=self.leases,
                hours=self.hours,
                plan=self.plan,
            )

        return self.patiently(ask)

    def counted(self) -> tuple[int, tuple[float, int] | None]:
        """How many trials count; value and number of the best complete one."""
        standing = standing_of(self.study)
        self.patiently(standing.look)
        return standing.finished, standing.best()

    def left(self, trials: int | None) -> int:
        """How many trials the study lacks of `trials` finished ones; None: how many of its queue have not ended."""
        return self.patiently(lambda: study_room.left(self.study, trials))

    def repeated_cause(self) -> str | None:
        """The cause by which the last trials all failed."""
        return self.patiently(lambda: repeated_cause(self.study))

    def patiently(self, call: Callable[[], Result]) -> Result:
        """`call()`, a reading or claiming of the study, through a database that is away for a while."""
        return through_outages(call, stop=self.leases.stop, say=self.leases.say)
