"""Whose checkpoints stay: one ranking, before and after a trial has ended."""

from __future__ import annotations

import pytest

from mmtuna.search.trials.retention import Retention
from mmtuna.studies.results import TrialRow

TWO = Retention(2)


def entry(number: int, value: float | None) -> TrialRow:
    return TrialRow(number=number, state="RUNNING" if value is None else "COMPLETE", value=value, params={})


@pytest.mark.parametrize("value", [0.4, 0.5, 0.6])
def test_what_is_said_before_a_trial_ends_holds_after_it(value: float) -> None:
    # Trial 1 ties with trial 2, which began later and ended first, and with trial 0, which is earlier.
    others = [entry(0, 0.5), entry(2, 0.5)]
    before = TWO.would_keep([*others, entry(1, None)], 1, value)
    assert before == TWO.keeps([*others, entry(1, value)], 1) == (value >= 0.5)


def test_of_equals_the_earlier_trials_stay() -> None:
    assert not TWO.would_keep([entry(0, 0.5), entry(1, 0.5), entry(2, None)], 2, 0.5)
