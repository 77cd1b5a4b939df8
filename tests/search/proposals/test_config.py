"""What init takes from an MMSegmentation config: layouts, lists, classes, and what it refuses in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmtuna.search.checking.data import Data, read_data
from mmtuna.search.commands.init import init
from mmtuna.search.proposals.config import propose_from_config
from mmtuna.search.proposals.proposal import Proposal
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import write_whole
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.template import write_commented
from tests.search.conftest import mmtuna
from tests.search.proposals.test_layouts import blocks, noise, save, write_config

APART = {side: (f"images/{side}", f"masks/{side}") for side in ("train", "val")}
SHARED = dict.fromkeys(("train", "val"), ("JPEGImages", "Labels"))
SUFFIXES = ", img_suffix='.png', seg_map_suffix='.png'"
FIVE = ", metainfo=dict(classes=('a', 'b', 'c', 'd', 'e'))"


@dataclass
class Layout:
    """A data set of four training and three validation images of five classes, and its config; fields may change."""

    folder: Path
    folders: dict[str, tuple[str, str]] = field(default_factory=lambda: dict(APART))
    kind: str = "BaseSegDataset"
    values: Any = range(5)
    more: str = SUFFIXES + FIVE
    filled: dict[str, Any] = field(default_factory=dict)
    edit: Callable[[str], str] = lambda text: text

    def propose(self, **options: Any) -> tuple[Proposal, Data]:
        """The proposal, and the data as the spec that is written of it reads them."""
        for side, count in (("train", 4), ("val", 3)):
            images, masks = self.folders[side]
            for i in range(count):
                save(self.folder / f"set/{images}/{side}{i}.png", noise(i))
                save(self.folder / f"set/{masks}/{side}{i}.png", blocks(i, self.values))
            write_whole(self.folder / f"set/{side}.txt", "".join(f"{side}{i}\n" for i in range(count)))
        settings = {"classes": 5, "more": self.more} | self.filled
        config = write_config(self.folder, self.kind, "set", self.folders.values(), **settings)
        config.write_text(self.edit(config.read_text()))
        proposal = propose_from_config(config, self.folder / "study", **options)
        tables = {name: dict(table) for name, table in proposal.tables.items()}
        path = self.folder / "study" / "study.toml"
        data = tables["data"]
        write_commented(path, data_root=data.pop("root"), classes=data.pop("classes"), preset=None, values=tables)
        for file, names in proposal.lists.items():
            write_whole(file, "".join(f"{name}\n" for name in names))
        spec = StudySpec.load(path)
        return proposal, read_data(spec.data, metric="mIoU", known=self.folder / "none.json")


def per_side(text: str, key: str) -> str:
    """The config with {side} in `key` filled in, first for training, then for validation."""
    for side in ("train", "val"):
        text = text.replace(key, key.replace("SIDE", side), 1)
    return text


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.chdir(tmp_path)
    return Layout(tmp_path)


def sizes(found: Data) -> tuple[int, int]:
    assert found.problems == []
    assert found.split is not None
    return len(found.split.train), len(found.split.val)


def test_lists_of_names_in_one_folder(layout: Layout) -> None:
    layout.folders = SHARED
    layout.more += ", ann_file='SIDE.txt'"
    layout.edit = lambda text: per_side(text, "SIDE.txt")
    proposal, found = layout.propose()
    assert sizes(found) == (4, 3)
    assert {key: proposal.tables["data"][key] for key in ("split", "train", "val")} == {
        "split": "lists",
        "train": "train.txt",
        "val": "val.txt",
    }
    assert proposal.lists == {}


def test_a_folder_a_side_with_images_and_masks_in_it(layout: Layout) -> None:
    layout.folders = {side: (f"{side}/images", f"{side}/masks") for side in ("train", "val")}
    proposal, found = layout.propose()
    assert sizes(found) == (4, 3)
    assert (proposal.tables["data"]["images"], proposal.tables["data"]["masks"]) == ("*/images", "*/masks")
    assert found.dataset is not None
    assert found.dataset.names[0] == "train/images/train0"
    assert found.dataset.mask_path("val/images/val1") == layout.folder / "set/val/masks/val1.png"


def test_a_list_within_the_folder_of_its_side_is_written_anew(layout: Layout) -> None:
    layout.more += ", ann_file='SIDE.txt'"

    def shorten(text: str) -> str:
        (layout.folder / "set/train.txt").write_text("train2\ntrain0\ntrain1\n")
        return per_side(text, "SIDE.txt")

    layout.edit = shorten
    proposal, found = layout.propose()
    assert sizes(found) == (3, 3)
    assert list(proposal.lists) == [layout.folder / f"study/splits/{side}.txt" for side in ("train", "val")]
    assert found.split is not None
    assert found.split.train == ("train/train2", "train/train0", "train/train1")


def with_test(
    layout: Layout, prefix: tuple[str, str], more: str = "", *, count: int = 2, values: Any = range(5)
) -> None:
    """A test_dataloader of its own on `prefix`, with two pairs there that are called test0 and test1."""
    images, masks = prefix
    for i in range(count):
        save(layout.folder / f"set/{images}/test{i}.png", noise(i))
        save(layout.folder / f"set/{masks}/test{i}.png", blocks(i, values))
    write_whole(layout.folder / "set/test.txt", "test0\ntest1\n")
    data = f"data_root=data_root, data_prefix=dict(img_path='{images}', seg_map_path='{masks}')"
    loader = (
        f"test_dataloader = dict(dataset=dict(type=dataset_type, {data}, pipeline=test_pipeline{layout.more}{more}))"
    )
    per_train_and_val = layout.edit
    layout.edit = lambda text: per_train_and_val(text).replace("test_dataloader = val_dataloader", loader)


def test_a_list_of_test_images_of_the_config_is_set_aside(layout: Layout) -> None:
    layout.folders = SHARED
    with_test(layout, SHARED["train"], ", ann_file='test.txt', test_mode=True")
    layout.more += ", ann_file='SIDE.txt'"
    lists = layout.edit
    layout.edit = lambda text: per_side(lists(text), "SIDE.txt")
    proposal, found = layout.propose()
    assert sizes(found) == (4, 3)
    assert proposal.tables["data"]["test"] == "test.txt"
    assert found.split is not None
    assert found.split.test == ("test0", "test1")
    assert "test: 2 images of the config's test_dataloader, which no trial sees ([data] test)" in proposal.said
    proposal = propose_from_config(layout.folder / "my_config.py", layout.folder / "other", given={"test": 0.2})
    assert not any("test_dataloader" in line for line in proposal.said)


@pytest.mark.parametrize("inside", [False, True])
def test_a_folder_of_test_images_of_the_config_is_set_aside(layout: Layout, inside: bool) -> None:
    places = ("{}/images", "{}/masks") if inside else ("images/{}", "masks/{}")
    layout.folders = {side: (places[0].format(side), places[1].format(side)) for side in ("train", "val")}
    with_test(layout, (places[0].format("test"), places[1].format("test")))
    proposal, found = layout.propose()
    assert sizes(found) == (4, 3)
    assert (proposal.tables["data"]["split"], proposal.tables["data"]["test"]) == ("folders", "test")
    assert found.split is not None
    assert len(found.split.test) == 2


def test_test_images_in_the_folder_of_another_side_make_lists_of_all(layout: Layout) -> None:
    layout.folders = {"train": APART["train"], "val": ("images/rest", "masks/rest")}
    with_test(layout, layout.folders["val"], ", ann_file='test.txt'")
    add_test, val = layout.edit, 'seg_map_path="masks/rest"),'
    layout.edit = lambda text: add_test(text).replace(val, f"{val} ann_file='val.txt',")
    proposal, found = layout.propose()
    assert sizes(found) == (4, 3)
    assert [path.name for path in proposal.lists] == ["train.txt", "val.txt", "test.txt"]
    assert found.split is not None
    assert found.split.test == ("rest/test0", "rest/test1")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"more": ", ann_file='gone.txt'"}, "test_dataloader: BaseSegDataset cannot read its data: Failed to load `an"),
        ({"more": ", ann_file='test.txt'", "count": 1}, "1 of its 2 images or their masks are not there (test/test1)"),
        ({"prefix": ("images/val", "masks/val"), "count": 0}, ""),
        ({"prefix": ("images", "masks")}, "7 of its 9 images train or validate too (train/train0, train/train1, "),
        (
            {"prefix": ("images/test", "other/test")},
            "its masks do not lie in masks by their images' names (test/test0)",
        ),
        ({"prefix": ("scans/test", "truth/test")}, "it has no images in {set}/images"),
        ({"values": [0]}, "its masks hold 0 alone"),
        ({"more": ", reduce_zero_label=True"}, "its reduce_zero_label is not that of training"),
    ],
)
def test_test_images_that_no_study_can_set_aside_are_told(layout: Layout, options: dict[str, Any], why: str) -> None:
    with_test(layout, **{"prefix": ("images/test", "masks/test"), **options})
    proposal, found = layout.propose()
    assert sizes(found) == (4, 3)
    assert "test" not in proposal.tables["data"]
    told = [line for line in proposal.said if line.startswith("test: ")]
    assert len(told) == bool(why)
    assert all(line.startswith("test: the config's test_dataloader is left out, ") for line in told)
    assert why.format(set=layout.folder / "set") in "".join(told)


def test_some_classes_of_a_data_set_class(layout: Layout) -> None:
    """The class's own indices become those of the config's classes, the others count nowhere: BaseSegDataset's map."""
    layout.kind, layout.values = "CityscapesDataset", [0, 8, 13, 255]
    layout.more = SUFFIXES + ", metainfo=dict(classes=('car', 'road'))"
    proposal, found = layout.propose()
    assert sizes(found) == (4, 3)
    data = proposal.tables["data"]
    assert (data["classes"], data["values"]) == (["car", "road"], [[13], [0]])
    assert set(data["ignored"]) == set(range(19)) - {0, 13}
    assert data["palette"] == [[0, 0, 142], [128, 64, 128]]
    assert found.manifest.records["masks/val/val0.png"].values == {0: 1024, 1: 1024, 255: 2048}


