"""What a report says beside the trials, and the study as the report reads it: once, all figures from one moment."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import optuna

from mmtuna.spaces.metrics import HD95, NSD
from mmtuna.spaces.portfolio import unpacked
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import scaled_by
from mmtuna.studies.attributes import BEGUN_WITH, FINGERPRINTS, SEARCHED, SPEC
from mmtuna.studies.certainty import Certainty, Counted, certainty
from mmtuna.studies.configs import chosen, seeds_of
from mmtuna.studies.ledger import Ledger, ending, ledger, stopped_by
from mmtuna.studies.looks import Look, looks_of
from mmtuna.studies.report.wording import count, in_folds
from mmtuna.studies.results import UNREADABLE, TrialRow, named_trials, ranked, read_trials, row, shared_settings
from mmtuna.studies.standing import params_key
from mmtuna.studies.table2 import Table2Line, lines

Overlay = tuple[str, str, bytes]
"""Title, caption, and a PNG file's bytes, already as small as they shall be shown."""


@dataclass(frozen=True, kw_only=True)
class ReportFacts:
    """What the trials do not say themselves. Every field may be left out; the report then leaves it out too.

    Metric, classes, base, pretrained, fixed settings and fingerprints are taken from the study where not given here.
    """

    spec: str = ""
    """Name of the spec, such as study.toml."""
    metric: str | None = None
    """What was maximised: a name of mmtuna.spaces.metrics."""
    value: str | None = None
    """Which evaluation of a trial counts: last or best."""
    asked: int | None = None
    """Finished trials that the study shall hold."""
    dataset: str = ""
    """Name of the data set, such as its root folder's."""
    nsd_tolerance: float | None = None
    """Pixels: tolerance of NSD_per_image; None where no outlines were measured."""
    classes: Sequence[str] = ()
    train_images: int | None = None
    val_images: int | None = None
    train_subjects: int | None = None
    val_subjects: int | None = None
    folds: int = 1
    """Trainings of a trial; the images and subjects of both sides are then those of the first, and together all."""
    shared_subjects: int | None = None
    """Subjects with images on both sides of the split."""
    split: str = ""
    """Where the split comes from, in a few words."""
    pixels: Mapping[str, int] = field(default_factory=dict)
    """Labelled pixels per class, over all images."""
    base: str | None = None
    pretrained: str | None = None
    fixed: Mapping[str, object] | None = None
    """Settings and config keys that are the same in every trial."""
    limits: str = ""
    """What a net may ask where it is deployed, in a few words."""
    searched: Sequence[tuple[str | None, str | None]] = ()
    """By which samplers and pruners, in the order in which they came; None for one that was not kept."""
    collapses_stop: bool = False
    """Whether a trial that never found one of the classes is stopped, beside the pruner."""
    seed: int | None = None
    """Seed of the study: the sampler's, and of the first training of each params."""
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    fingerprints: Mapping[str, object] | None = None
    """May be nested; leaves are shown by their dotted place."""
    overlays: Sequence[Overlay] = ()
    counted: Counted = field(default_factory=Counted)
    """What the trials of the best configs counted image by image."""


NOT_KEPT = "not kept"
"""In place of a name that was not kept."""


def _filled(facts: ReportFacts, attrs: Mapping[str, Any]) -> ReportFacts:
    """`facts` with what the study itself remembers of its spec."""
    spec = _table(attrs.get(SPEC))
    metric, model = _table(spec.get("metric")), _table(spec.get("model"))
    classes = _table(spec.get("data")).get("classes")
    return replace(
        facts,
        metric=facts.metric or _text(metric.get("name")) or "mIoU",
        value=facts.value or _text(metric.get("value")) or "last",
        nsd_tolerance=_pixels(metric.get("nsd_tolerance")) if facts.nsd_tolerance is None else facts.nsd_tolerance,
        classes=tuple(facts.classes or (map(str, classes) if isinstance(classes, list) else ())),
        base=facts.base or _text(model.get("base")),
        pretrained=facts.pretrained or _text(model.get("pretrained")),
        searched=_searched(attrs) or facts.searched,
        fixed=_table(spec.get("train")) if facts.fixed is None else facts.fixed,
        limits=facts.limits or ", ".join(f"{name} = {limit}" for name, limit in _table(spec.get("limits")).items()),
        fingerprints=_table(attrs.get(FINGERPRINTS)) if facts.fingerprints is None else facts.fingerprints,
    )


