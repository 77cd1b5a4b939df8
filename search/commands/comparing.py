"""`mmtuna compare`: two trials side by side on the same validation images, as figure 6 of the paper."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from PIL import Image

from mmtuna.objectives.config import read_config
from mmtuna.objectives.deployment.contract import ignore_index
from mmtuna.objectives.deployment.predictions import find_named, predict_names, read_mask
from mmtuna.objectives.evaluation.overlays import choose_images
from mmtuna.objectives.evaluation.overlays import compare as draw
from mmtuna.objectives.predict import read_image
from mmtuna.objectives.trial_files import CONFIG, EVALUATION, PREDICTIONS
from mmtuna.search.commands.exporting import find_complete, require_weights, trial_folder
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import whole_file
from mmtuna.studies.results import TrialRow
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.study import open_existing

IMAGES = 3
"""Rows of the picture where no image is named: the worst, the median and the best of the second trial."""


def compare(spec: StudySpec, a: int, b: int, out: Path, name: str | None = None) -> str:
    """Draws scan, trial `a`, trial `b` and truth, a row an image, to the PNG file `out`; returns the line to print.

    Args:
        a, b: numbers of complete trials, by custom the untuned and the tuned one.
        name: a validation image, with suffix; None for the worst, median and best of trial `b` by foreground IoU.

    Raises InputError for a trial that is not there, not complete or has lost its weights, for a name that does not
    validate, and for an `out` that is no PNG.
    """
    if out.suffix.lower() != ".png" or out.is_dir():
        raise InputError(f"{out}: must be a PNG file; name it such as compare.png")
    study = open_existing(spec)
    pair = [find_complete(spec, study, number) for number in (a, b)]
    folder = trial_folder(spec, study, pair[1])
    cfg = read_config(folder / CONFIG)
    meta = cfg["val_dataloader"]["dataset"]["metainfo"]
    names = [name] if name is not None else _choose(folder, meta["classes"])
    images = find_named(folder, names)
    with tempfile.TemporaryDirectory(prefix="mmtuna-") as scratch:
        masks = {
            _caption(spec, entry): _masks(spec, study, entry, names, Path(scratch) / str(place))
            for place, entry in enumerate(pair)
        }
    rows = [
        (key, read_image(files.image), read_mask(files.mask), {caption: found[key] for caption, found in masks.items()})
        for key, files in images.items()
    ]
    _save(draw(rows, palette=meta["palette"], ignore_index=ignore_index(cfg)), out)
    return f"{out}: trials {a} and {b} on {', '.join(names)}"


def _choose(folder: Path, classes: list[str]) -> list[str]:
    try:
        evaluation: dict[str, Any] = json.loads((folder / EVALUATION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / EVALUATION}: cannot be read ({error}); name an image with --image") from None
    # An image without foreground shows least here.
    shown = {name: counts for name, counts in evaluation["images"].items() if any(counts["labelled"][1:])}
    return choose_images({"images": shown or evaluation["images"]}, classes, IMAGES)


def _caption(spec: StudySpec, entry: TrialRow) -> str:
    return f"trial {entry.number}: {spec.study.metric} {entry.value:.4f}"


def _masks(
    spec: StudySpec, study: optuna.Study, entry: TrialRow, names: list[str], scratch: Path
) -> dict[str, NDArray[np.uint8]]:
    """Masks by name: those the trial kept, else predicted now."""
    folder = trial_folder(spec, study, entry)
    kept = {name: (folder / PREDICTIONS / name).with_suffix(".png") for name in names}
    if not all(path.is_file() for path in kept.values()):
        kept = predict_names(folder, names, require_weights(spec, study, entry), scratch)
    return {name: read_mask(path) for name, path in kept.items()}


def _save(picture: Image.Image, out: Path) -> None:
    with whole_file(out) as part:
        picture.save(part, format="PNG")
