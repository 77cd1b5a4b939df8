"""The data of a spec: opened, read file by file, split, and everything that is wrong with it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmtuna.objectives.data.dataset import Dataset, ImageRule, MaskRule, some
from mmtuna.objectives.data.duplicates import TEST, VALIDATION, Pair, Sides, nearest_pairs
from mmtuna.objectives.data.evidence import what_val_shows
from mmtuna.objectives.data.manifest import Manifest, image_file, inspect
from mmtuna.objectives.data.sides import check_folds, count_shown
from mmtuna.objectives.data.split import (
    Split,
    by_folder,
    by_folds,
    by_image,
    by_subject,
    in_folder,
    listed,
    published,
    set_aside,
    validated,
)
from mmtuna.objectives.prepared import resolve_range
from mmtuna.objectives.weights import cache_folder
from mmtuna.spaces.errors import InputError
from mmtuna.studies.report.wording import count
from mmtuna.studies.spec.tables import DataTable

OnFile = Callable[[int, int], None]
"""Called with (files read so far, files in all)."""

_NAMED = ("lists", "folders")
"""Splits whose sides a person names."""
_REMEMBERED = 500  # files; fewer are read again in a moment
_FEW_LEVELS = 32  # of 256: images that use no more of them are nearly of one grey


@dataclass(kw_only=True)
class Data:
    """What was found; `dataset` and `split` are None where they could not be had, for which there is a problem then.

    `nearest` is, of each validation image, the training image that is most like it, and of each test image the image
    most like it that trials see.
    """

    dataset: Dataset | None = None
    split: Split | None = None
    folds: tuple[Split, ...] = ()
    manifest: Manifest = field(default_factory=Manifest)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    nearest: dict[Sides, list[Pair]] = field(default_factory=dict)


def open_dataset(data: DataTable) -> Dataset:
    """The data set that `[data]` describes; InputError where it does not fit the description."""
    return Dataset.open(
        data.root,
        classes=data.classes,
        images=data.images,
        masks=data.masks,
        image_suffix=data.image_suffix,
        mask_suffix=data.mask_suffix,
        ignore_index=data.ignore_index,
        rule=ImageRule(channels=data.channels, range=data.range),
        mask_rule=MaskRule(values=data.values, ignored=data.ignored, reduce_zero_label=data.reduce_zero_label),
        palette=data.palette or (),
        subjects=data.subjects,
        folders=_folders(data),
    )


def read_data(data: DataTable, *, metric: str, known: Path, on_file: OnFile | None = None) -> Data:
    """Reads every file that is not remembered, splits, and judges both; raises nothing.

    `known` is the study's manifest, if it has one. Where many files were read, what they hold is remembered in the
    cache, so that the next check reads only those that changed.
    """
    found = Data()
    try:
        found.dataset = open_dataset(data)
        _leave_out_unlisted(data, found)
        remembered = _remembered(data.root, known)
        inspection = inspect(found.dataset, manifest=remembered, on_file=on_file)
        found.manifest = inspection.manifest
        found.problems += [str(problem) for problem in inspection.problems]
        if found.dataset.left_out:
            listed, suffix = some(found.dataset.left_out), found.dataset.image_suffix
            found.notes.append(f"{data.images}/: images that do not end in {suffix} are left out: {listed}")
        found.folds = _folds(data, found.dataset)
        found.split = found.folds[0]
        problems, notes = check_folds(found.dataset, found.folds, found.manifest, metric)
        found.problems += problems
        found.notes += [*_told_of_subjects(found.split, found.dataset), *notes]
        found.notes += what_val_shows(found.dataset, validated(found.folds), found.manifest, metric)
        found.nearest = _nearest(found.dataset, found.split, found.manifest)
        found.notes += _told_of_test(found)
        if found.dataset.rule.range is not None and not inspection.problems:
            _settle_range(found)
        if found.manifest != remembered:
            remember(data.root, found.manifest)
    except InputError as error:
        found.problems.append(str(error))
    return found


def _nearest(dataset: Dataset, split: Split, manifest: Manifest) -> dict[Sides, list[Pair]]:
    seen = (*split.train, *split.val)
    return {
        VALIDATION: nearest_pairs(dataset, split.val, split.train, manifest),
        TEST: nearest_pairs(dataset, split.test, seen, manifest),
    }


def recall(root: Path) -> Manifest:
    """What the cache knows of the data set's files; a record counts only while its file is as it was."""
    try:
        return Manifest.load(_cache_file(root))
    except InputError:  # a damaged cache knows nothing
        return Manifest()


def remember(root: Path, manifest: Manifest) -> None:
    """Keeps in the cache what many files held; where it cannot be written, the next check takes its time."""
    if len(manifest.records) >= _REMEMBERED:
        with contextlib.suppress(OSError):
            manifest.save(_cache_file(root))


def _remembered(root: Path, known: Path) -> Manifest:
    study, cache = Manifest.load(known), recall(root)
    if not study.records:
        return cache
    return Manifest({**study.records, **cache.records}, {**study.ranges, **cache.ranges})


def _cache_file(root: Path) -> Path:
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return cache_folder() / "manifests" / f"{name}.json"


def _folders(data: DataTable) -> tuple[str, ...]:
    """The folders that count, within those of images and masks; () for all."""
    if data.split != "folders":
        return ()
    return (data.train, data.val, *([data.test] if isinstance(data.test, str) else []))


