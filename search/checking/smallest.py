"""The net of a space that asks least of what `[limits]` names: whether any of its trials may be trained at all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna

from mmtuna.objectives.demand import architecture
from mmtuna.search.checking.checks import ends
from mmtuna.search.checking.probing import SIZES, combinations
from mmtuna.search.quiet import quiet_optuna
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.limits import Demand, Limits
from mmtuna.spaces.parameter import Params, Value
from mmtuna.spaces.search_space import SearchSpace

NETS = 24
"""Nets that are looked at, at most."""
SECONDS = 60.0
"""After which no further one is looked at."""
_SLIDING = ("inference", "window", "stride")  # what an image takes depends on these too


@dataclass(kw_only=True)
class Smallest:
    """Looks for the net that asks least.

    Args:
        config: the complete config of params, InputError where there is none.
        demand: what the net of a config asks, InputError where that cannot be measured.
    """

    space: SearchSpace
    limits: Limits
    config: Callable[[Params], dict[str, Any]]
    demand: Callable[[dict[str, Any]], Demand]
    _seen: set[str] = field(default_factory=set)
    _end: float = field(default_factory=lambda: time.monotonic() + SECONDS)

    def find(self) -> tuple[Params, Demand]:
        """The params whose net asks least of those that were looked at, and what it asks.

        The first one that all limits allow will do: a space of which one trial may be trained is not refused.
        """
        starts = [entry.params for entry in combinations(self.space) if set(entry.apart) <= {"decoder"}]
        looked = [(params, self._look(params)) for params in starts]
        found = [(params, asked) for params, asked in looked if asked is not None]
        best = min(found, key=self._excess)
        for start in found:
            if self._excess(best) > 0:
                best = min(best, self._descend(start), key=self._excess)
        return best

    def over(self) -> bool:
        """Whether it ended before all nets were looked at."""
        return len(self._seen) >= NETS or time.monotonic() > self._end

    def _descend(self, best: tuple[Params, Demand]) -> tuple[Params, Demand]:
        """From one net to smaller ones, by one parameter after the other."""
        for name in (*_SLIDING, *(name for name in self.space.names if "." in name)):
            for value in ends(self.space.parameter(name)) if name in self.space else ():
                if self._excess(best) <= 0 or self.over():
                    return best
                other = self._with(best[0], name, value)
                try:
                    asked = self._look(other)
                except InputError:  # what cannot be built is told when it is tried
                    continue
                best = best if asked is None else min(best, (other, asked), key=self._excess)
        return best

    def _look(self, params: Params) -> Demand | None:
        """What the net of `params` asks; None where the same one was looked at before."""
        cfg = self.config(params)
        net = json.dumps(architecture(cfg), sort_keys=True, default=str)
        if net in self._seen:
            return None
        self._seen.add(net)
        return self.demand(cfg)

    def _excess(self, net: tuple[Params, Demand]) -> float:
        return max(self.limits.excess(net[1]).values())

    @quiet_optuna()
    def _with(self, params: Params, name: str, value: Value) -> Params:
        wanted = {**params, name: value}
        for parent, allowed in self.space.parameter(name).when.items():
            if params.get(parent) not in allowed:
                wanted[parent] = allowed[0]
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        study.enqueue_trial(wanted)
        return self.space.suggest(study.ask())


def in_words(params: Mapping[str, Value]) -> str:
    """What of a net's params says how large it is."""
    keys = (name for name in params if name.startswith("model."))
    return ", ".join(f"{name} = {params[name]}" for name in ("decoder", *SIZES, *keys) if name in params)
