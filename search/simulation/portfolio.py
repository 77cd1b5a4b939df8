"""A portfolio from recorded studies: a few configs of which on every data set one does well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from mmtuna.search.simulation.likeness import Figures, trainings_of
from mmtuna.search.simulation.pool import Pool
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.portfolio import adapted, rebalanced
from mmtuna.studies.standing import params_key

SIZE = 7
"""How many configs a portfolio has."""


@dataclass(frozen=True)
class Chosen:
    """A config of a portfolio: by data set its recorded value, and its normalised regret (0: the best there was).

    `odds` are those of the set on which it did best (`mmtuna.spaces.portfolio.odds_of`).
    """

    params: Params
    values: Mapping[str, float]
    regrets: Mapping[str, float]
    odds: float

    def at(self, odds: float) -> Params:
        """Its params on data of these odds."""
        return rebalanced(self.params, self.odds, odds)

    def searching(self, pool: Pool) -> Params:
        """Its params as a study of `pool` begins with them, which was recorded in the same space."""
        found = adapted(self.at(pool.odds), pool.space, {})
        assert found is not None  # all its choices are of that space
        return found


def choose(pools: Mapping[str, Pool], size: int = SIZE) -> list[Chosen]:
    """Greedily, of the params that were recorded on every set: each time those that lower most the mean over the sets
    of the regret of the best that was chosen (Feurer et al. 2022); where several do, those that are best by themselves.

    What was recorded more than once counts by its mean. Regrets are normalised on each set: 0 the best such value, 1
    the worst, and 1 what diverged. InputError where no params were recorded on every set.
    """
    tables = {name: means_of(pool) for name, pool in pools.items()}
    params = {params_key(trial.params): trial.params for trial in next(iter(pools.values())).trials}
    common = [key for key in params if all(key in table for table in tables.values())]
    if not common:
        raise InputError("no params were recorded on every one of these sets; record the same ones on each")
    regrets = np.array([_regrets(table, common) for table in tables.values()]).T
    alone, best = regrets.mean(axis=1), np.ones(len(pools))
    left, found = list(range(len(common))), list[int]()
    while left and len(found) < size:
        place = min(left, key=lambda at: (np.minimum(best, regrets[at]).mean(), alone[at], at))
        best = np.minimum(best, regrets[place])
        left.remove(place)
        found.append(place)
    names = list(pools)
    return [
        Chosen(
            params=params[common[place]],
            values={name: table[common[place]] for name, table in tables.items()},
            regrets=dict(zip(names, map(float, regrets[place]), strict=True)),
            odds=pools[names[int(regrets[place].argmin())]].odds,
        )
        for place in found
    ]


def means_of(pool: Pool) -> dict[str, float]:
    """The mean value of each config; NaN where a training of it diverged."""
    trainings = trainings_of([trial.params for trial in pool.trials])
    return {key: fmean(pool.values[places]) for key, places in trainings.items()}


def _regrets(means: Mapping[str, float], wanted: Sequence[str]) -> Figures:
    worst, best = np.nanmin(list(means.values())), np.nanmax(list(means.values()))
    scaled = (best - np.array([means[key] for key in wanted])) / (best - worst if best > worst else 1.0)
    found: Figures = np.nan_to_num(scaled, nan=1.0)
    return found
