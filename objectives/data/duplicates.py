"""Near-duplicates across a split: copies of images that were seen among those that judge, and neighbouring slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmtuna.objectives import predict
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.manifest import Manifest, image_file
from mmtuna.objectives.data.thumbnails import unpacked
from mmtuna.objectives.evaluation.overlays import beside
from mmtuna.spaces.files import whole_file

NEAR = 0.7
"""Correlation of what sets two images apart from the others, from which on they are near-duplicates: docs/leaks.md says
what it was on real images. Of eyes of different people none came to it."""
COPY = 4
"""Bits of 63 in which the perceptual hashes of near-duplicates may differ, for one to be a copy of the other."""
_NOTHING = 1e-3
_LOW = 8  # cosines of so few half waves a side make the hash
_BLOCK = 1024
_PICTURED = 8
Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class Sides:
    """What an image and the one most like it are: in words, and above their pictures."""

    images: str
    others: str
    titles: tuple[str, str]
    so: str
    """What follows where they are near-duplicates."""


VALIDATION = Sides(
    images="validation",
    others="training images",
    titles=("val", "train"),
    so="the figures are in part of images that were trained on",
)
TEST = Sides(
    images="test",
    others="images that trials see",
    titles=("test", "seen"),
    so="what `mmtuna test SPEC` measures is in part of images that were seen",
)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An image and the one of the other side that is most like it: their names, and how alike they are.

    `correlation` is that of what sets them apart from the others, -1 to 1; `distance` the bits of 63 in which their
    perceptual hashes differ.
    """

    image: str
    other: str
    correlation: float
    distance: int

    @property
    def is_near(self) -> bool:
        """Whether they are as like as copies are, or neighbouring slices of a volume or frames of a film."""
        return self.correlation >= NEAR

    @property
    def is_copy(self) -> bool:
        """Whether one may be a copy of the other: the same picture in another size, brightness or compression."""
        return self.is_near and self.distance <= COPY


def nearest_pairs(dataset: Dataset, images: Sequence[str], others: Sequence[str], manifest: Manifest) -> list[Pair]:
    """Of each of `images` the one of `others` that is most like it, the most alike first.

    Images that the manifest holds no thumbnail of are passed over. Takes a matrix product of the two sides, in blocks:
    10,000 images take less than a second on two cores.
    """
    seen, judging = (_known(dataset, names, manifest) for names in (others, images))
    if not seen or not judging:
        return []
    thumbnails = unpacked([*seen.values(), *judging.values()])
    apart, hashes = set_apart(thumbnails), perceptual_hashes(thumbnails)
    count, names, found = len(seen), list(seen), []
    for place, name in enumerate(judging):
        if place % _BLOCK == 0:
            block = slice(count + place, count + place + _BLOCK)
            likeness = apart[block] @ apart[:count].T
            nearest = likeness.argmax(axis=1)
        other = int(nearest[place % _BLOCK])
        found.append(
            Pair(
                image=name,
                other=names[other],
                correlation=round(float(likeness[place % _BLOCK, other]), 4),
                distance=int((hashes[count + place] != hashes[other]).sum()),
            )
        )
    return sorted(found, key=lambda pair: (-pair.correlation, pair.distance, pair.image))


def _known(dataset: Dataset, names: Sequence[str], manifest: Manifest) -> dict[str, str]:
    """The thumbnails that the manifest holds, by name."""
    records = ((name, manifest.records.get(image_file(dataset, name))) for name in names)
    return {name: record.thumbnail for name, record in records if record is not None and record.thumbnail}


def told(pairs: Sequence[Pair], sides: Sides = VALIDATION) -> str | None:
    """How many of the `nearest_pairs` are near-duplicates and which most of all, in one line; None where none is."""
    near = [pair for pair in pairs if pair.is_near]
    if not near:
        return None
    copies = sum(pair.is_copy for pair in near)
    kinds = {"copies": copies, "neighbouring slices": len(near) - copies}
    alike = " and ".join(f"{count} as like as {kind} are" for kind, count in kinds.items() if count)
    worst = near[0]
    return (
        f"split: {len(near)} of {len(pairs)} {sides.images} images are near-duplicates of {sides.others}, "
        f"{alike} ({worst.image} beside {worst.other} most of all: correlation {worst.correlation:.2f}, "
        f"{worst.distance} of 63 bits of their hashes apart), so {sides.so}"
    )


def draw(dataset: Dataset, found: Mapping[Sides, Sequence[Pair]], path: Path) -> None:
    """Writes a picture of the most alike of the near-duplicates, eight of each two sides at most, a row each."""
    rule = dict(vars(dataset.rule))
    rows = []
    for sides, pairs in found.items():
        for pair in [pair for pair in pairs if pair.is_near][:_PICTURED]:
            title = f"correlation {pair.correlation:.3f}, {pair.distance} of 63 bits apart"
            named = {f"{what}: {name}": name for what, name in zip(sides.titles, (pair.image, pair.other), strict=True)}
            rows.append(
                (title, {what: predict.read_image(dataset.image_path(name), rule) for what, name in named.items()})
            )
    with whole_file(path) as part:
        beside(rows).save(part, format="PNG")


def set_apart(thumbnails: Numbers) -> Numbers:
    """What sets each thumbnail apart from the others, (images, pixels) of length 1, so that products are correlations.

    All images of a set share much (the field of view, the layers of a retina), which by itself correlates any two.
    Their mean is taken off, and the ways in which they all vary count less: whitening, where each principal component
    is divided by the root of its variance and the mean variance of all.
    """
    flat = thumbnails.reshape(len(thumbnails), -1)
    flat = _of_length_one(flat - flat.mean(axis=1, keepdims=True))
    flat = flat - flat.mean(axis=0)
    variances, components = np.linalg.eigh(flat.T @ flat / len(flat))
    variances = variances.clip(min=0.0)
    mean = variances.sum() / min(flat.shape)
    return _of_length_one(flat @ (components / np.sqrt(variances + max(float(mean), 1e-12))))


def _of_length_one(rows: Numbers) -> Numbers:
    """Zeros where a row has no length to speak of: a flat image is like no other."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    found: Numbers = np.divide(rows, length, out=np.zeros_like(rows), where=length > _NOTHING)
    return found


def perceptual_hashes(thumbnails: Numbers) -> NDArray[np.bool_]:
    """(images, 63): which of the lowest frequencies of the cosine transform are above their median, the mean aside.

    The "pHash" of Zauner (2010, Implementation and benchmarking of perceptual image hash functions), from smaller
    pictures than the 32 x 32 it is mostly made of.
    """
    from scipy.fft import dctn

    low = dctn(thumbnails, axes=(1, 2), norm="ortho")[:, :_LOW, :_LOW].reshape(len(thumbnails), -1)[:, 1:]
    above: NDArray[np.bool_] = low > np.median(low, axis=1, keepdims=True)
    return above
