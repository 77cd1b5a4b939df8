"""The report of a study: what it says beyond the trials (data, split, versions, machine), and the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmtuna.objectives.data.manifest import Manifest
from mmtuna.objectives.data.sides import side_pixels
from mmtuna.search.outputs.evaluations import counted, data_here
from mmtuna.search.trials.files import StudyFiles
from mmtuna.search.trials.ownership import is_own
from mmtuna.search.versions import machine, versions
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import write_whole
from mmtuna.spaces.trials import LAST_STEP
from mmtuna.studies import results
from mmtuna.studies.begun import space_of
from mmtuna.studies.configs import top_configs

if TYPE_CHECKING:
    import optuna

    from mmtuna.spaces.search_space import SearchSpace
    from mmtuna.studies.report import ReportFacts
    from mmtuna.studies.results import TrialRow
    from mmtuna.studies.spec import StudySpec

_SPLITS = {
    "lists": "given lists",
    "folders": "by folder",
    "random": "random, by image",
    "subject": "by subject",
    "subject-kfold": "by subject, in folds",
}


def report_file(spec: StudySpec, within: str = "") -> Path:
    """Where the report lies unless a person names another place; `within` is the folder of another study than the
    spec's, in that of the spec."""
    return spec.study.folder / within / "report.html"


def write_report(spec: StudySpec, study: optuna.Study, out: Path, methods: Path | None = None) -> Path:
    """Writes the report, one HTML file that needs no network, to `out`, whole or not at all.

    `methods` is a Markdown file for the methods section and the checklist, written where it is named. InputError where
    the two are one file.
    """
    if methods is not None and methods.resolve() == out.resolve():
        raise InputError(f"{methods}: named for the report and for its methods; one would be lost, so name two files")
    from mmtuna.studies.report import ReportFacts, methods_markdown, report_html
    from mmtuna.studies.report.facts import Reading

    space = _space(spec, study)
    looked = Reading(study, space, ReportFacts())
    facts = gather_facts(spec, study, looked.best, looked.rows)
    write_whole(out, report_html(study, space, facts))
    if methods is not None:
        write_whole(methods, methods_markdown(study, space, facts))
    return out


def _space(spec: StudySpec, study: optuna.Study) -> SearchSpace:
    try:
        return space_of(study, spec)
    except (AttributeError, *results.UNREADABLE):
        return spec.search_space()  # the study's attributes are damaged, which the report says


def gather_facts(
    spec: StudySpec, study: optuna.Study, best: TrialRow | None = None, rows: Sequence[TrialRow] = ()
) -> ReportFacts:
    """Facts of the spec's data and of this machine, with the overlays of the trial `best`, and what the best configs
    among `rows` counted by image.

    Of the spec's number of trials, sampler, pruner and seed nothing is said where the study is not the spec's own: an
    Objective trained for it, and a person chose these.

    From the split's lists and the manifest that the study's folder holds, so nothing is read anew; what is not there
    (a replayed study has no data) is left out.
    """
    from mmtuna.studies.report import ReportFacts
    from mmtuna.studies.strategy.pruning import collapse_stops
    from mmtuna.studies.strategy.sampling import sampler_name

    files = StudyFiles(spec.study, spec.data.root, study)
    overlays = _overlays(files, best)  # first: from S3 the lists come with them
    folder = files.folder
    sides = [_names(path) for path in folder.lists]  # of folds those of the first
    dataset = data_here(spec)
    subjects = dataset.subjects if all(sides) and dataset is not None else {}
    known = [{subjects[name] for name in names if name in subjects} for names in sides]
    shown = [name for side in sides for name in side]
    pixels = side_pixels(Manifest.load(folder.manifest), dataset, shown) if dataset is not None else {}
    classes = spec.data.classes
    own = is_own(study, spec.study)
    top = [row for config in top_configs(rows) for row in config]
    return ReportFacts(
        spec=f"{spec.study.name}",
        metric=spec.study.metric,
        value=spec.study.value,
        # More by --trials or --replicates than the spec says were asked for otherwise, and nobody kept how many.
        asked=spec.study.trials if own and sum(row.finished for row in rows) <= spec.study.trials else None,
        dataset=spec.data.root.name if all(sides) else "",
        classes=classes,
        train_images=len(sides[0]) or None,
        val_images=len(sides[1]) or None,
        train_subjects=len(known[0]) or None,
        val_subjects=len(known[1]) or None,
        folds=spec.folds,
        shared_subjects=len(known[0] & known[1]) if subjects else None,
        split=_SPLITS[spec.data.split],
        pixels={name: pixels.get(value, 0) for value, name in enumerate(classes)} if pixels else {},
        searched=[(sampler_name(spec.study, _space(spec, study)), spec.study.pruner)] if own else [],
        collapses_stop=own and collapse_stops(spec.study.pruner) < LAST_STEP,
        seed=spec.study.seed if own else None,
        versions=versions(),
        machine=machine(),
        overlays=overlays,
        counted=counted(spec, files, top, dataset),
    )


def _overlays(files: StudyFiles, best: TrialRow | None) -> list[tuple[str, str, bytes]]:
    if best is None or not best.folder:
        return []
    caption = f"trial {best.number}; missed is hatched blue, false dotted vermillion, right outlined in green"
    pictures = files.to_look(best.folder).pictures()
    return [(file.stem.partition("-")[2], caption, file.read_bytes()) for file in pictures]


def _names(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        return []
