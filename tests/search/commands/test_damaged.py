"""Every command on a study, a database and a machine that are not as they should be: one line, and nothing touched."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mmtuna.search import cli
from mmtuna.search.work.beginning import open_to_work
from tests.folders import rows_of
from tests.search.conftest import ENVIRONMENT, mmtuna
from tests.search.dashboard_study import make_study

LOOKING = ("status", "status --json", "report", "table2", "export", "compare", "paper", "dashboard")
COMMANDS = (*LOOKING, "replay", "copy", "check", "run", "worker")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replayed study of six trials, two of them with an end of their own."""
    folder = tmp_path_factory.mktemp("sound")
    fingerprints = {"replay": {"curves": "generated"}}
    spec = make_study(folder, 6, **fingerprints)
    open_to_work(spec, fingerprints)
    with contextlib.closing(sqlite3.connect(spec.study.folder / "study.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # one file, to be copied and damaged
    text = (folder / "study.toml").read_text().replace("[space]", '[space]\ndrop = ["initial_weights"]')
    (folder / "training.toml").write_text(f'{text}[model]\npretrained = "none"\n')
    return folder


@pytest.fixture
def damaged(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "damaged"))


def call(
    command: str, spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Exit status and stderr of a command, as `mmtuna` gives them."""
    name, *options = command.split()
    more = {
        "copy": ["--to", f"sqlite:///{spec.parent}/copy.db"],
        "export": ["-o", str(spec.parent / "bundle")],
        "compare": ["0", "1", "-o", str(spec.parent / "compare.png")],
        "replay": ["--trials", "7"],
        "paper": ["-o", str(spec.parent / "paper")],
        "dashboard": ["--host", "203.0.113.1"],  # an address of nobody: it ends once the study is opened
    }.get(name, [])
    if name in ("check", "run", "worker") and spec.with_name("training.toml").exists():
        spec = spec.with_name("training.toml")
    monkeypatch.setattr(sys, "argv", ["mmtuna", name, str(spec), *more, *options])
    monkeypatch.chdir(spec.parent)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0), capsys.readouterr().err


def sql(*statements: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with contextlib.closing(sqlite3.connect(folder / "runs/shown/study.db", isolation_level=None)) as database:
            for statement in statements:
                database.execute(statement)

    return damage


def replaced(name: str, content: bytes | None) -> Callable[[Path], None]:
    """A file in the study's folder in the place of what is there; None: a folder."""

    def damage(folder: Path) -> None:
        path = folder / "runs/shown" / name
        path.unlink(missing_ok=True)
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)

    return damage


def cut(folder: Path) -> None:
    path = folder / "runs/shown/study.db"
    path.write_bytes(path.read_bytes()[:5000])


def attribute(table: str, value: str, where: str = "1") -> Callable[[Path], None]:
    return sql(f"UPDATE {table} SET value_json = '{value}' WHERE {where}")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "values gone": sql("UPDATE trial_values SET value = NULL"),
    "values of text": sql("UPDATE trial_values SET value = 'high'"),
    "values of another kind": sql("UPDATE trial_values SET value_type = 'INF_POS'"),
    "reports of text": sql("UPDATE trial_intermediate_values SET intermediate_value = 'high'"),
    "attributes no JSON": attribute("trial_user_attributes", "{"),
    "attributes numbers": attribute("trial_user_attributes", "5"),
    "attributes lists": attribute("trial_user_attributes", "[1, null]"),
    "attributes NaN": attribute("trial_user_attributes", "NaN"),
    "the study's no JSON": attribute("study_user_attributes", "{"),
    "the study's numbers": attribute("study_user_attributes", "5"),
    "the study's lists": attribute("study_user_attributes", "[1]"),
    "the study's system attributes": sql("UPDATE study_system_attributes SET value_json = '{'"),
    "states unknown": sql("UPDATE trials SET state = 'GONE' WHERE number = 1"),
    "times of text": sql("UPDATE trials SET datetime_start = 'yesterday'"),
    "params beyond their choices": sql("UPDATE trial_params SET param_value = 77"),
    "distributions no JSON": sql("UPDATE trial_params SET distribution_json = 'no'"),
    "no trials": sql("DROP TABLE trials"),
    "no attributes": sql("DROP TABLE trial_user_attributes"),
    "leases of other columns": sql("DROP TABLE mmtuna_leases", "CREATE TABLE mmtuna_leases (x INTEGER)"),
    "workers of other columns": sql("DROP TABLE mmtuna_workers", "CREATE TABLE mmtuna_workers (x INTEGER)"),
    "contact of other columns": sql("DROP TABLE mmtuna_contact", "CREATE TABLE mmtuna_contact (x INTEGER)"),
    "another version": sql("UPDATE version_info SET schema_version = 99"),
    "a lock that is a folder": replaced(".study.db.create.lock", None),
    "the study's lock a folder": replaced(".study.db.shown.lock", None),
    "an owner that is a folder": replaced(".study.json", None),
    "a database that is a folder": replaced("study.db", None),
    "a database that is empty": replaced("study.db", b""),
    "a database of other bytes": replaced("study.db", b"no database at all, but a person's notes\n" * 50),
    "a database cut off": cut,
    "clocks of other columns": sql("DROP TABLE mmtuna_clocks", "CREATE TABLE mmtuna_clocks (x INTEGER)"),
}
CHANGED_BY = ("replay", "copy")
UNTOLD = ("no trials", "no attributes", "another version", "the study's system attributes")
"""What the database then holds might as well have been written so, or is what mmtuna has no use for."""


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        *((name, COMMANDS[place % 3 :: 3]) for place, name in enumerate(DAMAGES)),
        *(pytest.param(name, COMMANDS, marks=pytest.mark.slow) for name in DAMAGES),
    ],
    ids=[*DAMAGES, *(f"{name}, by all" for name in DAMAGES)],
)
def test_no_command_ends_in_a_traceback(
    damaged: Path,
    name: str,
    commands: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each command over a third of the damages; over all of them with the slow tests."""
    DAMAGES[name](damaged)
    database = damaged / "runs/shown/study.db"
    for command in commands:
        before = rows_of(database)
        status, said = call(command, damaged / "study.toml", monkeypatch, capsys)
        told = [line for line in said.splitlines() if line.startswith("mmtuna: ")]
        assert "Traceback" not in said, (command, said)
        assert status in (0, 1, 2), (command, said)
        assert len(told) == (status != 0), (command, said)
        assert all(len(line) < 500 for line in told)
        assert not any("--debug" in line for line in told), (command, told)
        if command in ("check", "run", "worker") and name not in UNTOLD:
            assert "data: no such folder" not in told[0], command  # the study comes before its data are read
        if command.split()[0] not in CHANGED_BY:
            assert rows_of(database) == before, command


def test_status_names_the_trials_of_which_something_is_left_out(
    damaged: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attribute("trial_user_attributes", "5", "trial_id IN (2, 3)")(damaged)
    monkeypatch.setattr(sys, "argv", ["mmtuna", "status", str(damaged / "study.toml")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    left = "the database does not hold what mmtuna wrote there; `mmtuna report` says what is left"
    assert f"  trials 1, 2: {left}\n" in capsys.readouterr().out


def spec_with(tmp_path: Path, folder: str) -> Path:
    path = tmp_path / "study.toml"
    text = f'[study]\nname = "r"\nfolder = "{folder}"\ntrials = 2\n[data]\nroot = "."\n[replay]\n'
    path.write_text(text + '[space]\npreset = "paper"\n')
    return path


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("~no-such-user/x", 'study.toml: [study] folder = "~no-such-user/x" is wrong: there is no user no-such-user'),
        ("x" * 300, "File name too long"),
        ("y/" * 3000, "File name too long"),
        ("a\\u0000b", "it can be no path"),
    ],
)
@pytest.mark.parametrize("command", ["status", "replay", "check", "run"])
def test_a_folder_that_no_system_has_is_named(
    tmp_path: Path,
    folder: str,
    said: str,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, told = call(command, spec_with(tmp_path, folder), monkeypatch, capsys)
    assert status in (1, 2)
    assert said in told
    assert "Traceback" not in told
    assert all(line.startswith("mmtuna: ") for line in told.splitlines())


@pytest.mark.parametrize("command", ["status study.toml", "check /study.toml", "init x --data ."])
def test_a_working_directory_that_is_gone_is_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "gone").mkdir()
    script = f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && exec {sys.executable} -m mmtuna {command}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 2
    said = "mmtuna: the working directory is gone; change to one that is there and run again"
    assert done.stderr.splitlines()[-1] == said  # the shell has its say too
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("limit", [9, 16])
@pytest.mark.parametrize("command", ["status", "replay", "check"])
def test_too_few_open_files_are_named(damaged: Path, limit: int, command: str) -> None:
    spec = damaged / ("training.toml" if command == "check" else "study.toml")
    done = mmtuna(command, spec, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
    lines = done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    if command == "check" and done.returncode == 2:
        assert "data: no such folder" in done.stderr  # it came that far
    elif done.returncode:
        assert lines[-1].endswith(
            "too many open files: this process may not open more; raise the limit (ulimit -n 1024) and run again"
        )


def test_debug_shows_where_an_error_came_from(damaged: Path) -> None:
    DAMAGES["leases of other columns"](damaged)
    environment = {**ENVIRONMENT, "COLUMNS": "100"}
    command = [sys.executable, "-m", "mmtuna", "--debug", "status", "study.toml"]
    done = subprocess.run(command, cwd=damaged, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert os.fspath(Path("leases", "crew.py")) in done.stderr
