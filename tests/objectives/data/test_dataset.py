"""Opening data sets: what is found, and what the message says when it is not."""

from pathlib import Path

import pytest

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.spaces.errors import InputError

REAL = Path(__file__).parents[3] / "../shared/data/duke-dme-256"
CLASSES = ("background", "fluid")


def touch(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"x")
    return root


def test_names_are_sorted_and_suffixes_found(tmp_path: Path) -> None:
    touch(
        tmp_path, "images/b.jpg", "images/a.jpg", "masks/a.png", "masks/b.png", "images/.DS_Store", "images/notes.txt"
    )
    dataset = Dataset.open(tmp_path, classes=CLASSES)
    assert dataset.names == ("a", "b")
    assert (dataset.image_suffix, dataset.mask_suffix) == (".jpg", ".png")
    assert dataset.image_path("a") == tmp_path / "images/a.jpg"
    assert dataset.mask_path("b") == tmp_path / "masks/b.png"


def test_cityscapes_layout_with_nested_names(tmp_path: Path) -> None:
    touch(tmp_path, "leftImg8bit/train/aachen/1_leftImg8bit.png", "gtFine/train/aachen/1_gtFine_labelTrainIds.png")
    touch(tmp_path, "gtFine/train/aachen/1_gtFine_color.png", "gtFine/train/aachen/1_gtFine_polygons.json")
    dataset = Dataset.open(
        tmp_path,
        classes=("road", "car", "sky"),
        images="leftImg8bit/train",
        masks="gtFine/train",
        image_suffix="_leftImg8bit.png",
        mask_suffix="_gtFine_labelTrainIds.png",
    )
    assert dataset.names == ("aachen/1",)
    assert dataset.mask_path("aachen/1").is_file()


def test_one_folder_for_images_and_masks(tmp_path: Path) -> None:
    touch(tmp_path, "all/a.png", "all/a_mask.png", "all/b.png")
    dataset = Dataset.open(
        tmp_path, classes=CLASSES, images="all", masks="all", image_suffix=".png", mask_suffix="_mask.png"
    )
    assert dataset.names == ("a", "b")


def test_masks_without_an_image_are_stray(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png", "masks/z.png")
    assert Dataset.open(tmp_path, classes=CLASSES).stray_masks() == ("z",)


def test_folders_that_hold_nothing_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "images/train/a.png", "masks/a.png")
    for folders, refused in (
        (("trian", "vla"), "images: no file lies in a folder trian or vla there; name folders of it as train and val"),
        (("train", "val"), "masks: no file lies in a folder train or val there"),
    ):
        with pytest.raises(InputError, match=refused):
            Dataset.open(tmp_path, classes=CLASSES, folders=folders)


