"""Before trial 1: one iteration of each combination that matters; what fails is told with its setting's name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from mmtuna.objectives.devices import visible_to_child
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.probes.probing import probe
from mmtuna.search.checking import memory
from mmtuna.search.checking.checks import ends
from mmtuna.search.quiet import quiet_optuna
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Params, Value
from mmtuna.spaces.search_space import SearchSpace

SECONDS = 60.0
"""How long a probe may take; what it has not come to by then is left out, and told."""
SIZES = ("batch_size", "crop", "input_size", "window", "base_channels")
"""Settings whose smallest values together are most likely to be too small, and the largest too large."""
CHOICES = ("loss", "optimizer", "inference", "schedule", "precision", "amp")
"""Settings of which each choice is tried by itself."""
HARMLESS = (*("flip", "rotation", "photometric", "scale_jitter", "gamma", "dropout", "warmup", "clip_norm", "ema"),)
"""Settings of which the last choice or the most is tried, all together."""

_TWO_AT_A_TIME = 8 * 256**2  # pixels of a batch: of larger ones two might take all of the memory
_TOLD = 4  # problems are told of so many combinations at most
_BLAME = 20.0  # seconds for each look at what else would do


@dataclass(frozen=True, kw_only=True)
class Combination:
    """Params, and those of them that set it apart from the others."""

    params: Params
    apart: Mapping[str, Value] = field(default_factory=dict)


@quiet_optuna()
def combinations(space: SearchSpace) -> list[Combination]:
    """What is tried, the most telling first: every decoder at the smallest sizes; the first of them with every loss,
    optimizer and other choice, and both ends of dotted keys; and one of the largest sizes."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    def suggested(wanted: Mapping[str, Value]) -> Params:
        study.enqueue_trial(dict(wanted))
        return space.suggest(study.ask())

    # Beside what is tried: the choice that stands first.
    usual = {name: _values(space, name)[0] for name in (*CHOICES, *HARMLESS) if name in space}
    smallest = usual | {name: min(_values(space, name), key=_extent) for name in SIZES if name in space}
    largest: dict[str, Value] = {name: max(_values(space, name), key=_extent) for name in SIZES if name in space}
    largest |= {name: _values(space, name)[-1] for name in HARMLESS if name in space}
    found: list[Combination] = []
    decoders: list[dict[str, Value]] = [{"decoder": value} for value in _values(space, "decoder")]
    for apart in decoders or [{}]:
        found.append(Combination(params=suggested({**smallest, **apart}), apart=apart))
    first = found[0].params
    for name in (*CHOICES, *(name for name in space.names if "." in name)):
        for value in _values(space, name):
            wanted = {**first, name: value}
            for parent, allowed in space.parameter(name).when.items():
                wanted[parent] = allowed[0]
            if wanted != first:
                found.append(Combination(params=suggested(wanted), apart={name: value}))
    if largest != {name: first.get(name) for name in largest}:
        found.append(Combination(params=suggested({**first, **largest}), apart=largest))
    return _each_once(found)


def _values(space: SearchSpace, name: str) -> list[Value]:
    return ends(space.parameter(name)) if name in space else []


def _extent(value: Value) -> float:
    # A crop of "none" is the whole image.
    return float("inf") if isinstance(value, str) else float(value)


