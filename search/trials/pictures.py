"""Overlays: the same validation images of every trial, with what it missed and what it found falsely."""

from __future__ import annotations

from pathlib import Path

import optuna

from mmtuna.objectives.deployment.predictions import find_named, images_with_masks, read_mask
from mmtuna.objectives.evaluation.overlays import choose_images, side_by_side
from mmtuna.objectives.predict import read_image
from mmtuna.objectives.trial_files import EVALUATION, OVERLAYS, PREDICTIONS
from mmtuna.spaces.files import whole_folder
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import study_lock

IMAGES = "mmtuna:pictures"
"""Study attribute: names of the images that every trial is pictured on."""
LIMIT = 6
WIDTH = 960
"""Pixels: four panels side by side that still fit beside a list of trials."""


def draw_overlays(spec: StudySpec, study: optuna.Study, folder: Path) -> list[Path]:
    """Draws the study's images for the trial in `folder`; returns the PNG files, in their order.

    Which images those are, the first trial that ends decides for all: worst, median, best and some between, with and
    without foreground. A trial that kept no masks (it never was evaluated) gets none.
    """
    if not (folder / PREDICTIONS).is_dir() or not (folder / EVALUATION).is_file():
        return []
    names = _images(spec, study, folder)
    kept = {name: (folder / PREDICTIONS / name).with_suffix(".png") for name in names}
    kept = {name: path for name, path in kept.items() if path.is_file()}
    found = find_named(folder, list(kept))
    paths = []
    with whole_folder(folder / OVERLAYS, replace=True) as part:
        for place, (name, files) in enumerate(found.items()):
            picture = side_by_side(
                read_image(files.image),
                read_mask(files.mask),
                read_mask(kept[name]),
                title=name,
                ignore_index=spec.data.ignore_index,
            )
            file = f"{place}-{Path(name).stem}.png"
            picture.thumbnail((WIDTH, WIDTH))
            picture.save(part / file, format="PNG", optimize=True)
            paths.append(folder / OVERLAYS / file)
    return paths


def _images(spec: StudySpec, study: optuna.Study, folder: Path) -> list[str]:
    chosen: list[str] | None = study.user_attrs.get(IMAGES)
    if chosen is None:
        with study_lock(spec.study.storage, spec.study.name):
            chosen = study.user_attrs.get(IMAGES)
            if chosen is None:
                chosen = choose_images({"images": images_with_masks(folder)}, spec.data.classes, LIMIT)
                study.set_user_attr(IMAGES, chosen)
    return chosen
