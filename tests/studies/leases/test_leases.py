"""A trial belongs to one worker at a time, and is not lost when that one is."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import filelock
import optuna
import pytest
import sqlalchemy
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState

from mmtuna.spaces.parameter import Params
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.asking import Budget, Claim, ask
from mmtuna.studies.leases import signs_of_life
from mmtuna.studies.leases.crew import crew_of
from mmtuna.studies.leases.leases import Leases, reap
from mmtuna.studies.leases.transactions import TRIALS, End
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import engine_of, study_lock
from mmtuna.studies.storage.outages import StorageAwayError
from mmtuna.studies.storage.postgres import CONNECTIONS
from mmtuna.studies.storage.tables import CONTACT, LEASES, now
from mmtuna.studies.study import create_or_open
from tests.studies.leases.reaping import reap_until

SHORT, LONG = 0.3, 2.0  # seconds that a lease is not, and is, renewed within, also on a busy machine
COMPLETE = End(state=TrialState.COMPLETE, value=0.5, attrs={"metrics": {"mIoU": 0.5}})


@pytest.fixture
def study(stored_spec: StudySpec) -> optuna.Study:
    return create_or_open(stored_spec, {})


@contextmanager
def worker(study: optuna.Study, folder: Path, *, seconds: float = 60.0, retries: int = 3) -> Iterator[Leases]:
    """A worker that renews nothing, as one that was stopped: its sign of life on this machine is held all the same."""
    leases = Leases(study=study, folder=folder, seconds=seconds, retries=retries)
    yield leases
    leases._registration.release()


def claim(study: optuna.Study, spec: StudySpec, leases: Leases, trials: int = 9) -> Claim:
    lock = study_lock(spec.study.storage, spec.study.name)
    found = ask(study, spec.search_space(), spec.study.seed, trials=trials, lock=lock, leases=leases)
    assert isinstance(found, Claim)
    assert found.lease is not None
    return found


def only_trial(study: optuna.Study) -> FrozenTrial:
    (trial,) = study.get_trials()
    return trial


def leased(study: optuna.Study) -> int:
    with engine_of(study).begin() as connection:
        return len(connection.execute(sqlalchemy.select(LEASES)).all())


def endings(trial: FrozenTrial) -> list[str]:
    return [entry["ended"] for entry in trial.user_attrs.get("history", [])]


def test_a_trial_ends_whole(study: optuna.Study, stored_spec: StudySpec, tmp_path: Path) -> None:
    with worker(study, tmp_path) as leases:
        taken = claim(study, stored_spec, leases)
        assert taken.lease is not None
        assert leases.report(taken.trial, taken.lease, 40, 0.4)
        assert leases.end(taken.lease, COMPLETE)
        assert leases.end(taken.lease, COMPLETE)  # said again, since the first answer was lost: not dropped
    trial = only_trial(study)
    assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.COMPLETE, 0.5, {40: 0.4})
    assert (trial.user_attrs["metrics"], trial.user_attrs["seed"]) == ({"mIoU": 0.5}, 0)
    assert endings(trial) == ["complete"]
    assert trial.duration is not None
    assert trial.duration.total_seconds() < 60
    assert leased(study) == 0


def test_a_pruned_trial_has_the_value_of_its_last_report(
    study: optuna.Study, stored_spec: StudySpec, tmp_path: Path
) -> None:
    with worker(study, tmp_path) as leases:
        taken = claim(study, stored_spec, leases)
        assert taken.lease is not None
        for step in (60, 20, 40):
            leases.report(taken.trial, taken.lease, step, step / 100)
        leases.end(taken.lease, End(state=TrialState.PRUNED))
    assert (only_trial(study).state, only_trial(study).value) == (TrialState.PRUNED, 0.6)


def test_an_expired_trial_is_trained_again_and_the_late_result_is_dropped(
    study: optuna.Study, stored_spec: StudySpec, tmp_path: Path
) -> None:
    with worker(study, tmp_path, seconds=SHORT) as slow, worker(study, tmp_path) as quick:
        first = claim(study, stored_spec, slow)
        assert first.lease is not None
        slow.report(first.trial, first.lease, 20, 0.2)
        assert reap(study, tmp_path, 3) == []
        time.sleep(SHORT + 0.1)
        second = claim(study, stored_spec, quick)
        assert second.lease is not None
        assert (second.trial.number, second.params, second.seed) == (0, first.params, first.seed)
        assert second.lease.attempt == 2

        assert not slow.report(first.trial, first.lease, 40, 0.9)
        assert slow.lost(first.lease)
        assert not slow.put_back(first.lease)
        assert not slow.end(first.lease, End(state=TrialState.COMPLETE, value=0.9))
        assert quick.end(second.lease, COMPLETE)
        assert not slow.end(first.lease, End(state=TrialState.COMPLETE, value=0.9))
    trial = only_trial(study)
    assert (trial.value, trial.intermediate_values, endings(trial)) == (0.5, {20: 0.2}, ["lost", "complete"])
    assert trial.user_attrs["history"][0]["worker"] == slow.worker


def test_a_lease_that_expired_unnoticed_is_still_good(
    study: optuna.Study, stored_spec: StudySpec, tmp_path: Path
) -> None:
    with worker(study, tmp_path, seconds=SHORT) as slow:
        taken = claim(study, stored_spec, slow)
        assert taken.lease is not None
        time.sleep(SHORT + 0.1)
        assert slow.end(taken.lease, COMPLETE)


def test_renewal_keeps_leases_and_notices_what_was_lost(
    study: optuna.Study, stored_spec: StudySpec, tmp_path: Path
) -> None:
    with Leases(study=study, folder=tmp_path, seconds=LONG) as leases:
        kept, other = claim(study, stored_spec, leases), claim(study, stored_spec, leases)
        assert kept.lease is not None
        assert other.lease is not None
        time.sleep(1.5 * LONG)
        assert reap(study, tmp_path, 3) == []
        with engine_of(study).begin() as connection:
            connection.execute(sqlalchemy.delete(LEASES).where(LEASES.c.token == other.lease.token))
        end = time.monotonic() + 10
        while not leases.lost(other.lease):
            assert time.monotonic() < end
            time.sleep(0.02)
        assert not leases.lost(kept.lease)
        assert [life.alive for life in crew_of(study).workers] == [True]
    assert study.get_trials()[0].state == TrialState.WAITING  # put back by the worker that went
    assert endings(study.get_trials()[0]) == ["interrupted"]
    assert crew_of(study).workers == ()


def test_renewal_that_fails_goes_on_and_says_so_once(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    leases = Leases(study=study, folder=tmp_path, seconds=SHORT, say=said.append)
    tries: list[float] = []

    def fail() -> None:
        tries.append(time.monotonic())
        raise OSError(28, "No space left on device")

    with leases:
        monkeypatch.setattr(leases, "_renew", fail)
        end = time.monotonic() + 10
        while len(tries) < 3 and time.monotonic() < end:
            time.sleep(0.02)
    assert len(tries) >= 3
    assert said == ["leases could not be renewed (OSError); trying again"]


def test_putting_back_spends_no_retry_and_losses_do(
    study: optuna.Study, stored_spec: StudySpec, tmp_path: Path
) -> None:
    with worker(study, tmp_path, seconds=0.01, retries=1) as leases, worker(study, tmp_path, retries=1) as other:
        for _ in range(3):
            taken = claim(study, stored_spec, leases)
            assert taken.lease is not None
            leases.put_back(taken.lease)
        for failed in (False, True):
            claim(study, stored_spec, leases)
            time.sleep(0.05)
            (found,) = other.reap()
            assert found.failed is failed
        assert claim(study, stored_spec, other).trial.number == 1  # a failed one does not count
    trial = study.get_trials()[0]
    assert (trial.state, trial.user_attrs["cause"]) == (TrialState.FAIL, "lost")
    assert endings(trial) == ["interrupted"] * 3 + ["lost"] * 2
    assert trial.user_attrs["message"] == f"lost with its worker 2 times, last with {leases.worker}"
    assert trial.datetime_complete is not None


def test_a_claimer_that_died_before_its_lease(study: optuna.Study, stored_spec: StudySpec, tmp_path: Path) -> None:
    study.ask()  # and nothing more: running, without a lease
    with worker(study, tmp_path) as leases:
        assert claim(study, stored_spec, leases).trial.number == 0
        assert only_trial(study).user_attrs["seed"] == 0


def test_a_claim_needs_no_other_connection_than_its_locks(
    study: optuna.Study, stored_spec: StudySpec, tmp_path: Path
) -> None:
    """Many wait for the study's lock; who has it must not wait for a connection that other slots use."""
    with worker(study, tmp_path) as leases, ExitStack() as busy:
        for _ in range(CONNECTIONS - 1):
            busy.enter_context(engine_of(study).connect())
        began = time.monotonic()
        assert [claim(study, stored_spec, leases).trial.number for _ in range(2)] == [0, 1]
        assert time.monotonic() - began < 5


