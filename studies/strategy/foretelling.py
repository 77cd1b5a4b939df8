"""Params that earlier trials and a study's own let expect to do well: by a forest of trees over the ranks of all."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mmtuna.spaces.parameter import Categorical, Float, Int, Parameter, Params, Value, at_share, is_number, share_of
from mmtuna.spaces.portfolio import Earlier
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.standing import standing_of
from mmtuna.studies.storage.optuna_insides import whole_study
from mmtuna.studies.strategy.warming import SamplerBefore, drawn_before, is_heeded, ranked, thinned

HEEDED = 10.0
"""As how many draws of a study's own count the trials that were known before it began."""
OWN = 4.0
"""As how many earlier trials one of the study's own counts."""
_EARLIER_MOST = 500.0
"""As how many the earlier ones count at most, all together: many of them must not outvote the study itself."""
TREES = 10
"""Few: where they disagree, what they expect differs from one forest to the next, and so is explored."""
LEAF = 5
"""Trials in a leaf at least: what one trial alone came to is chance in part."""
RANDOM, NEAR = 200, 200
"""Sets of params of which the forest's best is proposed: drawn at random, and drawn near to the best own trials."""
_CHANGED = 0.25
"""The chance of a parameter of a set that is drawn near to another to be drawn anew."""
_LEAST = 5
"""Own trials that are needed before any is good: of fewer, and of others' trials, the best are lucky ones."""
_GOOD = 0.25
"""The share of own trials that is."""
_OWN_MOST = 400
"""Own trials that a forest is grown on, at most, so that a proposal costs the same in a study of any size."""
_ABSENT = -1.0

Points = NDArray[np.float64]


class WarmSampler(SamplerBefore):
    """`base`, but where what earlier studies found is heeded, what a forest expects to do best.

    The forest (extremely randomised trees, Geurts et al. 2006) learns which params rank high in their own study, of
    `earlier` trials and of the study's own, each of which counts as `OWN` of these: it says what others found where
    nothing else is known, and what the study found where that differs. After n draws it is asked with a chance of
    10 / (10 + n), since what others found may be wrong here: of the first 20 draws the base has some 9.
    """

    def __init__(self, base: BaseSampler, space: SearchSpace, earlier: Iterable[Earlier], seed: int) -> None:
        super().__init__(base)
        self._space, self._earlier = space, list(earlier)
        self._before = points(space, [one.params for one in self._earlier])
        self._chance = random.Random(seed)

    def reseed_rng(self) -> None:
        super().reseed_rng()
        self._chance.seed()

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not is_heeded(drawn_before(study, trial), HEEDED, self._chance):
            return self.base.sample_relative(study, trial, search_space)
        own = thinned(_ranked_own(one for one in study.get_trials(deepcopy=False) if one.params), _OWN_MOST)
        standing = standing_of(whole_study(study))
        standing.look()
        wanted = self._candidates(own)
        ranks = expected(self._space, self._earlier, own, wanted, self._chance.getrandbits(32), self._before)
        best = (wanted[place] for place in np.argsort(-ranks, kind="stable"))
        free = next((params for params in best if not standing.takes(params, trial.number)), None)
        return self.base.sample_relative(study, trial, search_space) if free is None else free

    def _candidates(self, own: Sequence[Earlier]) -> list[Params]:
        """Sets at random and, of the best of `own`, which come in that order, sets near to one or the other."""
        found = [drawn(self._space, self._chance) for _ in range(RANDOM)]
        if len(own) < _LEAST:
            return found
        good = own[: math.ceil(_GOOD * len(own))]
        return found + [near(self._chance.choice(good).params, self._space, self._chance) for _ in range(NEAR)]


def expected(
    space: SearchSpace,
    earlier: Sequence[Earlier],
    own: Sequence[Earlier],
    wanted: Sequence[Params],
    seed: int,
    before: Points | None = None,
) -> Points:
    """The rank, 0 to 1, that a forest expects of each of `wanted`; `before` are the points of `earlier`, if known."""
    from sklearn.ensemble import ExtraTreesRegressor

    theirs = points(space, [one.params for one in earlier]) if before is None else before
    known = np.concatenate([theirs, points(space, [one.params for one in own])])
    weights = [min(1.0, _EARLIER_MOST / max(1, len(earlier)))] * len(earlier) + [OWN] * len(own)
    forest = ExtraTreesRegressor(TREES, min_samples_leaf=LEAF, max_features=0.5, random_state=seed)
    forest.fit(known, [one.rank for one in (*earlier, *own)], sample_weight=weights)
    found: Points = forest.predict(points(space, wanted))
    return found


def _ranked_own(trials: Iterable[FrozenTrial]) -> list[Earlier]:
    """Ended trials with their ranks, of which a stopped one has what it came to so far: a pruner that stops all but the
    best of good ones would else leave those behind what found nothing."""
    ended = [one for one in trials if one.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    ranks = ranked([_worth(one) for one in ended])
    return [Earlier(dict(one.params), rank) for one, rank in zip(ended, ranks, strict=True)]


def _worth(trial: FrozenTrial) -> float:
    """A trial's value, or of a stopped one the last that it reported; one that was not trained has none."""
    value = trial.value if trial.state == TrialState.COMPLETE else trial.intermediate_values.get(trial.last_step or 0)
    return -math.inf if value is None else float(value)


def drawn(space: SearchSpace, chance: random.Random) -> Params:
    """Complete params of `space` at random."""
    return near({}, space, chance)


def near(params: Mapping[str, Value], space: SearchSpace, chance: random.Random) -> Params:
    """`params` with some of them drawn anew, and those that only exist, or fit, beside the new ones."""
    found: Params = {}
    for parameter in space:
        if parameter.exists(found):
            kept = params.get(parameter.name)
            stays = kept is not None and parameter.contains(kept) and chance.random() >= _CHANGED
            found[parameter.name] = kept if stays and kept is not None else _drawn(parameter, chance)
    return found


def _drawn(parameter: Parameter, chance: random.Random) -> Value:
    if isinstance(parameter, Int | Float):
        return at_share(parameter, chance.random())
    return chance.choice(parameter.values() or [])


def points(space: SearchSpace, sets: Sequence[Mapping[str, Value]]) -> Points:
    """A row for each set, of the numbers that trees split: numbers by their place in the range, on its own scale, or
    among the choices, other choices by 0 and 1 for each; -1 what does not exist."""
    columns: list[list[float]] = []
    for parameter in space:
        values = [params.get(parameter.name) for params in sets]
        if isinstance(parameter, Categorical) and not all(map(is_number, parameter.choices)):
            columns += [[float(value == choice) for value in values] for choice in parameter.choices]
        else:
            columns.append(_places(parameter, values))
    return np.array(columns).T


def _places(parameter: Parameter, values: Sequence[Value | None]) -> list[float]:
    if isinstance(parameter, Int | Float):
        return [_ABSENT if value is None else share_of(parameter, float(value)) for value in values]
    ordered = sorted(map(float, parameter.values() or []))
    return [_ABSENT if value is None else float(ordered.index(float(value))) for value in values]
