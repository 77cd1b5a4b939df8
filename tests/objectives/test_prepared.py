"""Copies of images and masks: made once, anew where something changed, the same from many processes at a time."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmtuna.objectives import predict
from mmtuna.objectives.data.dataset import MASK_SOURCE, Dataset, ImageRule, MaskRule
from mmtuna.objectives.data.manifest import Manifest, inspect
from mmtuna.objectives.deployment.contract import labelled_images
from mmtuna.objectives.prepared import copies_bytes, resolve_range, rule_of, with_copies, write_copies
from mmtuna.spaces.errors import InputError


@pytest.fixture
def deep(tmp_path: Path) -> Dataset:
    """Four 16-bit images of 20 x 30 pixels, one in a folder of its own, mapped from 0..4095."""
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c", "sub/d"):
        for folder in ("images", "masks"):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 4096, (20, 30)).astype(np.uint16)).save(tmp_path / f"images/{name}.tif")
        Image.fromarray(np.eye(20, 30, dtype=np.uint8)).save(tmp_path / f"masks/{name}.png")
    return Dataset.open(tmp_path, classes=("background", "fluid"), rule=ImageRule(range=(0, 4095)))


def times(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_copies_are_made_once_and_anew_where_image_or_rule_changed(deep: Dataset, tmp_path: Path) -> None:
    folder, manifest = tmp_path / "copies", inspect(deep).manifest
    write_copies(deep, deep.names, manifest, folder)
    first = times(folder)
    assert set(first) == {"a.png", "b.png", "c.png", "sub/d.png"}
    write_copies(deep, deep.names, manifest, folder)
    assert times(folder) == first

    Image.fromarray(np.full((20, 30), 700, np.uint16)).save(deep.image_path("b"))
    write_copies(deep, deep.names, inspect(deep).manifest, folder)
    second = times(folder)
    assert {name for name in first if second[name] != first[name]} == {"b.png"}
    assert (predict.read_image(folder / "b.png") == round(700 / 4095 * 255)).all()

    other = replace(deep, rule=ImageRule(range=(0, 1000)))
    write_copies(other, deep.names, inspect(other).manifest, folder)
    assert all(times(folder)[name] != second[name] for name in second)
    for name in deep.names:
        copy = predict.read_image(folder / f"{name}.png")
        assert (copy == predict.read_image(deep.image_path(name), rule_of(other))).all()


def test_an_image_that_changed_since_it_was_read_is_refused(deep: Dataset, tmp_path: Path) -> None:
    manifest = inspect(deep).manifest
    Image.fromarray(np.full((20, 30), 700, np.uint16)).save(deep.image_path("b"))
    with pytest.raises(InputError, match=r"b\.tif: changed while it was being read; start again"):
        write_copies(deep, deep.names, manifest, tmp_path / "copies")


def test_several_may_write_the_same_copies_at_the_same_time(deep: Dataset, tmp_path: Path) -> None:
    folder, manifest = tmp_path / "copies", inspect(deep).manifest
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda _: write_copies(deep, deep.names, manifest, folder), range(8)):
            pass
    assert set(times(folder)) == {"a.png", "b.png", "c.png", "sub/d.png"}
    for name in deep.names:
        copy = predict.read_image(folder / f"{name}.png")
        assert (copy == predict.read_image(deep.image_path(name), rule_of(deep))).all()


def test_configs_name_the_copies_and_say_of_what(deep: Dataset, tmp_path: Path) -> None:
    named = with_copies(deep, tmp_path / "copies")
    assert named.image_path("sub/d") == tmp_path / "copies/sub/d.png"
    assert named.mask_path("sub/d") == deep.mask_path("sub/d")
    assert named.source == {"img_path": "images", "img_suffix": ".tif", "channels": None, "range": [0, 4095]}
    plain = replace(deep, rule=ImageRule())
    assert with_copies(plain, tmp_path / "copies") is plain


@pytest.fixture
def coded(tmp_path: Path) -> Dataset:
    """Two sides with images and masks of 0, 7 and 255 in each, of which 255 is the foreground and 7 ignored."""
    root = tmp_path / "coded"
    for name in ("train/{}/a", "val/{}/sub/b"):
        for folder, values in (("img", np.full((20, 30), 128)), ("gt", np.eye(20, 30) * 255)):
            path = root / f"{name.format(folder)}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = values.astype(np.uint8)
            image[-1] = 7
            Image.fromarray(image).save(path)
    return Dataset.open(
        root,
        classes=("background", "fluid"),
        images="*/img",
        masks="*/gt",
        mask_rule=MaskRule(values=((0,), (255,)), ignored=(7,)),
    )


def test_masks_are_copied_where_they_hold_or_lie_otherwise(coded: Dataset, tmp_path: Path) -> None:
    assert coded.names == ("train/img/a", "val/img/sub/b")
    inspection = inspect(coded)
    assert inspection.problems == []
    assert inspection.manifest.records["val/gt/sub/b.png"].values == {0: 551, 1: 19, 255: 30}
    write_copies(coded, coded.names, inspection.manifest, tmp_path / "images")
    named = with_copies(coded, tmp_path / "images")
    assert not (tmp_path / "images").exists()  # of images none is needed
    assert (named.images, named.masks) == (".", str(tmp_path / "masks"))
    assert named.image_path("val/img/sub/b") == coded.root / "val/img/sub/b.png"
    with Image.open(named.mask_path("val/img/sub/b")) as copy:
        wanted = np.eye(20, 30, dtype=np.uint8)
        wanted[-1] = 255
        assert (np.asarray(copy) == wanted).all()
    assert copies_bytes(coded, inspection.manifest) == 2 * 20 * 30

    first = times(tmp_path / "masks")
    write_copies(coded, coded.names, inspection.manifest, tmp_path / "images")
    assert times(tmp_path / "masks") == first
    other = replace(coded, mask_rule=MaskRule(values=((0, 7), (255,))))
    write_copies(other, coded.names, inspect(other).manifest, tmp_path / "images")
    assert all(time != first[name] for name, time in times(tmp_path / "masks").items())


@pytest.mark.parametrize("reduced", [True, False])
def test_truth_is_what_training_sees_also_where_it_was_not_trained(
    coded: Dataset, tmp_path: Path, reduced: bool
) -> None:
    """Of masks that are read as they are, and of copies, which a machine that looks on makes anew."""
    if reduced:  # 0 counts nowhere, 7 is class 6
        rule = MaskRule(reduce_zero_label=True)
        coded = Dataset.open(
            coded.root / "val", classes=[f"c{i}" for i in range(7)], images="img", masks="gt", mask_rule=rule
        )
    named = with_copies(coded, tmp_path / "images")
    listed = tmp_path / "val.txt"
    listed.write_text(f"{coded.names[-1]}\n")
    cfg = {
        "val_dataloader": {
            "dataset": {
                "data_root": str(named.root),
                "data_prefix": {"img_path": named.images, "seg_map_path": named.masks},
                "ann_file": str(listed),
                "img_suffix": named.image_suffix,
                "seg_map_suffix": named.mask_suffix,
                "reduce_zero_label": named.mask_rule.reduce_zero_label,
            }
        }
    }
    if named.mask_source is not None:
        cfg[MASK_SOURCE] = json.loads(json.dumps(named.mask_source))
    (entry,) = labelled_images(cfg)
    found = dict(zip(*(part.tolist() for part in np.unique(entry.truth(), return_counts=True)), strict=True))
    assert found == ({6: 30, 255: 570} if reduced else {0: 551, 1: 19, 255: 30})


def test_copies_of_images_that_need_none_are_not_written(deep: Dataset, tmp_path: Path) -> None:
    plain = replace(deep, rule=ImageRule())
    write_copies(plain, plain.names, Manifest(), tmp_path / "copies")
    assert not (tmp_path / "copies").exists()
    assert copies_bytes(plain, Manifest()) == 0
    assert copies_bytes(deep, inspect(deep).manifest) == 4 * 20 * 30


def test_percentiles_are_of_the_training_images_and_remembered(deep: Dataset) -> None:
    deep = replace(deep, rule=ImageRule(range="p2-p98"))
    manifest = inspect(deep).manifest
    resolved, remembered = resolve_range(deep, ["b", "a"], manifest)
    values = np.stack([predict.raw_bands(deep.image_path(name).read_bytes(), deep=True) for name in "ab"])
    wanted = tuple(int(np.percentile(values, share, method="inverted_cdf")) for share in (2, 98))
    assert resolved.rule.range == wanted
    for name in "ab":
        deep.image_path(name).unlink()
    assert resolve_range(deep, ["a", "b"], remembered)[0].rule.range == wanted
    with pytest.raises(FileNotFoundError):
        resolve_range(deep, ["a", "b", "c"], remembered)
