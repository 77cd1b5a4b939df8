"""One parameter of a search space: its range, its scale, and the condition under which it exists."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from mmtuna.spaces.errors import InputError

Value = bool | int | float | str
Params = dict[str, Value]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A named parameter.

    `when` maps a parent parameter to the values for which this one exists: `{"optimizer": ("Adam", "AdamW")}`.
    With several parents all must hold. A parameter whose parent does not exist does not exist either.
    """

    name: str
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    @property
    def distribution(self) -> BaseDistribution:
        """Optuna's distribution of this parameter."""
        raise NotImplementedError

    def suggest(self, trial: optuna.trial.BaseTrial) -> Value:
        """Asks `trial` for a value of this parameter."""
        raise NotImplementedError

    def values(self) -> list[Value] | None:
        """Every value this parameter can take, in order, or None where they are not countable."""
        raise NotImplementedError

    def settled(self, value: Value) -> Value:
        """`value` that a sampler drew, as `values` has it: one value must not look like two."""
        return value

    def contains(self, value: object) -> bool:
        """Whether `value` could have been suggested."""
        raise NotImplementedError

    def exists(self, params: Mapping[str, Value]) -> bool:
        """Whether this parameter exists beside the values already chosen in `params`."""
        return all(parent in params and params[parent] in allowed for parent, allowed in self.when.items())

    def describe(self) -> dict[str, Any]:
        """This parameter as plain data: the form that is fingerprinted and printed."""
        description = optuna.distributions.distribution_to_json(self.distribution)
        return {"distribution": description, "when": {parent: list(values) for parent, values in self.when.items()}}


@dataclass(frozen=True, kw_only=True)
class Categorical(Parameter):
    """One of `choices`, unordered. 1, 1.0 and True are one value to Python, so no two of them are choices together."""

    choices: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.choices:
            raise InputError(f"parameter {self.name}: choices is empty; give at least one choice")
        if any(isinstance(choice, float) and not math.isfinite(choice) for choice in self.choices):
            raise InputError(f"parameter {self.name}: choices {list(self.choices)} hold no finite number; remove it")
        for place, choice in enumerate(self.choices):
            if choice in self.choices[:place]:
                twin = self.choices[self.choices.index(choice)]
                what = "a value twice" if repr(twin) == repr(choice) else f"{twin!r} and {choice!r}, which are equal"
                raise InputError(
                    f"parameter {self.name}: choices {list(self.choices)} hold {what}: the second would never be "
                    "tried; give each once"
                )

    @property
    def distribution(self) -> CategoricalDistribution:
        return CategoricalDistribution(self.choices)

    def suggest(self, trial: optuna.trial.BaseTrial) -> Value:
        chosen = trial.suggest_categorical(self.name, self.choices)
        assert chosen is not None
        return chosen

    def values(self) -> list[Value]:
        return list(self.choices)

    def contains(self, value: object) -> bool:
        # True == 1 in Python; a flag must not pass for a number.
        return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in self.choices)


