"""Studies begun when a spec could hold settings that change nothing: what they kept, beside what a spec says now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import CategoricalDistribution, IntDistribution, json_to_distribution

from mmtuna.spaces.effects import NEEDS, default_values, why_covered, why_idle
from mmtuna.spaces.parameter import Value


def idle_as_kept(was: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """`train` and `space` of `now` (StudySpec.describe) as `was` has them in what changed no trial.

    Lines and parameters of `was` that no trial felt and `now` lacks are put back; a condition that only says where a
    parameter is of use is left out where `was` has none.
    """
    if not ("train" in was and "space" in was and "train" in now and "space" in now):
        return {}
    possible = _possible(was)
    train, space = dict(now["train"]), dict(now["space"])
    for kept, mine in ((was["train"], train), (was["space"], space)):
        gone = [name for name in kept if name not in mine]
        mine |= {name: kept[name] for name in gone if why_idle(name, possible) or why_covered(name, possible)}
    for name in space:
        if name in was["space"] and _differs_in_use_alone(name, was["space"], space[name]):
            space[name] = {**space[name], "when": was["space"][name]["when"]}
    return {"train": train, "space": space}


def _possible(was: Mapping[str, Any]) -> dict[str, Sequence[Value]]:
    found = default_values(was.get("model", {}).get("base")) | {name: (value,) for name, value in was["train"].items()}
    for name, described in was["space"].items():
        found[name] = (*(found.get(name, ()) if described["when"] else ()), *_values(described))
    return found


def _values(described: Mapping[str, Any]) -> Sequence[Value]:
    distribution = json_to_distribution(described["distribution"])
    if isinstance(distribution, CategoricalDistribution):
        return [value for value in distribution.choices if value is not None]
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    return ()


def _differs_in_use_alone(name: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    need = NEEDS.get(name)
    if need is None or need.parent not in was:
        return False
    asked = was[name]["when"].get(need.parent, list(_values(was[need.parent])))
    helpful = [value for value in asked if need.met_by(value)]
    return bool(now["when"] == {**was[name]["when"], need.parent: helpful})
