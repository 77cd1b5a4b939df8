"""Whose checkpoints stay: one ranking, before and after a trial has ended, whoever ended it."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from mmtuna.objectives.trial_files import CHECKPOINTS
from mmtuna.search.trials.files import StudyFiles
from mmtuna.search.trials.retention import Retention
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.standing import Standing, standing_of
from mmtuna.studies.storage.opening import open_storage
from mmtuna.studies.storage.worker_storage import WorkerStorage


def study_of(*values: float | None) -> optuna.Study:
    """A study whose trials have these values; one of None runs."""
    study = optuna.create_study(direction="maximize")
    for value in values:
        study.add_trial(create_trial(value=value, state=TrialState.RUNNING if value is None else TrialState.COMPLETE))
    return study


def looked(study: optuna.Study) -> Standing:
    standing = standing_of(study)
    standing.look()
    return standing


@pytest.mark.parametrize("value", [0.4, 0.5, 0.6])
def test_what_is_said_before_a_trial_ends_holds_after_it(value: float) -> None:
    # Trial 1 ties with trial 2, which began later and ended first, and with trial 0, which is earlier.
    before = Retention(2).would_keep(looked(study_of(0.5, None, 0.5)), 1, value)
    assert before == Retention(2).keeps(looked(study_of(0.5, value, 0.5)), 1) == (value >= 0.5)


def test_of_equals_the_earlier_trials_stay() -> None:
    assert not Retention(2).would_keep(looked(study_of(0.5, 0.5, None)), 2, 0.5)


def table_of(folder: Path) -> StudyTable:
    return StudyTable(name="s", folder=folder, storage=f"sqlite:///{folder}/study.db")


def end(study: optuna.Study, files: StudyFiles, value: float | None) -> int:
    """A trial with checkpoints that ends with `value`, pruned for None; its number."""
    trial = study.ask()
    folder = files.folder.trial(trial.number)
    folder.path.mkdir(parents=True)
    for name in CHECKPOINTS:
        (folder.path / name).touch()
    trial.set_user_attr("folder", f"trials/{trial.number:05d}")
    study.tell(trial, value, state=TrialState.COMPLETE if value is not None else TrialState.PRUNED)
    return trial.number


def with_checkpoints(files: StudyFiles) -> set[int]:
    return {int(path.parent.name) for path in files.folder.path.glob(f"trials/*/{CHECKPOINTS[0]}")}


def test_the_best_keep_their_checkpoints_whoever_ended_them_and_when(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    study = optuna.create_study(
        study_name="s", storage=WorkerStorage(open_storage(table.storage)), direction="maximize"
    )
    other = optuna.load_study(study_name="s", storage=WorkerStorage(open_storage(table.storage)))
    files, retention = StudyFiles(table, tmp_path, study), Retention(2)
    values = (0.3, None, 0.5, 0.1, 0.4, 0.5, None, 0.9, 0.2)
    ended: list[tuple[float, int]] = []
    for place, value in enumerate(values):
        number = end(other if place % 2 else study, files, value)
        ended += [] if value is None else [(-value, number)]
        if place % 3:  # at times several end before anybody looks
            retention.apply(looked(study), files)
            assert with_checkpoints(files) == {number for _, number in sorted(ended)[:2]}
    Retention(1).apply(looked(other), files)  # another worker, begun anew, that is to keep less
    assert with_checkpoints(files) == {sorted(ended)[0][1]}


def test_what_a_worker_wrote_after_it_had_lost_the_trial_goes_as_well(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    study = optuna.create_study(
        study_name="s", storage=WorkerStorage(open_storage(table.storage)), direction="maximize"
    )
    files, retention = StudyFiles(table, tmp_path, study), Retention(1)
    end(study, files, 0.5)
    bad = end(study, files, 0.1)
    retention.apply(looked(study), files)
    late = files.folder.trial(bad).path / CHECKPOINTS[0]
    late.touch()
    retention.apply(looked(study), files)
    assert late.exists()  # it is not looked at again without a reason
    retention.look_again(bad)
    retention.apply(looked(study), files)
    assert not late.exists()


def test_on_a_plain_storage_the_earlier_of_two_trials_may_end_later(tmp_path: Path) -> None:
    table, study = table_of(tmp_path), optuna.create_study(direction="maximize")
    files, retention = StudyFiles(table, tmp_path, study), Retention(1)
    trials = [study.ask() for _ in range(3)]
    for place, value in ((1, 0.9), (0, 0.5), (2, 0.1)):
        trial = trials[place]
        folder = files.folder.trial(trial.number)
        folder.path.mkdir(parents=True)
        (folder.path / CHECKPOINTS[0]).touch()
        trial.set_user_attr("folder", f"trials/{trial.number:05d}")
        study.tell(trial, value)
        retention.apply(looked(study), files)
        assert with_checkpoints(files) == {1}
