"""After a trial has ended: its overlays are drawn and its note and files put where the dashboard finds them."""

from __future__ import annotations

from collections.abc import Callable

from mmtuna.objectives.trial.causes import is_disk_full
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.search.trials.content import Content
from mmtuna.search.trials.pictures import Pictures
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.trials import Cause


class Showing:
    """Shows what a worker's trials came to. `say` takes a line for the person."""

    def __init__(self, pictures: Pictures, content: Content, say: Callable[[str], None]) -> None:
        self._pictures, self._content, self._say = pictures, content, say
        self._full_said = False

    def show(self, number: int, folder: TrialFolder) -> None:
        """Draws overlays and brings the dashboard's content of trial `number` up to date.

        Pictures are for people: one that cannot be drawn is said and costs the search nothing, a full disk once for all
        trials.
        """
        try:
            self._pictures.draw(folder)
            self._content.refresh_trial(number)
        except (InputError, OSError, ValueError, KeyError) as error:
            if not is_disk_full(error):
                self._say(f"trial {number}: no pictures ({error})")
            elif not self._full_said:
                self._full_said = True
                self._say(f"trial {number}: no pictures, {Cause.DISK_FULL} ({error}); said once, the search goes on")
