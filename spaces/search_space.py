"""SearchSpace: the parameters of a study, in an order in which every parent stands before its children."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Parameter, Params, Value, rebuilt


class SearchSpace:
    """A set of parameters, some of which exist only for some values of others.

    Raises InputError where a name stands twice, a parent is missing, or parents form a circle.
    """

    def __init__(self, parameters: list[Parameter] | tuple[Parameter, ...]) -> None:
        names = [parameter.name for parameter in parameters]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"space: parameter {name} stands twice; give each name once")
        self.parameters = _in_order(parameters)
        _check_conditions(self.parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.parameters)

    def __contains__(self, name: object) -> bool:
        return any(parameter.name == name for parameter in self.parameters)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters, parents before children."""
        return tuple(parameter.name for parameter in self.parameters)

    def parameter(self, name: str) -> Parameter:
        """The parameter of that name; InputError where there is none."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise InputError(f"space: no parameter {name}; it has {', '.join(self.names)}")

    def suggest(self, trial: optuna.trial.BaseTrial) -> Params:
        """Asks `trial` for every parameter that exists, parents first. Works with a FixedTrial too."""
        params: Params = {}
        for parameter in self.parameters:
            if parameter.exists(params):
                params[parameter.name] = parameter.suggest(trial)
        return params

    def why_not(self, params: Mapping[str, Value]) -> str | None:
        """The first reason why `params` cannot come from this space, or None where they can."""
        expected = {parameter.name for parameter in self.parameters if parameter.exists(params)}
        for name in sorted(expected - set(params)):
            return f"{name} is missing"
        for name, value in params.items():
            if name not in self:
                return f"{name} is no parameter of the space"
            if name not in expected:
                return f"{name} does not exist for these values of {', '.join(self.parameter(name).when)}"
            if not self.parameter(name).contains(value):
                return f"{name} = {value!r} is outside its range"
        return None

    def contains(self, params: Mapping[str, Value]) -> bool:
        """Whether `params` are complete and each value could have been suggested."""
        return self.why_not(params) is None

    def project(self, settings: Mapping[str, Value]) -> Params:
        """The part of `settings` that this space samples: its existing parameters, parents first.

        Raises InputError where a needed value is missing from `settings` or lies outside the space.
        """
        params: Params = {}
        for parameter in self.parameters:
            if parameter.exists(params) and parameter.name in settings:
                params[parameter.name] = settings[parameter.name]
        reason = self.why_not(params)
        if reason:
            raise InputError(f"space: {reason}; widen the space or leave these settings out")
        return params

    def cells(self) -> list[Params] | None:
        """Every combination the space holds, conditions respected, or None where a range is continuous."""
        return self._cells(math.inf)

    def count(self) -> int | None:
        """How many combinations `cells` would list, without listing more than 100,000; None beyond or continuous."""
        cells = self._cells(100_000)
        return None if cells is None else len(cells)

    def _cells(self, most: float) -> list[Params] | None:
        cells: list[Params] = [{}]
        for parameter in self.parameters:
            values = parameter.values()
            if values is None:
                return None
            having = sum(parameter.exists(cell) for cell in cells)
            if len(cells) + having * (len(values) - 1) > most:  # and a further parameter makes them no fewer
                return None
            cells = [
                cell | {parameter.name: value} if parameter.exists(cell) else cell
                for cell in cells
                for value in (values if parameter.exists(cell) else values[:1])
            ]
        return cells

    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's distributions of all parameters."""
        return {parameter.name: parameter.distribution for parameter in self.parameters}

    def describe(self) -> dict[str, Any]:
        """The space as plain data, one entry a parameter, sorted by name."""
        return {parameter.name: parameter.describe() for parameter in sorted(self.parameters, key=lambda p: p.name)}

    @classmethod
    def rebuilt(cls, described: Mapping[str, Mapping[str, Any]], order: Sequence[str] = ()) -> SearchSpace:
        """The space that `describe` described so; its parameters stand in `order`, those of other names behind."""
        places = {name: place for place, name in enumerate(order)}
        names = sorted(described, key=lambda name: (places.get(name, len(places)), name))
        return cls([rebuilt(name, described[name]) for name in names])

    def fingerprint(self) -> str:
        """sha256 (hex) of `describe()`: equal for equal spaces, whatever the order they were written in."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()


def _in_order(parameters: list[Parameter] | tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    by_name = {parameter.name: parameter for parameter in parameters}
    placed: dict[str, Parameter] = {}
    waiting = list(parameters)
    while waiting:
        ready = [parameter for parameter in waiting if set(parameter.when) <= set(placed)]
        if not ready:
            _explain_waiting(waiting, by_name)
        placed |= {parameter.name: parameter for parameter in ready}
        waiting = [parameter for parameter in waiting if parameter.name not in placed]
    return tuple(placed.values())


def _explain_waiting(waiting: list[Parameter], by_name: Mapping[str, Parameter]) -> None:
    for parameter in waiting:
        for parent in parameter.when:
            if parent not in by_name:
                raise InputError(
                    f"parameter {parameter.name}: exists only for some {parent}, which is no parameter of the space; "
                    f"add {parent} or drop the condition"
                )
    names = ", ".join(parameter.name for parameter in waiting)
    raise InputError(f"space: the conditions of {names} form a circle; a parent must not depend on its child")


def _check_conditions(parameters: tuple[Parameter, ...]) -> None:
    by_name = {parameter.name: parameter for parameter in parameters}
    for parameter in parameters:
        for parent, allowed in parameter.when.items():
            strange = [value for value in allowed if not by_name[parent].contains(value)]
            if strange:
                raise InputError(
                    f"parameter {parameter.name}: exists for {parent} = {strange[0]!r}, which {parent} cannot take; "
                    "name values that it can"
                )
