"""Where a study stands, for who asks often: its ended trials counted and ranked, and the params that are taken.

Kept in the process and brought up to date by what changed, so that asking costs the same in a study of ten thousand
trials as in one of a hundred.
"""

from __future__ import annotations

import json
import math
import threading
import weakref
from bisect import insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from mmtuna.spaces.parameter import Params, Value
from mmtuna.spaces.trials import Cause
from mmtuna.studies.attributes import AGAIN, CAUSE, FOLDER, HISTORY, REPLICATE, SEED, SETTINGS, TABLE2
from mmtuna.studies.storage.optuna_insides import enqueued_params, storage_of, study_id
from mmtuna.studies.storage.worker_storage import Look, WorkerStorage

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def params_key(params: Mapping[str, Value]) -> str:
    """Equal for equal params, whatever their order; 1 and 1.0 are the same number, true is none."""
    plain = {name: float(value) if type(value) is int else value for name, value in params.items()}
    return json.dumps(plain, sort_keys=True)


def params_of(trial: FrozenTrial) -> Params:
    """What `trial` is trained with: its params, those that it waits with, or the settings that a function made of them.

    Of what it was enqueued with a trial that has begun takes no more than the space holds.
    """
    given = trial.user_attrs.get(SETTINGS)
    if isinstance(given, Mapping):
        return dict(given)
    enqueued = None if trial.params and trial.state != TrialState.WAITING else enqueued_params(trial)
    params: Params = {**(enqueued if isinstance(enqueued, Mapping) else {}), **trial.params}
    return params


@dataclass(frozen=True)
class Ended:
    """An ended trial. `folder` is that of its files, relative to the study's; `at` Unix time."""

    number: int
    state: TrialState
    folder: str | None
    cause: str | None
    at: float


