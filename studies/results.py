"""What trials leave behind: written as user attributes, read back as plain data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from mmtuna.spaces.effects import without_idle
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.settings import defaults_of
from mmtuna.spaces.speed import Speed
from mmtuna.spaces.trials import Cause
from mmtuna.studies.attributes import (
    AGAIN,
    BEST_METRICS,
    CAUSE,
    COST,
    CURVE,
    DEMAND,
    FOLDER,
    FOLDS,
    MESSAGE,
    METRICS,
    REPLICATE,
    SEED,
    SPEC,
    SPEED,
    SPEED_ON,
    TABLE2,
)
from mmtuna.studies.leases import End
from mmtuna.studies.standing import params_of
from mmtuna.studies.storage.optuna_insides import TRIALS, backend_of, study_id

Metrics = Mapping[str, float]
Attrs = dict[str, Any]
DIVERGED_VALUE = 0.0
UNREADABLE = (AssertionError, LookupError, TypeError, ValueError)
"""What Optuna raises for rows of its database that it cannot make anything of."""


def evaluation_attrs(*, metrics: Metrics, best_metrics: Metrics, curve: Sequence[Mapping[str, float]]) -> Attrs:
    """User attributes of the last and the best evaluation (fractions, 0 to 1) and of the curve.

    An entry of `curve` holds `step` (percent), `iteration`, `seconds` since the trial began, and the metrics.
    """
    return {METRICS: dict(metrics), BEST_METRICS: dict(best_metrics), CURVE: [dict(entry) for entry in curve]}


def cost_attrs(*, seconds: float, iterations: int, joules: float | None = None) -> Attrs:
    """What the trial took: seconds of its device (its share of a shared one), iterations, and energy where known."""
    energy = {} if joules is None else {"joules": joules}
    return {COST: {"seconds": seconds, "iterations": iterations, **energy}}


def demand_attrs(demand: Mapping[str, float]) -> Attrs:
    """What the trial's net asks of the machine that it is deployed on."""
    return {DEMAND: dict(demand)}


def speed_attrs(speed: Speed) -> Attrs:
    """What was done for speed in the trial."""
    return {SPEED: speed.kept()}


def speeds(study: optuna.Study) -> dict[str, str]:
    """By kind of device, in words, what the study's trials do for speed; empty where they do nothing."""
    attrs = study.user_attrs
    kept = {name.removeprefix(SPEED_ON): _speed(value) for name, value in attrs.items() if name.startswith(SPEED_ON)}
    return {kind: str(Speed.of(value)) for kind, value in sorted(kept.items()) if value is not None}


def folds_attrs(folds: Sequence[Mapping[str, Any]]) -> Attrs:
    """What the folds of a trial came to, each on its own images: `step`, `metrics`, `images`."""
    return {FOLDS: [dict(fold) for fold in folds]}


def folder_attrs(folder: str) -> Attrs:
    """The folder of the trial's files, relative to the study's."""
    return {FOLDER: folder}


def cause_attrs(cause: str, message: str) -> Attrs:
    """Why a trial did not end well: a name that is counted, such as "diverged" or "lost", and what was said."""
    return {CAUSE: cause, MESSAGE: message}


def diverged(*, step: int, message: str, attrs: Attrs | None = None) -> End:
    """The end of a trial whose loss became NaN: PRUNED with the value 0.0 at `step` (percent) and the cause "diverged".

    NaN itself would be a FAIL, of which no sampler learns, and the same learning rate would be proposed again. Of
    pruned trials Optuna ranks the longest-lived first and takes the last report as the value: the 0.0 stands after all
    other reports, and no further than that.
    """
    everything = {**(attrs or {}), **cause_attrs(Cause.DIVERGED, message)}
    return End(state=TrialState.PRUNED, attrs=everything, report=(step, DIVERGED_VALUE))


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One trial as plain data. Metrics are fractions, times ISO 8601, `seconds` the device's."""

    number: int
    state: str
    value: float | None
    params: Params
    metrics: dict[str, float] = field(default_factory=dict)
    best_metrics: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    cause: str | None = None
    message: str | None = None
    seed: int | None = None
    replicate: int = 0
    again: bool = False
    """Whether it trained a config once more, to confirm it."""
    table2: int | None = None
    seconds: float | None = None
    iterations: int | None = None
    joules: float | None = None
    """What its cards took for it, where they tell."""
    folder: str | None = None
    folds: list[dict[str, float]] = field(default_factory=list)
    """Of a trial of several folds the metrics of each, on its own images; those that were begun."""
    speed: dict[str, Any] | None = None
    """What was done for speed, in a study that lets it be chosen (`mmtuna.spaces.speed.Speed`)."""
    demand: dict[str, float] = field(default_factory=dict)
    """What the net asks, in a study that has limits (`mmtuna.spaces.limits.Demand`)."""
    started: str | None = None
    ended: str | None = None
    damaged: tuple[str, ...] = ()
    """What the database does not hold as mmtuna writes it: such things, or the wrong parts of them, are left out."""

    @property
    def finished(self) -> bool:
        """Whether it counts as one of the trials that a study is to hold: complete, pruned or diverged."""
        return self.state in ("COMPLETE", "PRUNED")


