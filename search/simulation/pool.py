"""Recorded trials as points of a space: which is near to a proposal, and how well the near ones foretell each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmtuna.objectives.outcome import Evaluation
from mmtuna.objectives.recorded import Recorded, odds_of_recorded
from mmtuna.search.simulation.likeness import Figures, Likeness, Repeats
from mmtuna.search.trials.conclude import Scoring, has_collapsed
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Float, Int, Parameter, Value, share_of
from mmtuna.spaces.portfolio import rebalanced
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.trials import LAST_STEP
from mmtuna.studies.strategy.warming import Drawn, Warmth, warmth_of

Answers = Literal["recorded", "nearest", "blend", "alike"]
BLENDED = 5
"""How many recorded trials a blended answer is made of."""


@dataclass(frozen=True)
class HeldOut:
    """How well each recorded trial's value is foretold by the others: what an answer that was made up is worth.

    `answered` is the share of trials for which there was an answer, `error` the mean absolute error of these, `guess`
    that of saying the mean of all for each, `ranks` Spearman's correlation of foretold and true values.
    """

    answered: float
    error: float
    guess: float
    ranks: float


@dataclass(frozen=True)
class Collapses:
    """How many trials had found none of a class at any evaluation up to `step`, and how many did where it counts."""

    step: int
    trials: int
    came_back: int


class Pool:
    """Recorded trials of a space.

    Distances are Gower's (1971), from 0 to 1: the mean over the parameters that one side or the other has. A number
    counts by its difference over the parameter's range, on its own scale, any other parameter 0 or 1, and 1 one that
    exists on one side only.

    Args:
        recorded: those whose params the space does not hold are left out; InputError where none is left.
    """

    def __init__(self, space: SearchSpace, recorded: Sequence[Recorded], scoring: Scoring) -> None:
        self.space, self.scoring = space, scoring
        # Without the counts of every image, which nobody asks for here: they would go to every process.
        self.trials = [_without_images(trial) for trial in recorded if space.contains(trial.params)]
        self.left_out = len(recorded) - len(self.trials)
        values = [self.value(trial) for trial in self.trials]
        self.values: Figures = np.array([math.nan if value is None else value for value in values])
        if not np.isfinite(self.values).any():
            why = space.why_not(recorded[0].params) if recorded else "there is none"
            raise InputError(
                f"no recorded trial that was trained to its end fits [space] ({why}); take the spec that they were "
                "recorded with"
            )
        self._numbers = np.array([isinstance(parameter, Int | Float) for parameter in space])
        self._points = np.array([self._point(trial.params) for trial in self.trials])

    @property
    def best(self) -> float:
        """The highest value that was recorded."""
        return float(np.nanmax(self.values))

    @cached_property
    def odds(self) -> float:
        """Background pixels for one of all other classes, as labelled where the trials were evaluated; 1 where no trial
        tells."""
        return odds_of_recorded(self.trials)

    def proposing(self, space: SearchSpace) -> Pool:
        """The same trials, whose forest answers what is proposed of a part of their space."""
        found = copy(self)
        found.likeness = self.likeness
        found.space = space
        return found

    def value(self, trial: Recorded) -> float | None:
        """What a recorded trial is worth to the study; None for one that diverged."""
        return self.scoring.value_of_recorded(trial)

    def warmth(self, name: str, settings: Mapping[str, Value], odds: float) -> Warmth:
        """What the recorded trials are as an earlier study, to one on data of these `odds`; `settings` as of
        `warmth_of`."""
        drawn = [Drawn(rebalanced(trial.params, self.odds, odds), self.value(trial)) for trial in self.trials]
        return warmth_of(name, drawn, self.space, settings)

    def distances(self, params: Mapping[str, Value]) -> Figures:
        """From `params` to each recorded trial."""
        point = np.array(self._point(params))
        missing, theirs = np.isnan(point), np.isnan(self._points)
        apart = np.where(self._numbers, np.minimum(np.abs(self._points - point), 1.0), self._points != point)
        apart = np.where(missing | theirs, 1.0, apart)
        either: NDArray[np.bool_] = ~(missing & theirs)
        total: Figures = np.where(either, apart, 0.0).sum(axis=1) / either.sum(axis=1)
        return total

    def answer(
        self, params: Mapping[str, Value], answers: Answers, within: float, seed: int = 0, times: int = 0
    ) -> Recorded | None:
        """What is told of `params`: the nearest trial's curve, a blend of the nearest ones', or that of one that is
        alike in the world `seed`, and by how many `times` these were trained before.

        None where none lies `within` that distance. Iterations and seconds are scaled to the iterations of `params`.
        """
        if answers == "alike":
            alike = _scaled(self.trials[self.likeness.draw(params, seed, times)], params)
            return replace(alike, params=dict(params))
        return self._answer(params, self.distances(params), answers, within)

    def worth(self, params: Mapping[str, Value], told: float, answers: Answers, seed: int = 0) -> float:
        """What `params` are worth of which a training was `told`: that, but where answers are alike, and one training
        may have been lucky, the mean of all that can be told of them by `seed`, 0 of what diverged."""
        return self.likeness.worth(params, seed) if answers == "alike" else told

    def most(self, answers: Answers) -> float:
        """The most that any params can be worth."""
        return self.likeness.best if answers == "alike" else self.best

    def repeats(self) -> Repeats | None:
        """What seeds change of a config's value; None where too few were recorded more than once."""
        return self.likeness.repeats()

    @cached_property
    def likeness(self) -> Likeness:
        """The forest of all trials, grown once."""
        return Likeness(self.space, [trial.params for trial in self.trials], self.values)

    def _answer(
        self, params: Mapping[str, Value], distances: Figures, answers: Answers, within: float
    ) -> Recorded | None:
        nearest = int(np.argmin(distances))
        if distances[nearest] > within:
            return None
        found = self.trials[nearest]
        # A loss that became NaN mixes with nothing.
        if answers == "blend" and found.cause is None:
            found = self._blended(distances)
        return _scaled(found, params)

    def _blended(self, distances: Figures) -> Recorded:
        """The curve of the nearest trial with the metrics of the nearest ones, each weighed by 1 / distance^2."""
        usable = np.where(np.isfinite(self.values), distances, np.inf)
        chosen = [int(place) for place in np.argsort(usable, kind="stable")[:BLENDED] if np.isfinite(usable[place])]
        weights = 1 / (usable[chosen] + 0.01) ** 2
        weights /= weights.sum()
        nearest = self.trials[chosen[0]]
        steps = [evaluation.step for evaluation in nearest.curve]
        metrics = {
            name: weights @ np.array([_along(self.trials[place].curve, name, steps) for place in chosen])
            for name in nearest.curve[-1].metrics
        }
        curve = tuple(
            replace(evaluation, metrics={name: float(metrics[name][place]) for name in metrics}, counts=None, images=())
            for place, evaluation in enumerate(nearest.curve)
        )
        return replace(nearest, curve=curve)

    def held_out(self, answers: Answers, within: float) -> HeldOut:
        """Each trial's value by those of other params alone."""
        foretold, true = [], []
        ended = np.flatnonzero(np.isfinite(self.values))
        for place in ended:
            distances = self.distances(self.trials[place].params)
            distances[distances == 0] = np.inf  # itself, and what else was trained with its params
            if answers == "alike":
                other = self.likeness.held_out(int(place))
                answer = None if other is None else self.trials[other]
            else:
                answer = self._answer(self.trials[place].params, distances, answers, within)
            value = None if answer is None else self.value(answer)
            if value is not None:
                foretold.append(value)
                true.append(self.values[place])
        if not true:
            return HeldOut(0.0, math.nan, math.nan, math.nan)
        error = np.abs(np.array(foretold) - np.array(true)).mean()
        guess = np.abs(np.array(true) - self.values[ended].mean()).mean()
        return HeldOut(len(true) / len(ended), float(error), float(guess), _ranks(foretold, true))

    def collapses(self) -> list[Collapses]:
        """At each evaluation, how many recorded trials had found nothing yet, and how many of these did."""
        found: dict[int, list[bool]] = {}
        for trial in self.trials:
            back = not has_collapsed(self.scoring.counting(trial.curve))
            for evaluation in takewhile(has_collapsed, trial.curve if trial.cause is None else ()):
                found.setdefault(evaluation.step, []).append(back)
        return [Collapses(step, len(backs), sum(backs)) for step, backs in sorted(found.items())]

    def _point(self, params: Mapping[str, Value]) -> list[float]:
        return [_place(parameter, params.get(parameter.name)) for parameter in self.space]


