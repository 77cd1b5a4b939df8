"""One study in simulated time: a queue of events over its workers, the very sampler and pruner of a real one."""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count, cycle

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, MedianPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mmtuna.objectives.recorded import Recorded
from mmtuna.search.simulation.candidates import Rungs, candidate
from mmtuna.search.simulation.pool import Answers, Pool
from mmtuna.search.simulation.setting import PLAIN, Knows, Setting
from mmtuna.search.trials.conclude import Collapse, has_collapsed
from mmtuna.spaces.parameter import Params, Value
from mmtuna.spaces.trials import LAST_STEP
from mmtuna.studies.results import DIVERGED_VALUE
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.standing import params_key
from mmtuna.studies.statistics.seeds import noise_floor
from mmtuna.studies.strategy.confirming import CONFIGS, surest, to_search, trainings
from mmtuna.studies.strategy.pruning import build_pruner
from mmtuna.studies.strategy.sampling import SpaceSampler, build_sampler
from mmtuna.studies.strategy.stopping import at_this_pace, is_settled
from mmtuna.studies.strategy.warming import SamplerBefore

_REFUSALS = 20
"""Proposals without an answer, for each trial of the budget, after which a study is given up."""


@dataclass(kw_only=True)
class Course:
    """What became of a simulated study.

    `found` holds, for each trial that was the best so far, (iterations, seconds) that the study had taken by then, and
    what its config is worth: the trial's value but for noise that was asked for, and where answers are alike the mean
    of what its trainings come to. Its last entry is what the study chooses.
    `told` are the values of all that finished, in order, NaN of those that were stopped. `ends` counts trials by how
    they ended, `unanswered` those among them that no recorded trial is near to, `collapsed` those that ended so.
    `moved` are the distances from proposals to what was trained in their place; `starved` says that no recorded trial
    was left, `settled` that it stopped by itself.
    """

    found: list[tuple[int, float, float]] = field(default_factory=list)
    told: list[float] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    collapsed: int = 0
    iterations: int = 0
    seconds: float = 0.0
    moved: list[float] = field(default_factory=list)
    starved: bool = False
    settled: bool = False

    @property
    def final(self) -> float:
        """What the config is worth that was chosen in the end, 0 where no trial was complete."""
        return self.found[-1][2] if self.found else 0.0

    def reached(self, value: float) -> tuple[float, float]:
        """Iterations and seconds until the best was `value` or more; infinite where it never was."""
        return next(((float(i), s) for i, s, best in self.found if best >= value), (float("inf"), float("inf")))


class _Moved(SamplerBefore):
    """What `base` proposes, moved to the nearest recorded trial that no trial of the study was moved to yet."""

    def __init__(self, base: BaseSampler, pool: Pool) -> None:
        super().__init__(base)
        self._pool = pool
        self.left = set(range(len(pool.trials)))
        self._proposed: tuple[int, float] | None = None

    def nearest(self, wanted: Sequence[Params]) -> list[Params]:
        """The params of the recorded trials that are nearest to each of `wanted`, no trial twice."""
        left, found = set(self.left), []
        for params in wanted[: len(left)]:
            place, _ = self._nearest(params, left)
            left.discard(place)
            found.append(self._pool.trials[place].params)
        return found

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        self._proposed = self._nearest(self.base.sample_relative(study, trial, search_space), self.left)
        return dict(self._pool.trials[self._proposed[0]].params)

    def played(self, params: Params) -> tuple[int, float]:
        """Which recorded trial a trial of `params` is, none of them twice, and how far these were moved."""
        place, distance = self._nearest(params, self.left)
        if self._proposed is not None and self._proposed[0] == place:  # else it was enqueued
            distance = self._proposed[1]
        self.left.discard(place)
        return place, distance

    def _nearest(self, params: Params, left: set[int]) -> tuple[int, float]:
        """The nearest of the recorded trials in `left`, and its distance."""
        distances = self._pool.distances(params)
        place = min(left, key=lambda place: (distances[place], place))
        return place, float(distances[place])


