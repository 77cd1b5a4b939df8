"""Two trials side by side on the same validation images, as figure 6 of the paper; and which of them is better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmtuna.objectives.deployment.contract import ignore_index
from mmtuna.objectives.deployment.predictions import find_named, predict_names, read_mask
from mmtuna.objectives.evaluation.overlays import choose_images
from mmtuna.objectives.evaluation.overlays import compare as draw
from mmtuna.objectives.predict import read_image
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.search.outputs.bundle import trusted_imports
from mmtuna.search.outputs.evaluations import counted
from mmtuna.search.trials.files import StudyFiles
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import whole_file
from mmtuna.spaces.traces import scratch_folder
from mmtuna.studies import configs, results
from mmtuna.studies.certainty import APART, Beside, beside, same_truth
from mmtuna.studies.configs import spreads_of
from mmtuna.studies.results import TrialRow
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.standing import params_key
from mmtuna.studies.statistics.seeds import noise_floor
from mmtuna.studies.study import open_to_read

IMAGES = 3
"""Rows of the picture where no image is named: the worst, the median and the best of the second trial."""


@dataclass(frozen=True)
class Comparison:
    """A picture of two trials: its file, their numbers, and the images that it shows."""

    path: Path
    trials: tuple[int, int]
    images: tuple[str, ...]


@dataclass(frozen=True)
class Against:
    """The config of trial `b` beside that of trial `a`: the numbers of all trials of either, and what is known."""

    a: tuple[int, ...]
    b: tuple[int, ...]
    metric: str
    beside: Beside
    value: str = "last"
    """Which evaluation a trial's value is of, last or best."""


def against(spec: StudySpec, a: int, b: int, other: StudySpec | None = None) -> Against:
    """The config of trial `b` beside that of trial `a`, over all their seeds.

    `b` is of the study `other` where that is given. What seeds alone change is taken from both studies. InputError for
    a trial that is not there or not complete, for the same one twice, and for studies of different metrics or values.
    """
    metric, value = spec.study.metric, spec.study.value
    if other is not None and other.study.metric != metric:
        raise InputError(f"the studies maximise {metric} and {other.study.metric}; compare two of the same metric")
    if other is not None and other.study.value != value:
        raise InputError(
            f"the studies' values are of the {value} and of the {other.study.value} evaluation; compare two of the same"
        )
    other = _another(spec, other)
    _require_two(a, b, other)
    sides = [_side(spec, a), _side(spec if other is None else other, b)]
    groups = [[row for row in side.rows if params_key(row.params) == side.key] for side in sides]
    a_numbers, b_numbers = (tuple(row.number for row in group) for group in groups)
    if other is None and sides[0].key == sides[1].key:
        why = "both have the same params and differ by their seed alone"
        return Against(a_numbers, b_numbers, metric, Beside(seeds=(len(groups[1]), len(groups[0])), why=why), value)
    studies = [side.rows for side in sides[: 1 if other is None else 2]]
    known = [values for rows in studies for values in spreads_of(rows, metric)]
    counts = [counted(side.spec, side.files, group) for side, group in zip(sides, groups, strict=True)]
    pair, of_pair = (groups[1], groups[0]), (counts[1], counts[0])
    diverged = (sides[1].diverged, sides[0].diverged)
    found = beside(pair, metric, of_pair, spec.data.classes, noise_floor(known), diverged)
    return Against(a_numbers, b_numbers, metric, found, value)


def _another(spec: StudySpec, other: StudySpec | None) -> StudySpec | None:
    """`other`, None where it is a spec of the very study: what its seeds change would count twice."""
    if other is None:
        return None
    own, theirs = ((one.study.storage, one.study.name) for one in (spec, other))
    return None if own == theirs else other


def _require_two(a: int, b: int, other: StudySpec | None) -> None:
    if a == b and other is None:
        raise InputError(
            f"trial {a} is named twice; give two trials, or with --other the spec of the study that the second is of"
        )


@dataclass(frozen=True)
class _Side:
    spec: StudySpec
    files: StudyFiles
    rows: list[TrialRow]
    diverged: Counter[str]
    key: str


