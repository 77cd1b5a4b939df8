"""What every image and mask file holds, read strictly once and remembered; and everything wrong with them, at once."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from PIL import ImageFile

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.reading import BadFile, FileRecord, read_record
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import write_whole

VERSION = 1
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
    """File path relative to the data set's root ("/" between folders) -> what the file held when last read."""

    records: Mapping[str, FileRecord] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write as JSON; the file appears whole or not at all."""
        rows = {file: asdict(record) for file, record in sorted(self.records.items())}
        write_whole(path, json.dumps({"version": VERSION, "records": rows}) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Manifest":
        """Read what `save` wrote; a missing file or one of another version counts as empty.

        Raises InputError for a file that is not a manifest.
        """
        if not path.exists():
            return cls()
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["version"] != VERSION:
                return cls()
            return cls({file: _record(row) for file, row in data["records"].items()})
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
    threads: int = 4,
    on_file: Callable[[int, int], None] | None = None,
) -> Inspection:
    """Read every image and mask of `names` (all by default, and then masks without an image are problems too).

    A file whose size and time are as in `manifest` is not read again. `on_file(done, total)` is called in this
    thread after each file. The new manifest holds the inspected files only, and none that could not be used.
    """
    chosen = dataset.names if names is None else tuple(dict.fromkeys(names))
    files = {image_file(dataset, name): False for name in chosen} | {mask_file(dataset, name): True for name in chosen}
    known = manifest.records if manifest else {}

    def look(file: str) -> FileRecord | BadFile:
        return read_record(dataset.root / file, is_mask=files[file], known=known.get(file))

    records: dict[str, FileRecord] = {}
    found: list[tuple[str, str, str]] = []
    forgiving = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # another library may have set it; a cut file must not pass here
    try:
        with ThreadPoolExecutor(max(threads, 1)) as pool:
            for done, (file, result) in enumerate(zip(files, pool.map(look, files), strict=True), start=1):
                if isinstance(result, BadFile):
                    found.append((file, result.what, result.fix))
                else:
                    records[file] = result
                if on_file:
                    on_file(done, len(files))
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = forgiving
    for name in chosen:
        found += _pair_problems(dataset, name, records)
    if names is None:
        fix = f"add the image to {dataset.images}/ or take the mask away"
        found += [(mask_file(dataset, name), "mask without an image", fix) for name in dataset.stray_masks()]
    masks = [record for name in chosen if (record := records.get(mask_file(dataset, name)))]
    return Inspection(_grouped(found) + _empty_classes(dataset, masks), Manifest(records))


def image_file(dataset: Dataset, name: str) -> str:
    """The image's key in a manifest."""
    return f"{dataset.images}/{name}{dataset.image_suffix}"


def mask_file(dataset: Dataset, name: str) -> str:
    """The mask's key in a manifest."""
    return f"{dataset.masks}/{name}{dataset.mask_suffix}"


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
    return _pixels(record for record in manifest.records.values() if record.values is not None)


def _pixels(masks: Iterable[FileRecord]) -> dict[int, int]:
    total: dict[int, int] = defaultdict(int)
    for record in masks:
        for value, count in (record.values or {}).items():
            total[value] += count
    return dict(sorted(total.items()))


def _record(row: dict[str, object]) -> FileRecord:
    values = row.pop("values")
    if values is not None and not isinstance(values, dict):
        raise TypeError("values")
    # JSON turns the mask values, being keys, into text.
    return FileRecord(**row, values=None if values is None else {int(v): n for v, n in values.items()})  # type: ignore[arg-type]


def _pair_problems(dataset: Dataset, name: str, records: Mapping[str, FileRecord]) -> list[tuple[str, str, str]]:
    """What is wrong with a mask beside its image and the data set's classes; nothing for files that are bad anyway."""
    file = mask_file(dataset, name)
    image, mask = records.get(image_file(dataset, name)), records.get(file)
    if mask is None:
        return []
    problems: list[tuple[str, str, str]] = []
    if image and (image.height, image.width) != (mask.height, mask.width):
        sizes = f"mask is {mask.height} x {mask.width}, its image {image.height} x {image.width} (height x width)"
        problems.append((file, sizes, "make both the same size, masks by nearest neighbour"))
    values, classes = mask.values or {}, len(dataset.classes)
    wrong = [value for value in values if value >= classes and value != dataset.ignore_index]
    if wrong:
        shown = ", ".join(map(str, wrong[:5])) + (f", ... ({len(wrong)} values)" if len(wrong) > 5 else "")
        what = f"holds {shown}, but only 0 to {classes - 1} and {dataset.ignore_index} (ignored) mean something"
        problems.append((file, what, _values_fix(dataset, set(values))))
    return problems


def _values_fix(dataset: Dataset, values: set[int]) -> str:
    classes = len(dataset.classes)
    if values <= {0, 255}:
        return "a 0/255 mask: divide it by 255"
    if len(values) == classes:
        return f"map its {classes} values to 0 to {classes - 1}"
    if len(values) > 20:
        return "so many values come from smoothing or JPEG: write masks as PNG, resized by nearest neighbour only"
    return f"map the values to 0 to {classes - 1}, or name more classes"


def _empty_classes(dataset: Dataset, masks: list[FileRecord]) -> list[Problem]:
    pixels = _pixels(masks)
    if not masks or any(value >= len(dataset.classes) and value != dataset.ignore_index for value in pixels):
        return []  # the values are coded wrongly, and that is said already
    fix = "mend the masks or take the class away"
    if dataset.ignore_index in pixels:
        ignored = dataset.ignore_index
        fix = f"{pixels[ignored]} pixels hold {ignored} (ignored): if these are 0/{ignored} masks, divide by {ignored}"
    folder = f"{dataset.masks}/"
    return [
        Problem(folder, f"class {value} ({name}) is in none of the {len(masks)} readable masks", fix)
        for value, name in enumerate(dataset.classes)
        if value not in pixels
    ]


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
