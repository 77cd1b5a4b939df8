"""How much of a figure is the leak: by the study's split, and the same images by nets without their subjects."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from mmtuna.objectives.data.split import Split, subject_folds, write_lists
from mmtuna.objectives.prepared import configs_suffix
from mmtuna.objectives.trial_files import StudyFolder
from mmtuna.search.checking.data import Data, read_data
from mmtuna.search.errors import NotReadyError
from mmtuna.search.outputs.evaluations import counted
from mmtuna.search.trials.files import StudyFiles
from mmtuna.search.work.running import run_study
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.metrics import BOTH_EMPTY, maximised
from mmtuna.spaces.parameter import Params, Value
from mmtuna.spaces.settings import defaults_of
from mmtuna.studies import configs, results
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.study_spec import read_text
from mmtuna.studies.spec.tables import LONGEST_NAME, SQLITE, DataTable, StudyTable, defaults
from mmtuna.studies.standing import params_key
from mmtuna.studies.statistics.intervals import LEVEL, Interval, Numbers, bootstrap
from mmtuna.studies.statistics.measures import ImageCounts, Measured, counts_table, measured
from mmtuna.studies.strategy.enqueuing import Replicates
from mmtuna.studies.study import open_existing, space_for

FOLDS = 5
_CONFIG, _NAME = "config", "name"
_BY_SPLIT = "split"
_PRUNES_NOTHING = {"pruner": "none"} | defaults(StudyTable, "pruner_startup", "pruner_warmup")
_DRAWS_NOTHING = defaults(DataTable, "val_share", "folds", "split_seed")
"""Fields that a spec must not set beside such a pruner, and beside lists."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Params of the study's space, complete, by a name of a person's."""

    name: str
    params: Params


@dataclass(frozen=True, kw_only=True)
class LeakLine:
    """A config's figures, each with its interval over subjects and seeds; None where nothing is complete.

    Args:
        seeds: trainings of each side that are compared.
        known: the figure by the study's split, of the validation images whose subjects train, too.
        unseen: that of the same images by nets that were trained without their subjects.
        everything: that of all images by such nets.
        leak: `known` less `unseen`.
        verdict: what that says, in words.
    """

    name: str
    params: Params
    seeds: int
    known: Interval | None
    unseen: Interval | None
    everything: Interval | None
    leak: Interval | None
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Leak:
    """What is left of a study's figures on unseen subjects.

    `images` validate by the study's split, `shared` of them of subjects that train, too: these are compared. `together`
    is the mean leak of all configs. The intervals of the leaks hold all together with 95 % probability.
    """

    metric: str
    split: str
    images: int
    shared: int
    folds: int
    replicates: int
    lines: tuple[LeakLine, ...]
    together: Interval | None
    folder: str


def measure_leak(
    spec: StudySpec,
    configs: Sequence[Config],
    console: Console,
    *,
    replicates: int,
    folds: int = FOLDS,
    metric: str | None = None,
    slots: int | None = None,
    heed_signals: bool = False,
) -> Leak:
    """Trains what is missing of the configs, by the study's split and in folds by subject, and compares the figures.

    The studies lie in a folder beside the study's, a study a split; called again it goes on. It is the last evaluation
    that counts. InputError for a split or a metric by which nothing can be told.
    """
    metric = metric or spec.study.metric
    _refuse_metric(metric, spec.data.classes)
    sides = _Sides.of(spec, folds)
    wanted = Replicates(count=replicates, sets=tuple(config.params for config in configs))
    for place, (name, own) in enumerate(sides.specs.items(), start=1):
        console.print(f"leak: {place} of {len(sides.specs)}: {name}", highlight=False, markup=False)
        run_study(own, console, slots=slots, replicates=wanted, heed_signals=heed_signals)
    found = [sides.compared(config, metric, replicates, len(configs)) for config in configs]
    return Leak(
        metric=metric,
        split=sides.split.source,
        images=len(sides.split.val),
        shared=len(sides.shared),
        folds=len(sides.specs) - 1,
        replicates=replicates,
        lines=tuple(line for line, _ in found),
        together=_together([both for _, both in found]),
        folder=str(sides.folder),
    )


def chosen_configs(spec: StudySpec, trials: Sequence[int] = (), file: Path | None = None) -> list[Config]:
    """The configs of a file, those of complete trials, or else the study's best; before any trial the defaults.

    InputError for a trial or a setting that is not there.
    """
    found = [] if file is None else _read_configs(file, spec)
    if not found or trials:
        found += _of_trials(spec, trials)
    return found


def _of_trials(spec: StudySpec, trials: Sequence[int]) -> list[Config]:
    try:
        study = open_existing(spec.study, to_look=True)
    except InputError:
        if trials:
            raise
        return [_default(spec)]
    if trials:
        entries = [configs.complete(study, number) for number in trials]
    else:
        best = results.best(results.sound_rows(study))
        if best is None:
            return [_default(spec)]
        entries = [best]
    return [Config(name=f"trial {entry.number}", params=entry.params) for entry in entries]


