"""Masks of single images by a trial's saved weights, kept in the trial's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmtuna.objectives.trial_files import CONFIG, EVALUATION, PREDICTIONS
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import whole_folder

if TYPE_CHECKING:
    from mmtuna.objectives.deployment.contract import LabelledImage


def predict_names(
    trial_folder: Path, names: Sequence[str], checkpoint: str, out: Path | None = None, imports: Sequence[str] = ()
) -> dict[str, Path]:
    """Predicts validation images in a child process and writes their masks to predictions/ of the trial's folder.

    Args:
        names: images as evaluation.json names them, or relative to the image folder; with suffix.
        checkpoint: file name in `trial_folder` of the weights to use.
        out: another folder to write to.
        imports: modules of the person's own that the trial's config may import.

    Returns the 8-bit PNG mask (class indices, the image's own size) of each name. What the folder held before is
    replaced, whole or not at all. InputError for a name that does not validate, or a config or checkpoint that is gone.
    """
    from mmtuna.objectives.trial.process import call_in_child

    folder = str(out or trial_folder / PREDICTIONS)
    found: dict[str, str] = call_in_child(
        write_predictions, str(trial_folder), list(names), checkpoint, folder, list(imports), timeout=3600.0
    )
    return {name: Path(path) for name, path in found.items()}


def write_predictions(
    trial_folder: str, names: list[str], checkpoint: str, out_folder: str, imports: Sequence[str] = ()
) -> dict[str, str]:
    """What `predict_names` does, in a process that has torch; a training's own process may call it too."""
    from mmseg.apis import inference_model
    from PIL import Image

    from mmtuna.objectives.config import read_config
    from mmtuna.objectives.trial.training import init_segmentor

    folder = Path(trial_folder)
    images = find_named(folder, names)
    if not (folder / checkpoint).is_file():
        raise InputError(
            f"{folder / checkpoint}: no such file; only the best trials keep weights ([resources] keep_checkpoints)"
        )
    config = folder / CONFIG
    segmentor = init_segmentor(read_config(config), folder / checkpoint, imports, str(config))
    masks = {
        name: inference_model(segmentor, str(entry.image)).pred_sem_seg.data[0].numpy().astype("uint8")
        for name, entry in images.items()
    }
    out = Path(out_folder)
    with whole_folder(out, replace=True) as part:
        for name, mask in masks.items():
            path = (part / name).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
    return {name: str((out / name).with_suffix(".png")) for name in masks}


def find_named(trial_folder: Path, names: Sequence[str]) -> dict[str, LabelledImage]:
    """The files of each name among the trial's validation images; InputError for one that is not there."""
    from mmtuna.objectives.config import read_config
    from mmtuna.objectives.deployment.contract import labelled_images

    if not (trial_folder / CONFIG).is_file():
        raise InputError(f"{trial_folder / CONFIG}: no such file; the trial's folder must hold its config")
    entries = labelled_images(read_config(trial_folder / CONFIG))
    known = {entry.image.name: entry for entry in entries} | {entry.name: entry for entry in entries}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            f"{unknown[0]}: does not validate in {trial_folder.name}; use names such as {next(iter(known))}"
        )
    return {name: known[name] for name in names}


def images_with_masks(trial_folder: Path) -> dict[str, Any]:
    """The counts (evaluation.json) of the images that the trial kept a mask of, by name; empty where it kept none."""
    kept = trial_folder / PREDICTIONS
    masks = {path.relative_to(kept).with_suffix("") for path in kept.rglob("*.png")}
    images: dict[str, Any] = json.loads((trial_folder / EVALUATION).read_text(encoding="utf-8"))["images"]
    return {name: counts for name, counts in images.items() if Path(name).with_suffix("") in masks}


def read_mask(path: Path) -> NDArray[np.uint8]:
    """A mask of class indices, height x width."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image).astype(np.uint8)
