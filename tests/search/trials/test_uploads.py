"""A worker's uploads with trainings that only write files: what stays in S3, and what an S3 that is away changes."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console

from mmtuna.objectives.outcome import Ending, Evaluation, Outcome, TrialOrder, Watch
from mmtuna.objectives.trial_files import trial_name
from mmtuna.search.outputs.summary import summary
from mmtuna.search.trials import uploads
from mmtuna.search.work.beginning import open_to_work
from mmtuna.search.work.progress import Board
from mmtuna.search.work.running import make_worker
from mmtuna.search.work.worker import Slot
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import write_whole
from mmtuna.studies import results
from mmtuna.studies.files import attachments
from mmtuna.studies.files import bucket as s3_bucket
from mmtuna.studies.files.bucket import Bucket, client
from mmtuna.studies.files.trial_store import TrialFiles, trial_files
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.s3_location import parse_location
from mmtuna.studies.storage.optuna_insides import storage_of
from mmtuna.studies.study import create_or_open
from tests.conftest import forget_client
from tests.s3 import Wire
from tests.search.dashboard_study import artifact_path, content_of, files_of, served, trials
from tests.waiting import until

SPEC = """
[study]
name = "s"
folder = "{folder}"
storage = "sqlite:///{storage}"
artifacts = "{artifacts}"
pruner = "none"
sampler = "random"
[data]
root = "."
[space.params.lr_adam]
low = 1e-4
high = 1e-2
[train]
optimizer = "AdamW"
[resources]
keep_checkpoints = 1
lease = 5.0
"""


class RememberingBoard(Board):
    """Remembers what was said."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True), ["cpu"], "mIoU", 3)
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


class FileWriter:
    """An objective whose trials write a few files at every evaluation; `at` is called at each (trial, step)."""

    def __init__(
        self, spec: StudySpec, at: Callable[[int, int], None] = lambda *_: None, *, word: str = "trial"
    ) -> None:
        self.folder, self.at, self.word = spec.study.folder, at, word
        self.found: dict[int, str] = {}

    def run(self, order: TrialOrder, watch: Watch) -> Outcome:
        folder = self.folder / trial_name(order.number)
        folder.mkdir(parents=True, exist_ok=True)
        last = folder / "last.pth"
        self.found[order.number] = last.read_text() if last.is_file() else ""
        (folder / "config.py").write_text(f"number = {order.number}\n")
        value, curve, ending = [0.5, 0.9, 0.7, 0.6][order.number], [], Ending.FINISHED
        for step in (50, 100):
            write_whole(folder / "best.pth", f"best of {order.number} at {step}")
            write_whole(last, f"{self.word} {order.number} at {step}")
            curve.append(Evaluation(step=step, iteration=step, seconds=1.0, metrics={"mIoU": value}))
            stopped = watch.evaluated(curve[-1])
            self.at(order.number, step)
            if watch.interrupted():
                return Outcome(ending=Ending.INTERRUPTED, curve=tuple(curve), folder=folder)
            if stopped:
                ending = Ending.STOPPED
                break
        return Outcome(ending=ending, curve=tuple(curve), seconds=1.0, iterations=100, folder=folder)


@pytest.fixture
def machine(location: str, tmp_path: Path) -> Callable[[str], StudySpec]:
    """The study as a machine of that name has it: all share the database and the bucket, each has its own folder."""

    def make(name: str) -> StudySpec:
        (tmp_path / "db").mkdir(exist_ok=True)
        text = SPEC.format(folder=tmp_path / name, storage=tmp_path / "db" / "study.db", artifacts=location)
        return StudySpec.parse(text, tmp_path / "study.toml")

    return make


