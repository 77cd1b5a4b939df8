"""After a trial has ended: its overlays are drawn and its note and files put where the dashboard finds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna

from spaces.errors import InputError
from studies.spec import StudySpec


def show_trial(spec: StudySpec, study: optuna.Study, number: int, folder: Path, say: Callable[[str], None]) -> None:
    """Draws overlays and brings the dashboard's content of trial `number` up to date.

    Pictures are for people: one that cannot be drawn is told through `say` and costs the search nothing.
    """
    from search.dashboard_content import refresh_trial
    from search.pictures import draw_overlays

    try:
        draw_overlays(spec, study, folder)
        refresh_trial(spec, study, number)
    except (InputError, OSError, ValueError, KeyError) as error:
        say(f"trial {number}: no pictures ({error})")
