"""What earlier studies found, as a sampler's knowledge: by ranks, since values on other data do not compare."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mmtuna.spaces.parameter import Params, Value
from mmtuna.spaces.portfolio import Earlier, adapted
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.storage.optuna_insides import enqueued_params, whole_study

BELIEVED = 5.0
"""As how many draws of a study's own a person's belief counts."""
MODELLED = 200
"""So many trials of an earlier study are known at most."""
SPEC_NAME = "study.toml"


def name_of(path: Path) -> str:
    """What an earlier study is called that lies at `path`."""
    return path.parent.name if path.name == SPEC_NAME else path.name


@dataclass(frozen=True)
class Drawn:
    """An ended trial of an earlier study: `value`, None where it was stopped, after `step` percent, or diverged (0)."""

    params: Params
    value: float | None
    step: int = 0


@dataclass(frozen=True)
class Warmth:
    """What the study `name` found: of its `trials` those `fitting`, of many some, evenly spread over the ranks."""

    name: str
    trials: int
    fitting: int
    earlier: tuple[Earlier, ...]


def warmth_of(name: str, drawn: Sequence[Drawn], space: SearchSpace, settings: Mapping[str, Value]) -> Warmth:
    """Of one study's trials those that `space` can hold as they are; ranks are among all.

    Stopped ones rank below all others, by how far they came. `settings`: what trials have of all that the space does
    not sample.
    """
    ranks = ranked([(one.value is not None, one.step, one.value or 0.0) for one in drawn])
    earlier = [Earlier(one.params, rank) for one, rank in zip(drawn, ranks, strict=True)]
    fits = fitting(earlier, space, settings)
    return Warmth(name, len(drawn), len(fits), tuple(thinned(fits, MODELLED)))


def fitting(earlier: Iterable[Earlier], space: SearchSpace, settings: Mapping[str, Value]) -> list[Earlier]:
    """Those that `space` can hold as they are.

    `settings`: what trials have of all that the space does not sample.
    """
    pairs = [(adapted(one.params, space, settings, exact=True), one.rank) for one in earlier]
    return [Earlier(params, rank) for params, rank in pairs if params]


def thinned(earlier: Iterable[Earlier], count: int) -> list[Earlier]:
    """At most so many of them, the best first, evenly spread over their order."""
    order = sorted(earlier, key=lambda one: -one.rank)
    if len(order) <= count:
        return order
    return [order[round(place * (len(order) - 1) / max(1, count - 1))] for place in range(count)]


def ranked(values: Sequence[Any]) -> list[float]:
    """The rank of each, between 0 and 1: the best of few is worth less than the best of many."""
    order = sorted(values)
    return [(bisect_left(order, value) + bisect_right(order, value)) / 2 / len(order) for value in values]


def drawn_before(study: Study, trial: FrozenTrial) -> int:
    """How many other trials of the whole study, also of other brackets, were drawn, not enqueued."""
    others = (one for one in whole_study(study).get_trials(deepcopy=False) if one.number != trial.number)
    return sum(enqueued_params(one) is None for one in others)


def is_heeded(drawn: int, worth: float, chance: random.Random) -> bool:
    """Whether what was known before is heeded after so many draws: with a chance of worth / (worth + drawn)."""
    return chance.random() < worth / (worth + drawn)


class SamplerBefore(BaseSampler):
    """Stands before `base`, which does what a class derived of this does not: such a class says how sets are drawn."""

    def __init__(self, base: BaseSampler) -> None:
        self.base = base

    def reseed_rng(self) -> None:
        self.base.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.base.infer_relative_search_space(study, trial)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.base.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self.base.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self.base.after_trial(study, trial, state, values)
