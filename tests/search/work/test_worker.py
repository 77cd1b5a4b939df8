"""A worker on replayed curves: what it trains, what it waits for, what it says of failures."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from mmtuna.objectives.outcome import Cause, Ending, Outcome, TrialOrder, Watch
from mmtuna.objectives.replay import ReplayObjective
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.search.errors import StoppedError
from mmtuna.search.trials.showing import Showing
from mmtuna.search.work import beginning, running
from mmtuna.search.work.progress import Board
from mmtuna.search.work.worker import Slot, Worker
from mmtuna.spaces.table2 import TABLE2
from mmtuna.studies.asking import Budget, Claim, ask
from mmtuna.studies.leases import Leases
from mmtuna.studies.leases.crew import crew_of
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.tables import ReplayTable
from mmtuna.studies.storage.opening import study_lock
from mmtuna.studies.storage.outages import DiskFullError
from mmtuna.studies.strategy.enqueuing import Replicates, enqueue_table2
from mmtuna.studies.study import finished
from tests.waiting import until

REPLAYED = {"replay": {"curves": "generated"}}
SPEC = """
[study]
name = "s"
pruner = "none"
{study}
[data]
root = "."
[space]
preset = "paper"
[resources]
{resources}
[replay]
"""


@pytest.fixture
def spec_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., StudySpec]:
    monkeypatch.delenv("MMTUNA_STORAGE", raising=False)

    def make(study: str = "", resources: str = "") -> StudySpec:
        path = tmp_path / "study.toml"
        path.write_text(SPEC.format(study=study, resources=resources))
        return StudySpec.load(path)

    return make


@dataclass(frozen=True)
class FailingRow(ReplayObjective):
    """Replays, but for one row of Table 2 that crashes."""

    row: int = 4

    def run(self, order: TrialOrder, watch: Watch) -> Outcome:
        if order.number == self.row - 1:
            return Outcome(ending=Ending.FAILED, cause=Cause.CRASHED, message="signal 11", seconds=0.1)
        return super().run(order, watch)


def test_a_row_of_table_2_that_failed_is_told_and_not_made_up_for(spec_of: Callable[..., StudySpec]) -> None:
    spec = spec_of()
    study = beginning.open_to_work(spec, {})
    enqueue_table2(study, spec.search_space(), 1)
    console = Console(quiet=True)
    running.work(spec, study, FailingRow(), [Slot(0, "cpu", 1)], console, None)
    assert [trial.state for trial in study.get_trials()].count(TrialState.FAIL) == 1
    assert [trial.user_attrs["table2"] for trial in study.get_trials()] == [row.number for row in TABLE2]
    line = r"^row 4 of Table 2 failed, 1 of 11 trainings in all; `mmtuna status SPEC` names the causes, the same"
    with pytest.raises(StoppedError, match=line):
        running._tell_failed_rows(spec, study, Replicates(count=1))
    enqueue_table2(study, spec.search_space(), 1)
    running.work(spec, study, ReplayObjective(), [Slot(0, "cpu", 1)], console, None)
    running._tell_failed_rows(spec, study, Replicates(count=1))
    assert [trial.user_attrs["table2"] for trial in study.get_trials()][-1] == 4


@pytest.mark.slow
def test_rows_of_table_2_are_trained_without_the_grid(spec_of: Callable[..., StudySpec]) -> None:
    spec = spec_of(study='sampler = "grid"')
    study = beginning.open_to_work(spec, {})
    beginning.enqueue(spec, study, Replicates(count=1))
    running.work(spec, study, ReplayObjective(), [Slot(0, "cpu", 1)], Console(quiet=True), None)
    assert len(study.trials) == 11
    beginning.enqueue(spec, study, None)
    assert len(study.trials) == spec.search_space().count()


def test_a_worker_of_one_trial_waits_for_one_that_may_be_lost(
    spec_of: Callable[..., StudySpec], tmp_path: Path
) -> None:
    spec = spec_of(resources="lease = 1.0")
    study = beginning.open_to_work(spec, {})
    gone = Leases(study=study, folder=tmp_path / "elsewhere", seconds=1.0)
    lock = study_lock(spec.study.storage, "s")
    assert isinstance(ask(study, spec.search_space(), spec.study.seed, trials=1, lock=lock, leases=gone), Claim)
    board = Board(Console(quiet=True), ["cpu"], spec.study.metric, 1)

    def once(patience: float) -> Budget | None:
        worker = running.make_worker(spec, study, ReplayObjective(), [Slot(0, "cpu", 1)], board)
        return worker.work_once(1, patience)

    began = time.monotonic()
    assert once(0.0) is Budget.WAIT
    assert once(20.0) is None  # trained
    assert time.monotonic() - began < 15
    assert once(20.0) is Budget.DONE
    (trial,) = study.get_trials()
    assert [entry["ended"] for entry in trial.user_attrs["history"]] == ["lost", "complete"]
    gone._registration.release()


def test_a_study_is_worked_on_from_any_thread_and_nothing_is_said(
    spec_of: Callable[..., StudySpec], capfd: pytest.CaptureFixture[str]
) -> None:
    spec, found = spec_of(study="trials = 3"), list[optuna.Study]()
    verbosity, handlers = optuna.logging.get_verbosity(), signal.getsignal(signal.SIGINT)

    def work() -> None:
        found.append(running.replay_study(spec, Console(quiet=True), slots=2))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert finished(found[0]) == 3
    assert capfd.readouterr() == ("", "")
    assert (optuna.logging.get_verbosity(), signal.getsignal(signal.SIGINT)) == (verbosity, handlers)


def test_an_interrupted_notebook_cell_puts_its_trials_back(spec_of: Callable[..., StudySpec]) -> None:
    spec = spec_of(study="trials = 3")
    spec = spec.model_copy(update={"replay": ReplayTable(pause=0.5)})

    def interrupt() -> None:
        until(lambda: any(trial.state == TrialState.RUNNING for trial in begun.get_trials(deepcopy=False)), 20)
        _thread.interrupt_main()

    begun = beginning.open_to_work(spec, REPLAYED)
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        running.replay_study(spec, Console(quiet=True))
    thread.join()
    assert {trial.state for trial in begun.get_trials()} == {TrialState.WAITING}
    assert crew_of(begun).workers == ()


@dataclass(frozen=True)
class Timed(ReplayObjective):
    """Replays, notes in `said` which trial is trained, and gives each a folder of the study's `top`."""

    said: list[tuple[str, int]] = field(default_factory=list)
    top: Path = Path()

    def run(self, order: TrialOrder, watch: Watch) -> Outcome:
        self.said.append(("trains", order.number))
        return replace(super().run(order, watch), folder=self.top / f"trials/{order.number:05d}")