def test_an_ignore_value_of_a_head_is_said_and_not_kept(layout: Layout) -> None:
    layout.edit = lambda text: text.replace('type="FCNHead",', 'type="FCNHead", ignore_index=0,')
    proposal, found = layout.propose()
    assert sizes(found) == (4, 3)
    (said,) = [line for line in proposal.said if line.startswith("note")]
    assert said.startswith("note: the config's FCNHead ignores 0 (a), and the study 255 everywhere")


@pytest.mark.parametrize(
    ("edit", "refused"),
    [
        ({"folders": SHARED}, "7 images stand in training and in validation; give the two sides lists (ann_file)"),
        (
            {"folders": {"train": ("train", "train_labels"), "val": ("val", "val_labels")}},
            "a study cannot say the folders of its two sides, train, train_labels, val, val_labels",
        ),
        ({"more": SUFFIXES}, "neither its metainfo nor BaseSegDataset names classes; add metainfo"),
        ({"more": FIVE}, "set/images/train ends in .jpg; mend data_prefix or img_suffix"),
        (
            {"more": SUFFIXES + FIVE + ", ann_file='gone.txt'"},
            "train_dataloader: BaseSegDataset cannot read its data: Failed to load `ann_file`",
        ),
        ({"kind": "MyDataset"}, "is no class that mmengine, mmcv, mmseg registers"),
        ({"edit": lambda text: "import os\n" + text}, "holds code (Import); write plain values, or give --trust-code"),
        (
            {"edit": lambda text: text.replace('data_root = "set"', 'data_root = "elsewhere"')},
            "data_root = 'elsewhere' is no folder, seen from here, from the config's folder or one above; name it with",
        ),
        (
            {"edit": lambda text: text.replace("dataset=dict(\n", "dataset=dict(datasets=[1, 2]),\n    x=dict(\n")},
            "train_dataloader joins 2 data sets, and a study has one",
        ),
    ],
)
def test_what_a_spec_cannot_say_is_refused_in_one_line(layout: Layout, edit: dict[str, Any], refused: str) -> None:
    for key, value in edit.items():
        setattr(layout, key, value)
    with pytest.raises(InputError) as error:
        layout.propose()
    assert refused in str(error.value)
    assert "\n" not in str(error.value)


