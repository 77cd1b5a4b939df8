"""One description of an image segmentation data set: folders, names, classes, subjects.

The layout is MMSegmentation's: an image folder and a mask folder under one root, where a mask has the name of its
image with another suffix. Names may hold folders ("aachen/0001"). A mask is one 8-bit channel; its value is the
index of the class.
"""

import csv
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmtuna.objectives.predict import SUFFIXES
from mmtuna.spaces.errors import InputError

MASK_EXTENSIONS = SUFFIXES | {".gif"}
IMAGE_SOURCE = "image_source"
"""Key of a config whose images are 8-bit copies: img_path and img_suffix of the originals, channels and range."""
MASK_SOURCE = "mask_source"
"""Key of a config whose masks are copies: folders and suffix of the originals, and the rule that made them."""
Code = int | str
"""What stands in a mask's pixel: its value 0..255, or its colour as "#rrggbb"."""


@dataclass(frozen=True, kw_only=True)
class ImageRule:
    """How image files become 8-bit pixels where they are not read as they are.

    `channels` are those taken, one or three of them, from 0; None takes all. `range` holds the raw values that become 0
    and 255, or percentiles of the training images such as "p0.5-p99.5"; None leaves 8-bit values as they are.
    """

    channels: tuple[int, ...] | None = None
    range: tuple[float, float] | str | None = None

    def __bool__(self) -> bool:
        return self.channels is not None or self.range is not None


