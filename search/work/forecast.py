"""What a study will take on this machine: seconds an iteration, a trial and in all, and a trial's memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from mmtuna.search.checking.costs import Costs, draw, measure_costs
from mmtuna.search.checking.preparation import Preparation
from mmtuna.search.work.worker import Slot
from mmtuna.studies.report.wording import count

BETWEEN = 0.3
"""Seconds between two trials of a slot: the end of the one is stored and drawn, the next one is asked for."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A figure over the space: that of the middle one of its params, the least and the most."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Figures over the space: `iteration` and `trial` in seconds, `memory` of a trial in bytes, `mean` of `trial`.

    For `slots` trials at a time on `device`, or on several such, of trials that are trained to their end.
    """

    iteration: Span
    trial: Span
    memory: Span
    mean: float
    slots: int
    device: str
    costs: Costs

    def study(self, trials: int) -> tuple[float, float]:
        """Seconds of so many trials that are all trained to their end: as their params fall, and all like the longest.

        What a pruner saves of that is not foreseen.
        """
        rounds = max(1.0, trials / self.slots) if trials else 0.0
        return rounds * (self.mean + BETWEEN), rounds * (self.trial.most + BETWEEN)

    def lines(self, trials: int, *, pruned: bool) -> list[str]:
        """The forecast for a person; `trials` are still to be trained, `pruned` says whether there is a pruner."""
        where = f"on {self.device}" + (f", {self.slots} at a time" if self.slots > 1 else "")
        each = (
            f"forecast: an iteration takes {_spoken(self.iteration, duration)}, a trial "
            f"{_spoken(self.trial, duration)} and {_spoken(self.memory, size)} of memory, {where}"
        )
        if not trials:
            return [each]
        usual, most = (duration(seconds) for seconds in self.study(trials))
        spoken = f"about {usual}" + (f", {most} if all were like the longest" if most != usual else "")
        less = "; pruning makes it less" if pruned and trials > 1 else ""
        return [each, f"forecast: {count(trials, 'trial')} take{'s' * (trials == 1)} {spoken}{less}"]

    def document(self, trials: int) -> dict[str, Any]:
        """The forecast as JSON data: seconds, bytes, and the study's seconds (expected, most) for `trials` trials."""
        expected, most = self.study(trials)
        return {
            "iteration_seconds": asdict(self.iteration),
            "trial_seconds": asdict(self.trial),
            "trial_memory_bytes": asdict(self.memory),
            "trials": trials,
            "slots": self.slots,
            "study_seconds": {"expected": expected, "most": most},
            "measured": len(self.costs.measured),
        }


def forecast(ready: Preparation, slots: Sequence[Slot], *, quick: bool = False) -> Forecast:
    """The forecast for a preparation without problems. InputError where a trial fails when it is measured.

    `quick`: from the usual combination alone where no more is known.
    """
    beside = sum(slot.device == slots[0].device for slot in slots)
    drawn = draw(ready.dry_objective(), ready.space)
    costs = measure_costs(ready, drawn, threads=slots[0].threads, beside=beside, quick=quick)
    of_all = [(costs.of(extent), extent) for extent in drawn.extents]
    trials = [len(ready.folds) * cost.seconds(extent) for cost, extent in of_all]
    chance = drawn.by_chance

    def span(figures: Sequence[float]) -> Span:
        return Span(median=median(figures[:chance]), least=min(figures), most=max(figures))

    return Forecast(
        iteration=span([cost.iteration for cost, _ in of_all]),
        trial=span(trials),
        memory=span([cost.memory for cost, _ in of_all]),
        mean=fmean(trials[:chance]),
        slots=len(slots),
        device=slots[0].device,
        costs=costs,
    )


def _spoken(span: Span, unit: Any) -> str:
    least, usual, most = (unit(figure) for figure in (span.least, span.median, span.most))
    return usual if least == most else f"{usual} ({least} to {most})"


def duration(seconds: float) -> str:
    """`seconds` in a few figures: 3.6 ms, 120 ms, 1.4 s, 35 s, 12 min, 3.4 h."""
    if seconds < 1:
        return f"{1000 * seconds:.{1 if seconds < 0.01 else 0}f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.3g} h"


def size(count: float) -> str:
    """Bytes in MiB or GiB."""
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
