"""Synthetic OCT volumes of eyes with macular edema: a data set that needs no download, with true masks."""

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.phantom_eye import Eye, draw_scan
from mmtuna.objectives.data.split import by_subject, write_classes, write_lists
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import whole_folder, write_whole

CLASSES = ("background", "fluid")


def write_phantom(
    folder: Path, *, subjects: int = 8, scans: int = 6, size: int = 256, seed: int = 0, val_share: float = 0.25
) -> Dataset:
    """Draw `scans` B-scans of `size` x `size` pixels for each of `subjects` eyes into `folder`.

    Written are images/ and masks/ (8-bit grey PNG, masks 0 background and 1 fluid), subjects.csv, classes.txt and
    splits/train.txt and val.txt, split by subject. Fluid covers 1 to 2 % of the pixels; the outermost third of the
    scans has none. The same arguments give the same bytes, and subject n looks the same however many there are.

    Raises InputError for fewer than 2 subjects, no scans, a size under 64, a negative seed, a val_share outside 0..1
    and a folder that is not empty.
    """
    for name, value, least in (("subjects", subjects, 2), ("scans", scans, 1), ("size", size, 64), ("seed", seed, 0)):
        if value < least:
            raise InputError(f"phantom: {name} is {value}; it must be at least {least}")
    rows: list[tuple[str, int, int]] = []
    with whole_folder(Path(folder)) as part:
        (part / "images").mkdir()
        (part / "masks").mkdir()
        for subject, seeds in enumerate(np.random.SeedSequence(seed).spawn(subjects), start=1):
            rng = np.random.default_rng(seeds)
            eye = Eye.grow(rng)
            for bscan in range(scans):
                image, mask = draw_scan(eye, (2 * bscan + 1) / scans - 1, size, rng)
                name = f"img_{len(rows)}"
                Image.fromarray(image).save(part / "images" / f"{name}.png")
                Image.fromarray(mask).save(part / "masks" / f"{name}.png")
                rows.append((name, subject, bscan))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("image", "subject", "bscan"), *rows])
        write_whole(part / "subjects.csv", text.getvalue())
        write_classes(CLASSES, part)
        dataset = Dataset.open(part, classes=CLASSES, subjects="subjects.csv")
        write_lists(by_subject(dataset, val_share=val_share, seed=seed), part / "splits")
    return Dataset.open(folder, classes=CLASSES, subjects="subjects.csv")
