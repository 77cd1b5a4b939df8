import csv
import io
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from mmtuna.spaces.presets import paper
from mmtuna.spaces.table2 import TABLE2
from mmtuna.studies.leases.transactions import TRIALS, End
from mmtuna.studies.results import (
    best,
    cause_attrs,
    causes,
    cost_attrs,
    diverged,
    evaluation_attrs,
    folder_attrs,
    rows,
)
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.standing import repeated_cause
from mmtuna.studies.storage.opening import engine_of
from mmtuna.studies.strategy.enqueuing import enqueue_table2
from mmtuna.studies.study import create_or_open
from mmtuna.studies.table2 import Spread, table2, to_csv, to_latex, to_markdown
from tests.studies.finishing import finish

Make = Callable[..., StudySpec]


@pytest.fixture
def study(spec_of: Make) -> optuna.Study:
    return create_or_open(spec_of(), {"data": {"sha256": "ab12"}})


def fail(study: optuna.Study, cause: str) -> None:
    trial = study.ask()
    finish(study, trial, End(state=TrialState.FAIL, attrs=cause_attrs(cause, f"{cause}: in full")))


def test_what_is_recorded_is_read_back(study: optuna.Study) -> None:
    study.enqueue_trial({"crop": 320}, user_attrs={"table2": 6, "replicate": 1})
    trial = study.ask()
    trial.suggest_categorical("crop", (192, 320))
    metrics, best_metrics = {"mIoU": 0.5, "IoU.fluid": 0.2}, {"mIoU": 0.6, "IoU.fluid": 0.3}
    curve = [{"step": 50, "iteration": 200, "seconds": 1.5, "mIoU": 0.6}]
    attrs = evaluation_attrs(metrics=metrics, best_metrics=best_metrics, curve=curve)
    attrs |= cost_attrs(seconds=12.5, iterations=400) | folder_attrs("trials/0000")
    assert finish(study, trial, End(state=TrialState.COMPLETE, value=0.5, attrs=attrs))
    entry = rows(study)[0]
    assert (entry.number, entry.state, entry.value, entry.params) == (0, "COMPLETE", 0.5, {"crop": 320})
    assert (entry.metrics, entry.best_metrics, entry.curve) == (metrics, best_metrics, curve)
    assert (entry.seconds, entry.iterations, entry.folder) == (12.5, 400, "trials/0000")
    assert (entry.table2, entry.replicate, entry.cause) == (6, 1, None)
    assert entry.started is not None
    assert entry.ended is not None
    assert entry.started <= entry.ended


def test_rows_of_trials_that_have_not_begun_or_ended(study: optuna.Study) -> None:
    study.enqueue_trial({"crop": 320})
    waiting = rows(study)[0]
    assert (waiting.state, waiting.params, waiting.value, waiting.started) == ("WAITING", {"crop": 320}, None, None)
    study.tell(study.ask(), state=TrialState.PRUNED)
    assert rows(study)[0].value is None


def test_best_is_complete_and_the_earliest(study: optuna.Study) -> None:
    assert best(rows(study)) is None
    for value in (0.3, 0.7, 0.7):
        study.tell(study.ask(), value)
    pruned = study.ask()
    pruned.report(0.9, 20)
    study.tell(pruned, state=TrialState.PRUNED)
    found = best(rows(study))
    assert found is not None
    assert found.number == 1


@pytest.mark.parametrize(("reports", "step", "last"), [([], 20, 20), ([40], 60, 60), ([40], 40, 41)])
def test_a_diverged_trial_is_pruned_at_zero(study: optuna.Study, reports: list[int], step: int, last: int) -> None:
    trial = study.ask()
    for at in reports:
        trial.report(0.5, at)
    finish(study, trial, diverged(step=step, message="loss is NaN at iteration 80"))
    entry = study.trials[0]
    assert (entry.state, entry.value, entry.last_step) == (TrialState.PRUNED, 0.0, last)
    assert rows(study)[0].cause == "diverged"
    assert rows(study)[0].message == "loss is NaN at iteration 80"


