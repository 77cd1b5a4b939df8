"""What a worker says of a trial: how it ended, and that it has no pictures."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from mmtuna.objectives.outcome import Cause, Ending, Outcome
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.search.trials.conclude import Scoring, ending_text
from mmtuna.search.trials.content import Content
from mmtuna.search.trials.pictures import Pictures
from mmtuna.search.trials.showing import Showing
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import study_lock
from mmtuna.studies.study import create_or_open
from tests.search.dashboard_study import content_of


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def showing(write_spec: Callable[..., Path], said: list[str]) -> Showing:
    spec = StudySpec.load(write_spec())
    study = create_or_open(spec, {})
    lock = study_lock(spec.study.storage, spec.study.name)
    return Showing(Pictures(study, lock, spec.data), content_of(spec, study), said.append)


def raising(error: Exception) -> Callable[..., Any]:
    def call(*_: object) -> None:
        raise error

    return call


@pytest.mark.parametrize("where", ["overlays", "attachments"])
def test_a_full_disk_costs_pictures_alone_and_is_said_once(
    showing: Showing, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    full = raising(OSError(errno.ENOSPC, "No space left on device", "/disk/a.png"))
    monkeypatch.setattr(Pictures, "draw", full if where == "overlays" else lambda *_: [])
    monkeypatch.setattr(Content, "_refresh_trial", full)
    for number in range(3):
        showing.show(number, TrialFolder(tmp_path))
    (line,) = said
    assert line.startswith("trial 0: no pictures, disk full ([Errno 28] No space left on device: '/disk/a.png'); ")
    assert line.endswith("said once, the search goes on")


def test_other_reasons_are_said_of_every_trial(
    showing: Showing, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pictures, "draw", raising(ValueError("a mask of another size")))
    for number in range(2):
        showing.show(number, TrialFolder(tmp_path))
    assert said == [f"trial {number}: no pictures (a mask of another size)" for number in range(2)]


def test_a_message_is_shown_as_it_is() -> None:
    outcome = Outcome(ending=Ending.FAILED, cause=Cause.ERROR, message="KeyError: [/data] [red]", seconds=2.0)
    shown = Text.from_markup(ending_text(outcome, Scoring("mIoU"))).plain
    assert shown == "failed: error: KeyError: [/data] [red] (2 s)"