def test_linked_folders_are_followed_and_rings_end(tmp_path: Path) -> None:
    touch(tmp_path, "store/a.png", "root/masks/sub/a.png")
    (tmp_path / "root/images").mkdir()
    (tmp_path / "root/images/sub").symlink_to(tmp_path / "store")
    (tmp_path / "store/ring").symlink_to(tmp_path / "store")
    assert Dataset.open(tmp_path / "root", classes=CLASSES).names == ("sub/a",)


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [
        (["images/a.png"], {}, r"masks: no such folder; set masks to"),
        (["masks/a.png"], {}, r"images: no such folder; set images to"),
        (["images/a.png", "images/b.jpg", "masks/a.png"], {}, r"\.jpg \(1\), \.png \(1\); set image_suffix"),
        (["images/a.png", "masks/a.png", "masks/a.tif"], {}, r"\.png \(1\), \.tif \(1\); set mask_suffix"),
        (["images/a.txt", "masks/a.png"], {}, r"no image files .* set image_suffix"),
        (["images/a.png", "masks/a.png"], {"image_suffix": ".bmp"}, r"no file ends in '\.bmp'; set image_suffix"),
        (["images/a.png", "masks/a_m.png"], {}, r"no image has a mask, a\.png is not there; set masks or mask_suffix"),
        (["images/a.png"], {"masks": "images"}, r"share folder and suffix; set mask_suffix"),
        ([], {"classes": ["fluid"]}, r"classes: 1 given; name at least 2"),
        ([], {"classes": ["a", "b", "a"]}, r"classes: a given more than once"),
        ([], {"classes": ["a", " "]}, r"classes: an empty name"),
        ([], {"ignore_index": 256}, r"ignore_index: 256 cannot stand in an 8-bit mask"),
        ([], {"ignore_index": 1}, r"ignore_index: 1 is the value of class 'fluid'; use 2 to 255"),
    ],
)
def test_bad_layouts_are_named(tmp_path: Path, files: list[str], arguments: dict[str, object], message: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(InputError, match=message) as raised:
        Dataset.open(tmp_path, **{"classes": CLASSES, **arguments})  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_missing_root(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder; give the data set's root"):
        Dataset.open(tmp_path / "nowhere", classes=CLASSES)


def two_images(root: Path, table: str) -> Path:
    touch(root, "images/a.png", "images/b.png", "masks/a.png", "masks/b.png")
    (root / "s.csv").write_text(table, encoding="utf-8")
    return root


def test_subjects_from_csv_with_further_columns_and_rows(tmp_path: Path) -> None:
    two_images(tmp_path, "\ufeffbscan, image ,subject\n1,b,eye 2\n\n2,a,eye 1\n3,elsewhere,eye 3\n")
    assert Dataset.open(tmp_path, classes=CLASSES, subjects="s.csv").subjects == {"a": "eye 1", "b": "eye 2"}


@pytest.mark.parametrize(
    "pair", [("1.01", "1.1"), ("0.5", "0.05"), ("1.2.840", "1.2.840.0"), ("10", "100"), ("P0", "P00x")]
)
def test_zeros_behind_a_point_tell_people_apart(tmp_path: Path, pair: tuple[str, str]) -> None:
    two_images(tmp_path, f"image,subject\na,{pair[0]}\nb,{pair[1]}\n")
    assert Dataset.open(tmp_path, classes=CLASSES, subjects="s.csv").subjects == dict(zip("ab", pair, strict=True))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,subject\na,1\nb,2\n", r"header is 'name,subject'; it must name the columns image,subject"),
        ("", r"header is ''"),
        ("image,subject\na,1\n", r"no subject for 1 of 2 images \(b\)"),
        ("image,subject\na.png,1\nb.png,1\n", r"no subject for 2 of 2 images \(a, b\).*without suffix"),
        ("image,subject\na,1\nb,\n", r"row 3 lacks an image or a subject"),
        ("image,subject\na,1\na,2\nb,1\n", r"a belongs to 1 and to 2"),
        ("image,subject,Subject\na,1,2\nb,1,2\n", r"with two columns subject; rename the other one"),
        ("image,subject\na,01\nb,1\n", r"subjects '01' and '1' differ in case, zeros or signs that look alike; write"),
        ("image,subject\na,Pat 7\nb,pat 007\n", r"subjects 'Pat 7' and 'pat 007' differ in case, zeros or"),
        ("image,subject\na,7.0\nb,7\n", r"subjects '7.0' and '7' differ in case, zeros or"),
    ],
)
def test_bad_subject_tables_are_named(tmp_path: Path, table: str, message: str) -> None:
    two_images(tmp_path, table)
    with pytest.raises(InputError, match=message):
        Dataset.open(tmp_path, classes=CLASSES, subjects="s.csv")


def test_missing_subject_table(tmp_path: Path) -> None:
    two_images(tmp_path, "")
    with pytest.raises(InputError, match=r"none\.csv: cannot be read .*columns image,subject"):
        Dataset.open(tmp_path, classes=CLASSES, subjects="none.csv")


def test_real_data() -> None:
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not there")
    dataset = Dataset.open(REAL, classes=CLASSES, subjects="subjects.csv")
    assert len(dataset.names) == 110
    assert dataset.subjects["img_109"] == "10"