def shared_settings(attrs: Mapping[str, Any]) -> Params | None:
    """The settings that every trial of a study of these attributes has beside its params; None where it is not ours."""
    spec = attrs.get(SPEC)
    if not isinstance(spec, dict) or not isinstance(spec.get("train"), dict):
        return None
    model = spec.get("model")
    return {**defaults_of(model.get("base") if isinstance(model, dict) else None), **spec["train"]}


def row(trial: FrozenTrial, shared: Params | None = None) -> TrialRow:
    """`trial` as plain data; of its params only those that changed it beside the `shared` settings.

    Trials of before there were conditions for it hold others, such as a learning rate that another optimizer had.
    """
    damaged: list[str] = []

    def sound(name: str, found: Any, right: Callable[[Any], Any]) -> Any:
        """What of `found` is as it was written; no more is taken from a database that others may write to."""
        kept = right(found)
        if found is not None and kept != found:
            damaged.append(name)
        return kept

    def attr(name: str, right: Callable[[Any], Any]) -> Any:
        return sound(name, trial.user_attrs.get(name), right)

    # A pruned trial that never reported has no value; Optuna stores None.
    value = sound("value", trial.values[0] if trial.values else None, _finite)
    if value is None and trial.state == TrialState.COMPLETE:
        damaged = ["value"]
    params: Params = sound("params", params_of(trial), _params)
    sound("reports", trial.intermediate_values, _reports)
    cost = attr(COST, _cost)
    return TrialRow(
        number=trial.number,
        state=trial.state.name,
        value=value,
        params=params if shared is None else without_idle(params, shared),
        metrics=attr(METRICS, _figures),
        best_metrics=attr(BEST_METRICS, _figures),
        curve=attr(CURVE, _curve),
        cause=attr(CAUSE, _text),
        message=attr(MESSAGE, _text),
        seed=attr(SEED, _whole),
        replicate=attr(REPLICATE, _whole) or 0,
        again=attr(AGAIN, _yes) or False,
        table2=attr(TABLE2, _whole),
        seconds=cost.get("seconds"),
        iterations=cost.get("iterations"),
        joules=cost.get("joules"),
        folder=attr(FOLDER, _text),
        folds=_fold_metrics(trial.user_attrs.get(FOLDS)),
        speed=attr(SPEED, _speed),
        demand=attr(DEMAND, _figures),
        started=trial.datetime_start.isoformat() if trial.datetime_start else None,
        ended=trial.datetime_complete.isoformat() if trial.datetime_complete else None,
        damaged=tuple(damaged),
    )


def _yes(found: object) -> bool | None:
    return found if isinstance(found, bool) else None


def _text(found: object) -> str | None:
    return found if isinstance(found, str) else None


def _speed(found: object) -> dict[str, Any] | None:
    try:
        return Speed.of(dict(found)).kept() if isinstance(found, Mapping) else None
    except InputError:
        return None


def _whole(found: object) -> int | None:
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _finite(found: object) -> float | None:
    right = isinstance(found, int | float) and not isinstance(found, bool) and abs(found) < math.inf
    return cast(float, found) if right else None


def _figures(found: object) -> dict[str, float]:
    # NaN is a figure: the IoU of a class that no image holds.
    return {name: value for name, value in _entries(found) if _finite(value) is not None or value != value}


