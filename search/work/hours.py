"""`[study] hours` and `stop`, and how long a trial may take: what it should take beside that, and how a study ended."""

from __future__ import annotations

import math

import optuna

from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.search.checking.costs import Costs, Expectation
from mmtuna.search.work.forecast import Forecast, duration
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.asking import Budget, Hours
from mmtuna.studies.identity import id_of
from mmtuna.studies.leases import clock
from mmtuna.studies.spec.tables import ResourcesTable, StudyTable
from mmtuna.studies.standing import standing_of
from mmtuna.studies.strategy import stopping
from mmtuna.studies.strategy.confirming import plan_of, seconds_of, to_search


def hours_of(
    table: StudyTable,
    study: optuna.Study,
    objective: SegmentationObjective,
    images: int,
    costs: Costs | None,
    folds: int = 1,
) -> Hours | None:
    """The study's hours, with what its trials are expected to take; None where they have no limit.

    `images` is how many images validate, in each of the `folds` of a trial; without `costs` only trials that ended tell
    what others take.
    """
    if table.hours is None:
        return None
    expectation = Expectation(objective, images, costs, folds)
    return Hours(3600 * table.hours, expectation, expectation.learn, id_of(study))


def too_short(table: StudyTable, found: Forecast) -> str | None:
    """Why no trial of the space would fit into the study's hours; None where one does."""
    if table.hours is None or 3600 * table.hours >= found.trial.least:
        return None
    enough = math.ceil(1000 * 1.5 * found.trial.least / 3600) / 1000
    return (
        f"[study] hours = {table.hours:g} is {duration(3600 * table.hours)}, and the shortest trial takes about "
        f"{duration(found.trial.least)} here; set {enough:g} or more, or fewer [train] iterations"
    )


def unmeetable(table: ResourcesTable, found: Forecast) -> list[str]:
    """Why each trial of the space would fail by the deadline or as hung; empty where one may come through."""
    said, trial, iteration = [], found.trial.least, found.iteration.least
    # Measured beside other work a trial may well seem to take twice as long as it will.
    if table.deadline is not None and table.deadline < trial / 2:
        said.append(
            f"[resources] deadline = {table.deadline:g} is {duration(table.deadline)}, and the shortest trial takes "
            f"about {duration(trial)} here; set {math.ceil(3 * trial)} or more, or fewer [train] iterations"
        )
    if table.hung < iteration / 2:
        said.append(
            f"[resources] hung = {table.hung:g} is {duration(table.hung)}, and an iteration, before whose end there is "
            f"no sign of life, takes about {duration(iteration)} here; set {math.ceil(10 * iteration)} or more"
        )
    return said


def ending_lines(
    table: StudyTable, space: SearchSpace, study: optuna.Study, ended: Budget | None, trials: int, *, timed: bool = True
) -> list[str]:
    """Why a study that was to hold `trials` trials ends, where it has hours, and is `timed`, or stopped by itself."""
    found = []
    if table.hours is not None and timed:
        used = clock.used(study)
        found.append(
            f"[study] hours = {table.hours:g}: the study was worked on for {duration(used)}; it ends since "
            f"{_why(ended, 3600 * table.hours - used)}"
        )
    if ended is Budget.SETTLED:
        searched, since, more = _settled(table, space, study, trials, timed=timed)
        chance = stopping.odds(searched, since, more)
        found.append(
            f'[study] stop = "auto": after {searched} trials the odds are {chance:.0%} that {more} more find one that '
            f'is better by {stopping.WORTH}; stop = "off" goes on'
        )
    return found


def _why(ended: Budget | None, left: float) -> str:
    """Why a study with hours ends, of which so many seconds are `left`."""
    if ended is Budget.SETTLED:
        return "nothing better is to be expected"
    if ended is not Budget.OVER:
        return "the trials asked for are there"
    return "what is left is too short for the trials that were found" if left > 0 else "these are used"


def _settled(
    table: StudyTable, space: SearchSpace, study: optuna.Study, trials: int, *, timed: bool
) -> tuple[int, int, int]:
    """By what the study stopped: trials searched, those since the best, those that there would have been.

    Reckoned anew where another process asked, such as a node of a cluster.
    """
    standing = standing_of(study)
    if standing.settled is not None:
        return standing.settled
    standing.look()
    searched, share = standing.finished - standing.confirmed(), plan_of(table, space).of(trials).confirm
    seconds = None
    if table.hours is not None and timed:
        used, whole = clock.used(study), 3600 * table.hours
        reserved = max(0.0, share * whole - seconds_of(study.get_trials(deepcopy=False)))
        seconds = used, max(0.0, whole - reserved - used)
    return searched, standing.since_best(), stopping.further(to_search(share, trials), searched, seconds)
