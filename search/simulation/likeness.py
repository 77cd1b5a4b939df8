"""Which recorded trials are alike in what comes of them: where most parameters hardly matter, distances say little."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from mmtuna.spaces.parameter import Value
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.standing import params_key
from mmtuna.studies.statistics.seeds import noise_floor
from mmtuna.studies.strategy.foretelling import points
from mmtuna.studies.strategy.warming import ranked

TREES = 300
NEAR = 4
"""Trainings with a known further one that say what comes of a further one of another config: those of the nearest
values. As many configs have to be trained twice for that."""
_BEST = 1 / 3

Figures = NDArray[np.float64]


@dataclass(frozen=True)
class Repeats:
    """How far one training can be trusted: of `configs` that were trained more than once the standard deviation that
    seeds make, pooled (`sd`), and of the third whose means are best (`sd_best`)."""

    configs: int
    sd: float
    sd_best: float


def trainings_of(sets: Sequence[Mapping[str, Value]]) -> dict[str, list[int]]:
    """The places of all that have the same params, by `params_key`."""
    found: dict[str, list[int]] = {}
    for place, params in enumerate(sets):
        found.setdefault(params_key(params), []).append(place)
    return found


class Likeness:
    """A random forest (Breiman 2001) of the ranks of what came of some configs: those in a leaf are alike.

    A config is all trainings of the same params, and to the forest their mean. Those that were trained more than once
    say what seeds change. Trees are seeded: the same trainings give the same ones.

    Args:
        sets: the params of each training.
        values: what came of it; NaN is worse than all, and counts as 0.
    """

    def __init__(self, space: SearchSpace, sets: Sequence[Mapping[str, Value]], values: Figures) -> None:
        from sklearn.ensemble import RandomForestRegressor

        self._space, self._values = space, np.nan_to_num(values)
        self._configs = list(trainings_of(sets).values())
        self._several = [places for places in self._configs if len(places) > 1]
        self._twice = [pair for places in self._configs for pair in permutations(places, 2)]
        means = [fmean(self._values[places]) for places in self._configs]
        self._means: Figures = np.array(means)
        found = points(space, [sets[places[0]] for places in self._configs])
        nothing = [bool(np.isnan(values[places]).all()) for places in self._configs]
        ranks = ranked([-math.inf if lost else mean for lost, mean in zip(nothing, means, strict=True)])
        forest = RandomForestRegressor(TREES, max_features=0.5, random_state=0).fit(found, ranks)
        self._trees = [tree.tree_ for tree in forest.estimators_]
        self._leaves = forest.apply(found)
        self._unseen = np.ones(self._leaves.shape, bool)
        for tree, seen in enumerate(forest.estimators_samples_):
            self._unseen[seen, tree] = False

    def repeats(self) -> Repeats | None:
        """What seeds change; None where too few configs were trained more than once."""
        values = sorted((self._values[places].tolist() for places in self._several), key=fmean, reverse=True)
        best = values[: math.ceil(_BEST * len(values))]
        whole, of_best = noise_floor(values), noise_floor(best)
        if len(values) < NEAR or whole is None or of_best is None:
            return None
        return Repeats(len(values), whole.sd, of_best.sd)

    def draw(self, params: Mapping[str, Value], seed: int, times: int = 0) -> int:
        """What the training of `params` comes to that is done after so many `times`: the place of a training, by
        chance, which is the same for the same params, seed and `times`.

        The first is one of a config in the leaf of a tree, so that over seeds both mean and spread are the forest's (a
        quantile regression forest, Meinshausen 2006). A further one is the other training of a config of which one
        came to about the same as the first; where too few were trained twice, one that is drawn like the first.
        """
        first = self._alike(params, self._chance(params, seed))
        if not times:
            return first
        chance = self._chance(params, seed, times)
        further = self._further(first)
        return chance.choice(further) if further else self._alike(params, chance)

    def expected(self, params: Mapping[str, Value], seed: int) -> float:
        """The mean of what further trainings of `params` can be told to come to by `seed`."""
        further = self._further(self._alike(params, self._chance(params, seed)))
        if further:
            return fmean(self._values[further])
        point = self._point(params)
        alike = self._leaves == [tree.apply(point)[0] for tree in self._trees]
        return float((alike / alike.sum(axis=0)).mean(axis=1) @ self._means)

    def held_out(self, place: int) -> int:
        """As `draw`, of one of the trainings itself: one of another config, by a tree that was grown without it."""
        chance = random.Random(place)
        config = next(config for config, places in enumerate(self._configs) if place in places)
        for tree in chance.sample(range(len(self._trees)), len(self._trees)):
            others = np.flatnonzero(self._leaves[:, tree] == self._leaves[config, tree])
            others = others[others != config]
            if self._unseen[config, tree] and len(others):
                return chance.choice(self._configs[int(chance.choice(others))])
        return place

    def _alike(self, params: Mapping[str, Value], chance: random.Random) -> int:
        """A training of a config in the leaf of `params` of a tree, all by chance."""
        tree = chance.randrange(len(self._trees))
        leaf = self._trees[tree].apply(self._point(params))[0]
        return chance.choice(self._configs[int(chance.choice(np.flatnonzero(self._leaves[:, tree] == leaf)))])

    def _further(self, first: int) -> list[int]:
        """What may come of a further training of a config whose `first` is that; nothing where that is not known."""
        if len(self._several) < NEAR:
            return []
        value = self._values[first]
        near = sorted(self._twice, key=lambda pair: abs(self._values[pair[0]] - value))
        return [other for _, other in near[:NEAR]]

    def _chance(self, params: Mapping[str, Value], *seeds: int) -> random.Random:
        return random.Random(f"{seeds} {json.dumps(dict(params), sort_keys=True)}")

    def _point(self, params: Mapping[str, Value]) -> NDArray[np.float32]:
        return points(self._space, [params]).astype(np.float32)
