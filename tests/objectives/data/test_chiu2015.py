"""From the MATLAB volumes to the paper's data set, on small volumes of the same make."""

import csv
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from mmtuna.objectives.data.chiu2015 import convert, published_split
from mmtuna.objectives.data.split import published
from mmtuna.spaces.errors import InputError

REAL = Path(__file__).parents[3] / "../shared/data/duke-dme-256"
SHAPE = (12, 20)
FOVEA = {1: 30, 2: 30, 3: 30, 4: 26, 5: 28, 6: 30, 7: 31, 8: 28, 9: 30, 10: 30}
STEPS = (-20, -15, -10, -5, -2, 0, 2, 5, 10, 15, 20)


def volume(folder: Path, subject: int, bscans: list[int], **changes: object) -> None:
    images = np.random.default_rng(subject).integers(0, 256, (*SHAPE, 61), dtype=np.uint8)
    fluid = np.full((*SHAPE, 61), np.nan)
    for bscan in bscans:
        fluid[:, :, bscan] = 0
        fluid[0, :3, bscan] = (0.3, 0.31, 13)
        fluid[1, 0, bscan] = np.nan
    content = {"images": images, "manualFluid1": fluid, "manualFluid2": np.ones(3), **changes}
    folder.mkdir(exist_ok=True)
    savemat(folder / f"Subject_{subject:02d}.mat", {k: v for k, v in content.items() if v is not None})


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chiu")
    for subject, fovea in FOVEA.items():
        volume(folder, subject, [fovea + step for step in STEPS])
    return folder


