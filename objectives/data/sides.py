"""What each side of a split holds: classes that it lacks, and whether there is anything to learn or to measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.manifest import Manifest, if_two_values, mask_file, sum_values
from mmtuna.objectives.data.split import Split
from mmtuna.spaces.metrics import SPECIFICITY


def side_pixels(manifest: Manifest, dataset: Dataset, names: Sequence[str]) -> dict[int, int]:
    """Mask value -> number of pixels in the masks of `names`, the ignored value included, in the order of values."""
    found = (manifest.records.get(mask_file(dataset, name)) for name in names)
    return sum_values(record for record in found if record is not None)


def class_pixels_by_side(manifest: Manifest, dataset: Dataset, split: Split) -> dict[str, dict[str, int]]:
    """Side ("train", "val") -> class, or "ignored" -> number of pixels."""
    sides = {"train": split.train, "val": split.val}
    names = dict(enumerate(dataset.classes)) | {dataset.ignore_index: "ignored"}
    found = {side: side_pixels(manifest, dataset, listed) for side, listed in sides.items()}
    return {side: {name: pixels.get(value, 0) for value, name in names.items()} for side, pixels in found.items()}


def check_sides(
    dataset: Dataset, split: Split, manifest: Manifest, metric: str = "mIoU"
) -> tuple[list[str], list[str]]:
    """Problems and notes of a split, a line each; nothing of classes that are on neither side.

    `metric` is the study's: a class that it needs must be in a validation mask. Where a mask is not in `manifest` its
    side is not judged.
    """
    train, val = (side_pixels(manifest, dataset, names) for names in (split.train, split.val))
    problems, notes = [], []
    if _is_whole(manifest, dataset, split.train):
        problems += _untaught(dataset, split, train, elsewhere=val)
    if _is_whole(manifest, dataset, split.val):
        lacking = [value for value in range(len(dataset.classes)) if value not in val]
        held = len(dataset.classes) - len(lacking)
        named = [value for value in lacking if metric.partition(".")[2] == dataset.classes[value]]
        ignored = _ignored(dataset, val)
        masks = f"{len(split.val)} validation masks"
        if not held:
            problems.append(f"val: every pixel of the {masks} is ignored, so there is nothing to measure{ignored}")
        elif held == 1 and any(value in train for value in lacking):
            (only,) = (name for value, name in enumerate(dataset.classes) if value not in lacking)
            problems.append(
                f"val: {only} is all that the {masks} hold, so finding nothing measures 1{ignored}; move images with "
                "another class to val"
            )
        elif named:
            problems.append(
                f'[study] metric = "{metric}": class {named[0]} ({dataset.classes[named[0]]}) is in none of the '
                f"{masks}{ignored}; move images that show it to val, or take another metric"
            )
        elif metric == SPECIFICITY and _all_show(manifest, dataset, split.val):
            problems.append(
                f'[study] metric = "{metric}": all of the {masks} hold foreground, so it has no value; move images '
                "without any to val, or take another metric"
            )
        elif lacking and held > 1 and any(value in train for value in lacking):
            notes.append(_means(dataset, metric, lacking, masks) + ignored)
    return problems, notes


def _is_whole(manifest: Manifest, dataset: Dataset, names: Sequence[str]) -> bool:
    return all(mask_file(dataset, name) in manifest.records for name in names)


def _all_show(manifest: Manifest, dataset: Dataset, names: Sequence[str]) -> bool:
    shown = (side_pixels(manifest, dataset, [name]) for name in names)
    return all(any(0 < value < len(dataset.classes) for value in pixels) for pixels in shown)


def _untaught(dataset: Dataset, split: Split, train: Mapping[int, int], elsewhere: Mapping[int, int]) -> list[str]:
    masks, ignored = f"{len(split.train)} training masks", _ignored(dataset, train)
    if not any(value in train for value in range(len(dataset.classes))):
        return [f"train: every pixel of the {masks} is ignored, so there is nothing to learn{ignored}"]
    return [
        f"train: class {value} ({name}) is in none of the {masks}, so it cannot be learnt{ignored}; move images that "
        "show it to train, or take the class away"
        for value, name in enumerate(dataset.classes)
        if value not in train and value in elsewhere
    ]


def _ignored(dataset: Dataset, pixels: Mapping[int, int]) -> str:
    """A word on ignored pixels where a side has no foreground but these: they may well be it."""
    value = dataset.ignore_index
    if value not in pixels or any(0 < other < len(dataset.classes) for other in pixels):
        return ""
    return f" ({pixels[value]} pixels hold {value}, ignored: {if_two_values(dataset)})"


def _means(dataset: Dataset, metric: str, lacking: Sequence[int], masks: str) -> str:
    names = ", ".join(dataset.classes[value] for value in lacking)
    return (
        f"val: none of the {masks} holds {names}: {metric} is the mean over the other classes, and takes 0 for one of "
        "these as soon as a pixel is predicted as it"
    )