def test_a_claim_whose_answer_was_lost_is_not_kept(study: optuna.Study, stored_spec: StudySpec, tmp_path: Path) -> None:
    with worker(study, tmp_path) as leases:
        taken = claim(study, stored_spec, leases)
        assert taken.lease is not None
        leases.drop(taken.lease)  # the worker never learnt that its claim was committed
        assert claim(study, stored_spec, leases).trial.number == 0
    assert leased(study) == 1


def test_waiting_for_the_last_trials_ends_when_their_worker_is_lost(
    study: optuna.Study, stored_spec: StudySpec, tmp_path: Path
) -> None:
    lock = study_lock(stored_spec.study.storage, "s")
    with worker(study, tmp_path, seconds=SHORT) as dead, worker(study, tmp_path) as alive:
        claim(study, stored_spec, dead, trials=1)
        space = stored_spec.search_space()
        assert ask(study, space, stored_spec.study.seed, trials=1, lock=lock, leases=alive) is Budget.WAIT
        time.sleep(SHORT + 0.1)
        again = claim(study, stored_spec, alive, trials=1)
        assert again.lease is not None
        assert again.trial.number == 0
        assert alive.end(again.lease, COMPLETE)
        assert ask(study, space, stored_spec.study.seed, trials=1, lock=lock, leases=alive) is Budget.DONE