def _check_range(name: str, low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise InputError(f"parameter {name}: range {low} to {high} is empty; low must be finite and at most high")
    if log and low <= 0:
        raise InputError(f"parameter {name}: log scale from {low}; a log scale starts above 0")


@dataclass(frozen=True, kw_only=True)
class Int(Parameter):
    """A whole number from `low` to `high`, both included, in steps of `step`, or on a log scale."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def __post_init__(self) -> None:
        _check_range(self.name, self.low, self.high, self.log)
        if self.step < 1 or (self.log and self.step != 1):
            raise InputError(f"parameter {self.name}: step {self.step}; a step is 1 or more, and 1 on a log scale")
        if (self.high - self.low) % self.step:
            raise InputError(
                f"parameter {self.name}: {self.high} is not reached from {self.low} in steps of {self.step}; "
                f"end at {self.high - (self.high - self.low) % self.step}"
            )

    @property
    def distribution(self) -> IntDistribution:
        return IntDistribution(self.low, self.high, log=self.log, step=self.step)

    def suggest(self, trial: optuna.trial.BaseTrial) -> Value:
        return trial.suggest_int(self.name, self.low, self.high, step=self.step, log=self.log)

    def values(self) -> list[Value]:
        return list(range(self.low, self.high + 1, self.step))

    def contains(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0


@dataclass(frozen=True, kw_only=True)
class Float(Parameter):
    """A number from `low` to `high`, both included, in steps of `step`, or on a log scale."""

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def __post_init__(self) -> None:
        _check_range(self.name, self.low, self.high, self.log)
        if self.step is None:
            return
        if self.log or not 0 < self.step < math.inf:
            raise InputError(
                f"parameter {self.name}: step {self.step}; a step is finite, above 0 and excludes a log scale"
            )
        reached = self._at(round((self.high - self.low) / self.step))
        if reached != self.high:
            raise InputError(f"parameter {self.name}: {self._missed(reached)}")

    def _missed(self, reached: float) -> str:
        """How the last step, which has `reached` so far, misses `high`, and what would be right."""
        assert self.step is not None
        if math.isclose(reached, self.high, rel_tol=0.0, abs_tol=1e-9 * self.step):
            return (
                f"steps of {self.step} from {self.low} end a rounding error beside {self.high}; write low, high and "
                "step with few decimals, or give choices"
            )
        below = self._at(math.floor((self.high - self.low) / self.step))
        way = f"take a step of {self._width():g} or less"
        if below > self.low:
            way = f"end at {below}, with which a study that has begun goes on"
        return f"{self.high} is not reached from {self.low} in steps of {self.step}; {way}"

    def _at(self, steps: int) -> float:
        """Where so many steps from `low` end, by the decimals that a person wrote: of floats the sum is a hair off."""
        return float(Decimal(str(self.low)) + steps * Decimal(str(self.step)))

    def _width(self) -> Decimal:
        return Decimal(str(self.high)) - Decimal(str(self.low))

    @property
    def distribution(self) -> FloatDistribution:
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def suggest(self, trial: optuna.trial.BaseTrial) -> Value:
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def values(self) -> list[Value] | None:
        if self.step is None:
            return [self.low] if self.low == self.high else None
        count = round((self.high - self.low) / self.step)
        return [*(self.low + index * self.step for index in range(count)), self.high]

    def settled(self, value: Value) -> Value:
        """`value` of this range, and `high` where it is the last step: samplers add up steps, and end a hair below."""
        assert isinstance(value, int | float)
        last = self.step is not None and value > self.high - self.step / 2
        return self.high if last else value

    def contains(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        if self.step is None:
            return True
        steps = (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-8)


def parameter(name: str, table: Mapping[str, Any]) -> Parameter:
    """A parameter from a table of a spec: `type` (categorical | int | float) and the fields of that type.

    `type` may be left out where `choices` is given (categorical) or `low` and `high` are of one kind.
    Raises InputError for an unknown field, a missing one, or a value of the wrong type.
    """
    fields = dict(table)
    kind = fields.pop("type", None) or _guess_type(name, fields)
    when = {parent: _values(name, f"when.{parent}", allowed) for parent, allowed in fields.pop("when", {}).items()}
    classes: dict[str, tuple[type[Parameter], tuple[str, ...], tuple[str, ...]]] = {
        "categorical": (Categorical, ("choices",), ()),
        "int": (Int, ("low", "high"), ("step", "log")),
        "float": (Float, ("low", "high"), ("step", "log")),
    }
    if kind not in classes:
        raise InputError(f"parameter {name}: type {kind!r} is unknown; use categorical, int or float")
    cls, required, optional = classes[kind]
    missing = [key for key in required if key not in fields]
    unknown = sorted(set(fields) - set(required) - set(optional))
    if missing or unknown:
        wrong = f"lacks {', '.join(missing)}" if missing else f"has unknown fields {', '.join(unknown)}"
        known = ", ".join((*required, *optional, "when", "prior", "prior_spread"))
        raise InputError(f"parameter {name}: {kind} {wrong}; it takes {known} and nothing else")
    _check_types(name, kind, fields)
    if "choices" in fields:
        fields["choices"] = _values(name, "choices", fields["choices"])
    return cls(name=name, when=when, **fields)


def rebuilt(name: str, description: Mapping[str, Any]) -> Parameter:
    """The parameter that `Parameter.describe` described so."""
    when = {parent: tuple(values) for parent, values in description["when"].items()}
    kept = optuna.distributions.json_to_distribution(description["distribution"])
    if isinstance(kept, IntDistribution):
        return Int(name=name, when=when, low=kept.low, high=kept.high, step=kept.step, log=kept.log)
    if isinstance(kept, FloatDistribution):
        return Float(name=name, when=when, low=kept.low, high=kept.high, step=kept.step, log=kept.log)
    assert isinstance(kept, CategoricalDistribution)
    return Categorical(name=name, when=when, choices=_values(name, "choices", kept.choices))


def _guess_type(name: str, fields: Mapping[str, Any]) -> str:
    if "choices" in fields:
        return "categorical"
    if "low" not in fields or "high" not in fields:
        raise InputError(f"parameter {name}: neither choices nor low and high; give one of the two")
    return "int" if isinstance(fields["low"], int) and isinstance(fields["high"], int) else "float"


def _check_types(name: str, kind: str, fields: Mapping[str, Any]) -> None:
    number: tuple[type, ...] = (int,) if kind == "int" else (int, float)
    for key in {"low", "high", "step"} & set(fields):
        if isinstance(fields[key], bool) or not isinstance(fields[key], number):
            raise InputError(f"parameter {name}: {key} is {fields[key]!r}; {kind} takes a number of that kind")
    if not isinstance(fields.get("log", False), bool):
        raise InputError(f"parameter {name}: log is {fields['log']!r}; write true or false")


def _values(name: str, key: str, values: object) -> tuple[Value, ...]:
    if isinstance(values, bool | int | float | str):
        return (values,)
    if not isinstance(values, Sequence) or not all(isinstance(value, bool | int | float | str) for value in values):
        raise InputError(f"parameter {name}: {key} is {values!r}; give a list of strings, numbers, true or false")
    return tuple(values)


Number = Int | Float


def is_number(value: Value | None) -> bool:
    """Whether a value is a number; true and false are none, though Python counts them."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def share_of(parameter: Number, number: float) -> float:
    """Where `number` stands in the range of `parameter`, on its own scale: 0 at its low end, 1 at its high end.

    Beyond the range it is below 0 or above 1; in a range of one value always 0.
    """
    low, high = float(parameter.low), float(parameter.high)
    if low == high:
        return 0.0
    if parameter.log:
        low, high, number = math.log(low), math.log(high), math.log(max(number, 1e-300))
    return (number - low) / (high - low)


def at_share(parameter: Number, share: float) -> int | float:
    """The value of `parameter` that is nearest to a place in its range, of which those beyond are its ends."""
    low, high = float(parameter.low), float(parameter.high)
    if share <= 0.0 or share >= 1.0:
        return parameter.low if share <= 0.0 else parameter.high
    if parameter.log:
        found = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        found = low + share * (high - low)
    if parameter.step is not None and not parameter.log:
        found = low + round((found - low) / parameter.step) * parameter.step
    found = min(found, high)
    return round(found) if isinstance(parameter, Int) else float(parameter.settled(found))
