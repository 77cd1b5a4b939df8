"""`[study] hours`: for how long a study may be worked on, what its trials are expected to take, and how it ended."""

from __future__ import annotations

import math

import optuna

from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.search.work.costs import Costs, Expectation
from mmtuna.search.work.forecast import Forecast, duration
from mmtuna.studies.identity import id_of
from mmtuna.studies.leases import clock
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.study import Hours


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


def ending_line(table: StudyTable, study: optuna.Study, *, over: bool) -> str:
    """How much of its hours the study has used, and whether it ended by them; for one that has some."""
    why = "what is left is too short for the trials that were found" if over else "the trials asked for are there"
    used = duration(clock.used(study))
    return f"[study] hours = {table.hours:g}: the study was worked on for {used}; it ends since {why}"
