"""What the dashboard shows beyond Optuna's own: notes, plots and files of a study, brought up to date."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from mmtuna.objectives.trial_files import CONFIG, TrialFolder
from mmtuna.search.trials.curve_picture import curve_png
from mmtuna.search.trials.files import StudyFiles, is_inside
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies import results
from mmtuna.studies.files.artifact_folder import LARGEST
from mmtuna.studies.files.attachments import JSON, PNG, TEXT, Attachments, artifact_files
from mmtuna.studies.files.bucket import S3Error
from mmtuna.studies.report import dashboard_plots, notes
from mmtuna.studies.report.facts import Reading, ReportFacts
from mmtuna.studies.results import TrialRow
from mmtuna.studies.spec.tables import DataTable, StudyTable
from mmtuna.studies.storage.optuna_insides import trial_id, trial_of_number
from mmtuna.studies.storage.outages import database_error

CURVE = "learning_curve"


@dataclass(frozen=True)
class Refreshed:
    """How many notes and plots were written and files attached."""

    notes: int = 0
    plots: int = 0
    files: int = 0


@dataclass(frozen=True, kw_only=True)
class Content:
    """The dashboard's content of one study; any number of processes may bring it up to date."""

    study: optuna.Study
    table: StudyTable
    data: DataTable
    space: SearchSpace
    files: StudyFiles

    def refresh(self, stop: Callable[[], bool] = lambda: False) -> Refreshed:
        """Brings the notes, plots and files of all ended trials up to date; where nothing changed it only reads.

        Every write is a transaction of its own and short: a worker waits for one of them at most. A file that cannot be
        attached is left out: it must not end a search. Once `stop` says so, the rest is left for the next time.
        """
        trials = self.study.get_trials(deepcopy=False)
        ended = [trial for trial in trials if trial.state.is_finished()]
        attachments = Attachments(self.study, artifact_files(self.table), trials)
        files = sum(self._attach_all(attachments, trial) for trial in ended if not stop())
        name_metric(self.study, self.table.metric)
        reading = Reading(self.study, self.space, ReportFacts(asked=self.table.trials))
        bodies: dict[int | None, str] = {
            trial_id(trial): self._note(trial, attachments.pictures(trial.number)) for trial in ended
        }
        bodies[None] = notes.study_note(reading)
        written = notes.save_notes(self.study, bodies, stop)
        return Refreshed(written, dashboard_plots.save_plots(self.study, dashboard_plots.plots(reading)), files)

    def refresh_trial(self, number: int) -> Refreshed:
        """Brings the files, and once it has ended the note, of one trial up to date: what a worker does after each.

        Called before the trial is told, its files are kept with the trial itself, which is quickest to read; called
        after, with the study. A database that does not answer raises nothing: `refresh` adds later what is missing,
        also where a full disk was an OSError.
        """
        try:
            return self._refresh_trial(number)
        except Exception as error:
            if database_error(error) is None:
                raise
            return Refreshed()

    def _refresh_trial(self, number: int) -> Refreshed:
        trial = trial_of_number(self.study, number)
        row = results.row(trial)
        folder = self.files.here(row.folder) if row.folder else None
        pictures = [picture.name for picture in folder.pictures()] if folder else []
        names = (*pictures, f"{CURVE}.png", f"{CURVE}.json", CONFIG)
        attachments = Attachments(self.study, artifact_files(self.table), [trial], names)
        files = self._attach_all(attachments, trial)
        if not trial.state.is_finished():
            return Refreshed(files=files)
        body = self._note(trial, attachments.pictures(number))
        return Refreshed(notes.save_notes(self.study, {trial_id(trial): body}), files=files)

    def _note(self, trial: FrozenTrial, pictures: dict[str, str]) -> str:
        row = results.row(trial)
        return notes.trial_note(
            row,
            metric=self.table.metric,
            value=self.table.value,
            classes=self.data.classes,
            published=notes.row_of_table2(row, self.space),
            pictures=dict(sorted(pictures.items(), key=lambda item: (not item[0].startswith(CURVE), item[0]))),
        )

    def _attach_all(self, attachments: Attachments, trial: FrozenTrial) -> int:
        attached = 0
        for name, content, mimetype in self._contents(attachments, results.row(trial)):
            try:
                attached += attachments.attach(trial.number, content, name=name, mimetype=mimetype)
            except S3Error:
                raise  # the others would fail alike, each after a while
            except InputError:
                continue  # too large, gone or not what its name says; the trial's folder still has it
        return attached

    def _contents(self, attachments: Attachments, row: TrialRow) -> Iterator[tuple[str, Path | bytes, str]]:
        """Name, content and kind of everything that is to be attached to a trial."""
        folder = self._folder(attachments, row)
        for picture in folder.pictures() if folder else ():
            if folder and is_inside(picture, folder.path):
                yield picture.name, picture, PNG
        if row.curve:
            if not attachments.has(row.number, f"{CURVE}.png"):
                yield f"{CURVE}.png", curve_png(row.curve, self.table.metric, f"trial {row.number}"), PNG
            if not attachments.has(row.number, f"{CURVE}.json"):
                yield f"{CURVE}.json", json.dumps(row.curve, indent=1).encode()[:LARGEST], JSON
        if folder and folder.config.is_file() and is_inside(folder.config, folder.path):
            yield CONFIG, folder.config, TEXT

    def _folder(self, attachments: Attachments, row: TrialRow) -> TrialFolder | None:
        if not row.folder:
            return None
        folder = self.files.here(row.folder)
        if folder is None and self.table.artifacts and not attachments.has(row.number, CONFIG):
            # Its worker is to have attached them; another machine can do it from the files in S3.
            with contextlib.suppress(InputError):
                self.files.fetched(row.folder)
            folder = self.files.here(row.folder)
        return folder


def name_metric(study: optuna.Study, metric: str) -> None:
    """Gives the study's value its name, in place of "Objective 0"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if study.metric_names != [metric]:
            study.set_metric_names([metric])
