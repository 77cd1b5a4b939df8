"""What is counted on each side of a split; what `check` makes of it stands in tests/inputs."""

from pathlib import Path

import numpy as np
from PIL import Image

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.manifest import inspect
from mmtuna.objectives.data.sides import check_sides, class_pixels_by_side
from mmtuna.objectives.data.split import Split


def test_classes_and_ignored_pixels_are_counted_on_each_side(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for place, name in enumerate("abcd"):
        mask = np.zeros((10, 10), np.uint8)
        mask[0, :place] = 1
        mask[1, :2] = 255
        Image.fromarray(mask).save(tmp_path / f"images/{name}.png")
        Image.fromarray(mask).save(tmp_path / f"masks/{name}.png")
    dataset = Dataset.open(tmp_path, classes=("background", "fluid"))
    manifest = inspect(dataset).manifest
    split = Split(train=("d", "a", "b"), val=("c",), source="test")
    assert class_pixels_by_side(manifest, dataset, split) == {
        "train": {"background": 290, "fluid": 4, "ignored": 6},
        "val": {"background": 96, "fluid": 2, "ignored": 2},
    }
    assert check_sides(dataset, split, manifest) == ([], [])


def test_a_side_whose_masks_were_not_all_read_is_not_judged(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in "abc":
        Image.new("L", (9, 9), 3).save(tmp_path / f"images/{name}.png")
        Image.fromarray(np.eye(9, dtype=np.uint8) * (name != "c")).save(tmp_path / f"masks/{name}.png")
    dataset = Dataset.open(tmp_path, classes=("background", "fluid"))
    split = Split(train=("a",), val=("c", "b"), source="test")
    (tmp_path / "masks/b.png").write_bytes(b"")
    assert check_sides(dataset, split, inspect(dataset).manifest) == ([], [])
    (tmp_path / "masks/b.png").write_bytes((tmp_path / "masks/c.png").read_bytes())
    problems, _ = check_sides(dataset, split, inspect(dataset).manifest)
    assert len(problems) == 1
    assert problems[0].startswith("val: background is all that the 2 validation masks hold")


def test_specificity_needs_an_image_without_foreground(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in "abc":
        mask = np.eye(9, dtype=np.uint8) * (name != "c")
        Image.fromarray(mask).save(tmp_path / f"images/{name}.png")
        Image.fromarray(mask).save(tmp_path / f"masks/{name}.png")
    dataset = Dataset.open(tmp_path, classes=("background", "fluid"))
    manifest, metric = inspect(dataset).manifest, "specificity_per_image"
    assert check_sides(dataset, Split(train=("a",), val=("b", "c"), source="test"), manifest, metric) == ([], [])
    problems, _ = check_sides(dataset, Split(train=("a", "c"), val=("b",), source="test"), manifest, metric)
    expected = (
        '[study] metric = "specificity_per_image": all of the 1 validation masks hold foreground, so it has no value; '
        "move images without any to val, or take another metric"
    )
    assert problems == [expected]
    problems, _ = check_sides(
        dataset, Split(train=("a",), val=("b",), test=("c",), source="test"), manifest, "IoU.fluid"
    )
    expected = (
        "test: background is all that the 1 test masks hold, so finding nothing measures 1; move images with another "
        "class to test"
    )
    assert problems == [expected]
