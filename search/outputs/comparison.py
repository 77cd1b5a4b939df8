"""Two trials side by side on the same validation images, as figure 6 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmtuna.objectives.deployment.contract import ignore_index
from mmtuna.objectives.deployment.predictions import find_named, predict_names, read_mask
from mmtuna.objectives.evaluation.overlays import choose_images
from mmtuna.objectives.evaluation.overlays import compare as draw
from mmtuna.objectives.predict import read_image
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.search.outputs.bundle import trusted_imports
from mmtuna.search.trials.files import StudyFiles
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import whole_file
from mmtuna.spaces.traces import scratch_folder
from mmtuna.studies import results
from mmtuna.studies.results import TrialRow
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.study import open_existing

IMAGES = 3
"""Rows of the picture where no image is named: the worst, the median and the best of the second trial."""


@dataclass(frozen=True)
class Comparison:
    """A picture of two trials: its file, their numbers, and the images that it shows."""

    path: Path
    trials: tuple[int, int]
    images: tuple[str, ...]


def compare(spec: StudySpec, a: int, b: int, out: Path, name: str | None = None) -> Comparison:
    """Draws scan, trial `a`, trial `b` and truth, a row an image, to the PNG file `out`.

    Args:
        a, b: numbers of complete trials, by custom the untuned and the tuned one.
        name: a validation image, with suffix; None for the worst, median and best of trial `b` by foreground IoU.

    Raises InputError for a trial that is not there, not complete or has lost its weights, for a name that does not
    validate, and for an `out` that is no PNG.
    """
    if out.suffix.lower() != ".png" or out.is_dir():
        raise InputError(f"{out}: must be a PNG file; name it such as compare.png")
    study = open_existing(spec.study)
    files = StudyFiles(spec.study, spec.data.root, study)
    pair = [results.complete(study, number) for number in (a, b)]
    folder = files.trained(pair[1])
    cfg = folder.read_config()
    meta = cfg["val_dataloader"]["dataset"]["metainfo"]
    names = [name] if name is not None else _choose(folder, meta["classes"])
    images = find_named(folder, names)
    with scratch_folder() as scratch:
        masks = {
            f"trial {entry.number}: {spec.study.metric} {entry.value:.4f}": _masks(
                files, entry, names, scratch / str(place), trusted_imports(spec)
            )
            for place, entry in enumerate(pair)
        }
    rows = [
        (key, read_image(found.image), found.truth(), {caption: own[key] for caption, own in masks.items()})
        for key, found in images.items()
    ]
    with whole_file(out) as part:
        draw(rows, palette=meta["palette"], ignore_index=ignore_index(cfg)).save(part, format="PNG")
    return Comparison(out, (a, b), tuple(names))


def _choose(folder: TrialFolder, classes: list[str]) -> list[str]:
    try:
        images = folder.read_evaluation()["images"]
    except InputError as error:
        raise InputError(f"{error}; or name an image with --image") from None
    # An image without foreground shows least here.
    shown = {name: counts for name, counts in images.items() if any(counts["labelled"][1:])}
    return choose_images({"images": shown or images}, classes, IMAGES)


def _masks(
    files: StudyFiles, entry: TrialRow, names: list[str], scratch: Path, imports: Sequence[str]
) -> dict[str, NDArray[np.uint8]]:
    """Masks by name: those the trial kept, else predicted now."""
    folder = files.trained(entry)
    kept = folder.masks(names)
    if len(kept) < len(names):
        kept = predict_names(folder, names, files.weights(entry), scratch, imports)
    return {name: read_mask(path) for name, path in kept.items()}
