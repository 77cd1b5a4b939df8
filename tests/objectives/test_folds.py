"""Folds of one trial: pooled counts, comparable steps, and a trial that was cut short is gone on with fold by fold."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from mmtuna.objectives.ahead import Ahead, Counted
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.split import by_folds, validated, write_lists
from mmtuna.objectives.evaluation.metrics import Counts, metrics, paired, total
from mmtuna.objectives.folds import FoldedObjective, _Course
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import Ending, Evaluation, Outcome, TrialOrder
from mmtuna.spaces.files import write_json_whole
from tests.objectives.conftest import TINY, Listener
from tests.waiting import until

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


class Helper:
    """Another slot: trains one fold ahead, begun before the trial's own slot has heard its first evaluation."""

    def __init__(self, folded: FoldedObjective, device: str = "cpu") -> None:
        self.begun, self.helped = threading.Event(), list[bool]()
        self._thread = threading.Thread(
            target=lambda: self.helped.append(folded.help(device, 1, self._begin, lambda *_: None))
        )

    def _begin(self, trial: int) -> None:
        assert trial == ORDER.number
        self.begun.set()

    def join(self) -> list[bool]:
        self._thread.join(60)
        return self.helped

    def comes(self, evaluation: Evaluation) -> bool:
        """For Listener.on_evaluated: it is there from the first evaluation on."""
        if not self._thread.ident:
            self._thread.start()
            assert self.begun.wait(60)
        return False


def test_a_fold_that_another_slot_trains_ahead_changes_no_figure(folded: FoldedObjective, tmp_path: Path) -> None:
    alone = replace(folded, objective=replace(folded.objective, folder=tmp_path / "alone"))
    whole = alone.run(ORDER, Listener())
    helper, heard = Helper(folded), Listener()
    heard.on_evaluated = helper.comes
    outcome = folded.run(ORDER, heard)
    assert (outcome.ending, helper.join()) == (Ending.FINISHED, [True]), outcome.message
    assert heard.heard == list(outcome.curve)
    assert figures(outcome) == figures(whole)
    assert [fold.metrics for fold in outcome.folds] == [fold.metrics for fold in whole.folds]
    ended = [folder.read_evaluation() for folder in (folded.objective.trial_folder(7), alone.objective.trial_folder(7))]
    assert ended[0] == ended[1]
    assert not folded.help("cpu", 1, lambda trial: None, lambda *_: None)


def test_a_fold_whose_turn_never_comes_leaves_nothing_but_its_seconds(folded: FoldedObjective) -> None:
    helper, heard = Helper(folded), Listener()

    def stop(evaluation: Evaluation) -> bool:
        helper.comes(evaluation)
        return evaluation.ended_folds == 1

    heard.on_evaluated = stop
    outcome = folded.run(ORDER, heard)
    assert (outcome.ending, helper.join()) == (Ending.STOPPED, [True])
    assert [point.step for point in outcome.curve] == [25, 50]
    trial = folded.objective.trial_folder(7)
    assert [folder.path.name for folder in trial.folds()] == ["fold-1"]
    assert outcome.seconds > outcome.curve[-1].seconds


def test_a_fold_that_was_begun_ahead_is_gone_on_with(folded: FoldedObjective, tmp_path: Path) -> None:
    alone = replace(folded, objective=replace(folded.objective, folder=tmp_path / "alone"))
    helper, heard = Helper(folded), Listener()
    heard.on_evaluated, heard.asked = helper.comes, helper.begun.is_set
    cut = folded.run(ORDER, heard)
    assert (cut.ending, helper.join()) == (Ending.INTERRUPTED, [True])
    again = folded.run(replace(ORDER, resume=True), Listener())
    assert again.ending is Ending.FINISHED, again.message
    assert figures(again) == figures(alone.run(ORDER, Listener()))


def test_a_stop_within_a_fold_that_ran_ahead_is_where_it_would_have_been(folded: FoldedObjective) -> None:
    heard: list[Evaluation] = []
    ahead = Ahead(Listener(), lambda evaluation: {}, lambda *_: None)
    points = [Evaluation(step=step, iteration=step, seconds=1.0, metrics={}) for step in (50, 100)]
    assert [ahead.evaluated(point) for point in points] == [False, False]
    folder = folded.objective.trial_folder(7).fold(2)
    folder.predictions.mkdir(parents=True)
    ahead.end(Outcome(ending=Ending.FINISHED, curve=tuple(points), iterations=100, seconds=2.0, folder=folder.path))

    def stop(evaluation: Evaluation, images: Counted) -> bool:
        heard.append(evaluation)
        return True

    outcome = ahead.follow(stop, lambda *_: None)
    assert outcome == Outcome(ending=Ending.STOPPED, curve=(points[0],), iterations=50, seconds=2.0, folder=folder.path)
    assert heard == points[:1]
    assert ahead.interrupted()
    assert not folder.predictions.exists()


def test_what_the_trial_cannot_hear_ends_the_fold_that_ran_ahead(folded: FoldedObjective) -> None:
    ended = threading.Event()
    ahead = Ahead(Listener(), lambda evaluation: {}, lambda *_: None)

    def train() -> None:
        ahead.evaluated(Evaluation(step=50, iteration=2, seconds=1.0, metrics={}))
        assert until(ahead.interrupted, 30)
        ended.set()
        ahead.end(Outcome(ending=Ending.INTERRUPTED))

    def lost(evaluation: Evaluation, images: Counted) -> bool:
        raise RuntimeError("the database is lost")

    helper = threading.Thread(target=train)
    helper.start()
    with pytest.raises(RuntimeError, match="the database is lost"):
        ahead.follow(lost, lambda *_: None)
    assert ended.is_set()
    helper.join()


def test_a_trial_on_another_kind_of_device_is_not_helped(folded: FoldedObjective) -> None:
    heard, asked = Listener(), list[bool]()

    def ask(evaluation: Evaluation) -> bool:
        asked.append(folded.help("cuda:0", 1, lambda trial: None, lambda *_: None))
        return True

    heard.on_evaluated = ask
    folded.run(ORDER, heard)
    assert asked == [False]


def test_where_images_are_many_their_counts_come_from_the_fold_s_file(folded: FoldedObjective) -> None:
    course = _Course(folded.objective, 2, Listener())
    folder = folded.objective.trial_folder(0).fold(1)
    course.begin(folder, ("a.png",))
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
    course.end(Outcome(ending=Ending.FINISHED, curve=(evaluation,)))
    assert [fold.images for fold in course.outcome(folder.path).folds] == [(counts,)], "what trials are paired by"


def test_images_without_foreground_count_in_a_paired_test() -> None:
    kinds = [((5, 1), (6, 2), (6, 2)), ((8, 0), (8, 0), (8, 0)), ((7, 0), (7, 1), (8, 0))]
    images = [Counts(intersect=i, predicted=p, labelled=t) for i, p, t in kinds]
    assert paired(images) == [0.3333, 1.0, 0.0]
    assert total(images).labelled == (22, 2)
