"""What init takes from a folder of images and masks, and what it refuses to guess."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mmtuna.search.checking.data import Data, read_data
from mmtuna.search.proposals.folder import propose_from_folder
from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.template import write_commented
from tests.search.proposals.test_layouts import blocks, noise, save

Array = np.ndarray[Any, Any]


def write(root: Path, image: str, mask: str, of: Callable[[int], Array] | None = None, count: int = 6) -> None:
    """Pairs of files by patterns with {i} and {side}: four to train, the others to validate."""
    for i in range(count):
        side = "train" if i < 4 else "val"
        save(root / image.format(i=i, side=side), noise(i))
        save(root / mask.format(i=i, side=side), (of or two_classes)(i))


def two_classes(i: int) -> Array:
    return blocks(i, [0, 1])


def coded(*values: int) -> Callable[[int], Array]:
    return lambda i: blocks(i, values)


def in_colours(i: int) -> Array:
    colours: Array = np.array([[0, 0, 0], [230, 159, 0], [0, 114, 178]], np.uint8)
    return np.asarray(colours[blocks(i, [0, 1, 2])])


def propose(folder: Path, given: Mapping[str, Any] | None = None, **options: Any) -> tuple[dict[str, Any], str, Data]:
    """[data] as proposed for folder/set, what was said, and the data as a spec with it reads them."""
    proposal = propose_from_folder(folder / "set", given=given, **options)
    data = proposal.tables["data"] | dict(given or {})
    path = folder / "study.toml"
    rest = {key: value for key, value in data.items() if key not in ("root", "classes")}
    write_commented(path, data_root=data["root"], classes=data["classes"], values={"data": rest})
    found = read_data(StudySpec.load(path).data, metric="mIoU", known=folder / "none.json")
    assert found.problems == []
    return data, "\n".join(proposal.said), found


PLACES: list[tuple[str, str, dict[str, str]]] = [
    ("images/{i}.png", "masks/{i}.png", {"images": "images", "masks": "masks", "split": "random"}),
    ("photos/{i}.jpg", "truth/{i}.png", {"images": "photos", "masks": "truth", "image_suffix": ".jpg"}),
    ("b/{i}.png", "a/{i}.png", {"images": "b", "masks": "a"}),
    ("all/{i}.png", "all/{i}_mask.png", {"images": "all", "masks": "all", "mask_suffix": "_mask.png"}),
    ("{i}.jpg", "{i}.png", {"images": ".", "masks": ".", "image_suffix": ".jpg", "mask_suffix": ".png"}),
    ("x/{i}_image.png", "x/{i}_label.png", {"image_suffix": "_image.png", "mask_suffix": "_label.png"}),
    ("images/{side}/{i}.png", "masks/{side}/{i}.png", {"images": "images", "split": "folders", "val": "val"}),
    ("{side}/images/{i}.png", "{side}/masks/{i}.png", {"images": "*/images", "masks": "*/masks", "split": "folders"}),
    ("raw/{side}/img/{i}.png", "raw/{side}/gt/{i}.png", {"images": "raw/*/img", "masks": "raw/*/gt"}),
    ("deep/data/images/{i}.png", "deep/data/masks/{i}.png", {"images": "deep/data/images"}),
    ("scans/p{i}/ct/s.png", "scans/p{i}/seg/s.png", {"images": "scans/*/ct", "masks": "scans/*/seg"}),
]


@pytest.mark.parametrize(("image", "mask", "fields"), PLACES)
def test_images_and_masks_are_found_by_pairing_names(
    tmp_path: Path, image: str, mask: str, fields: dict[str, str]
) -> None:
    write(tmp_path / "set", image, mask)
    data, said, found = propose(tmp_path)
    assert {key: data[key] for key in fields} == fields
    assert found.split is not None
    assert len(found.split.train) + len(found.split.val) == 6
    assert data["split"] != "folders" or (len(found.split.train), len(found.split.val)) == (4, 2)
    assert said.startswith("data: 6 pairs of one name, images in ")


CODES: list[tuple[Callable[[int], Array], dict[str, Any], set[int]]] = [
    (coded(0, 1), {"classes": ["background", "foreground"]}, {0, 1}),
    (coded(0, 255), {"classes": ["background", "foreground"], "values": [0, 255]}, {0, 1}),
    (coded(0, 1, 2, 255), {"classes": ["background", "class 1", "class 2"]}, {0, 1, 2, 255}),
    (coded(1, 2, 3), {"classes": ["class 1", "class 2", "class 3"], "reduce_zero_label": True}, {0, 1, 2}),
    (coded(0, 128), {"classes": ["background", "foreground"], "values": [0, 128]}, {0, 1}),
    (coded(10, 20, 30), {"classes": ["class 10", "class 20", "class 30"], "values": [10, 20, 30]}, {0, 1, 2}),
    (
        in_colours,
        {"classes": ["background", "#0072b2", "#e69f00"], "palette": [[0, 0, 0], [0, 114, 178], [230, 159, 0]]},
        {0, 1, 2},
    ),
]


@pytest.mark.parametrize(("of", "fields", "values"), CODES)
def test_classes_are_what_the_masks_hold(
    tmp_path: Path, of: Callable[[int], Array], fields: dict[str, Any], values: set[int]
) -> None:
    write(tmp_path / "set", "images/{i}.png", "masks/{i}.png", of)
    data, _, found = propose(tmp_path)
    assert {key: data[key] for key in fields} == fields
    assert set(found.manifest.records["masks/0.png"].values or {}) == values


def test_masks_with_a_palette_are_read_by_their_indices(tmp_path: Path) -> None:
    write(tmp_path / "set", "images/{i}.png", "masks/{i}.png")
    for i in range(6):
        image = Image.fromarray(blocks(i, [0, 1, 2])).convert("P")
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        image.save(tmp_path / f"set/masks/{i}.png")
    data, _, found = propose(tmp_path)
    assert data["classes"] == ["background", "class 1", "class 2"]
    assert set(found.manifest.records["masks/0.png"].values or {}) == {0, 1, 2}
    (tmp_path / "study.toml").unlink()
    data, _, found = propose(tmp_path, {"values": ["#000000", ["#FF0000", "#00ff00"]]})
    assert data["classes"] == ["background", "foreground"]
    assert set(found.manifest.records["masks/0.png"].values or {}) == {0, 1}


def test_masks_whose_palettes_differ_are_read_by_their_colours(tmp_path: Path) -> None:
    """As writers of pictures make them, who give the first colour that they meet the first index."""
    write(tmp_path / "set", "images/{i}.png", "masks/{i}.png")
    for i in range(6):
        image = Image.fromarray(blocks(i, [0, 1]) ^ (i % 2)).convert("P")
        image.putpalette([0, 0, 0, 255, 0, 0] if i % 2 == 0 else [255, 0, 0, 0, 0, 0])
        image.save(tmp_path / f"set/masks/{i}.png")
    data, said, found = propose(tmp_path)
    assert (data["classes"], data["values"]) == (["background", "foreground"], ["#000000", "#ff0000"])
    assert "the masks' palettes differ from file to file, so their colours count" in said
    assert all(
        found.manifest.records[f"masks/{i}.png"].values == {0: int((blocks(i, [0, 1]) == 0).sum()), 1: 2048}
        for i in range(6)
    )


def black_and_white(root: Path, grey: int = 255) -> None:
    """RGB masks of black and white but for two: one grey, one of a bit a pixel."""
    write(root, "images/{i}.png", "masks/{i}.png", lambda i: np.stack([blocks(i, [0, 255])] * 3, axis=-1))
    save(root / "masks/1.png", blocks(1, [0, grey]))
    Image.fromarray(blocks(2, [0, 255])).convert("1").save(root / "masks/2.png")


def test_grey_masks_among_colours_are_read_by_their_colours(tmp_path: Path) -> None:
    black_and_white(tmp_path / "set")
    data, said, found = propose(tmp_path)
    assert (data["classes"], data["values"]) == (["background", "foreground"], ["#000000", "#ffffff"])
    assert "4 of 6 masks are RGB, so the colours of the others count too (masks/1.png, masks/2.png)" in said
    assert all(found.manifest.records[f"masks/{i}.png"].values == {0: 2048, 1: 2048} for i in range(6))


def test_names_of_classes_come_from_a_person_or_a_file(tmp_path: Path) -> None:
    write(tmp_path / "set", "images/{i}.png", "masks/{i}.png", coded(0, 1, 2, 3))
    assert propose(tmp_path, classes=["a", "b", "c"])[0]["reduce_zero_label"] is True
    (tmp_path / "study.toml").unlink()
    (tmp_path / "set/classes.txt").write_text("sky\nroad\ncar\nman\n")
    data, said, _ = propose(tmp_path)
    assert data["classes"] == ["sky", "road", "car", "man"]
    assert "classes: their names are those in classes.txt" in said
    assert "0 is taken as a class, where it means unlabelled: --set data.reduce_zero_label=true" in said


def test_remarks_and_colours_in_a_list_of_classes(tmp_path: Path) -> None:
    write(tmp_path / "set", "images/{i}.png", "masks/{i}.png", coded(0, 1, 2))
    (tmp_path / "set/Classes.txt").write_text("# of the clinic\n\nbackground\n  # fluids\n#e69f00\nlesion\n")
    data, said, _ = propose(tmp_path)
    assert data["classes"] == ["background", "#e69f00", "lesion"]
    assert "classes: their names are those in Classes.txt" in said


@pytest.mark.parametrize(
    ("of", "names", "given", "refused"),
    [
        (coded(0, 1), "a\nb\nc", {}, "class 2 (c) in none of the 6 masks (classes.txt names 3); name only those that"),
        (coded(0, 2), "a\nb\nc\nd", {}, "class 1 (b), 3 (d) in none of the 6 masks (classes.txt names 4); name only"),
        (coded(0, 1), "a\nb\nc", {"values": [0, 1, [2, 3]]}, "class 2 (c) in none of the 6 masks"),
        (coded(0, 1, 2), "a\nb\nc", {"reduce_zero_label": True}, "class 2 (c) in none of the 6 masks"),
        (coded(0, 2), "", {"ignore_index": 254}, "class 1 (class 1) in none of the 6 masks; name only those"),
    ],
)
def test_classes_that_no_mask_holds_are_refused_as_check_refuses_them(
    tmp_path: Path, of: Callable[[int], Array], names: str, given: dict[str, Any], refused: str
) -> None:
    write(tmp_path, "images/{i}.png", "masks/{i}.png", of)
    (tmp_path / "classes.txt").write_text(names)
    with pytest.raises(InputError) as error:
        propose_from_folder(tmp_path, given=given)
    assert refused in str(error.value)


def test_classes_that_the_masks_read_lack_are_told_where_not_all_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmtuna.search.proposals.classes._READ", 3)
    write(tmp_path / "set", "images/{i}.png", "masks/{i}.png", lambda i: blocks(i, range(3 if i == 3 else 2)))
    data, said, _ = propose(tmp_path, classes=["a", "b", "c"])
    assert data["classes"] == ["a", "b", "c"]
    assert "classes: 2 (c) in none of the 3 masks that were read; check reads all" in said


def test_what_a_person_settled_stays(tmp_path: Path) -> None:
    write(tmp_path / "set", "images/{side}/{i}.png", "masks/{side}/{i}.png", coded(0, 1, 2))
    given = {"reduce_zero_label": True, "split": "random"}
    data, said, _ = propose(tmp_path, given)
    assert (data["classes"], data["split"]) == (["class 1", "class 2"], "random")
    assert "split" not in said


def test_a_slash_at_the_end_of_a_folder_is_nothing(tmp_path: Path) -> None:
    for side in ("train", "val", "test"):
        write(tmp_path / "set", f"images/{side}/{{i}}.png", f"masks/{side}/{{i}}.png")
    folders = {"split": "folders", "train": "train/", "val": "./val", "test": "test/"}
    data, said, found = propose(tmp_path, {**folders, "images": "images/", "masks": "./masks"})
    assert (data["images"], data["train"]) == ("images/", "train/")
    assert "18 pairs of one name, images in images (*.png), masks in masks (*.png)" in said
    assert found.split is not None
    assert (found.split.train[0], found.split.val[0], found.split.test[0]) == ("train/0", "val/0", "test/0")


def test_lists_come_before_folders_and_subjects(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write(root, "JPEGImages/{i}.jpg", "SegmentationClass/{i}.png")
    save(root / "JPEGImages/7.jpg", noise(7))  # without a mask, as most of VOC's
    for side, names in (("train", "012"), ("val", "345")):
        path = root / f"ImageSets/Segmentation/{side}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names))
    (root / "subjects.csv").write_text("image,subject\n" + "".join(f"{i},{i}\n" for i in (0, 1, 2, 3, 4, 5, 7)))
    data, _, found = propose(tmp_path)
    assert (data["split"], data["train"]) == ("lists", "ImageSets/Segmentation/train.txt")
    assert data["subjects"] == "subjects.csv"
    assert "1 of 7 images have no mask and stand in no list: left out" in found.notes


def listed(root: Path, **lists: str | bytes) -> None:
    """Six pairs, and lists in the root by their side."""
    write(root, "images/{i}.png", "masks/{i}.png")
    for side, text in lists.items():
        (root / f"{side}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())


WRONG_LISTS: list[tuple[dict[str, str | bytes], str]] = [
    ({"train": "0.png\n1.png", "val": "4\n5"}, "train.txt: 0.png, 1.png not in "),
    ({"train": "0\n1", "val": "images/4.png"}, "without .png, such as 4 for images/4.png"),
    ({"train": "0\n1", "val": "images/4.png masks/4.png"}, "such as 4 for images/4.png masks/4.png"),
    ({"train": "0\n1\n77", "val": "4"}, "train.txt: 77 not in "),
    ({"train": "0\n1", "val": ""}, "val.txt: lists no image; write one name a line"),
    ({"train": "0\n1", "val": "4\n5".encode("utf-16")}, "val.txt: is not UTF-8 text; save it as UTF-8"),
    ({"train": "0\n1", "val": "1\n5"}, "1 in both train and val"),
    (
        {"train": "0\n1"},
        "there is no val.txt beside it; write one, or name another list with --set data.train=train.txt --set data.v",
    ),
    ({"val": "0\n1", "test": "2"}, "val.txt: there is no train.txt beside it"),
]


@pytest.mark.parametrize("subjects", [False, True])
@pytest.mark.parametrize(("lists", "refused"), WRONG_LISTS)
def test_lists_that_cannot_be_read_are_refused_and_can_be_left_aside(
    tmp_path: Path, lists: dict[str, str | bytes], refused: str, subjects: bool
) -> None:
    root = tmp_path / "set"
    listed(root, **lists)
    if subjects:
        (root / "subjects.csv").write_text("image,subject\n" + "".join(f"{i},{i}\n" for i in range(6)))
    with pytest.raises(InputError) as error:
        propose_from_folder(root)
    assert refused in str(error.value)
    assert str(error.value).endswith("; or leave the lists aside with --set data.split=random")
    _, _, found = propose(tmp_path, {"split": "random"})
    assert found.split is not None
    assert found.split.source.startswith("by image")


def test_another_list_can_be_named_where_one_lacks(tmp_path: Path) -> None:
    listed(tmp_path / "set", train="0\n1", valid="4\n5")
    _, _, found = propose(tmp_path, {"train": "train.txt", "val": "valid.txt"})
    assert found.split is not None
    assert (found.split.train, found.split.val) == (("0", "1"), ("4", "5"))


def test_folders_come_before_lists_that_cannot_be_read_and_it_is_said(tmp_path: Path) -> None:
    write(tmp_path / "set", "images/{side}/{i}.png", "masks/{side}/{i}.png")
    (tmp_path / "set/train.txt").write_text("0\n1\n")
    data, said, _ = propose(tmp_path)
    assert data["split"] == "folders"
    assert f"split: lists are left aside, {tmp_path}/set/train.txt: there is no val.txt beside it" in said


def test_a_list_of_test_images_is_set_aside(tmp_path: Path) -> None:
    listed(tmp_path / "set", train="0\n1", val="2\n3", test="4\n5")
    data, said, found = propose(tmp_path)
    assert data["test"] == "test.txt"
    assert "test: list test.txt (2 images), which no trial sees ([data] test)" in said
    assert found.split is not None
    assert found.split.test == ("4", "5")


def test_lists_and_subjects_are_found_however_they_are_spelt(tmp_path: Path) -> None:
    listed(tmp_path / "set", Train="0\n1", VAL="2\n3", Test="4\n5")
    data, _, found = propose(tmp_path)
    assert (data["split"], data["train"], data["val"], data["test"]) == ("lists", "Train.txt", "VAL.txt", "Test.txt")
    assert found.split is not None
    assert (found.split.train, found.split.val, found.split.test) == (("0", "1"), ("2", "3"), ("4", "5"))
    (tmp_path / "set/Subjects.csv").write_text("image,subject\n" + "".join(f"{i},{i % 3}\n" for i in range(6)))
    (tmp_path / "set/Train.txt").unlink()
    with pytest.raises(InputError, match=r"VAL.txt: there is no train.txt beside it; .* --set data.val=VAL.txt"):
        propose_from_folder(tmp_path / "set")
    (tmp_path / "set/VAL.txt").unlink()
    (tmp_path / "study.toml").unlink()
    data, said, _ = propose(tmp_path)
    assert (data["split"], data["subjects"]) == ("subject", "Subjects.csv")
    assert "split: by subject, as Subjects.csv names them; a fifth validates" in said


def test_subjects_that_a_person_names_are_taken_and_must_be_there(tmp_path: Path) -> None:
    listed(tmp_path / "set")
    (tmp_path / "set/who.csv").write_text("image,subject\n" + "".join(f"{i},{i % 3}\n" for i in range(6)))
    data, said, _ = propose(tmp_path, {"subjects": "who.csv"})
    assert data["split"] == "subject"
    assert "split: by subject, as who.csv names them" in said
    with pytest.raises(InputError, match=r"gone.csv: cannot be read"):
        propose_from_folder(tmp_path / "set", given={"subjects": "gone.csv", "split": "random"})


@pytest.mark.parametrize(
    ("test", "why"), [("3\n4", "3 in both val and test"), ("8", "8 without a mask"), ("", "lists no image")]
)
def test_a_list_of_test_images_that_does_not_fit_is_told(tmp_path: Path, test: str, why: str) -> None:
    listed(tmp_path / "set", train="0\n1", val="2\n3", test=test)
    save(tmp_path / "set/images/8.png", noise(8))
    data, said, _ = propose(tmp_path)
    assert "test" not in data
    assert "test: test.txt is left out, " in said
    assert why in said
    assert "[data] test takes such a list" in said


@pytest.mark.parametrize(
    ("image", "mask"),
    [("images/{side}/{i}.png", "masks/{side}/{i}.png"), ("{side}/images/{i}.png", "{side}/masks/{i}.png")],
)
def test_a_folder_of_test_images_is_set_aside(tmp_path: Path, image: str, mask: str) -> None:
    root = tmp_path / "set"
    write(root, image, mask)
    for i, side in enumerate(("test", "test", "more")):
        save(root / image.format(i=i, side=side), noise(i))
        save(root / mask.format(i=i, side=side), two_classes(i))
    data, said, found = propose(tmp_path)
    assert data["test"] == "test"
    assert "test: folder test (2 images), which no trial sees ([data] test)" in said
    assert "split: images in more are on no side" in said
    assert found.split is not None
    assert (len(found.split.train), len(found.split.val), len(found.split.test)) == (4, 2, 2)
    said = "\n".join(propose_from_folder(root, given={"test": ["3"]}).said)
    assert "split: images in more, test are on no side" in said


@pytest.mark.parametrize("by_list", [False, True])
def test_test_images_without_truth_are_left_out_and_told(tmp_path: Path, by_list: bool) -> None:
    root = tmp_path / "set"
    if by_list:
        listed(root, train="0\n1", val="2\n3", test="4")
        save(root / "masks/4.png", coded(0)(4))
    else:
        write(root, "images/{side}/{i}.png", "masks/{side}/{i}.png")
        save(root / "images/test/4.png", noise(4))
        save(root / "masks/test/4.png", coded(0)(4))
        save(root / "images/more/5.png", noise(5))
    data, said, _ = propose(tmp_path)
    assert "test" not in data
    assert f"test: test{'.txt' * by_list} is left out, its masks hold 0 alone; [data] test takes others" in said
    assert "which no trial sees" not in said
    assert by_list or "split: images in more have no masks and are on no side" in said


@pytest.mark.parametrize("subjects", [False, True])
def test_chance_splits_so_that_both_sides_hold_every_class(tmp_path: Path, subjects: bool) -> None:
    """Two of ten masks hold class 2, and by seed 0 both train."""
    root = tmp_path / "set"
    root.mkdir()
    if subjects:
        (root / "subjects.csv").write_text("image,subject\n" + "".join(f"{i},{i}\n" for i in range(10)))
    write(root, "images/{i}.png", "masks/{i}.png", count=10)
    data, _, found = propose(tmp_path)
    assert "split_seed" not in data
    assert found.split is not None
    rare = [int(name) for name in found.split.train[:2]]

    write(root, "images/{i}.png", "masks/{i}.png", lambda i: blocks(i, range(3 if i in rare else 2)), count=10)
    (tmp_path / "study.toml").unlink()
    data, said, found = propose(tmp_path)
    assert found.split is not None
    assert len(set(map(str, rare)) & set(found.split.train)) == 1
    assert f"split: split_seed = {data['split_seed']}, by which both sides hold every class" in said


def test_subjects_that_do_not_fit_are_left_out_where_the_sides_are_settled(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write(root, "images/{side}/{i}.png", "masks/{side}/{i}.png")
    (root / "subjects.csv").write_text("image,subject\n" + "".join(f"{i},{i}\n" for i in range(6)))
    data, said, _ = propose(tmp_path)
    assert "subjects" not in data
    assert f"subjects: left out, {root}/subjects.csv: no subject for 6 of 6 images (train/0, train/1, train/2)" in said
    with pytest.raises(InputError, match="no subject for 6 of 6 images"):
        propose_from_folder(root, given={"split": "subject"})


def test_deep_images_get_a_range(tmp_path: Path) -> None:
    write(tmp_path / "set", "images/{i}.png", "masks/{i}.png")
    for i in range(6):
        values = np.random.default_rng(i).integers(0, 4096, (64, 64)).astype(np.uint16)
        save(tmp_path / f"set/images/{i}.png", values)
    data, said, _ = propose(tmp_path)
    assert data["range"] == "p0.5-p99.5"
    assert "range: the images hold 16 bits a channel, " in said


def test_pictures_of_masks_are_passed_by(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write(root, "leftImg8bit/{side}/{i}_leftImg8bit.png", "gtFine/{side}/{i}_gtFine_labelTrainIds.png", coded(0, 1, 2))
    write(root, "leftImg8bit/{side}/{i}_leftImg8bit.png", "gtFine/{side}/{i}_gtFine_labelIds.png", coded(7, 8, 9))
    write(root, "leftImg8bit/{side}/{i}_leftImg8bit.png", "gtFine/{side}/{i}_gtFine_color.png", in_colours)
    data, _, _ = propose(tmp_path)
    assert data["mask_suffix"] == "_gtFine_labelTrainIds.png"


def disc(i: int, value: int = 240) -> Array:
    down, across = np.mgrid[:128, :128]
    return np.asarray(((down - 60 - 2 * i) ** 2 + (across - 66) ** 2 < 36**2 - 5 * i) * value, np.uint8)


def halved(i: int) -> Array:
    return np.asarray(Image.fromarray(disc(i)).resize((64, 64), Image.Resampling.BOX))


def blurred(i: int) -> Array:
    return np.asarray(Image.fromarray(disc(i, 255)).filter(ImageFilter.GaussianBlur(2)))


def noisy(i: int) -> Array:
    return np.asarray(disc(i, 1) * np.random.default_rng(i).normal(200, 15, (128, 128)).clip(1, 255), np.uint8)


def compressed(i: int) -> Array:
    file = io.BytesIO()
    Image.fromarray(disc(i, 255)).save(file, "JPEG", quality=85)
    return np.asarray(Image.open(file))


def blurred_colours(i: int) -> Array:
    return np.stack([blurred(i), blurred(i) // 2, 0 * blurred(i)], axis=2)


@pytest.mark.parametrize("of", [halved, blurred, noisy, compressed, blurred_colours])
def test_smoothed_masks_are_refused_in_a_short_line(tmp_path: Path, of: Callable[[int], Array]) -> None:
    write(tmp_path / "set", "images/{i}.png", "masks/{i}.png", of)
    with pytest.raises(InputError, match=r"look interpolated; threshold them, or resize by nearest neigh") as error:
        propose_from_folder(tmp_path / "set")
    assert len(str(error.value).removeprefix(str(tmp_path))) < 300


def lines_and_layers(i: int) -> Array:
    """Ordered layers two pixels high, a diagonal line of one pixel, and a ring around a ring."""
    mask = np.zeros((64, 64), np.uint8)
    mask[8:24] = np.repeat(np.arange(20, 180, 20, dtype=np.uint8), 2)[:, None]
    mask[range(30, 60), range(30, 60)] = 200
    mask[40:60, 4 + i : 24] = 220
    mask[43:57, 7 + i : 21] = 240
    return mask


def scattered(i: int) -> Array:
    """Classes of which most are rare and small, as of ADE20K."""
    mask = np.asarray(blocks(i, range(0, 150, 3)))
    mask[:32] = 0
    return mask


@pytest.mark.parametrize("of", [coded(0, 50, 100, 150, 200), coded(0, 128, 200), lines_and_layers, scattered])
def test_classes_in_areas_and_lines_are_no_smoothing(tmp_path: Path, of: Callable[[int], Array]) -> None:
    write(tmp_path / "set", "images/{i}.png", "masks/{i}.png", of)
    data, _, _ = propose(tmp_path)
    assert data["values"] == sorted({int(value) for i in range(6) for value in np.unique(of(i))})


def test_smoothed_masks_are_classes_where_a_person_says_so(tmp_path: Path) -> None:
    write(tmp_path / "set", "images/{i}.png", "masks/{i}.png", halved)
    values = [0, 60, 120, 180, 240]
    assert len(propose(tmp_path, {"values": values})[0]["classes"]) == 5
    (tmp_path / "study.toml").unlink()
    assert propose(tmp_path, classes=list("abcde"))[0]["values"] == values


def test_a_line_names_eight_values_at_most(tmp_path: Path) -> None:
    write(tmp_path / "set", "images/{i}.png", "masks/{i}.png", coded(*range(0, 256, 5)))
    with pytest.raises(InputError, match="255 may be a class or ignored") as error:
        propose_from_folder(tmp_path / "set")
    assert str(error.value).endswith("'data.values=[0, 5, ..., 255]' or --set 'data.values=[0, 5, ..., 250]'")


@pytest.mark.parametrize(
    ("gone", "line"),
    [
        ("masks/3.png", "data: 1 images have no mask (images/3.png); check refuses them"),
        ("images/3.png", "data: 1 masks have no image (masks/3.png); check refuses them"),
    ],
)
def test_what_has_no_partner_is_told(tmp_path: Path, gone: str, line: str) -> None:
    write(tmp_path, "images/{i}.png", "masks/{i}.png")
    assert not any("check refuses" in said for said in propose_from_folder(tmp_path).said)
    (tmp_path / gone).unlink()
    assert line in propose_from_folder(tmp_path).said


def a_folder_a_side(root: Path, val: int = 6, first: int = 6) -> None:
    """train_images, train_masks, val_images and val_masks, whose names differ unless `first` is 0."""
    write(root, "train_images/{i}.png", "train_masks/{i}.png")
    for i in range(first, first + val):
        save(root / f"val_images/{i}.png", noise(i))
        save(root / f"val_masks/{i}.png", two_classes(i))


BY_SIDE = (
    "images lie in several folders, each with masks of its own: train_images with train_masks (6 pairs), "
    "val_images with val_masks ({val} pairs); a data set has one folder of each, so lay all out as images/train, "
    "images/val, masks/train, masks/val (links do), or take one alone with --set data.images=train_images --set "
    "data.masks=train_masks, or --set data.images=val_images"
)


@pytest.mark.parametrize("first", [0, 6])
@pytest.mark.parametrize("val", [4, 6])
def test_a_folder_of_images_and_one_of_masks_a_side_is_refused_with_the_way(
    tmp_path: Path, val: int, first: int
) -> None:
    root = tmp_path / "set"
    a_folder_a_side(root, val, first)
    with pytest.raises(InputError) as error:
        propose_from_folder(root)
    assert BY_SIDE.format(val=val) in str(error.value)
    _, said, _ = propose(tmp_path, {"images": "train_images", "masks": "train_masks"})
    assert (
        f"data: {val} pairs are left out, images in val_images (*.png), masks in val_masks (*.png); to take them too "
        "lay all out as images/train, images/val, masks/train, masks/val (links do)"
    ) in said
    for kind in ("images", "masks"):
        (root / kind).mkdir()
        for side in ("train", "val"):
            (root / f"{side}_{kind}").rename(root / kind / side)
    (tmp_path / "study.toml").unlink()
    data, said, _ = propose(tmp_path)
    assert data["split"] == "folders"
    assert "left out" not in said


def test_pairs_in_further_folders_are_told_and_pictures_of_the_same_masks_are_not(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write(root, "images/{i}.png", "masks/{i}.png")
    write(root, "overlays/{i}.png", "colours/{i}.png", in_colours)
    write(root, "more/pictures/x{i}.jpg", "more/masks/x{i}.png", count=3)
    _, said, _ = propose(tmp_path)
    (line,) = [line for line in said.splitlines() if "left out" in line]
    assert line == (
        "data: 3 pairs are left out, images in more/pictures (*.jpg), masks in more/masks (*.png); to take them too "
        "lay all out as images/a, images/b, masks/a, masks/b (links do), with one suffix for images and one for masks"
    )


def test_only_the_folders_of_the_sides_need_partners(tmp_path: Path) -> None:
    write(tmp_path, "images/train/{i}.png", "masks/train/{i}.png")
    write(tmp_path, "images/val/{i}.png", "masks/val/{i}.png")
    for spare in ("images/more/0.png", "masks/other/0.png"):
        (tmp_path / spare).parent.mkdir()
        shutil.copy(tmp_path / "images/val/0.png", tmp_path / spare)
    assert not any("check refuses" in said for said in propose_from_folder(tmp_path).said)
    (tmp_path / "masks/val/0.png").unlink()
    assert "data: 1 images have no mask (images/val/0.png); check refuses them" in propose_from_folder(tmp_path).said


def two_mask_folders(root: Path) -> None:
    write(root, "images/{i}.png", "reader_a/{i}.png")
    write(root, "images/{i}.png", "reader_b/{i}.png")


def both_codings(root: Path) -> None:
    write(root, "images/{i}.png", "masks/{i}.png")
    save(root / "masks/0.png", blocks(0, [0, 255]))


def spoilt(data: bytes) -> Callable[[Path], object]:
    def build(root: Path) -> None:
        write(root, "images/{i}.png", "masks/{i}.png")
        (root / "masks/3.png").write_bytes(data)

    return build


def two_suffixes(root: Path) -> None:
    write(root, "images/{i}.png", "masks/{i}.png")
    for name in range(0, 6, 2):
        (root / f"images/{name}.png").rename(root / f"images/{name}.jpg")


REFUSED: list[tuple[Callable[[Path], object], dict[str, Any], str]] = [
    (
        two_mask_folders,
        {},
        "6 images have several masks each; say which with --set data.masks=reader_a, or --set data.masks=reader_b",
    ),
    (
        two_suffixes,
        {},
        "images end in .jpg and .png, 3 each, and a data set has one; save all as one, or say which with",
    ),
    (
        lambda root: (write(root, "images/{i}.png", "masks/{i}.png"), write(root, "image/{i}.png", "masks/{i}.png")),
        {},
        "6 masks have several images each; say which with --set data.images=image, or --set data.images=images",
    ),
    (
        lambda root: write(root, "images/{i}.png", "masks/m{i}.png"),
        {},
        "none of its 12 image files has a mask of the same name beside it or in another folder; name both the same",
    ),
    (both_codings, {}, "1 of them 0 and 255 alone (masks/0.png); say what 255 is there with --set 'data.values=[0, [1"),
    (
        lambda root: write(root, "images/{i}.png", "masks/{i}.png", coded(0, 128, 255)),
        {},
        "a class or ignored; say which with --set 'data.values=[0, 128, 255]' or --set 'data.values=[0, 128]'",
    ),
    (
        lambda root: write(root, "images/{i}.png", "masks/{i}.png", coded(0, 1, 2)),
        {"classes": ["one"]},
        "6 masks hold 0, 1, 2, and 1 classes are named; name 3, or 2 to ignore 0",
    ),
    (
        lambda root: write(root, "images/{side}/{i}.png", "masks/{side}/{i}.png", count=4),
        {},
        "folders train, of which one must train and one validate; say which with --set data.split=folders",
    ),
    (
        lambda root: write(root, "images/{i}.png", "masks/{i}.jpg"),
        {},
        "masks/0.jpg: is JPEG, whose compression changes values; save masks as PNG",
    ),
    (lambda root: write(root, "a/{i}.png", "b/{i}.png", coded(0)), {}, "there are no two classes to tell apart"),
    (
        lambda root: black_and_white(root, grey=1),
        {},
        "1 masks hold the value 1 (masks/1.png) where others hold colours; say which colour that is with --set 'data.v",
    ),
    (spoilt(b""), {}, "masks/3.png: is empty (zero bytes); copy the file again"),
    (spoilt(b"text"), {}, "masks/3.png: not an image file; save masks as PNG"),
    (lambda root: None, {}, "set: no such folder; give the data set's root folder"),
]


@pytest.mark.parametrize(
    ("build", "values", "held"),
    [
        (lambda root: black_and_white(root, grey=1), ["#000000", ["#ffffff", "#010101"]], {0: 2048, 1: 2048}),
        (both_codings, [0, [1, 255]], {0: 2048, 1: 2048}),
        (both_codings, [0, 1], {0: 2048, 255: 2048}),
        (lambda root: write(root, "images/{i}.png", "masks/{i}.png", coded(0, 255, 128)), [0, 128], {0: 1376, 1: 1360}),
    ],
)
def test_the_options_that_are_named_decide(
    tmp_path: Path, build: Callable[[Path], object], values: list[Any], held: dict[int, int]
) -> None:
    build(tmp_path / "set")
    data, _, found = propose(tmp_path, {"values": values})
    assert data["values"] == values
    record = found.manifest.records["masks/0.png"].values or {}
    assert held.items() <= record.items()


@pytest.mark.parametrize(("build", "options", "refused"), REFUSED)
def test_what_is_ambiguous_is_refused_with_the_options_that_decide(
    tmp_path: Path, build: Callable[[Path], object], options: dict[str, Any], refused: str
) -> None:
    build(tmp_path / "set")
    with pytest.raises(InputError) as error:
        propose(tmp_path, **options)
    assert refused in str(error.value)
    assert "\n" not in str(error.value)
