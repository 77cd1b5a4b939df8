"""Which recorded trials are alike in what comes of them: where most parameters hardly matter, distances say little."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mmtuna.spaces.parameter import Value
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.standing import params_key
from mmtuna.studies.strategy.foretelling import points
from mmtuna.studies.strategy.warming import ranked

TREES = 300

Figures = NDArray[np.float64]


class Likeness:
    """A random forest (Breiman 2001) of the ranks of what came of some configs: those in a leaf are alike.

    A config is all trainings of the same params, and to the forest their mean; where they are several they say what
    seeds change (`luck`). Trees are seeded: the same trainings give the same ones.

    Args:
        sets: the params of each training.
        values: what came of it; NaN is worse than all, and counts as 0.
    """

    def __init__(self, space: SearchSpace, sets: Sequence[Mapping[str, Value]], values: Figures) -> None:
        from sklearn.ensemble import RandomForestRegressor

        self._space, self._values = space, np.nan_to_num(values)
        trainings: dict[str, list[int]] = {}
        for place, params in enumerate(sets):
            trainings.setdefault(params_key(params), []).append(place)
        self._configs = list(trainings.values())
        self._means: Figures = np.array([self._values[places].mean() for places in self._configs])
        found = points(space, [sets[places[0]] for places in self._configs])
        none = [bool(np.isnan(values[places]).all()) for places in self._configs]
        ranks = ranked([-math.inf if nothing else mean for nothing, mean in zip(none, self._means, strict=True)])
        forest = RandomForestRegressor(TREES, max_features=0.5, random_state=0).fit(found, ranks)
        self._trees = [tree.tree_ for tree in forest.estimators_]
        self._leaves = forest.apply(found)
        self._unseen = np.ones(self._leaves.shape, bool)
        for tree, seen in enumerate(forest.estimators_samples_):
            self._unseen[seen, tree] = False

    @cached_property
    def luck(self) -> float:
        """The chance of one training to come to what another config that is alike comes to: 0 where seeds change
        nothing, 1 where they change as much as such configs differ, or where no params were trained twice.

        Two trainings of a config are both its own with a chance of (1 - luck)^2, so that the share of the variance of
        what is alike that is due to seeds is 1 - (1 - luck)^2. It is measured over the configs that were trained more
        than once, what is alike to them by the trees that were grown without them.
        """
        seeds = alike = 0.0
        for config, places in enumerate(self._configs):
            if len(places) > 1:
                shares = self._shares(self._leaves[config], self._unseen[config])
                mean = shares @ self._means
                seeds += float(self._values[places].var(ddof=1))
                alike += float(shares @ (self._means - mean) ** 2 / (1 - shares @ shares + 1e-9))  # of few: unbiased
        return 1 - math.sqrt(1 - seeds / alike) if seeds < alike else 1.0

    def draw(self, params: Mapping[str, Value], seed: int, times: int = 0) -> int:
        """What the training of `params` comes to that is done after so many `times`: the place of a training that is
        alike, by chance, which is the same for the same params, seed and `times`.

        By `seed` the params are some config in their leaf of some tree, of which each training is one but for `luck`.
        So over seeds both mean and spread are the forest's (a quantile regression forest, Meinshausen 2006).
        """
        chance = self._chance(params, seed, times)
        whose = self._alike(params, chance) if chance.random() < self.luck else self._own(params, seed)
        return chance.choice(self._configs[whose])

    def expected(self, params: Mapping[str, Value], seed: int) -> float:
        """The mean of all trainings of `params` that can be drawn by `seed`."""
        alike = self._shares(self._leaves_of(params), np.ones(len(self._trees), bool)) @ self._means
        return float((1 - self.luck) * self._means[self._own(params, seed)] + self.luck * alike)

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

    def _own(self, params: Mapping[str, Value], seed: int) -> int:
        return self._alike(params, self._chance(params, seed))

    def _chance(self, params: Mapping[str, Value], *seeds: int) -> random.Random:
        return random.Random(f"{seeds} {json.dumps(dict(params), sort_keys=True)}")

    def _alike(self, params: Mapping[str, Value], chance: random.Random) -> int:
        """A config in the leaf of `params` of a tree, both by chance."""
        tree = chance.randrange(len(self._trees))
        leaf = self._trees[tree].apply(self._point(params))[0]
        return int(chance.choice(np.flatnonzero(self._leaves[:, tree] == leaf)))

    def _leaves_of(self, params: Mapping[str, Value]) -> Figures:
        point = self._point(params)
        found: Figures = np.array([tree.apply(point)[0] for tree in self._trees])
        return found

    def _point(self, params: Mapping[str, Value]) -> NDArray[np.float32]:
        return points(self._space, [params]).astype(np.float32)

    def _shares(self, leaves: Figures, trees: NDArray[np.bool_]) -> Figures:
        """With what chance each config is drawn of these `leaves`, one a tree, by those of the `trees`."""
        alike = (self._leaves == leaves)[:, trees]
        alike = alike[:, alike.any(axis=0)]  # a tree that was grown without any of a leaf's configs holds none
        found: Figures = (alike / alike.sum(axis=0)).mean(axis=1)
        return found