@dataclass(frozen=True, kw_only=True)
class MaskRule:
    """How a mask's pixels become class indices where they are none.

    `values[i]` holds the values or colours of class `i`, and `ignored` those that count nowhere, beside the value
    `ignore_index`; what stands in neither is refused. None: values are class indices. `reduce_zero_label` is
    MMSegmentation's: 0 counts nowhere, and class `i` is written as `i + 1`.
    """

    values: tuple[tuple[Code, ...], ...] | None = None
    ignored: tuple[Code, ...] = ()
    reduce_zero_label: bool = False
    ignore_index: int = 255

    def __bool__(self) -> bool:
        return self.values is not None or self.reduce_zero_label

    @property
    def has_colours(self) -> bool:
        """Whether masks are read by their colours."""
        return any(isinstance(code, str) for codes in self.values or () for code in codes)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Where the images and masks lie, and what the mask values mean; says nothing about the files' contents.

    `classes[i]` names mask value `i` (class 0 is the background by convention); `ignore_index`, 0..255, marks pixels
    that count nowhere. `rule` says how images are read, `mask_rule` how masks are. `subjects` maps an image's name to
    its subject (patient, eye) and is empty when unknown. `names` are the images' names, sorted, relative to the image
    folder, "/" between folders, without the suffix; `left_out` are image files of that folder with another suffix.
    `folders`, within the image folder and the mask folder, are those that count; () stands for all. `palette` holds a
    colour (red, green, blue, 0..255) a class, for pictures; () leaves the choice to us. Where `images` are 8-bit
    copies, `source` tells what of: img_path, img_suffix and the rule, as predict.py takes it; `mask_source` likewise of
    masks: folders, suffix and the rule.

    `images` and `masks` may both hold one `*`, which stands for any one folder, the same in both ("*/images" and
    "*/masks"); names then begin with that folder.
    """

    root: Path
    images: str = "images"
    masks: str = "masks"
    image_suffix: str = ".png"
    mask_suffix: str = ".png"
    classes: tuple[str, ...]
    ignore_index: int = 255
    rule: ImageRule = ImageRule()
    mask_rule: MaskRule = MaskRule()
    palette: tuple[tuple[int, int, int], ...] = ()
    subjects: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...]
    folders: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    source: Mapping[str, Any] | None = None
    mask_source: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _check_classes(self.classes, self.ignore_index)

    @classmethod
    def open(
        cls,
        root: Path | str,
        *,
        classes: Sequence[str],
        images: str = "images",
        masks: str = "masks",
        image_suffix: str | None = None,
        mask_suffix: str | None = None,
        ignore_index: int = 255,
        rule: ImageRule | None = None,
        mask_rule: MaskRule | None = None,
        palette: Sequence[Sequence[int]] = (),
        subjects: str | None = None,
        folders: Sequence[str] = (),
    ) -> "Dataset":
        """List the files under `root`; no image is read.

        A suffix of None is found by looking: exactly one image extension must then occur in the folder. Of images and
        masks only those in `folders` count, where these are given.
        `subjects` is a CSV file relative to `root` whose columns include `image` (a name without suffix) and `subject`.
        Raises InputError for missing folders, ambiguous suffixes, names that a list cannot hold, bad classes, a bad
        CSV, or when no image has a mask.
        """
        root = Path(root)
        _check_classes(tuple(classes), ignore_index)
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; give the data set's root folder")
        _check_stars(images, masks)
        image_files = _that_count(root, images, "images", folders)
        mask_files = _that_count(root, masks, "masks", folders)
        image_suffix = image_suffix or _detect_suffix(image_files, root / images, "image_suffix", SUFFIXES)
        mask_suffix = mask_suffix or _detect_suffix(mask_files, root / masks, "mask_suffix", MASK_EXTENSIONS)
        _check_suffixes(image_files, image_suffix, root / images)
        _refuse_other_case(mask_files, mask_suffix, root / masks)
        names = _strip_suffix(image_files, image_suffix)
        mask_names = {image_name(name, images, masks) for name in _strip_suffix(mask_files, mask_suffix)}
        if images == masks:
            if image_suffix == mask_suffix:
                raise InputError(f"{root / images}: images and masks share folder and suffix; set mask_suffix")
            # In a shared folder "a_mask.png" ends like an image too: it is one only if it is not a mask.
            names = [n for n in names if not f"{n}{image_suffix}".endswith(mask_suffix) or n in mask_names]
        if not names:
            raise InputError(f"{root / images}: no file ends in {image_suffix!r}; set image_suffix to what they end in")
        _refuse_unlistable(root / images, names)
        _refuse_maskless(names, mask_names, mask_suffix, root / masks)
        return cls(
            root=root,
            images=images,
            masks=masks,
            image_suffix=image_suffix,
            mask_suffix=mask_suffix,
            classes=tuple(classes),
            ignore_index=ignore_index,
            rule=rule or ImageRule(),
            mask_rule=replace(mask_rule or MaskRule(), ignore_index=ignore_index),
            palette=tuple((int(red), int(green), int(blue)) for red, green, blue in palette),
            subjects=_read_subjects(root / subjects, names) if subjects else {},
            names=tuple(names),
            folders=tuple(folders),
            left_out=_left_out(image_files, names, image_suffix, mask_suffix if images == masks else None),
        )

    @property
    def image_folder(self) -> str:
        """The folder that the names start at: `images`, or what stands before its `*`."""
        return before_star(self.images)

    @property
    def copies_masks(self) -> bool:
        """Whether configs name copies of the masks, since MMSegmentation cannot read or find them as they are."""
        return self.mask_rule.values is not None or "*" in self.masks

    def image_path(self, name: str) -> Path:
        """The image file of `name`."""
        return self.root / self.image_folder / f"{name}{self.image_suffix}"

    def mask_path(self, name: str) -> Path:
        """The mask file of `name`, whether it exists or not."""
        return self.root / f"{mask_name(name, self.images, self.masks)}{self.mask_suffix}"

    def stray_masks(self) -> tuple[str, ...]:
        """Names, sorted, of the masks that have no image: reads the mask folder anew."""
        listed = _within(_list_files(self.root, self.masks, "masks"), self.folders)
        found = (image_name(name, self.images, self.masks) for name in _strip_suffix(listed, self.mask_suffix))
        return tuple(sorted(set(found) - set(self.names)))


_PADDED = re.compile(r"(?<!\d)(?<!\d\.)0+(?=\d)")
"""Zeros before a number, as in 01 and 1; not those of 1.01 and 1.1, which are two."""
_WHOLE = re.compile(r"(\d+)\.0+")
"""What spreadsheets make of a whole number."""
TWO_CLASSES = "name at least 2, the background first"


def alike(names: Iterable[str]) -> dict[str, str]:
    """Names by what is left of them without the differences that a person does not see: case and Unicode's form."""
    return {_folded(name): name for name in names}


def near_name(name: str, among: Mapping[str, str]) -> str | None:
    """The one of `alike` names that looks like `name`."""
    return among.get(_folded(name))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _check_classes(classes: tuple[str, ...], ignore_index: int) -> None:
    if len(classes) < 2:
        raise InputError(f"classes: {len(classes)} given; {TWO_CLASSES}")
    if any(not name.strip() for name in classes):
        raise InputError("classes: an empty name; every class needs one")
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise InputError(f"classes: {', '.join(twice)} given more than once; each class needs a name of its own")
    if not 0 <= ignore_index <= 255:
        raise InputError(f"ignore_index: {ignore_index} cannot stand in an 8-bit mask; use 0 to 255")
    if ignore_index < len(classes):
        taken, free = classes[ignore_index], f"use {len(classes)} to 255, with masks to match"
        raise InputError(f"ignore_index: {ignore_index} is the value of class {taken!r}; {free}")


