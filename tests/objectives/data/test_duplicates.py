"""Near-duplicates across a split: copies and neighbouring slices are found, other people's eyes are not."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy.ndimage import gaussian_filter

from mmtuna.objectives import predict
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.duplicates import (
    COPY,
    NEAR,
    VALIDATION,
    draw,
    nearest_pairs,
    perceptual_hashes,
    set_apart,
    told,
)
from mmtuna.objectives.data.manifest import Manifest, inspect
from mmtuna.objectives.data.thumbnails import packed, unpacked

REAL = Path(__file__).parents[3] / "../shared/data"


def pictures(count: int, seed: int = 0) -> list[Image.Image]:
    """Smooth pictures that have nothing to do with each other, before the same bright field."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(count, 96, 128)), (0, 9, 9))
    field = 80 * (np.hypot(*np.mgrid[-1:1:96j, -1:1:128j]) < 1)
    return [Image.fromarray((field + 60 + 40 * one / noise.std()).clip(0, 255).astype(np.uint8)) for one in noise]


def as_jpeg(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=40)
    return Image.open(file)


def pixels(picture: Image.Image) -> np.ndarray:
    return np.repeat(np.asarray(picture)[..., None], 3, axis=2)


@pytest.mark.parametrize(
    "changed",
    [
        as_jpeg,
        lambda picture: picture.resize((64, 48)),
        lambda picture: ImageEnhance.Brightness(picture).enhance(0.7),
        lambda picture: picture.resize((256, 192)),
    ],
    ids=["jpeg", "half", "darker", "double"],
)
def test_a_copy_is_known_again(changed) -> None:  # type: ignore[no-untyped-def]
    originals = pictures(30)
    thumbnails = unpacked([packed(pixels(one)) for one in (*originals, changed(originals[3]))])
    likeness = set_apart(thumbnails)[-1] @ set_apart(thumbnails)[:-1].T
    assert likeness.argmax() == 3
    assert likeness[3] > 0.95
    assert np.sort(likeness)[-2] < NEAR
    hashes = perceptual_hashes(thumbnails)
    assert (hashes[-1] != hashes[3]).sum() <= COPY


def test_16_bit_images_have_thumbnails_too() -> None:
    deep = (pixels(pictures(1)[0])[..., :1].astype(np.uint16) + 7) * 250
    assert np.abs(unpacked([packed(deep)]) - unpacked([packed(pixels(pictures(1)[0]))])).max() <= 6


def laid_out(root: Path, images: dict[str, Image.Image]) -> Dataset:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for name, image in images.items():
        image.save(root / f"images/{name}.png")
        Image.fromarray((np.asarray(image) > 120).astype(np.uint8)).save(root / f"masks/{name}.png")
    return Dataset.open(root, classes=("background", "bright"))


def test_pairs_are_told_and_drawn(tmp_path: Path) -> None:
    one, two, *others = pictures(24)
    images = {f"train_{place:02}": other for place, other in enumerate(others)} | {"one": one, "two": two}
    images |= {"val_copy": as_jpeg(one), "val_next": Image.blend(two, others[0], 0.2)}
    images |= {"val_flat": Image.new("L", (128, 96), 130), "val_other": pictures(1, seed=9)[0]}
    dataset = laid_out(tmp_path / "data", images)
    val = tuple(name for name in dataset.names if name.startswith("val"))
    train = tuple(name for name in dataset.names if name not in val)
    pairs = nearest_pairs(dataset, val, train, inspect(dataset).manifest)
    assert [(pair.image, pair.other) for pair in pairs[:2]] == [("val_copy", "one"), ("val_next", "two")]
    assert [pair.is_near for pair in pairs] == [True, True, False, False]
    assert pairs[0].is_copy
    line = told(pairs)
    assert line is not None
    assert line.startswith(
        "split: 2 of 4 validation images are near-duplicates of training images, 1 as like as copies"
    )
    assert "(val_copy beside one most of all: correlation 1.00" in line
    draw(dataset, {VALIDATION: pairs}, tmp_path / "near.png")
    with Image.open(tmp_path / "near.png") as picture:
        assert picture.height > 2 * 96
    assert told(pairs[2:]) is None


def test_an_image_that_was_read_before_there_were_thumbnails_is_read_again(tmp_path: Path) -> None:
    dataset = laid_out(tmp_path, {f"image_{place}": picture for place, picture in enumerate(pictures(2))})
    whole = inspect(dataset).manifest
    before = Manifest({file: replace(record, thumbnail="") for file, record in whole.records.items()})
    assert inspect(dataset, manifest=before).manifest == whole


def real(name: str) -> tuple[list[str], np.ndarray]:
    folder = REAL / name / "images"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    files = sorted(folder.iterdir())
    return [file.stem for file in files], set_apart(unpacked([packed(predict.read_image(file)) for file in files]))


def test_rates_on_real_eyes_are_as_the_page_says() -> None:
    names, apart = real("duke-dme-256")
    with (REAL / "duke-dme-256/subjects.csv").open() as file:
        whose = {row["image"]: (row["subject"], int(row["bscan"])) for row in csv.DictReader(file)}
    first, second = np.triu_indices(len(names), 1)
    near = (apart @ apart.T)[first, second] >= NEAR
    subjects, scans = (np.array([whose[name][part] for name in names]) for part in (0, 1))
    same, apart_by = subjects[first] == subjects[second], np.abs(scans[first] - scans[second])
    assert near[~same].sum() == 0
    assert near[same & (apart_by <= 3)].mean() == pytest.approx(0.45, abs=0.05)
    assert near[same].mean() == pytest.approx(0.053, abs=0.01)
    _, photographs = real("drive")
    assert ((photographs @ photographs.T)[np.triu_indices(len(photographs), 1)] >= NEAR).sum() == 0
