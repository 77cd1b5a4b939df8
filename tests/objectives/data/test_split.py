"""Splits: disjoint, deterministic, and by whole subjects where asked."""

from pathlib import Path

import pytest

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.split import (
    Split,
    by_folds,
    by_image,
    by_subject,
    fingerprint,
    published,
    set_aside,
    write_lists,
)
from mmtuna.spaces.errors import InputError

REAL = Path(__file__).parents[3] / "../shared/data/duke-dme-256"
CLASSES = ("background", "fluid")


def described(root: Path, subjects: dict[str, int] | None = None, count: int = 10) -> Dataset:
    """A data set without files: `subjects` gives the number of images of each."""
    owner = [s for s, n in (subjects or {}).items() for _ in range(n)]
    names = tuple(sorted(f"img_{i}" for i in range(len(owner) or count)))
    return Dataset(root=root, classes=CLASSES, names=names, subjects=dict(zip(names, owner, strict=False)))


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        ((), ("a",), r"split \(test\): the train list is empty"),
        (("a",), (), r"split \(test\): the val list is empty"),
        (("a", "b", "a"), ("c",), r"train holds a twice"),
        (("a", "b", "c", "d"), ("a", "b", "c", "d"), r"a, b, c, \.\.\. \(4 in all\) in both train and val"),
    ],
)
def test_a_bad_split_cannot_be_made(train: tuple[str, ...], val: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Split(train=train, val=val, source="test")


def test_fingerprint_follows_lists_and_order_but_not_the_source() -> None:
    split = Split(train=("a", "b"), val=("c",), source="x")
    assert split.fingerprint() == Split(train=("a", "b"), val=("c",), source="y").fingerprint()
    assert split.fingerprint() != Split(train=("b", "a"), val=("c",), source="x").fingerprint()
    assert split.fingerprint() != Split(train=("a",), val=("b", "c"), source="x").fingerprint()


@pytest.mark.parametrize(("share", "expected"), [(0.01, 1), (0.2, 2), (0.5, 5), (0.99, 9)])
def test_by_image_takes_the_share(tmp_path: Path, share: float, expected: int) -> None:
    split = by_image(described(tmp_path), val_share=share, seed=0)
    assert len(split.val) == expected
    assert sorted(split.train + split.val) == sorted(described(tmp_path).names)


def test_by_image_follows_the_seed_and_nothing_else(tmp_path: Path) -> None:
    dataset = described(tmp_path, count=40)
    splits = [by_image(dataset, val_share=0.3, seed=seed) for seed in (0, 0, 1, 2)]
    assert splits[0] == splits[1]
    assert len({split.fingerprint() for split in splits}) == 3
    # Pinned: a split must not change with the version of Python or numpy.
    assert by_image(described(tmp_path), val_share=0.3, seed=0).val == ("img_0", "img_5", "img_8")


def test_by_subject_keeps_subjects_whole(tmp_path: Path) -> None:
    dataset = described(tmp_path, {str(s): 11 for s in range(1, 11)})
    for seed in range(5):
        split = by_subject(dataset, val_share=0.2, seed=seed)
        assert len(split.val) == 22
        assert split.shared_subjects(dataset) == ()
    assert len({by_subject(dataset, val_share=0.2, seed=seed).val for seed in range(5)}) > 1


@pytest.mark.parametrize(("share", "sides"), [(0.01, {1, 30}), (0.99, {1, 30}), (0.5, {1, 30})])
def test_by_subject_leaves_one_on_each_side(tmp_path: Path, share: float, sides: set[int]) -> None:
    split = by_subject(described(tmp_path, {"a": 30, "b": 1}), val_share=share, seed=0)
    assert {len(split.train), len(split.val)} == sides


def test_by_subject_counts_images_not_subjects(tmp_path: Path) -> None:
    dataset = described(tmp_path, {"big": 60, **{f"s{i}": 4 for i in range(10)}})
    for seed in range(8):
        split = by_subject(dataset, val_share=0.2, seed=seed)
        owners = {dataset.subjects[name] for name in split.val}
        # Taking "big" along with others never comes nearer to 20 images than stopping short of it.
        assert owners == {"big"} or ("big" not in owners and len(split.val) <= 20)


def test_by_subject_needs_subjects(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"subjects are unknown; name a CSV file with columns image,subject"):
        by_subject(described(tmp_path), val_share=0.2, seed=0)
    with pytest.raises(InputError, match=r"all images are of one subject, those of \[data\] test aside; at least 2"):
        by_subject(described(tmp_path, {"a": 5}), val_share=0.2, seed=0)


def test_bad_shares_and_too_few_images(tmp_path: Path) -> None:
    for share in (0.0, 1.0, 20.0, float("nan")):
        with pytest.raises(InputError, match=r"val_share: .* use a fraction between 0 and 1"):
            by_image(described(tmp_path), val_share=share, seed=0)
    with pytest.raises(InputError, match=r"1 image cannot be split"):
        by_image(described(tmp_path, count=1), val_share=0.5, seed=0)


def test_a_test_set_stands_on_no_other_side(tmp_path: Path) -> None:
    dataset = described(tmp_path, {"9": 2, "10": 2, "a": 2})
    split = Split(train=("img_0", "img_2"), val=("img_1", "img_4"), source="x")
    aside = split.setting_aside(("img_1", "img_2"))
    assert (aside.train, aside.val, aside.test) == (("img_0",), ("img_4",), ("img_1", "img_2"))
    assert aside.fingerprint() != Split(train=aside.train, val=aside.val, source="x").fingerprint()
    assert aside.known_test_subjects(dataset) == ("9",)
    write_lists(aside, tmp_path)
    assert (tmp_path / "test.txt").read_text() == "img_1\nimg_2\n"
    with pytest.raises(InputError, match=r"img_0 in both train and test; an image may stand on one side only"):
        Split(train=("img_0",), val=("img_1",), test=("img_0",), source="x")
    with pytest.raises(InputError, match=r"the val list is empty"):
        split.setting_aside(("img_1", "img_4"))


def test_whole_subjects_or_a_share_are_set_aside(tmp_path: Path) -> None:
    dataset = described(tmp_path, {"1": 2, "2": 2, "30": 2, "4": 2})
    assert set_aside(dataset, ("30", "1"), seed=0) == ("img_0", "img_1", "img_4", "img_5")
    quarter = set_aside(dataset, 0.25, seed=0)
    assert len({dataset.subjects[name] for name in quarter}) == 1
    assert len(quarter) == 2
    assert len(set_aside(described(tmp_path), 0.25, seed=0)) == 2
    with pytest.raises(InputError, match=r"^\[data\] test: no image is of subject 5; subjects are 1, 2, 4, 30$"):
        set_aside(dataset, ("4", "5"), seed=0)


def test_each_subject_validates_in_one_of_the_folds(tmp_path: Path) -> None:
    dataset = described(tmp_path, {"big": 9, "a": 4, "b": 4, "c": 3, "d": 2})
    folds = by_folds(dataset, folds=3, seed=1)
    assert sorted(name for fold in folds for name in fold.val) == sorted(dataset.names)
    assert all(fold.shared_subjects(dataset) == () for fold in folds)
    assert sorted(len(fold.val) for fold in folds) == [6, 7, 9]
    assert folds == by_folds(dataset, folds=3, seed=1) != by_folds(dataset, folds=3, seed=2)
    assert fingerprint(folds) != fingerprint(folds[:2])
    assert fingerprint(folds[:1]) == folds[0].fingerprint()
    with pytest.raises(InputError, match=r"folds = 6: there are images of 5 subjects, .*; give at most 5"):
        by_folds(dataset, folds=6, seed=1)
    with pytest.raises(InputError, match="subjects are unknown"):
        by_folds(described(tmp_path), folds=2, seed=1)


def test_shared_subjects_are_in_numeric_order(tmp_path: Path) -> None:
    dataset = described(tmp_path, {"10": 2, "9": 2, "left": 2, "1": 1})
    names = dataset.names
    split = Split(train=names[::2], val=names[1::2], source="test")
    assert split.shared_subjects(dataset) == ("9", "10", "left")


def test_lists_are_written_and_read_back(tmp_path: Path) -> None:
    split = Split(train=("img_7", "img_1"), val=("img_3",), source="test")
    train, val = write_lists(split, tmp_path / "splits")
    assert train.read_text() == "img_7\nimg_1\n"
    assert val.read_text() == "img_3\n"
    again = published(described(tmp_path), "splits/train.txt", "splits/val.txt")
    assert again.train == ("img_7", "img_1")
    assert again.fingerprint() == split.fingerprint()
    assert again.source == "published splits/train.txt + splits/val.txt"


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        ("img_0\n\ufeff", "\n \n", r"val\.txt: lists no image; write one name a line"),
        ("img_0.png\n", "img_1\n", r"train\.txt: img_0\.png not in .*images; use names relative to it, without \.png"),
        ("x1\nx2\nx3\nx4\n", "img_1\n", r"x1, x2, x3, \.\.\. \(4 in all\) not in"),
        ("img_0\nimg_0\n", "img_1\n", r"train holds img_0 twice"),
        ("img_0\nimg_1\n", "img_1\n", r"img_1 in both train and val"),
    ],
)
def test_bad_lists_are_named(tmp_path: Path, train: str, val: str, message: str) -> None:
    (tmp_path / "train.txt").write_text(train.replace("\ufeff", ""), encoding="utf-8")
    (tmp_path / "val.txt").write_text(val, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        published(described(tmp_path), "train.txt", "val.txt")


def test_missing_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.txt: cannot be read .* one image name a line"):
        published(described(tmp_path), "gone.txt", "val.txt")


def test_real_split_shares_nine_of_ten_subjects() -> None:
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not there")
    dataset = Dataset.open(REAL, classes=CLASSES, subjects="subjects.csv")
    split = published(dataset, "splits/train.txt", "splits/val.txt")
    assert (len(split.train), len(split.val), len(split.shared_subjects(dataset))) == (88, 22, 9)
