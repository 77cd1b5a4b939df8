"""A study with hours, worked on: it ends by itself in time, and trials that would overrun are put back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import create_trial
from rich.console import Console

from mmtuna.objectives.replay import ReplayObjective
from mmtuna.search.checking.costs import Costs
from mmtuna.search.work import beginning, running, worker
from mmtuna.search.work.forecast import Forecast, Span
from mmtuna.search.work.hours import ending_lines, unmeetable
from mmtuna.search.work.progress import console_to
from mmtuna.search.work.worker import Slot
from mmtuna.studies.asking import Budget, Hours
from mmtuna.studies.leases import clock
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.tables import ResourcesTable
from mmtuna.studies.standing import standing_of
from mmtuna.studies.study import open_existing
from tests.search.conftest import mmtuna, status
from tests.studies.test_hours import set_clock

WriteSpec = Callable[..., Path]
SPEC = """
[study]
name = "s"
trials = 1000
sampler = "random"
pruner = "none"
hours = 1.0
[data]
root = "."
[space.params.lr_sgd]
low = 1e-3
high = 1e-1
"""
PACE = ReplayObjective(pause=0.1)
"""Takes half a second a trial."""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudySpec:
    monkeypatch.delenv("MMTUNA_STORAGE", raising=False)
    path = tmp_path / "study.toml"
    path.write_text(SPEC)
    return StudySpec.load(path)


def test_a_study_ends_when_no_further_trial_fits(spec: StudySpec) -> None:
    study, lines = beginning.open_to_work(spec, {}), list[str]()
    slots = [Slot(0, "cpu", 1), Slot(1, "cpu", 1)]
    began = time.monotonic()
    running.work(spec, study, PACE, slots, console_to(lines.append), 1000, hours=Hours(3.0, lambda _: 0.6))
    assert time.monotonic() - began < 15
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    assert 2 <= len(study.trials) <= 12
    assert 1.0 < clock.used(study) < 10
    assert lines[-1].startswith("[study] hours = 1: the study was worked on for ")
    assert lines[-1].endswith("; it ends since what is left is too short for the trials that were found")


def test_the_closing_line_says_whether_hours_are_left(spec: StudySpec) -> None:
    study = beginning.open_to_work(spec, {})
    for used, why in ((3599.0, "what is left is too short for the trials that were found"), (3601.0, "these are used")):
        set_clock(study, used)
        (line,) = ending_lines(spec.study, spec.search_space(), study, Budget.OVER, 1000)
        assert line.endswith(f"; it ends since {why}")


def test_a_study_that_goes_on_has_used_what_it_has(spec: StudySpec) -> None:
    study, lines = beginning.open_to_work(spec, {}), list[str]()
    hours, slots = Hours(1.5, lambda _: 0.6), [Slot(0, "cpu", 1)]
    running.work(spec, study, PACE, slots, Console(quiet=True), 1000, hours=hours)
    before = len(study.trials)
    assert before >= 1
    running.work(spec, study, PACE, slots, Console(quiet=True), 1000, hours=hours)
    assert len(study.trials) == before
    running.work(spec, study, PACE, slots, console_to(lines.append), before + 1, hours=Hours(60.0, lambda _: 0.6))
    assert len(study.trials) == before + 1
    assert lines[-1].endswith("; it ends since the trials asked for are there")


def test_the_odds_that_are_told_are_those_that_were_acted_on(spec: StudySpec) -> None:
    spec = spec.model_copy(update={"study": spec.study.model_copy(update={"stop": "auto"})})
    study, lines = beginning.open_to_work(spec, {}), list[str]()
    for place in range(20):
        study.add_trial(create_trial(value=0.5 - 0.01 * place))
    set_clock(study, 3420.0)  # time for one more trial, not for the 980 that [study] trials lacks
    hours, settled = (
        Hours(3600.0, lambda _: 1.0),
        "after 20 trials the odds are 2% that 1 more find one ",
    )
    running.work(spec, study, PACE, [Slot(0, "cpu", 1)], console_to(lines.append), 1000, hours=hours)
    assert len(study.trials) == 20
    assert settled in lines[-1]
    standing_of(study).settled = None  # as where another process asked
    assert settled in ending_lines(spec.study, spec.search_space(), study, Budget.SETTLED, 1000)[-1]


@pytest.mark.parametrize("expected", [None, 0.01])
def test_a_trial_that_takes_longer_than_was_expected_is_put_back(
    spec: StudySpec, monkeypatch: pytest.MonkeyPatch, expected: float | None
) -> None:
    monkeypatch.setattr(worker, "_OVERRUN_SECONDS", 0.5)
    study = beginning.open_to_work(spec, {})
    slow = ReplayObjective(pause=1.0)
    began = time.monotonic()
    running.work(
        spec, study, slow, [Slot(0, "cpu", 1)], Console(quiet=True), 1000, hours=Hours(1.5, lambda _: expected)
    )
    assert time.monotonic() - began < 10
    assert [trial.state.name for trial in study.trials] == ["WAITING"]
    assert [entry["ended"] for entry in study.trials[0].user_attrs["history"]] == ["interrupted"]


@pytest.mark.slow
def test_a_real_search_ends_in_time(write_spec: WriteSpec) -> None:
    path = write_spec(study='hours = 0.0015\npruner = "none"')
    path.write_text(path.read_text().replace("trials = 3", "trials = 1000"))
    done = mmtuna("run", path)
    assert done.returncode == 0, done.stderr
    assert "[study] hours = 0.0015: the study was worked on for " in done.stdout
    assert "it ends since what is left is too short for the trials that were found" in done.stdout
    found = status(path)
    assert set(found["states"]) == {"COMPLETE"}
    assert 1 <= found["finished"] < 1000
    # By no more than a trial was expected to overrun: ten seconds at least.
    assert 3600 * found["hours"]["used"] < 3600 * 0.0015 + 10 + 10
    assert found["hours"]["asked"] == 0.0015
    assert " of 0.0015 hours used" in mmtuna("status", path).stdout


def require_refused(path: Path, said: str) -> None:
    """`check` and `run` refuse the spec alike, by a line that begins so."""
    for command in ("check", "run"):
        done = mmtuna(command, path)
        assert done.returncode == 2, done.stdout
        line = done.stderr.splitlines()[-1]
        assert line.startswith(f"mmtuna: {said}, and the shortest trial takes about "), line
        assert line.endswith(" or more, or fewer [train] iterations")


def test_hours_too_short_for_one_trial_are_refused(write_spec: WriteSpec) -> None:
    path = write_spec(study="hours = 1e-6")
    require_refused(path, "[study] hours = 1e-06 is 3.6 ms")
    with pytest.raises(Exception, match="does not exist yet"):
        open_existing(StudySpec.load(path).study)


def test_a_deadline_that_no_trial_can_meet_is_refused_before_the_first(write_spec: WriteSpec) -> None:
    require_refused(write_spec(resources="deadline = 0.001"), "[resources] deadline = 0.001 is 1.0 ms")
    assert mmtuna("check", write_spec(resources="deadline = 600.0")).returncode == 0


def test_what_no_trial_can_meet_is_told() -> None:
    def told(**fields: float) -> list[str]:
        return unmeetable(ResourcesTable(**fields), found)

    span = Span(median=4.0, least=3.0, most=9.0)
    found = Forecast(
        iteration=span,
        trial=Span(median=200.0, least=100.0, most=400.0),
        memory=span,
        mean=200.0,
        slots=1,
        device="cpu",
        costs=Costs(()),
    )
    assert told() == told(deadline=51.0, hung=1.6) == []
    (late,), (silent,) = told(deadline=49.0), told(hung=1.0)
    assert late == (
        "[resources] deadline = 49 is 49 s, and the shortest trial takes about 2 min here; set 300 or more, or fewer "
        "[train] iterations"
    )
    assert silent == (
        "[resources] hung = 1 is 1.0 s, and an iteration, before whose end there is no sign of life, takes about 3.0 s "
        "here; set 30 or more"
    )