@pytest.fixture
def impatient(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An S3 that is away is not waited for."""
    monkeypatch.setattr(uploads, "PATIENCE", 0.2)
    monkeypatch.setattr(s3_bucket, "_TRIES", 1)
    forget_client()


def work(spec: StudySpec, objective: FileWriter, trials: int) -> tuple[optuna.Study, list[str]]:
    """One worker until the study holds so many trials; returns the study and what was said."""
    study = open_to_work(spec, {})
    board = RememberingBoard()
    worker = make_worker(spec, study, objective, [Slot(0, "cpu", 1)], board)
    objective.stop = worker.stop.set  # type: ignore[attr-defined]
    try:
        worker.work(trials)
    except Exception as error:
        board.said.append(str(error))
    return study, board.said


def listed(spec: StudySpec, study: optuna.Study, number: int) -> set[str]:
    """Files of the trial that S3 has."""
    files = trial_files(spec.study, study)
    assert files is not None
    found = files._list(trial_name(number))
    return set() if found is None else {file.name for file in found.files}


def test_only_the_best_keep_their_checkpoints(machine: Callable[[str], StudySpec]) -> None:
    spec = machine("a")
    wire = Wire(client())
    study, said = work(spec, FileWriter(spec), 4)
    assert said == []
    with_checkpoints = [number for number in range(4) if "last.pth" in listed(spec, study, number)]
    assert with_checkpoints == [1]
    assert all("config.py" in listed(spec, study, number) for number in range(4))
    # The two that end after a better one send what they had at 50 % at most.
    assert len(wire.sent("PUT", "/00003/objects/")) <= 3
    other = machine("b")
    assert files_of(other, study).fetched(trial_name(1), checkpoints=True).last.read_text() == "trial 1 at 100"
    assert not files_of(other, study).fetched(trial_name(0), checkpoints=True).last.exists()


def test_an_interrupted_trial_goes_on_from_its_last_checkpoint_elsewhere(machine: Callable[[str], StudySpec]) -> None:
    first, second = machine("a"), machine("b")
    begun = FileWriter(first, lambda number, step: begun.stop())  # type: ignore[attr-defined]
    study, said = work(first, begun, 1)
    assert said == ["stopped; run the same command again to go on"]
    assert "last.pth" in listed(first, study, 0)
    going_on = FileWriter(second)
    work(second, going_on, 1)
    assert going_on.found == {0: "trial 0 at 50"}

    # The first machine has an older state of it, which gives way.
    assert files_of(first, study).fetched(trial_name(0), checkpoints=True).last.read_text() == "trial 0 at 100"


def test_an_s3_that_is_away_costs_no_trial_and_gets_its_files_later(
    impatient: None, machine: Callable[[str], StudySpec]
) -> None:
    spec, wire = machine("a"), Wire(client())
    study, said = work(spec, FileWriter(spec, lambda number, _: wire.cut(0) if number == 1 else None), 2)
    assert [row.state for row in results.rows(study)] == ["COMPLETE", "COMPLETE"]
    assert sum("trial 1: its files stay on this machine for now: " in line for line in said) == 1
    # Trial 0 may be shown while trial 1 trains: then its pictures are not there either.
    assert any(re.match(r"not in S3 yet: files of trial (0, )?1; they lie in", line) for line in said)
    assert all("\n" not in line for line in said)
    wire.mend()
    assert "last.pth" not in listed(spec, study, 1)

    study, said = work(spec, FileWriter(spec), 2)
    assert {"config.py", "last.pth"} <= listed(spec, study, 1)
    assert said == []


def test_checkpoints_of_a_trial_that_ended_while_s3_was_away_do_not_stay(
    impatient: None, machine: Callable[[str], StudySpec]
) -> None:
    spec, wire = machine("a"), Wire(client())
    study = create_or_open(spec, {})

    def cut_at_its_end(number: int, step: int) -> None:
        if (number, step) == (2, 50):
            assert until(lambda: "last.pth" in listed(spec, study, 2), 20)
            wire.cut(0)

    work(spec, FileWriter(spec, cut_at_its_end), 3)
    wire.mend()
    assert "last.pth" in listed(spec, study, 2)
    _, said = work(spec, FileWriter(spec), 3)
    assert said == []
    assert not {"last.pth", "best.pth"} & listed(spec, study, 2)
    assert {"last.pth", "best.pth"} <= listed(spec, study, 1)


def test_what_is_still_being_sent_when_the_worker_ends_is_told(
    machine: Callable[[str], StudySpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, ended, go_on = TrialFiles.push, threading.Event(), threading.Event()

    def push(*arguments: Any, **named: Any) -> bool:
        if threading.current_thread().name != "uploads":
            ended.set()
        elif ended.is_set():  # with what was made of the trial since
            go_on.wait(20)
        return real(*arguments, **named)

    monkeypatch.setattr(TrialFiles, "push", push)
    monkeypatch.setattr(uploads, "_LAST_SECONDS", 0.5)
    spec = machine("a")
    _, said = work(spec, FileWriter(spec), 1)
    go_on.set()
    (line,) = said
    assert line.startswith("not in S3 yet: files of trial 0; they lie in ")


@pytest.fixture
def old(impatient: None, machine: Callable[[str], StudySpec]) -> StudySpec:
    """A machine where a study was trained that is no more; the files of its trial 1 were never sent."""
    spec, wire = machine("a"), Wire(client())
    study = create_or_open(spec, {})

    work(spec, FileWriter(spec, word="old"), 1)  # a worker that ends has sent all
    work(spec, FileWriter(spec, lambda *_: wire.cut(0), word="old"), 2)
    wire.mend()
    files = trial_files(spec.study, study)
    assert files is not None
    assert files.unsent() == {trial_name(1): 1}
    optuna.delete_study(study_name="s", storage=storage_of(study))
    return spec


def test_a_study_begun_anew_leaves_the_folder_of_the_old_one_alone(
    old: StudySpec, machine: Callable[[str], StudySpec]
) -> None:
    """The only copy of what S3 missed may lie there."""
    other, last = machine("b"), old.study.folder / trial_name(1) / "last.pth"
    study, said = work(other, FileWriter(other, word="new"), 2)
    assert said == []
    refusal = f"^{old.study.folder}: belongs to another study of this name, and the files of its trials would be lost"
    with pytest.raises(InputError, match=refusal):
        work(old, FileWriter(old, word="more"), 3)
    with pytest.raises(InputError, match=refusal):
        files_of(old, study).fetched(trial_name(1), checkpoints=True)
    with pytest.raises(InputError, match=refusal):
        files_of(old, study).weights(results.rows(study)[1])
    assert summary(old, study)["best"]["config"] is None
    assert content_of(old, study).refresh().files == 0
    assert last.read_text() == "old 1 at 100"
    # With the old files moved away all is as on any machine.
    old.study.folder.rename(old.study.folder.with_name("old"))
    assert files_of(old, study).fetched(trial_name(1), checkpoints=True).last.read_text() == "new 1 at 100"


def test_the_dashboard_of_any_machine_shows_the_files(
    machine: Callable[[str], StudySpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_bucket, "_TRIES", 1)
    forget_client()
    spec = machine("a")
    study, _ = work(spec, FileWriter(spec), 2)
    other = machine("b")
    assert content_of(other, study).refresh().files == 0  # the worker attached them all
    with served(other) as client_of:
        path = artifact_path(trials(client_of)[0], "config.py")
        reply = client_of.ask("GET", path)
        assert (reply.status, reply.body) == (200, b"number = 0\n")
        Wire(client()).cut(0)
        reply = client_of.ask("GET", path)
        assert (reply.status, reply.reason) == (503, "S3 has not served it")
    assert not other.study.folder.exists()


def test_what_a_worker_could_not_attach_the_dashboard_does_from_s3(machine: Callable[[str], StudySpec]) -> None:
    spec = machine("a")
    study, _ = work(spec, FileWriter(spec), 1)
    place = parse_location(spec.study.artifacts or "")
    bucket = Bucket(place)
    for key in bucket.keys(place.key("s", "artifacts", "")):
        bucket.delete(key)
    attachments._in_s3.cache_clear()
    assert content_of(machine("b"), study).refresh().files == 3  # the config, the curve as a picture and as figures


def test_a_training_never_waits_for_s3(machine: Callable[[str], StudySpec], monkeypatch: pytest.MonkeyPatch) -> None:
    spec, put, release = machine("a"), Bucket.put_over, threading.Event()
    seen: list[int] = []

    def slow(self: Bucket, key: str, content: bytes, etag: str | None) -> bool:
        assert release.wait(20)
        return put(self, key, content, etag)

    def at(number: int, step: int) -> None:
        seen.append(step)
        if step == 100:
            release.set()

    monkeypatch.setattr(Bucket, "put_over", slow)
    work(spec, FileWriter(spec, at), 1)
    assert seen == [50, 100]


def test_checkpoints_that_are_sent_while_a_trial_trains_are_of_one_evaluation(
    machine: Callable[[str], StudySpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, put, put_over = machine("a"), Bucket.put, Bucket.put_over
    sending, evaluated = threading.Event(), threading.Event()
    lists: list[dict[str, str]] = []

    def slow(self: Bucket, key: str, body: Any) -> None:
        put(self, key, body)
        if "/trials/" in key:
            sending.set()
            assert evaluated.wait(20)

    def remembering(self: Bucket, key: str, content: bytes, etag: str | None) -> bool:
        if "/trials/" in key:
            lists.append({file["name"]: file["sha256"] for file in json.loads(content)["files"]})
        return put_over(self, key, content, etag)

    def at(number: int, step: int) -> None:
        if step == 50:
            assert sending.wait(20)
        else:
            evaluated.set()

    monkeypatch.setattr(Bucket, "put", slow)
    monkeypatch.setattr(Bucket, "put_over", remembering)
    work(spec, FileWriter(spec, at), 1)
    for found, step in ((lists[0], 50), (lists[-1], 100)):
        assert found["last.pth"] == hashlib.sha256(f"trial 0 at {step}".encode()).hexdigest()
        assert found["best.pth"] == hashlib.sha256(f"best of 0 at {step}".encode()).hexdigest()


def test_a_trial_that_another_worker_took_is_not_covered(machine: Callable[[str], StudySpec]) -> None:
    spec = machine("a")

    def lose(number: int, step: int) -> None:
        """Another worker has sent files of a later attempt."""
        files = trial_files(spec.study, study)
        assert files is not None
        if step == 50:
            folder = spec.study.folder.parent / "c" / trial_name(number)
            folder.mkdir(parents=True)
            (folder / "last.pth").write_text("the other's")
            files.push(folder, trial_name(number), 2)

    study = create_or_open(spec, {})
    work(spec, FileWriter(spec, lose), 1)
    assert listed(spec, study, 0) == {"last.pth"}


def test_a_study_without_s3_asks_for_nothing(
    machine: Callable[[str], StudySpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = machine("a")
    spec = spec.model_copy(update={"study": spec.study.model_copy(update={"artifacts": None})})

    def refuse(*_: Any) -> None:
        raise AssertionError("S3 was used")

    monkeypatch.setattr(Bucket, "__init__", refuse)
    study, said = work(spec, FileWriter(spec), 2)
    assert said == []
    assert files_of(spec, study).fetched(trial_name(0)).path == spec.study.folder / trial_name(0)
    assert not (spec.study.folder / ".s3").exists()
    assert "mmtuna:files" not in study.user_attrs
