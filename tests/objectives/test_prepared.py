"""8-bit copies: made once, made anew where something changed, and the same from any number of processes at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmtuna.objectives import predict
from mmtuna.objectives.data.dataset import Dataset, ImageRule
from mmtuna.objectives.data.manifest import Manifest, inspect
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
