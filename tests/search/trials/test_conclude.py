"""Whose checkpoints stay: one ranking, before and after a trial has ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmtuna.search.trials.conclude import keeps_checkpoints, would_keep_checkpoints
from mmtuna.studies.results import TrialRow
from mmtuna.studies.spec import StudySpec


@pytest.fixture
def spec(write_spec: Callable[..., Path]) -> StudySpec:
    return StudySpec.load(write_spec(resources="keep_checkpoints = 2"))


def entry(number: int, value: float | None) -> TrialRow:
    return TrialRow(number=number, state="RUNNING" if value is None else "COMPLETE", value=value, params={})


@pytest.mark.parametrize("value", [0.4, 0.5, 0.6])
def test_what_is_said_before_a_trial_ends_holds_after_it(spec: StudySpec, value: float) -> None:
    # Trial 1 ties with trial 2, which began later and ended first, and with trial 0, which is earlier.
    others = [entry(0, 0.5), entry(2, 0.5)]
    before = would_keep_checkpoints([*others, entry(1, None)], spec, 1, value)
    assert before == keeps_checkpoints([*others, entry(1, value)], spec, 1) == (value >= 0.5)


def test_of_equals_the_earlier_trials_stay(spec: StudySpec) -> None:
    assert not would_keep_checkpoints([entry(0, 0.5), entry(1, 0.5), entry(2, None)], spec, 2, 0.5)