def _study_attrs(study: optuna.Study) -> tuple[Mapping[str, Any], list[str]]:
    """The study's attributes, and which of those that a report reads are not as mmtuna writes them."""
    try:
        attrs = study.user_attrs
    except UNREADABLE:
        return {}, ["the study's attributes"]
    spec = attrs.get(SPEC, {})
    tables = [spec, *(_table(spec).get(name, {}) for name in ("metric", "model", "data", "train"))]
    sound = {"spec": all(table is _table(table) for table in tables)}
    sound["fingerprints"] = isinstance(attrs.get(FINGERPRINTS, {}), Mapping)
    sound["samplers and pruners"] = _searched(attrs) is not None
    sound["beginning"] = _begun_with(attrs) is not None
    return attrs, [f"the study's {name}" for name, right in sound.items() if not right]


def _begun_with(attrs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the study knew before trial 1, others' trials unpacked; None where that is not as mmtuna writes it."""
    found = attrs.get(BEGUN_WITH, {})
    if not isinstance(found, Mapping) or not isinstance(found.get("warm", []), list):
        return None
    try:
        return {**found, "others": unpacked(found.get("others", []))}
    except (TypeError, ValueError, KeyError):
        return None


def _searched(attrs: Mapping[str, Any]) -> list[tuple[str | None, str | None]] | None:
    """By what the study's workers searched it; None where that is not as mmtuna writes it."""
    try:
        return [
            (None if one is None else str(one), None if other is None else str(other))
            for one, other in attrs.get(SEARCHED, [])
        ]
    except (TypeError, ValueError):
        return None


def _table(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _text(found: object) -> str | None:
    return found if isinstance(found, str) else None


def _pixels(found: object) -> float | None:
    return found if isinstance(found, int | float) else None


def folded_text(facts: ReportFacts) -> str:
    """What a trial of folds is measured on; empty of one training, and where the images are not known."""
    if facts.folds < 2 or facts.train_images is None or facts.val_images is None:
        return ""
    of = ""
    if facts.train_subjects is not None and facts.val_subjects is not None:
        of = f" of {count(facts.train_subjects + facts.val_subjects, 'subject')}"
    return in_folds(f"{count(facts.train_images + facts.val_images, 'image')}{of}", facts.folds)


def tolerance_text(facts: ReportFacts) -> str:
    """What outlines were measured with; empty where they were not."""
    if facts.nsd_tolerance is None:
        return ""
    return f"{NSD} has a tolerance of {facts.nsd_tolerance:g} pixels; {HD95} is in pixels."


class Reading:
    """A study read once for a report: its trials, its rows by how they ended, and the facts filled in.

    Workers may add trials meanwhile, and figures would not add up: nothing asks the study a second time.
    """

    def __init__(self, study: optuna.Study, space: SearchSpace, facts: ReportFacts) -> None:
        self.name = study.study_name
        self.space = space
        attrs, self._damage = _study_attrs(study)
        self.facts = _filled(facts, attrs)
        self.metric = self.facts.metric or "mIoU"
        self.trials, self.unreadable = read_trials(study)
        shared = shared_settings(attrs)
        self.rows: list[TrialRow] = [row(trial, shared) for trial in self.trials]
        self.ledger: Ledger = ledger(self.rows)
        self.looks: list[Look] = looks_of(attrs)
        self.begun_with = _begun_with(attrs) or {}

    @property
    def samplers(self) -> list[str]:
        """By which samplers it was searched, in the order in which they came first."""
        return list(dict.fromkeys(sampler or NOT_KEPT for sampler, _ in self.facts.searched))

    @property
    def pruners(self) -> list[str]:
        """And by which pruners trials were stopped."""
        return list(dict.fromkeys(pruner or NOT_KEPT for _, pruner in self.facts.searched))

    @cached_property
    def damage(self) -> list[str]:
        """What is left out since the database does not hold it as mmtuna writes it: a phrase each."""
        whole = [f"all of {named_trials(self.unreadable)}"] if self.unreadable else []
        names = dict.fromkeys(name for row in self.rows for name in row.damaged)
        having = {name: [row.number for row in self.rows if name in row.damaged] for name in names}
        return self._damage + whole + [f"{name} of {named_trials(numbers)}" for name, numbers in having.items()]

    def ended(self, how: str) -> list[TrialRow]:
        """The rows that ended so: complete, pruned, diverged or failed (or are running or waiting)."""
        return [row for row in self.rows if ending(row) == how]

    @cached_property
    def stopped(self) -> Counter[str]:
        """How many pruned trials each rule stopped (`ledger.stopped_by`)."""
        return Counter(stopped_by(row) for row in self.ended("pruned"))

    @cached_property
    def complete(self) -> list[TrialRow]:
        """Complete trials with a value, by number."""
        return [row for row in self.ended("complete") if row.value is not None]

    @cached_property
    def ranked(self) -> list[TrialRow]:
        """Complete trials, the best first, the earliest of equals first."""
        return ranked(self.rows)

    @property
    def best(self) -> TrialRow | None:
        """The best complete trial, or None where there is none."""
        return self.ranked[0] if self.ranked else None

    @cached_property
    def chosen(self) -> TrialRow | None:
        """The trial to go on with: the best, or of configs that were confirmed the best of the surest."""
        return chosen(self.rows)

    @cached_property
    def chosen_seeds(self) -> int:
        """With how many seeds its config was trained."""
        return 0 if self.chosen is None else seeds_of(self.rows, self.chosen)

    @property
    def finished(self) -> int:
        """Trials that count: complete, pruned and diverged."""
        return sum(row.finished for row in self.rows)

    @cached_property
    def table2(self) -> list[Table2Line]:
        """The paper's rows beside ours."""
        return lines(self.rows, self.space, self.foreground, self.facts.fixed or {})

    @property
    def foreground(self) -> str:
        """The class beside the published fluid IoU: class 1, as in the paper's data."""
        return self.facts.classes[1] if len(self.facts.classes) > 1 else "fluid"

    @cached_property
    def replicated(self) -> int:
        """Params that more than one complete trial was trained with."""
        return sum(count > 1 for count in Counter(params_key(row.params) for row in self.complete).values())

    @cached_property
    def certainty(self) -> Certainty | None:
        """How sure the figures of the best configs are; None where no trial is complete."""
        return certainty(self.rows, self.metric, self.facts.counted, self.facts.classes)

    @property
    def test_images(self) -> int | None:
        """How many images were set aside when the study was begun, for no trial to see; None where none were."""
        found = _table(_table(self.facts.fingerprints).get("split")).get("test")
        return found if isinstance(found, int) else None

    def metrics(self, row: TrialRow) -> Mapping[str, float]:
        """The metrics of the evaluation that counts."""
        return row.best_metrics if self.facts.value == "best" else row.metrics

    def scaling(self, row: TrialRow) -> str:
        """By what the sides and iterations that a row's settings name were scaled, and how many iterations it trained,
        in a sentence; empty where by nothing."""
        scaled = scaled_by({**(self.facts.fixed or {}), **row.params})
        if not scaled:
            return ""
        said = f"Sides and iterations are named as they were before {scaled}"
        folds = " in all folds together" if row.folds else ""
        return (
            f"{said}; {row.iterations:,} iterations were trained{folds}." if row.iterations is not None else f"{said}."
        )

    def curve(self, row: TrialRow) -> list[tuple[float, float]]:
        """(step in percent, metric) of each evaluation; what the pruner saw where no curve was stored."""
        measured = [point for point in row.curve if math.isfinite(point.get(self.metric, math.nan))]
        stored = [(point["step"], point[self.metric]) for point in measured]
        if stored:
            return stored
        reported = self._reported.get(row.number, {})
        # A diverged trial ends with a 0.0 that was never measured: it only teaches the sampler.
        steps = sorted(reported)[: -1 if ending(row) == "diverged" else None]
        return [(step, reported[step]) for step in steps if math.isfinite(reported[step])]

    @cached_property
    def _reported(self) -> dict[int, dict[int, float]]:
        return {trial.number: trial.intermediate_values for trial in self.trials}


def value_of(row: TrialRow) -> float:
    """The value of a row that has one."""
    assert row.value is not None
    return row.value