def test_causes_are_counted(study: optuna.Study) -> None:
    fail(study, "out of memory")
    fail(study, "out of memory")
    finish(study, study.ask(), diverged(step=1, message=""))
    study.tell(study.ask(), state=TrialState.FAIL)
    study.tell(study.ask(), 0.5)
    assert causes(rows(study)) == {"out of memory": 2, "diverged": 1, "unknown": 1}


@pytest.mark.parametrize(
    ("history", "cause"),
    [
        (["error"] * 3, "error"),
        (["ok", "error", "error", "error"], "error"),
        (["error"] * 2, None),
        (["error", "ok", "error", "error"], None),
        (["error", "error", "crashed"], None),
        (["error", "error", "error", "ok"], None),
        (["diverged"] * 3, None),  # a matter of params: the search goes on
    ],
)
def test_repeated_cause(study: optuna.Study, history: list[str], cause: str | None) -> None:
    for event in history:
        if event == "ok":
            study.tell(study.ask(), 0.5)
        elif event == "diverged":
            finish(study, study.ask(), diverged(step=1, message=""))
        else:
            fail(study, event)
    study.ask()  # one that runs has not ended
    assert repeated_cause(study) == cause
    assert repeated_cause(study, limit=100) is None


def test_the_last_trials_are_the_last_by_the_databases_clock(study: optuna.Study) -> None:
    """Not by that of a worker whose machine is an hour ahead."""
    for _ in range(3):
        fail(study, "out of memory")
        ahead = engine_of(study).connect()
        with ahead, ahead.begin():
            later = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)
            ahead.execute(sqlalchemy.update(TRIALS).values(datetime_complete=later))
        finish(study, study.ask(), End(state=TrialState.COMPLETE, value=0.5))
    assert repeated_cause(study) is None
    for _ in range(3):
        fail(study, "hung")
    assert repeated_cause(study) == "hung"


def _train(study: optuna.Study, params: dict[str, object], miou: float | None) -> None:
    if params:
        study.enqueue_trial(params)
    trial = study.ask()
    paper().suggest(trial)
    if miou is None:
        study.tell(trial, state=TrialState.FAIL)
        return
    metrics = {"mIoU": miou, "mDice": miou + 0.1, "IoU.fluid": miou - 0.25}
    attrs = evaluation_attrs(metrics=metrics, best_metrics=metrics, curve=[])
    finish(study, trial, End(state=TrialState.COMPLETE, value=miou, attrs=attrs))


def test_table2_gathers_rows_and_equal_params(study: optuna.Study) -> None:
    space = paper()
    enqueue_table2(study, space)
    for number in range(1, 12):
        _train(study, {}, None if number == 9 else 0.7 + number / 1000)
    _train(study, dict(TABLE2[9].params(space)), 0.750)  # row 10 once more, found by a sampler
    _train(study, {**TABLE2[9].params(space), "crop": 288}, 0.9)  # no row
    lines = table2(study, space)
    assert [line.number for line in lines] == list(range(1, 12))
    assert (lines[8].n, lines[8].miou, lines[8].states) == (0, None, {"FAIL": 1})
    assert lines[0].miou == Spread(mean=pytest.approx(0.701), sd=None, low=0.701, high=0.701)
    tenth = lines[9]
    assert (tenth.n, tenth.published_miou, tenth.published_fluid_iou) == (2, 0.7600, 0.5247)
    assert tenth.miou == Spread(
        mean=pytest.approx(0.730), sd=pytest.approx(math.sqrt(2) * 0.020), low=0.710, high=0.750
    )
    assert tenth.mdice is not None
    assert tenth.mdice.mean == pytest.approx(0.830)
    assert tenth.class_iou is not None
    assert tenth.class_iou.mean == pytest.approx(0.480)
    assert sum(line.n for line in lines) == 11


