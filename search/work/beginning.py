"""A study is checked, then begun or opened to work, and what the spec asks for is put in its queue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from rich.console import Console

from mmtuna.objectives.devices import cores
from mmtuna.objectives.trial.fork_server import SERVER
from mmtuna.objectives.trial_files import StudyFolder
from mmtuna.search.checking import memory
from mmtuna.search.checking.earlier import find_warmth
from mmtuna.search.checking.preparation import Preparation
from mmtuna.search.checking.preparing import try_combinations
from mmtuna.search.quiet import quiet_optuna
from mmtuna.search.trials.ownership import check_folder, claim_folder
from mmtuna.search.work.forecast import Forecast, forecast
from mmtuna.search.work.hours import too_short, unmeetable
from mmtuna.search.work.packing import loaders_note, said_slots, slots_per_device
from mmtuna.search.work.progress import watched_preparation
from mmtuna.search.work.worker import Slot, make_slots
from mmtuna.spaces.errors import InputError
from mmtuna.studies import study as study_room
from mmtuna.studies.begun import space_of
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import study_lock
from mmtuna.studies.storage.outages import through_outages
from mmtuna.studies.strategy import beginning, enqueuing
from mmtuna.studies.strategy.enqueuing import Replicates
from mmtuna.studies.strategy.sampling import sampler_name


def slots_of(ready: Preparation, wanted: int | None = None) -> list[Slot]:
    """The slots of a preparation without problems: as many as are `wanted`, else those of [resources].

    Adds notes: of what was measured, and of processes that load images where there are too many for them.
    """
    resources = ready.spec.resources
    per_device = 1 if wanted is not None else slots_per_device(ready)
    found = make_slots(ready.devices, per_device, cores(), resources.threads, wanted)
    ready.notes += loaders_note(ready.space, ready.spec.train, len(found))
    return found


def foresee(ready: Preparation, slots: list[Slot], *, quick: bool = False) -> Forecast | None:
    """The forecast for a preparation without problems, which gets one where the study's hours hold no trial, and where
    no trial can meet [resources] deadline or hung; of a study that has begun these are notes, since both may change.

    `quick`: from the usual combination alone where no more is known. None, and a note, where a trial fails when it is
    measured.
    """
    try:
        found = forecast(ready, slots, quick=quick)
    except InputError as error:
        ready.notes.append(f"no forecast: a trial fails when it is measured ({error})")
        return None
    short = too_short(ready.spec.study, found)
    ready.problems += [] if short is None else [short]
    lines = ready.problems if study_room.find_to_look(ready.spec.study) is None else ready.notes
    lines += unmeetable(ready.spec.resources, found)
    return found


@quiet_optuna()
def check_study(
    spec: StudySpec, console: Console, *, probe: bool = True, time: bool = False
) -> tuple[Preparation, Forecast | None]:
    """Everything that `run_study` refuses to begin with, in `problems`; writes to nothing but the cache.

    A picture of validation images that are nearly training images, where there are such, goes into the study's folder.

    Args:
        probe: train one iteration of each combination that matters, and measure how many trials share a device and
            whether one fits into the study's hours and its deadline, unless that is known.
        time: give a forecast, too; None where there are problems, or a trial fails when it is measured.
    """
    found_ready = memory.place_of("ready", spec.describe(), probe, time)
    if memory.recall(found_ready) is None:
        SERVER.begin()  # imports torch while the data are read; it is hardly needed where all went well before
    ready, found = checked(spec, console, said_slots(spec.resources), probe=probe), None
    if not ready.problems and (probe or time):
        try:
            slots = slots_of(ready)
            if time or spec.study.hours is not None or spec.resources.deadline is not None:
                found = foresee(ready, slots)
        except InputError as error:
            ready.problems.append(str(error))
    if not ready.problems:
        memory.keep(found_ready, True)
    return ready, found if time and not ready.problems else None


def lacking(spec: StudySpec, trials: int | None = None) -> int:
    """How many trials the spec's study lacks of `trials` (the spec's by default), whether it has begun or not."""
    wanted, study = trials or spec.study.trials, study_room.find_to_look(spec.study)
    return wanted if study is None else study_room.left(study, wanted)


def checked(
    spec: StudySpec, console: Console, slots: int, *, probe: bool, replicates: Replicates | None = None
) -> Preparation:
    """The preparation of a study for so many `slots`, with all that stands in the way of its next trial in `problems`.

    `probe`: train one iteration of each combination that matters. `replicates`: what is to be trained in place of what
    the sampler proposes.
    """
    try:  # before data are read, which may take minutes
        check_folder(StudyFolder(spec.study.folder), spec.study.name, study_room.find_sound(spec.study))
    except InputError as error:
        return Preparation(spec=spec, space=study_room.space_for(spec)[0], problems=[str(error)])
    ready = watched_preparation(spec, console, slots)
    if not ready.problems:
        ready.problems += _beginning_problems(spec, ready, replicates)
    if not ready.problems:
        ready.notes += ready.show_near_duplicates()
    if probe and not ready.problems:
        try_combinations(ready)
    return ready


def _beginning_problems(spec: StudySpec, ready: Preparation, replicates: Replicates | None) -> list[str]:
    """Why `begin` would refuse the study; nothing is made for the question. Notes of a new one are added."""
    try:
        study = _check_beginning(spec, ready.fingerprints(), replicates)
        if study is not None:
            ready.notes += beginning.goes_on_with(study, spec)
        elif replicates is None:
            odds = ready.odds
            ready.notes += beginning.notes(spec, ready.space, find_warmth(spec, ready.space, odds=odds), odds=odds)
    except InputError as error:
        return [str(error)]
    return []


def _check_beginning(
    spec: StudySpec, fingerprints: Mapping[str, Mapping[str, Any]], replicates: Replicates | None
) -> optuna.Study | None:
    study = study_room.check_opening(spec, fingerprints)
    check_folder(StudyFolder(spec.study.folder), spec.study.name, study)
    if replicates is not None or "table2" in spec.study.enqueue:
        space, _ = study_room.space_for(spec)
        wanted = replicates or Replicates(count=1)
        enqueuing.missing_replicates(study or optuna.create_study(), space, wanted, spec.train)
    return study


def begin(spec: StudySpec, ready: Preparation, replicates: Replicates | None = None) -> optuna.Study:
    """Creates or opens a study that was prepared without problems and enqueues what the spec asks for.

    InputError for one that cannot be continued.
    """
    study = open_to_work(spec, ready.fingerprints(), ready.odds)
    ready.save()
    through_outages(lambda: enqueue(spec, study, replicates))
    return study


def open_to_work(spec: StudySpec, fingerprints: Mapping[str, Mapping[str, Any]], odds: float = 1.0) -> optuna.Study:
    """The study, created where it does not exist, in a folder that is its own from now on; `odds` are those of its data
    (`mmtuna.spaces.portfolio.odds_of`), 1 where nothing is known of them.

    InputError where it was begun on something else than `fingerprints`, and where the folder is another study's.
    """
    _check_beginning(spec, fingerprints, None)
    study = study_room.create_or_open(spec, fingerprints)
    claim_folder(StudyFolder(spec.study.folder), study)
    space = space_of(study, spec)
    with study_lock(spec.study.storage, spec.study.name):
        beginning.settle(study, spec, space, lambda: find_warmth(spec, space, odds=odds), odds=odds)
    return study


def enqueue(spec: StudySpec, study: optuna.Study, replicates: Replicates | None) -> None:
    """Puts what the spec asks for in the queue; with `replicates`, what is missing of these and nothing else."""
    space = space_of(study, spec)
    with study_lock(spec.study.storage, spec.study.name):
        if replicates is not None:
            enqueuing.enqueue_replicates(study, space, replicates, spec.train)
            return
        enqueuing.enqueue_start(study, spec.space.start)
        if "table2" in spec.study.enqueue:
            enqueuing.enqueue_table2(study, space, 1, spec.train)
        enqueuing.enqueue_portfolio(study, beginning.portfolio_of(study))
        if sampler_name(spec.study, space) == "grid":
            enqueuing.enqueue_grid(study, space, spec.study.seed)
