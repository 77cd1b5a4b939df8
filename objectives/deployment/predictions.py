"""Masks of single images by a trial's saved weights, kept in the trial's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import whole_folder

if TYPE_CHECKING:
    from mmtuna.objectives.deployment.contract import LabelledImage


def predict_names(
    trial: TrialFolder, names: Sequence[str], weights: Path, out: Path | None = None, imports: Sequence[str] = ()
) -> dict[str, Path]:
    """Predicts validation images in a child process and writes their masks to the trial's predictions.

    Args:
        names: images as evaluation.json names them, or relative to the image folder; with suffix.
        weights: checkpoint of the trial's model.
        out: another folder to write to.
        imports: modules of the person's own that the trial's config may import.

    Returns the 8-bit PNG mask (class indices, the image's own size) of each name. What the folder held before is
    replaced, whole or not at all. InputError for a name that does not validate, or a config or checkpoint that is gone.
    """
    from mmtuna.objectives.trial.process import call_in_child

    folder = out or trial.predictions
    call_in_child(_write_predictions, trial, list(names), weights, folder, list(imports), timeout=3600.0)
    return {name: (folder / name).with_suffix(".png") for name in names}


def _write_predictions(trial: TrialFolder, names: list[str], weights: Path, out: Path, imports: Sequence[str]) -> None:
    """What `predict_names` does, in a child, which has torch."""
    from mmseg.apis import inference_model
    from PIL import Image

    from mmtuna.objectives.trial.training import init_segmentor

    images = find_named(trial, names)
    if not weights.is_file():
        raise InputError(f"{weights}: no such file; only the best trials keep weights ([resources] keep_checkpoints)")
    segmentor = init_segmentor(trial.read_config(), weights, imports, str(trial.config))
    masks = {
        name: inference_model(segmentor, str(entry.image)).pred_sem_seg.data[0].numpy().astype("uint8")
        for name, entry in images.items()
    }
    with whole_folder(out, replace=True) as part:
        for name, mask in masks.items():
            path = (part / name).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)


def find_named(trial: TrialFolder, names: Sequence[str]) -> dict[str, LabelledImage]:
    """The files of each name among the trial's validation images; InputError for one that is not there."""
    from mmtuna.objectives.deployment.contract import labelled_images

    entries = labelled_images(trial.read_config())
    known = {entry.image.name: entry for entry in entries} | {entry.name: entry for entry in entries}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"{unknown[0]}: does not validate in {trial.path.name}; use names such as {next(iter(known))}")
    return {name: known[name] for name in names}


def read_mask(path: Path) -> NDArray[np.uint8]:
    """A mask of class indices, height x width."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image).astype(np.uint8)