def test_all_ten_subjects_get_the_published_split(ten: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = convert(ten, tmp_path / "out", scan_shape=SHAPE)
    assert len(dataset.names) == 110
    assert dataset.subjects["img_109"] == "10"
    split = published(dataset, "splits/train.txt", "splits/val.txt")
    assert split.fingerprint() == published_split().fingerprint()
    assert len(split.shared_subjects(dataset)) == 9
    assert caplog.records == []
    with Image.open(dataset.image_path("img_0")) as image, Image.open(dataset.mask_path("img_0")) as mask:
        assert (image.size, image.mode, mask.size, mask.mode) == ((256, 256), "L", (256, 256), "L")
        assert set(np.unique(np.asarray(mask))) == {0, 1}


def test_numbering_split_and_table_are_those_of_the_real_data(ten: Path, tmp_path: Path) -> None:
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not there")
    convert(ten, tmp_path / "out", scan_shape=SHAPE, full_resolution=True)
    for file in ("subjects.csv", "splits/train.txt", "splits/val.txt"):
        assert (tmp_path / "out" / file).read_text().split() == (REAL / file).read_text().split()


def test_full_resolution_keeps_every_pixel(ten: Path, tmp_path: Path) -> None:
    dataset = convert(ten, tmp_path / "out", scan_shape=SHAPE, full_resolution=True)
    image, mask = (np.asarray(Image.open(p)) for p in (dataset.image_path("img_11"), dataset.mask_path("img_11")))
    expected = np.random.default_rng(2).integers(0, 256, (*SHAPE, 61), dtype=np.uint8)[:, :, 10]
    assert np.array_equal(image, expected)
    # 0.3 is not above the threshold, 0.31 and region 13 are; NaN is background.
    assert mask[0, :4].tolist() == [0, 1, 1, 0]
    assert mask.sum() == 2


def test_other_scans_are_split_by_subject_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for subject in (1, 2, 10):
        volume(tmp_path / "in", subject, [5, 7])
    with caplog.at_level(logging.WARNING):
        dataset = convert(tmp_path / "in", tmp_path / "out", scan_shape=SHAPE)
    assert "found 6 annotated B-scans, not exactly the paper's 110" in caplog.text
    assert "splits/ is by subject instead" in caplog.text
    with (tmp_path / "out/subjects.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["image", "subject", "bscan"]
    assert rows[1:] == [[f"img_{i}", s, b] for i, (s, b) in enumerate((s, b) for s in ("1", "2", "10") for b in "57")]
    split = published(dataset, "splits/train.txt", "splits/val.txt")
    assert (len(split.train), len(split.val), split.shared_subjects(dataset)) == (4, 2, ())


def test_110_other_scans_do_not_get_the_published_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for subject in FOVEA:
        volume(tmp_path / "in", subject, list(range(11)))
    dataset = convert(tmp_path / "in", tmp_path / "out", scan_shape=SHAPE, full_resolution=True)
    assert "its published split does not apply" in caplog.text
    assert published(dataset, "splits/train.txt", "splits/val.txt").shared_subjects(dataset) == ()


def test_a_single_subject_has_no_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    volume(tmp_path / "in", 3, [1, 2])
    dataset = convert(tmp_path / "in", tmp_path / "out", scan_shape=SHAPE)
    assert "a single subject cannot be split by subject" in caplog.text
    assert not (dataset.root / "splits").exists()


def test_images_stored_as_doubles_are_accepted(tmp_path: Path) -> None:
    volume(tmp_path / "in", 1, [0], images=np.full((*SHAPE, 61), 7.0))
    dataset = convert(tmp_path / "in", tmp_path / "out", scan_shape=SHAPE, full_resolution=True)
    assert np.unique(np.asarray(Image.open(dataset.image_path("img_0")))).tolist() == [7]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"manualFluid1": None}, r"Subject_02\.mat: no variable 'manualFluid1'; give the unchanged file"),
        ({"images": None}, r"no variable 'images'"),
        ({"images": np.zeros((5, 5, 61), np.uint8)}, r"images has shape \(5, 5, 61\); it must be \(12, 20, number of"),
        ({"manualFluid1": np.zeros((*SHAPE, 60))}, r"manualFluid1 has shape \(12, 20, 60\)"),
        ({"images": np.full((*SHAPE, 61), 300.0)}, r"images holds values outside 0 to 255 or NaN"),
        ({"images": np.full((*SHAPE, 61), np.nan)}, r"images holds values outside 0 to 255 or NaN"),
        ({"images": np.full((*SHAPE, 61), "a")}, r"images (holds|has shape)"),
    ],
)
def test_bad_volumes_are_named_and_nothing_is_left(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    volume(tmp_path / "in", 1, [3])
    volume(tmp_path / "in", 2, [3], **changes)
    with pytest.raises(InputError, match=message):
        convert(tmp_path / "in", tmp_path / "out", scan_shape=SHAPE)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_native_shape_is_asked_for_by_default(tmp_path: Path) -> None:
    volume(tmp_path / "in", 1, [3])
    with pytest.raises(
        InputError, match=r"images has shape \(12, 20, 61\); it must be \(496, 768, number of B-scans\)"
    ):
        convert(tmp_path / "in", tmp_path / "out")


def test_files_that_are_no_readable_volumes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none: no such folder; give the one with Subject_01\.mat"):
        convert(tmp_path / "none", tmp_path / "out")
    (tmp_path / "Subject_1.txt").write_text("")
    with pytest.raises(InputError, match=r"no Subject_NN\.mat; give the folder with"):
        convert(tmp_path, tmp_path / "out")
    file = tmp_path / "Subject_01.mat"
    file.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400))
    with pytest.raises(
        InputError, match=r"Subject_01\.mat: MATLAB 7\.3 \(HDF5\) format, which cannot be read; save it"
    ):
        convert(tmp_path, tmp_path / "out")
    file.write_bytes(b"<html>not found</html>" * 20)
    with pytest.raises(InputError, match=r"Subject_01\.mat: cannot be read as a MATLAB file .*download it again"):
        convert(tmp_path, tmp_path / "out")


def test_volumes_without_annotation(tmp_path: Path) -> None:
    volume(tmp_path / "in", 1, [])
    with pytest.raises(InputError, match=r"manualFluid1 is NaN throughout; give the annotated volumes"):
        convert(tmp_path / "in", tmp_path / "out", scan_shape=SHAPE)


def test_a_full_folder_is_refused(ten: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match=r"exists and is not an empty folder"):
        convert(ten, tmp_path, scan_shape=SHAPE)
