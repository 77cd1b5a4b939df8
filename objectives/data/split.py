"""Which images train, which validate, and which no trial sees: lists, folders, by image, by whole subjects."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from mmtuna.objectives.data.dataset import Dataset, alike, near_name, some
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import write_whole

CLASS_LIST = "classes.txt"


@dataclass(frozen=True, kw_only=True)
class Split:
    """Disjoint lists of image names, in the order training reads them, and where they come from.

    `test` holds those that are set aside: no trial trains or is evaluated on them; () where there are none.

    Raises InputError when train or val is empty, a list holds a name twice, or shares a name with another.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    source: str
    test: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        sides = {"train": self.train, "val": self.val, "test": self.test}
        for side, names in sides.items():
            if not names and side != "test":
                raise InputError(f"split ({self.source}): the {side} list is empty; it needs at least one image")
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise InputError(f"split ({self.source}): {side} holds {some(twice)} twice; list each image once")
        for one, other in combinations(sides, 2):
            shared = sorted(set(sides[one]) & set(sides[other]))
            if shared:
                raise InputError(
                    f"split ({self.source}): {some(shared)} in both {one} and {other}; an image may stand on one side "
                    "only"
                )

    def fingerprint(self) -> str:
        """sha256 (hex) of the lists in their order; `source` does not count."""
        lists = [self.train, self.val, *([self.test] if self.test else [])]
        return hashlib.sha256(json.dumps(lists).encode()).hexdigest()

    def shared_subjects(self, dataset: Dataset) -> tuple[str, ...]:
        """Subjects with images on both sides, numbers in numeric order; () where subjects are unknown."""
        return _in_both(dataset, self.train, self.val)

    def known_test_subjects(self, dataset: Dataset) -> tuple[str, ...]:
        """Subjects of the test images that trials train or validate on too, likewise."""
        return _in_both(dataset, self.test, (*self.train, *self.val))

    def setting_aside(self, test: Sequence[str]) -> "Split":
        """This split with the images `test` taken from either side as its test set."""
        taken = set(test)
        train, val = (tuple(name for name in side if name not in taken) for side in (self.train, self.val))
        return replace(self, train=train, val=val, test=tuple(test))


