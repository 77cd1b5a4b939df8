"""What every image and mask file holds, read strictly once and remembered; and everything wrong with them, at once."""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from mmtuna.objectives.data.dataset import Dataset, alike, mask_name, near_name
from mmtuna.objectives.data.reading import BadFile, FileRecord, read_record, strict_decoders
from mmtuna.objectives.predict import COLOUR
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import write_whole

VERSION = 2
_UNKNOWN_RULE = "of version 1"
"""Marks records that were read less strictly: their figures hold, and their files are read again."""
_DEFAULTS = {entry.name: entry.default for entry in fields(FileRecord)}
_NO_MASK = "image without a mask"
_AT_A_TIME = 16
_LISTED = 10  # more files than this with the very same problem become one line


@dataclass(frozen=True)
class Problem:
    """One thing to mend. `where` names a file or a group of files, all of which stand in `files`."""

    where: str
    what: str
    fix: str
    files: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.fix}"


@dataclass(frozen=True)
class Manifest:
    """File path relative to the data set's root ("/" between folders) -> what the file held when last read.

    `ranges` maps a digest of training images and percentiles to the raw values found (low, high).
    """

    records: Mapping[str, FileRecord] = field(default_factory=dict)
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write as JSON; the file appears whole or not at all."""
        rows = {file: _row(record) for file, record in sorted(self.records.items())}
        write_whole(path, json.dumps({"version": VERSION, "records": rows, "ranges": dict(self.ranges)}) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Manifest":
        """Read what `save` wrote; a missing file or one of another version counts as empty.

        Raises InputError for a file that is not a manifest.
        """
        if not path.exists():
            return cls()
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["version"] not in (1, VERSION):
                return cls()
            records = {file: _record(row) for file, row in data["records"].items()}
            if data["version"] == 1:
                records = {file: replace(record, rule=_UNKNOWN_RULE) for file, record in records.items()}
            return cls(records, {key: (int(low), int(high)) for key, (low, high) in data.get("ranges", {}).items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path}: is not a manifest of image files; delete it, it is written anew") from None


@dataclass(frozen=True)
class Inspection:
    """All problems found, and the records of the sound files among those inspected."""

    problems: list[Problem]
    manifest: Manifest


def inspect(
    dataset: Dataset,
    *,
    names: Iterable[str] | None = None,
    manifest: Manifest | None = None,
    threads: int | None = None,
    on_file: Callable[[int, int], None] | None = None,
) -> Inspection:
    """Read every image and mask of `names` (all by default, and then masks without an image are problems too).

    A file whose size and time are as in `manifest` is not read again. `on_file(done, total)` is called in this
    thread after each file. `threads` is the number of cores by default, 4 at least. The new manifest holds the
    inspected files only, and none that could not be used.
    """
    chosen = dataset.names if names is None else tuple(dict.fromkeys(names))
    files = {image_file(dataset, name): False for name in chosen} | {mask_file(dataset, name): True for name in chosen}
    results = dict(_read_all(dataset, files, manifest or Manifest(), threads or max(4, os.cpu_count() or 4), on_file))
    records = {file: result for file, result in results.items() if isinstance(result, FileRecord)}
    bad = {file: result for file, result in results.items() if isinstance(result, BadFile)}
    found = [(file, *_told(result, bad)) for file, result in bad.items()]
    for name in chosen:
        found += _pair_problems(dataset, name, records)
    if names is None:
        found = _with_strays(dataset, found)
    images, masks = (
        {file: records[file] for name in chosen if (file := file_of(dataset, name)) in records}
        for file_of in (image_file, mask_file)
    )
    problems = _grouped(found) + _mixed_depths(dataset, images) + _mixed_colours(dataset, images)
    problems += _value_problems(dataset, masks)
    problems += _coded_otherwise(dataset, masks) + _empty_classes(dataset, list(masks.values()))
    return Inspection(problems, Manifest(records, manifest.ranges if manifest else {}))


def _read_all(
    dataset: Dataset,
    files: Mapping[str, bool],
    manifest: Manifest,
    threads: int,
    on_file: Callable[[int, int], None] | None,
) -> Iterator[tuple[str, FileRecord | BadFile]]:
    """What each file holds, in their order; `files` says which are masks."""
    root, known = os.fspath(dataset.root), manifest.records

    def look(some: Sequence[str]) -> list[FileRecord | BadFile]:
        return [
            read_record(
                Path(root, file),
                is_mask=files[file],
                known=known.get(file),
                rule=dataset.mask_rule if files[file] else dataset.rule,
            )
            for file in some
        ]

    # A few at a time: handing a file to a thread takes longer than to see that it is as it was.
    listed = list(files)
    parts = [listed[start : start + _AT_A_TIME] for start in range(0, len(listed), _AT_A_TIME)]
    with strict_decoders(), ThreadPoolExecutor(threads) as pool:
        results = (result for part in pool.map(look, parts) for result in part)
        for done, (file, result) in enumerate(zip(listed, results, strict=True), start=1):
            yield file, result
            if on_file:
                on_file(done, len(files))


def _told(result: BadFile, bad: Mapping[str, BadFile]) -> tuple[str, str]:
    """(what, fix) of a bad file; the way out of images that are too deep names the values of all of them."""
    if result.span is None:
        return result.what, result.fix
    spans = [other.span for other in bad.values() if other.span]
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    fix = (
        f"values are {low} to {high} in all: say in [data] which become 0 and 255, range = [{low}, {high}], or range = "
        '"p0.5-p99.5" for percentiles of the training images'
    )
    return result.what, fix


def _with_strays(dataset: Dataset, found: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Masks without an image beside `found`, and a pair whose names only look the same as one problem."""
    strays = dataset.stray_masks()
    looks, explained = alike(strays), set()
    lonely = {mask_file(dataset, name): name for name in dataset.names}
    told = []
    for file, what, fix in found:
        near = near_name(lonely[file], looks) if what == _NO_MASK and file in lonely else None
        if near is not None:
            explained.add(near)
            fix = f"{mask_file(dataset, near)!r} is there: write both names the same, letter for letter"
            fix += "" if near.casefold() == lonely[file].casefold() else " and in the same form of Unicode"
        told.append((file, what, fix))
    fix = f"add the image to {dataset.images}/ or take the mask away"
    return told + [(mask_file(dataset, name), "mask without an image", fix) for name in strays if name not in explained]


