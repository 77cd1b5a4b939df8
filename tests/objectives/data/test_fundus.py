"""The fundus phantom: vessels that can be learnt, the same bytes for the same seed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.manifest import class_pixels, inspect
from mmtuna.objectives.data.phantom_fundus import write_fundus
from mmtuna.objectives.data.split import published
from mmtuna.spaces.errors import InputError


@pytest.fixture(scope="module")
def fundus(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_fundus(tmp_path_factory.mktemp("data") / "fundus", images=8)


def hashes(dataset: Dataset) -> dict[str, str]:
    files = (p for p in dataset.root.rglob("*") if p.is_file())
    return {p.relative_to(dataset.root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def pictures(dataset: Dataset) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (np.asarray(Image.open(dataset.image_path(n))).astype(float), np.asarray(Image.open(dataset.mask_path(n))))
        for n in dataset.names
    ]


def test_it_is_a_sound_data_set_with_a_quarter_to_validate(fundus: Dataset) -> None:
    inspection = inspect(fundus)
    assert inspection.problems == []
    assert {(r.height, r.width) for r in inspection.manifest.records.values()} == {(256, 256)}
    split = published(fundus, "splits/train.txt", "splits/val.txt")
    assert (len(split.train), len(split.val)) == (6, 2)
    assert fundus.classes == ("background", "vessel")
    pixels = class_pixels(inspection.manifest)
    assert 0.09 < pixels[1] / (pixels[0] + pixels[1]) < 0.15


def test_vessels_are_darker_than_what_lies_beside_them_and_lie_in_the_field(fundus: Dataset) -> None:
    from scipy import ndimage

    for image, mask in pictures(fundus):
        assert image.shape == (256, 256, 3)
        assert set(np.unique(mask)) == {0, 1}
        beside = ndimage.binary_dilation(mask, iterations=3) & (mask == 0)
        assert image[..., 1][mask == 1].mean() < 0.9 * image[..., 1][beside].mean()
        assert (image[:4, :4] == 0).all()
        row, column = np.nonzero(mask)
        assert np.hypot(row / 256 - 0.5, column / 256 - 0.5).max() < 0.48


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second, other = (
        hashes(write_fundus(tmp_path / name, images=4, size=64, seed=seed))
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first == second
    assert not {first[f] for f in first if f.startswith("images")} & {other[f] for f in other if f.startswith("images")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": 3}, r"fundus phantom: images is 3; it must be at least 4"),
        ({"size": 32}, r"fundus phantom: size is 32; it must be at least 64"),
        ({"seed": -1}, r"fundus phantom: seed is -1; it must be at least 0"),
    ],
)
def test_bad_arguments_leave_nothing_behind(tmp_path: Path, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_fundus(tmp_path / "p", **arguments)
    assert list(tmp_path.iterdir()) == []