def test_a_config_of_the_model_zoo_by_name(tmp_path: Path) -> None:
    for i, (side, tag) in enumerate((("training", "train"), ("validation", "val"))):
        save(tmp_path / f"ade/images/{side}/ADE_{tag}_0.jpg", noise(i))
        save(tmp_path / f"ade/annotations/{side}/ADE_{tag}_0.png", blocks(i, range(151)))
    name = "pspnet_r50-d8_4xb4-80k_ade20k-512x512"
    proposal = propose_from_config(Path(name), tmp_path / "study", root=tmp_path / "ade")
    assert proposal.tables["model"] == {"base": name, "pretrained": "auto"}
    data = proposal.tables["data"]
    assert (data["train"], data["val"], data["reduce_zero_label"]) == ("training", "validation", True)
    assert (len(data["classes"]), data["image_suffix"]) == (150, ".jpg")
    assert proposal.tables["space"]["params"]["weight_decay"] == {"low": 5e-5, "high": 5e-3, "log": True}


def test_a_data_set_class_of_ones_own(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    (layout.folder / "my_sets.py").write_text(
        "from mmseg.datasets import BaseSegDataset\n"
        "from mmseg.registry import DATASETS\n"
        "@DATASETS.register_module()\n"
        "class MySet(BaseSegDataset):\n"
        "    METAINFO = dict(classes=tuple('vwxyz'))\n"
        "    def __init__(self, **options):\n"
        "        super().__init__(img_suffix='.png', seg_map_suffix='.png', **options)\n"
    )
    layout.kind, layout.more = "MySet", ""
    layout.edit = lambda text: 'custom_imports = dict(imports=["my_sets"])\n' + text
    with pytest.raises(InputError, match=r"imports code \(custom_imports\); give --trust-code to allow it"):
        layout.propose()
    with pytest.raises(InputError, match="custom_imports: Failed to import my_sets; put their folder on PYTHONPATH"):
        layout.propose(trust_code=True)
    monkeypatch.syspath_prepend(layout.folder)
    proposal, found = layout.propose(trust_code=True)
    assert sizes(found) == (4, 3)
    assert proposal.tables["data"]["classes"] == list("vwxyz")
    assert "palette" not in proposal.tables["data"]
    assert proposal.tables["model"]["trust_code"] is True


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        ({}, "init: give --data ROOT, the folder of the data, or --config CONFIG, an MMSegmentation config"),
        ({"config": Path("c.py"), "preset": "paper"}, "--preset is for --data: a config's space is written around"),
        ({"config": Path("c.py")}, "c.py: no such file; give a path, a model-zoo name, or 'unet'"),
        ({"config": Path("pspnet_r50")}, "[model] base = 'pspnet_r50' is no model-zoo config; did you mean pspnet_"),
        ({"changes": ["iterations=4"]}, "--set iterations=4: give TABLE.FIELD=VALUE, such as study.trials=50"),
        ({"changes": ["trian.iterations=4"]}, "--set trian.iterations=4: there is no table [trian]; use train"),
    ],
)
def test_wrong_calls_of_init_are_refused(tmp_path: Path, arguments: dict[str, Any], refused: str) -> None:
    options: dict[str, Any] = {"root": None, "classes": [], "preset": None, "config": None} | arguments
    with pytest.raises(InputError) as error:
        init(tmp_path / "study", **options)
    assert refused in str(error.value)
    assert not (tmp_path / "study").exists()


