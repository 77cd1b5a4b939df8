"""Strict reading: every kind of bad file is named, sound files are read once."""

import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from mmtuna.objectives import predict
from mmtuna.objectives.data.dataset import Dataset, ImageRule
from mmtuna.objectives.data.manifest import Manifest, Problem, class_pixels, data_fingerprint, inspect, shapes
from mmtuna.objectives.data.reading import held_codes
from mmtuna.spaces.errors import InputError

DATA = Path(__file__).parents[3] / "../shared/data"
CLASSES = ("background", "fluid")


def save(path: Path, array: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def sample(root: Path, count: int = 4, suffix: str = ".png") -> Path:
    mask = np.zeros((40, 56), np.uint8)
    mask[10:20, 10:30] = 1
    for i in range(count):
        save(root / f"images/img_{i}{suffix}", noise(40, 56))
        save(root / f"masks/img_{i}.png", mask)
    return root


def check(root: Path, classes: tuple[str, ...] = CLASSES, **arguments: object) -> list[Problem]:
    return inspect(Dataset.open(root, classes=classes), **arguments).problems  # type: ignore[arg-type]


def test_sound_data(tmp_path: Path) -> None:
    dataset = Dataset.open(sample(tmp_path), classes=CLASSES)
    calls: list[tuple[int, int]] = []
    inspection = inspect(dataset, on_file=lambda done, total: calls.append((done, total)))
    assert inspection.problems == []
    assert calls == [(i, 8) for i in range(1, 9)]
    assert shapes(inspection.manifest, dataset) == {(40, 56)}
    assert class_pixels(inspection.manifest) == {0: 4 * (40 * 56 - 200), 1: 800}
    record = inspection.manifest.records["masks/img_0.png"]
    assert record.size == (tmp_path / "masks/img_0.png").stat().st_size
    assert record.values == {0: 40 * 56 - 200, 1: 200}
    assert inspection.manifest.records["images/img_0.png"].values is None


def spoil(root: Path) -> None:
    """One fault of every kind in a set of 20."""
    images, masks = root / "images", root / "masks"
    (images / "img_0.png").write_bytes((images / "img_0.png").read_bytes()[:900])
    (images / "img_1.png").write_bytes(b"")
    (images / "img_2.png").write_bytes(b"not an image at all, only some text")
    flipped = bytearray((images / "img_3.png").read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (images / "img_3.png").write_bytes(flipped)
    save(images / "img_4.png", noise(40, 56).astype(np.uint16) * 200)
    (masks / "img_5.png").unlink()
    save(masks / "extra.png", np.zeros((40, 56), np.uint8))
    save(masks / "img_6.png", noise(40, 56, 3))
    save(masks / "img_7.png", np.ones((56, 40), np.uint8))
    save(masks / "img_8.png", np.full((40, 56), 7, np.uint8))
    (masks / "img_9.png").write_bytes((masks / "img_9.png").read_bytes()[:-12])


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    spoil(sample(tmp_path, 12))
    found = {problem.where: f"{problem.what}; {problem.fix}" for problem in check(tmp_path)}
    expected = {
        "images/img_0.png": "cut off (PNG without its end block)",
        "images/img_1.png": "is empty (zero bytes); copy the file again",
        "images/img_2.png": "not an image file; export it as 8-bit PNG or JPEG",
        "images/img_3.png": "damaged (PNG block 'IDAT' fails its checksum)",
        "images/img_4.png": "16 bits a channel; values are 0 to 51000 in all: say in [data] which become 0 and 255",
        "masks/img_5.png": "image without a mask; add the mask",
        "masks/extra.png": "mask without an image; add the image to images/",
        "masks/img_6.png": "mask has 3 channels (RGB); save masks as PNG, one 8-bit channel",
        "masks/img_7.png": "mask is 56 x 40, its image 40 x 56 (height x width)",
        "masks/img_8.png": "holds 7, but only 0 to 1 and 255 (ignored) mean something",
        "masks/img_9.png": "cut off (PNG without its end block)",
    }
    assert found.keys() == expected.keys()
    for where, start in expected.items():
        assert found[where].startswith(start), found[where]


def test_problem_is_one_line() -> None:
    assert str(Problem("masks/a.png", "zero bytes", "copy it again")) == "masks/a.png: zero bytes; copy it again"


@pytest.mark.parametrize("keep", [-2, 300, 700])
def test_cut_jpeg(tmp_path: Path, keep: int) -> None:
    sample(tmp_path, suffix=".jpg")
    path = tmp_path / "images/img_1.jpg"
    path.write_bytes(path.read_bytes()[:keep])
    (problem,) = check(tmp_path)
    assert problem.where == "images/img_1.jpg"
    assert "cut off (JPEG without its end marker)" in problem.what or "cannot be decoded" in problem.what


def test_cut_jpeg_is_found_behind_a_whole_thumbnail(tmp_path: Path) -> None:
    sample(tmp_path, suffix=".jpg")
    thumbnail = io.BytesIO()
    Image.fromarray(noise(8, 8)).save(thumbnail, "JPEG")
    save(tmp_path / "images/img_0.jpg", noise(40, 56), comment=thumbnail.getvalue())
    assert check(tmp_path) == []
    path = tmp_path / "images/img_0.jpg"
    path.write_bytes(path.read_bytes()[:-2])
    assert [p.what for p in check(tmp_path)] == ["cut off (JPEG without its end marker)"]


def test_forgiving_decoders_elsewhere_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(2):
        save(tmp_path / f"images/img_{i}.bmp", noise(40, 56))
        save(tmp_path / f"masks/img_{i}.png", np.eye(40, 56, dtype=np.uint8))
    path = tmp_path / "images/img_0.bmp"
    path.write_bytes(path.read_bytes()[:-500])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    (problem,) = check(tmp_path)
    assert problem.where == "images/img_0.bmp"
    assert "cannot be decoded (" in problem.what
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_16_bit_colour_is_found(tmp_path: Path) -> None:
    import cv2

    sample(tmp_path, 2)
    cv2.imwrite(str(tmp_path / "images/img_0.png"), noise(40, 56, 3).astype(np.uint16) * 200)
    assert [p.what for p in check(tmp_path)] == ["3 x 16 bits a pixel"]


@pytest.mark.parametrize("ignore_index", [255, 254])
def test_0_255_masks_are_recognised(tmp_path: Path, ignore_index: int) -> None:
    sample(tmp_path, 3)
    for i in range(3):
        save(tmp_path / f"masks/img_{i}.png", np.eye(40, 56, dtype=np.uint8) * 255)
    problems = inspect(Dataset.open(tmp_path, classes=CLASSES, ignore_index=ignore_index)).problems
    if ignore_index == 255:  # legal values, but then no mask has any fluid
        (problem,) = problems
        assert str(problem) == (
            "masks/: class 1 (fluid) is in none of the 3 readable masks; "
            "120 pixels hold 255 (ignored): if these are 0/255 masks, set [data] values = [0, 255]"
        )
    else:
        assert [p.fix for p in problems] == ["a 0/255 mask: set [data] values = [0, 255], or divide it by 255"] * 3


@pytest.mark.parametrize(
    ("values", "fix"),
    [
        ((0, 128), "name its 2 values in [data] values, in the order of classes"),
        (tuple(range(60)), "resized by nearest neighbour"),
        ((0, 1, 2), "name 3 classes, or where 0 means unlabelled, set [data] reduce_zero_label = true"),
        ((0, 1, 2, 3), "name more"),
    ],
)
def test_other_codings_get_their_own_hint(tmp_path: Path, values: tuple[int, ...], fix: str) -> None:
    sample(tmp_path, 2)
    save(tmp_path / "masks/img_0.png", np.resize(np.array(values, np.uint8), (40, 56)))
    (problem,) = check(tmp_path)
    assert fix in problem.fix


def test_empty_class(tmp_path: Path) -> None:
    problems = check(sample(tmp_path), ("background", "fluid", "drusen"))
    assert [str(p) for p in problems] == [
        "masks/: class 2 (drusen) is in none of the 4 readable masks; mend the masks or take the class away"
    ]


def test_palette_and_one_bit_masks_count_by_index(tmp_path: Path) -> None:
    sample(tmp_path, 2)
    mask = Image.fromarray(np.eye(40, 56, dtype=np.uint8), mode=None)
    palette = mask.convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(tmp_path / "masks/img_0.png")
    mask.point([0, 255] + [0] * 254, "1").save(tmp_path / "masks/img_1.png")
    inspection = inspect(Dataset.open(tmp_path, classes=CLASSES))
    assert inspection.problems == []
    assert class_pixels(inspection.manifest) == {0: 2 * (40 * 56 - 40), 1: 80}


def test_extent_is_the_one_after_the_exif_turn(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    save(tmp_path / "images/a.jpg", noise(40, 56), exif=exif)
    save(tmp_path / "masks/a.png", np.eye(56, 40, dtype=np.uint8))
    dataset = Dataset.open(tmp_path, classes=CLASSES)
    inspection = inspect(dataset)
    assert inspection.problems == []
    assert shapes(inspection.manifest, dataset) == {(56, 40)}


def test_many_files_with_one_fault_are_one_line(tmp_path: Path) -> None:
    sample(tmp_path, 12)
    for i in range(1, 12):
        (tmp_path / f"masks/img_{i}.png").write_bytes(b"")
    (problem,) = check(tmp_path)
    assert problem.where == "masks/img_1.png, masks/img_10.png, masks/img_11.png, ... (11 files)"
    assert len(problem.files) == 11


def test_names_limit_the_inspection(tmp_path: Path) -> None:
    sample(tmp_path)
    (tmp_path / "images/img_3.png").write_bytes(b"")
    save(tmp_path / "masks/extra.png", np.zeros((40, 56), np.uint8))
    inspection = inspect(Dataset.open(tmp_path, classes=CLASSES), names=["img_0", "img_1"])
    assert inspection.problems == []
    assert len(inspection.manifest.records) == 4
    (problem,) = check(tmp_path, names=["img_0", "gone/img_9"])[:1]
    assert str(problem) == "images/gone/img_9.png: no such image; add the image or take its name off the list"


def test_files_are_read_once_and_again_when_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset.open(sample(tmp_path), classes=CLASSES)
    reads: list[str] = []
    plain = Path.read_bytes

    def counted(self: Path) -> bytes:
        reads.append(self.name)
        return plain(self)

    monkeypatch.setattr(Path, "read_bytes", counted)
    first = inspect(dataset)
    assert len(reads) == 8
    first.manifest.save(tmp_path / "manifest.json")
    remembered = Manifest.load(tmp_path / "manifest.json")
    assert remembered == first.manifest
    reads.clear()
    second = inspect(dataset, manifest=remembered)
    assert reads == []
    assert second == first
    rewritten = tmp_path / "images/img_2.png"
    size, time = rewritten.stat().st_size, rewritten.stat().st_mtime_ns
    os.utime(rewritten, ns=(time, time + 1))
    third = inspect(dataset, manifest=remembered)
    assert reads == ["img_2.png"]
    assert rewritten.stat().st_size == size
    assert data_fingerprint(third.manifest) == data_fingerprint(first.manifest)


def test_fingerprint_follows_bytes_and_names(tmp_path: Path) -> None:
    dataset = Dataset.open(sample(tmp_path), classes=CLASSES)
    before = data_fingerprint(inspect(dataset).manifest)
    save(tmp_path / "images/img_0.png", noise(40, 56) // 2)
    changed = data_fingerprint(inspect(dataset).manifest)
    assert changed != before
    assert data_fingerprint(inspect(dataset, names=dataset.names[1:]).manifest) not in (before, changed)


def test_manifest_files(tmp_path: Path) -> None:
    assert Manifest.load(tmp_path / "none.json") == Manifest()
    (tmp_path / "old.json").write_text('{"version": 0, "records": 1}')
    assert Manifest.load(tmp_path / "old.json") == Manifest()
    for text in ("{", "[]", '{"version": 1, "records": {"a": {"size": 1}}}', '{"version": 1, "records": {"a": 3}}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match=r"bad\.json: is not a manifest of image files; delete it"):
            Manifest.load(tmp_path / "bad.json")


def test_real_data() -> None:
    if not (DATA / "duke-dme-256").is_dir():
        pytest.skip(f"{DATA} is not there")
    dataset = Dataset.open(DATA / "duke-dme-256", classes=CLASSES)
    inspection = inspect(dataset)
    assert inspection.problems == []
    assert class_pixels(inspection.manifest) == {0: 7149339, 1: 59621}
    assert shapes(inspection.manifest, dataset) == {(256, 256)}
    fundus = Dataset.open(DATA / "drive", classes=("background", "vessel"))
    assert inspect(fundus, names=fundus.names[:4]).problems == []


def test_a_manifest_of_version_1_keeps_its_figures_and_its_files_are_read_again(tmp_path: Path) -> None:
    dataset = Dataset.open(sample(tmp_path, 1), classes=CLASSES)
    first = inspect(dataset).manifest
    rows = {
        file: {"size": r.size, "mtime_ns": r.mtime_ns, "sha256": "0", "height": 40, "width": 56, "values": r.values}
        for file, r in first.records.items()
    }
    (tmp_path / "old.json").write_text(json.dumps({"version": 1, "records": rows}))
    old = Manifest.load(tmp_path / "old.json")
    assert class_pixels(old) == class_pixels(first)
    assert inspect(dataset, manifest=old).manifest == first


def test_images_are_read_again_under_another_rule(tmp_path: Path) -> None:
    dataset = Dataset.open(sample(tmp_path), classes=CLASSES)
    plain = inspect(dataset).manifest
    other = replace(dataset, rule=ImageRule(range=(0, 99)))
    found = inspect(other, manifest=plain).manifest.records["images/img_0.png"]
    assert (found.lowest, found.highest, found.bits) == (0, 255, 8)
    assert inspect(dataset, manifest=inspect(other, manifest=plain).manifest).manifest == plain


def test_images_that_were_read_before_their_channels_were_kept_are_read_again(tmp_path: Path) -> None:
    dataset = Dataset.open(sample(tmp_path), classes=CLASSES, rule=ImageRule(channels=(0,)))
    whole = inspect(dataset).manifest
    assert {record.channels for record in whole.records.values()} == {0, 1}  # 0 of masks
    before = Manifest({file: replace(record, channels=0) for file, record in whole.records.items()})
    assert inspect(dataset, manifest=before).manifest == whole


def test_many_masks_with_values_that_mean_nothing_are_one_line(tmp_path: Path) -> None:
    sample(tmp_path, 14)
    for i in range(14):
        save(tmp_path / f"masks/img_{i}.png", np.full((40, 56), i, np.uint8))
    (problem,) = check(tmp_path)
    assert problem.where == "masks/img_10.png, masks/img_11.png, masks/img_12.png, ... (12 of 14 masks)"
    assert problem.what == "holds 2, 3, 4, 5, 6, ... (12 values), but only 0 to 1 and 255 (ignored) mean something"
    assert len(problem.files) == 12


def test_an_empty_image_is_called_so_by_predict_too() -> None:
    with pytest.raises(predict.BadImageError, match=r"^is empty \(zero bytes\); copy the file again$"):
        predict.decode(b"")


def test_a_palettes_colours_are_those_of_its_values() -> None:
    mask = Image.fromarray(np.array([[0, 100], [200, 255]], np.uint8), "L").convert("P")
    mask.putpalette([value for value in range(256) for _ in range(3)])
    file = io.BytesIO()
    mask.save(file, "PNG")
    assert held_codes(file.getvalue())[1] == {0: "#000000", 100: "#646464", 200: "#c8c8c8", 255: "#ffffff"}
