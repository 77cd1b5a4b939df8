"""What each side of a split holds: classes that it lacks, and whether there is anything to learn or to measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.manifest import Manifest, if_two_values, mask_file, sum_values
from mmtuna.objectives.data.split import Split, validated
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
    """`check_folds` of a single split."""
    return check_folds(dataset, [split], manifest, metric)


def check_folds(
    dataset: Dataset, folds: Sequence[Split], manifest: Manifest, metric: str = "mIoU"
) -> tuple[list[str], list[str]]:
    """Problems and notes of the splits that a trial trains by, a line each; nothing of classes that are on no side.

    Each must train on the classes that are measured; what all of them validate on, and their test set, is measured
    together. `metric` is the study's: a class that it needs must be in a mask of each. Where a mask is not in
    `manifest` its side is not judged.
    """
    val, test = validated(folds), folds[0].test
    elsewhere = side_pixels(manifest, dataset, (*val, *test))
    problems: list[str] = []
    notes: list[str] = []
    for number, fold in enumerate(folds, start=1):
        if _is_whole(manifest, dataset, fold.train):
            train = side_pixels(manifest, dataset, fold.train)
            named = f"fold {number}: " if len(folds) > 1 else ""
            problems += [f"{named}{problem}" for problem in _untaught(dataset, fold, train, elsewhere)]
    taught = side_pixels(manifest, dataset, [name for fold in folds for name in fold.train])
    for side, names in (("val", val), ("test", test)):
        if names and _is_whole(manifest, dataset, names):
            problem, note = _measured_on(dataset, manifest, side, names, metric, taught=taught)
            problems += [problem] if problem else []
            notes += [note] if note else []
    return problems, notes


def _measured_on(
    dataset: Dataset, manifest: Manifest, side: str, names: Sequence[str], metric: str, *, taught: Mapping[int, int]
) -> tuple[str | None, str | None]:
    """What is wrong with a side that is measured on, or what its figure means; `taught` is what trains."""
    pixels = side_pixels(manifest, dataset, names)
    lacking = [value for value in range(len(dataset.classes)) if value not in pixels]
    held = [name for value, name in enumerate(dataset.classes) if value not in lacking]
    named = [value for value in lacking if metric.partition(".")[2] == dataset.classes[value]]
    missed, ignored = any(value in taught for value in lacking), _ignored(dataset, pixels)
    masks, said = f"{len(names)} {'validation' if side == 'val' else side} masks", f'[study] metric = "{metric}"'
    problem = None
    if not held:
        problem = f"{side}: every pixel of the {masks} is ignored, so there is nothing to measure{ignored}"
    elif len(held) == 1 and missed:
        problem = (
            f"{side}: {held[0]} is all that the {masks} hold, so finding nothing measures 1{ignored}; move images with "
            f"another class to {side}"
        )
    elif named:
        problem = (
            f"{said}: class {named[0]} ({dataset.classes[named[0]]}) is in none of the {masks}{ignored}; move images "
            f"that show it to {side}, or take another metric"
        )
    elif metric == SPECIFICITY and count_shown(manifest, dataset, names) == len(names):
        problem = (
            f"{said}: all of the {masks} hold foreground, so it has no value; move images without any to {side}, or "
            "take another metric"
        )
    elif missed:
        return None, _means(dataset, metric, lacking, side, masks) + ignored
    return problem, None


def _is_whole(manifest: Manifest, dataset: Dataset, names: Sequence[str]) -> bool:
    return all(mask_file(dataset, name) in manifest.records for name in names)


def count_shown(manifest: Manifest, dataset: Dataset, names: Sequence[str]) -> int:
    """How many of the masks of `names` hold foreground."""
    shown = (side_pixels(manifest, dataset, [name]) for name in names)
    return sum(any(0 < value < len(dataset.classes) for value in pixels) for pixels in shown)


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


def _means(dataset: Dataset, metric: str, lacking: Sequence[int], side: str, masks: str) -> str:
    names = ", ".join(dataset.classes[value] for value in lacking)
    return (
        f"{side}: none of the {masks} holds {names}: {metric} is the mean over the other classes, and takes 0 for one "
        "of these as soon as a pixel is predicted as it"
    )
