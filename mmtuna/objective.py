"""`mmtuna.Objective`: a spec as an objective in Optuna's plain sense, for `study.optimize`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import optuna

from mmtuna.homes import Home, find_home
from mmtuna.objectives.folds import FoldedObjective
from mmtuna.objectives.outcome import Ending, Evaluation, Outcome, TrialOrder
from mmtuna.objectives.trial.fork_server import SERVER
from mmtuna.search.checking.preparing import prepare
from mmtuna.search.errors import NotReadyError
from mmtuna.search.trials.conclude import Collapse, Scoring, end_of, has_found, is_given_up
from mmtuna.search.work.beginning import slots_of
from mmtuna.search.work.pace import measured, speed_on
from mmtuna.search.work.packing import said_slots
from mmtuna.search.work.worker import Slot
from mmtuna.spaces.errors import InputError, true_or_false, whole_number_or_none
from mmtuna.spaces.parameter import Params, Value
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import check_sampled, check_settings
from mmtuna.spaces.speed import AUTOMATIC, Speed
from mmtuna.spaces.trials import LAST_STEP
from mmtuna.studies.attributes import HISTORY, REPLICATE, SEARCHED, SEED, SETTINGS
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import study_lock
from mmtuna.studies.storage.optuna_insides import as_read
from mmtuna.studies.strategy.beginning import note_searched, searched_by
from mmtuna.studies.strategy.folding import fold_test
from mmtuna.studies.strategy.pruning import collapse_stops
from mmtuna.studies.study import lies_in

Suggest = Callable[[optuna.Trial], Mapping[str, Value]]
"""From a trial to settings and dotted config keys, by whatever the trial suggests."""


class TrialFailedError(RuntimeError):
    """A training that failed. `cause` is its name, as it stands on the trial: out of memory, crashed, deadline, ..."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(f"{cause}: {message}")
        self.cause = cause


