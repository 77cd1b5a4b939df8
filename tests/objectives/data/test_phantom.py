"""The synthetic data set: same bytes for the same seed, plausible fluid, whole subjects on one side."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.manifest import class_pixels, inspect
from mmtuna.objectives.data.phantom import write_phantom
from mmtuna.objectives.data.split import published
from mmtuna.spaces.errors import InputError


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_phantom(tmp_path_factory.mktemp("data") / "phantom")


def hashes(dataset: Dataset) -> dict[str, str]:
    files = [p for p in dataset.root.rglob("*") if p.is_file()]
    return {p.relative_to(dataset.root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def masks(dataset: Dataset) -> dict[str, np.ndarray]:
    return {name: np.asarray(Image.open(dataset.mask_path(name))) for name in dataset.names}


def test_layout(phantom: Dataset) -> None:
    assert len(phantom.names) == 48
    assert len(set(phantom.subjects.values())) == 8
    assert (phantom.root / "subjects.csv").read_text().splitlines()[:3] == [
        "image,subject,bscan",
        "img_0,1,0",
        "img_1,1,1",
    ]
    written = sorted(p.name for p in phantom.root.iterdir())
    assert written == ["classes.txt", "images", "masks", "splits", "subjects.csv"]
    inspection = inspect(phantom)
    assert inspection.problems == []
    assert {(r.height, r.width) for r in inspection.manifest.records.values()} == {(256, 256)}


def test_split_is_by_subject(phantom: Dataset) -> None:
    split = published(phantom, "splits/train.txt", "splits/val.txt")
    assert (len(split.train), len(split.val)) == (36, 12)
    assert split.shared_subjects(phantom) == ()


def test_fluid_is_rare_and_a_third_of_the_scans_has_none(phantom: Dataset) -> None:
    pixels = class_pixels(inspect(phantom).manifest)
    assert 0.01 < pixels[1] / (pixels[0] + pixels[1]) < 0.018
    free = [name for name, mask in masks(phantom).items() if not mask.any()]
    assert 0.25 <= len(free) / 48 <= 0.4
    with_fluid = {phantom.subjects[name] for name in phantom.names if name not in free}
    assert len(with_fluid) == 8


def test_pockets_are_wide_enough_to_learn(phantom: Dataset) -> None:
    from scipy import ndimage

    widths = []
    for mask in masks(phantom).values():
        labels, _ = ndimage.label(mask)
        widths += [columns.stop - columns.start for _, columns in ndimage.find_objects(labels)]
    assert np.mean(np.array(widths) >= 12) > 0.85


def test_fluid_is_darker_than_the_tissue_around_it(phantom: Dataset) -> None:
    from scipy import ndimage

    contrasts = []
    for name, mask in masks(phantom).items():
        if mask.any():
            image = np.asarray(Image.open(phantom.image_path(name))).astype(float)
            ring = ndimage.binary_dilation(mask, iterations=6) & ~ndimage.binary_dilation(mask, iterations=2)
            contrasts.append(image[mask == 1].mean() / image[ring].mean())
    assert max(contrasts) < 0.8


def test_darkness_alone_does_not_find_the_fluid(phantom: Dataset) -> None:
    """Vitreous, shadows and the deep choroid are as dark: the best threshold must stay poor, or no net is needed."""
    images = np.stack([np.asarray(Image.open(phantom.image_path(name))) for name in phantom.names])
    truth = np.stack(list(masks(phantom).values())) == 1
    best = 0.0
    for low in range(0, 60, 10):
        for high in range(low + 10, 100, 10):
            guess = (images >= low) & (images < high)
            best = max(best, float((guess & truth).sum() / (guess | truth).sum()))
    assert best < 0.15


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second, other = (
        hashes(write_phantom(tmp_path / name, subjects=2, scans=2, size=64, seed=seed))
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first == second
    assert not {first[f] for f in first if f.startswith("images")} & {other[f] for f in other if f.startswith("images")}


def test_a_subject_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    few = hashes(write_phantom(tmp_path / "few", subjects=2, scans=2, size=64))
    many = hashes(write_phantom(tmp_path / "many", subjects=4, scans=2, size=64))
    for name in ("images/img_0.png", "images/img_3.png", "masks/img_1.png", "masks/img_3.png"):
        assert few[name] == many[name]


def test_neighbouring_scans_resemble_each_other_more_than_other_subjects(phantom: Dataset) -> None:
    def blurred(number: int) -> np.ndarray:
        image = np.asarray(Image.open(phantom.image_path(f"img_{number}"))).astype(float)
        return np.asarray(np.minimum(image, 200).reshape(32, 8, 32, 8).mean(axis=(1, 3)))

    scans = [blurred(number) for number in range(48)]
    near = [np.abs(scans[6 * s + 2] - scans[6 * s + 3]).mean() for s in range(8)]
    far = [np.abs(scans[6 * s + 2] - scans[6 * (s + 1) % 48 + 2]).mean() for s in range(8)]
    assert np.mean(near) < 0.6 * np.mean(far)


@pytest.mark.parametrize("scans", [1, 2, 3])
def test_every_subject_has_fluid_however_few_its_scans(tmp_path: Path, scans: int) -> None:
    dataset = write_phantom(tmp_path / "p", subjects=6, scans=scans, size=128)
    with_fluid = {dataset.subjects[name] for name, mask in masks(dataset).items() if mask.any()}
    assert len(with_fluid) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subjects": 1}, r"phantom: subjects is 1; it must be at least 2"),
        ({"scans": 0}, r"phantom: scans is 0; it must be at least 1"),
        ({"size": 32}, r"phantom: size is 32; it must be at least 64"),
        ({"seed": -1}, r"phantom: seed is -1; it must be at least 0"),
        ({"val_share": 1.0, "size": 64, "scans": 1}, r"val_share: 1\.0 is out of range"),
    ],
)
def test_bad_arguments_leave_nothing_behind(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_phantom(tmp_path / "p", **arguments)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match=r"exists and is not an empty folder; name a new or an empty one"):
        write_phantom(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
