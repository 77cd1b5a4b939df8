"""Data that training sees as 8-bit copies, from the spec to a trial; and what a check remembers of many files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
from PIL import Image

from mmtuna.objectives import predict
from mmtuna.objectives.config import read_config, write_config
from mmtuna.objectives.data.phantom import write_phantom
from mmtuna.search.checking import data as data_module
from mmtuna.search.checking.data import Data, read_data
from mmtuna.search.trials.files import StudyFiles
from mmtuna.studies.spec import StudySpec
from tests.inputs.builders import InputSet, bands, tiff
from tests.search.conftest import mmtuna, status

WriteSpec = Callable[..., Path]


def read(spec: StudySpec) -> Data:
    """The spec's data, where the study knows nothing of it yet."""
    return read_data(spec.data, metric=spec.study.metric, known=spec.study.folder / "manifest.json")


@pytest.fixture
def satellite(tmp_path: Path) -> Path:
    """Images of four channels, of which near infrared is the last."""
    files = InputSet(tmp_path / "satellite")
    files.images(tiff(photometric=2, extra=(0,)), ".tif", bands(4))
    return files.root


def test_a_trial_trains_on_copies_that_its_config_names(write_spec: WriteSpec, satellite: Path) -> None:
    spec = write_spec(root=satellite, data='channels = [3, 0, 1]\nrange = "p1-p99"')
    done = mmtuna("run", spec, "--trials", 1)
    assert done.returncode == 0, done.stderr
    assert "note: [data] range: " in done.stdout + done.stderr
    study = status(spec)
    assert study["best"]["value"] > 0
    folder = StudySpec.load(spec).study.folder
    cfg = read_config(folder / "trials/00000/config.py")
    loaded = cfg["train_dataloader"]["dataset"]
    assert loaded["data_prefix"] == {"img_path": str(folder / "images"), "seg_map_path": "masks"}
    assert loaded["img_suffix"] == ".png"
    source = cfg["image_source"]
    low, high = source["range"]
    assert 0 < low < high < 255
    assert source == {"img_path": "images", "img_suffix": ".tif", "channels": [3, 0, 1], "range": [low, high]}
    for name in "abcdef":
        copy = predict.read_image(folder / f"images/{name}.png")
        assert (copy == predict.read_image(satellite / f"images/{name}.tif", source)).all()
    pictured = {path.name for path in (folder / "trials/00000/predictions").iterdir()}
    assert pictured == {"e.png", "f.png"}

    # The study goes on, by the figures that it remembers; with other channels it does not.
    assert mmtuna("check", spec).returncode == 0
    spec.write_text(spec.read_text().replace("[3, 0, 1]", "[0, 1, 2]"))
    refused = mmtuna("check", spec)
    assert refused.returncode == 2
    assert "data.channels lacks 3 and has gained 2; its trials would not compare" in refused.stderr


def test_a_config_of_another_machine_names_the_copies_of_this_one(write_spec: WriteSpec, tmp_path: Path) -> None:
    spec = StudySpec.load(write_spec(data='range = "p1-p99"'))
    prefix = {"img_path": "/x/images", "seg_map_path": "masks"}
    loader = {"dataset": {"data_root": "/x", "ann_file": "/x/train.txt", "data_prefix": prefix}}
    cfg = {f"{side}_dataloader": loader for side in ("train", "val", "test")}
    sources = {"image_source": {"img_path": "images", "img_suffix": ".tif"}, "mask_source": {"masks": "masks"}}
    write_config({**cfg, **sources}, tmp_path / "config.py")
    StudyFiles(spec.study, spec.data.root, optuna.create_study())._relocate(tmp_path)
    for side in ("train", "val", "test"):
        found = read_config(tmp_path / "config.py")[f"{side}_dataloader"]["dataset"]
        copies = {"img_path": str(spec.study.folder / "images"), "seg_map_path": str(spec.study.folder / "masks")}
        assert found["data_prefix"] == copies
        assert found["ann_file"] == str(spec.study.folder / "splits/train.txt")


def test_a_check_of_many_files_remembers_them(
    write_spec: WriteSpec, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMTUNA_CACHE", str(tmp_path / "cache"))
    spec = StudySpec.load(write_spec())
    assert read(spec).problems == []
    assert not (tmp_path / "cache").exists()  # few files are read again in a moment

    monkeypatch.setattr(data_module, "_REMEMBERED", 10)
    first = read(spec)
    reads: list[str] = []
    plain = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: reads.append(self.name) or plain(self))  # type: ignore[func-returns-value]
    assert read(spec) == first
    assert not [name for name in reads if name.endswith(".png")]

    (kept,) = (tmp_path / "cache/manifests").iterdir()
    kept.write_text("damaged")
    assert read(spec) == first
    assert len([name for name in reads if name.endswith(".png")]) == 2 * len(list((phantom / "images").iterdir()))


def test_data_check_tells_of_both_sides(satellite: Path, tmp_path: Path) -> None:
    files = InputSet(tmp_path / "grey")
    files.lists(train="a\nb\nc", val="d\ne")
    done = mmtuna("data", "check", files.root)
    assert done.returncode == 0, done.stderr
    assert "train: background 1464, fluid 216, ignored 0 pixels\n" in done.stdout
    files.masks(lambda mask: _zero(mask), only="de")
    done = mmtuna("data", "check", files.root, "--json")
    assert done.returncode == 2
    document = json.loads(done.stdout)
    assert document["pixels"]["val"] == {"background": 1120, "fluid": 0, "ignored": 0}
    assert [problem for problem in document["problems"] if problem.startswith("val: background is all that")]


def _zero(mask: np.ndarray) -> bytes:
    from tests.inputs.builders import saved

    return saved(Image.fromarray(mask * 0), "PNG")


def test_a_check_shows_images_that_judge_and_are_nearly_seen_ones(write_spec: WriteSpec, tmp_path: Path) -> None:
    root = tmp_path / "eyes"
    write_phantom(root, subjects=5, scans=4, size=64)
    spec = write_spec(root=root, data='subjects = "subjects.csv"\nsplit = "subject"\ntest = ["5"]')
    found = read(StudySpec.load(spec))
    assert found.split is not None
    assert not [note for note in found.notes if "both sides" in note]
    train, val, test = found.split.train, found.split.val, found.split.test
    for seen, image in ((train[0], val[0]), (val[1], test[2])):
        with Image.open(root / f"images/{seen}.png") as original:
            original.point(lambda value: 0.8 * value + 20).save(root / f"images/{image}.png")
    done = mmtuna("check", spec, "--quick")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "near-duplicates" in line]
    picture = StudySpec.load(spec).study.folder / "near-duplicates.png"
    assert [line.partition(" images are near-duplicates of ")[0] for line in lines] == [
        "note: split: 1 of 4 validation",
        "note: split: 1 of 4 test",
    ]
    assert f"training images, 1 as like as copies are ({val[0]} beside {train[0]} most of all: correlation " in lines[0]
    assert f"images that trials see, 1 as like as copies are ({test[2]} beside {val[1]} most of all" in lines[1]
    assert all(line.endswith(f"; pictures: {picture}") for line in lines)
    with Image.open(picture) as drawn:
        assert drawn.width > 2 * 64
        assert drawn.height > 2 * 64