def test_table2_names_the_class_of_the_study(spec_of: Make) -> None:
    spec = spec_of(data='classes = ["bg", "cyst"]')
    study = create_or_open(spec, {})
    study.enqueue_trial(dict(TABLE2[0].params(paper())))
    trial = study.ask()
    paper().suggest(trial)
    attrs = evaluation_attrs(metrics={"IoU.cyst": 0.4}, best_metrics={}, curve=[])
    finish(study, trial, End(state=TrialState.COMPLETE, value=0.4, attrs=attrs))
    line = table2(study, paper())[0]
    assert line.class_iou is not None
    assert (line.class_iou.mean, line.miou) == (0.4, None)


def test_table2_tells_seeds_that_diverged_beside_its_means(study: optuna.Study) -> None:
    first = dict(TABLE2[0].params(paper()))
    _train(study, first, 0.7)
    _train(study, first, 0.72)
    study.enqueue_trial(first, user_attrs={"table2": 1, "replicate": 2})
    finish(study, study.ask(), diverged(step=40, message="NaN"))
    lines = table2(study, paper())
    assert (lines[0].n, lines[0].diverged, lines[1].diverged) == (2, 1, 0)
    assert "| 2 (1 diverged) | " in to_markdown(lines)
    assert " & 2 (1 diverged) & " in to_latex(lines)
    table = list(csv.DictReader(io.StringIO(to_csv(lines))))
    assert (table[0]["n"], table[0]["diverged"], table[1]["diverged"]) == ("2", "1", "0")


def test_table2_as_text(study: optuna.Study) -> None:
    first = dict(TABLE2[0].params(paper()))
    _train(study, first, 0.7)
    _train(study, first, 0.72)
    lines = table2(study, paper())
    markdown = to_markdown(lines).splitlines()
    assert len(markdown) == 13
    assert markdown[2].startswith(
        "| 1 | 200 it, crop none, CE, SGD, 0.0005 | 0.7721 | 0.8100 ± 0.0141 | 0.6855 | 0.7100 ± 0.0141 | 0.3762 |"
    )
    assert "| 0.7464 | - | - | - | 0 | not testable: the published figure has no log | its notebook ran" in markdown[12]
    assert "| 2 | reproduced (+0.0245; one more of ours: 0.4899 to 0.9301) |" in markdown[2]
    assert "| 0 | not testable: no complete trial |" in markdown[3]
    table = list(csv.DictReader(io.StringIO(to_csv(lines))))
    assert len(table) == 11
    assert float(table[0]["miou_mean"]) == pytest.approx(0.71)
    assert (table[0]["n"], table[1]["miou_mean"], table[10]["published_fluid_iou"]) == ("2", "", "")
    assert (table[0]["verdict"], table[10]["verdict_why"]) == ("reproduced", "the published figure has no log")
    assert float(table[0]["verdict_difference"]) == pytest.approx(0.0245)
    latex = to_latex(lines)
    assert "0.8100 $\\pm$ 0.0141" in latex
    assert latex.count(" \\\\\n") == 12
    assert {row.count(" & ") for row in latex.splitlines() if row.endswith("\\\\")} == {9}


def test_table2_says_what_its_trainings_were_scaled_by(spec_of: Make) -> None:
    study = create_or_open(spec_of(train="size_scale = 0.125\niteration_scale = 0.05"), {})
    _train(study, dict(TABLE2[0].params(paper())), 0.7)
    lines = table2(study, paper())
    assert [line.scaled for line in lines[:2]] == ["size_scale = 0.125, iteration_scale = 0.05", ""]
    note = "Trained with size_scale = 0.125, iteration_scale = 0.05: sides and iterations of the settings were scaled"
    assert to_markdown(lines).split("\n\n")[1].startswith(note)
    assert to_latex(lines).split("\n\n")[1].startswith(f"\\par {note}".replace("_", "\\_"))
    table = list(csv.DictReader(io.StringIO(to_csv(lines))))
    assert [row["scaled"] for row in table[:2]] == [line.scaled for line in lines[:2]]