def test_fields_that_a_person_sets_are_checked_before_anything_is_written(layout: Layout) -> None:
    layout.propose()
    target = layout.folder / "other"
    for change, refused in (
        ("data.imags=x", "[data] imags is unknown; known: root, images"),
        ("train.iterations=many", "[train]: iterations = 'many' is not allowed"),
        ("study.metric=IoU.z", '[study] metric = "IoU.z" is unknown'),
    ):
        with pytest.raises(InputError) as error:
            init(target, layout.folder / "set", [], None, changes=[change, "data.split=random", "data.masks=masks"])
        assert refused in str(error.value)
        assert not target.exists()


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ("data.classes=a,b", """[data] classes takes a list: --set 'data.classes=["a", "b"]'"""),
        ("data.classes=[a, b]", """[data] classes takes a list: --set 'data.classes=["a", "b"]'"""),
        ("data.classes=[1, 2]", """[data] classes takes names, as text: --set 'data.classes=["1", "2"]'"""),
        ("data.values=0,1", "[data] values takes a list: --set 'data.values=[0, 1]'"),
        ("data.values=5", "[data] values takes a list: --set 'data.values=[5]'"),
        ("data.palette=1,2", "[data] palette takes a list: --set 'data.palette=[[0, 0, 0], "),
        ("space.drop=decoder", """[space] drop takes a list: --set 'space.drop=["decoder"]'"""),
        ("space.params=x", "[space] params takes a table: --set 'space.params={ NAME = "),
        ("study.enqueue=table2", """[study] enqueue takes a list: --set 'study.enqueue=["table2"]'"""),
        ("data.val_share=abc", "[data] val_share: Input should be a valid number"),
        ("data.images=3", "[data] images: Input should be a valid string"),
    ],
)
def test_a_field_that_is_set_to_another_kind_of_value_is_refused_with_the_way(
    tmp_path: Path, change: str, refused: str
) -> None:
    with pytest.raises(InputError) as error:
        init(tmp_path / "study", tmp_path / "none", [], None, changes=[change])
    assert str(error.value).startswith(f"--set {change}: {refused}")