def before_star(folder: str) -> str:
    """What of a folder stands before its `*`; all of it where it has none."""
    return folder.partition("*")[0].rstrip("/") or "." if "*" in folder else folder


def mask_name(name: str, images: str, masks: str) -> str:
    """The mask of image `name`, relative to the data set's root, without its suffix."""
    if "*" not in masks:
        return f"{masks}/{name}"
    return _moved(name, images, masks, "" if masks.startswith("*") else f"{before_star(masks)}/")


def image_name(name: str, images: str, masks: str) -> str:
    """The name of the image that a mask belongs to, which lies at `name` in the mask folder."""
    return _moved(name, masks, images) if "*" in masks else name


def _moved(name: str, old: str, new: str, before: str = "") -> str:
    first, _, rest = name.partition("/")
    inner, within = (folder.partition("*")[2].strip("/") for folder in (old, new))
    return f"{before}{first}/{within}/{rest.removeprefix(f'{inner}/')}"


def _check_stars(images: str, masks: str) -> None:
    for key, folder in (("images", images), ("masks", masks)):
        parts = folder.split("/")
        if "*" in folder and (parts.count("*") != 1 or folder.count("*") != 1 or parts[-1] in ("*", "")):
            raise InputError(f"{key}: {folder!r} must hold one * in the place of a whole folder, such as */{key}")
    if ("*" in images) != ("*" in masks):
        raise InputError(f"images: {images!r} and masks: {masks!r}; both must hold a * or neither")


def _list_files(root: Path, folder: str, key: str) -> list[str]:
    """Files under root/folder, hidden ones left out, as sorted paths relative to it with "/" between folders.

    Where the folder has a `*` they are relative to what stands before it.
    """
    top = root / before_star(folder)
    if not top.is_dir():
        raise InputError(f"{top}: no such folder; set {key} to the folder's name under {root}")
    files = sorted(walk(top))
    if "*" not in folder:
        return files
    inner = folder.partition("*")[2].strip("/")
    return [file for file in files if file.partition("/")[2].startswith(f"{inner}/")]


def _that_count(root: Path, folder: str, key: str, within: Sequence[str]) -> list[str]:
    """`_list_files` in the folders `within` it; InputError where none lies there, whatever it ends in."""
    files = _list_files(root, folder, key)
    found = _within(files, within)
    if files and not found:
        raise InputError(
            f"{root / before_star(folder)}: no file lies in a folder {' or '.join(within)} there; "
            "name folders of it as train and val, the same within images and masks"
        )
    return found


def _within(files: list[str], folders: Sequence[str]) -> list[str]:
    return [file for file in files if file.startswith(tuple(f"{folder}/" for folder in folders))] if folders else files