def _each_once(found: Sequence[Combination]) -> list[Combination]:
    return list({json.dumps(entry.params, sort_keys=True): entry for entry in reversed(found)}.values())[::-1]


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What a probe found: problems that name a setting, how many combinations were tried, and of how many."""

    problems: tuple[str, ...]
    tried: int
    planned: int


def probe_all(
    objective: SegmentationObjective, space: SearchSpace, devices: Sequence[str], seconds: float = SECONDS
) -> Probed:
    """Tries the combinations, small ones two at a time on a CPU, until all are done or `seconds` are over.

    The objective's lists, and copies of images where there are any, are written.
    """
    visible = visible_to_child(devices[0])
    planned = combinations(space)
    trying = _Trying(objective, visible)
    two = not visible and _pixels(objective, planned) <= _TWO_AT_A_TIME
    lanes = [planned[0::2], planned[1::2]] if two else [planned]
    with ThreadPoolExecutor(max_workers=len(lanes)) as pool:
        told = pool.map(lambda lane: trying.each([entry.params for entry in lane], seconds), lanes)
    outcomes = [outcome for lane, said in zip(lanes, told, strict=True) for outcome in zip(lane, said, strict=False)]
    fine = any(said is None for _, said in outcomes)
    failed = [(entry, said) for entry, said in outcomes if said is not None]
    problems = tuple(dict.fromkeys(_told(entry, said, fine, trying) for entry, said in failed[:_TOLD]))
    return Probed(problems=problems, tried=len(outcomes), planned=len(planned))


def _pixels(objective: SegmentationObjective, planned: Sequence[Combination]) -> float:
    """Pixels of the largest batch that is tried; infinite where a base keeps its own size."""

    def of(params: Params) -> float:
        settings = objective.settings(params).effective
        return float(settings.get("batch_size", 2)) * float(settings.get("input_size", "inf")) ** 2

    return max(of(entry.params) for entry in planned)


@dataclass(frozen=True)
class _Trying:
    """Tries params of an objective whose lists are written."""

    objective: SegmentationObjective
    visible: str

    def each(self, several: Sequence[Params], seconds: float) -> list[str | None]:
        """What went wrong with each, None where nothing did; shorter where the time was over."""
        entries, refused = [], {}
        for number, params in enumerate(several):
            try:
                entries.append((self.objective.config(params, seed=0), self.objective.settings(params)))
            except InputError as error:
                refused[number] = str(error)
        said = probe(entries, self.visible, seconds)
        for number, why in refused.items():  # in their places, as far as the others were come to
            if number <= len(said):
                said.insert(number, why)
        return said


def _told(entry: Combination, said: str, others_fine: bool, trying: _Trying) -> str:
    """The problem in one line, with the setting that is to blame where changing it mends the combination."""
    apart = _written(entry.apart)
    sizes = _sizes_of(entry.params, trying.objective)
    doubled = trying.each([{**entry.params, name: 2 * value} for name, value in sizes], _BLAME)
    for (name, value), outcome in zip(sizes, doubled, strict=False):
        if outcome is None:
            beside = f" beside {apart}" if apart and name not in entry.apart else ""
            return f"{name} = {value}{beside}: one iteration fails ({said}); with {name} = {2 * value} it does not"
    where = f"{apart}: " if apart and others_fine else ""
    return f"{where}one iteration of training and evaluation fails: {said}"


def _sizes_of(params: Params, objective: SegmentationObjective) -> list[tuple[str, int]]:
    settings = objective.settings(params).written
    found = {name: settings.get(name) for name in ("batch_size", "crop", "input_size", "window")}
    return [(name, value) for name, value in found.items() if isinstance(value, int)]


def _written(values: Mapping[str, Value]) -> str:
    return ", ".join(
        f"{name} = {str(value).lower() if isinstance(value, bool) else value}" for name, value in values.items()
    )


def mark_of(described: Mapping[str, Any], fingerprints: Mapping[str, Any], devices: Sequence[str]) -> Path:
    """The file in the cache that stands for a probe of such a study which found nothing wrong."""
    return memory.place_of("probed", described, fingerprints, list(devices))


def remembered(mark: Path) -> Probed | None:
    """What the probe behind `mark` came to, None where there was none that found nothing wrong."""
    try:
        tried, planned = memory.recall(mark)
        return Probed(problems=(), tried=int(tried), planned=int(planned))
    except (ValueError, TypeError):
        return None


def remember(mark: Path, probed: Probed) -> None:
    """Notes a probe that found nothing wrong; where the cache cannot be written, the next command probes again."""
    memory.keep(mark, [probed.tried, probed.planned])