def _in_both(dataset: Dataset, some_names: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    one, other = ({dataset.subjects[n] for n in names if n in dataset.subjects} for names in (some_names, others))
    return tuple(sorted(one & other, key=_numeric_first))


def published(dataset: Dataset, train_file: str | Path, val_file: str | Path) -> Split:
    """The split of two text files, one image name a line, relative to `dataset.root`; the files' order is kept.

    Raises InputError for an unreadable or empty file, an unknown name, a name given twice or on both sides.
    """
    return Split(
        train=listed(dataset, train_file),
        val=listed(dataset, val_file),
        source=f"published {Path(train_file).as_posix()} + {Path(val_file).as_posix()}",
    )


def by_folder(dataset: Dataset, train: str, val: str) -> Split:
    """The split of two folders within the image folder, in the order of names.

    Raises InputError for a folder that holds no image.
    """
    train_names, val_names = in_folder(dataset, train, "train"), in_folder(dataset, val, "val")
    return Split(train=train_names, val=val_names, source=f"folders {train} + {val}")


def in_folder(dataset: Dataset, folder: str, side: str) -> tuple[str, ...]:
    """The images of a folder within the image folder; InputError, which names `[data] SIDE`, where it holds none."""
    found = tuple(name for name in dataset.names if name.startswith(f"{folder}/"))
    if not found:
        place = dataset.root / dataset.image_folder / folder
        raise InputError(f"{place}: no image ends in {dataset.image_suffix!r} there; set [data] {side} to the folder")
    return found


def set_aside(dataset: Dataset, what: float | Sequence[str], *, seed: int) -> tuple[str, ...]:
    """The images of a test set, in the order of names: all of the subjects `what`, or a share of 0 to 1.

    A share is of whole subjects where these are known, as `by_subject` takes them, else of images.

    Raises InputError for a subject that no image shows, and where nothing would be left.
    """
    if isinstance(what, float):
        by = by_subject if dataset.subjects else by_image
        return by(dataset, val_share=what, seed=seed).val
    known = {dataset.subjects[name] for name in dataset.names}
    unknown = [subject for subject in what if subject not in known]
    if unknown:
        shown = ", ".join(sorted(known, key=_numeric_first)[:12])
        raise InputError(f"[data] test: no image is of subject {some(unknown)}; subjects are {shown}")
    return tuple(name for name in dataset.names if dataset.subjects[name] in set(what))


def by_image(dataset: Dataset, *, val_share: float, seed: int) -> Split:
    """A random `val_share` (0..1, both ends excluded) of the images validates, at least one on each side."""
    _check_share(val_share)
    count = len(dataset.names)
    if count < 2:
        raise InputError(f"{dataset.root}: {count} image cannot be split; at least 2 are needed")
    val = set(_shuffled(dataset.names, seed)[: min(max(round(val_share * count), 1), count - 1)])
    return _sides(dataset, val, f"by image, val_share {val_share}, seed {seed}")


def by_subject(dataset: Dataset, *, val_share: float, seed: int) -> Split:
    """Whole subjects validate: of a random order, as many as come nearest to `val_share` (0..1) of the images.

    At least one subject stands on each side. Raises InputError where subjects are unknown or fewer than two.
    """
    _check_share(val_share)
    if not dataset.subjects:
        raise InputError(f"{dataset.root}: subjects are unknown; name a CSV file with columns image,subject")
    sizes = Counter(dataset.subjects[name] for name in dataset.names)
    if len(sizes) < 2:
        raise InputError(_one_subject(dataset))
    order = _shuffled(sizes, seed)
    target = val_share * len(dataset.names)
    taken = min(range(1, len(order)), key=lambda k: abs(sum(sizes[s] for s in order[:k]) - target))
    chosen = set(order[:taken])
    val = {name for name in dataset.names if dataset.subjects[name] in chosen}
    return _sides(dataset, val, f"by subject, val_share {val_share}, seed {seed}")


def _one_subject(dataset: Dataset) -> str:
    aside = "all images are of one subject, those of [data] test aside"
    return f"{dataset.root}: {aside}; at least 2 are needed, or split by image"


def subject_folds(dataset: Dataset, names: Sequence[str], *, folds: int, seed: int) -> list[Split]:
    """Splits of the images `names` that validate each of them once, by whole subjects, about as many at a time.

    `folds` of them, or as many as there are subjects. InputError where subjects are unknown or fewer than two.
    """
    sizes = Counter(dataset.subjects[name] for name in names if name in dataset.subjects)
    if sizes.total() < len(names):
        raise InputError(f"{dataset.root}: subjects are unknown; name a CSV file with columns image,subject")
    if len(sizes) < 2:
        raise InputError(_one_subject(dataset))
    count = min(folds, len(sizes))
    held: list[set[str]] = [set() for _ in range(count)]
    # The largest first, each to the fold that has the fewest images until then.
    for subject in sorted(_shuffled(sizes, seed), key=lambda subject: -sizes[subject]):
        min(held, key=lambda fold: sum(sizes[s] for s in fold)).add(subject)
    return [
        Split(
            train=tuple(name for name in names if dataset.subjects[name] not in fold),
            val=tuple(name for name in names if dataset.subjects[name] in fold),
            source=f"fold {place} of {count} by subject, seed {seed}",
        )
        for place, fold in enumerate(held, start=1)
    ]


def by_folds(dataset: Dataset, *, folds: int, seed: int) -> tuple[Split, ...]:
    """`subject_folds` of all images, exactly so many; InputError where there are fewer subjects too."""
    subjects = len({dataset.subjects[name] for name in dataset.names if name in dataset.subjects})
    if 0 < subjects < folds:
        raise InputError(
            f"[data] folds = {folds}: there are images of {subjects} subjects, and each fold validates on at least "
            f"one; give at most {subjects}, or split by image"
        )
    return tuple(subject_folds(dataset, dataset.names, folds=folds, seed=seed))


def fingerprint(folds: Sequence[Split]) -> str:
    """`Split.fingerprint` of the only one of them, or sha256 (hex) over those of all."""
    if len(folds) == 1:
        return folds[0].fingerprint()
    return hashlib.sha256(json.dumps([fold.fingerprint() for fold in folds]).encode()).hexdigest()


def subjects_fingerprint(folds: Sequence[Split], dataset: Dataset) -> str:
    """sha256 (hex) over whose each validation image is; that of nothing where subjects are unknown."""
    rows = sorted((name, dataset.subjects[name]) for name in validated(folds) if name in dataset.subjects)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def validated(folds: Sequence[Split]) -> tuple[str, ...]:
    """The images that some fold validates on, fold by fold."""
    return tuple(name for fold in folds for name in fold.val)


def write_lists(split: Split, folder: Path) -> tuple[Path, Path]:
    """Write train.txt and val.txt, one name a line, into `folder` (made if missing, overwritten if there).

    A test set is written to test.txt beside them, which no config names. Returns the first two.
    """
    paths = folder / "train.txt", folder / "val.txt"
    sides = {paths[0]: split.train, paths[1]: split.val} | ({folder / "test.txt": split.test} if split.test else {})
    for path, names in sides.items():
        write_whole(path, "".join(f"{name}\n" for name in names))
    return paths


def write_classes(classes: Iterable[str], folder: Path) -> Path:
    """Write classes.txt, which `mmtuna init` takes the names of the mask values 0, 1, ... from."""
    path = folder / CLASS_LIST
    write_whole(path, "".join(f"{name}\n" for name in classes))
    return path


def _sides(dataset: Dataset, val: set[str], source: str) -> Split:
    return Split(
        train=tuple(name for name in dataset.names if name not in val),
        val=tuple(name for name in dataset.names if name in val),
        source=source,
    )


def _shuffled(items: Iterable[str], seed: int) -> list[str]:
    # Ordered by hash, not by a random generator: numpy does not promise the same stream in its next version.
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed}:{item}".encode()).digest())


