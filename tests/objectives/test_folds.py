"""Folds of one trial: pooled counts, comparable steps, and a trial that was cut short is gone on with fold by fold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.split import by_folds, validated, write_lists
from mmtuna.objectives.evaluation.metrics import Counts, metrics, paired, total
from mmtuna.objectives.folds import FoldedObjective, _Course
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import Ending, Evaluation, Outcome, TrialOrder
from mmtuna.spaces.files import write_json_whole
from tests.objectives.conftest import TINY, Listener

ORDER = TrialOrder(number=7, params={}, seed=5)


@pytest.fixture
def folded(phantom: Dataset, tmp_path: Path) -> FoldedObjective:
    """Two folds of the phantom's subjects."""
    folds = by_folds(phantom, folds=2, seed=0)
    lists = tuple(write_lists(fold, tmp_path / f"lists{number}") for number, fold in enumerate(folds))
    whole = tmp_path / "all.txt"
    whole.write_text("".join(f"{name}\n" for name in validated(folds)))
    objective = SegmentationObjective(
        base="unet", dataset=phantom, lists=lists[0], shapes={(64, 64)}, folder=tmp_path / "study", fixed=TINY
    )
    return FoldedObjective(objective=objective, lists=lists, whole=whole)


def figures(outcome: Outcome) -> list[tuple[int, int, dict[str, float]]]:
    return [(point.step, point.iteration, point.metrics) for point in outcome.curve]


def test_a_trial_that_was_cut_short_trains_no_fold_twice(folded: FoldedObjective, tmp_path: Path) -> None:
    alone = replace(folded, objective=replace(folded.objective, folder=tmp_path / "alone"))
    whole = alone.run(ORDER, Listener())
    assert whole.ending is Ending.FINISHED, whole.message
    assert [point.step for point in whole.curve] == [25, 50, 75, 100]
    assert [point.ended_folds for point in whole.curve] == [0, 1, 0, 2]
    assert (whole.iterations, len(whole.folds), len(whole.curve[-1].images)) == (
        8,
        2,
        len(folded.whole.read_text().split()),
    )
    assert whole.curve[-1].counts == whole.folds[0].counts + whole.folds[1].counts  # type: ignore[operator]

    heard = Listener()
    heard.asked = lambda: len(heard.heard) == 3  # within the second fold
    cut = folded.run(ORDER, heard)
    assert (cut.ending, len(cut.curve)) == (Ending.INTERRUPTED, 3)
    trial = folded.objective.trial_folder(7)
    assert not trial.config.exists()
    log = trial.fold(1).log.read_text()
    again = folded.run(replace(ORDER, resume=True), Listener())
    assert again.ending is Ending.FINISHED, again.message
    assert figures(again) == figures(whole)
    assert trial.fold(1).log.read_text() == log
    assert set(trial.read_evaluation()["images"]) == {f"{name}.png" for name in folded.whole.read_text().split()}


def test_a_trial_may_be_stopped_between_two_folds(folded: FoldedObjective) -> None:
    outcome = folded.run(ORDER, Listener(on_evaluated=lambda evaluation: evaluation.ended_folds == 1))
    assert (outcome.ending, [point.step for point in outcome.curve]) == (Ending.STOPPED, [25, 50])
    trial = folded.objective.trial_folder(7)
    assert [folder.path.name for folder in trial.folds()] == ["fold-1"]
    assert trial.read_evaluation()["metrics"] == outcome.curve[-1].metrics
    trial.delete_checkpoints()
    assert not list(trial.path.rglob("*.pth"))


def test_where_images_are_many_their_counts_come_from_the_fold_s_file(folded: FoldedObjective) -> None:
    course = _Course(folded.objective, 2, Listener())
    folder = folded.objective.trial_folder(0).fold(1)
    course.begin(folder, folded.lists[0][1])
    counts = Counts(intersect=(5, 1), predicted=(6, 2), labelled=(6, 2))
    evaluation = Evaluation(step=100, iteration=4, seconds=1.0, metrics={}, counts=counts)
    course.evaluated(evaluation)
    assert course.images is None
    assert course.curve[-1].metrics == metrics(counts, folded.objective.dataset.classes)
    write_json_whole(folder.evaluation, {"iteration": 4, "images": {"a.png": vars(counts)}})
    course.evaluated(evaluation)
    assert course.images == {"a.png": counts}
    assert course.curve[-1].metrics["Dice_per_image"] == 0.5
    assert course.curve[-1].step == 50


def test_images_without_foreground_count_in_a_paired_test() -> None:
    kinds = [((5, 1), (6, 2), (6, 2)), ((8, 0), (8, 0), (8, 0)), ((7, 0), (7, 1), (8, 0))]
    images = [Counts(intersect=i, predicted=p, labelled=t) for i, p, t in kinds]
    assert paired(images) == [0.3333, 1.0, 0.0]
    assert total(images).labelled == (22, 2)
