import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
from optuna.study import StudyDirection

from mmtuna.spaces.errors import InputError
from mmtuna.studies.storage.opening import hide_password, open_storage, study_lock


def test_a_study_lives_on_in_the_storage(url: str) -> None:
    study = optuna.create_study(storage=open_storage(url), study_name="a")
    study.enqueue_trial({"x": 0.5})
    trial = study.ask()
    assert trial.suggest_float("x", 0, 1) == 0.5
    study.tell(trial, 0.25)
    again = optuna.load_study(storage=open_storage(url), study_name="a")
    assert [(t.params, t.value) for t in again.trials] == [({"x": 0.5}, 0.25)]


ENV = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])}
LOCKED = """
import sys, time
from pathlib import Path
from mmtuna.studies.storage.opening import open_storage, study_lock
url, counter, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
open_storage(url)
lock = study_lock(url, "s")
for _ in range(rounds):
    with lock:
        value = int(counter.read_text())
        time.sleep(0.002)
        counter.write_text(str(value + 1))
"""


def test_lock_excludes_processes_that_also_create_the_tables(url: str, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    started = [subprocess.Popen([sys.executable, "-c", LOCKED, url, str(counter), "15"], env=ENV) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert counter.read_text() == "45"


def test_lock_excludes_threads_and_frees_after_an_error(url: str) -> None:
    open_storage(url)
    lock = study_lock(url, "s")
    inside: list[int] = []
    most = 0

    def enter() -> None:
        nonlocal most
        for _ in range(5):
            with study_lock(url, "s"):
                inside.append(1)
                most = max(most, len(inside))
                time.sleep(0.002)
                inside.pop()

    with pytest.raises(RuntimeError, match="within"), lock:
        raise RuntimeError("within")
    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_lock_of_a_killed_process_is_free(url: str) -> None:
    open_storage(url)
    code = "import sys, time\nfrom mmtuna.studies.storage.opening import study_lock\n"
    code += "with study_lock(sys.argv[1], 's'):\n    print('held', flush=True)\n    time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, env=ENV) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    begun = time.monotonic()
    with study_lock(url, "s"):
        assert time.monotonic() - begun < 10


def test_locks_of_two_studies_do_not_exclude_each_other(url: str) -> None:
    open_storage(url)
    with study_lock(url, "a"), study_lock(url, "b"):
        pass


def test_sqlite_is_opened_for_several_writers(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/study.db")
    with storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000
    # A transaction holds the write lock from its first statement on, though it has only read.
    with storage.engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        other = sqlite3.connect(tmp_path / "study.db", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


@pytest.mark.parametrize("name", ["a{b}.db", "a b%20c.db", "{SCHEMA_VERSION}.db", "é#.db"])
def test_sqlite_file_of_any_name(tmp_path: Path, name: str) -> None:
    open_storage(f"sqlite:///{tmp_path}/{name}")
    assert (tmp_path / name).read_bytes()[:6] == b"SQLite"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://u:pw@h/db", "storage mysql://u:***@h/db is no database mmtuna knows; use sqlite:///FILE or"),
        ("study.db", "cannot be read as a URL; write sqlite:///FILE or"),
        ("sqlite:///:memory:", "lives in memory and dies with the command; use sqlite:///FILE"),
        ("sqlite:///", "lives in memory"),
        ("sqlite:////tmp/a.db?mode=ro", "options and question marks are not supported"),
    ],
)
def test_wrong_url(url: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        open_storage(url)


def test_sqlite_files_that_do_not_open(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database" * 1000)
    with pytest.raises(InputError, match=r"text.db does not open: file is not a database; it must be a database of"):
        open_storage(f"sqlite:///{tmp_path}/text.db")
    with pytest.raises(InputError, match=r"is a folder; .* names a file"):
        open_storage(f"sqlite:///{tmp_path}")
    with pytest.raises(InputError, match=r"text.db/x: cannot be created"):
        open_storage(f"sqlite:///{tmp_path}/text.db/x/study.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_sqlite_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written; make it writable"):
        open_storage(f"sqlite:///{tmp_path}/study.db")
    tmp_path.chmod(0o700)


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InputError, match=re.escape("pip install 'mmtuna[postgres]'")):
        open_storage("postgresql+psycopg://u:pw@127.0.0.1:1/db")


def test_a_server_that_does_not_answer_and_a_password_with_braces() -> None:
    pytest.importorskip("psycopg", reason="needs mmtuna[postgres]")
    with pytest.raises(InputError, match=r"u:\*\*\*@127.0.0.1:1/db does not open: connection failed") as caught:
        open_storage("postgresql+psycopg://u:p{}w%25x@127.0.0.1:1/db")
    assert "p{}w" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://u:pw@h/db", "postgresql+psycopg://u:***@h/db"),
        ("postgresql+psycopg://u:p/w@h/db", "postgresql+psycopg://u:***@h/db"),
        ("postgresql+psycopg://u:p@w/x:y@h/db", "***"),
        ("postgresql+psycopg://h/db?user=u&password=pw", "postgresql+psycopg://h/db?user=u&password=***"),
        (
            "postgresql+psycopg://u@h/db?sslmode=allow&pasword=pw",
            "postgresql+psycopg://u@h/db?sslmode=allow&pasword=***",
        ),
        ("postgresql+psycopg://u@h/db", "postgresql+psycopg://u@h/db"),
        ("postgresql+psycopg://:pw@h/db", "postgresql+psycopg://:***@h/db"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ],
)
def test_hide_password(url: str, shown: str) -> None:
    assert hide_password(url) == shown


WRITER = """
import sys
from optuna.study import StudyDirection
from mmtuna.studies.storage.opening import open_storage
storage = open_storage(sys.argv[1])
storage.create_new_study([StudyDirection.MAXIMIZE], sys.argv[2])
storage.remove_session()
storage.engine.dispose()
"""
READER = """
import sys
from mmtuna.studies.storage.opening import open_storage
print(sorted(study.study_name for study in open_storage(sys.argv[1]).get_all_studies()))
"""


def test_opening_a_database_again_leaves_the_locks_of_what_is_open(tmp_path: Path) -> None:
    """SQLite's WAL is deleted by whoever closes the database last, which only these locks tell."""
    url = f"sqlite:///{tmp_path}/study.db"

    def in_another_process(code: str, *arguments: str) -> str:
        command = [sys.executable, "-c", code, url, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]).stdout

    first = open_storage(url)
    first.create_new_study([StudyDirection.MAXIMIZE], "before")
    second = open_storage(url)
    in_another_process(WRITER, "elsewhere")
    first.create_new_study([StudyDirection.MAXIMIZE], "after")
    assert in_another_process(READER) == "['after', 'before', 'elsewhere']\n"
    for storage in (first, second):
        with storage.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