def _curve(found: object) -> list[dict[str, float]]:
    points = [_figures(point) for point in found] if isinstance(found, list) else []
    return [point for point in points if _finite(point.get("step")) is not None]


def _fold_metrics(found: object) -> list[dict[str, float]]:
    folds = found if isinstance(found, list) else []
    return [_figures(fold.get("metrics")) for fold in folds if isinstance(fold, Mapping)]


def _cost(found: object) -> dict[str, Any]:
    amounts = {name: (_whole if name == "iterations" else _finite)(value) for name, value in _entries(found)}
    return {name: value for name, value in amounts.items() if value is not None and value >= 0}


def _reports(found: object) -> dict[Any, Any]:
    return {step: value for step, value in _entries(found) if isinstance(value, int | float)}


def _params(found: object) -> Params:
    # None may be a choice of a study that was not begun by mmtuna.
    return {name: value for name, value in _entries(found) if not isinstance(value, float) or abs(value) < math.inf}


def _entries(found: object) -> Iterable[tuple[str, Any]]:
    return found.items() if isinstance(found, Mapping) else ()


def rows(study: optuna.Study) -> list[TrialRow]:
    """All trials, by number; InputError where the database holds some that cannot be read."""
    trials, unreadable = read_trials(study)
    if unreadable:
        raise InputError(
            f"study {study.study_name}: {named_trials(unreadable)} cannot be read, since the database does not hold "
            "what mmtuna wrote there; restore a copy of the database, or see the other trials with `mmtuna report`"
        )
    shared = shared_settings(study.user_attrs)
    return [row(trial, shared) for trial in trials]


def sound_rows(study: optuna.Study) -> list[TrialRow]:
    """`rows`; InputError also where something of one is not as mmtuna writes it, and would be left out."""
    entries = rows(study)
    for entry in entries:
        refuse_damaged(study.study_name, entry)
    return entries


def refuse_damaged(name: str, entry: TrialRow) -> None:
    """InputError where something of `entry` is not as mmtuna writes it."""
    if entry.damaged:
        raise InputError(
            f"study {name}: of trial {entry.number} the database does not hold what mmtuna wrote there "
            f"({', '.join(entry.damaged)}); restore a copy of the database, or see what is left with `mmtuna report`"
        )


def named_trials(numbers: Sequence[int]) -> str:
    """`trial 3`; `trials 3, 5, 8`; no more than twelve of them."""
    more = f" and {len(numbers) - 12:,} more" if len(numbers) > 12 else ""
    return f"trial{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers[:12]))}{more}"


def read_trials(study: optuna.Study) -> tuple[list[FrozenTrial], list[int]]:
    """All trials that can be read, by number, and the numbers of those that cannot.

    Optuna reads all at once, and one damaged row of the database keeps it from reading any.
    """
    try:
        return study.get_trials(deepcopy=False), []
    except UNREADABLE:
        storage = backend_of(study)
        if not isinstance(storage, optuna.storages.RDBStorage):
            raise
    query = sqlalchemy.select(TRIALS.c.number, TRIALS.c.trial_id).where(TRIALS.c.study_id == study_id(study))
    with storage.engine.connect() as connection:
        ids = connection.execute(query.order_by(TRIALS.c.number)).all()
    found, unreadable = [], []
    for number, trial_id in ids:
        try:
            found.append(storage.get_trial(trial_id))
        except UNREADABLE:
            unreadable.append(number)
    return found, unreadable


def ranked(entries: Iterable[TrialRow]) -> list[TrialRow]:
    """The complete trials among `entries`: the highest value first, the earliest of equals first."""
    complete = [(entry.value, entry) for entry in entries if entry.state == "COMPLETE" and entry.value is not None]
    return [entry for _, entry in sorted(complete, key=lambda pair: (-pair[0], pair[1].number))]


def best(entries: Iterable[TrialRow]) -> TrialRow | None:
    """The first of the `ranked` trials, or None where none is complete."""
    return next(iter(ranked(entries)), None)


def causes(entries: Iterable[TrialRow]) -> Counter[str]:
    """How many trials did not end well, by cause; a failed trial without one counts as "unknown"."""
    return Counter(entry.cause or "unknown" for entry in entries if entry.cause is not None or entry.state == "FAIL")