@dataclass
class _Running:
    trial: optuna.Trial
    played: Recorded
    collapse: Collapse
    shift: float = 0.0
    done: int = 0
    highest: float = float("-inf")

    def cost(self) -> tuple[int, float]:
        """Iterations and seconds from the last event to the next: an evaluation, or the end of its process."""
        curve, before = self.played.curve, self.played.curve[self.done - 1] if self.done else None
        now = (curve[self.done].iteration, curve[self.done].seconds) if self.done < len(curve) else self._whole()
        iterations, seconds = (before.iteration, before.seconds) if before is not None else (0, 0.0)
        return max(0, now[0] - iterations), max(0.0, now[1] - seconds)

    def _whole(self) -> tuple[int, float]:
        return self.played.iterations, self.played.seconds

    def closing(self) -> float:
        """Seconds of a trial beside its training: its process starts and ends, also that of one that is stopped."""
        return max(0.0, self.played.seconds - self.played.curve[-1].seconds) if self.played.curve else 0.0


class Simulation:
    """One study; `run` it once.

    Args:
        sampler, pruner: the study's, as `searchers` makes them.
        seed: of what seeds do to a training, where they do; the sampler has its own.
        answers: "recorded": proposals are moved to recorded trials, each of which is trained once; "alike": each is
            told as a recorded trial that is alike, in the world of `seed`; else what it is told is made of the recorded
            trials `within` that distance, and where there are none it fails.
        first: params to begin with, such as a portfolio's.
    """

    def __init__(
        self,
        pool: Pool,
        setting: Setting,
        sampler: BaseSampler,
        pruner: BasePruner,
        *,
        seed: int = 0,
        answers: Answers = "recorded",
        within: float = 0.0,
        first: Sequence[Params] = (),
    ) -> None:
        self._pool, self._setting, self._answers, self._within = pool, setting, answers, within
        self._moved = _Moved(sampler, pool) if answers == "recorded" else None
        self.study = optuna.create_study(
            direction="maximize", sampler=self._moved or sampler, pruner=pruner, study_name=f"simulated-{seed}"
        )
        self._events: list[tuple[float, int, _Running | None]] = []
        self._rungs: Rungs[_Running] | None = Rungs.of(setting.pruner, setting.evaluations)
        self._training = 0
        self._found = False  # by a trial that was trained to its end, all classes
        self._order = count()
        self._now = 0.0
        self._seed, self._chance = seed, random.Random(seed)
        self._complete: list[tuple[float, float, Recorded]] = []  # what it was told to be, what it is worth
        self.course = Course()
        for params in first if self._moved is None else self._moved.nearest(first):
            self.study.enqueue_trial(dict(params))

    def run(self) -> Course:
        """Simulates the study until its budget is used, or no recorded trial is left."""
        self._fill()
        while self._events and not self._is_over():
            self._now, _, running = heapq.heappop(self._events)
            self.course.seconds = self._now
            if running is not None:
                self.course.iterations += running.cost()[0]
                if self._goes_on(running):
                    self._schedule(running)
                    continue
            self._fill()
        if self._complete and self._setting.confirm:
            self._confirm()
        return self.course

    def _is_over(self) -> bool:
        """Whether the search's part of a budget of iterations or seconds is used up; what runs then is dropped."""
        iterations, seconds = self._setting.iterations, self._setting.seconds
        searches = 1 - self._setting.confirm
        if seconds is not None and self._events[0][0] > searches * seconds:
            self.course.seconds = searches * seconds
            return True
        return iterations is not None and self.course.iterations >= searches * iterations

    def _confirm(self) -> None:
        """Trains the best configs once more, in turn, with what is left of the budget, and chooses the surest."""
        setting, course = self._setting, self.course
        best = self._best_configs()
        told = {place: [entry[0]] for place, entry in enumerate(best)}
        free = [course.seconds] * setting.workers
        lacks = setting.trials - self._finished()
        iterations, seconds = setting.iterations, setting.seconds
        if course.settled:  # its share of what was used, as of a whole budget
            whole = 1 / (1 - setting.confirm)
            lacks = trainings(setting.confirm, self._finished(), setting.trials)
            iterations = None if iterations is None else min(iterations, round(whole * course.iterations))
            seconds = None if seconds is None else min(seconds, whole * course.seconds)
        for place in cycle(told):
            _, worth, played = best[place]
            starts = min(free)
            over = lacks <= 0 and iterations is None and seconds is None
            over |= iterations is not None and course.iterations >= iterations
            if over or (seconds is not None and starts + played.seconds > seconds):
                break
            lacks -= 1
            heapq.heapreplace(free, starts + played.seconds)
            course.iterations += played.iterations
            told[place].append(self._again(played, worth, len(told[place])))
        course.seconds = max(free)
        chosen = surest(told, noise_floor(told.values()))
        course.found.append((course.iterations, course.seconds, best[chosen][1]))

    def _best_configs(self) -> list[tuple[float, float, Recorded]]:
        """The best trial of each of the best configs, the best first."""
        found: dict[str, tuple[float, float, Recorded]] = {}
        for entry in sorted(self._complete, key=lambda entry: -entry[0]):
            found.setdefault(params_key(entry[2].params), entry)
        return list(found.values())[:CONFIGS]

    def _again(self, played: Recorded, worth: float, times: int) -> float:
        """What one more training of a config comes to that was trained so many `times`."""
        if self._answers == "alike":
            drawn = self._pool.answer(played.params, self._answers, self._within, self._seed, times)
            found = None if drawn is None else self._pool.value(drawn)
            return DIVERGED_VALUE if found is None else found
        return worth + self._shift()

    def _shift(self) -> float:
        """What a seed adds to the metric of a training that has not collapsed."""
        return self._chance.gauss(0.0, self._setting.noise) if self._setting.noise else 0.0

    def _fill(self) -> None:
        """Gives free workers trials, as `mmtuna.studies.asking.ask` would."""
        while len(self._events) < self._setting.workers:
            waiting = self._rungs.next() if self._rungs is not None else None
            if waiting is not None:
                self._go_on_with(waiting)
                continue
            if not self._asks_for_more():
                break
            trial = self.study.ask()
            params = self._pool.space.suggest(trial)
            played = self._played(params)
            if played is None:
                self.study.tell(trial, state=TrialState.FAIL)
                self.course.ends["unanswered"] += 1
            else:
                self._training += 1
                collapses = has_collapsed(self._pool.scoring.counting(played.curve))
                dies = Collapse(self._setting.collapse, lambda: self._found)
                self._schedule(_Running(trial, played, dies, 0.0 if collapses else self._shift()))

    def _go_on_with(self, waiting: _Running) -> None:
        """A trial that waited trains on from its checkpoint, as another one of the study with the same params."""
        self.study.enqueue_trial(dict(waiting.played.params))
        trial = self.study.ask()
        self._pool.space.suggest(trial)
        self.course.ends["pruned"] -= 1
        self.course.collapsed -= has_collapsed(waiting.played.curve[waiting.done - 1])
        self._training += 1
        running = replace(waiting, trial=trial)
        starts = self._now + waiting.closing()
        heapq.heappush(self._events, (starts + running.cost()[1], next(self._order), running))

    def _asks_for_more(self) -> bool:
        ends, setting = self.course.ends, self._setting
        by_trials = setting.iterations is None and setting.seconds is None
        if by_trials and self._finished() + self._training >= to_search(setting.confirm, setting.trials):
            return False
        # As in a real study: not before all that was enqueued has begun.
        queued = any(trial.state == TrialState.WAITING for trial in self.study.get_trials(deepcopy=False))
        self.course.settled = setting.stop and not queued and self._is_settled()
        if self.course.settled:
            return False
        used_up = self._moved is not None and not self._moved.left
        self.course.starved = used_up or ends["unanswered"] >= _REFUSALS * setting.trials
        return not self.course.starved

    def _is_settled(self) -> bool:
        """Whether nothing better is to be expected, in trials; of iterations or seconds by what these cost so far."""
        setting, told = self._setting, self.course.told
        finished, searches = self._finished(), 1 - setting.confirm
        left = to_search(setting.confirm, setting.trials) - finished
        used = ((setting.iterations, self.course.iterations), (setting.seconds, self.course.seconds))
        paid = [at_this_pace(finished, cost, searches * budget - cost) for budget, cost in used if budget is not None]
        left = min(paid, default=left)
        return bool(self._complete) and is_settled(finished, since_best(told), left)

    def _finished(self) -> int:
        ends = self.course.ends
        return ends["complete"] + ends["pruned"] + ends["diverged"]

    def _played(self, params: dict[str, Value]) -> Recorded | None:
        if self._moved is None:
            return self._pool.answer(params, self._answers, self._within, self._seed)
        place, distance = self._moved.played(params)
        self.course.moved.append(distance)
        return self._pool.trials[place]

    def _schedule(self, running: _Running) -> None:
        heapq.heappush(self._events, (self._now + running.cost()[1], next(self._order), running))

    def _goes_on(self, running: _Running) -> bool:
        """Takes a trial's next evaluation, or its end; whether it goes on from there."""
        curve = running.played.curve
        if running.done == len(curve):
            self._end(running)
            return False
        evaluation, scoring = curve[running.done], self._pool.scoring
        running.done += 1
        dead = running.collapse.is_dead(evaluation)
        value = evaluation.metrics.get(scoring.metric)
        if value is None:
            return True
        value += running.shift
        running.trial.report(scoring.reported(value, running.highest), evaluation.step)
        running.highest = max(running.highest, value)
        if evaluation.step >= LAST_STEP:
            return True
        waits = self._rungs is not None and not self._rungs.passes(running.done, value, running)
        if not dead and not waits and not running.trial.should_prune():
            return True
        self.course.ends["pruned"] += 1
        self.course.collapsed += has_collapsed(evaluation)
        self.course.told.append(math.nan)
        self.study.tell(running.trial, state=TrialState.PRUNED)
        self._training -= 1
        # Its worker is free when its process has ended.
        heapq.heappush(self._events, (self._now + running.closing(), next(self._order), None))
        return False

    def _end(self, running: _Running) -> None:
        trial, played = running.trial, running.played
        self._training -= 1
        came_to = self._pool.value(played)
        if came_to is None:
            trial.report(DIVERGED_VALUE, min(LAST_STEP, played.curve[-1].step + 1) if played.curve else 1)
            self.study.tell(trial, state=TrialState.PRUNED)
            self.course.ends["diverged"] += 1
            self.course.told.append(math.nan)
            return
        value = came_to + running.shift
        worth = self._pool.worth(trial.params, came_to, self._answers, self._seed)
        self.study.tell(trial, value)
        self.course.ends["complete"] += 1
        self.course.told.append(value)
        collapsed = has_collapsed(self._pool.scoring.counting(played.curve))
        self.course.collapsed += collapsed
        self._found |= not collapsed
        if value > max((told for told, _, _ in self._complete), default=-math.inf):
            self.course.found.append((self.course.iterations, self._now, worth))
        self._complete.append((value, worth, played))


def since_best(told: Sequence[float]) -> int:
    """How many trials have finished since the best did, the first of equals; all, where none was complete."""
    known = [(-value, place) for place, value in enumerate(told) if not math.isnan(value)]
    return len(told) - 1 - min(known)[1] if known else len(told)


def searchers(
    pool: Pool, table: StudyTable, setting: Setting, seed: int, knows: Knows | None = None
) -> tuple[BaseSampler, BasePruner]:
    """Sampler and pruner of a study of `table` searched so: those that `mmtuna run` takes, or plain Optuna's."""
    if setting.sampler == PLAIN:
        # It draws one parameter after the other, as `trial.suggest_*` does.
        return SpaceSampler(TPESampler(seed=seed), pool.space, seed=seed), MedianPruner()
    pruner = candidate(setting.pruner)
    update = {"sampler": setting.sampler, "seed": seed, "trials": setting.trials}
    named = table.model_copy(update=update | ({"pruner": setting.pruner} if pruner is None else {}))
    knows = knows or Knows()
    sampler = build_sampler(
        named,
        pool.space,
        0,
        priors=knows.prior.get(setting.prior),
        earlier=knows.warm.get(setting.warm, ()),
    )
    return sampler, pruner or build_pruner(named)
