"""A study that may be worked on for some hours: what its clock counts, and which trials it still gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from mmtuna.spaces.parameter import Params
from mmtuna.studies.asking import Budget, Claim, Hours, ask
from mmtuna.studies.copying import copy_study
from mmtuna.studies.identity import id_of
from mmtuna.studies.leases import Leases, clock
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import engine_of, study_lock
from mmtuna.studies.storage.tables import CLOCKS, WORKERS, now
from mmtuna.studies.study import create_or_open, open_existing

SECONDS: Mapping[object, float] = {64: 100.0, 96: 1000.0}
"""What a trial takes by its crop."""


@pytest.fixture
def study(stored_spec: StudySpec) -> optuna.Study:
    return create_or_open(stored_spec, {})


@pytest.fixture
def give(study: optuna.Study, stored_spec: StudySpec) -> Callable[..., Claim | Budget]:
    """Asks for a trial of a study that may be worked on for so many seconds, of which `used` are gone."""

    def expected(params: Params) -> float | None:
        return SECONDS.get(params.get("crop"))

    def ask_for(
        seconds: float, used: float = 0.0, trials: int | None = 9, by: Callable[[Params], float | None] = expected
    ) -> Claim | Budget:
        set_clock(study, used)
        lock = study_lock(stored_spec.study.storage, "s")
        return ask(study, stored_spec.search_space(), 0, trials=trials, lock=lock, hours=Hours(seconds, by))

    return ask_for


def set_clock(study: optuna.Study, used: float, ago: float = 0.0) -> None:
    """As if it had been worked on for `used` seconds until so many seconds ago."""
    engine = engine_of(study)
    values = {"study": id_of(study), "used": used, "last": now(engine) - ago}
    with engine.begin() as connection:
        connection.execute(sqlalchemy.delete(CLOCKS))
        connection.execute(sqlalchemy.insert(CLOCKS).values(**values))


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials(deepcopy=False)]


def test_of_what_is_drawn_one_that_fits_is_given(give: Callable[..., Claim | Budget]) -> None:
    for _ in range(4):
        claim = give(500.0)
        assert isinstance(claim, Claim)
        assert (claim.params["crop"], claim.expected) == (64, 100.0)
        assert claim.left == pytest.approx(500.0, abs=5.0)


def test_where_nothing_fits_the_study_is_over_and_nothing_was_begun(
    study: optuna.Study, give: Callable[..., Claim | Budget]
) -> None:
    assert give(90.0) is Budget.OVER
    assert give(500.0, used=450.0) is Budget.OVER
    assert give(500.0, used=501.0) is Budget.OVER
    assert states(study) == []
    assert isinstance(give(500.0, used=350.0), Claim)


def test_of_what_nothing_is_known_is_given_while_there_is_time(give: Callable[..., Claim | Budget]) -> None:
    claim = give(5.0, by=lambda _: None)
    assert isinstance(claim, Claim)
    assert claim.expected is None
    assert give(5.0, used=5.1, by=lambda _: None) is Budget.OVER


def test_a_trial_of_the_queue_that_does_not_fit_waits_and_another_is_taken(
    study: optuna.Study, give: Callable[..., Claim | Budget]
) -> None:
    for crop in (96, 64, 96):
        study.enqueue_trial({"crop": crop})
    second = give(500.0)
    assert isinstance(second, Claim)
    assert (second.trial.number, second.expected) == (1, 100.0)
    assert give(500.0, trials=None) is Budget.OVER
    sampled = give(500.0)
    assert isinstance(sampled, Claim)
    assert sampled.params["crop"] == 64
    assert states(study) == ["WAITING", "RUNNING", "WAITING", "RUNNING"]
    first = give(5000.0)
    assert isinstance(first, Claim)
    assert first.trial.number == 0


def test_of_a_trial_that_was_put_back_only_the_rest_is_expected(
    study: optuna.Study, give: Callable[..., Claim | Budget]
) -> None:
    study.enqueue_trial({"crop": 96})
    claim = give(5000.0)
    assert isinstance(claim, Claim)
    claim.trial.report(0.5, 80)
    with engine_of(study).begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE trials SET state = 'WAITING'"))
    again = give(500.0)
    assert isinstance(again, Claim)
    assert again.trial.number == 0
    assert again.expected == pytest.approx(200.0)


def test_a_full_study_is_done_and_not_over(study: optuna.Study, give: Callable[..., Claim | Budget]) -> None:
    claim = give(500.0, trials=1)
    assert isinstance(claim, Claim)
    study.tell(claim.trial, 0.5)
    assert give(10.0, trials=1) is Budget.DONE


def test_the_trials_that_finished_are_told(study: optuna.Study, stored_spec: StudySpec) -> None:
    told: list[int] = []
    lock = study_lock(stored_spec.study.storage, "s")
    hours = Hours(500.0, lambda _: 1.0, lambda trials: told.append(len(trials)))
    for state in (TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE):
        claim = ask(study, stored_spec.search_space(), 0, trials=9, lock=lock, hours=hours)
        assert isinstance(claim, Claim)
        study.tell(claim.trial, 0.5 if state == TrialState.COMPLETE else None, state=state)
    assert told == [0, 1, 1]


def worker_of(study: optuna.Study, folder: Path) -> Leases:
    return Leases(study=study, folder=folder, seconds=60.0)


def test_the_clock_counts_the_time_of_workers_once_and_no_other(study: optuna.Study, tmp_path: Path) -> None:
    assert clock.used(study) == 0.0
    set_clock(study, 100.0, ago=5.0)
    assert clock.used(study) == pytest.approx(100.0)
    with worker_of(study, tmp_path) as first:  # nobody worked until now
        assert clock.used(study, at_work=True) == pytest.approx(100.0, abs=2.0)
        set_clock(study, 100.0, ago=20.0)
        first._renew()
        assert clock.used(study) == pytest.approx(120.0, abs=2.0)
        with worker_of(study, tmp_path / "b") as second:  # beside the first: what both work counts once
            set_clock(study, 100.0, ago=20.0)
            first._renew()
            second._renew()
            assert clock.used(study) == pytest.approx(120.0, abs=2.0)
        set_clock(study, 100.0, ago=10.0)
    assert clock.used(study) == pytest.approx(110.0, abs=2.0)


def test_a_worker_that_joins_others_counts_on_with_them(study: optuna.Study, tmp_path: Path) -> None:
    with worker_of(study, tmp_path):
        set_clock(study, 100.0, ago=10.0)
        with worker_of(study, tmp_path / "b"):
            assert clock.used(study) == pytest.approx(110.0, abs=2.0)


def test_time_after_a_kill_is_not_counted_once_the_leases_ran_out(study: optuna.Study, tmp_path: Path) -> None:
    killed = worker_of(study, tmp_path)
    killed._begin_clock()
    killed._renew()
    with engine_of(study).begin() as connection:
        connection.execute(sqlalchemy.update(WORKERS).values(expires=now(engine_of(study)) - 1))
    set_clock(study, 100.0, ago=50.0)
    with worker_of(study, tmp_path / "b"):
        assert clock.used(study, at_work=True) == pytest.approx(100.0, abs=2.0)
    killed._registration.release()


def test_a_copy_has_used_what_its_source_has(study: optuna.Study, stored_spec: StudySpec, tmp_path: Path) -> None:
    set_clock(study, 1234.0)
    target = f"sqlite:///{tmp_path}/copy.db"
    copy_study(stored_spec.study, stored_spec.resources, target)
    copied = open_existing(stored_spec.study.model_copy(update={"storage": target}))
    assert clock.used(copied) == pytest.approx(1234.0, abs=1.0)
    assert clock.used(study) == pytest.approx(1234.0, abs=1.0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("hours = 0", r"\[study\] hours = 0 is wrong: Input should be greater than 0"),
        ('hours = "8"', r'\[study\] hours = "8" is wrong: Input should be a valid number'),
    ],
)
def test_hours_that_are_none_are_refused(spec_of: Callable[..., StudySpec], line: str, said: str) -> None:
    with pytest.raises(Exception, match=said):
        spec_of(line)
    assert spec_of("hours = 8").study.hours == 8.0