def _side(spec: StudySpec, number: int) -> _Side:
    study = open_to_read(spec)
    entry = configs.complete(study, number)
    everything = results.rows(study)
    rows = [row for row in everything if row.state == "COMPLETE" and row.value is not None]
    files = StudyFiles(spec.study, spec.data.root, study)
    return _Side(spec, files, rows, configs.diverged_of(everything), params_key(entry.params))


def compare(
    spec: StudySpec, a: int, b: int, out: Path, name: str | None = None, other: StudySpec | None = None
) -> Comparison:
    """Draws scan, trial `a`, trial `b` and truth, a row an image, to the PNG file `out`.

    Args:
        a, b: numbers of complete trials, by custom the untuned and the tuned one.
        name: a validation image, with suffix; None for the worst, median and best of trial `b` by foreground IoU.
        other: the study that trial `b` is of, where it is another one.

    Raises InputError for the same trial twice, for one that is not there, not complete or has lost its weights, for a
    name that does not validate, for trials of two studies that were measured on different images or masks, and for an
    `out` that is no PNG.
    """
    if out.suffix.lower() != ".png" or out.is_dir():
        raise InputError(f"{out}: must be a PNG file; name it such as compare.png")
    _require_two(a, b, other)
    pair = [_shown(spec, a), _shown(spec if other is None else other, b)]
    if other is not None:
        _require_same_truth(pair)
    files, entry = pair[1][1:]
    folder = files.trained(entry)
    cfg = folder.read_config()
    meta = cfg["val_dataloader"]["dataset"]["metainfo"]
    names = [name] if name is not None else _choose(folder, meta["classes"])
    images = find_named(folder, names)
    with scratch_folder() as scratch:
        masks = {
            f"{_title(own, entry, other)}: {own.study.metric} {entry.value:.4f}": _masks(
                files, entry, names, scratch / str(place), trusted_imports(own)
            )
            for place, (own, files, entry) in enumerate(pair)
        }
    rows = [
        (key, read_image(found.image), found.truth(), {caption: own[key] for caption, own in masks.items()})
        for key, found in images.items()
    ]
    with whole_file(out) as part:
        draw(rows, palette=meta["palette"], ignore_index=ignore_index(cfg)).save(part, format="PNG")
    return Comparison(out, (a, b), tuple(names))


def _shown(spec: StudySpec, number: int) -> tuple[StudySpec, StudyFiles, TrialRow]:
    study = open_to_read(spec)
    return spec, StudyFiles(spec.study, spec.data.root, study), configs.complete(study, number)


def _require_same_truth(pair: Sequence[tuple[StudySpec, StudyFiles, TrialRow]]) -> None:
    """InputError for trials of two studies whose images only share their names: one's mask on the other's scan says
    nothing."""
    titles, counts = [], []
    for spec, files, entry in pair:
        found = counted(spec, files, [entry])
        titles.append(f"trial {entry.number} of {spec.study.name}")
        if entry.number in found.missing:
            unknown = f"{titles[-1]} {found.missing[entry.number]}, so nothing says which images it was measured on"
            raise InputError(f"no picture was drawn, {unknown}; draw two trials of one study")
        counts.append(found.trials[entry.number])
    if not same_truth(*counts):
        raise InputError(
            f"no picture was drawn, {' and '.join(titles)}: {APART}; draw two of the same images, split and masks"
        )


def _title(spec: StudySpec, entry: TrialRow, other: StudySpec | None) -> str:
    return f"trial {entry.number}" + (f" of {spec.study.name}" if other is not None else "")


def _choose(folder: TrialFolder, classes: list[str]) -> list[str]:
    try:
        images = folder.read_evaluation()["images"]
    except InputError as error:
        raise InputError(f"{error}; or name an image with --image") from None
    # An image without foreground shows least here.
    shown = {name: counts for name, counts in images.items() if any(counts["labelled"][1:])}
    return choose_images({"images": shown or images}, classes, IMAGES)


def _masks(
    files: StudyFiles, entry: TrialRow, names: list[str], scratch: Path, imports: Sequence[str]
) -> dict[str, NDArray[np.uint8]]:
    """Masks by name: those the trial kept, else predicted now."""
    folder = files.trained(entry)
    kept = folder.masks(names)
    if len(kept) < len(names):
        kept = predict_names(folder, names, files.weights(entry), scratch, imports)
    return {name: read_mask(path) for name, path in kept.items()}