def _folds(data: DataTable, dataset: Dataset) -> tuple[Split, ...]:
    """The splits that a trial trains by, one but for folds, each with the same test set.

    It is named like the other sides, or set aside before chance splits what is left.
    """
    if data.test is None:
        return _sides(data, dataset)
    if isinstance(data.test, str):
        test = in_folder(dataset, data.test, "test") if data.split == "folders" else listed(dataset, data.test)
        if data.split in _NAMED:  # an image that stands on two sides is refused
            return (replace(*_sides(data, dataset), test=test),)
    elif data.split in _NAMED:
        (sides,) = _sides(data, dataset)
        return (sides.setting_aside(_taken(data.test, sides, dataset, data.split_seed)),)
    else:
        test = set_aside(dataset, data.test, seed=data.split_seed)
    aside = set(test)
    left = replace(dataset, names=tuple(name for name in dataset.names if name not in aside))
    return tuple(replace(fold, test=test) for fold in _sides(data, left))


def _taken(test: float | Sequence[str], sides: Split, dataset: Dataset, seed: int) -> tuple[str, ...]:
    """What is set aside of sides that a person named: a share is one of what trains, so that val keeps its own."""
    trained, named = (
        replace(dataset, names=tuple(sorted(names))) for names in (sides.train, (*sides.train, *sides.val))
    )
    if not isinstance(test, float):
        return set_aside(named, test, seed=seed)
    found = set_aside(trained, test, seed=seed)
    if not dataset.subjects:
        return found
    return set_aside(named, sorted({dataset.subjects[name] for name in found}), seed=seed)


def _sides(data: DataTable, dataset: Dataset) -> tuple[Split, ...]:
    """Who trains and who validates of the data set's images, by fold."""
    if data.split == "lists":
        return (published(dataset, data.train, data.val),)
    if data.split == "folders":
        return (by_folder(dataset, data.train, data.val),)
    if data.split == "random":
        return (by_image(dataset, val_share=data.val_share, seed=data.split_seed),)
    if data.split == "subject":
        return (by_subject(dataset, val_share=data.val_share, seed=data.split_seed),)
    return by_folds(dataset, folds=data.folds, seed=data.split_seed)


def _leave_out_unlisted(data: DataTable, found: Data) -> None:
    """Images that no list names and that have no mask, such as the many without a mask in VOC's image folder."""
    if data.split != "lists" or found.dataset is None:
        return
    try:
        (split,) = _folds(data, found.dataset)
    except InputError:
        return  # told once the files were read
    dataset, named = found.dataset, {*split.train, *split.val, *split.test}
    lonely = {
        name
        for name in dataset.names
        if name not in named and dataset.image_path(name).is_file() and not os.path.lexists(dataset.mask_path(name))
    }
    if lonely:
        found.dataset = replace(dataset, names=tuple(name for name in dataset.names if name not in lonely))
        found.notes.append(f"{len(lonely)} of {len(dataset.names)} images have no mask and stand in no list: left out")


def _told_of_subjects(split: Split, dataset: Dataset) -> list[str]:
    shared = split.shared_subjects(dataset)
    if shared:
        known = sum(dataset.subjects.get(name) in shared for name in split.val)
        both = f"split: {len(shared)} of {len(set(dataset.subjects.values()))} subjects stand on both sides"
        few = ", ".join(shared[:3]) + ", ..." * (len(shared) > 3)
        both += f" ({few}), with {known} of {len(split.val)} validation images"
        meaning = "so the figures measure new images of known subjects"
        return [f'{both}, {meaning}; split = "subject" measures new subjects']
    if not dataset.subjects:
        return ["split: no subjects file, so nothing tells whether a subject stands on both sides"]
    return []


def _told_of_test(found: Data) -> list[str]:
    """What is set aside, and who of it is known to the trials."""
    assert found.dataset is not None
    assert found.split is not None
    test, subjects = found.split.test, found.dataset.subjects
    if not test:
        return []
    whose = f" of {count(len({subjects[name] for name in test}), 'subject')}" if subjects else ""
    shown = count_shown(found.manifest, found.dataset, test)
    aside = f"{'is' if len(test) == 1 else 'are'} set aside"
    said = (
        f"test: {count(len(test), 'image')}{whose} {aside}, {shown} of them with foreground: no trial trains or is "
        "evaluated on them, `mmtuna test SPEC` measures the chosen trial on them"
    )
    known = found.split.known_test_subjects(found.dataset)
    if not known:
        return [said]
    leak = (
        f"test: {len(known)} of its subjects ({some(known)}) stand among the trials' images too, so it will "
        "measure new images of known subjects; name whole subjects in [data] test to measure new ones"
    )
    return [said, leak]


def _settle_range(found: Data) -> None:
    """Figures for percentiles; refuses a range that no value lies in, and says what it does."""
    assert found.dataset is not None
    assert found.split is not None
    text = found.dataset.rule.range
    # Copies are one for all folds; what their images hold says nothing of the masks.
    trained = sorted({name for fold in found.folds for name in fold.train})
    found.dataset, found.manifest = resolve_range(found.dataset, trained, found.manifest)
    span = found.dataset.rule.range
    assert isinstance(span, tuple)
    low, high = span
    records = [found.manifest.records[image_file(found.dataset, name)] for name in found.dataset.names]
    lowest = min(record.lowest for record in records if record.lowest is not None)
    highest = max(record.highest for record in records if record.highest is not None)
    if highest <= low or lowest >= high:
        raise InputError(f"[data] range = [{low:g}, {high:g}]: the values are outside, {lowest} to {highest}")
    levels = round((min(high, highest) - max(low, lowest)) * 255 / (high - low)) + 1
    origin = f" ({text} of the training images)" if isinstance(text, str) else ""
    few = f", which use {levels} of 256 levels only" if levels <= _FEW_LEVELS else ""
    found.notes.append(
        f"[data] range: {low:g} becomes 0 and {high:g} 255{origin}; the images hold {lowest} to {highest}{few}"
    )
