"""What was recorded on several data sets, for studies to begin with, and what of a config a study's space can hold."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mmtuna.spaces.parameter import Categorical, Float, Int, Parameter, Params, Value, at_share, is_number, share_of
from mmtuna.spaces.search_space import SearchSpace

FILE = Path(__file__).with_name("portfolio.toml")
"""The portfolio that comes with mmtuna; `benchmarks/search/portfolio.py` makes it from recorded trials."""
EARLIER = ".json"
"""The ending of the file beside a portfolio's that holds the trials it knows."""
ODDS = 100.0
"""Of the data that the foreground weights of a portfolio are for: about as the lesions of retinas are."""
_MINORITY = 2.0
"""Odds from which on a foreground is a minority. Near odds of 1 a weight is any power of them."""
_SAME = 1.1
"""Data whose odds are apart by no more than this factor are balanced alike."""
_ESSENTIAL = {"loss", "optimizer", "lr_sgd", "lr_adam"}
_LOST = 1 / 3
"""Of what a config says, the share that may not come true: with more it is another one."""


@dataclass(frozen=True)
class Earlier:
    """Params that were trained on other data, and their rank in the study that they come from: 0 to 1, the best."""

    params: Params
    rank: float


def packed(earlier: Sequence[Earlier]) -> dict[str, Any]:
    """As plain data that says each name once: "names" of all params, and of each trial in "rows" its rank and what it
    has of these, None where it has none."""
    names = list(dict.fromkeys(name for one in earlier for name in one.params))
    return {"names": names, "rows": [[one.rank, *(one.params.get(name) for name in names)] for one in earlier]}


def unpacked(kept: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[Earlier]:
    """What `packed` packed; of studies that were begun before there was such a table, a list of trials, each with all
    names."""
    if not isinstance(kept, Mapping):
        return [Earlier(**trial) for trial in kept]
    return [
        Earlier({name: value for name, value in zip(kept["names"], values, strict=True) if value is not None}, rank)
        for rank, *values in kept["rows"]
    ]


@dataclass(frozen=True)
class Portfolio:
    """Complete params of the `extended` preset: `configs` to begin with, the best first, and `earlier` trials.

    The former did well together on all data sets, the latter are those of each. Their foreground weights are those for
    data of `ODDS`.
    """

    configs: tuple[Params, ...]
    earlier: tuple[Earlier, ...] = ()

    def at(self, odds: float) -> Portfolio:
        """What it comes to on data of these `odds` (see `odds_of`)."""
        return Portfolio(
            tuple(rebalanced(config, ODDS, odds) for config in self.configs),
            tuple(Earlier(rebalanced(one.params, ODDS, odds), one.rank) for one in self.earlier),
        )

    @property
    def version(self) -> str:
        """Eight digits that tell these configs and trials from others."""
        content = [self.configs, [(one.rank, one.params) for one in self.earlier]]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


@cache
def packaged() -> Portfolio:
    """The portfolio that comes with mmtuna."""
    return load(FILE)


def load(path: Path) -> Portfolio:
    """The portfolio that benchmarks/search/portfolio.py wrote to `path` and to the file of trials beside it."""
    found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    earlier = unpacked(json.loads(path.with_suffix(EARLIER).read_text(encoding="utf-8")))
    return Portfolio(tuple(entry["params"] for entry in found.get("configs", ())), tuple(earlier))


def odds_of(pixels: Sequence[int]) -> float:
    """How many pixels of the background, the first class, there are for one of all others; 1 where nothing is known."""
    rest = sum(pixels[1:])
    return pixels[0] / rest if pixels and pixels[0] and rest else 1.0


def rebalanced(config: Params, theirs: float, ours: float) -> Params:
    """`config`, which did well where the odds of the background (`odds_of`) were `theirs`, with the foreground weight
    that means the same where they are `ours`: the same power of the odds. No weight (1) stays none, and one that evens
    out the classes there, the odds themselves, does so here.

    Where a foreground is no minority its weight says nothing of others, and stays; so it does where odds are alike.
    """
    weight = config.get("foreground_weight")
    if weight is None or min(theirs, ours) < _MINORITY or max(theirs, ours) <= _SAME * min(theirs, ours):
        return config
    return {**config, "foreground_weight": float(ours ** (math.log(float(weight)) / math.log(theirs)))}


def adapted(
    config: Mapping[str, Value], space: SearchSpace, settings: Mapping[str, Value], *, exact: bool = False
) -> Params | None:
    """What to begin a study of `space` with that is still `config`; None where nothing is.

    A number beyond a range becomes the nearest that the space holds. What the space samples and the config does not say
    is left out, for the sampler to draw. A config is given up where one of its choices is none of the space's, and
    where its loss, its optimizer, its rate or a third of all that it says would not come true, sampled or fixed.

    Args:
        settings: what trials have of all that the space does not sample.
        exact: give it up too where a number would have to be another one.
    """
    found: Params = {}
    for parameter in space:
        name = parameter.name
        if not parameter.exists(found) or name not in config:
            continue
        value = _nearest(parameter, config[name])
        if value is None or (exact and not parameter.contains(config[name])):
            return None
        found[name] = value
    lost = {name for name, value in config.items() if name not in found and settings.get(name) != value}
    return None if lost & _ESSENTIAL or len(lost) > _LOST * len(config) else found


def _nearest(parameter: Parameter, wanted: Value) -> Value | None:
    """The value that `parameter` can take and that is nearest to `wanted`; None where it holds nothing like it."""
    if parameter.contains(wanted):
        return wanted
    if not is_number(wanted):
        return None
    if isinstance(parameter, Categorical):
        numbers = [choice for choice in parameter.choices if is_number(choice)]
        return min(numbers, key=lambda choice: abs(_log(choice) - _log(wanted)), default=None)
    assert isinstance(parameter, Int | Float)
    return at_share(parameter, share_of(parameter, float(wanted)))


def _log(number: Value) -> float:
    """Numbers that people list are apart by factors: sides, sizes of batches, weight decays."""
    return math.log(max(float(number), 1e-12))
