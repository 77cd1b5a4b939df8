"""What trials counted image by image, read from their folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.prepared import configs_suffix
from mmtuna.search.checking.data import open_dataset
from mmtuna.search.trials.files import StudyFiles
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.metrics import BOTH_EMPTY, COUNTS
from mmtuna.studies.certainty import Counted
from mmtuna.studies.results import TrialRow
from mmtuna.studies.spec import StudySpec


def counted(spec: StudySpec, files: StudyFiles, rows: Iterable[TrialRow], dataset: Dataset | None = None) -> Counted:
    """The counts of `rows` by image, of their last evaluations, with the images' subjects where the data say them.

    `dataset` is opened where it is not given. Of a trial whose counts cannot be read it is said why.
    """
    trials, missing = {}, {}
    for row in rows:
        found = _images(files, row, len(spec.data.classes))
        if isinstance(found, str):
            missing[row.number] = found
        else:
            trials[row.number] = found
    return Counted(
        trials=trials,
        missing=missing,
        subjects=_subjects(dataset if dataset is not None else data_here(spec)) if trials else {},
        missing_value=BOTH_EMPTY[spec.study.both_empty],
    )


def data_here(spec: StudySpec) -> Dataset | None:
    """The data set; None where it lies elsewhere by now."""
    try:
        return open_dataset(spec.data)
    except InputError:
        return None


def _subjects(dataset: Dataset | None) -> Mapping[str, str]:
    if dataset is None:
        return {}
    suffix = configs_suffix(dataset)
    return {f"{name}{suffix}": subject for name, subject in dataset.subjects.items()}


def _images(files: StudyFiles, row: TrialRow, classes: int) -> dict[str, Any] | str:
    """The counts of a trial by image; or why there are none, as the end of a sentence."""
    if row.folder is None:
        return "was replayed, so that nothing was counted"
    try:
        images = files.to_look(row.folder).read_evaluation()["images"]
    except (InputError, KeyError, TypeError):
        return "has no evaluation.json on this machine that can be read"
    if not isinstance(images, dict) or not images or not all(_is_counts(found, classes) for found in images.values()):
        return "has an evaluation.json that does not hold the counts that mmtuna writes"
    return images


def _is_counts(found: object, classes: int) -> bool:
    lists = [found.get(kind) for kind in COUNTS] if isinstance(found, dict) else [None]
    return all(isinstance(one, list) and len(one) == classes and all(isinstance(n, int) for n in one) for one in lists)
