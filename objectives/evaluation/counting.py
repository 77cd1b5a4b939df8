"""MMSegmentation's IoUMetric with the counts of every image kept, and the masks of a few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.runner import Runner
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from PIL import Image

from mmtuna.objectives.evaluation.boundary import boundary_distances
from mmtuna.objectives.evaluation.metrics import PLAIN, Counts, Measures, left_out, metrics, per_image, total
from mmtuna.spaces.files import whole_folder, write_json_whole

HANDED_ON = 1024
"""Images times classes up to which an evaluation tells the counts of every image."""


@METRICS.register_module()
class CountingIoUMetric(IoUMetric):  # type: ignore[misc]
    """IoUMetric that keeps what it counted beside what it prints.

    `images` maps an image's path to its counts, `masks` the path of an image of `pictured` (relative to `top`) to its
    predicted mask, `distances` every image to those of its outlines where `measures` asks for them; all are of the last
    evaluation.
    """

    images: dict[str, Counts]
    masks: dict[str, Any]
    distances: dict[str, tuple[float, float] | None]
    measures: Measures = PLAIN
    pictured: frozenset[str] = frozenset()
    top: Path = Path()
    results: list[Any]
    _paths: list[str]

    @staticmethod
    def intersect_and_union(
        pred_label: torch.Tensor, label: torch.Tensor, num_classes: int, ignore_index: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pixels by class: intersection, union, predicted, labelled; (num_classes,) int64 each, on the masks' device.

        IoUMetric's own counts in float32, which ends at 2**24 pixels of a class.
        """
        # Values that are no class go to one beyond the last, and what does not count to a row of its own: to pick out
        # the rest, a GPU would have to be waited for.
        rows, columns = (mask.long().clamp(max=num_classes) for mask in (label, pred_label))
        rows = torch.where(label == ignore_index, num_classes + 1, rows)
        pairs = _count(rows * (num_classes + 1) + columns, (num_classes + 2) * (num_classes + 1))
        pairs = pairs.view(num_classes + 2, num_classes + 1)[:-1]
        both, ours, truth = pairs.diagonal()[:-1], pairs.sum(0)[:-1], pairs.sum(1)[:-1]
        return both, ours + truth - both, ours, truth

    def process(self, data_batch: dict[str, Any], data_samples: list[dict[str, Any]]) -> None:
        if not self.results:  # the first batch of an evaluation
            self.images, self.masks, self.distances, self._paths = {}, {}, {}, []
        super().process(data_batch, data_samples)
        for sample in data_samples:
            path = str(sample["img_path"])
            self._paths.append(path)
            if self._name(path) in self.pictured:
                self.masks[path] = sample["pred_sem_seg"]["data"].squeeze(0).cpu().numpy().astype("uint8")
            if self.measures.tolerance is not None:
                found, truth = (sample[key]["data"].squeeze(0).cpu().numpy() for key in ("pred_sem_seg", "gt_sem_seg"))
                counted = truth != self.ignore_index  # what is ignored is foreground on neither side
                self.distances[path] = boundary_distances(truth * counted, found * counted, self.measures.tolerance)

    def evaluate(self, size: int) -> dict[str, Any]:
        # The counts of all images come from the device in one step, for which it is waited for once.
        everything = torch.stack([torch.stack(counts) for counts in self.results]).cpu()
        self.results = [tuple(counts) for counts in everything]
        for path, (intersect, _, predicted, labelled) in zip(self._paths, everything.tolist(), strict=True):
            self.images[path] = Counts(intersect=tuple(intersect), predicted=tuple(predicted), labelled=tuple(labelled))
        found: dict[str, Any] = super().evaluate(size)
        return found

    def figures(self) -> dict[str, float]:
        """Metrics of the last evaluation (mmtuna.objectives.evaluation.metrics, `metrics` and `per_image`)."""
        pooled = metrics(total(self.images.values()), self.dataset_meta["classes"])
        images = {self._name(path): counts for path, counts in self.images.items()}
        return pooled | per_image(images, self.measures, self.distances)

    def by_name(self) -> dict[str, Any]:
        """`counts` and `distances` of the last evaluation by image, relative to the image folder, as plain values."""
        counts = {self._name(path): counts.plain() for path, counts in self.images.items()}
        return {"counts": counts, "distances": {self._name(path): pair for path, pair in self.distances.items()}}

    def counted(self) -> dict[str, Any]:
        """The last evaluation's counts as plain values, for `Evaluation.told`: summed, and where they are few by image.

        A few thousand figures go with every message and checkpoint; a large validation set's stay in evaluation.json.
        """
        images = list(self.images.values())
        few = len(images) * len(self.dataset_meta["classes"]) <= HANDED_ON
        return {"counts": total(images).plain(), "images": [image.plain() for image in images] if few else []}

    def write_evaluation(self, path: Path, iteration: int) -> None:
        """Writes metrics and counts as JSON: iteration, metrics, both_empty, images.

        `images` are by name relative to the image folder; `both_empty` is how many of them hold foreground neither in
        the truth nor in the prediction.
        """
        counts = {self._name(image): vars(count) for image, count in self.images.items()}
        document = {"iteration": iteration, "metrics": self.figures(), "both_empty": left_out(self.images)}
        write_json_whole(path, document | {"images": counts})

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


def _count(values: torch.Tensor, size: int) -> torch.Tensor:
    """How often each of 0, 1, ... occurs in `values`, which are less than `size`; (size,) int64 on their device."""
    values = values.flatten()
    # torch.bincount asks a GPU for the largest value, and waits for the answer.
    return count_by_scatter(values, size) if values.is_cuda else torch.bincount(values, minlength=size)


def count_by_scatter(values: torch.Tensor, size: int) -> torch.Tensor:
    """The same of one dimension, of which a GPU need not be waited for."""
    counts = torch.zeros(size, dtype=torch.int64, device=values.device)
    return counts.scatter_add_(0, values, torch.ones_like(values))