class Objective:
    """Trains one set of params a call, each in a process of its own, and returns the study's metric.

        study = optuna.create_study(direction="maximize")
        study.optimize(mmtuna.Objective("study.toml", slots=2), n_trials=20, n_jobs=2)

    Any study, sampler, pruner, callback and storage of Optuna will do. Evaluations are reported at steps in percent of
    the training, 1 to 100. The trial gets what `mmtuna run` leaves: params, seed, curve, metrics, cause and cost as
    user attributes, its files in a folder, pictures as artifacts.

    A call raises optuna.TrialPruned where the pruner says so or the loss diverged, TrialFailedError with its cause for
    a training that failed, and InputError for params or a study that cannot be trained on.

    Args:
        spec: a StudySpec, or the path of a study.toml.
        suggest: from a trial to settings (docs/spec.md) and dotted config keys, in place of the spec's [space].
        slots: how many calls share this machine, which is to be `n_jobs`: each gets its share of the CPU's threads and
            devices; what [resources] says where not given.
        stop_collapses: whether a trial that never found one of the classes is stopped at 60 % of its training, once
            another one of the study found all. Under a NopPruner none is.

    Everything that can be known to fail is checked at once, as `mmtuna check` does; NotReadyError, an InputError, holds
    all `problems`. What a person should read though nothing is wrong stands in `notes`.
    """

    def __init__(
        self,
        spec: StudySpec | str | Path,
        *,
        suggest: Suggest | None = None,
        slots: int | None = None,
        stop_collapses: bool = True,
    ) -> None:
        slots = whole_number_or_none("slots", slots, 1)
        self._stop_collapses = true_or_false("stop_collapses", stop_collapses)
        if suggest is not None and not callable(suggest):
            raise InputError(f"suggest: give a function from a trial to settings, not {suggest!r}")
        self.spec = StudySpec.of(spec)
        if self.spec.study.artifacts is not None:
            raise InputError(
                "[study] artifacts: an Objective keeps files in the study's folder alone; use mmtuna.run, or remove it"
            )
        SERVER.begin()  # imports torch while the data are read
        ready = prepare(self.spec, slots=slots or said_slots(self.spec.resources), own_params=suggest is not None)
        if ready.problems:
            raise NotReadyError(ready.problems)
        self._slots = slots_of(ready, slots)
        self.notes = tuple(ready.notes)
        self._scoring = Scoring.of(self.spec.study)
        self._suggest = suggest
        self._training = ready.objective()
        self._whole = ready.whole(self._training)
        ready.save()
        self._fingerprints = ready.fingerprints()
        self._taken = [0] * len(self._slots)
        self._lock, self._measuring = threading.Lock(), threading.Lock()
        self._homes: dict[object, Home] = {}

    def __call__(self, trial: optuna.Trial) -> float:
        """Trains the params that `trial` suggests; the metric's value, 0 to 1."""
        home = self._home(trial)
        params = self._params(trial, home)
        order = self._order(trial, params, home)
        with home.holding(trial) as lost, self._slot() as slot:
            watch = self._watch(trial, home, lost)
            training = replace(self._training, folder=home.folder, speeds=self._speeds(home, slot, params))
            whole = replace(self._whole, objective=training) if isinstance(self._whole, FoldedObjective) else training
            outcome = whole.run(replace(order, device=slot.device, threads=slot.threads), watch)
        return self._conclude(trial, home, outcome)

    def _home(self, trial: optuna.Trial) -> Home:
        # One call chooses for the others, which come at the same time.
        with self._lock:
            home = find_home(self._homes, trial, self.spec, self._fingerprints)
            if home.study is not None:
                self._note_searched(home.study, home.space)
            return home

    def _note_searched(self, study: optuna.Study, space: SearchSpace) -> None:
        """Keeps by what the study is searched, each time anew: a person may give it another sampler at any time."""
        table = self.spec.study
        sampler, pruner = searched_by(study, table, space)
        if [sampler, pruner] in study.user_attrs.get(SEARCHED, ()):
            return
        before = any(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
        with study_lock(table.storage, table.name) if lies_in(study, table.storage) else nullcontext():
            note_searched(study, sampler, pruner, before=before)

    def _params(self, trial: optuna.Trial, home: Home) -> Params:
        if self._suggest is None:
            return home.space.suggest(trial)
        given = self._suggest(trial)
        if not isinstance(given, Mapping):
            raise InputError(f'suggest gives {given!r}; return settings by name, such as {{"lr_adam": 0.001}}')
        params = dict(given)
        check_settings(params, "suggest")
        check_sampled(params, "suggest")
        for name in params:
            if name in self.spec.train:
                raise InputError(f"suggest gives {name}, which [train] fixes; remove it from one of the two")
        trial.set_user_attr(SETTINGS, params)
        return params

    def _order(self, trial: optuna.Trial, params: Params, home: Home) -> TrialOrder:
        known = trial.user_attrs
        with self._lock:  # two calls with the same params at once take two seeds
            free, first = home.free_replicate(params, trial.number)
            replicate = int(known.get(REPLICATE, free))
            seed = int(known.get(SEED, first + replicate))
            for name, value in ((REPLICATE, replicate), (SEED, seed)):
                trial.set_user_attr(name, value)
        return TrialOrder(number=trial.number, params=params, seed=seed, resume=HISTORY in known)

    @contextmanager
    def _slot(self) -> Iterator[Slot]:
        """The slot that fewest calls use. None waits: more calls than slots share them."""
        with self._lock:
            place = self._taken.index(min(self._taken))
            self._taken[place] += 1
        try:
            yield self._slots[place]
        finally:
            with self._lock:
                self._taken[place] -= 1

    def _speeds(self, home: Home, slot: Slot, params: Params) -> dict[str, Speed]:
        """What is done for speed on the slot's device; the first call on a kind of device measures for all others."""
        if self.spec.train.get("speed") != AUTOMATIC:
            return {}
        with self._measuring:
            if slot.device not in home.speeds:
                if home.study is None:
                    found = measured(slot, self._training, params)
                else:
                    say = optuna.logging.get_logger("mmtuna").info
                    found = speed_on(slot, self._training, params, home.study, nullcontext(), say)
                home.speeds[slot.device] = found
            return dict(home.speeds)

    def _watch(self, trial: optuna.Trial, home: Home, lost: Callable[[], bool]) -> _Watch:
        if home.study is None:  # a FixedTrial, which nothing stops
            return _Watch(trial, self._scoring, lost, Collapse(LAST_STEP, lambda: False), None)
        study, between = trial.study, fold_test(self.spec.study)
        # What compares between folds stands as NopPruner in the study, and stops trials all the same.
        stops = collapse_stops(study.pruner if between is None else self.spec.study.pruner)
        collapse = Collapse(stops if self._stop_collapses else LAST_STEP, lambda: has_found(study))
        return _Watch(trial, self._scoring, lost, collapse, between)

    def _conclude(self, trial: optuna.Trial, home: Home, outcome: Outcome) -> float:
        if outcome.ending is Ending.INTERRUPTED:
            raise TrialFailedError("lost", "the lease on the trial ran out while this process stood still")
        end = end_of(outcome, self._scoring, self.spec.study.folder)
        for name, value in end.attrs.items():
            trial.set_user_attr(name, value)
        for name, excess in end.constraints.items():
            trial.set_constraint(name, excess)
        home.show(trial, outcome)
        home.retain()
        if end.report is not None:
            step, value = end.report
            trial.report(value, step)
        if end.state == optuna.trial.TrialState.PRUNED:
            raise optuna.TrialPruned(outcome.message or f"stopped at {outcome.curve[-1].step} % of its training")
        if end.value is None:
            raise TrialFailedError(str(end.attrs["cause"]), str(end.attrs["message"]))
        return end.value


class _Watch:
    """Between a training and its trial: reports evaluations, passes on the pruner's answer."""

    def __init__(
        self,
        trial: optuna.Trial,
        scoring: Scoring,
        lost: Callable[[], bool],
        collapse: Collapse,
        fold_test: int | None,
    ) -> None:
        self._trial, self._scoring, self.lost, self._fold_test = trial, scoring, lost, fold_test
        self._highest, self._collapse = float("-inf"), collapse
        # One that was put back has reported some: Optuna warns of each that it is told again.
        known = as_read(trial).intermediate_values if isinstance(trial, optuna.Trial) else {}
        self._steps: set[int] = set(known)

    def evaluated(self, evaluation: Evaluation) -> bool:
        value, dead = evaluation.metrics.get(self._scoring.metric), self._collapse.is_dead(evaluation)
        if value is None:
            return False
        reported, self._highest = self._scoring.reported(value, self._highest), max(self._highest, value)
        if evaluation.step not in self._steps:  # one that is gone on from tells again what it told before
            self._steps.add(evaluation.step)
            self._trial.report(reported, evaluation.step)
        if evaluation.step >= LAST_STEP:
            return False
        return dead or is_given_up(evaluation, self._trial, self._fold_test) or self._trial.should_prune()

    def progressed(self, iteration: int, iterations: int, seconds: float) -> None:
        """Optuna has nowhere to show it."""

    def interrupted(self) -> bool:
        """Ctrl-C raises KeyboardInterrupt where the call waits, which ends the training's process."""
        return False
