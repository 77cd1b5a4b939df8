"""What the report says beyond the trials: data, split, versions, machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mmtuna.objectives.data.manifest import Manifest, class_pixels
from mmtuna.objectives.trial_files import LISTS, MANIFEST, OVERLAYS
from mmtuna.search.trials.folder import folder_to_look
from mmtuna.search.versions import machine, versions
from mmtuna.spaces.errors import InputError

if TYPE_CHECKING:
    import optuna

    from mmtuna.studies.report import ReportFacts
    from mmtuna.studies.results import TrialRow
    from mmtuna.studies.spec import StudySpec


def gather_facts(spec: StudySpec, study: optuna.Study, best: TrialRow | None = None) -> ReportFacts:
    """Facts of the spec's data and of this machine, with the overlays of the trial `best`.

    From the split's lists and the manifest that the study's folder holds, so nothing is read anew; what is not there
    (a replayed study has no data) is left out.
    """
    from mmtuna.studies.report import ReportFacts
    from mmtuna.studies.sampling import sampler_name

    overlays = _overlays(spec, study, best)  # first: from S3 the lists come with them
    folder = spec.study.folder
    sides = [_names(folder / LISTS / f"{side}.txt") for side in ("train", "val")]
    subjects = _subjects(spec) if all(sides) else {}
    known = [{subjects[name] for name in names if name in subjects} for names in sides]
    pixels = class_pixels(Manifest.load(folder / MANIFEST))
    classes = spec.data.classes
    return ReportFacts(
        spec=f"{spec.study.name}",
        metric=spec.study.metric,
        value=spec.study.value,
        asked=spec.study.trials,
        dataset=spec.data.root.name if all(sides) else "",
        classes=classes,
        train_images=len(sides[0]) or None,
        val_images=len(sides[1]) or None,
        train_subjects=len(known[0]) or None,
        val_subjects=len(known[1]) or None,
        shared_subjects=len(known[0] & known[1]) if subjects else None,
        split={"lists": "published lists", "random": "random, by image", "subject": "by subject"}[spec.data.split],
        pixels={name: pixels.get(value, 0) for value, name in enumerate(classes)} if pixels else {},
        sampler=sampler_name(spec.study, spec.search_space()),
        pruner=spec.study.pruner,
        seed=spec.study.seed,
        versions=versions(),
        machine=machine(),
        overlays=overlays,
    )


def _overlays(spec: StudySpec, study: optuna.Study, best: TrialRow | None) -> list[tuple[str, str, bytes]]:
    if best is None or not best.folder:
        return []
    caption = f"trial {best.number}; missed is hatched blue, false dotted vermillion, right outlined in green"
    files = sorted((folder_to_look(spec, study, best.folder) / OVERLAYS).glob("*.png"))
    return [(file.stem.partition("-")[2], caption, file.read_bytes()) for file in files]


def _names(path: os.PathLike[str]) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return [line.strip() for line in file if line.strip()]
    except FileNotFoundError:
        return []


def _subjects(spec: StudySpec) -> dict[str, str]:
    from mmtuna.search.work.preparation import open_dataset

    try:
        return dict(open_dataset(spec).subjects)
    except InputError:
        return {}  # the data may lie elsewhere by now; the report is of the study
