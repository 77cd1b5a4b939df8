"""What trials of a space cost on this machine: a few are measured for a moment, and others scaled from these."""

from __future__ import annotations

import itertools
import math
import platform
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from mmtuna.objectives.devices import visible_to_child
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.probes.extent import Extent, extent_of
from mmtuna.objectives.probes.measuring import TrialCost, measure
from mmtuna.search.checking import memory
from mmtuna.search.checking.preparation import Preparation, objective_for_now
from mmtuna.search.checking.probing import combinations
from mmtuna.search.quiet import quiet_optuna
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.trials import LAST_STEP
from mmtuna.studies.attributes import COST, CURVE
from mmtuna.studies.standing import params_key

SECONDS = 1.0
"""Of counted iterations, for each combination that is measured."""
LONGEST = 20.0
"""Seconds after which no further combination is begun; the first is measured whatever it takes."""
_DRAWS = 48
_ALIKE = 1.2  # combinations whose work differs by no more than this factor are measured once
_LEARNED = 20
_CAREFUL = 0.75  # of trials that ended, the share that was no slower than what is expected of the next


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A training that was measured: what it does, and what it cost."""

    extent: Extent
    cost: TrialCost


@dataclass(frozen=True)
class Costs:
    """Costs of trainings by what they do, from a few that were `measured`, of which there is one at least.

    Between two measured ones a cost is taken to be a power of the work, beyond them to be proportional to it; what a
    trial takes before its first iteration, and its memory beyond the measured ones, stay as they are.
    """

    measured: tuple[Measured, ...]

    def of(self, extent: Extent) -> TrialCost:
        """What a training of this extent is likely to cost."""

        def by(work: Callable[[Extent], float], cost: Callable[[TrialCost], float], beyond: float) -> float:
            return _between(work(extent), [(work(one.extent), cost(one.cost)) for one in self.measured], beyond)

        return TrialCost(
            start=by(_train, lambda cost: cost.start, 0.0),
            iteration=by(_train, lambda cost: cost.iteration, 1.0),
            evaluation=by(_val, lambda cost: cost.evaluation, 1.0),
            memory=round(by(_train, lambda cost: cost.memory, 0.0)),
        )


def _train(extent: Extent) -> float:
    return extent.train


def _val(extent: Extent) -> float:
    return extent.val


def _between(work: float, known: Sequence[tuple[float, float]], beyond: float) -> float:
    """The cost at `work` from those at others, which are met where they stand; `beyond` them it grows by that power."""
    by_work: dict[float, list[float]] = {}
    for other, cost in known:
        by_work.setdefault(other, []).append(cost)
    points = [(other, median(costs)) for other, costs in sorted(by_work.items())]
    nearest = min(max(work, points[0][0]), points[-1][0])
    if work != nearest:
        return float(dict(points)[nearest] * (work / nearest) ** beyond)
    if len(points) == 1:
        return points[0][1]
    (low, at_low), (high, at_high) = next(pair for pair in itertools.pairwise(points) if work <= pair[1][0])
    share = math.log(work / low) / math.log(high / low)
    return float(max(at_low, 1e-9) ** (1 - share) * max(at_high, 1e-9) ** share)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Params that the space gives, by chance and at its ends, with what trainings of them do."""

    params: tuple[Params, ...]
    extents: tuple[Extent, ...]
    by_chance: int
    """How many of the first ones were drawn by chance: the others are not what is usual."""

    def telling(self) -> list[int]:
        """Places of those whose costs tell the others': the usual one, the dearest, the cheapest; alike ones once."""
        works = [extent.train for extent in self.extents]
        chance = sorted(range(self.by_chance), key=works.__getitem__)
        everything = sorted(range(len(works)), key=works.__getitem__)
        found: list[int] = []
        for place in (chance[len(chance) // 2], everything[-1], everything[0]):
            if all(max(works[place], works[other]) > _ALIKE * min(works[place], works[other]) for other in found):
                found.append(place)
        return found


@quiet_optuna()
def draw(objective: SegmentationObjective, space: SearchSpace) -> Drawn:
    """Some params of the space; those of which no config can be made are left out. InputError where none can."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    chance = [space.suggest(study.ask()) for _ in range(_DRAWS if space.names else 1)]
    params, extents, by_chance, said = [], [], 0, ""
    for place, one in enumerate([*chance, *(entry.params for entry in combinations(space))]):
        try:
            extents.append(extent_of(objective.config(one, seed=0), objective.shapes))
        except InputError as error:
            said = str(error)
            continue
        params.append(one)
        by_chance += place < len(chance)
    if not by_chance:
        raise InputError(said)
    return Drawn(params=tuple(params), extents=tuple(extents), by_chance=by_chance)


def measure_costs(ready: Preparation, drawn: Drawn, *, threads: int, beside: int, quick: bool = False) -> Costs:
    """Costs of trials of the space that `drawn` is of, `beside` of which train at a time on the first device.

    `quick`: of the usual combination alone, where no more is known. Measured once a study, machine and packing: the
    answer is remembered. InputError where the usual trial fails.
    """
    for in_short in (False, True) if quick else (False,):
        known = recalled_costs(ready, threads=threads, beside=beside, quick=in_short)
        if known is not None:
            return known
    found = _measure_costs(ready, drawn, threads, beside, quick=quick)
    memory.keep(_place(ready, threads, beside, quick), [asdict(one) for one in found.measured])
    return found


def recalled_costs(ready: Preparation, *, threads: int, beside: int, quick: bool = False) -> Costs | None:
    """The costs that were measured before, None where none are remembered."""
    try:
        return _costs(memory.recall(_place(ready, threads, beside, quick)))
    except (TypeError, ValueError, KeyError):
        return None


def _costs(answer: list[dict[str, Any]]) -> Costs | None:
    found = [Measured(extent=Extent(**one["extent"]), cost=TrialCost(**one["cost"])) for one in answer]
    return Costs(tuple(found)) if found else None


def _place(ready: Preparation, threads: int, beside: int, quick: bool) -> Any:
    return memory.place_of("costs", question_of(ready), threads, beside, quick)


def question_of(ready: Preparation) -> list[Any]:
    """What all that is measured of a study's trials depends on; a cache may be shared by several machines."""
    return [ready.spec.describe(), ready.fingerprints(), list(ready.devices), platform.node()]


def _measure_costs(ready: Preparation, drawn: Drawn, threads: int, beside: int, *, quick: bool) -> Costs:
    assert ready.split is not None
    images, visible = len(ready.split.val), visible_to_child(ready.devices[0])
    found: list[Measured] = []
    with objective_for_now(ready) as objective:
        end = time.monotonic() + LONGEST
        for place in drawn.telling()[: 1 if quick else None]:
            if found and time.monotonic() > end:
                break
            cfg = objective.config(drawn.params[place], seed=0)
            try:
                costs = measure(cfg, images, visible=visible, threads=threads, beside=beside, seconds=SECONDS)
            except InputError:
                if not found:
                    raise
                continue  # the usual trial is known; that the dearest fails is said when it is trained
            found.append(Measured(extent=drawn.extents[place], cost=together(costs)))
    return Costs(tuple(found))


def together(costs: Sequence[TrialCost]) -> TrialCost:
    """What one of several trials costs that train at the same time: the middle of each, and the most memory."""
    return TrialCost(
        start=median(cost.start for cost in costs),
        iteration=median(cost.iteration for cost in costs),
        evaluation=median(cost.evaluation for cost in costs),
        memory=max(cost.memory for cost in costs),
    )


class Expectation:
    """How many seconds a trial is likely to take: as measured, and as the last trials that ended took beside that.

    Without `costs` those that ended tell alone, scaled by iterations, pixels and width; before the first one nothing
    is expected.
    """

    def __init__(self, objective: SegmentationObjective, images: int, costs: Costs | None, folds: int = 1) -> None:
        self._objective, self._images, self._costs, self._folds = objective, images, costs, folds
        self._extents: dict[str, Extent | None] = {}
        self._slower: deque[float] = deque(maxlen=_LEARNED)
        self._learned: set[int] = set()

    def __call__(self, params: Params) -> float | None:
        """Seconds of a whole trial of these params; None where nothing is known, or no config can be made of them."""
        said = self._said(params)
        if said is None or (self._costs is None and not self._slower):
            return None
        ratios = sorted(self._slower) or [1.0]
        return said * ratios[math.ceil(_CAREFUL * (len(ratios) - 1))]

    def learn(self, trials: Iterable[FrozenTrial]) -> None:
        """Takes note of trials that ended; known ones are left aside."""
        for trial in trials:
            if trial.number in self._learned:
                continue
            self._learned.add(trial.number)
            whole, said = _whole_seconds(trial), self._said(trial.params)
            if whole and said:
                self._slower.append(whole / said)

    def _said(self, params: Params) -> float | None:
        key = params_key(params)
        if key not in self._extents:
            try:
                self._extents[key] = extent_of(self._objective.config(params, seed=0), self._objective.shapes)
            except InputError:
                self._extents[key] = None
        extent = self._extents[key]
        if extent is None:
            return None
        if self._costs is not None:
            return self._folds * self._costs.of(extent).seconds(extent)
        # The backward pass costs about twice the forward one.
        return self._folds * (3 * extent.iterations * extent.train + extent.evaluations * extent.val * self._images)


def _whole_seconds(trial: FrozenTrial) -> float | None:
    """Seconds that a trial took, or would have taken to its end; None where that is not known."""
    try:
        return float(trial.user_attrs[COST]["seconds"]) * LAST_STEP / float(trial.user_attrs[CURVE][-1]["step"])
    except (TypeError, KeyError, IndexError, ValueError, ZeroDivisionError):
        return None
