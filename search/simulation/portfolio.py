"""A portfolio from recorded studies: a few configs of which on every data set one does well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mmtuna.search.simulation.likeness import Figures
from mmtuna.search.simulation.pool import Pool
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Params
from mmtuna.studies.standing import params_key

SIZE = 7
"""How many configs a portfolio has."""


@dataclass(frozen=True)
class Chosen:
    """A config of a portfolio: by data set its recorded value, and its normalised regret (0: the best there was)."""

    params: Params
    values: Mapping[str, float]
    regrets: Mapping[str, float]


def choose(pools: Mapping[str, Pool], size: int = SIZE) -> list[Chosen]:
    """Greedily, of the params that were recorded on every set: each time those that lower most the mean over the sets
    of the regret of the best that was chosen (Feurer et al. 2022); where several do, those that are best by themselves.

    Regrets are normalised on each set: 0 the best recorded value, 1 the worst, and 1 what diverged. InputError where no
    params were recorded on every set.
    """
    tables = {
        name: {params_key(trial.params): place for place, trial in enumerate(pool.trials)}
        for name, pool in pools.items()
    }
    first = next(iter(pools.values()))
    common = [
        key for key in (params_key(trial.params) for trial in first.trials) if all(key in t for t in tables.values())
    ]
    if not common:
        raise InputError("no params were recorded on every one of these sets; record the same ones on each")
    places = {name: [table[key] for key in common] for name, table in tables.items()}
    regrets = np.array([_regrets(pool)[places[name]] for name, pool in pools.items()]).T
    alone, best = regrets.mean(axis=1), np.ones(len(pools))
    left, found = list(range(len(common))), list[int]()
    while left and len(found) < size:
        place = min(left, key=lambda at: (np.minimum(best, regrets[at]).mean(), alone[at], at))
        best = np.minimum(best, regrets[place])
        left.remove(place)
        found.append(place)
    return [
        Chosen(
            params=first.trials[tables[next(iter(pools))][common[place]]].params,
            values={name: float(pool.values[places[name][place]]) for name, pool in pools.items()},
            regrets=dict(zip(pools, map(float, regrets[place]), strict=True)),
        )
        for place in found
    ]


def _regrets(pool: Pool) -> Figures:
    worst, best = np.nanmin(pool.values), pool.best
    scaled = (best - pool.values) / (best - worst if best > worst else 1.0)
    found: Figures = np.nan_to_num(scaled, nan=1.0)
    return found
