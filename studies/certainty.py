"""How sure the figures of a study's best configs are: means over seeds, their intervals, and what is tied."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from mmtuna.studies.configs import diverged_of, floor_of, mean_of, top_configs
from mmtuna.studies.results import TrialRow
from mmtuna.studies.standing import params_key
from mmtuna.studies.statistics.comparing import Comparison, Place, Verdict, compare, least_units, rank
from mmtuna.studies.statistics.intervals import Interval, Numbers
from mmtuna.studies.statistics.measures import ImageCounts, Measured, both_empty, counts_table, measured
from mmtuna.studies.statistics.seeds import NoiseFloor

BESIDE = ("IoU_per_image", "Dice_per_image")
"""Metrics with an interval of their own beside the study's."""
APART = "they were measured on different images or masks"
UNKNOWN_FLOOR = "no params that found something were trained with more than one seed"
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What trials counted image by image in their last evaluation, and what it takes to make metrics of it.

    Args:
        trials: counts by trial and image.
        missing: why a trial has none, by trial.
        subjects: subject by image; empty where not known.
        missing_value: what an image counts where truth and prediction are both empty; None leaves it out.
    """

    trials: Mapping[int, Mapping[str, ImageCounts]] = field(default_factory=dict)
    missing: Mapping[int, str] = field(default_factory=dict)
    subjects: Mapping[str, str] = field(default_factory=dict)
    missing_value: float | None = None


@dataclass(frozen=True, kw_only=True)
class Config:
    """Complete trials with the same params, by number; `mean` is that of their values, by which configs are chosen.

    `interval` and `beside` (by metric) are of the last evaluations of the `seeds` trials whose counts are known, as is
    `place`, None where it could not be tested: another figure where the study's value is that of the best evaluation.
    `empty` is by trial the number of images where truth and prediction are both empty. `diverged` is how many further
    trainings did, which `mean` counts (`configs.mean_of`) and nothing else does: such a config has no `place`.
    """

    rows: tuple[TrialRow, ...]
    mean: float
    diverged: int = 0
    seeds: int = 0
    interval: Interval | None = None
    beside: Mapping[str, Interval] = field(default_factory=dict)
    empty: tuple[int, ...] = ()
    place: Place | None = None

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """All that there are, the metric's own first."""
        return (*(() if self.interval is None else (self.interval,)), *self.beside.values())

    @property
    def trained(self) -> int:
        """With how many seeds, of which `diverged` did."""
        return (self.seeds or len(self.rows)) + self.diverged


