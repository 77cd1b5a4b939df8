"""What pre-trained weights give on the data as they are, without fine-tuning: the paper's Table 1."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from objectives.evaluation import metrics, per_image_foreground_iou, total
from objectives.trial_process import call_in_child


def measure_without_training(cfg: dict[str, Any], names: Path, *, timeout: float = 3600.0) -> dict[str, Any]:
    """Evaluates the config's `load_from` on the images listed in `names`, in a child process on the CPU.

    Returns `metrics` (fractions, by name; objectives.evaluation.metrics), `per_image` (Table 1's own figure: the mean
    over images of the foreground IoU, 0 where neither truth nor prediction holds any) and `images` (their number).
    Raises InputError where the model or the weights do not load.
    """
    loader = {**cfg["val_dataloader"], "dataset": {**cfg["val_dataloader"]["dataset"], "ann_file": str(names)}}
    with tempfile.TemporaryDirectory(prefix="mmtuna-") as folder:
        found: dict[str, Any] = call_in_child(
            _measure, {**cfg, "val_dataloader": loader, "work_dir": folder}, timeout=timeout
        )
    return found


def _measure(cfg: dict[str, Any]) -> dict[str, Any]:
    # In the child, which has torch.
    from objectives.training import build_runner

    runner = build_runner(cfg)
    runner.val()
    images = runner.val_loop.evaluator.metrics[0].images
    classes = runner.val_loop.dataloader.dataset.metainfo["classes"]
    return {
        "metrics": metrics(total(images.values()), classes),
        "per_image": per_image_foreground_iou(images),
        "images": len(images),
    }