def _check_share(val_share: float) -> None:
    if not 0 < val_share < 1:
        raise InputError(f"val_share: {val_share} is out of range; use a fraction between 0 and 1, such as 0.2")


def listed(dataset: Dataset, file: str | Path) -> tuple[str, ...]:
    """The image names of a text file, one a line, relative to `dataset.root`; InputError as `published` raises."""
    path = dataset.root / file
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; save it as UTF-8, one image name a line") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a file with one image name a line") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise InputError(f"{path}: lists no image; write one name a line")
    known = set(dataset.names)
    unknown = [name for name in names if name not in known]
    if unknown:
        folder = dataset.root / dataset.image_folder
        meant = _meant(unknown[0], dataset)
        such = f", such as {meant} for {unknown[0]}" if meant else ""
        raise InputError(
            f"{path}: {some(unknown)} not in {folder}; use names relative to it, without {dataset.image_suffix}{such}"
        )
    return names


def _meant(entry: str, dataset: Dataset) -> str | None:
    """The image that a line of a list means though it does not name it: with folder, suffix, mask or other signs."""
    known, looks = set(dataset.names), alike(dataset.names)
    for text in (entry, entry.split()[0], entry.split(",")[0].strip("\"' ")):
        text = text.replace("\\", "/").removeprefix("./")
        for folder in (dataset.images, dataset.masks):
            text = text.rpartition(f"{folder}/")[2]
        for suffix in (dataset.image_suffix, dataset.mask_suffix, ""):
            name = text.removesuffix(suffix)
            if name in known:
                return name
            if near := near_name(name, looks):
                return near
    return None


def _numeric_first(subject: str) -> tuple[int, int, str]:
    return (0, int(subject), subject) if subject.isdecimal() else (1, 0, subject)