def _mixed_depths(dataset: Dataset, images: Mapping[str, FileRecord]) -> list[Problem]:
    """Images of 8 bits among deeper ones: one range cannot fit both."""
    by_bits: dict[int, list[str]] = defaultdict(list)
    for file, record in images.items():
        by_bits[record.bits].append(file)
    if len(by_bits) < 2:
        return []
    few = min(by_bits.values(), key=len)
    what = f"{len(few)} of {len(images)} images hold {images[few[0]].bits} bits a channel and the others do not"
    return [Problem(f"{dataset.images}/", f"{what} ({few[0]})", "bring all to one depth: [data] range is one for all")]


_ONE_COLOUR = (
    "bring all to grey or all to colour, since [data] channels is one for all, or leave channels out: grey and RGB mix"
)


def _mixed_colours(dataset: Dataset, images: Mapping[str, FileRecord]) -> list[Problem]:
    """Grey images among those in colour where channels are taken by number: 0 is grey in these and red in those.

    Beside grey or colour an alpha channel may stand in some and lack in others: the rest keep their numbers.
    """
    by_colour: dict[bool, list[str]] = defaultdict(list)
    for file, record in images.items() if dataset.rule.channels is not None else ():
        by_colour[record.channels >= COLOUR].append(file)
    if len(by_colour) < 2:
        return []
    few = min(by_colour.values(), key=len)
    kinds = "in colour and the others grey" if images[few[0]].channels >= COLOUR else "grey and the others in colour"
    what = f"{len(few)} of {len(images)} images are {kinds} ({few[0]})"
    return [Problem(f"{dataset.images}/", what, _ONE_COLOUR)]


def image_file(dataset: Dataset, name: str) -> str:
    """The image's key in a manifest."""
    folder = "" if dataset.images.startswith("*") else f"{dataset.image_folder}/"
    return f"{folder}{name}{dataset.image_suffix}"


