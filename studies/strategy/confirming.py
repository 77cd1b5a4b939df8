"""The end of a study's budget: the best configs are trained once more, and the one whose mean is surest wins.

The best of many trials is in part the luckiest: of configs that are hardly apart, the seed decides which comes first.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TypeVar

from mmtuna.studies.statistics.seeds import NoiseFloor

CONFIGS = 3
"""How many of the best configs are trained once more, in turn."""
Key = TypeVar("Key")


def trainings(share: float, searched: int, left: int) -> int:
    """How many further trainings `share` (0 to 1) of a budget is, beside `searched` trials; at most the `left` ones."""
    return max(0, min(left, round(share / (1 - share) * searched)))


def to_search(share: float, trials: int) -> int:
    """How many of a budget's `trials` are searched, at least one, where `share` of them is for the end."""
    return max(1, trials - round(share * trials))


def surest(values: Mapping[Key, Sequence[float]], floor: NoiseFloor | None) -> Key:
    """The config whose mean over its seeds is surest to stay high, as `NoiseFloor.least` says, of those of `values`.

    The highest mean where there is no `floor`. ValueError where there is no config.
    """
    means = {key: statistics.fmean(found) for key, found in values.items()}
    if floor is None:
        return max(means, key=lambda key: means[key])
    return max(means, key=lambda key: floor.least(means[key], len(values[key])))
