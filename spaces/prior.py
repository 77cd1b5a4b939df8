"""What a person believes of a parameter: a value, and how sure of it they are."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Categorical, Float, Int, Parameter, Value, at_share, share_of

FIELDS = ("prior", "prior_spread")
"""How they are written in `[space.params.NAME]`."""
SPREAD = 0.15
"""How far from the value people are taken to be, where they do not say."""


@dataclass(frozen=True)
class Prior:
    """`value` is thought to be good, or something near it.

    `spread`, 0 to 1, is how far: of a number the standard deviation of a normal distribution, as a share of the
    range on its own scale; of a choice the probability that it is another one.
    """

    value: Value
    spread: float = SPREAD

    def draw(self, parameter: Parameter, chance: random.Random) -> Value:
        """A value of `parameter`, as likely as it is believed."""
        if isinstance(parameter, Int | Float):
            return _drawn_number(parameter, self, chance)
        others = [value for value in parameter.values() or () if value != self.value]
        return chance.choice(others) if others and chance.random() < self.spread else self.value


def split(fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A table `[space.params.NAME]` without what it says of a prior, and that."""
    return (
        {name: value for name, value in fields.items() if name not in FIELDS},
        {name: value for name, value in fields.items() if name in FIELDS},
    )


def prior(parameter: Parameter, fields: Mapping[str, Any]) -> Prior:
    """The prior of `parameter` from what its table says; InputError where that cannot be."""
    where = f"[space.params.{parameter.name}]"
    if "prior" not in fields:
        raise InputError(f"{where} prior_spread needs a prior beside it; give the value that you believe in")
    value, spread = fields["prior"], fields.get("prior_spread", SPREAD)
    if isinstance(parameter, Float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not parameter.contains(value):
        raise InputError(f"{where} prior = {value!r} is none of its values; take {_values(parameter)}")
    if isinstance(spread, bool) or not isinstance(spread, int | float) or not 0 <= spread <= 1:
        raise InputError(
            f"{where} prior_spread = {spread!r} is wrong: give 0 (sure) to 1, the standard deviation as a share of the "
            "range, or the probability of another choice"
        )
    return Prior(value, float(spread))


def _values(parameter: Parameter) -> str:
    if isinstance(parameter, Categorical):
        return ", ".join(map(str, parameter.choices))
    assert isinstance(parameter, Int | Float)
    step = "" if parameter.step in (None, 1) else f" in steps of {parameter.step}"
    return f"{parameter.low} to {parameter.high}{step}"


def _drawn_number(parameter: Int | Float, believed: Prior, chance: random.Random) -> Value:
    """Of a normal distribution that is cut off at the range's ends."""
    if believed.spread == 0 or parameter.low == parameter.high:
        return believed.value
    middle = share_of(parameter, float(believed.value))
    while not 0 <= (share := chance.gauss(middle, believed.spread)) <= 1:
        pass  # a third of the draws lie within the range in the worst case: the middle does
    return at_share(parameter, share)
