"""Table 1: each decoder's pre-trained weights on the data without fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mmtuna.objectives.baseline import measure_without_training
from mmtuna.objectives.config.base import UNET
from mmtuna.objectives.weights import BACKBONE
from mmtuna.search.errors import NotReadyError
from mmtuna.search.work.progress import watched_preparation
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import write_whole
from mmtuna.spaces.table2 import TABLE1
from mmtuna.spaces.traces import scratch_folder
from mmtuna.studies.spec import StudySpec


def measure(
    spec: StudySpec, console: Console, *, pictured: Sequence[str] = (), masks: Path | None = None
) -> list[dict[str, Any]]:
    """One line per decoder: decoder, weights, published, per_image, metrics, images. Leaves the study as it is.

    Masks of the images `pictured` go to a folder per decoder in `masks`.
    """
    if spec.model.pretrained in ("none", BACKBONE):
        raise InputError(
            f"[model] pretrained = {spec.model.pretrained!r}: a baseline needs weights; name some, or 'auto'"
        )
    ready = watched_preparation(spec, console, 1)
    if ready.problems:
        raise NotReadyError(ready.problems)
    assert ready.dataset is not None
    lines = []
    with scratch_folder() as folder:
        names = folder / "all.txt"
        write_whole(names, "".join(f"{name}\n" for name in ready.dataset.names))
        objective = ready.dry_objective(copies=folder / "images")
        ready.write_copies(ready.dataset.names, folder / "images")
        for decoder in ready.weights:
            params = {"decoder": decoder} if spec.model.base == UNET else {}
            cfg = objective.config(params, seed=spec.study.seed)
            place = masks / (decoder or "base") if masks else None
            found = measure_without_training(cfg, names, pictured=pictured, masks=place)
            weights = ready.weights[decoder].name
            published = TABLE1.get(decoder) if spec.model.base == UNET else None
            name = decoder or ready.bases[decoder].name
            lines.append({"decoder": name, "weights": weights, "published": published, **found})
    return lines