def walk(top: Path) -> Iterator[str]:
    """Every file under `top`, hidden ones left out, relative to it with "/" between folders; links are followed."""
    seen: set[str] = set()
    for here, folders, files in os.walk(top, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:  # linked folders are common in data sets, and links can form a ring
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [f for f in folders if not f.startswith(".")]
        inside = Path(here).relative_to(top).as_posix()
        start = "" if inside == "." else f"{inside}/"
        yield from (start + f for f in files if not f.startswith("."))


def _check_suffixes(files: list[str], suffix: str, folder: Path) -> None:
    if not suffix.lower().endswith(tuple(SUFFIXES)):
        known = ", ".join(sorted(SUFFIXES))
        raise InputError(f"image_suffix: {suffix!r} is none of an image that is read ({known}); convert them")
    _refuse_other_case(files, suffix, folder)


def _refuse_maskless(names: Sequence[str], mask_names: set[str], mask_suffix: str, masks: Path) -> None:
    """Where no image at all has a mask, InputError with the mask that is sought and one that is nearly called so."""
    if not mask_names.isdisjoint(names):
        return
    sought, near = f"{names[0]}{mask_suffix}", near_name(names[0], alike(mask_names))
    fix = f"{near}{mask_suffix} is: names must be the same, sign for sign" if near else "set masks or mask_suffix"
    raise InputError(f"{masks}: no image has a mask, {sought} is not there; {fix}")


def _detect_suffix(files: list[str], folder: Path, key: str, extensions: frozenset[str]) -> str:
    found: dict[str, int] = {}
    for file in files:
        suffix = os.path.splitext(file)[1]
        if suffix.lower() in extensions:
            found[suffix] = found.get(suffix, 0) + 1
    if not found:
        known = ", ".join(sorted(extensions))
        raise InputError(f"{folder}: no image files ({known}); put them there or set {key}")
    if len(found) > 1:
        counts = ", ".join(f"{suffix} ({count})" for suffix, count in sorted(found.items()))
        one = len({suffix.lower() for suffix in found}) == 1
        fix = "rename the files so that all end in one" if one else f"set {key} to the one to use"
        raise InputError(f"{folder}: several suffixes, {counts}; {fix}")
    return next(iter(found))


def _refuse_other_case(files: list[str], suffix: str, folder: Path) -> None:
    """Files that end in .PNG where .png is sought: nobody means to leave them out."""
    other = [f for f in files if not f.endswith(suffix) and f.lower().endswith(suffix.lower())]
    if other:
        raise InputError(
            f"{folder}: {len(other)} files end in {suffix!r} but for upper and lower case ({some(other)}); rename them "
            "so that all end in one"
        )


def _refuse_unlistable(folder: Path, names: list[str]) -> None:
    """MMSegmentation reads names from lists, a line each, without the white space at its ends."""
    for name in names:
        if name != name.strip() or name.splitlines() != [name] or not _is_utf8(name):
            raise InputError(
                f"{folder}: the name {name!r} begins or ends with a space or holds signs that no list of names can; "
                "rename image and mask"
            )


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes of another encoding, which Python keeps as surrogates
        return False
    return True


def _left_out(files: list[str], names: list[str], suffix: str, mask_suffix: str | None) -> tuple[str, ...]:
    taken = {f"{name}{suffix}" for name in names}
    others = (f for f in files if f not in taken and os.path.splitext(f)[1].lower() in SUFFIXES)
    return tuple(f for f in others if mask_suffix is None or not f.endswith(mask_suffix))


def some(names: Sequence[str]) -> str:
    """Up to three of the names, and how many there are in all."""
    more = f", ... ({len(names)} in all)" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _strip_suffix(files: list[str], suffix: str) -> list[str]:
    return sorted(f.removesuffix(suffix) for f in files if f.endswith(suffix) and not f.endswith("/" + suffix))


def _read_subjects(path: Path, names: list[str]) -> dict[str, str]:
    """Image name -> subject for every name in `names`; rows about other images are passed over."""
    rows = _read_table(path)
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if "image" not in header or "subject" not in header:
        raise InputError(f"{path}: header is {','.join(header)!r}; it must name the columns image,subject")
    twice = [name for name in ("image", "subject") if header.count(name) > 1]
    if twice:
        raise InputError(f"{path}: header is {','.join(header)!r}, with two columns {twice[0]}; rename the other one")
    image_at, subject_at = header.index("image"), header.index("subject")
    subjects: dict[str, str] = {}
    for line, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) <= max(image_at, subject_at) or not row[image_at].strip() or not row[subject_at].strip():
            raise InputError(f"{path}: row {line} lacks an image or a subject; fill in both")
        image, subject = row[image_at].strip(), row[subject_at].strip()
        if subjects.setdefault(image, subject) != subject:
            raise InputError(f"{path}: {image} belongs to {subjects[image]} and to {subject}; leave one row an image")
    missing = [name for name in names if name not in subjects]
    if missing:
        raise InputError(
            f"{path}: no subject for {len(missing)} of {len(names)} images ({', '.join(missing[:3])}); "
            "add a row for each, with names as in the image folder without suffix"
        )
    _refuse_nearly_one([subjects[name] for name in names], path)
    return {name: subjects[name] for name in names}


def _refuse_nearly_one(subjects: Sequence[str], path: Path) -> None:
    """Two spellings of one person would be two people, one of whom trains and one validates."""
    spelled: dict[str, str] = {}
    for subject in subjects:
        whole = _WHOLE.fullmatch(subject)
        other = spelled.setdefault(_PADDED.sub("", _folded(whole[1] if whole else subject)), subject)
        if other != subject:
            raise InputError(
                f"{path}: subjects {other!r} and {subject!r} differ in case, zeros or signs that look alike; write one "
                "for the same person, and names that differ more for two"
            )


def _read_table(path: Path) -> list[list[str]]:
    """Rows of a CSV file as spreadsheets write it: UTF-8 or UTF-16, cells between commas, semicolons or tabs."""
    try:
        data = path.read_bytes()
        # Spreadsheets put a byte order mark before the first column's name.
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        first, _, rest = text.partition("\n")
        if first.lower().startswith("sep="):  # Excel's own line
            text, first = rest, rest.partition("\n")[0]
        separator = max(",;\t", key=first.count)
        return list(csv.reader(text.splitlines(keepends=True), delimiter=separator))
    except (OSError, UnicodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a UTF-8 CSV with columns image,subject") from None