class Standing:
    """What one process knows of a study's trials; safe to use from several threads. `standing_of` makes them.

    On a storage that is not a `WorkerStorage` all trials are looked at each time.
    """

    def __init__(self, study: optuna.Study) -> None:
        # Weak: `standing_of` keeps this as long as the storage.
        self._storage, self._study_id = weakref.ref(storage_of(study)), study_id(study)
        self._lock = threading.RLock()
        self.settled: tuple[int, int, int] | None = None
        """When this process found that nothing better is to be expected: how many trials were searched, how many of
        them since the best, and how many more there would have been."""
        self._forget()

    def _forget(self) -> None:
        self._read = 0
        self._finished = 0
        self._ended: list[Ended] = []
        self._ends: dict[int, Ended] = {}
        self._by_time: list[tuple[float, int, Ended]] = []
        self._ranked: list[tuple[float, int]] = []  # minus the value, number
        self._keys: dict[int, str] = {}
        self._replicates: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self._seeded: tuple[int, int] | None = None  # the first trial with a seed, and what this is counted from
        self._lost: list[int] = []
        self._again: set[int] = set()  # trained once more than the search asked for, whatever became of it
        self._failed_again: defaultdict[str, set[int]] = defaultdict(set)
        self._cut_short: set[int] = set()
        self.drawn_out = -1
        """How many trials had finished when last no params were found that what is left of the hours holds."""

    def look(self, *, begun: bool = False, anew: bool = False, locked: bool = True) -> Look:
        """Takes note of trials that ended, and of others as `WorkerStorage.look` does."""
        storage = self._storage()
        if isinstance(storage, WorkerStorage):
            # Not under the lock, which who holds the study's wants as well: this may wait for a connection.
            look = storage.look(self._study_id, begun=begun, anew=anew, locked=locked)
            with self._lock:
                self._take(storage.changes(self._study_id, self._read))
            return look
        assert storage is not None  # the study has it
        with self._lock:
            known = {entry.number: place for place, entry in enumerate(self._ended)}
            self._forget()
            self._take(storage.get_all_trials(self._study_id, deepcopy=False))
            # Who has seen the first so many goes on behind them, though one before them has ended since.
            self._ended.sort(key=lambda entry: known.get(entry.number, len(known)))
        return Look()

    def _take(self, changes: Sequence[FrozenTrial]) -> None:
        for trial in changes:
            self._note(trial)
        self._read += len(changes)

    def _note(self, trial: FrozenTrial) -> None:
        number, key = trial.number, params_key(params_of(trial))
        if number in self._keys:
            self._replicates[self._keys.pop(number)].pop(number, None)
        if trial.state != TrialState.FAIL:  # one that failed gave no result with its seed
            self._keys[number] = key
            self._replicates[key][number] = _replicate(trial)
        seed = trial.user_attrs.get(SEED)
        if isinstance(seed, int) and (self._seeded is None or number < self._seeded[0]):
            self._seeded = number, seed - _replicate(trial)
        if AGAIN in trial.user_attrs:
            self._again.add(number)
            if trial.state == TrialState.FAIL:
                self._failed_again[key].add(number)
        if not trial.state.is_finished():
            return
        if not gives_seed(trial):
            self._cut_short.add(number)
        attrs = trial.user_attrs
        folder = attrs.get(FOLDER)
        entry = Ended(
            number,
            trial.state,
            folder if isinstance(folder, str) else None,
            None if attrs.get(CAUSE) is None else str(attrs[CAUSE]),
            _ended_at(trial),
        )
        self._ended.append(entry)
        self._ends[number] = entry
        insort(self._by_time, (entry.at, number, entry))
        self._finished += trial.state in FINISHED
        value = trial.values[0] if trial.values else None
        if trial.state == TrialState.COMPLETE and value is not None and math.isfinite(value):
            insort(self._ranked, (-value, number))
        if trial.state == TrialState.FAIL and entry.cause == Cause.LOST:
            self._lost.append(number)

    @property
    def finished(self) -> int:
        """How many trials are complete or pruned: those that count."""
        return self._finished

    def best(self) -> tuple[float, int] | None:
        """Value and number of the best complete trial, the earliest of equals; None where none is complete."""
        with self._lock:
            return (-self._ranked[0][0], self._ranked[0][1]) if self._ranked else None

    def confirms(self, number: int) -> bool:
        """Whether trial `number` trains a config once more."""
        with self._lock:
            return number in self._again

    def confirmed(self) -> int:
        """How many of the finished trials trained a config once more."""
        with self._lock:
            return sum(self._ends[number].state in FINISHED for number in self._again if number in self._ends)

    def since_best(self) -> int:
        """How many trials of the search finished after the best complete one; all of them where none is complete."""
        with self._lock:
            found = [entry.number for _, _, entry in self._by_time if entry.state in FINISHED]
            searched = [number for number in found if number not in self._again]
            best = next((number for _, number in self._ranked if number not in self._again), None)
        return len(searched) if best is None else len(searched) - 1 - searched.index(best)

    def least_trained(self, configs: int) -> int | None:
        """Of so many configs that a search found best the trial whose config was trained least often, failures to
        confirm it included, the better of equals; None where no trial is complete."""
        with self._lock:
            best = self._best_configs(configs)
            if not best:
                return None
            return best[min(best, key=self._trainings)]

    def _trainings(self, key: str) -> int:
        """How many seeds a config has or had its chance to get; those that the search cut short are none."""
        return len(self._replicates[key].keys() - self._cut_short) + len(self._failed_again[key])

    def _best_configs(self, count: int) -> dict[str, int]:
        """The search's best trial of each of so many configs, the best first."""
        best: dict[str, int] = {}
        for _, number in self._ranked if count else ():
            if number not in self._again:
                best.setdefault(self._keys[number], number)
                if len(best) == count:
                    break
        return best

    def ranks(self, first: int, beyond: int) -> list[int]:
        """Numbers of the complete trials from place `first` (0: the best) up to `beyond`."""
        with self._lock:
            return [number for _, number in self._ranked[first:beyond]]

    def kept(self, count: int, configs: int) -> list[int]:
        """Numbers of the trials whose checkpoints stay: the best `count` complete ones, and the best of each of so many
        `configs` that the search found best, and of each that was trained once more."""
        with self._lock:
            wanted = {self._keys[number] for number in self._again if number in self._keys}
            wanted |= self._best_configs(configs).keys()
            best: dict[str, int] = {}
            for _, number in self._ranked if wanted else ():
                if self._keys[number] in wanted:
                    best.setdefault(self._keys[number], number)
            return list(dict.fromkeys((*(number for _, number in self._ranked[:count]), *best.values())))

    def better_configs(self, value: float, limit: int) -> int:
        """How many configs the search found to be better than `value`; `limit` where they are that many or more."""
        with self._lock:
            best = set(self._best_configs(limit).values())
            return sum(number in best and -minus > value for minus, number in self._ranked)

    def rank(self, number: int, value: float, limit: int) -> int:
        """The place that trial `number` has, or would have, with `value`; `limit` where it is that or a later one."""
        with self._lock:
            ahead = [other for other in self._ranked[: limit + 1] if other[1] != number and other < (-value, number)]
        return min(len(ahead), limit)

    def ended(self, since: int) -> list[Ended]:
        """The ended trials, as it became known, but the first `since`."""
        with self._lock:
            return self._ended[since:]

    def end_of(self, number: int) -> Ended | None:
        """How trial `number` ended; None where that is not known to have happened."""
        return self._ends.get(number)

    def last(self, count: int) -> list[Ended]:
        """The `count` trials that ended last."""
        with self._lock:
            return [entry for _, _, entry in self._by_time[-count:]]

    def lost(self) -> list[int]:
        """Numbers of the trials that were given up, lost with their workers."""
        with self._lock:
            return list(self._lost)

    def takes(self, params: Params, number: int) -> bool:
        """Whether another trial than `number` has these params, failed ones aside."""
        with self._lock:
            return bool(self._replicates.get(params_key(params), {}).keys() - {number})

    def first_seed(self, seed: int) -> int:
        """What the seeds of the study's trainings are counted from: `seed` where it has none yet.

        By another number than the study was begun with, replicate 1 would have the seed that replicate 0 had.
        """
        with self._lock:
            return seed if self._seeded is None else self._seeded[1]

    def free_replicate(self, params: Params, number: int) -> int:
        """The lowest replicate of `params` that no trial but trial `number` has, failed ones aside."""
        with self._lock:
            of_these = self._replicates.get(params_key(params), {})
            taken = {replicate for other, replicate in of_these.items() if other != number}
        return next(replicate for replicate in range(len(taken) + 1) if replicate not in taken)


