"""MMSegmentation's IoUMetric with the counts of every image kept, and the masks of a few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.runner import Runner
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from PIL import Image

from mmtuna.objectives.evaluation.metrics import Counts, metrics, total
from mmtuna.spaces.files import whole_folder, write_json_whole


@METRICS.register_module()
class CountingIoUMetric(IoUMetric):  # type: ignore[misc]
    """IoUMetric that keeps what it counted beside what it prints.

    `images` maps an image's path to its counts, `masks` the path of an image of `pictured` (relative to `top`) to its
    predicted mask; both are of the last evaluation.
    """

    images: dict[str, Counts]
    masks: dict[str, Any]
    pictured: frozenset[str] = frozenset()
    top: Path = Path()

    @staticmethod
    def intersect_and_union(
        pred_label: torch.Tensor, label: torch.Tensor, num_classes: int, ignore_index: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pixels by class: intersection, union, predicted, labelled; (num_classes,) int64 each, on the CPU.

        IoUMetric's own counts in float32, which ends at 2**24 pixels of a class.
        """
        valid = label != ignore_index
        predicted, labelled = pred_label[valid], label[valid]
        both, ours, truth = (
            torch.bincount(values.long(), minlength=num_classes)[:num_classes].cpu()
            for values in (predicted[predicted == labelled], predicted, labelled)
        )
        return both, ours + truth - both, ours, truth

    def process(self, data_batch: dict[str, Any], data_samples: list[dict[str, Any]]) -> None:
        super().process(data_batch, data_samples)
        if len(self.results) == len(data_samples):  # the first batch of an evaluation
            self.images, self.masks = {}, {}
        for sample, (intersect, _, predicted, labelled) in zip(
            data_samples, self.results[-len(data_samples) :], strict=True
        ):
            path = str(sample["img_path"])
            self.images[path] = Counts(
                intersect=_integers(intersect), predicted=_integers(predicted), labelled=_integers(labelled)
            )
            if self._name(path) in self.pictured:
                self.masks[path] = sample["pred_sem_seg"]["data"].squeeze(0).cpu().numpy().astype("uint8")

    def figures(self) -> dict[str, float]:
        """Metrics of the last evaluation (mmtuna.objectives.evaluation.metrics.metrics)."""
        return metrics(total(self.images.values()), self.dataset_meta["classes"])

    def write_evaluation(self, path: Path, iteration: int) -> None:
        """Writes metrics and counts as JSON: iteration, metrics, images (by name relative to the image folder)."""
        counts = {self._name(image): vars(count) for image, count in self.images.items()}
        write_json_whole(path, {"iteration": iteration, "metrics": self.figures(), "images": counts})

    def write_masks(self, folder: Path) -> None:
        """Writes the masks of the pictured images as 8-bit PNG; replaces the folder, whole or not at all."""
        if not self.masks:
            return
        with whole_folder(folder, replace=True) as part:
            for image, mask in self.masks.items():
                path = (part / self._name(image)).with_suffix(".png")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(path)

    def _name(self, path: str) -> str:
        return Path(path).relative_to(self.top).as_posix()


def counting_metric(runner: Runner) -> CountingIoUMetric:
    """The Runner's own metric, which it was given in the place of IoUMetric; knows its image folder."""
    metric: CountingIoUMetric = runner.val_loop.evaluator.metrics[0]
    metric.top = Path(runner.val_dataloader.dataset.data_prefix["img_path"])
    return metric


def _integers(histogram: torch.Tensor) -> tuple[int, ...]:
    return tuple(int(count) for count in histogram.tolist())
