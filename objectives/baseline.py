"""What pre-trained weights give on the data as they are, without fine-tuning: the paper's Table 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmtuna.objectives.evaluation.metrics import per_image_foreground_iou
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.spaces.traces import scratch_folder


def measure_without_training(
    cfg: dict[str, Any],
    names: Path,
    *,
    pictured: Sequence[str] = (),
    masks: Path | None = None,
    timeout: float = 3600.0,
) -> dict[str, Any]:
    """Evaluates the config's `load_from` on the images listed in `names`, in a child process on the CPU.

    The predicted masks of the images `pictured` (relative to the image folder, with suffix) go to the folder `masks`.

    Returns `metrics` (fractions, by name), `per_image` (Table 1's own figure: the mean
    over images of the foreground IoU, 0 where neither truth nor prediction holds any) and `images` (their number).
    Raises InputError where the model or the weights do not load.
    """
    loader = {**cfg["val_dataloader"], "dataset": {**cfg["val_dataloader"]["dataset"], "ann_file": str(names)}}
    with scratch_folder() as folder:
        whole = {**cfg, "val_dataloader": loader}
        found: dict[str, Any] = call_in_child(
            _measure, whole, str(folder), list(pictured), str(masks) if masks else "", timeout=timeout
        )
    return found


def _measure(cfg: dict[str, Any], work: str, pictured: list[str], masks: str) -> dict[str, Any]:
    # In the child, which has torch.
    from mmtuna.objectives.config.allowed import imported
    from mmtuna.objectives.evaluation.counting import counting_metric
    from mmtuna.objectives.trial.training import build_runner

    # What it imports is the base's own: it was made from it just now.
    runner = build_runner(cfg, imported(cfg), "the base config", work_dir=work)
    metric = counting_metric(runner)
    metric.pictured = frozenset(pictured)
    runner.val()
    if masks:
        metric.write_masks(Path(masks))
    per_image = per_image_foreground_iou(metric.images)
    return {"metrics": metric.figures(), "per_image": per_image, "images": len(metric.images)}