def test_two_reapers_at_once_retry_once(study: optuna.Study, stored_spec: StudySpec, tmp_path: Path) -> None:
    with ExitStack() as stack:
        dead = stack.enter_context(worker(study, tmp_path, seconds=0.01))
        for _ in range(6):
            claim(study, stored_spec, dead)
        time.sleep(0.05)  # the last lease has to run out as well
        reapers = [stack.enter_context(worker(study, tmp_path)) for _ in range(4)]
        start, found = threading.Barrier(len(reapers)), []

        def go(leases: Leases) -> None:
            start.wait()
            found.extend(leases.reap())

        threads = [threading.Thread(target=go, args=(leases,)) for leases in reapers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(reaped.number for reaped in found) == list(range(6))
    assert [(trial.state, endings(trial)) for trial in study.get_trials()] == [(TrialState.WAITING, ["lost"])] * 6


@pytest.mark.parametrize("url", [pytest.param("sqlite", marks=pytest.mark.slow), "postgres"], indirect=True)
def test_a_reaper_killed_at_any_step_loses_no_retry(
    study: optuna.Study, stored_spec: StudySpec, tmp_path: Path
) -> None:
    with worker(study, tmp_path, seconds=0.01, retries=99) as dead, worker(study, tmp_path, retries=99) as next_reaper:
        claim(study, stored_spec, dead)
        for step in range(1, 99):
            time.sleep(0.3)
            status = reap_until(tmp_path / "study.toml", step, tmp_path)
            before = len(endings(only_trial(study)))
            if status == 0:
                break
            assert status == -signal.SIGKILL
            next_reaper.reap()
            trial = only_trial(study)
            assert (trial.state, leased(study)) == (TrialState.WAITING, 0)
            assert endings(trial) == ["lost"] * step, f"killed at step {step}, {before} before the next reaper"
            claim(study, stored_spec, dead)
        else:
            pytest.fail("the reaper never came to its end")
    assert step > 5  # it was killed at several places, and then lived


def test_a_worker_that_died_on_this_machine_is_noticed_at_once(
    study: optuna.Study, stored_spec: StudySpec, tmp_path: Path
) -> None:
    code = """
import sys, time
from pathlib import Path
from mmtuna.studies.leases import Leases
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import study_lock
from mmtuna.studies.asking import ask
from mmtuna.studies.study import open_existing
spec = StudySpec.load(sys.argv[1])
study = open_existing(spec.study)
leases = Leases(study=study, folder=Path(sys.argv[2]))
lock = study_lock(spec.study.storage, "s")
ask(study, spec.search_space(), spec.study.seed, trials=9, lock=lock, leases=leases)
print("training", flush=True)
time.sleep(60)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])}
    command = [sys.executable, "-c", code, str(tmp_path / "study.toml"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "training\n"
        assert reap(study, tmp_path, 3) == []
        process.kill()
    assert [reaped.number for reaped in reap(study, tmp_path, 3)] == [0]
    assert only_trial(study).state == TrialState.WAITING


def test_a_worker_of_another_machine_is_left_to_its_lease(
    study: optuna.Study, stored_spec: StudySpec, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"  # a folder that is not shared: no sign of life is to be seen here
    with worker(study, elsewhere) as leases:
        claim(study, stored_spec, leases)
    assert reap(study, tmp_path, 3) == []
    assert only_trial(study).state == TrialState.RUNNING


def set_times(study: optuna.Study, *, expired: float, since: float, last: float) -> None:
    """How many seconds ago the lease expired, the workers' contact with the database began, and was last renewed."""
    at = now(engine_of(study))
    with engine_of(study).begin() as connection:
        connection.execute(sqlalchemy.update(LEASES).values(expires=at - expired))
        connection.execute(sqlalchemy.delete(CONTACT))
        values = {"study_id": study._study_id, "since": at - since, "last": at - last}
        connection.execute(sqlalchemy.insert(CONTACT).values(**values))


def contact(study: optuna.Study) -> tuple[float, float]:
    """How many seconds ago the workers' contact with the database began, and was last renewed."""
    at = now(engine_of(study))
    with engine_of(study).begin() as connection:
        row = connection.execute(sqlalchemy.select(at - CONTACT.c.since, at - CONTACT.c.last)).one()
    return row[0], row[1]


@pytest.mark.parametrize(
    ("expired", "since", "last", "renews", "taken"),
    [
        (5, 9999, 1, True, True),  # somebody reached the database all the time
        (
            5,
            9999,
            70,
            True,
            False,
        ),  # nobody did while it expired: the network was cut, this worker is first back
        (40, 59, 1, True, False),
        (40, 61, 1, True, True),  # a whole lease after the contact was resumed
        (9999, 99999, 10000, True, False),  # however long: it may train on, and has a lease's time from now
        # The same where who is back first asks before it has noted its own contact.
        (5, 9999, 1, False, True),
        (5, 9999, 70, False, False),
        (70, 140, 75, False, False),  # nobody reached the database since, or for whole minutes before
        (70, 140, 72, False, False),
        (70, 140, 60, False, True),  # half of a lease of 60 s before it expired there was contact, and there is since
        (601, 9999, 700, False, False),
    ],
)
def test_nobody_is_taken_for_dead_who_could_not_reach_the_database(
    study: optuna.Study,
    stored_spec: StudySpec,
    tmp_path: Path,
    expired: float,
    since: float,
    last: float,
    renews: bool,
    taken: bool,
) -> None:
    with worker(study, tmp_path / "elsewhere") as cut, worker(study, tmp_path) as back:
        claim(study, stored_spec, cut)
        set_times(study, expired=expired, since=since, last=last)
        if renews:
            back._renew()
        assert [reaped.number for reaped in back.reap()] == [0] * taken


def test_who_notes_no_contact_has_patience_instead(study: optuna.Study, stored_spec: StudySpec, tmp_path: Path) -> None:
    with worker(study, tmp_path / "elsewhere") as gone:
        claim(study, stored_spec, gone)
        set_times(study, expired=599, since=9999, last=700)
        assert reap(study, tmp_path, 3) == []
        set_times(study, expired=601, since=9999, last=700)
        assert [reaped.number for reaped in reap(study, tmp_path, 3)] == [0]


def test_a_lease_shorter_than_the_others_has_its_chance_too(
    study: optuna.Study, stored_spec: StudySpec, tmp_path: Path
) -> None:
    """An outage of 20 s is none to a worker whose lease is 60 s; one with a lease of 6 s could not renew."""
    with worker(study, tmp_path / "elsewhere", seconds=6.0) as short, worker(study, tmp_path) as back:
        claim(study, stored_spec, short)
        set_times(study, expired=16, since=9999, last=21)
        back._renew()
        assert back.reap() == []
        set_times(study, expired=28, since=9999, last=19)
        back._renew()
        assert [reaped.number for reaped in back.reap()] == [0]


def test_a_trial_that_another_holds_at_this_moment_holds_up_no_other(
    study: optuna.Study, stored_spec: StudySpec, tmp_path: Path
) -> None:
    engine = engine_of(study)
    if engine.dialect.name == "sqlite":
        pytest.skip("on SQLite every transaction waits for every other")
    with worker(study, tmp_path / "elsewhere", seconds=0.01) as dead, worker(study, tmp_path) as reaper:
        held, _ = claim(study, stored_spec, dead), claim(study, stored_spec, dead)
        time.sleep(0.05)
        with engine.connect() as connection, connection.begin():
            row = sqlalchemy.select(TRIALS).where(TRIALS.c.trial_id == held.trial._trial_id)
            connection.execute(row.with_for_update())
            began = time.monotonic()
            assert [reaped.number for reaped in reaper.reap()] == [1]
            assert time.monotonic() - began < 5
        assert [reaped.number for reaped in reaper.reap()] == [0]


def test_a_sign_of_life_that_could_not_be_given_is_none_of_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(37, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr(filelock.FileLock, "acquire", refuse)
        registration = signs_of_life.register(tmp_path)
    assert not signs_of_life.is_gone(tmp_path, registration.worker)
    assert not signs_of_life.is_gone(tmp_path / "not/there", registration.worker)


def test_params_that_another_process_stored_are_not_trained_as_others(
    study: optuna.Study, stored_spec: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lost the lock while it asked, the trial was put back and asked for again, and both suggest for it."""
    real = SearchSpace.suggest
    stored: list[object] = []

    def suggest_after_another(space: SearchSpace, trial: optuna.Trial) -> Params:
        params = real(space, trial)
        if not stored:
            stored.append(64 if params["crop"] == 96 else 96)
            column = models.TrialParamModel
            with engine_of(study).begin() as connection:
                value = trial.distributions["crop"].to_internal_repr(stored[0])
                change = sqlalchemy.update(column).where(column.trial_id == trial._trial_id)
                connection.execute(change.values(param_value=value))
        return params

    monkeypatch.setattr(SearchSpace, "suggest", suggest_after_another)
    study.enqueue_trial({})  # one that waits is suggested for in the database's sight
    with worker(study, tmp_path) as leases:
        with pytest.raises(StorageAwayError, match="trial 0: another process suggests its params as well; ask again"):
            claim(study, stored_spec, leases)
        assert leased(study) == 0
        found = claim(study, stored_spec, leases)
        assert found.trial.number == 0
        assert found.params == only_trial(study).params == {"crop": stored[0]}


def test_contact_is_kept_by_all_workers_together(study: optuna.Study, stored_spec: StudySpec, tmp_path: Path) -> None:
    with worker(study, tmp_path, seconds=LONG) as one, worker(study, tmp_path / "b", seconds=LONG) as other:
        one._renew()
        for leases in (other, one, other):
            time.sleep(LONG / 3)
            leases._renew()
        since, last = contact(study)
        assert since > LONG * 0.9
        assert last < LONG / 3
        time.sleep(LONG / 2 + 0.2)
        other._renew()
        assert contact(study)[0] < LONG / 3


def test_a_worker_that_was_stopped_while_it_renewed_holds_up_nobody(
    study: optuna.Study, stored_spec: StudySpec, tmp_path: Path
) -> None:
    engine = engine_of(study)
    if engine.dialect.name == "sqlite":
        pytest.skip("on SQLite every transaction waits for every other")
    stops: queue.Queue[str] = queue.Queue()
    go_on: queue.Queue[str] = queue.Queue()

    def stop_before_its_commit(_connection: object) -> None:
        if threading.current_thread().name == "stopped":
            stops.put("")
            go_on.get(timeout=20)

    with worker(study, tmp_path) as stopped, worker(study, tmp_path / "b") as other:
        taken = claim(study, stored_spec, other)
        claim(study, stored_spec, stopped)
        other._renew()
        sqlalchemy.event.listen(engine, "commit", stop_before_its_commit)
        thread = threading.Thread(target=stopped._renew, name="stopped")
        thread.start()
        for _ in ("its leases", "its contact"):
            stops.get(timeout=20)
            time.sleep(0.5)
            began = time.monotonic()
            other._renew()
            assert time.monotonic() - began < 5
            assert contact(study)[1] < 0.5
            go_on.put("")
        thread.join()
        sqlalchemy.event.remove(engine, "commit", stop_before_its_commit)
        assert taken.lease is not None
        assert other.end(taken.lease, COMPLETE)


def test_what_a_deleted_study_left_is_in_nobodys_way(
    study: optuna.Study, stored_spec: StudySpec, tmp_path: Path
) -> None:
    with worker(study, tmp_path) as leases:
        claim(study, stored_spec, leases)
    optuna.delete_study(study_name="s", storage=study._storage)
    anew = create_or_open(stored_spec, {})  # SQLite gives the same numbers again
    with worker(anew, tmp_path) as leases:
        taken = claim(anew, stored_spec, leases)
        assert taken.lease is not None
        assert leases.end(taken.lease, COMPLETE)
    assert endings(only_trial(anew)) == ["complete"]
