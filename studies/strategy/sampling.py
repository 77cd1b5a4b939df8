"""Samplers by name, and the one that draws whole sets of params and knows what the study has seen."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Params, Value
from mmtuna.spaces.portfolio import Earlier
from mmtuna.spaces.prior import Prior
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.standing import standing_of
from mmtuna.studies.storage.optuna_insides import enqueued_params, whole_study
from mmtuna.studies.strategy.foretelling import WarmSampler
from mmtuna.studies.strategy.warming import BELIEVED, SamplerBefore, drawn_before, is_heeded

REDRAWS = 20


LEARNING = ("tpe", "gp")
"""The samplers that learn of a study's trials."""


def sampler_name(table: StudyTable, space: SearchSpace) -> str:
    """The sampler that `[study]` means: `auto` is grid where the whole grid fits into the trials, else tpe."""
    if table.sampler != "auto":
        return table.sampler
    count = space.count()
    return "grid" if count is not None and count <= table.trials else "tpe"


def check_sampler(table: StudyTable, space: SearchSpace) -> None:
    """InputError where `[study]` asks for a grid and the space has none."""
    if sampler_name(table, space) == "grid":
        grid_cells(space)


def grid_cells(space: SearchSpace) -> list[Params]:
    """Every combination of `space`; InputError where it cannot be listed."""
    cells = space.cells() if space.count() is not None else None
    if cells is None:
        raise InputError(
            '[study] sampler = "grid": the space is continuous or beyond 100,000 cells; take tpe, or choices'
        )
    return cells


def build_sampler(
    table: StudyTable,
    space: SearchSpace,
    trials_so_far: int,
    worker: int = 0,
    *,
    priors: Mapping[str, Prior] | None = None,
    earlier: Sequence[Earlier] = (),
) -> BaseSampler:
    """The sampler of one worker.

    Its seed comes from the study's, the number of trials the study holds at the start, and the worker's ordinal (0, 1,
    ...): a continued study and a second worker would otherwise propose the same params again. "grid" draws at random
    among the cells not seen yet; `enqueuing.enqueue_grid` puts the cells in the queue. `priors` are what a person
    believes, and `earlier` what other studies found, which tpe alone heeds.
    """
    seed = int(np.random.SeedSequence([table.seed, trials_so_far, worker]).generate_state(1)[0])
    name = sampler_name(table, space)
    # A grid cell that failed is not among the seen ones, so redrawing tries it again.
    redraw = name == "grid" or table.duplicates == "redraw"
    base = _base(name, seed)
    if earlier and name == "tpe":
        base = WarmSampler(base, space, earlier, seed)
    return SpaceSampler(base, space, redraw=redraw, seed=seed, priors=priors)


def _base(name: str, seed: int) -> BaseSampler:
    if name == "tpe":
        with warnings.catch_warnings():
            # `group` is marked experimental; conditional spaces need it.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, warn_independent_sampling=False)
    if name in ("random", "grid"):
        return RandomSampler(seed=seed)
    raise InputError(f'[study] sampler = "{name}" is unknown; use auto, tpe, random, gp or grid')


class SpaceSampler(SamplerBefore):
    """Draws a complete set of params of `space` at once, proposed by `base`.

    With `redraw`, a set that a trial of the study already has (in any state but FAIL) is drawn again, up to 20 times;
    then any unseen combination is taken where the space can be counted, and the repeated one where it cannot or where
    none is left. Params that a trial was enqueued with pass untouched.

    Of what has a prior, some sets take values drawn from these in place of the proposed ones: the first takes what is
    believed as it is, and after n others, those drawn again included, a set does so with a chance of 5 / (5 + n). What
    came of them the sampler sees as of all others.
    """

    def __init__(
        self,
        base: BaseSampler,
        space: SearchSpace,
        *,
        redraw: bool = False,
        seed: int | None = None,
        priors: Mapping[str, Prior] | None = None,
    ) -> None:
        super().__init__(base)
        self._space = space
        self._redraw = redraw
        self._random = random.Random(seed)
        self._drawn, self._again = -1, 0
        held = {name: prior for name, prior in (priors or {}).items() if name in space}
        # A study whose preset moved goes on with the range that it was begun with.
        self._priors = {name: prior for name, prior in held.items() if space.parameter(name).contains(prior.value)}

    def __str__(self) -> str:
        return f"SpaceSampler({type(self.base).__name__})"

    def reseed_rng(self) -> None:
        super().reseed_rng()
        self._random.seed()

    def infer_relative_search_space(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        return self._space.distributions()

    def sample_relative(
        self,
        study: Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],  # noqa: ARG002
    ) -> dict[str, Any]:
        fixed = enqueued_params(trial) or {}
        params = self._draw(study, trial, fixed)
        if not self._redraw or fixed:
            return params
        standing = standing_of(whole_study(study))
        standing.look()
        for _ in range(REDRAWS):
            if not standing.takes(params, trial.number):
                return params
            params = self._draw(study, trial, fixed)
        if not standing.takes(params, trial.number) or self._space.count() is None:
            return params
        unseen = [cell for cell in self._space.cells() or [] if not standing.takes(cell, trial.number)]
        return self._random.choice(unseen) if unseen else params

    def _draw(self, study: Study, trial: FrozenTrial, fixed: Mapping[str, Value]) -> Params:
        relative = self.base.sample_relative(study, trial, self.base.infer_relative_search_space(study, trial))
        believed = self._believed(study, trial)
        params: Params = {}
        for parameter in self._space:
            if not parameter.exists(params):
                continue
            name = parameter.name
            if name in fixed:
                params[name] = fixed[name]
            elif name in believed:
                params[name] = believed[name]
            elif name in relative and parameter.contains(relative[name]):
                params[name] = parameter.settled(relative[name])
            else:
                drawn = self.base.sample_independent(study, trial, name, parameter.distribution)
                params[name] = parameter.settled(drawn)
        return params

    def _believed(self, study: Study, trial: FrozenTrial) -> Params:
        """Values of what has a prior, where this set is to take them; empty where it is not."""
        if not self._priors:
            return {}
        drawn = drawn_before(study, trial)
        # Of a set that was refused, as a repeated one or as one that takes too long, no more comes by saying it again.
        self._drawn, self._again = drawn, self._again + 1 if drawn == self._drawn else 0
        drawn += self._again
        if not drawn:
            return {name: prior.value for name, prior in self._priors.items()}
        if not is_heeded(drawn, BELIEVED, self._random):
            return {}
        return {name: prior.draw(self._space.parameter(name), self._random) for name, prior in self._priors.items()}