def _default(spec: StudySpec) -> Config:
    try:
        return Config(name="defaults", params=_completed(spec, {}))
    except InputError as error:
        raise InputError(
            f"study {spec.study.name}: no trial is complete yet, and not every parameter has a default ({error}); name "
            "configs with --configs FILE, or search first"
        ) from None


def _completed(spec: StudySpec, settings: Mapping[str, Value]) -> Params:
    """`settings` as complete params of the spec's space: what they leave out takes the paper's value."""
    params = space_for(spec)[0].project({**defaults_of(spec.model.base), **settings})
    for name, value in settings.items():
        if name not in params and spec.train.get(name) != value:
            raise InputError(
                f"{name} = {value!r} is not searched, or changes no trial beside the others; add it to [space], or "
                "remove it"
            )
    return params


def _read_configs(path: Path, spec: StudySpec) -> list[Config]:
    """The tables [[config]] of a TOML file: a name and settings each."""
    try:
        tables = tomllib.loads(read_text(path)).get(_CONFIG)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path.name}: not TOML: {error}") from None
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{path.name}: it names no config; write a table [[config]] with a name and settings for each")
    found: list[Config] = []
    for place, table in enumerate(tables, start=1):
        name = str(table.pop(_NAME, f"config {place}"))
        try:
            found.append(Config(name=name, params=_completed(spec, table)))
        except InputError as error:
            raise InputError(f"{path.name}: [[config]] {name}: {error}") from None
        twin = next((other.name for other in found[:-1] if other.params == found[-1].params), None)
        if twin is not None:
            raise InputError(f"{path.name}: [[config]] {name} is the same as {twin}; remove one of them")
    return found


@dataclass(frozen=True, kw_only=True)
class _Sides:
    """The specs of both sides, the study's split first, then a fold by subject each, and what these compare on."""

    specs: Mapping[str, StudySpec]
    split: Split
    shared: Sequence[str]
    """The images that validate and whose subjects train: of others no net has seen the subjects."""
    names: Mapping[str, str]
    """Image by its name in evaluations, of all images."""
    subjects: Mapping[str, str]
    folder: Path
    missing: float | None

    @classmethod
    def of(cls, spec: StudySpec, folds: int) -> _Sides:
        data = read_data(spec.data, metric=spec.study.metric, known=StudyFolder(spec.study.folder).manifest)
        if data.problems:
            raise NotReadyError(data.problems)
        assert data.dataset is not None
        assert data.split is not None
        shared = _shared(data)
        folder = spec.study.folder.with_name(f"{spec.study.folder.name}-leak")
        names = tuple(sorted({*data.split.train, *data.split.val}))
        splits = subject_folds(data.dataset, names, folds=folds, seed=spec.data.split_seed)
        specs = {_BY_SPLIT: _derived(spec, folder, _BY_SPLIT, {})}
        for place, fold in enumerate(splits, start=1):
            lists = write_lists(fold, folder / "splits" / f"fold-{place}-of-{len(splits)}")
            # Relative to the data, as a person would write them: the study then knows no path of this machine's.
            train, val = (Path(os.path.relpath(path, spec.data.root)).as_posix() for path in lists)
            key = f"fold-{place}-of-{len(splits)}"
            lists_alone = {"split": "lists", "train": train, "val": val, "test": None, **_DRAWS_NOTHING}
            specs[key] = _derived(spec, folder, key, lists_alone)
        suffix = configs_suffix(data.dataset)
        return cls(
            specs=specs,
            split=data.split,
            shared=shared,
            names={name: f"{name}{suffix}" for name in names},
            subjects=data.dataset.subjects,
            folder=folder,
            missing=BOTH_EMPTY[spec.study.both_empty],
        )

    def compared(
        self, config: Config, metric: str, replicates: int, configs: int
    ) -> tuple[LeakLine, tuple[Measured, Measured] | None]:
        """The config's line, and the two sides of it."""
        known, *folds = (self._evaluations(own, config, replicates) for own in self.specs.values())
        seeds = [seed for seed in sorted(known) if all(seed in fold for fold in folds)]
        if not seeds:
            verdict = "not testable: no training of it is complete on both sides"
            nothing: dict[str, Any] = dict.fromkeys(("known", "unseen", "everything", "leak"))
            return LeakLine(name=config.name, params=config.params, seeds=0, verdict=verdict, **nothing), None
        unseen = {seed: {name: counts for fold in folds for name, counts in fold[seed].items()} for seed in seeds}
        ours = self._measured(metric, [known[seed] for seed in seeds], self.shared)
        theirs = self._measured(metric, [unseen[seed] for seed in seeds], self.shared)
        whole = self._measured(metric, [unseen[seed] for seed in seeds], tuple(self.names))
        leak = _difference([(ours, theirs)], 1 - (1 - LEVEL) / configs)
        blind = not any(_finds(counts) for side in (known, unseen) for seed in seeds for counts in side[seed].values())
        line = LeakLine(
            name=config.name,
            params=config.params,
            seeds=len(seeds),
            known=ours.interval(),
            unseen=theirs.interval(),
            everything=whole.interval(),
            leak=leak,
            verdict="not testable: it finds no foreground at all" if blind else _verdict(leak, len(seeds)),
        )
        return line, (ours, theirs)

    def _evaluations(self, own: StudySpec, config: Config, replicates: int) -> dict[int, Mapping[str, ImageCounts]]:
        """The counts of each image by replicate, of the complete trainings."""
        study, key = open_existing(own.study), params_key(config.params)
        files = StudyFiles(own.study, own.data.root, study)
        rows = [
            entry
            for entry in results.sound_rows(study)
            if entry.state == "COMPLETE" and entry.replicate < replicates and params_key(entry.params) == key
        ]
        found = counted(own, files, rows)
        for number, reason in found.missing.items():
            raise InputError(f"study {own.study.name}: trial {number} {reason}; put {own.study.folder} back")
        return {entry.replicate: found.trials[entry.number] for entry in rows}

    def _measured(
        self, metric: str, evaluations: Sequence[Mapping[str, ImageCounts]], names: Sequence[str]
    ) -> Measured:
        table = counts_table(evaluations, [self.names[name] for name in names])
        own = next(iter(self.specs.values()))
        subjects = [self.subjects[name] for name in names]
        found = measured(metric, table, own.data.classes, subjects=subjects, missing=self.missing)
        assert found is not None
        return found


