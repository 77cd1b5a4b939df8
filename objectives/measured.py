"""What a config's weights give on listed images, without any training: in a child process, on the CPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmtuna.objectives.evaluation.metrics import PLAIN, Counts, Measures, metrics, per_image, total
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.spaces.traces import scratch_folder


@dataclass(frozen=True)
class Counted:
    """Counts by image (relative to the image folder, with suffix), and the distances of its outlines where asked for.

    Distances are those of `boundary_distances`: None for an image where both masks are empty.
    """

    counts: dict[str, Counts]
    distances: dict[str, tuple[float, float] | None]

    def of(self, names: Iterable[str]) -> Counted:
        """The same of these images alone."""
        chosen = set(names)
        counts = {name: counts for name, counts in self.counts.items() if name in chosen}
        return Counted(counts, {name: pair for name, pair in self.distances.items() if name in chosen})

    def figures(self, classes: Sequence[str], measures: Measures = PLAIN) -> dict[str, float]:
        """Metrics by name: pooled ones, and means over images and subjects."""
        return metrics(total(self.counts.values()), classes) | per_image(self.counts, measures, self.distances)


def measure(
    cfg: dict[str, Any],
    names: Path,
    *,
    imports: Sequence[str] = (),
    measures: Measures = PLAIN,
    pictured: Sequence[str] = (),
    masks: Path | None = None,
    timeout: float = 3600.0,
) -> Counted:
    """Evaluates the config's `load_from` on the images listed in `names`, in a child process on the CPU.

    Args:
        names: file of names, one a line without suffix.
        imports: modules of the person's own that the config may import.
        measures: its tolerance asks for distances.
        pictured: images, as in the result, whose predicted masks go to the folder `masks`.

    Raises InputError where the model or the weights do not load.
    """
    loader = {**cfg["val_dataloader"], "dataset": {**cfg["val_dataloader"]["dataset"], "ann_file": str(names)}}
    whole = {**cfg, "val_dataloader": loader}
    asked = {"tolerance": measures.tolerance, "pictured": list(pictured), "masks": str(masks) if masks else ""}
    with scratch_folder() as folder:
        found: dict[str, Any] = call_in_child(_measure, whole, str(folder), list(imports), asked, timeout=timeout)
    return Counted(
        {name: Counts.of(plain) for name, plain in found["counts"].items()},
        {name: None if pair is None else (pair[0], pair[1]) for name, pair in found["distances"].items()},
    )


def _measure(cfg: dict[str, Any], work: str, imports: Sequence[str], asked: dict[str, Any]) -> dict[str, Any]:
    # In the child, which has torch.
    from mmtuna.objectives.evaluation.counting import counting_metric
    from mmtuna.objectives.trial.training import build_runner

    runner = build_runner(cfg, imports, "the config", work_dir=work)
    metric = counting_metric(runner)
    metric.pictured, metric.measures = frozenset(asked["pictured"]), Measures(tolerance=asked["tolerance"])
    runner.val()
    if asked["masks"]:
        metric.write_masks(Path(asked["masks"]))
    return metric.by_name()


def measure_together(
    cfgs: Sequence[dict[str, Any]], names: Path, *, imports: Sequence[str] = (), timeout: float = 3600.0
) -> Counted:
    """What several nets of the same classes say together on the images listed in `names`, likewise; no distances.

    Of each pixel the class whose probability (softmax) is highest on average over the nets, each the `load_from` of its
    config, as nnU-Net joins its folds. InputError for a net of a single sigmoid channel.
    """
    found: dict[str, Any] = call_in_child(_measure_together, list(cfgs), str(names), list(imports), timeout=timeout)
    return Counted({name: Counts.of(plain) for name, plain in found.items()}, {})


def _measure_together(cfgs: list[dict[str, Any]], names: str, imports: Sequence[str]) -> dict[str, Any]:
    # In the child, which has torch.
    import torch

    from mmtuna.objectives.deployment.contract import ignore_index, labelled_images
    from mmtuna.objectives.deployment.verify import mask_together
    from mmtuna.objectives.evaluation.counting import CountingIoUMetric
    from mmtuna.objectives.trial.training import init_segmentor

    first = cfgs[0]["val_dataloader"]
    listed = {**cfgs[0], "val_dataloader": {**first, "dataset": {**first["dataset"], "ann_file": names}}}
    classes, ignored = len(first["dataset"]["metainfo"]["classes"]), ignore_index(cfgs[0])
    nets = [init_segmentor(cfg, Path(cfg["load_from"]), imports, "the config of a fold") for cfg in cfgs]
    found = {}
    for entry in labelled_images(listed):
        mask = mask_together(nets, entry.image, classes)
        truth = torch.from_numpy(entry.truth())
        right, _, predicted, labelled = CountingIoUMetric.intersect_and_union(mask, truth, classes, ignored)
        found[entry.name] = [right.tolist(), predicted.tolist(), labelled.tolist()]
    return found
