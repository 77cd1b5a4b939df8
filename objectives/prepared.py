"""Copies of images and masks that stock MMSegmentation cannot read as the spec says: made once, named by the configs.

Images are 8-bit copies, made by the very function that predict.py reads an image with, so a bundle sees the same
pixels; masks are copies whose values are class indices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mmtuna.objectives import predict
from mmtuna.objectives.data.dataset import Dataset, MaskRule, mask_name
from mmtuna.objectives.data.manifest import Manifest, image_file, mask_file
from mmtuna.objectives.data.reading import read_classes, strict_decoders
from mmtuna.objectives.trial_files import MASK_COPIES
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import whole_file

COPY_SUFFIX = ".png"
_THREADS = 4
_LOWEST, _HIGHEST = -(2**15), 2**16 - 1  # of signed and unsigned values of 16 bits
_MADE_FROM = "made from"
_HEAD = 512  # bytes; within them lies the text that says what a copy was made from


def resolve_range(dataset: Dataset, train: Iterable[str], manifest: Manifest) -> tuple[Dataset, Manifest]:
    """The data set with figures in the place of percentiles, taken over all pixels of the images `train`.

    Reads those images, unless the manifest knows the figures; the manifest that is returned does. InputError where the
    percentiles are one and the same value.
    """
    text = dataset.rule.range
    if not isinstance(text, str):
        return dataset, manifest
    names = sorted(train)
    sums = [manifest.records[image_file(dataset, name)].sha256 for name in names]
    key = hashlib.sha256(json.dumps([sums, dataset.rule.channels, text]).encode()).hexdigest()
    if key not in manifest.ranges:
        counts = _histogram(dataset, names)
        low, high = (_percentile(counts, float(share)) for share in text.removeprefix("p").split("-p"))
        if low == high:
            raise InputError(
                f'[data] range = "{text}": both percentiles of the training images are {low}; name other ones, or the '
                "two values that become 0 and 255"
            )
        manifest = replace(manifest, ranges={**manifest.ranges, key: (low, high)})
    return replace(dataset, rule=replace(dataset.rule, range=manifest.ranges[key])), manifest


def _histogram(dataset: Dataset, names: list[str]) -> NDArray[np.int64]:
    total = np.zeros(_HIGHEST - _LOWEST + 1, np.int64)

    def count(name: str) -> NDArray[np.int64]:
        data = dataset.image_path(name).read_bytes()
        bands = predict.raw_bands(data, dataset.rule.channels, deep=True)
        return np.bincount(bands.ravel().astype(np.int64) - _LOWEST, minlength=total.size)

    with strict_decoders(), ThreadPoolExecutor(_THREADS) as pool:
        for found in pool.map(count, names):
            total += found
    return total


def _percentile(counts: NDArray[np.int64], percent: float) -> int:
    """The lowest value that at least `percent` of all values do not exceed."""
    so_far = np.cumsum(counts)
    return int(np.searchsorted(so_far, max(percent / 100 * so_far[-1], 1))) + _LOWEST


def with_copies(dataset: Dataset, folder: Path) -> Dataset:
    """The data set as its configs name it: images are the copies in `folder`, which need not be there yet.

    Masks are those in the folder `masks` beside it where MMSegmentation cannot take them as they are. A data set that
    is read as it is comes back as it is.
    """
    source: dict[str, Any]
    if dataset.copies_masks:
        source = {"images": dataset.images, "masks": dataset.masks, "suffix": dataset.mask_suffix}
        source |= _plain(dataset.mask_rule)
        dataset = replace(
            dataset,
            images=dataset.image_folder,
            masks=str(folder.resolve().with_name(MASK_COPIES)),
            mask_suffix=".png",
            mask_rule=MaskRule(ignore_index=dataset.ignore_index),
            mask_source=source,
        )
    if dataset.rule:
        source = {"img_path": dataset.images, "img_suffix": dataset.image_suffix, **rule_of(dataset)}
        dataset = replace(dataset, images=str(folder.resolve()), image_suffix=COPY_SUFFIX, source=source)
    return dataset


def configs_suffix(dataset: Dataset) -> str:
    """The suffix of the images that configs name: of 8-bit copies where there are any, percentiles resolved or not."""
    return COPY_SUFFIX if dataset.rule else dataset.image_suffix


def rule_of(dataset: Dataset) -> predict.Rule:
    """The data set's rule as predict.py takes it, and as JSON holds it."""
    channels, span = dataset.rule.channels, dataset.rule.range
    assert not isinstance(span, str), "percentiles must be resolved first"
    return {"channels": None if channels is None else list(channels), "range": None if span is None else list(span)}