def _shared(data: Data) -> list[str]:
    """The images that validate and whose subjects train; InputError where there are none."""
    assert data.dataset is not None
    assert data.split is not None
    if not data.dataset.subjects:
        raise InputError("[data] subjects: whose the images are is not known; name a CSV with columns image,subject")
    both = set(data.split.shared_subjects(data.dataset))
    if not both:
        raise InputError(
            f"[data] split ({data.split.source}): no subject stands on both sides, so there is no leak of subjects in "
            'the figures; take the split that you doubt, such as split = "random"'
        )
    return [name for name in data.split.val if data.dataset.subjects[name] in both]


def _refuse_metric(metric: str, classes: Sequence[str]) -> None:
    """InputError where pixel counts do not give the metric."""
    any_counts = np.ones((1, 1, 3, len(classes)))

    def is_told(name: str) -> bool:
        return measured(name, any_counts, classes, subjects=["one"]) is not None

    if not is_told(metric):
        known = ", ".join(filter(is_told, maximised(classes)))
        raise InputError(f"metric {metric}: pixel counts, which are what is compared, do not give it; take {known}")


def _derived(spec: StudySpec, folder: Path, key: str, data: Mapping[str, Any]) -> StudySpec:
    """The spec of one side: its own study in a folder of its own, in the same database server where there is one."""
    place, ending = folder / key, f"-leak-{key}"
    name = spec.study.name[: LONGEST_NAME - len(ending)] + ending
    storage = spec.study.storage
    if storage.startswith(SQLITE):
        storage = f"{SQLITE}{place / 'study.db'}"
    study = {"name": name, "folder": place, "storage": storage, "enqueue": (), "hours": None, **_PRUNES_NOTHING}
    return spec.model_copy(
        update={
            "study": spec.study.model_copy(update=study),
            "data": spec.data.model_copy(update=dict(data)),
            "resources": spec.resources.model_copy(update={"keep_checkpoints": 1}),
        }
    )


def _difference(pairs: Sequence[tuple[Measured, Measured]], level: float) -> Interval | None:
    """The mean difference of each pair's two sides, which are of the same units and as many seeds."""
    sides = [side for pair in pairs for side in pair]
    ends = np.cumsum([side.features.shape[-1] for side in sides])

    def statistic(sums: Numbers) -> Numbers:
        parts = np.split(sums, ends[:-1], axis=-1)
        figures = [side.statistic(part) for side, part in zip(sides, parts, strict=True)]
        differences = [ours - theirs for ours, theirs in zip(figures[::2], figures[1::2], strict=True)]
        return np.asarray(np.mean(differences, axis=0))

    return bootstrap(np.concatenate([side.features for side in sides], axis=-1), statistic, level=level, within=(-1, 1))


def _together(pairs: Sequence[tuple[Measured, Measured] | None]) -> Interval | None:
    """The mean leak of all configs; None for fewer than two that were trained by as many seeds."""
    found = [pair for pair in pairs if pair is not None]
    if len(found) < 2 or len({len(pair[0].features) for pair in found}) > 1:
        return None
    return _difference(found, LEVEL)


def _finds(counts: ImageCounts) -> bool:
    return any(counts["predicted"][1:])


def _verdict(leak: Interval | None, seeds: int) -> str:
    if leak is None or not math.isfinite(leak.mean):
        return "not testable: too few subjects stand on both sides"
    if seeds < 2:
        return "not testable: one seed; nothing tells how seeds differ"
    if leak.low > 0:
        return f"leak: {leak.mean:.4f} of it comes from known subjects"
    if leak.high < 0:
        return f"no leak: unseen subjects score {-leak.mean:.4f} higher"
    return "no leak can be told from chance"