@pytest.mark.parametrize(
    ("folders", "changes", "refused"),
    [
        (SHARED, ["test=20%"], '[data] test = "20%": {set}/20%: cannot be read (No such file or directory); give a fi'),
        (SHARED, ["test=20%"], 'one image name a line; a share is given as 0.2, subjects as ["3", "8"]'),
        (SHARED, ["train=trian"], '[data] train = "trian": {set}/trian: cannot be read'),
        (SHARED, ["train=train.txt", "val=gone.txt"], '[data] val = "gone.txt": {set}/gone.txt: cannot be read'),
        (APART, ["test=tset"], '[data] test = "tset": {set}/images/tset: no image ends in'),
        (APART, ["split=folders", "train=train", "val=vla/"], '[data] val = "vla/": {set}/images/vla: no image ends'),
    ],
)
def test_lists_and_folders_that_are_set_must_be_there(
    layout: Layout, folders: dict[str, tuple[str, str]], changes: list[str], refused: str
) -> None:
    layout.folders = folders
    if folders == SHARED:
        layout.more += ", ann_file='SIDE.txt'"
        layout.edit = lambda text: per_side(text, "SIDE.txt")
    layout.propose()
    for name in ("train.txt", "val.txt") if folders == APART else ():  # whose names are of the folder of their side
        (layout.folder / "set" / name).unlink()
    for name, root, base in (("data", layout.folder / "set", None), ("config", None, layout.folder / "my_config.py")):
        with pytest.raises(InputError) as error:
            init(layout.folder / name, root, [], None, base, changes=[f"data.{change}" for change in changes])
        assert refused.format(set=layout.folder / "set") in str(error.value)
        assert not (layout.folder / name).exists()


def test_a_list_of_the_default_name_must_be_there_too(layout: Layout) -> None:
    layout.propose()
    with pytest.raises(InputError, match=r'\[data\] train = "splits/train.txt": .*/splits/train.txt: cannot be read'):
        init(layout.folder / "other", layout.folder / "set", [], None, changes=["data.split=lists"])


def test_classes_that_are_set_are_the_names(layout: Layout) -> None:
    layout.more, layout.values = SUFFIXES, [0, 2]
    layout.propose(classes=["a", "b", "c"])
    config = layout.folder / "my_config.py"
    places = {"data": (layout.folder / "set", None), "config": (None, config)}
    for name, (root, base) in places.items():
        classes = 'data.classes=["x", "y"]'
        init(layout.folder / name, root, [], None, base, changes=[classes])
        assert StudySpec.load(layout.folder / name / "study.toml").data.classes == ("x", "y")
    with pytest.raises(InputError, match=r"class 1 \(y\) in none of the 7 masks"):
        init(layout.folder / "more", layout.folder / "set", [], None, changes=['data.classes=["x", "y", "z"]'])
    with pytest.raises(InputError, match=r"--classes and --set data.classes name other classes; give one of them"):
        init(layout.folder / "both", layout.folder / "set", ["x", "z"], None, changes=['data.classes=["x", "y"]'])
    layout.more += FIVE
    config.write_text(config.read_text().replace(SUFFIXES, SUFFIXES + FIVE))
    with pytest.raises(InputError, match=r"it has 5 classes, and --set data.classes names 2; name 5, or say what each"):
        init(layout.folder / "fewer", None, [], None, config, changes=['data.classes=["x", "y"]'])


def test_the_examples_of_set_are_taken_by_both_kinds_of_init(layout: Layout) -> None:
    layout.propose()
    with pytest.raises(InputError, match="such as ") as error:
        init(layout.folder / "other", layout.folder / "set", [], None, changes=["x"])
    shown = " ".join(re.sub("[^\x20-~]", " ", re.sub("\x1b\\[[0-9;]*m", "", mmtuna("init", "--help").stdout)).split())
    examples = {text.partition("such as ")[2].split()[0].rstrip(".") for text in (shown, str(error.value))}
    assert all(re.fullmatch(r"\w+\.\w+=\w+", example) for example in examples)
    aside = ["data.split=random", "data.masks=masks"]
    for preset in ("paper", "extended"):
        init(layout.folder / preset, layout.folder / "set", [], preset, changes=[*examples, *aside])
        StudySpec.load(layout.folder / preset / "study.toml").search_space()
    init(layout.folder / "config", None, [], None, layout.folder / "my_config.py", changes=[*examples])
    StudySpec.load(layout.folder / "config/study.toml").search_space()


def test_data_elsewhere_and_classes_by_hand(layout: Layout, tmp_path: Path) -> None:
    layout.more = SUFFIXES
    layout.edit = lambda text: text.replace('data_root = "set"', 'data_root = "elsewhere"')
    proposal, found = layout.propose(root=tmp_path / "set", classes=tuple("vwxyz"))
    assert sizes(found) == (4, 3)
    assert proposal.tables["data"]["classes"] == list("vwxyz")
    assert np.isclose(proposal.tables["space"]["params"]["lr_sgd"]["low"], 0.001)
