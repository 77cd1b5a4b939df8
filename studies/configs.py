"""The configs of a study: all complete trials with the same params, replicates, which differ in their seed."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Iterable
from typing import Any

from mmtuna.spaces.trials import Cause
from mmtuna.studies.results import TrialRow
from mmtuna.studies.standing import params_key
from mmtuna.studies.statistics.seeds import NoiseFloor, noise_floor

TOP = 10


def figure_of(row: TrialRow, metric: str | None = None) -> float | None:
    """A trial's value, by which configs are chosen; of a `metric` what it was in the last evaluation, which is another
    where the study's value is that of the best one, and the value where the evaluation is not stored."""
    found = row.value if metric is None else row.metrics.get(metric, row.value)
    return None if found is None or not math.isfinite(found) else found


def configs_of(rows: Iterable[TrialRow], metric: str | None = None) -> list[list[TrialRow]]:
    """The complete trials that have the figure, by their params, each by number."""
    groups: dict[str, list[TrialRow]] = {}
    for row in rows:
        if row.state == "COMPLETE" and row.value is not None and figure_of(row, metric) is not None:
            groups.setdefault(params_key(row.params), []).append(row)
    return list(groups.values())


def spreads_of(rows: Iterable[TrialRow], metric: str | None = None) -> list[list[float]]:
    """The figures (`figure_of`) of each config's trials, but of configs that collapsed with every seed.

    Trainings that find nothing are all alike, and would say of the others that seeds hardly matter.
    """
    live = [config for config in configs_of(rows, metric) if any(row.cause != Cause.COLLAPSED for row in config)]
    return [values_of(config, metric) for config in live]


def floor_of(rows: Iterable[TrialRow], metric: str | None = None) -> NoiseFloor | None:
    """What seeds alone change of the figure (`figure_of`); None where no params that found something were completed
    twice."""
    return noise_floor(spreads_of(rows, metric))


def top_configs(rows: Iterable[TrialRow], limit: int = TOP) -> list[list[TrialRow]]:
    """The configs with the highest means."""
    found = configs_of(rows)
    return sorted(found, key=lambda config: (-statistics.fmean(values_of(config)), config[0].number))[:limit]


def means_of(rows: Iterable[TrialRow], seeds: int) -> list[dict[str, Any]]:
    """The configs of at least so many trainings: `trials`, `params`, `values` by trial, their `mean`, and what it is at
    `least` (`NoiseFloor.least`), by which the best comes first: of equal means that of more seeds is surer."""
    everything = list(rows)
    floor = floor_of(everything)
    found: list[dict[str, Any]] = []
    for config in top_configs(everything, sys.maxsize):
        values = values_of(config)
        mean = statistics.fmean(values)
        if len(config) >= seeds:
            numbers, params = [row.number for row in config], config[0].params
            least = None if floor is None else floor.least(mean, len(values))
            found.append({"trials": numbers, "params": params, "values": values, "mean": mean, "least": least})
    found.sort(key=lambda config: -config["mean"] if config["least"] is None else -config["least"])
    # Cut at 0, below which no metric is, but only after they were ordered.
    return [{**one, "least": None if one["least"] is None else max(0.0, one["least"])} for one in found]


def values_of(rows: Iterable[TrialRow], metric: str | None = None) -> list[float]:
    """The figure (`figure_of`) of each of `rows` that has it."""
    return [figure for row in rows if (figure := figure_of(row, metric)) is not None]
