"""Overlays: the same validation images of every trial, with what it missed and what it found falsely."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import optuna

from mmtuna.objectives.deployment.predictions import find_named, read_mask
from mmtuna.objectives.evaluation.overlays import choose_images, side_by_side
from mmtuna.objectives.predict import read_image
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.spaces.files import whole_folder
from mmtuna.studies.spec.tables import DataTable

IMAGES = "mmtuna:pictures"
"""Study attribute: names of the images that every trial is pictured on."""
LIMIT = 6
WIDTH = 960
"""Pixels: four panels side by side that still fit beside a list of trials."""


class Pictures:
    """The overlays of one study's trials. `lock` keeps others from choosing the images at the same time."""

    def __init__(self, study: optuna.Study, lock: AbstractContextManager[object], data: DataTable) -> None:
        self._study, self._lock, self._data = study, lock, data

    def draw(self, folder: TrialFolder) -> list[Path]:
        """Draws the study's images for the trial in `folder`; returns the PNG files, in their order.

        Which images those are, the first trial that ends decides for all: worst, median, best and some between, with
        and without foreground. A trial that kept no masks (it never was evaluated) gets none.
        """
        if not folder.has_masks():
            return []
        kept = folder.masks(self._images(folder))
        found = find_named(folder, list(kept))
        paths = []
        with whole_folder(folder.overlays, replace=True) as part:
            for place, (name, files) in enumerate(found.items()):
                picture = side_by_side(
                    read_image(files.image),
                    files.truth(),
                    read_mask(kept[name]),
                    title=name,
                    ignore_index=self._data.ignore_index,
                )
                file = f"{place}-{Path(name).stem}.png"
                picture.thumbnail((WIDTH, WIDTH))
                # Every trial waits for six of these: `optimize` took ten times as long for a file 5 % smaller.
                picture.save(part / file, format="PNG", compress_level=3)
                paths.append(folder.overlays / file)
        return paths

    def _images(self, folder: TrialFolder) -> list[str]:
        chosen: list[str] | None = self._study.user_attrs.get(IMAGES)
        if chosen is None:
            with self._lock:
                chosen = self._study.user_attrs.get(IMAGES)
                if chosen is None:
                    chosen = choose_images({"images": folder.images_with_masks()}, self._data.classes, LIMIT)
                    self._study.set_user_attr(IMAGES, chosen)
        return chosen
