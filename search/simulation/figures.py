"""Hundreds of simulated studies a setting, and what they come to: cost until a score, regret at the end."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from mmtuna.search.quiet import quiet_optuna
from mmtuna.search.simulation.course import Course, Simulation, searchers
from mmtuna.search.simulation.pool import Answers, Pool
from mmtuna.search.simulation.setting import Knows, Setting
from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec.tables import StudyTable

POINTS = 60
"""Places along the cost at which a picture shows the regret."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """What the studies of one setting came to, all over their seeds.

    `worth` is what the chosen config is worth (see Course), the mean of the studies, and `final` the median. Regret is
    the most that any config can be worth less that, as a fraction. `iterations_to` and `seconds_to` are medians
    of the cost until the target, None where half of the studies never came there; `reached` is the share that did. The
    target is the median of what plain Optuna's studies had in the end, at the same workers and budget, and `of_plain`
    is `iterations_to` over plain Optuna's. Shares are of trials: `pruned`, `collapsed`, and `unanswered`, those to
    whose params no recorded trial is near. `moved` is the median distance from a proposal to what was trained for it.
    `starved` counts studies that ended because no recorded trial was left, or was near.
    """

    setting: Setting
    studies: int
    target: float
    worth: float
    final: float
    regret: float
    regret_95: float
    iterations_to: float | None
    seconds_to: float | None
    of_plain: float | None
    reached: float
    iterations: float
    seconds: float
    pruned: float
    collapsed: float
    unanswered: float
    moved: float | None
    starved: int
    regrets: list[tuple[float, float, float]]
    """For a picture: iterations, and by then median and 95 % of the regret."""

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class Contest:
    """Settings that search the same recorded trials, `studies` times each, by the seeds 0, 1, ...; see Simulation."""

    pool: Pool
    table: StudyTable
    answers: Answers
    within: float
    studies: int
    knows: Knows = field(default_factory=Knows)

    def lines(
        self,
        settings: Sequence[Setting],
        processes: int = 1,
        said: Callable[[Setting, int], object] = lambda _setting, _left: None,
    ) -> list[Line]:
        """A line a setting, each behind plain Optuna at its workers; the same whatever the `processes`.

        `said` hears of each setting that is done, and how many are left.
        """
        plain = [setting.plain() for setting in settings]
        everyone = list(dict.fromkeys(one for pair in zip(plain, settings, strict=True) for one in pair))
        courses = self.courses(everyone, processes, said)
        lines: dict[Setting, Line] = {}
        for setting in everyone:  # plain Optuna stands before those that are held against it
            own = setting.plain()
            target = _median([course.final for course in courses[own]])
            lines[setting] = self._line(setting, courses[setting], target, lines.get(own))
        return list(lines.values())

    def courses(
        self,
        settings: Sequence[Setting],
        processes: int = 1,
        said: Callable[[Setting, int], object] = lambda _setting, _left: None,
    ) -> dict[Setting, list[Course]]:
        """What became of each setting's studies, in the order of their seeds; otherwise as `lines`."""
        found: dict[Setting, list[Course]] = {}
        with _mapping(processes, chunk=max(1, self.studies // (4 * processes))) as over:
            for place, setting in enumerate(settings):
                found[setting] = list(over(partial(_course, self, setting), range(self.studies)))
                said(setting, len(settings) - place - 1)
        return found

    def _line(self, setting: Setting, courses: Sequence[Course], target: float, plain: Line | None) -> Line:
        best = self.pool.most(self.answers)
        regrets = np.array([best - course.final for course in courses])
        costs = np.array([course.reached(target) for course in courses])
        iterations_to, seconds_to = (_known(_median(costs[:, column])) for column in (0, 1))
        against = iterations_to if plain is None else plain.iterations_to
        trials = sum(course.ends.total() for course in courses)
        if not trials:
            raise InputError(f"{setting}: no trial ends within the budget; give more --iterations or --seconds")
        moved = [distance for course in courses for distance in course.moved]
        return Line(
            setting=setting,
            studies=len(courses),
            target=target,
            worth=float(np.mean([course.final for course in courses])),
            final=float(np.median([course.final for course in courses])),
            regret=float(np.median(regrets)),
            regret_95=float(np.quantile(regrets, 0.95)),
            iterations_to=iterations_to,
            seconds_to=seconds_to,
            of_plain=None if iterations_to is None or not against else iterations_to / against,
            reached=float(np.isfinite(costs[:, 0]).mean()),
            iterations=float(np.median([course.iterations for course in courses])),
            seconds=float(np.median([course.seconds for course in courses])),
            pruned=sum(course.ends["pruned"] for course in courses) / trials,
            collapsed=sum(course.collapsed for course in courses) / trials,
            unanswered=sum(course.ends["unanswered"] for course in courses) / trials,
            moved=float(np.median(moved)) if moved else None,
            starved=sum(course.starved for course in courses),
            regrets=_regrets(courses, best),
        )


@quiet_optuna()
def _course(contest: Contest, setting: Setting, seed: int) -> Course:
    sampler, pruner = searchers(contest.pool, contest.table, setting, seed, contest.knows)
    return Simulation(
        contest.pool,
        setting,
        sampler,
        pruner,
        seed=seed,
        answers=contest.answers,
        within=contest.within,
        first=contest.knows.portfolio.get(setting.portfolio, ()),
    ).run()


@contextmanager
def _mapping(
    processes: int, chunk: int
) -> Iterator[Callable[[Callable[[int], Course], Iterable[int]], Iterable[Course]]]:
    """`map` in this process, or over several, so many seeds at a time; results come in order."""
    if processes == 1:
        yield map
        return
    # No fork: threads of numpy's libraries would not survive it.
    pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield partial(pool.map, chunksize=chunk)
    finally:
        pool.shutdown(cancel_futures=True)


def _median(figures: Any) -> float:
    """Of an even number the lower one of both in the middle, so that half of the studies have come there."""
    return float(np.quantile(figures, 0.5, method="lower"))


def _known(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None


def _regrets(courses: Sequence[Course], best: float) -> list[tuple[float, float, float]]:
    end = max(course.iterations for course in courses)
    found = []
    for at in np.linspace(0, end, POINTS + 1)[1:]:
        values = [next((worth for i, _, worth in reversed(course.found) if i <= at), 0.0) for course in courses]
        regrets = best - np.array(values)
        found.append((float(at), float(np.median(regrets)), float(np.quantile(regrets, 0.95))))
    return found