def mask_file(dataset: Dataset, name: str) -> str:
    """The mask's key in a manifest."""
    return f"{mask_name(name, dataset.images, dataset.masks)}{dataset.mask_suffix}"


def data_fingerprint(manifest: Manifest) -> str:
    """sha256 (hex) over every file's relative path and sha256: changes with any byte or name, not with times."""
    rows = sorted((file, record.sha256) for file, record in manifest.records.items())
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def shapes(manifest: Manifest, dataset: Dataset) -> set[tuple[int, int]]:
    """The (height, width) in pixels that occur among the data set's images."""
    found = (manifest.records.get(image_file(dataset, name)) for name in dataset.names)
    return {(record.height, record.width) for record in found if record}


def class_pixels(manifest: Manifest) -> dict[int, int]:
    """Mask value -> number of pixels in all masks, the ignored value included, in the order of values."""
    return sum_values(record for record in manifest.records.values() if record.values is not None)


def sum_values(masks: Iterable[FileRecord]) -> dict[int, int]:
    """Mask value -> number of pixels over these masks, in the order of values."""
    total: dict[int, int] = defaultdict(int)
    for record in masks:
        for value, count in (record.values or {}).items():
            total[value] += count
    return dict(sorted(total.items()))


def _row(record: FileRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if value != _DEFAULTS[name]}


def _record(row: dict[str, object]) -> FileRecord:
    values = row.pop("values", None)
    if values is not None and not isinstance(values, dict):
        raise TypeError("values")
    # JSON turns the mask values, being keys, into text.
    return FileRecord(**row, values=None if values is None else {int(v): n for v, n in values.items()})  # type: ignore[arg-type]


def _pair_problems(dataset: Dataset, name: str, records: Mapping[str, FileRecord]) -> list[tuple[str, str, str]]:
    """What is wrong with a mask beside its image; nothing for files that are bad anyway."""
    file = mask_file(dataset, name)
    image, mask = records.get(image_file(dataset, name)), records.get(file)
    if mask is None:
        return []
    problems: list[tuple[str, str, str]] = []
    turn = _turn_problem(image, mask) if image else None
    if turn:
        problems.append((image_file(dataset, name), *turn))
    elif image and (image.height, image.width) != (mask.height, mask.width):
        sizes = f"mask is {mask.height} x {mask.width}, its image {image.height} x {image.width} (height x width)"
        problems.append((file, sizes, "make both the same size, masks by nearest neighbour"))
    return problems


def _value_problems(dataset: Dataset, masks: Mapping[str, FileRecord]) -> list[Problem]:
    """Masks with values that are no class: one line each where they are few, else one with all the values."""
    known = {*range(len(dataset.classes)), dataset.ignore_index}
    wrong = {file: set(record.values or ()) for file, record in masks.items() if set(record.values or ()) - known}
    if len(wrong) <= _LISTED:
        return [Problem(file, *_meaningless(dataset, values), (file,)) for file, values in wrong.items()]
    where = f"{', '.join(list(wrong)[:3])}, ... ({len(wrong)} of {len(masks)} masks)"
    return [Problem(where, *_meaningless(dataset, set().union(*wrong.values())), tuple(wrong))]


def _meaningless(dataset: Dataset, values: set[int]) -> tuple[str, str]:
    classes = len(dataset.classes)
    wrong = sorted(value for value in values if value >= classes and value != dataset.ignore_index)
    if dataset.mask_rule.reduce_zero_label:  # as the files have them
        shown = _few_of([value + 1 for value in wrong])
        what = f"holds {shown}, but only 1 to {classes} and, ignored, 0 and 255 mean something (reduce_zero_label)"
        return what, f"map the values to 0 to {classes}, or name more classes"
    shown = _few_of(wrong)
    what = f"holds {shown}, but only 0 to {classes - 1} and {dataset.ignore_index} (ignored) mean something"
    return what, _values_fix(dataset, values)


def _few_of(values: list[int]) -> str:
    return ", ".join(map(str, values[:5])) + (f", ... ({len(values)} values)" if len(values) > 5 else "")


