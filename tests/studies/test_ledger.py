"""Device-seconds spent and saved, from rows with known costs."""

from dataclasses import replace

import pytest

from mmtuna.studies.ledger import Ledger, ending, ledger
from mmtuna.studies.results import TrialRow


def row(
    number: int, state: str, seconds: float | None = None, step: int | None = None, cause: str | None = None
) -> TrialRow:
    curve = [] if step is None else [{"step": 10.0, "mIoU": 0.5}, {"step": float(step), "mIoU": 0.6}]
    return TrialRow(number=number, state=state, value=None, params={}, seconds=seconds, curve=curve, cause=cause)


def test_every_second_is_booked_once() -> None:
    rows = [
        row(0, "COMPLETE", 100.0, 100),
        row(1, "COMPLETE", 60.0, 100),
        row(2, "PRUNED", 25.0, 25),
        row(3, "PRUNED", 7.0, 40, cause="diverged"),
        row(4, "FAIL", 3.0, cause="crashed"),
        row(5, "RUNNING"),
        row(6, "WAITING"),
    ]
    account = ledger(rows)
    assert (account.complete, account.pruned, account.diverged, account.failed) == (160.0, 25.0, 7.0, 3.0)
    assert account.spent == pytest.approx(195.0)
    booked = [(entry.ending, entry.cause, entry.trials, entry.seconds) for entry in account.entries]
    assert booked == [
        ("complete", None, 2, 160.0),
        ("pruned", None, 1, 25.0),
        ("diverged", "diverged", 1, 7.0),
        ("failed", "crashed", 1, 3.0),
    ]
    assert account.untimed == 0


def test_saved_is_what_the_pruned_trials_would_still_have_taken() -> None:
    # 25 s for a quarter: 75 s more. 30 s for three fifths: 20 s more.
    account = ledger([row(0, "PRUNED", 25.0, 25), row(1, "PRUNED", 30.0, 60), row(2, "COMPLETE", 45.0, 100)])
    assert account.saved == pytest.approx(95.0)
    assert account.saved_share == pytest.approx(95.0 / 195.0)


def test_what_diverged_or_failed_saves_nothing() -> None:
    account = ledger([row(0, "PRUNED", 10.0, 10, cause="diverged"), row(1, "FAIL", 10.0, 10, cause="deadline")])
    assert account.saved == 0.0
    assert account.saved_share == 0.0
    assert account.unestimated == 0


def test_energy_is_that_of_the_trials_that_hold_it() -> None:
    rows = [row(0, "COMPLETE", 10.0, 100), row(1, "PRUNED", 5.0, 50), row(2, "FAIL", 5.0), row(3, "RUNNING")]
    account = ledger(replace(one, joules=joules) for one, joules in zip(rows, (3e6, 6e5, None, 9.0), strict=True))
    assert (account.joules, account.metered) == (3.6e6, 2)


def test_a_trial_pruned_at_its_last_step_saves_nothing_and_never_less() -> None:
    assert ledger([row(0, "PRUNED", 10.0, 100)]).saved == 0.0


def test_what_holds_no_cost_or_no_step_is_counted_and_not_guessed() -> None:
    account = ledger([row(0, "PRUNED", 10.0), row(1, "PRUNED", None, 50), row(2, "FAIL"), row(3, "COMPLETE")])
    assert account.pruned == 10.0
    assert account.saved == 0.0
    assert account.unestimated == 2
    assert account.untimed == 3


def test_causes_are_booked_by_how_trials_ended_the_costliest_first() -> None:
    rows = [row(0, "COMPLETE", 10.0, 100), row(1, "COMPLETE", 5.0, 100, cause="collapsed"), row(2, "FAIL", 1.0)]
    rows += [
        row(3, "FAIL", 2.0, cause="hung"),
        row(4, "PRUNED", 4.0, 50, cause="collapsed"),
        row(5, "FAIL", cause="hung"),
    ]
    found = [(entry.ending, entry.cause, entry.trials, entry.seconds) for entry in ledger(rows).entries]
    assert found == [
        ("complete", None, 1, 10.0),
        ("complete", "collapsed", 1, 5.0),
        ("pruned", "collapsed", 1, 4.0),
        ("failed", "hung", 2, 2.0),
        ("failed", "unknown", 1, 1.0),
    ]


def test_an_empty_ledger_is_all_zero() -> None:
    assert ledger([]) == Ledger()
    assert Ledger().saved_share == 0.0


@pytest.mark.parametrize(
    ("state", "cause", "how"),
    [
        ("COMPLETE", None, "complete"),
        ("PRUNED", None, "pruned"),
        ("PRUNED", "diverged", "diverged"),
        ("FAIL", "out of memory", "failed"),
        ("RUNNING", None, "running"),
        ("WAITING", None, "waiting"),
    ],
)
def test_ending_tells_the_pruners_stops_from_divergence(state: str, cause: str | None, how: str) -> None:
    assert ending(row(0, state, cause=cause)) == how