def _plain(rule: MaskRule) -> dict[str, Any]:
    """The masks' rule as JSON holds it."""
    values = None if rule.values is None else [list(codes) for codes in rule.values]
    return {**vars(rule), "values": values, "ignored": list(rule.ignored)}


def original_mask(root: Path, source: Mapping[str, Any], name: str) -> Path:
    """What the mask of image `name` is a copy of, by a config's MASK_SOURCE."""
    return root / f"{mask_name(name, source['images'], source['masks'])}{source['suffix']}"


def mask_rule_from(source: Mapping[str, Any]) -> MaskRule:
    """The rule of a config's MASK_SOURCE."""
    values = source["values"]
    return MaskRule(
        values=None if values is None else tuple(tuple(codes) for codes in values),
        ignored=tuple(source["ignored"]),
        reduce_zero_label=bool(source["reduce_zero_label"]),
        ignore_index=int(source["ignore_index"]),
    )


def copies_bytes(dataset: Dataset, manifest: Manifest) -> int:
    """About the bytes that copies of all images and masks take at most; 0 where none are made."""
    taken, total = len(dataset.rule.channels or ()), 0
    for name in dataset.names:
        record = manifest.records.get(image_file(dataset, name))
        if record is None:
            continue
        channels = (taken or (3 if record.bits == 8 else 1)) if dataset.rule else 0
        total += record.height * record.width * (channels + dataset.copies_masks)
    return total


def write_copies(dataset: Dataset, names: Iterable[str], manifest: Manifest, folder: Path) -> None:
    """Writes the copies that `with_copies` names for `names`, unless they lie there; each whole or not at all.

    Any number of processes may do so at the same time. InputError where a file is not what the manifest says.
    """
    named = with_copies(dataset, folder)

    def write(name: str) -> None:
        if named.source is not None:
            sha256, path = manifest.records[image_file(dataset, name)].sha256, named.image_path(name)
            if not _is_made_from(path, _mark(sha256, rule_of(dataset))):
                write_copy(dataset.image_path(name), rule_of(dataset), path, sha256=sha256)
        if named.mask_source is not None:
            sha256, path = manifest.records[mask_file(dataset, name)].sha256, named.mask_path(name)
            if not _is_made_from(path, _mark_of_mask(sha256, dataset.mask_rule)):
                write_mask_copy(dataset.mask_path(name), dataset.mask_rule, path, sha256=sha256)

    if named.source is None and named.mask_source is None:
        return
    with strict_decoders(), ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(write, names):
            pass


def write_copy(source: Path, rule: predict.Rule, path: Path, *, sha256: str | None = None) -> None:
    """Writes the 8-bit PNG copy of one image; InputError where its hash is not `sha256`, if that is given."""
    data, found = _read_known(source, sha256)
    pixels = predict.decode(data, rule)
    grey = (pixels[..., :1] == pixels).all()
    _write_png(np.ascontiguousarray(pixels[..., 0]) if grey else pixels, path, _mark(found, rule))


def write_mask_copy(source: Path, rule: MaskRule, path: Path, *, sha256: str | None = None) -> None:
    """Writes a mask's class indices as PNG; InputError where its hash is not `sha256`, if that is given."""
    data, found = _read_known(source, sha256)
    _write_png(read_classes(data, rule), path, _mark_of_mask(found, rule))


def _read_known(source: Path, sha256: str | None) -> tuple[bytes, str]:
    data = source.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if sha256 not in (None, found):
        raise InputError(f"{source}: changed while it was being read; start again")
    return data, found


def _write_png(pixels: NDArray[np.uint8], path: Path, mark: str) -> None:
    text = PngInfo()
    text.add_text(_MADE_FROM, mark)
    with whole_file(path) as part:
        picture: Any = Image.fromarray(pixels)
        picture.save(part, format="PNG", pnginfo=text, compress_level=1)


def _mark_of_mask(sha256: str, rule: MaskRule) -> str:
    return hashlib.sha256(json.dumps([sha256, *vars(rule).values()]).encode()).hexdigest()


def _mark(sha256: str, rule: predict.Rule) -> str:
    return hashlib.sha256(json.dumps([sha256, rule["channels"], rule["range"]]).encode()).hexdigest()


def _is_made_from(path: Path, mark: str) -> bool:
    try:
        with path.open("rb") as file:
            return mark.encode() in file.read(_HEAD)
    except FileNotFoundError:
        return False
