"""Recorded trials for the tests of simulated studies, made by the replay's own formula."""

from __future__ import annotations

from dataclasses import replace

import optuna
from optuna.samplers import RandomSampler

from mmtuna.objectives.outcome import Evaluation, TrialOrder
from mmtuna.objectives.recorded import Recorded
from mmtuna.objectives.replay import generate
from mmtuna.search.simulation.pool import Pool
from mmtuna.search.trials.conclude import Scoring
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.presets import extended
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.trials import Cause

CLOSING = 2.0
"""Seconds of each recorded trial beside its training."""


def recorded(params: Params, number: int = 0) -> Recorded:
    curve = generate(TrialOrder(number=number, params=params, seed=0), "mIoU")
    return Recorded(params=params, curve=curve, seconds=curve[-1].seconds + CLOSING, iterations=curve[-1].iteration)


def diverged(trial: Recorded, evaluations: int) -> Recorded:
    """The trial as it would be if its loss became NaN after so many evaluations."""
    curve: tuple[Evaluation, ...] = trial.curve[:evaluations]
    iterations = curve[-1].iteration + 1 if curve else 1
    return replace(trial, curve=curve, cause=Cause.DIVERGED, iterations=iterations, seconds=0.2 * iterations + CLOSING)


def random_pool(trials: int = 60, space: SearchSpace | None = None) -> Pool:
    """Random trials of the extended preset, or of another space."""
    space = space or extended()
    study = optuna.create_study(sampler=RandomSampler(seed=4242))
    return Pool(space, [recorded(space.suggest(study.ask()), number) for number in range(trials)], Scoring("mIoU"))
