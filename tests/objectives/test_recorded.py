"""A file of recorded trials: whole lines, each trial once, many writers, and read back as it was."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from mmtuna.objectives.evaluation.metrics import Counts
from mmtuna.objectives.outcome import Cause, Ending, Evaluation, Outcome, TrialOrder
from mmtuna.objectives.recorded import RecordFile, load_recorded
from mmtuna.spaces.errors import InputError

ON = {"space": {"preset": "extended"}, "versions": {"torch": "2"}}


def counts(found: int) -> Counts:
    return Counts(intersect=(90, found), predicted=(100 - found, found), labelled=(90, 10))


def curve(*found: int) -> tuple[Evaluation, ...]:
    return tuple(
        Evaluation(
            step=100 * place // len(found),
            iteration=10 * place,
            seconds=2.0 * place,
            metrics={"mIoU": 0.5 + pixels / 100},
            counts=counts(pixels) + counts(0),
            images=(counts(pixels), counts(0)),
        )
        for place, pixels in enumerate(found, start=1)
    )


def outcome(points: tuple[Evaluation, ...], **how: Any) -> Outcome:
    return Outcome(**{"ending": Ending.FINISHED, "curve": points, "seconds": 9.5, "iterations": 30, **how})


def order(number: int = 0) -> TrialOrder:
    return TrialOrder(number=number, params={"loss": "dice", "lr_sgd": 0.01}, seed=7)


def test_a_trial_is_read_back_as_it_was(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "deep" / "a.jsonl", "me", ON)
    assert file.begin() == 0
    points = curve(0, 4, 8)
    file.append(order(), outcome(points))
    (found,) = load_recorded(file.path)
    assert found.curve == points
    assert (found.params, found.seconds, found.iterations, found.cause) == (order().params, 9.5, 30, None)
    row = json.loads(file.path.read_text())
    assert (row["state"], row["seed"], row["on"]) == ("COMPLETE", 7, ON)
    assert row["counts"]["labelled"] == [[180, 20]]  # once: the truth is the same at each evaluation


def test_a_diverged_trial_is_kept_to_where_it_came_and_failures_are_no_curves(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "a.jsonl", "me", ON)
    file.append(
        order(0), outcome(curve(3)[:1], ending=Ending.FAILED, cause=Cause.DIVERGED, message="/home/x", iterations=12)
    )
    file.append(order(1), outcome((), ending=Ending.FAILED, cause=Cause.OUT_OF_MEMORY))
    file.append(order(2), outcome((), ending=Ending.FAILED, cause=Cause.DIVERGED, iterations=4))
    assert "/home/x" not in file.path.read_text()
    early, at_once = load_recorded(file.path)
    assert (early.cause, early.iterations, len(early.curve)) == (Cause.DIVERGED, 12, 1)
    assert (at_once.cause, at_once.iterations, at_once.curve) == (Cause.DIVERGED, 4, ())
    states = [json.loads(line)["state"] for line in file.path.read_text().splitlines()]
    assert states == ["PRUNED", "FAIL", "PRUNED"]


def test_a_trial_stands_there_once_for_each_study(tmp_path: Path) -> None:
    mine, other = (RecordFile(tmp_path / "a.jsonl", study, ON) for study in ("me", "other"))
    for file in (mine, other, mine, other):
        file.append(order(5), outcome(curve(1)))
    assert len(mine.path.read_text().splitlines()) == 2
    assert mine.begin() == other.begin() == 1


def test_what_was_evaluated_without_counts_is_kept_without(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "a.jsonl", "me", ON)
    bare = Evaluation.told({"step": 100, "iteration": 3, "seconds": 1.0, "metrics": {"mIoU": 0.5}})
    file.append(order(), outcome((bare,)))
    assert "counts" not in json.loads(file.path.read_text())
    assert load_recorded(file.path)[0].curve == (bare,)


def _write(path: Path, first: int) -> None:
    file = RecordFile(path, "me", ON)
    for number in range(first, first + 15):
        file.append(order(number), outcome(curve(1, 2)))


def test_several_processes_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    writers = [multiprocessing.get_context("spawn").Process(target=_write, args=(path, 10 * k)) for k in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert sorted(json.loads(line)["number"] for line in path.read_text().splitlines()) == list(range(35))


@pytest.mark.parametrize("text", ['{"number": 1}\n', "half a li", "[]\n"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a.jsonl: line 1 is no recorded trial; remove the line, or give another"):
        RecordFile(path, "me", ON).begin()
    assert path.read_text() == text


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"a.jsonl: cannot be written \(.*\); give another file"):
        RecordFile(tmp_path / "file" / "a.jsonl", "me", ON).begin()
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(InputError, match=r"folder.jsonl: cannot be read \(.*\); give another file"):
        RecordFile(tmp_path / "folder.jsonl", "me", ON).begin()
