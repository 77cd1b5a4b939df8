"""Which recorded trials are alike in what comes of them: where most parameters hardly matter, distances say little."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mmtuna.spaces.parameter import Value
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.strategy.foretelling import points
from mmtuna.studies.strategy.warming import ranked

TREES = 300

Figures = NDArray[np.float64]


class Likeness:
    """A random forest (Breiman 2001) of the ranks of what came of some sets of params: those in a leaf are alike.

    Its trees are seeded: the same sets give the same ones.

    Args:
        values: what came of each set; NaN is worse than all.
    """

    def __init__(self, space: SearchSpace, sets: Sequence[Mapping[str, Value]], values: Figures) -> None:
        from sklearn.ensemble import RandomForestRegressor

        self._space = space
        found = points(space, sets)
        forest = RandomForestRegressor(TREES, max_features=0.5, random_state=0)
        forest.fit(found, ranked(list(np.nan_to_num(values, nan=-np.inf))))
        self._trees = [tree.tree_ for tree in forest.estimators_]
        self._leaves = forest.apply(found)
        self._unseen = np.ones(self._leaves.shape, bool)
        for tree, seen in enumerate(forest.estimators_samples_):
            self._unseen[seen, tree] = False

    def draw(self, params: Mapping[str, Value], seed: int) -> int:
        """The place of a set that is alike: one in the leaf of `params` of a tree, both by chance, which are the same
        for the same params and seed. So over the sets that are drawn both mean and spread are the forest's (a quantile
        regression forest, Meinshausen 2006)."""
        chance = random.Random(f"{seed} {json.dumps(dict(params), sort_keys=True)}")
        tree = chance.randrange(len(self._trees))
        leaf = self._trees[tree].apply(points(self._space, [params]).astype(np.float32))[0]
        return int(chance.choice(np.flatnonzero(self._leaves[:, tree] == leaf)))

    def shares(self, params: Mapping[str, Value]) -> Figures:
        """With what chance `draw` takes each of the sets, over all seeds."""
        point = points(self._space, [params]).astype(np.float32)
        alike = self._leaves == [tree.apply(point)[0] for tree in self._trees]
        found: Figures = (alike / alike.sum(axis=0)).mean(axis=1)
        return found

    def held_out(self, place: int) -> int:
        """As `draw`, of one of the sets itself: another one, by a tree that was grown without it."""
        chance = random.Random(place)
        for tree in chance.sample(range(len(self._trees)), len(self._trees)):
            others = np.flatnonzero(self._leaves[:, tree] == self._leaves[place, tree])
            others = others[others != place]
            if self._unseen[place, tree] and len(others):
                return int(chance.choice(others))
        return place
