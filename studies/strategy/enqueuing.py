"""What a study's queue gets before anything is sampled: a spec's start, rows of Table 2, a portfolio, a grid."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna

from mmtuna.spaces.errors import InputError, whole_number_or_none
from mmtuna.spaces.parameter import Params, Value
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.table2 import TABLE2
from mmtuna.studies import attributes
from mmtuna.studies.standing import gives_seed, params_key, params_of
from mmtuna.studies.strategy.sampling import grid_cells

_OF_A_ROW = ("decoder", "iterations", "crop", "flip", "loss", "optimizer", "weight_decay")


@dataclass(frozen=True, kw_only=True)
class Replicates:
    """What is trained several times, with the study's seed and those after it, in place of a search.

    `count` trainings of each of the params `sets`, complete ones of the study's space; None stands for Table 2's rows.
    """

    count: int
    sets: tuple[Params, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Top:
    """The `configs` with the highest means that a search has found, to be trained until each has `replicates` seeds."""

    configs: int = 5
    replicates: int = 3

    @classmethod
    def of(cls, replicates: int | None, configs: int | None) -> Top | None:
        """What is asked for, None for nothing; InputError for too few of either, and for `configs` of nothing."""
        replicates = whole_number_or_none("replicates", replicates, 2)
        configs = whole_number_or_none("top", configs, 1)
        if replicates is None:
            if configs is not None:
                raise InputError(
                    f"--top {configs} says of how many configs --replicates trains more seeds; add --replicates 3"
                )
            return None
        return cls(replicates=replicates) if configs is None else cls(replicates=replicates, configs=configs)


def enqueue_replicates(
    study: optuna.Study, space: SearchSpace, what: Replicates, fixed: Mapping[str, Value] | None = None
) -> int:
    """Enqueues what the study lacks of `what` and returns how many trials that added; otherwise as `enqueue_table2`."""
    if what.sets is None:
        return enqueue_table2(study, space, what.count, fixed)
    missing = missing_replicates(study, space, what, fixed)
    for params, replicate in missing:
        study.enqueue_trial(dict(params), user_attrs={attributes.REPLICATE: replicate, attributes.AGAIN: True})
    return len(missing)


def missing_replicates(
    study: optuna.Study, space: SearchSpace, what: Replicates, fixed: Mapping[str, Value] | None = None
) -> list[tuple[Params, int]]:
    """Params and replicate of what the study lacks, failed ones included; InputError where the space holds not all."""
    if what.sets is None:
        return [(params, replicate) for _, params, replicate in missing_table2(study, space, what.count, fixed)]
    for params in what.sets:
        reason = space.why_not(params)
        if reason is not None:
            raise InputError(f"space: {reason}; widen the space, or leave these params out")
    present = _present(study)
    return [
        (params, replicate)
        for replicate in range(what.count)
        for params in what.sets
        if (params_key(params), replicate) not in present
    ]


def _present(study: optuna.Study) -> set[tuple[str, int]]:
    """Params and replicate of each trial that waits, runs or ended, unless it failed or the search cut it short."""
    return {
        (params_key(params_of(trial)), int(trial.user_attrs.get(attributes.REPLICATE, 0)))
        for trial in study.get_trials(deepcopy=False)
        if gives_seed(trial)
    }


def enqueue_table2(
    study: optuna.Study, space: SearchSpace, replicates: int = 1, fixed: Mapping[str, Value] | None = None
) -> int:
    """Enqueues every row of Table 2 `replicates` times and returns how many trials that added.

    A row's replicate that is waiting, running or ended is not enqueued again, unless it failed, or the search proposed
    it and cut it short. `fixed` is the spec's
    `[train]`. The caller holds the study's lock. InputError where the space does not hold a row, or `fixed` denies it.
    """
    missing = missing_table2(study, space, replicates, fixed)
    for number, params, replicate in missing:
        study.enqueue_trial(dict(params), user_attrs={attributes.TABLE2: number, attributes.REPLICATE: replicate})
    return len(missing)


def missing_table2(
    study: optuna.Study, space: SearchSpace, replicates: int, fixed: Mapping[str, Value] | None = None
) -> list[tuple[int, Params, int]]:
    """Row, params and replicate of what the study lacks of Table 2, failed ones included; InputError as above."""
    rows = {row.number: row.params(space) for row in TABLE2}
    for row in TABLE2:
        for name, value in row.settings.items():
            if name in _OF_A_ROW and name not in space and (fixed or {}).get(name, value) != value:
                raise InputError(
                    f"[train] fixes {name} = {(fixed or {})[name]!r}, row {row.number} of Table 2 has {value!r}; "
                    f"search {name}, or take table2 out of [study] enqueue"
                )
        twin = next((other for other in rows if other < row.number and rows[other] == rows[row.number]), None)
        if twin is not None:
            raise InputError(
                f'[space] cannot tell rows {twin} and {row.number} of Table 2 apart; take preset = "paper" whole, '
                "or take table2 out of [study] enqueue"
            )
    present = _present(study)
    return [
        (number, params, replicate)
        for replicate in range(replicates)
        for number, params in rows.items()
        if (params_key(params), replicate) not in present
    ]


def enqueue_start(study: optuna.Study, start: Sequence[Mapping[str, Value]]) -> int:
    """Enqueues the spec's `[space] start`, each once, and returns how many that added. The caller holds the lock."""
    return _enqueue_once(study, start, attributes.START)


def enqueue_portfolio(study: optuna.Study, configs: Sequence[Mapping[str, Value]]) -> int:
    """Enqueues the portfolio's configs likewise, but for those that wait or were trained already."""
    present = {params_key(params_of(trial)) for trial in study.get_trials(deepcopy=False)}
    return _enqueue_once(study, [one for one in configs if params_key(one) not in present], attributes.PORTFOLIO)


def _enqueue_once(study: optuna.Study, configs: Sequence[Mapping[str, Value]], mark: str) -> int:
    """Enqueues those of `configs` that no trial bears as its `mark`; returns how many that added."""
    present = {trial.user_attrs.get(mark) for trial in study.get_trials(deepcopy=False)}
    fresh = [(params_key(params), params) for params in configs if params_key(params) not in present]
    for key, params in fresh:
        study.enqueue_trial(dict(params), user_attrs={mark: key})
    return len(fresh)


def enqueue_grid(study: optuna.Study, space: SearchSpace, seed: int) -> int:
    """Enqueues the space's combinations that no trial has yet, shuffled by `seed`; returns how many that added.

    The caller holds the study's lock. InputError where the space cannot be listed.
    """
    cells = grid_cells(space)
    present = {params_key(params_of(trial)) for trial in study.get_trials(deepcopy=False)}
    random.Random(seed).shuffle(cells)
    fresh = [cell for cell in cells if params_key(cell) not in present]
    for cell in fresh:
        study.enqueue_trial(dict(cell))
    return len(fresh)
