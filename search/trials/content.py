"""What the dashboard shows beyond Optuna's own: notes, plots and files of a study, brought up to date."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from mmtuna.objectives.trial_files import CONFIG, OVERLAYS
from mmtuna.search.trials.curve_picture import curve_png
from mmtuna.search.trials.folder import folder_to_look
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies import results
from mmtuna.studies.files.artifact_folder import LARGEST
from mmtuna.studies.files.attachments import JSON, PNG, TEXT, Attachments, artifact_files
from mmtuna.studies.files.bucket import S3Error
from mmtuna.studies.files.file_list import Marks
from mmtuna.studies.files.trial_store import trial_marks
from mmtuna.studies.report import dashboard_plots, notes
from mmtuna.studies.report.facts import Reading, ReportFacts
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.optuna_insides import trial_id

CURVE = "learning_curve"


@dataclass(frozen=True)
class Refreshed:
    """How many notes and plots were written and files attached."""

    notes: int = 0
    plots: int = 0
    files: int = 0


def refresh(spec: StudySpec, study: optuna.Study, stop: Callable[[], bool] = lambda: False) -> Refreshed:
    """Brings the notes, plots and files of all ended trials up to date; where nothing changed it only reads.

    Any number of processes may call it. Every write is a transaction of its own and short: a worker waits for one of
    them at most. A file that cannot be attached is left out: it must not end a search. Once `stop` says so, the rest is
    left for the next time.
    """
    trials = study.get_trials(deepcopy=False)
    ended = [trial for trial in trials if trial.state.is_finished()]
    attachments = Attachments(study, artifact_files(spec.study), trials)
    marks = trial_marks(spec.study, study)
    files = sum(_attach_all(spec, study, attachments, trial, marks) for trial in ended if not stop())
    name_metric(study, spec.study.metric)
    reading = Reading(study, spec.search_space(), ReportFacts(asked=spec.study.trials))
    bodies: dict[int | None, str] = {}
    for trial in ended:
        bodies[trial_id(trial)] = _note(spec, reading.space, trial, attachments.pictures(trial.number))

    bodies[None] = notes.study_note(reading)
    written = notes.save_notes(study, bodies, stop)
    return Refreshed(written, dashboard_plots.save_plots(study, dashboard_plots.plots(reading)), files)


def refresh_trial(spec: StudySpec, study: optuna.Study, number: int) -> Refreshed:
    """Brings the files, and once it has ended the note, of one trial up to date: what a worker does after each.

    Called before the trial is told, its files are kept with the trial itself, which is quickest to read; called after,
    with the study. A database that does not answer raises nothing: `refresh` adds later what is missing, also where a
    full disk was an OSError.
    """
    try:
        return _refresh_trial(spec, study, number)
    except optuna.exceptions.StorageInternalError:
        return Refreshed()


def _refresh_trial(spec: StudySpec, study: optuna.Study, number: int) -> Refreshed:
    trials = study.get_trials(deepcopy=False)
    trial = trials[number]
    attachments = Attachments(study, artifact_files(spec.study), trials)
    files = _attach_all(spec, study, attachments, trial, trial_marks(spec.study, study))
    if not trial.state.is_finished():
        return Refreshed(files=files)
    body = _note(spec, spec.search_space(), trial, attachments.pictures(number))
    return Refreshed(notes.save_notes(study, {trial_id(trial): body}), files=files)


def name_metric(study: optuna.Study, metric: str) -> None:
    """Gives the study's value its name, in place of "Objective 0"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if study.metric_names != [metric]:
            study.set_metric_names([metric])


def _note(spec: StudySpec, space: SearchSpace, trial: FrozenTrial, pictures: dict[str, str]) -> str:
    row = results.row(trial)
    return notes.trial_note(
        row,
        metric=spec.study.metric,
        value=spec.study.value,
        classes=spec.data.classes,
        published=notes.row_of_table2(row, space),
        pictures=dict(sorted(pictures.items(), key=lambda item: (not item[0].startswith(CURVE), item[0]))),
    )


def _attach_all(
    spec: StudySpec, study: optuna.Study, attachments: Attachments, trial: FrozenTrial, marks: Marks | None
) -> int:
    attached = 0
    for name, content, mimetype in _files(spec, study, attachments, trial, marks):
        try:
            attached += attachments.attach(trial.number, content, name=name, mimetype=mimetype)
        except S3Error:
            raise  # the others would fail alike, each after a while
        except InputError:
            continue  # too large, gone or not what its name says; the trial's folder still has it
    return attached


def _files(
    spec: StudySpec, study: optuna.Study, attachments: Attachments, trial: FrozenTrial, marks: Marks | None
) -> Iterator[tuple[str, Path | bytes, str]]:
    row = results.row(trial)
    folder = _folder(spec, row.folder)
    if row.folder and marks is not None and marks.left_over(row.folder):
        folder = None  # an earlier study's
    if folder is None and row.folder and spec.study.artifacts and not attachments.has(trial.number, CONFIG):
        # Its worker is to have attached them; another machine can do it from the files in S3.
        folder_to_look(spec, study, row.folder)
        folder = _folder(spec, row.folder)
    if folder is not None:
        for picture in sorted((folder / OVERLAYS).glob("*.png")):
            if _inside(picture, folder):
                yield picture.name, picture, PNG
    if row.curve:
        if not attachments.has(trial.number, f"{CURVE}.png"):
            yield f"{CURVE}.png", curve_png(row.curve, spec.study.metric, f"trial {row.number}"), PNG
        if not attachments.has(trial.number, f"{CURVE}.json"):
            yield f"{CURVE}.json", json.dumps(row.curve, indent=1).encode()[:LARGEST], JSON
    if folder is not None and (config := folder / CONFIG).is_file() and _inside(config, folder):
        yield CONFIG, config, TEXT


def _folder(spec: StudySpec, name: str | None) -> Path | None:
    # The name comes from the database, which others may write to: no file elsewhere is attached for it.
    if not name:
        return None
    folder = spec.study.folder / name
    return folder if _inside(folder, spec.study.folder) and folder.is_dir() else None


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
