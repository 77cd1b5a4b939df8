"""How a study in simulated time is searched, and what studies can know before trial 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmtuna.spaces.parameter import Params
from mmtuna.spaces.portfolio import Earlier
from mmtuna.spaces.prior import Prior
from mmtuna.spaces.trials import COLLAPSE_STOPS, LAST_STEP
from mmtuna.studies.strategy.pruning import collapse_stops

PLAIN = "optuna"
"""As sampler and pruner: what Optuna takes where nobody says anything, TPESampler() and MedianPruner()."""
KNOWLEDGE = ("portfolio", "warm", "prior")
"""What a study may know before trial 1."""


@dataclass(frozen=True)
class Knows:
    """What studies can know before trial 1, by names that settings choose by: a portfolio, earlier trials, beliefs."""

    portfolio: Mapping[str, Sequence[Params]] = field(default_factory=dict)
    warm: Mapping[str, Sequence[Earlier]] = field(default_factory=dict)
    prior: Mapping[str, Mapping[str, Prior]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a study is searched: names as in `[study]`, or "optuna" for both; `evaluations` is what the pruner expects.
    The pruner may also be a candidate (`mmtuna.search.simulation.candidates`).

    The budget is `trials` finished ones, or where they are given training `iterations` or `seconds` in all. Of it
    `confirm`, 0 to 1, trains the best configs once more. With `stop` it ends where nothing better is to be expected.
    """

    sampler: str
    pruner: str
    workers: int
    trials: int
    iterations: int | None = None
    seconds: float | None = None
    evaluations: int = 5
    collapse: int = COLLAPSE_STOPS
    """The step from which on a trial that has collapsed is stopped; 100 stops none."""
    portfolio: str = ""
    """What it knows before trial 1, of `Knows`; none where this is empty. So for the others."""
    warm: str = ""
    prior: str = ""
    confirm: float = 0.0
    stop: bool = False
    noise: float = 0.0
    """Standard deviation by which seeds alone change the metric of a training that has not collapsed: what was recorded
    is taken for the mean of its config then, and a trial is told to be something else. Not where answers are
    alike, whose further trainings are told as recorded."""

    def __str__(self) -> str:
        who = "plain Optuna" if self.sampler == PLAIN else f"{self.sampler} + {self.pruner}"
        stops = f"collapses stopped from {self.collapse} %" if self.collapse < LAST_STEP else "no collapse stopped"
        stops = "" if self.sampler == PLAIN or self.collapse == collapse_stops(self.pruner) else f", {stops}"
        known = "".join(f", {part} {name}" for part in KNOWLEDGE if (name := getattr(self, part)))
        ends = f", {self.confirm:.0%} to confirm" * (self.confirm > 0) + ", stops by itself" * self.stop
        return f"{who}, {self.workers} worker{'s' * (self.workers > 1)}{stops}{known}{ends}"

    def plain(self) -> Setting:
        """Plain Optuna at the same workers and budget, which knows of no collapse, and nothing else."""
        nothing: dict[str, Any] = dict.fromkeys(KNOWLEDGE, "")
        return replace(self, sampler=PLAIN, pruner=PLAIN, collapse=LAST_STEP, confirm=0.0, stop=False, **nothing)
