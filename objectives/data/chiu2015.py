"""The Duke DME data of Chiu et al. 2015: ten MATLAB volumes -> the 110 annotated B-scans as the paper used them."""

import csv
import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.split import Split, by_subject, write_classes, write_lists
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import whole_folder, write_whole

CLASSES = ("background", "fluid")
NATIVE_SHAPE = (496, 768)  # height, width in pixels of a B-scan
PAPER_SIZE = 256  # pixels a side after resizing
FLUID_ABOVE = 0.3  # manualFluid1 holds region ids 1 to 13; the paper's threshold makes them one class

# The B-scans that were annotated: the foveal one of each subject (index from 0) and five to either side of it.
_FOVEA = {1: 30, 2: 30, 3: 30, 4: 26, 5: 28, 6: 30, 7: 31, 8: 28, 9: 30, 10: 30}
_FROM_FOVEA = (-20, -15, -10, -5, -2, 0, 2, 5, 10, 15, 20)

# The split that the paper's authors published: numbers N of img_N, in the order of their lists.
_PUBLISHED_TRAIN = """
    70 109 29 14 93 65 47 63 26 4 101 42 84 17 53 45 87 41 3 69 97 60 95 46 40 77 91 18 6 105 108 107 50 2 24 89 19 59
    61 55 103 10 38 74 34 72 92 56 64 11 49 16 57 8 82 48 1 44 37 58 71 9 76 31 20 43 81 90 12 30 66 27 23 15 78 36 85
    73 28 25 7 96 0 62 102 94 52 35
"""
_PUBLISHED_VAL = "79 106 39 54 86 83 21 68 75 33 32 22 51 5 88 100 104 80 67 98 99 13"

_log = logging.getLogger(__name__)


def convert(
    folder: Path, out: Path, *, full_resolution: bool = False, scan_shape: tuple[int, int] = NATIVE_SHAPE
) -> Dataset:
    """Turn Subject_01.mat .. Subject_10.mat in `folder` into images/, masks/, splits/, subjects.csv and classes.txt.

    They are written into `out`, new or empty.

    Known of the paper's data: a B-scan counts when manualFluid1 is not all NaN; the mask is manualFluid1 > 0.3 (NaN is
    background); PIL resized both to 256 x 256 and saved 8-bit grey PNG, img_0 and up in the order of subjects and
    B-scans. Assumed: PIL's defaults for the images (bicubic), nearest neighbour for the masks, which are binarised
    first. `full_resolution` keeps the native 496 x 768. `scan_shape` is the (height, width) the volumes must have.

    splits/train.txt and val.txt are the published lists when exactly the 110 expected B-scans are found. Otherwise
    they split by subject (a fifth validates), or are left out for a single subject; a warning is logged.

    Raises InputError for a folder without .mat files, files that cannot be read, missing keys, other shapes or
    intensities, no annotated B-scan at all, and for an `out` that is not empty.
    """
    volumes = _find_volumes(Path(folder))
    rows: list[tuple[str, int, int]] = []
    with whole_folder(Path(out)) as part:
        (part / "images").mkdir()
        (part / "masks").mkdir()
        for subject, path in volumes.items():
            for bscan, image, mask in _annotated(path, scan_shape):
                name = f"img_{len(rows)}"
                _resized(image, full_resolution, Image.Resampling.BICUBIC).save(part / "images" / f"{name}.png")
                _resized(mask, full_resolution, Image.Resampling.NEAREST).save(part / "masks" / f"{name}.png")
                rows.append((name, subject, bscan))
        if not rows:
            raise InputError(
                f"{folder}: manualFluid1 is NaN throughout; give the annotated volumes of Chiu et al. 2015"
            )
        _write_subjects(part / "subjects.csv", rows)
        write_classes(CLASSES, part)
        split = _choose_split(Dataset.open(part, classes=CLASSES, subjects="subjects.csv"), rows)
        if split:
            write_lists(split, part / "splits")
    return Dataset.open(out, classes=CLASSES, subjects="subjects.csv")


