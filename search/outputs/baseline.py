"""Table 1: each decoder's pre-trained weights on the data without fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mmtuna.objectives import measured
from mmtuna.objectives.evaluation.metrics import per_image_foreground_iou
from mmtuna.objectives.weights import BACKBONE
from mmtuna.search.errors import NotReadyError
from mmtuna.search.work.progress import watched_preparation
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import write_whole
from mmtuna.spaces.settings import UNET
from mmtuna.spaces.table2 import TABLE1
from mmtuna.spaces.traces import scratch_folder
from mmtuna.studies.spec import StudySpec


def measure(
    spec: StudySpec, console: Console, *, pictured: Sequence[str] = (), masks: Path | None = None
) -> list[dict[str, Any]]:
    """One line per decoder: decoder, weights, published, per_image, metrics, images. Leaves the study as it is.

    Of all images but a test set's, which nothing is chosen by. `metrics` are fractions, `per_image` is Table 1's own
    figure: the mean over images of the foreground IoU, 0 where neither truth nor prediction holds any.

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
    assert ready.split is not None
    aside = set(ready.split.test)
    chosen = [name for name in ready.dataset.names if name not in aside]
    lines = []
    with scratch_folder() as folder:
        names = folder / "all.txt"
        write_whole(names, "".join(f"{name}\n" for name in chosen))
        objective = ready.dry_objective(copies=folder / "images")
        ready.write_copies(chosen, folder / "images")
        for decoder in ready.weights:
            params = {"decoder": decoder} if spec.model.base == UNET else {}
            cfg = objective.config(params, seed=spec.study.seed)
            place = masks / (decoder or "base") if masks else None
            base = ready.bases[decoder]
            found = measured.measure(cfg, names, imports=base.imports, pictured=pictured, masks=place)
            weights = ready.weights[decoder].name
            published = TABLE1.get(decoder) if spec.model.base == UNET else None
            figures = {
                "metrics": found.figures(spec.data.classes),
                "per_image": per_image_foreground_iou(found.counts),
                "images": len(found.counts),
            }
            lines.append({"decoder": decoder or base.name, "weights": weights, "published": published, **figures})
    return lines
