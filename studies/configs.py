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


def figure_of(row: TrialRow, metric: str) -> float | None:
    """The metric in a trial's last evaluation; its value where the evaluation is not stored."""
    found = row.metrics.get(metric, row.value)
    return None if found is None or not math.isfinite(found) else found


def configs_of(rows: Iterable[TrialRow], metric: str) -> list[list[TrialRow]]:
    """The complete trials that have the metric, by their params, each by number."""
    groups: dict[str, list[TrialRow]] = {}
    for row in rows:
        if row.state == "COMPLETE" and row.value is not None and figure_of(row, metric) is not None:
            groups.setdefault(params_key(row.params), []).append(row)
    return list(groups.values())


def spreads_of(rows: Iterable[TrialRow], metric: str) -> list[list[float]]:
    """The metric of each config's trials, but of configs that collapsed with every seed.

    Trainings that find nothing are all alike, and would say of the others that seeds hardly matter.
    """
    live = [config for config in configs_of(rows, metric) if any(row.cause != Cause.COLLAPSED for row in config)]
    return [values_of(config, metric) for config in live]


def floor_of(rows: Iterable[TrialRow], metric: str) -> NoiseFloor | None:
    """What seeds alone change of the metric; None where no params that found something were completed twice."""
    return noise_floor(spreads_of(rows, metric))


def top_configs(rows: Iterable[TrialRow], metric: str, limit: int = TOP) -> list[list[TrialRow]]:
    """The configs with the highest means."""
    found = configs_of(rows, metric)
    return sorted(found, key=lambda config: (-statistics.fmean(values_of(config, metric)), config[0].number))[:limit]


def means_of(rows: Iterable[TrialRow], metric: str, seeds: int) -> list[dict[str, Any]]:
    """The configs of at least so many trainings: `trials`, `params`, `values` by trial, their `mean`, and what it is at
    `least` (`NoiseFloor.least`), by which the best comes first: of equal means that of more seeds is surer."""
    everything = list(rows)
    floor = floor_of(everything, metric)
    found = []
    for config in top_configs(everything, metric, sys.maxsize):
        values = values_of(config, metric)
        mean = statistics.fmean(values)
        if len(config) >= seeds:
            numbers, params = [row.number for row in config], config[0].params
            least = None if floor is None else floor.least(mean, len(values))
            found.append({"trials": numbers, "params": params, "values": values, "mean": mean, "least": least})
    return sorted(found, key=lambda config: -config["mean"] if config["least"] is None else -config["least"])


def values_of(rows: Iterable[TrialRow], metric: str) -> list[float]:
    """The metric of each of `rows` that has it."""
    return [figure for row in rows if (figure := figure_of(row, metric)) is not None]
