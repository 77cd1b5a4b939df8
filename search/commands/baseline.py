"""`mmtuna baseline`: Table 1, each decoder's pre-trained weights on the data without fine-tuning."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mmtuna.objectives.baseline import measure_without_training
from mmtuna.objectives.config.base import UNET
from mmtuna.search.work.running import NotReadyError, watched_preparation
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import write_whole
from mmtuna.spaces.table2 import TABLE1
from mmtuna.studies.spec import StudySpec


def baseline(path: Path, as_json: bool) -> None:
    """Measures every decoder of the spec and prints the figures beside the paper's."""
    spec = StudySpec.load(path)
    lines = measure(spec, Console(stderr=as_json))
    if as_json:
        print(json.dumps(lines, indent=1))
        return
    foreground = spec.data.classes[1]
    print(f"without fine-tuning, on all {lines[0]['images']} images; per image is Table 1's own figure (docs/paper.md)")
    print(f"{'decoder':<12}{'Table 1':>10}{'per image':>11}{'mIoU':>9}{'mDice':>9}{'IoU.' + foreground:>14}")
    for line in lines:
        published = "-" if line["published"] is None else f"{line['published']:.4f}"
        metrics = line["metrics"]
        figures = f"{line['per_image']:>11.4f}{metrics['mIoU']:>9.4f}{metrics['mDice']:>9.4f}"
        print(f"{line['decoder']:<12}{published:>10}{figures}{metrics.get('IoU.' + foreground, 0.0):>14.4f}")


def measure(
    spec: StudySpec, console: Console, *, pictured: Sequence[str] = (), masks: Path | None = None
) -> list[dict[str, Any]]:
    """One line per decoder: decoder, weights, published, per_image, metrics, images. Leaves the study as it is.

    Masks of the images `pictured` go to a folder per decoder in `masks`.
    """
    if spec.model.pretrained == "none":
        raise InputError("[model] pretrained = 'none': a baseline needs weights; name some, or 'auto'")
    with watched_preparation(spec, console, 1) as ready:
        if ready.problems:
            raise NotReadyError(ready.problems)
    assert ready.dataset is not None
    lines = []
    with tempfile.TemporaryDirectory(prefix="mmtuna-") as folder:
        names = Path(folder) / "all.txt"
        write_whole(names, "".join(f"{name}\n" for name in ready.dataset.names))
        objective = ready.dry_objective()
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
