"""A folder belongs to one study, and a worker to one state of one database: what is another's is left alone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState
from rich.console import Console

from mmtuna.objectives.replay import ReplayObjective
from mmtuna.search.errors import StoppedError
from mmtuna.search.trials.ownership import OWNER
from mmtuna.search.work.beginning import open_to_work
from mmtuna.search.work.running import work
from mmtuna.search.work.worker import Slot
from mmtuna.spaces.errors import InputError
from mmtuna.studies.attributes import ID
from mmtuna.studies.copying import copy_study
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import engine_of
from mmtuna.studies.storage.optuna_insides import storage_of
from mmtuna.studies.study import create_or_open, open_existing
from tests.folders import tree
from tests.postgres import PostgresServer
from tests.search.conftest import mmtuna
from tests.waiting import until

SPEC = """
[study]
name = "{name}"
folder = "{folder}"
storage = "{storage}"
pruner = "none"
sampler = "random"
[data]
root = "."
[space.params.iterations]
low = 100
high = 900
[resources]
lease = 1.5
[replay]
"""
Make = Callable[..., StudySpec]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    (tmp_path / "db").mkdir()

    def spec(name: str = "s", folder: str = "work", storage: str = "") -> StudySpec:
        url = storage or f"sqlite:///{tmp_path}/db/{name}.db"
        return StudySpec.parse(SPEC.format(name=name, folder=tmp_path / folder, storage=url), tmp_path / "s.toml")

    return spec


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.slow), "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/db/s.db"
    server: PostgresServer = request.getfixturevalue("server")
    return server.url(request.getfixturevalue("database"))


def filled(spec: StudySpec, trials: int = 2) -> optuna.Study:
    """The study with so many trials, and a checkpoint in the folder of each, as a search leaves it."""
    study = open_to_work(spec, {})
    work(spec, study, ReplayObjective(), [Slot(0, "cpu", 1)], Console(quiet=True), trials)
    for trial in study.trials:
        folder = spec.study.folder / f"trials/{trial.number:05d}"
        folder.mkdir(parents=True)
        (folder / "last.pth").write_text("weights")
        (folder / "config.py").write_text(header(trial.number, trial.user_attrs["seed"], trial.params["iterations"]))
    return study


def header(number: int, seed: int, iterations: int) -> str:
    return f"# trial {number}, seed {seed}\n# iterations = {iterations}\n\nmodel = {{}}\n"


def test_another_study_is_refused_in_the_folder_and_nothing_is_touched(make: Make, tmp_path: Path) -> None:
    filled(make())
    before = tree(tmp_path)
    place = tmp_path / "work"
    with pytest.raises(
        InputError,
        match=f"^{place}: belongs to study s, and the files of its trials would be lost; set .study. folder to another "
        "place$",
    ):
        open_to_work(make(name="other"), {})
    elsewhere = make(storage=f"sqlite:///{tmp_path}/db/forgotten.db")  # as without MMTUNA_STORAGE
    with pytest.raises(InputError, match=r"belongs to another study of this name, .* or \[study\] storage \(or MM"):
        open_to_work(elsewhere, {})
    assert tree(tmp_path) == before


def test_check_and_run_refuse_it_alike(write_spec: Callable[..., Path], tmp_path: Path) -> None:
    spec = write_spec(study='folder = "here"')
    open_to_work(StudySpec.load(spec), {})
    spec.write_text(spec.read_text().replace('name = "tiny"', 'name = "larger"'))
    before = tree(tmp_path)
    said = {mmtuna(command, spec).stderr for command in ("check", "run")}
    belongs = "belongs to study tiny, and the files of its trials would be lost; set [study] folder to another place"
    assert said == {f"mmtuna: {tmp_path}/here: {belongs}\n"}
    spec.write_text(spec.read_text().replace("trials = 3", 'trials = 3\nenqueue = ["table2"]\nfolder = "there"', 1))
    spec.write_text(spec.read_text().replace('folder = "here"\n', ""))
    said = {mmtuna(command, spec).stderr for command in ("check", "run")}
    assert len(said) == 1
    assert "Table 2" in said.pop()
    assert tree(tmp_path) == before | {"study.toml": spec.read_bytes()}


def forget_owner(study: optuna.Study, folder: Path) -> None:
    """As the study was before there were ids."""
    with engine_of(study).begin() as connection:
        connection.execute(sqlalchemy.text("DELETE FROM study_user_attributes WHERE key = :key"), {"key": ID})
    (folder / OWNER).unlink()


def test_a_study_of_before_takes_the_folder_that_holds_its_trials(make: Make) -> None:
    spec = make()
    study = filled(spec)
    forget_owner(study, spec.study.folder)
    again = open_to_work(spec, {})
    assert json.loads((spec.study.folder / OWNER).read_text()) == {"id": again.user_attrs[ID], "name": "s"}


@pytest.mark.parametrize("spoil", ["seed", "params", "number"])
def test_a_study_of_before_does_not_take_a_folder_with_other_trials(make: Make, spoil: str) -> None:
    spec = make()
    study = filled(spec)
    forget_owner(study, spec.study.folder)
    trials = spec.study.folder / "trials"
    trial = study.trials[1]
    if spoil == "number":
        (trials / "00001").rename(trials / "00007")
    else:
        seed, iterations = (77, trial.params["iterations"]) if spoil == "seed" else (trial.user_attrs["seed"], 99)
        (trials / "00001/config.py").write_text(header(1, seed, iterations))
    place = trials / ("00007" if spoil == "number" else "00001")
    with pytest.raises(InputError, match=f"^{place}: is of no trial of study s, whose files would take its place; set"):
        open_to_work(spec, {})
    assert len(list(trials.iterdir())) == 2


def test_an_owner_that_cannot_be_read_is_no_owner_to_be_replaced(make: Make) -> None:
    spec = make()
    filled(spec)
    (spec.study.folder / OWNER).write_text("[]")
    with pytest.raises(InputError, match=r"\.study\.json: cannot be read, and it says whose the folder is; put it"):
        open_to_work(spec, {})


def test_of_two_studies_that_begin_in_a_folder_at_once_one_gets_it(make: Make) -> None:
    specs = [make(name=f"s{number}") for number in range(4)]
    for spec in specs:
        create_or_open(spec, {})
    said: list[str] = []

    def begin(spec: StudySpec) -> None:
        try:
            open_to_work(spec, {})
        except InputError as error:
            said.append(str(error))

    threads = [threading.Thread(target=begin, args=(spec,)) for spec in specs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 3
    assert all("belongs to study s" in line for line in said)
    assert [path.name for path in (specs[0].study.folder).iterdir()] == [OWNER]


def test_the_folder_goes_over_to_a_copy_that_is_worked_on(make: Make, tmp_path: Path) -> None:
    spec = make()
    filled(spec)
    moved = make(storage=f"sqlite:///{tmp_path}/db/moved.db")
    copy_study(spec.study, spec.resources, moved.study.storage)
    open_to_work(spec, {})  # until then a copy is a backup
    open_to_work(moved, {})
    with pytest.raises(InputError, match="belongs to another study of this name"):
        open_to_work(spec, {})
    filled_again = open_existing(moved.study)
    assert [trial.state for trial in filled_again.trials] == [TrialState.COMPLETE] * 2


@contextlib.contextmanager
def searching(spec: StudySpec) -> Iterator[list[str]]:
    """A worker that has a trial under way; what it stopped for, once the block has ended and it has stopped."""
    study, reasons = open_to_work(spec, {}), list[str]()

    def search() -> None:
        try:
            work(spec, study, ReplayObjective(pause=0.3), [Slot(0, "cpu", 1)], Console(quiet=True), 200)
        except StoppedError as error:
            reasons.append(str(error))

    thread = threading.Thread(target=search)
    thread.start()
    assert until(lambda: len(study.get_trials(states=(TrialState.COMPLETE,))) >= 2, 30)
    yield reasons
    thread.join(timeout=30)
    assert not thread.is_alive()


def test_a_worker_stops_where_another_study_takes_its_place_in_the_database(make: Make, url: str) -> None:
    spec = make(storage=url)
    with searching(spec) as reasons:
        storage = storage_of(open_existing(spec.study))
        while "s" in optuna.get_all_study_names(storage):
            # A row that the worker writes at that moment stops it, of which Optuna says nothing.
            optuna.delete_study(study_name="s", storage=storage)
        stranger = create_or_open(spec, {"data": {"sha256": "other"}})
        stranger.enqueue_trial({"iterations": 200})
    (reason,) = reasons
    assert "holds another study s now; run again to work on that" in reason or "it was deleted while" in reason
    assert [trial.state for trial in stranger.get_trials()] == [TrialState.WAITING]


def test_a_worker_stops_where_its_database_was_put_back(make: Make, tmp_path: Path) -> None:
    spec = make()
    file = tmp_path / "db/s.db"
    with searching(spec) as reasons:
        with sqlite3.connect(file) as live, sqlite3.connect(tmp_path / "backup.db") as backup:
            live.backup(backup)
        time.sleep(2)  # a renewal passes
        with sqlite3.connect(tmp_path / "backup.db") as backup, sqlite3.connect(file, timeout=30) as live:
            backup.backup(live)
    (reason,) = reasons
    assert "was put back to an earlier state while this worker ran; run again to go on from there" in reason


def test_a_worker_stops_where_its_database_is_of_before_it_joined(make: Make, url: str) -> None:
    spec = make(storage=url)
    with searching(spec) as reasons:
        open_existing(spec.study).set_user_attr("mmtuna:workers", 0)  # as a backup from before has it
    (reason,) = reasons
    assert "was put back to an earlier state while this worker ran" in reason
    assert "canary" not in reason


def test_a_worker_stops_where_its_sqlite_file_was_replaced(make: Make, tmp_path: Path) -> None:
    spec = make()
    file = tmp_path / "db/s.db"
    with searching(spec) as reasons:
        shutil.copy(file, tmp_path / "copy.db")
        os.replace(tmp_path / "copy.db", file)
    assert reasons == [
        f"[study] storage sqlite:///{file} was replaced or moved while this worker ran; put it back, and run again"
    ]


def test_a_worker_stops_where_its_folder_was_moved(make: Make, url: str, tmp_path: Path) -> None:
    spec = make(storage=url)
    with searching(spec) as reasons:
        spec.study.folder.rename(tmp_path / "elsewhere")
    moved = "the study's folder was moved or removed while this worker ran; put it back, or set [study] folder to where"
    assert reasons == [f"{spec.study.folder}: {moved} it is, and run again"]
    assert not spec.study.folder.exists()
    states = {trial.state for trial in open_existing(spec.study).get_trials()}
    assert states <= {TrialState.COMPLETE, TrialState.WAITING}  # put back


@pytest.mark.parametrize("command", ["status", "report", "table2", "run"])
def test_a_study_of_others_is_not_taken_for_one_of_ours(
    write_spec: Callable[..., Path], tmp_path: Path, command: str
) -> None:
    study = optuna.create_study(study_name="tiny", storage=f"sqlite:///{tmp_path}/o.db", direction="maximize")
    study.add_trial(optuna.trial.create_trial(value=412.0, params={}, distributions={}))
    done = mmtuna(command, write_spec(study=f'storage = "sqlite:///{tmp_path}/o.db"'))
    assert done.returncode == 2
    assert done.stderr.startswith(
        "mmtuna: study tiny is not a study of mmtuna: what its trials were trained on is not "
    )
    assert done.stderr.count("\n") == 1
    assert "412" not in done.stdout


def test_what_a_killed_worker_left_half_drawn_goes_when_the_next_one_begins(make: Make) -> None:
    spec = make()
    study = filled(spec)
    folder = spec.study.folder / "trials/00000"
    left, fresh = folder / ".overlays.0123456789ab", folder / ".overlays.ba9876543210"
    for path in (left, fresh):
        path.mkdir()
        (path / "0.png").write_bytes(b"half")
    os.utime(left, (time.time() - 7200,) * 2)
    work(spec, study, ReplayObjective(), [Slot(0, "cpu", 1)], Console(quiet=True), 2)
    assert sorted(path.name for path in folder.iterdir()) == [fresh.name, "config.py", "last.pth"]
