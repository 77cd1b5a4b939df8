"""Which recorded trials are alike in what comes of them: where most parameters hardly matter, distances say little."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
"""Configs with a known further training that say what comes of a further one of another config, those of the nearest
values. As many configs have to be trained twice for that."""
_ITSELF = 0.5
"""The chance of a training to come to what its place in the world is; else it is a further one of that. Two trainings
of the same params then correlate by (1 + r)^2 / 4, where those that were recorded do by r: for r of 0.5 to 1 by r, but
for a few hundredths."""
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
    """What configs that were never trained come to, in worlds that some trainings allow: one of them a seed.

    A world is a tree of a random forest (Breiman 2001) that is grown to the end on ranks, so that the parameters split
    it that matter: what lies in a leaf comes to the same, and which of the recorded configs that is, if they are
    several, is drawn. So configs near to a good one are good, and over worlds the spread is the forest's (a quantile
    regression forest, Meinshausen 2006). What seeds change is told by configs that were trained more than once. Trees
    are seeded: the same trainings give the same worlds.

    Args:
        sets: the params of each training; those that have the same are one config, to the forest of their mean.
        values: what came of it; NaN is worse than all, and counts as 0.
    """

    def __init__(self, space: SearchSpace, sets: Sequence[Mapping[str, Value]], values: Figures) -> None:
        from sklearn.ensemble import RandomForestRegressor

        self._space, self._values = space, np.nan_to_num(values)
        self._configs = list(trainings_of(sets).values())
        self._several = [places for places in self._configs if len(places) > 1]
        means = [fmean(self._values[places]) for places in self._configs]
        found = points(space, [sets[places[0]] for places in self._configs])
        nothing = [bool(np.isnan(values[places]).all()) for places in self._configs]
        ranks = ranked([-math.inf if lost else mean for lost, mean in zip(nothing, means, strict=True)])
        forest = RandomForestRegressor(TREES, max_features=0.5, random_state=0).fit(found, ranks)
        self._trees = [tree.tree_ for tree in forest.estimators_]
        self._leaves = forest.apply(found)
        self._unseen = np.ones(self._leaves.shape, bool)
        for tree, seen in enumerate(forest.estimators_samples_):
            self._unseen[seen, tree] = False
        floor = self.repeats()
        self._further = [[] if floor is None else self._near(value, floor.sd) for value in self._values]
        self._worth = [self._worth_of(place) for place in range(len(self._values))]

    def repeats(self) -> Repeats | None:
        """What seeds change; None where too few configs were trained more than once."""
        values = sorted((self._values[places].tolist() for places in self._several), key=fmean, reverse=True)
        best = values[: math.ceil(_BEST * len(values))]
        whole, of_best = noise_floor(values), noise_floor(best)
        if len(values) < NEAR or whole is None or of_best is None:
            return None
        return Repeats(len(values), whole.sd, of_best.sd)

    @property
    def best(self) -> float:
        """The most that any config is worth."""
        return max(self._worth)

    def draw(self, params: Mapping[str, Value], seed: int, times: int = 0) -> int:
        """What the training of `params` comes to in the world `seed` that is done after so many `times`: the place of a
        training, which is the same for the same params, seed and `times`.

        It is the one that these params are in that world, or a further one of it, half and half: of a config of which
        one training came to about the same the other. Where too few were trained twice seeds change nothing.
        """
        place, chance = self._is(params, seed), self._chance(params, seed, times)
        further = self._further[place]
        return chance.choice(chance.choice(further)) if further and chance.random() >= _ITSELF else place

    def worth(self, params: Mapping[str, Value], seed: int) -> float:
        """What `params` are worth in the world `seed`: the mean of all trainings of these that can be told."""
        return self._worth[self._is(params, seed)]

    def held_out(self, place: int) -> int | None:
        """What one of the trainings is told to be by the others: one of another config, by a tree that was grown
        without it; None where there is none."""
        chance = random.Random(place)
        config = next(config for config, places in enumerate(self._configs) if place in places)
        for tree in chance.sample(range(len(self._trees)), len(self._trees)):
            others = np.flatnonzero(self._leaves[:, tree] == self._leaves[config, tree])
            others = others[others != config]
            if self._unseen[config, tree] and len(others):
                return chance.choice(self._configs[int(chance.choice(others))])
        return None

    def _is(self, params: Mapping[str, Value], seed: int) -> int:
        """The training that `params` are in the world `seed`, and all that lie in a leaf with them."""
        tree = random.Random(seed).randrange(len(self._trees))
        leaf = int(self._trees[tree].apply(points(self._space, [params]).astype(np.float32))[0])
        chance = random.Random(f"{seed} {leaf}")
        return chance.choice(self._configs[int(chance.choice(np.flatnonzero(self._leaves[:, tree] == leaf)))])

    def _near(self, value: float, within: float) -> list[list[int]]:
        """What further trainings come to of what came to `value`: of the nearest configs with a training so near to it
        the others."""
        found = []
        for places in self._several:
            apart = np.abs(self._values[places] - value)
            nearest = int(apart.argmin())
            found.append((float(apart[nearest]), places[:nearest] + places[nearest + 1 :]))
        near = sorted((one for one in found if one[0] <= within), key=lambda one: one[0])
        return [others for _, others in near[:NEAR]]

    def _worth_of(self, place: int) -> float:
        itself, further = float(self._values[place]), [fmean(self._values[others]) for others in self._further[place]]
        return _ITSELF * itself + (1 - _ITSELF) * fmean(further) if further else itself

    def _chance(self, params: Mapping[str, Value], *seeds: int) -> random.Random:
        return random.Random(f"{seeds} {params_key(params)}")
