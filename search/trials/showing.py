"""After a trial has ended: its overlays are drawn and its note and files put where the dashboard finds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna

from mmtuna.objectives.trial.causes import is_disk_full
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.trials import Cause
from mmtuna.studies.spec import StudySpec


def show_trial(
    spec: StudySpec, study: optuna.Study, number: int, folder: Path, say: Callable[[str], None], said: set[str]
) -> None:
    """Draws overlays and brings the dashboard's content of trial `number` up to date.

    Pictures are for people: one that cannot be drawn is told through `say` and costs the search nothing. A full disk is
    told once; `said` remembers it for the next trial.
    """
    from mmtuna.search.trials.content import refresh_trial
    from mmtuna.search.trials.pictures import draw_overlays

    try:
        draw_overlays(spec, study, folder)
        refresh_trial(spec, study, number)
    except (InputError, OSError, ValueError, KeyError) as error:
        if not is_disk_full(error):
            say(f"trial {number}: no pictures ({error})")
        elif Cause.DISK_FULL not in said:
            said.add(Cause.DISK_FULL)
            say(f"trial {number}: no pictures, disk full ({error}); said once, the search goes on")