def published_split() -> Split:
    """The paper's 88 training and 22 validation images, by name; nine of ten subjects stand on both sides."""
    return Split(
        train=tuple(f"img_{number}" for number in _PUBLISHED_TRAIN.split()),
        val=tuple(f"img_{number}" for number in _PUBLISHED_VAL.split()),
        source="published with the paper",
    )


def _find_volumes(folder: Path) -> dict[int, Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one with Subject_01.mat to Subject_10.mat")
    found = {int(m[1]): p for p in folder.iterdir() if (m := re.fullmatch(r"Subject_(\d+)\.mat", p.name))}
    if not found:
        raise InputError(f"{folder}: no Subject_NN.mat; give the folder with Subject_01.mat to Subject_10.mat")
    return dict(sorted(found.items()))


def _annotated(path: Path, scan_shape: tuple[int, int]) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.uint8]]]:
    """(index from 0, image 0..255, mask 0/1), both (height, width), of each annotated B-scan in a volume."""
    volume = _load(path)
    for key in ("images", "manualFluid1"):
        if key not in volume:
            raise InputError(f"{path}: no variable {key!r}; give the unchanged file of Chiu et al. 2015")
    images, fluid = np.asarray(volume["images"]), np.asarray(volume["manualFluid1"])
    for key, array in (("images", images), ("manualFluid1", fluid)):
        if array.ndim != 3 or array.shape[:2] != scan_shape or array.shape != images.shape:
            expected = f"({scan_shape[0]}, {scan_shape[1]}, number of B-scans)"
            raise InputError(
                f"{path}: {key} has shape {array.shape}; it must be {expected}, the same for both variables"
            )
        if array.dtype.kind not in "uifb":
            raise InputError(f"{path}: {key} holds {array.dtype}, not numbers; give the unchanged file")
    if not np.all((images >= 0) & (images <= 255)):
        raise InputError(f"{path}: images holds values outside 0 to 255 or NaN; it must be 8-bit grey")
    for index in np.flatnonzero(~np.isnan(fluid).all(axis=(0, 1))):
        image = np.rint(images[:, :, index]).astype(np.uint8)
        yield int(index), image, (fluid[:, :, index] > FLUID_ABOVE).astype(np.uint8)


def _load(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat  # slow to import, needed only here

    try:
        return dict(loadmat(path, variable_names=["images", "manualFluid1"]))
    except NotImplementedError:
        raise InputError(
            f"{path}: MATLAB 7.3 (HDF5) format, which cannot be read; save it in MATLAB with save(..., '-v7')"
        ) from None
    except Exception as error:  # scipy raises nearly anything on damaged bytes
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{path}: cannot be read as a MATLAB file ({reason}); download it again") from None


def _resized(array: NDArray[np.uint8], full_resolution: bool, how: Image.Resampling) -> Image.Image:
    image = Image.fromarray(array)
    return image if full_resolution else image.resize((PAPER_SIZE, PAPER_SIZE), how)


def _write_subjects(path: Path, rows: list[tuple[str, int, int]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("image", "subject", "bscan"), *rows])
    write_whole(path, text.getvalue())


def _choose_split(dataset: Dataset, rows: list[tuple[str, int, int]]) -> Split | None:
    found = [(subject, bscan) for _, subject, bscan in rows]
    if found == [(subject, fovea + step) for subject, fovea in _FOVEA.items() for step in _FROM_FOVEA]:
        return published_split()
    _log.warning(
        "found %d annotated B-scans, not exactly the paper's 110: its published split does not apply", len(rows)
    )
    if len(set(dataset.subjects.values())) < 2:
        _log.warning("a single subject cannot be split by subject: no splits/ written")
        return None
    _log.warning("splits/ is by subject instead, a fifth of the images for validation")
    return by_subject(dataset, val_share=0.2, seed=0)
