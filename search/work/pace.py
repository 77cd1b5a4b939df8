"""`[train] speed = "auto"`: what a study's trials do for speed on each kind of device, chosen once for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import optuna

from mmtuna.objectives.devices import visible_to_child
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.probes.choosing import SECONDS, choose, device_name
from mmtuna.objectives.speed.heads import shared_folder
from mmtuna.search.checking.checks import covering
from mmtuna.search.work.forecast import duration
from mmtuna.search.work.worker import Slot
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import by_present_names
from mmtuna.spaces.speed import AUTOMATIC, Speed
from mmtuna.studies.attributes import SPEED_ON

Say = Callable[[str], None]
_SHARE, _LEAST = 0.05, 5.0


def at_speed(
    objective: SegmentationObjective,
    study: optuna.Study,
    lock: AbstractContextManager[Any],
    space: SearchSpace,
    slots: Iterable[Slot],
    say: Say,
    seconds: float = SECONDS,
) -> SegmentationObjective:
    """The objective with what the study's trials do for speed on the devices of `slots`.

    Where nobody has chosen for a device of that kind, this measures, which takes some `seconds`. `lock` is the study's:
    of workers that begin at the same time one chooses for all.
    """
    if objective.fixed.get("speed") != AUTOMATIC:
        return objective
    speeds: dict[str, Speed] = {}
    for slot in slots:
        if slot.device not in speeds:
            speeds[slot.device] = speed_on(slot, objective, typical(objective, space), study, lock, say, seconds)
    return replace(objective, speeds=speeds)


def speed_on(
    slot: Slot,
    objective: SegmentationObjective,
    params: Params,
    study: optuna.Study,
    lock: AbstractContextManager[Any],
    say: Say,
    seconds: float = SECONDS,
) -> Speed:
    """What the study's trials do for speed on the slot's kind of device; measured with `params` where nobody has."""
    visible = visible_to_child(slot.device)
    kind = device_name(visible)
    attribute = SPEED_ON + kind
    known = study.user_attrs.get(attribute)
    if known is None:
        say(f"measures what is faster on {kind}, once for this study: about {duration(seconds)}")
        found = measured(slot, objective, params, seconds)
        with lock:
            known = study.user_attrs.get(attribute)
            if known is None:
                known = found.kept()
                study.set_user_attr(attribute, known)
    speed = Speed.of(known)
    say(f"speed on {kind}: {speed}")
    return speed


def measured(slot: Slot, objective: SegmentationObjective, params: Params, seconds: float = SECONDS) -> Speed:
    """The fastest way of training `params` on the slot's device."""
    return choose(
        objective.config(params, seed=0),
        list(by_present_names({**objective.fixed, **params})),
        visible=visible_to_child(slot.device),
        threads=slot.threads,
        one_size=len(objective.shapes) == 1,
        heads=shared_folder(),
        seconds=seconds,
    )


def worth_measuring(study: float) -> float:
    """For how many seconds speeds are measured for a study of so many: a twentieth, but never so few that nothing could
    be told."""
    return min(SECONDS, max(_LEAST, _SHARE * study))


def typical(objective: SegmentationObjective, space: SearchSpace) -> Params:
    """Of params that lie all over the space those whose batch has the median number of pixels."""

    def pixels(params: Mapping[str, Any]) -> float:
        settings = objective.settings(params).effective
        side = settings.get("crop", "none")
        side = settings.get("input_size", math.inf) if side == "none" else side
        return float(settings.get("batch_size", 1)) * float(side) ** 2

    several = sorted(covering(space), key=pixels)
    return several[len(several) // 2]
