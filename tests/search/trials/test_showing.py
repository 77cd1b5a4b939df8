"""What a worker says of a trial: how it ended, and that it has no pictures."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from mmtuna.objectives.outcome import Cause, Ending, Outcome
from mmtuna.search.trials import content as dashboard_content
from mmtuna.search.trials import pictures
from mmtuna.search.trials.conclude import ending_text
from mmtuna.search.trials.showing import show_trial
from mmtuna.studies.spec import StudySpec


@pytest.fixture
def spec(write_spec: Callable[..., Path]) -> StudySpec:
    return StudySpec.load(write_spec())


def raising(error: Exception) -> Callable[..., Any]:
    def call(*_: object) -> None:
        raise error

    return call


@pytest.mark.parametrize("where", ["overlays", "attachments"])
def test_a_full_disk_costs_pictures_alone_and_is_said_once(
    spec: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    full = raising(OSError(errno.ENOSPC, "No space left on device", "/disk/a.png"))
    monkeypatch.setattr(pictures, "draw_overlays", full if where == "overlays" else lambda *_: [])
    monkeypatch.setattr(dashboard_content, "_refresh_trial", full if where == "attachments" else lambda *_: None)
    lines: list[str] = []
    said: set[str] = set()
    for number in range(3):
        show_trial(spec, None, number, tmp_path, lines.append, said)  # type: ignore[arg-type]
    (line,) = lines
    assert line.startswith("trial 0: no pictures, disk full ([Errno 28] No space left on device: '/disk/a.png'); ")
    assert line.endswith("said once, the search goes on")


def test_other_reasons_are_said_of_every_trial(
    spec: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "draw_overlays", raising(ValueError("a mask of another size")))
    lines: list[str] = []
    for number in range(2):
        show_trial(spec, None, number, tmp_path, lines.append, set())  # type: ignore[arg-type]
    assert lines == [f"trial {number}: no pictures (a mask of another size)" for number in range(2)]


def test_a_message_is_shown_as_it_is(spec: StudySpec) -> None:
    outcome = Outcome(ending=Ending.FAILED, cause=Cause.ERROR, message="KeyError: [/data] [red]", seconds=2.0)
    shown = Text.from_markup(ending_text(outcome, spec)).plain
    assert shown == "failed: error: KeyError: [/data] [red] (2 s)"
