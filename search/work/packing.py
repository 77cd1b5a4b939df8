"""`[resources] trials_per_device = "auto"`: how many trials at a time are worth it on a device, by measurement."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from mmtuna.objectives.devices import cores, mps_runs, visible_to_child
from mmtuna.objectives.probes.measuring import TrialCost, free_memory, measure
from mmtuna.search.checking import memory
from mmtuna.search.checking.checks import ends
from mmtuna.search.checking.costs import SECONDS, draw, question_of, together
from mmtuna.search.checking.preparation import Preparation, objective_for_now
from mmtuna.search.work.forecast import size
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import DEFAULTS
from mmtuna.studies.spec.tables import ResourcesTable

LONGEST = 60.0
"""Seconds after which no further number of trials is tried."""
_COUNTS = (2, 4, 8, 16)
_WORTH = 1.1  # times the trials an hour of the last number that was worth it: less is noise
_ROOM = 0.85  # share of the free memory that trials may take


def said_slots(resources: ResourcesTable) -> int:
    """Trials that share a device, as far as [resources] says: 1 where that is to be measured."""
    return 1 if resources.trials_per_device == "auto" else resources.trials_per_device


def slots_per_device(ready: Preparation) -> int:
    """Trials that share a device: what [resources] says, or for "auto" what was measured, which is then a note of the
    preparation and remembered."""
    wanted = ready.spec.resources.trials_per_device
    if wanted != "auto":
        return wanted
    question = [*question_of(ready), cores(), ready.spec.resources.threads]
    try:
        found = memory.once("packing", question, lambda: _find(ready))
    except InputError as error:
        raise InputError(
            f'[resources] trials_per_device = "auto": a trial fails when it is measured ({error}); give a number'
        ) from None
    ready.notes.append(f'[resources] trials_per_device = "auto": {found["said"]}{_mps(ready.devices)}')
    return int(found["slots"])


def _find(ready: Preparation) -> dict[str, Any]:
    assert ready.split is not None
    device, images = ready.devices[0], len(ready.split.val)
    visible, end = visible_to_child(device), time.monotonic() + LONGEST
    free = free_memory(visible)
    with objective_for_now(ready) as objective:
        drawn = draw(objective, ready.space)
        usual, *others = drawn.telling()
        cfg, extent = objective.config(drawn.params[usual], seed=0), drawn.extents[usual]

        def trials_an_hour(count: int) -> tuple[float, TrialCost]:
            threads = threads_of(ready, count)
            costs = measure(cfg, images, visible=visible, threads=threads, beside=count, seconds=SECONDS)
            return sum(3600 / cost.seconds(extent) for cost in costs), together(costs)

        rate, alone = trials_an_hour(1)
        most = alone.memory
        if others:  # the dearest comes next
            dearest = objective.config(drawn.params[others[0]], seed=0)
            most = max(most, _memory_of(dearest, images, visible, threads_of(ready, 1)) or free or 0)
        rates, slots, why = {1: rate}, 1, "more bring no more"
        for count in _COUNTS:
            if count * len(ready.devices) > cores():
                why = f"more than {cores()} cores serve"
                break
            if free is not None and count * most > _ROOM * free:
                why = f"of {count} trials the memory does not hold the largest"
                break
            if time.monotonic() > end:
                why = f"more were not tried after {LONGEST:g} s"
                break
            try:
                rates[count] = trials_an_hour(count)[0]
            except InputError as error:
                why = f"{count} at a time fail ({error})"
                break
            if rates[count] < _WORTH * rates[slots]:
                why = "more bring no more"
                break
            slots = count
    return {"slots": slots, "said": _said(slots, device, rates, most, free, why)}


def _memory_of(cfg: Mapping[str, Any], images: int, visible: str, threads: int) -> int | None:
    try:
        return measure(cfg, images, visible=visible, threads=threads, seconds=SECONDS / 2)[0].memory
    except InputError:  # it fails alone: then it will take all there is
        return None


def threads_of(ready: Preparation, per_device: int) -> int:
    """CPU threads of each trial where so many share each device."""
    return ready.spec.resources.threads or max(1, cores() // (per_device * len(ready.devices)))


def _said(slots: int, device: str, rates: Mapping[int, float], most: int, free: int | None, why: str) -> str:
    counts, figures = (", ".join(map(str, found)) for found in (rates, [f"{rate:.0f}" for rate in rates.values()]))
    of_free = "" if free is None else f" of {size(free)} that are free"
    return (
        f"{slots} at a time on {device}; with {counts} at a time {figures} trials an hour, a trial takes up to "
        f"{size(most)}{of_free}; {why}"
    )


def _mps(devices: Sequence[str]) -> str:
    """What is to be said of MPS, which mmtuna never starts: its daemon serves everybody on the machine."""
    if devices[0] == "cpu":
        return ""
    runs = mps_runs()
    if runs is None:
        return ""
    return "; NVIDIA MPS runs" if runs else "; NVIDIA MPS does not run (`nvidia-cuda-mps-control -d` starts it)"


def loaders_note(space: SearchSpace, train: Mapping[str, Any], slots: int) -> list[str]:
    """A note where more processes would load images than there are cores.

    Their number stays: a loader's random numbers depend on how many there are, and so do the results.
    """
    sampled = [int(value) for value in ends(space.parameter("loader_workers"))] if "loader_workers" in space else []
    each = max(sampled, default=int(train.get("loader_workers", DEFAULTS["loader_workers"])))
    if each * slots <= cores():
        return []
    trials = f"{slots} trials at a time" if slots > 1 else "one trial"
    said = f"{each * slots} processes load images for {trials} on {cores()} cores, beside the trainings"
    return [f"loader_workers = {each}: {said}; fewer are faster"]
