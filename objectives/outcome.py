"""What a trial reports while it trains, and what is left when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from mmtuna.objectives.evaluation.metrics import Counts
from mmtuna.spaces.limits import Demand
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.speed import Speed
from mmtuna.spaces.trials import Cause as Cause


class Ending(StrEnum):
    """How a training ended: to its last iteration, stopped by the pruner, failed, or put back on request."""

    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics (fractions, 0 to 1) after `iteration` iterations and `seconds` of training.

    `step` is the percentage of the trial's iterations, 1 to 100: trials of different length are compared by it.
    `counts` are summed over the validation images, `images` the same of each in the order of their list, where these
    are few. `ended_folds` is how many folds have ended with this evaluation; 0 within a fold, and where there are none.
    """

    step: int
    iteration: int
    seconds: float
    metrics: dict[str, float]
    counts: Counts | None = None
    images: tuple[Counts, ...] = ()
    ended_folds: int = 0

    @classmethod
    def told(cls, message: Mapping[str, Any]) -> Evaluation:
        """What a trial's process said; checkpoints of before there were counts go on without."""
        counts, images = message.get("counts"), message.get("images", ())
        said = {
            **message,
            "counts": None if counts is None else Counts.of(counts),
            "images": tuple(map(Counts.of, images)),
        }
        return cls(**said)

    def plain(self) -> dict[str, Any]:
        """As JSON data, which `told` reads; of a training of its own, not of several folds."""
        counts = None if self.counts is None else self.counts.plain()
        figures = {"step": self.step, "iteration": self.iteration, "seconds": self.seconds, "metrics": self.metrics}
        return {**figures, "counts": counts, "images": [image.plain() for image in self.images]}

    def as_point(self) -> dict[str, Any]:
        """One point of a learning curve, flat."""
        return {"step": self.step, "iteration": self.iteration, "seconds": round(self.seconds, 3), **self.metrics}


@dataclass(frozen=True, kw_only=True)
class TrialOrder:
    """What one training needs to know: whose it is, what to train, with which seed, where.

    `device` is "cpu" or "cuda:N"; `threads` are CPU threads. `resume`: an earlier attempt at this trial was cut short,
    and its last checkpoint, where there is one, is gone on from.
    """

    number: int
    params: Params
    seed: int
    device: str = "cpu"
    threads: int = 1
    resume: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of one training. `cause` and `message` are set where it failed; `folder` holds its files.

    `speed` is what was done for speed, where the study lets that be chosen. `folds` are the last evaluations of
    the folds that were begun, each of its own images alone; () where there are none. In a study that has limits
    `demand` is what the net asks, and `constraints` by what share of each limit that is beyond it
    (mmtuna.spaces.limits). `joules` is what its cards took, None where that is not known.
    """

    ending: Ending
    curve: tuple[Evaluation, ...] = ()
    seconds: float = 0.0
    iterations: int = 0
    cause: Cause | None = None
    message: str = ""
    folder: Path | None = None
    speed: Speed | None = None
    folds: tuple[Evaluation, ...] = ()
    demand: Demand = field(default_factory=dict)
    constraints: Mapping[str, float] = field(default_factory=dict)
    joules: float | None = None


class Watch(Protocol):
    """What a training asks and tells while it goes on; called from the slot's thread."""

    def evaluated(self, evaluation: Evaluation) -> bool:
        """Takes an evaluation; True means stop."""

    def progressed(self, iteration: int, iterations: int, seconds: float) -> None:
        """Takes a sign of life: iterations done, of how many, after how many seconds."""

    def interrupted(self) -> bool:
        """Whether the training shall write a last checkpoint, end, and be put back."""

    def lost(self) -> bool:
        """Whether the trial is another's by now: the training shall end at once and write nothing any more."""


class Objective(Protocol):
    """Something that trains: MMSegmentation in a child process, or recorded curves in its place."""

    def run(self, order: TrialOrder, watch: Watch) -> Outcome:
        """Trains `order` to its end, to a stop from `watch`, or to a failure, which is returned and not raised."""
