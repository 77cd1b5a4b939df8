"""The chosen trial on the images that no trial saw, once; and what the study keeps of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import optuna

from mmtuna.objectives.deployment.bundle import stand_alone
from mmtuna.objectives.deployment.verify import check_metrics
from mmtuna.objectives.evaluation.metrics import Counts, Measures
from mmtuna.objectives.measured import Counted, measure, measure_together
from mmtuna.objectives.trial_files import StudyFolder, TrialFolder
from mmtuna.search.checking.preparation import Preparation
from mmtuna.search.checking.preparing import reopen
from mmtuna.search.outputs.bundle import trusted_imports
from mmtuna.search.trials.files import StudyFiles
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import write_whole
from mmtuna.spaces.traces import scratch_folder
from mmtuna.studies import configs
from mmtuna.studies.looks import Look, looks_of, note_look
from mmtuna.studies.results import TrialRow
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.statistics.intervals import Interval
from mmtuna.studies.statistics.measures import counts_table, measured
from mmtuna.studies.storage.opening import study_lock
from mmtuna.studies.study import check_opening, finished, open_existing

_TIMEOUT = 4 * 3600.0  # seconds; many images on a slow CPU take their time


@dataclass(frozen=True)
class Tested:
    """All looks at a study's test set, the first one first; whether the last one was made now; the best trial now."""

    looks: tuple[Look, ...]
    fresh: bool
    best: int


def measure_unseen(
    spec: StudySpec, trial: int | None = None, *, again: bool = False, say: Callable[[str], None] = lambda _: None
) -> Tested:
    """Measures a complete trial on the study's test set, unless that was looked at before.

    Args:
        trial: its number; None for the best.
        again: measure though it was looked at before; that is kept and told.
        say: takes a line before what takes long.

    The weights are those whose metrics are the trial's value; on the validation images they must give it once more.
    The nets of folds are measured together, by the mean of their probabilities.

    Raises InputError for a study without a test set, a trial that is not complete or has lost its weights, and data
    that changed since the study was begun.
    """
    if spec.data.test is None:
        raise InputError(
            "[data] test names no images, and a study keeps the test set that it was begun with; begin a new one with "
            "test = a file that lists images, subjects, or a share such as 0.2"
        )
    study = open_existing(spec.study)
    entry, best = configs.complete(study, trial), configs.complete(study)
    before = looks_of(study.user_attrs)
    if before and not again:
        return Tested(tuple(before), False, best.number)
    look = _look(spec, study, entry, say)
    looks = note_look(study, look, study_lock(spec.study.storage, spec.study.name))
    return Tested(tuple(looks), True, best.number)


def _look(spec: StudySpec, study: optuna.Study, entry: TrialRow, say: Callable[[str], None]) -> Look:
    ready = reopen(spec)
    check_opening(spec, ready.fingerprints())
    assert ready.split is not None
    say(f"trial {entry.number}: measured on {len(ready.split.test)} images that no trial saw")
    files = StudyFiles(spec.study, spec.data.root, study)
    classes, test = spec.data.classes, ready.split.test
    # The same weights, data and versions give the trial's own figures once more, or the new ones would be another's.
    folds = files.fold_weights(entry)
    if folds:
        nets = [stand_alone(fold.read_config()) | {"load_from": str(weights)} for fold, weights in folds]
        for net, split, known in zip(nets, ready.folds, entry.folds, strict=True):
            check_metrics(_count(ready, [net], split.val).figures(classes), known)
        unseen = _count(ready, nets, test)
    else:
        weights = files.weights(entry)
        net = stand_alone(TrialFolder(weights.parent).read_config()) | {"load_from": str(weights)}
        found = _count(ready, [net], (*ready.split.val, *test))
        known = entry.metrics if spec.study.value == "last" else entry.best_metrics
        check_metrics(found.of(ready.files_of(ready.split.val)).figures(classes), known)
        unseen = found.of(ready.files_of(test))
    measures = ready.measures(test)
    figures = unseen.figures(classes, measures)
    spans = intervals(unseen.counts, figures, classes, measures)
    assert entry.value is not None
    return Look(
        trial=entry.number,
        value=entry.value,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        finished=finished(study),
        images=len(unseen.counts),
        subjects=len(set(measures.subjects.values())) if measures.subjects else None,
        figures=figures,
        intervals={metric: (interval.low, interval.high) for metric, interval in spans.items()},
        methods={metric: str(interval.how) for metric, interval in spans.items()},
    )


def _count(ready: Preparation, nets: Sequence[dict[str, Any]], names: Sequence[str]) -> Counted:
    """What a net, or several together, count on these images."""
    ready.write_copies(names, StudyFolder(ready.spec.study.folder).copies)
    imports = trusted_imports(ready.spec)
    with scratch_folder() as folder:
        listed = folder / "names.txt"
        write_whole(listed, "".join(f"{name}\n" for name in names))
        if len(nets) > 1:
            return measure_together(nets, listed, imports=imports, timeout=_TIMEOUT)
        return measure(nets[0], listed, imports=imports, measures=ready.measures(names), timeout=_TIMEOUT)


def intervals(
    counts: Mapping[str, Counts], metrics: Iterable[str], classes: Sequence[str], measures: Measures
) -> dict[str, Interval]:
    """By metric the 95 % interval of its figure over these images, or over their subjects where all are known.

    Fractions, 0 to 1. Metrics that counts do not give have none, nor has what is measured on a single unit.
    """
    subjects = [measures.subjects.get(name, "") for name in counts]
    table = counts_table([{name: vars(count) for name, count in counts.items()}], list(counts))
    known, found = subjects if all(subjects) else None, {}
    for metric in metrics:
        made = measured(metric, table, classes, subjects=known, missing=measures.both_empty)
        interval = None if made is None else made.interval()
        if interval is not None:
            found[metric] = interval
    return found