def _turn_problem(image: FileRecord, mask: FileRecord) -> tuple[str, str] | None:
    """Training turns an image as EXIF says and never its mask, which fits only where it was drawn on the turned image.

    The sizes show that where the turn swaps height and width; otherwise nothing does.
    """
    if image.orientation == 1:
        return None
    swaps = image.orientation in (5, 6, 7, 8) and image.height != image.width
    if swaps and (image.height, image.width) == (mask.height, mask.width):
        return None
    what = f"EXIF turns the image (orientation {image.orientation}) and nothing turns its mask"
    return what, "save the turned pixels without the tag (mogrify -auto-orient), and look whether the mask fits them"


def _values_fix(dataset: Dataset, values: set[int]) -> str:
    classes, counted = len(dataset.classes), values - {dataset.ignore_index}
    if values <= {0, 255}:
        return "a 0/255 mask: set [data] values = [0, 255], or divide it by 255"
    if max(counted) == classes:  # as MMSegmentation's reduce_zero_label has it
        return f"name {classes + 1} classes, or where 0 means unlabelled, set [data] reduce_zero_label = true"
    if len(values) == classes:
        return f"name its {classes} values in [data] values, in the order of classes"
    if len(values) > 20:
        return "so many values come from smoothing or JPEG: write masks as PNG, resized by nearest neighbour only"
    return f"map the values to 0 to {classes - 1}, or name more classes"


def _coded_otherwise(dataset: Dataset, masks: Mapping[str, FileRecord]) -> list[Problem]:
    """0/255 masks among others: their foreground would count as ignored.

    A mask that holds 255 beside a class shows that 255 does mean ignored in this set.
    """
    held = {file: set(record.values or ()) for file, record in masks.items()}
    classes = set(range(1, len(dataset.classes)))
    coded = [file for file, values in held.items() if values == {0, 255}]
    plain = [file for file, values in held.items() if values & classes]
    if dataset.mask_rule or dataset.ignore_index != 255:
        return []
    if not coded or not plain or any(255 in held[file] for file in plain):
        return []
    where = ", ".join(coded[:3]) + (f", ... ({len(coded)} files)" if len(coded) > 3 else "")
    what = f"{len(coded)} of {len(masks)} masks hold 0 and 255 alone where {len(plain)} hold classes and no 255"
    fix = "divide these by 255; if 255 does mean ignored there, write 254 for it and set ignore_index = 254"
    return [Problem(where, what, fix, tuple(coded))]


def _empty_classes(dataset: Dataset, masks: list[FileRecord]) -> list[Problem]:
    pixels = sum_values(masks)
    if not masks or any(value >= len(dataset.classes) and value != dataset.ignore_index for value in pixels):
        return []  # the values are coded wrongly, and that is said already
    fix = "mend the masks or take the class away"
    if dataset.ignore_index in pixels:
        ignored = dataset.ignore_index
        fix = f"{pixels[ignored]} pixels hold {ignored} (ignored): {if_two_values(dataset)}"
    folder = f"{dataset.masks}/"
    return [
        Problem(folder, f"class {value} ({name}) is in none of the {len(masks)} readable masks", fix)
        for value, name in enumerate(dataset.classes)
        if value not in pixels
    ]


def if_two_values(dataset: Dataset) -> str:
    """The way out where the ignored value may well be the foreground's."""
    value = dataset.ignore_index
    way = f"set [data] values = [0, {value}]" if len(dataset.classes) == 2 else f"divide by {value}"
    return f"if these are 0/{value} masks, {way}"


def _grouped(found: list[tuple[str, str, str]]) -> list[Problem]:
    """A line a file, except that a problem common to many files is one line that counts them."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for file, what, fix in found:
        groups[what, fix].append(file)
    problems: list[Problem] = []
    for (what, fix), files in groups.items():
        if len(files) > _LISTED:
            where = f"{', '.join(files[:3])}, ... ({len(files)} files)"
            problems.append(Problem(where, what, fix, tuple(files)))
        else:
            problems += [Problem(file, what, fix, (file,)) for file in files]
    return problems