_standings: weakref.WeakKeyDictionary[BaseStorage, dict[int, Standing]] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def standing_of(study: optuna.Study) -> Standing:
    """What this process knows of `study`, as it last looked."""
    with _making:
        of_storage = _standings.setdefault(storage_of(study), {})
        if study_id(study) not in of_storage:
            of_storage[study_id(study)] = Standing(study)
        return of_storage[study_id(study)]


def repeated_cause(study: optuna.Study, limit: int = 3) -> str | None:
    """The cause that the last `limit` ended trials share when all of them failed by it; None otherwise.

    Something that fails every trial alike is no matter of params: a search should stop and say so.
    """
    standing = standing_of(study)
    standing.look()
    last = standing.last(limit)
    found = {entry.cause or "unknown" for entry in last}
    if len(last) < limit or len(found) > 1 or any(entry.state != TrialState.FAIL for entry in last):
        return None
    return found.pop()


def gives_seed(trial: FrozenTrial) -> bool:
    """Whether the trial is a training of its config by its seed, be it that it waits, runs or diverged where it was to
    be trained to its end; neither one that failed is, nor one that the search stopped."""
    to_its_end = AGAIN in trial.user_attrs or TABLE2 in trial.user_attrs
    return trial.state != TrialState.FAIL and (trial.state != TrialState.PRUNED or to_its_end)


def _replicate(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get(REPLICATE, 0))


def _ended_at(trial: FrozenTrial) -> float:
    """By the database's clock where that is known: those of the workers may differ."""
    history = trial.user_attrs.get(HISTORY) or [{}]
    if "at" in history[-1]:
        return float(history[-1]["at"])
    own = trial.datetime_complete
    return (own if own.tzinfo else own.replace(tzinfo=UTC)).timestamp() if own else 0.0