@dataclass(frozen=True, kw_only=True)
class Certainty:
    """The best configs by rank; those that share one by the number of their first trial.

    Args:
        floor: what seeds alone change of a trial's value; None where no params that found something were trained twice.
        images, subjects: how many the intervals are of; `subjects` is None where they are not known.
        unshown: how many of the best were left out, since so few units could not tell them apart as well.
        why: why nothing can be tested; empty where something can.
        missing: why trials have no counts, by trial.
    """

    metric: str
    configs: tuple[Config, ...]
    floor: NoiseFloor | None
    images: int = 0
    subjects: int | None = None
    unshown: int = 0
    why: str = ""
    missing: Mapping[int, str] = field(default_factory=dict)

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """Those of all configs."""
        return tuple(interval for config in self.configs for interval in config.intervals)

    @property
    def best(self) -> Config:
        """The config with the highest mean."""
        return max(self.configs, key=lambda config: config.mean)


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A config beside another: `difference` is of their means, ours minus theirs, in `seeds` trainings each.

    `verdict` and `comparison` rest on the last evaluations, of which images are counted, and so does `at_last`, the
    difference there: another one where the study's value is that of the best evaluation. What is None cannot be
    compared; `why` says why nothing is testable.
    """

    seeds: tuple[int, int]
    difference: float | None = None
    verdict: Verdict = Verdict.NOT_TESTABLE
    unit: str = "image"
    comparison: Comparison | None = None
    why: str = ""
    at_last: float | None = None


def certainty(rows: Sequence[TrialRow], metric: str, counted: Counted, classes: Sequence[str]) -> Certainty | None:
    """What is known of the best configs of a study; None where no trial is complete.

    No more of them than the images, or subjects, can tell apart: among many comparisons a test of few shows nothing.
    """
    top, floor, diverged = top_configs(rows), floor_of(rows), diverged_of(rows)
    at_last = floor_of(rows, metric)  # of what is tested
    if not top:
        return None
    counts = _Counts(counted, [row for config in top for row in config], metric, classes)
    having = [config for config in top if counts.of(config) and not diverged[params_key(config[0].params)]]
    unshown = 0
    if len(having) > 1 and counts.units >= least_units(1):
        while counts.units < least_units(math.comb(len(having), 2)):
            dropped = having.pop()
            top = [config for config in top if config is not dropped]
            unshown += 1
    why, placed = _why_not(counts, at_last, len(having), lost=any(diverged[params_key(c[0].params)] for c in top)), {}
    if not why:
        known = [one for config in having if (one := counts.measured(metric, config)) is not None]
        places = rank([statistics.fmean(one.by_seed) for one in known], [one.values for one in known], at_last)
        placed = dict(zip((config[0].number for config in having), places, strict=True))
    configs = [_config(config, metric, counts, placed.get(config[0].number), diverged) for config in top]
    return Certainty(
        metric=metric,
        configs=tuple(sorted(configs, key=_order)),
        floor=floor,
        images=len(counts.images),
        subjects=None if counts.subjects is None else len(set(counts.subjects)),
        unshown=unshown,
        why=why,
        missing=counts.missing,
    )


def beside(
    pair: tuple[Sequence[TrialRow], Sequence[TrialRow]],
    metric: str,
    counted: tuple[Counted, Counted],
    classes: Sequence[str],
    floor: NoiseFloor | None,
    diverged: tuple[Counter[str], Counter[str]] = (Counter(), Counter()),
) -> Beside:
    """The first config of a pair beside the second, of the same study or of one on the same images.

    `floor` is what seeds alone change of the metric in the last evaluation; `diverged`, of the study of each, which of
    their seeds did (`configs.diverged_of`): they count in the means, and no test holds then.
    """
    ours, theirs = pair
    means = [mean_of(rows, of) for rows, of in zip(pair, diverged, strict=True)]
    lost = [of[params_key(rows[0].params)] for rows, of in zip(pair, diverged, strict=True)]
    seeds = len(ours) + lost[0], len(theirs) + lost[1]
    sides = [_Counts(one, rows, metric, classes) for one, rows in zip(counted, (ours, theirs), strict=True)]

    told = [(n, trained, rows[0].number) for n, trained, rows in zip(lost, seeds, pair, strict=True) if n]
    of = [f"{n} of {trained} seeds of the config of trial {number}" for n, trained, number in told]
    said = f"{' and '.join(of)} diverged, counting 0" if of else ""

    def because(why: str) -> Beside:
        return Beside(seeds=seeds, difference=means[0] - means[1], why=why)

    for side, rows in zip(sides, (ours, theirs), strict=True):
        if len(side.of(rows)) < len(rows):
            number, why = next(iter(side.missing.items()))
            return because(f"{said and said + ', and '}trial {number} {why}")
    if not same_truth(*(one.trials[rows[0].number] for one, rows in zip(counted, (ours, theirs), strict=True))):
        return Beside(seeds=seeds, why=APART)
    if any(lost):
        return because(said)
    why = _why_not(sides[0], floor, 2)
    if why:
        return because(why)
    a, b = (side.measured(metric, rows) for side, rows in zip(sides, (ours, theirs), strict=True))
    assert a is not None
    assert b is not None
    (found,) = compare([(a.values, b.values)], floor)
    return Beside(
        difference=means[0] - means[1],
        at_last=statistics.fmean(a.by_seed) - statistics.fmean(b.by_seed),
        seeds=seeds,
        verdict=found.verdict,
        unit=sides[0].unit,
        comparison=found,
        why=_too_few(found.units, sides[0].unit) if found.verdict is Verdict.NOT_TESTABLE else "",
    )


def same_truth(one: Mapping[str, ImageCounts], other: Mapping[str, ImageCounts]) -> bool:
    """Whether two trials counted images of the same names, whose masks hold the same number of pixels of each class."""
    return one.keys() == other.keys() and all(
        list(counts["labelled"]) == list(other[name]["labelled"]) for name, counts in one.items()
    )


def _config(
    rows: Sequence[TrialRow], metric: str, counts: _Counts, place: Place | None, diverged: Counter[str]
) -> Config:
    mean, own = mean_of(rows, diverged), counts.of(rows)
    of_it = diverged[params_key(rows[0].params)]
    if not own:
        return Config(rows=tuple(rows), mean=mean, diverged=of_it)
    found = {name: counts.measured(name, rows) for name in (metric, *BESIDE)}
    intervals = {name: one.interval() for name, one in found.items() if one is not None}
    known = {name: interval for name, interval in intervals.items() if interval is not None}
    interval = known.pop(metric, None)
    return Config(
        rows=tuple(rows),
        mean=mean,
        diverged=of_it,
        seeds=len(own),
        interval=interval,
        beside=known,
        empty=tuple(both_empty(counts.table(own))),
        place=place,
    )


def _order(config: Config) -> tuple[int, float, int]:
    """Ranks first, in a rank by number; where nothing is tested, by mean, since some order there must be."""
    place, number = config.place, config.rows[0].number
    return (1, -config.mean, number) if place is None else (0, place.first, number)


def _why_not(counts: _Counts, floor: NoiseFloor | None, configs: int, *, lost: bool = False) -> str:
    if configs < 2 and lost:
        return "no two configs without a seed that diverged have counts by image"
    if configs < 2:
        return "there is no other config to compare with" if counts.images else "no trial's counts by image are known"
    if floor is None:
        return f"{UNKNOWN_FLOOR}, so what seeds alone change is not known"
    return "" if counts.units >= least_units(1) else _too_few(counts.units, counts.unit)


def _too_few(units: int, unit: str) -> str:
    return f"{units} {unit}s are too few: a signed-rank test needs {least_units(1)}"


class _Counts:
    """The counts of trials that were measured on the same images and say of the metric what the study does.

    `missing` says of the other trials why they have none.
    """

    def __init__(self, counted: Counted, rows: Sequence[TrialRow], metric: str, classes: Sequence[str]) -> None:
        self._counted, self._classes = counted, tuple(classes)
        first = next((row.number for row in rows if row.number in counted.trials), None)
        self.images = () if first is None else tuple(sorted(counted.trials[first]))
        self.missing: dict[int, str] = {}
        for row in rows:
            why = self._why_not(row, metric)
            if why:
                self.missing[row.number] = why

    @cached_property
    def subjects(self) -> list[str] | None:
        """The subject of each image; None unless all are known."""
        known = [self._counted.subjects.get(name) for name in self.images]
        named = [name for name in known if name is not None]
        return named if known and len(named) == len(known) else None

    @property
    def unit(self) -> str:
        """What is drawn and compared: image or subject."""
        return "image" if self.subjects is None else "subject"

    @property
    def units(self) -> int:
        """How many there are."""
        return len(self.images) if self.subjects is None else len(set(self.subjects))

    def of(self, rows: Iterable[TrialRow]) -> list[TrialRow]:
        """Those of `rows` that have counts."""
        return [row for row in rows if row.number in self._counted.trials and row.number not in self.missing]

    def table(self, rows: Sequence[TrialRow]) -> Numbers:
        """The counts of `rows`, which have some."""
        return counts_table([self._counted.trials[row.number] for row in rows], self.images)

    def measured(self, metric: str, rows: Sequence[TrialRow]) -> Measured | None:
        """The metric of those of `rows` that have counts."""
        return measured(
            metric,
            self.table(self.of(rows)),
            self._classes,
            subjects=self.subjects,
            missing=self._counted.missing_value,
        )

    def _why_not(self, row: TrialRow, metric: str) -> str:
        if row.number not in self._counted.trials:
            return self._counted.missing.get(row.number, "has no counts by image")
        if tuple(sorted(self._counted.trials[row.number])) != self.images:
            return "was measured on other images"
        found = self.measured(metric, [row])
        if found is None:
            return f"has no counts by image that {metric} could be made of"
        (value,), stored = found.by_seed, row.metrics.get(metric)
        if not math.isfinite(value):
            return f"has no {metric} that its counts would give"
        if stored is not None and abs(value - stored) > _ROUNDING:
            return f"has counts by image that give {metric} {value:.4f}, and the study says {stored:.4f}"
        return ""
