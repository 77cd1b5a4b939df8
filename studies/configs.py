"""The configs of a study: all complete trials with the same params, replicates, which differ in their seed; and which
of their trials is the one to go on with."""

from __future__ import annotations

import math
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import optuna

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.trials import Cause
from mmtuna.studies.results import DIVERGED_VALUE, TrialRow, ranked, refuse_damaged, sound_rows
from mmtuna.studies.results import rows as rows_of
from mmtuna.studies.standing import params_key
from mmtuna.studies.statistics.seeds import NoiseFloor, noise_floor
from mmtuna.studies.strategy.confirming import CONFIGS, surest

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
    """The figures (`figure_of`) of each config that was trained with more than one seed, but of those that found
    nothing with any: their trainings are all alike, and would say of the others that seeds hardly matter.

    So are configs left out whose figures are all the same, as are those of a class that none of their trainings found.
    """
    live = [config for config in configs_of(rows, metric) if not all(_found_nothing(row, metric) for row in config)]
    return [figures for config in live if len(set(figures := values_of(config, metric))) > 1]


def _found_nothing(row: TrialRow, metric: str | None = None) -> bool:
    """Whether the evaluation that the figure is of has an IoU above 0 of one class at most: a few wrong pixels are
    nothing found, and one class missed is not all of them."""
    # A row does not say which evaluation its value is of; it is the one that holds it.
    asked = row.metrics if metric is not None or row.value in row.metrics.values() else row.best_metrics
    ious = [iou for name, iou in asked.items() if name.startswith("IoU.") and math.isfinite(iou)]
    return len(ious) > 1 and sum(iou > 0 for iou in ious) < 2


def floor_of(rows: Iterable[TrialRow], metric: str | None = None) -> NoiseFloor | None:
    """What seeds alone change of the figure (`figure_of`); None where no params that found something were completed
    twice."""
    return noise_floor(spreads_of(rows, metric))


def top_configs(rows: Iterable[TrialRow], limit: int = TOP) -> list[list[TrialRow]]:
    """The configs with the highest means (`mean_of`)."""
    everything = list(rows)
    found, diverged = configs_of(everything), diverged_of(everything)
    return sorted(found, key=lambda config: (-mean_of(config, diverged), config[0].number))[:limit]


def mean_of(config: Sequence[TrialRow], diverged: Counter[str]) -> float:
    """The mean of a config's values over its seeds, of which those that `diverged` count as `DIVERGED_VALUE`."""
    return statistics.fmean([*values_of(config), *[DIVERGED_VALUE] * diverged[params_key(config[0].params)]])


def means_of(rows: Iterable[TrialRow], seeds: int) -> list[dict[str, Any]]:
    """The configs of at least so many seeds: complete `trials`, `params`, `values` by trial, how many more `diverged`,
    their `mean` (`mean_of`), and what it is at `least` (`NoiseFloor.least`), by which the best comes first: of equal
    means that of more seeds is surer."""
    everything = list(rows)
    floor, diverged = floor_of(everything), diverged_of(everything)
    found: list[dict[str, Any]] = []
    for config in top_configs(everything, sys.maxsize):
        of_it, mean = diverged[params_key(config[0].params)], mean_of(config, diverged)
        if len(config) + of_it >= seeds:
            about = {"trials": [row.number for row in config], "params": config[0].params, "values": values_of(config)}
            least = None if floor is None else floor.least(mean, len(config) + of_it)
            found.append({**about, "diverged": of_it, "mean": mean, "least": least})
    found.sort(key=lambda config: -config["mean"] if config["least"] is None else -config["least"])
    # Cut at 0, below which no metric is, but only after they were ordered.
    return [{**one, "least": None if one["least"] is None else max(0.0, one["least"])} for one in found]


def diverged_of(rows: Iterable[TrialRow]) -> Counter[str]:
    """How many trainings diverged of each config, by its `params_key`, that were to be trained to their end: these are
    seeds of it, as `standing.gives_seed` says."""
    return Counter(
        params_key(row.params) for row in rows if row.cause == Cause.DIVERGED and (row.again or row.table2 is not None)
    )


def values_of(rows: Iterable[TrialRow], metric: str | None = None) -> list[float]:
    """The figure (`figure_of`) of each of `rows` that has it."""
    return [figure for row in rows if (figure := figure_of(row, metric)) is not None]


def chosen(rows: Iterable[TrialRow]) -> TrialRow | None:
    """The trial to go on with: the best one, but where configs were trained once more to confirm them the best of the
    config whose mean is surest (`confirming.surest`), of these and of those that the search found best. None where none
    is complete.

    A confirmation that diverged counts as `DIVERGED_VALUE`: a config that ends so by some seed is not sure. One that
    found nothing with any seed is none the surer for it.
    """
    everything = list(rows)
    complete = ranked(everything)
    configs: dict[str, list[TrialRow]] = {}
    for row in complete:
        configs.setdefault(params_key(row.params), []).append(row)
    confirmed = {params_key(row.params) for row in everything if row.again}
    if not confirmed & configs.keys():
        return next(iter(complete), None)
    best = dict.fromkeys(params_key(row.params) for row in complete if not row.again)
    values = {}
    for key in (*islice(best, CONFIGS), *(confirmed & configs.keys())):
        found = configs[key]
        values[key] = values_of(found[:1] if all(map(_found_nothing, found)) else found)
    for key, times in diverged_of(everything).items():
        if key in values:
            values[key] += [DIVERGED_VALUE] * times
    return configs[surest(values, floor_of(everything))][0]


def seeds_of(rows: Iterable[TrialRow], one: TrialRow) -> int:
    """With how many seeds the config of a complete trial `one` was trained, those that diverged included."""
    everything, key = list(rows), params_key(one.params)
    complete = sum(params_key(row.params) == key for row in ranked(everything))
    return complete + diverged_of(everything)[key]


def complete(study: optuna.Study, number: int | None = None) -> TrialRow:
    """The complete trial `number`, or the one that is `chosen`; InputError where there is none."""
    name = study.study_name
    if number is None:
        found = chosen(sound_rows(study))
        if found is None:
            raise InputError(f"study {name}: no trial is complete yet; `mmtuna run SPEC` goes on until one is")
        return found
    entries = rows_of(study)
    if not 0 <= number < len(entries):
        known = f"0 to {len(entries) - 1}" if entries else "none"
        raise InputError(f"trial {number}: study {name} has no such trial; it has {known}, see `mmtuna status SPEC`")
    entry = entries[number]
    refuse_damaged(name, entry)
    if entry.state != "COMPLETE" or entry.value is None:
        raise InputError(f"trial {number} of study {name} is {entry.state.lower()}; take a complete trial, or the best")
    return entry