class SlowShowing(Showing):
    """Shows nothing, takes its time, and fails of trial `fails`."""

    def __init__(self, said: list[tuple[str, int]], fails: int | None = None) -> None:
        self.said, self.fails = said, fails

    def show(self, number: int, folder: TrialFolder) -> None:
        self.said.append(("begins", number))
        time.sleep(1.0)
        if number == self.fails:
            raise DiskFullError("there is no room")
        self.said.append(("shown", number))


def showing_slowly(spec: StudySpec, fails: int | None = None) -> Worker:
    study = beginning.open_to_work(spec, {})
    said: list[tuple[str, int]] = []
    board = Board(Console(quiet=True), ["cpu"], spec.study.metric, 3)
    objective = Timed(said=said, top=spec.study.folder)
    worker = running.make_worker(spec, study, objective, [Slot(0, "cpu", 1)], board)
    return replace(worker, recording=replace(worker.recording, showing=SlowShowing(said, fails)))


def test_a_trial_is_shown_while_the_next_one_trains(spec_of: Callable[..., StudySpec]) -> None:
    worker = showing_slowly(spec_of())
    worker.work(3)
    assert isinstance(worker.objective, Timed)
    said = worker.objective.said
    assert said.index(("trains", 1)) < said.index(("shown", 0))
    assert [number for what, number in said if what == "shown"] == [0, 1, 2]  # all of them, before the worker is done


def test_what_a_trial_that_is_shown_runs_into_ends_the_worker(spec_of: Callable[..., StudySpec]) -> None:
    with pytest.raises(StoppedError, match="there is no room"):
        showing_slowly(spec_of(), fails=0).work(3)
