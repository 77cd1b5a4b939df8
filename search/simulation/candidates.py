"""Pruners that no study has: simulated studies are searched with them, to find out what would serve.

By names with what they are told, such as "median:4:0.2", which `Setting.pruner` takes beside those of `[study]`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, MedianPruner, NopPruner, PatientPruner, PercentilePruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.trials import LAST_STEP
from mmtuna.studies.strategy.pruning import COMPARED, BestOfAll

Trial = TypeVar("Trial")
_NARROWEST, _FAR = 0.01, 1e-3
"""The least deviation of curves that are told apart by, a fraction; the weight of the farthest curve."""


def _median(startup: float, warmup: float) -> BasePruner:
    return MedianPruner(int(startup), round(LAST_STEP * warmup), n_min_trials=COMPARED)


def _percentile(best: float, startup: float, warmup: float) -> BasePruner:
    return PercentilePruner(best, int(startup), round(LAST_STEP * warmup), n_min_trials=COMPARED)


def _patient(patience: float, startup: float, warmup: float) -> BasePruner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PatientPruner(_median(startup, warmup), int(patience))


def _asha(factor: float) -> BasePruner:  # noqa: ARG001  `Rungs` stops its trials
    return NopPruner()


def _started(best: float, startup: float, warmup: float) -> BasePruner:
    return BestOfAll(best / 100, int(startup), round(LAST_STEP * warmup))


class Extrapolation(BasePruner):
    """Stops a trial whose curve, gone on with as those of the complete trials went on from there, beats the best one
    with odds below `odds`, once `startup` trials are complete.

    A plain stand-in for freeze-thaw (Swersky et al. 2014): what is to come of a curve is what came of the study's other
    curves, each weighed by how near it was at this step, in deviations of all of them there.
    """

    def __init__(self, startup: int, odds: float) -> None:
        self._startup, self._odds = startup, odds

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if step is None or len(complete) < self._startup:
            return False
        pairs = [(one.intermediate_values[step], one.value) for one in complete if step in one.intermediate_values]
        if len(pairs) < COMPARED:
            return False
        then, final = np.array(pairs, dtype=float).T
        now = trial.intermediate_values[step]
        weights = np.exp(-0.5 * ((then - now) / max(float(then.std()), _NARROWEST)) ** 2) + _FAR
        better = now + final - then > final.max()
        # As if one more curve had got better and one had not: of few trials nothing is certain.
        return bool((weights[better].sum() + weights.max() / 2) / (weights.sum() + weights.max()) < self._odds)


def _extrapolation(startup: float, odds: float) -> BasePruner:
    return Extrapolation(int(startup), odds)


KINDS: Mapping[str, tuple[int, Callable[..., BasePruner]]] = {
    "median": (2, _median),
    "percentile": (3, _percentile),
    "patient": (3, _patient),
    "asha": (1, _asha),
    "started": (3, _started),
    "extrapolate": (2, _extrapolation),
}
"""By kind how many figures follow its name: trials before it begins, share of a trial (0 to 1) that it leaves alone;
before these the percent of trials that go on, of complete ones or ("started") of all, or the evaluations in a row
without a better one that a trial is allowed. Of "asha" the factor by which fewer trials go on from rung to rung,
2 or more; of "extrapolate" trials before it begins and the odds below which it stops one."""


def candidate(name: str) -> BasePruner | None:
    """The pruner of that name; None for a name without figures, which is one of `[study]`.

    InputError for other figures than the kind takes.
    """
    kind, *figures = name.split(":")
    if not figures:
        return None
    wanted, make = KINDS.get(kind, (0, None))
    try:
        numbers = [float(figure) for figure in figures]
    except ValueError:
        numbers = []
    if make is None or len(numbers) != wanted:
        known = ", ".join(f"{one}{':NUMBER' * count}" for one, (count, _) in KINDS.items())
        raise InputError(f"pruner {name!r} is no candidate; use {known}")
    return make(*numbers)


@dataclass
class Rungs(Generic[Trial]):
    """Asynchronous successive halving whose trials wait (ASHA, Li et al. 2020, algorithm 2).

    After its 1st, `factor`-th, `factor`^2-th, ... evaluation a trial goes on if it is among the best 1 in `factor` that
    came so far. Else it waits, with its checkpoint, and goes on once others that did worse make it one of them.
    """

    factor: int
    places: tuple[int, ...]
    _values: dict[int, list[float]] = field(default_factory=dict)
    _gone_on: dict[int, int] = field(default_factory=dict)
    _waiting: dict[int, list[tuple[float, Trial]]] = field(default_factory=dict)

    @classmethod
    def of(cls, pruner: str, evaluations: int) -> Rungs[Trial] | None:
        """The rungs of a trial of so many evaluations; None for a pruner that is not "asha:FACTOR"."""
        kind, _, factor = pruner.partition(":")
        if kind != "asha":
            return None
        places, place = [], 1
        while place < evaluations:
            places.append(place)
            place *= int(factor)
        return cls(int(factor), tuple(places))

    def passes(self, place: int, value: float, trial: Trial) -> bool:
        """Whether a trial goes on at once after so many evaluations, as all do between rungs; if not, it waits."""
        if place not in self.places:
            return True
        self._values.setdefault(place, []).append(value)
        self._waiting.setdefault(place, []).append((value, trial))
        if self._best(place) != (value, trial):
            return False
        self._go_on(place)
        return True

    def next(self) -> Trial | None:
        """The trial that goes on, of the highest rung that has one."""
        for place in reversed(self.places):
            if self._best(place) is not None:
                return self._go_on(place)
        return None

    def _best(self, place: int) -> tuple[float, Trial] | None:
        """The best of those that wait, if the best 1 in `factor` are more than have gone on."""
        waiting = self._waiting.get(place)
        if not waiting or len(self._values[place]) // self.factor <= self._gone_on.get(place, 0):
            return None
        found = max(waiting, key=lambda entry: entry[0])
        higher = sum(value > found[0] for value in self._values[place])
        return found if higher < len(self._values[place]) // self.factor else None

    def _go_on(self, place: int) -> Trial:
        found = max(self._waiting[place], key=lambda entry: entry[0])
        self._waiting[place].remove(found)
        self._gone_on[place] = self._gone_on.get(place, 0) + 1
        return found[1]
