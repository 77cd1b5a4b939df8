"""The end of a study's budget: the best configs are trained once more, and the one whose mean is surest wins.

The best of many trials is in part the luckiest: of configs that are hardly apart, the seed decides which comes first.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from optuna.trial import FrozenTrial, TrialState

from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.attributes import AGAIN
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.statistics.seeds import NoiseFloor
from mmtuna.studies.strategy.sampling import LEARNING, sampler_name

CONFIGS = 3
"""How many of the best configs are trained once more, in turn."""
AUTO = 0.1
"""The share by `confirm = "auto"`. In simulated studies of 30 trials what the chosen config is worth hardly differs
between 0 and 0.4 (docs/search.md): so much costs nothing, and says by how much seeds change what was found."""
AUTO_TRIALS = 30
"""By "auto" fewer trials confirm nothing: a tenth of them is less than a training for each of these configs."""
Key = TypeVar("Key")


@dataclass(frozen=True)
class Plan:
    """How a study uses its budget: `confirm`, 0 to 0.5, is the share of its trials, or hours, that train the best
    configs once more, where `least` trials are asked for; with `stops` it ends where nothing better is to be expected.
    """

    confirm: float = 0.0
    stops: bool = False
    least: int = 0

    def of(self, trials: int | None) -> Plan:
        """What it comes to where so many trials are asked for, or None: no more than is enqueued."""
        enough = trials is not None and trials >= self.least
        return self if enough else replace(self, confirm=0.0)


def plan_of(table: StudyTable, space: SearchSpace) -> Plan:
    """What `[study]` says of the end. Who asks for chance, or for every cell, shall have just that by "auto"."""
    stops = table.stop == "auto"
    if table.confirm != "auto":
        return Plan(table.confirm, stops)
    return Plan(AUTO if sampler_name(table, space) in LEARNING else 0.0, stops, AUTO_TRIALS)


def trainings(share: float, searched: int, left: int) -> int:
    """How many further trainings `share` (0 to 1) of a budget is, beside `searched` trials; at most the `left` ones."""
    return max(0, min(left, round(share / (1 - share) * searched)))


def seconds_of(trials: Iterable[FrozenTrial]) -> float:
    """For how long any of those of `trials` that train a config once more trained, several at a time counted once.

    Of one that was put back its last attempt, and of one that runs what it has run until now.
    """
    spans = [
        (trial.datetime_start, trial.datetime_complete or datetime.now())
        for trial in trials
        if AGAIN in trial.user_attrs and trial.datetime_start is not None and trial.state != TrialState.WAITING
    ]
    total, until = 0.0, datetime.min
    for start, end in sorted(spans):
        total += max(0.0, (end - max(start, until)).total_seconds())
        until = max(until, end)
    return total


def to_search(share: float, trials: int) -> int:
    """How many of a budget's `trials` are searched, at least one, where `share` of them is for the end."""
    return max(1, trials - round(share * trials))


def surest(values: Mapping[Key, Sequence[float]], floor: NoiseFloor | None) -> Key:
    """The config whose mean over its seeds is surest to stay high, as `NoiseFloor.least` says, of those of `values`.

    Where there is no `floor`, the highest mean of those that were trained more than once, if any, and never came to
    nothing (0, as what diverged); a single training may be luck. ValueError where there is no config.
    """
    means = {key: statistics.fmean(found) for key, found in values.items()}
    if floor is None:
        repeated = [key for key, found in values.items() if len(found) > 1 and min(found) > 0]
        return max(repeated or means, key=lambda key: means[key])
    return max(means, key=lambda key: floor.least(means[key], len(values[key])))