def thinned(trial: Recorded, evaluations: int) -> Recorded:
    """The trial as if it had been evaluated so often: of its evaluations the first at or after each even share.

    The seconds stay those of all evaluations.
    """
    steps = [LAST_STEP * place / evaluations for place in range(1, evaluations + 1)]
    kept = {min((p for p, at in enumerate(trial.curve) if at.step >= step), default=None) for step in steps}
    return replace(trial, curve=tuple(evaluation for place, evaluation in enumerate(trial.curve) if place in kept))


def _without_images(trial: Recorded) -> Recorded:
    return replace(trial, curve=tuple(replace(evaluation, images=()) for evaluation in trial.curve))


def _place(parameter: Parameter, value: Value | None) -> float:
    """Where a value stands: a number between 0 and 1 over its range, a choice by its index; NaN where it has none."""
    if value is None:
        return math.nan
    if not isinstance(parameter, Int | Float):
        return float((parameter.values() or []).index(value))
    return share_of(parameter, float(value))


def _along(curve: Sequence[Evaluation], metric: str, steps: Sequence[int]) -> Figures:
    known = [(evaluation.step, evaluation.metrics[metric]) for evaluation in curve if metric in evaluation.metrics]
    if not known:  # a class that stood nowhere
        return np.zeros(len(steps))
    at, values = zip(*known, strict=True)
    found: Figures = np.interp(steps, at, values)
    return found


def _scaled(trial: Recorded, params: Mapping[str, Value]) -> Recorded:
    """The trial's curve at the cost of a training of the iterations of `params`, where both say how many these are."""
    own, wanted = trial.params.get("iterations"), params.get("iterations")
    if not own or not wanted or own == wanted:
        return trial
    factor = float(wanted) / float(own)
    curve = tuple(
        replace(point, iteration=max(1, round(point.iteration * factor)), seconds=point.seconds * factor)
        for point in trial.curve
    )
    return replace(
        trial, curve=curve, seconds=trial.seconds * factor, iterations=max(1, round(trial.iterations * factor))
    )


def _ranks(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Spearman's rank correlation; NaN where either side knows one rank alone."""
    from scipy.stats import rankdata

    one, other = rankdata(ours), rankdata(theirs)
    if len(set(one)) < 2 or len(set(other)) < 2:
        return math.nan
    return float(np.corrcoef(one, other)[0, 1])
