"""A trial that finds none of a class that is there: named, counted, told as it is, stopped late."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from mmtuna.objectives.evaluation.metrics import Counts
from mmtuna.objectives.outcome import Ending, Evaluation, Outcome, TrialOrder
from mmtuna.objectives.recorded import RecordFile
from mmtuna.search.trials.conclude import Collapse, Scoring, end_of, ending_text, has_collapsed
from mmtuna.search.work.running import replay_study
from mmtuna.studies import results
from mmtuna.studies.ledger import ending
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.strategy import pruning

NONE_FOUND = Counts(intersect=(90, 0), predicted=(100, 0), labelled=(90, 10))
SOME_FOUND = Counts(intersect=(90, 1), predicted=(99, 1), labelled=(90, 10))
NONE_THERE = Counts(intersect=(100, 0), predicted=(100, 0), labelled=(100, 0))


def evaluation(step: int, counts: Counts | None, value: float = 0.4963) -> Evaluation:
    return Evaluation(step=step, iteration=step, seconds=1.0, metrics={"mIoU": value}, counts=counts)


def outcome(*curve: Evaluation, how: Ending = Ending.FINISHED) -> Outcome:
    return Outcome(ending=how, curve=curve, seconds=3.0, iterations=100)


@pytest.mark.parametrize(
    ("counts", "collapsed"), [(NONE_FOUND, True), (SOME_FOUND, False), (NONE_THERE, False), (None, False)]
)
def test_only_a_class_that_the_truth_has_can_be_missed(counts: Counts | None, collapsed: bool) -> None:
    assert has_collapsed(evaluation(50, counts)) is collapsed


def test_a_collapse_is_a_name_beside_the_value() -> None:
    end = end_of(outcome(evaluation(50, SOME_FOUND), evaluation(100, NONE_FOUND)), Scoring("mIoU"), Path())
    assert (end.state, end.value) == (TrialState.COMPLETE, 0.4963)
    assert end.attrs["cause"] == "collapsed"
    assert end.attrs["message"] == "at 100 % not one pixel was predicted of class 1, which the truth has"
    assert "counts" not in json.dumps(end.attrs)


@pytest.mark.parametrize(
    ("value", "curve", "collapsed"),
    [
        ("last", (evaluation(50, NONE_FOUND), evaluation(100, SOME_FOUND, 0.6)), False),
        ("last", (evaluation(50, SOME_FOUND, 0.6), evaluation(100, NONE_FOUND)), True),
        ("best", (evaluation(50, SOME_FOUND, 0.6), evaluation(100, NONE_FOUND)), False),
        ("best", (evaluation(50, NONE_FOUND), evaluation(100, NONE_FOUND)), True),
    ],
)
def test_the_evaluation_that_counts_says_it(value: str, curve: tuple[Evaluation, ...], collapsed: bool) -> None:
    scoring = Scoring("mIoU", value)
    assert ("cause" in end_of(outcome(*curve), scoring, Path()).attrs) is collapsed
    assert ("collapsed" in ending_text(outcome(*curve), scoring)) is collapsed


def test_from_the_step_that_is_set_a_collapsed_trial_is_stopped_where_others_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = RecordFile(tmp_path / "kept.jsonl", "x", {})
    steps = (20, 40, 60, 80, 100)
    dead = tuple(evaluation(step, NONE_FOUND) for step in steps)
    record.append(TrialOrder(number=0, params={"crop": 64}, seed=0), outcome(*dead))
    found = tuple(evaluation(step, SOME_FOUND, 0.6) for step in steps)
    record.append(TrialOrder(number=1, params={"crop": 96}, seed=0), outcome(*found))
    text = '[study]\nname = "{name}"\ntrials = 3\npruner = "{pruner}"\n[data]\nroot = "."\n[space]\n'
    text += "start = [{{ crop = 64 }}, {{ crop = 96 }}, {{ crop = 64 }}]\n[space.params.crop]\nchoices = [64, 96]\n"
    ends = []
    for name, pruner, stops in (("never", "none", 50), ("late", "median", 50), ("later", "best-third", 70)):
        monkeypatch.setattr(pruning, "COLLAPSE_STOPS", stops)
        spec = tmp_path / f"{name}.toml"
        spec.write_text(text.format(name=name, pruner=pruner) + '[replay]\ncurves = "./kept.jsonl"\n')
        first, _, trial = results.rows(replay_study(StudySpec.load(spec), Console(quiet=True)))
        assert (first.state, first.cause) == ("COMPLETE", "collapsed")  # nothing had been found then
        ends.append((trial.state, trial.value, trial.cause, trial.iterations))
    assert ends == [
        ("COMPLETE", 0.4963, "collapsed", 100),
        ("PRUNED", 0.4963, "collapsed", 60),
        ("PRUNED", 0.4963, "collapsed", 80),
    ]


def test_collapsed_trials_are_counted_and_are_neither_diverged_nor_failed() -> None:
    study = optuna.create_study(direction="maximize")
    for how in (Ending.FINISHED, Ending.STOPPED):
        end = end_of(outcome(evaluation(60, NONE_FOUND), how=how), Scoring("mIoU"), Path())
        trial = study.ask()
        trial.report(0.4963, 60)
        for name, value in end.attrs.items():
            trial.set_user_attr(name, value)
        study.tell(trial, end.value, state=end.state)
    assert results.causes(results.rows(study)) == {"collapsed": 2}
    assert [ending(row) for row in results.rows(study)] == ["complete", "pruned"]


def test_a_trial_that_had_found_something_is_not_dead_though_it_lost_it() -> None:
    lost, never = Collapse(40, lambda: True), Collapse(40, lambda: True)
    assert [never.is_dead(evaluation(step, NONE_FOUND)) for step in (20, 40, 60, 100)] == [False, True, True, False]
    curve = (evaluation(20, SOME_FOUND), *(evaluation(step, NONE_FOUND) for step in (40, 60, 80)))
    assert not any(map(lost.is_dead, curve))
    assert not Collapse(40, lambda: False).is_dead(evaluation(60, NONE_FOUND))
    uncounted = Collapse(40, lambda: True)
    assert not any(map(uncounted.is_dead, (evaluation(20, None), evaluation(40, NONE_FOUND))))
