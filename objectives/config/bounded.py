"""What a config may compute, each thing with its price: plain values only, and never more than a budget of them.

Every value here is None, a bool, int, float or str, or a dict, list, tuple, set or range of such; the functions and
operators are our own choice by identity, so that no name in a config can stand for another one.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

STEPS = 200_000
"""Parts of a config that are evaluated or made: the largest of the model zoo needs some thousands."""
DEPTH = 120
_BITS = 1024  # of an int: a float ends there, too
_SCALARS = (bool, int, float, str)


class RefusedError(Exception):
    """What a config may not do; the message says it without the place."""


class Budget:
    """Counts what a config costs, over all its bases, so that no short text makes long work."""

    def __init__(self, steps: int = STEPS) -> None:
        self._left = steps

    def spend(self, steps: int = 1) -> None:
        """Takes `steps` off; RefusedError where that is more than there are."""
        self._left -= steps
        if self._left < 0:
            raise RefusedError(f"makes more than {STEPS:,} values, which no config needs")

    def weigh(self, value: Any, depth: int = 0) -> None:
        """Spends the size of `value` as a tree: a list that holds another twice pays for it twice."""
        if depth > DEPTH:
            raise RefusedError(f"is nested more than {DEPTH} deep")
        self.spend(1 + len(value) // 16 if isinstance(value, str) else 1)
        if isinstance(value, Mapping):
            for part in value.values():
                self.weigh(part, depth + 1)
        elif isinstance(value, list | tuple):
            for part in value:
                self.weigh(part, depth + 1)
        elif isinstance(value, set | range):
            self.spend(len(value))


def items(value: Any, budget: Budget) -> list[Any]:
    """What `for` would go through, paid for."""
    if not isinstance(value, list | tuple | set | dict | str | range):
        raise RefusedError(
            f"goes through a {kind(value)}; only lists, tuples, sets, dicts, texts and ranges have items"
        )
    budget.spend(len(value))
    return list(value)


def kind(value: Any) -> str:
    """A value's type by its everyday name."""
    return "None" if value is None else "dict" if isinstance(value, dict) else type(value).__name__


def as_key(value: Any) -> Any:
    """`value` where it may be a key of a dict or a member of a set; RefusedError for what is no plain scalar."""
    if not is_scalar(value):
        raise RefusedError(f"has a {kind(value)} as key or member of a set; use a text or a number")
    return value


def checked(value: Any, budget: Budget) -> Any:
    """`value`, paid for, where it is small enough and plain."""
    if type(value) is int and value.bit_length() > _BITS:
        raise RefusedError(f"makes an integer of more than {_BITS} bits")
    if isinstance(value, str | list | tuple | set | dict):
        budget.spend(1 + len(value) // (16 if isinstance(value, str) else 1))
    elif value is not None and not isinstance(value, bool | int | float | range):
        raise RefusedError(f"makes a {kind(value)}, which is no plain value")
    return value


_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}
_IN_PLACE: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    **_BINARY,
    ast.Add: operator.iadd,
    ast.Mult: operator.imul,
    ast.BitOr: operator.ior,
    ast.BitAnd: operator.iand,
    ast.BitXor: operator.ixor,
    ast.Sub: operator.isub,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Invert: operator.invert,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_FORMAT = re.compile(r"[^{}%]?[<>=^]?[-+ ]?#?0?\d{0,2}[,_]?(\.\d{1,2})?[bcdeEfFgGnosxX%]?")
_PERCENT = re.compile(r"%([-+ #0]{0,3}\d{0,2}(\.\d{1,2})?[diouxXeEfFgGrs%])?")


def binary(kind_of: ast.operator, left: Any, right: Any, budget: Budget, *, in_place: bool = False) -> Any:
    """`left` operator `right`; `in_place` is what `+=` does: a list stays the same list."""
    _foresee(kind_of, left, right, budget)
    return checked((_IN_PLACE if in_place else _BINARY)[type(kind_of)](left, right), budget)


def _foresee(kind_of: ast.operator, left: Any, right: Any, budget: Budget) -> None:
    """Refuses what would be too large before it is made."""
    sized = (str, list, tuple)
    for many, times in ((left, right), (right, left)):
        if isinstance(kind_of, ast.Mult) and isinstance(many, sized) and isinstance(times, int):
            budget.spend(len(many) * max(0, times) // (16 if isinstance(many, str) else 1))
    if isinstance(kind_of, ast.Pow) and isinstance(left, int) and isinstance(right, int):
        if left.bit_length() * abs(right) > _BITS:
            raise RefusedError(f"makes an integer of more than {_BITS} bits")
    elif isinstance(kind_of, ast.LShift) and isinstance(right, int) and right > _BITS:
        raise RefusedError(f"makes an integer of more than {_BITS} bits")
    elif isinstance(kind_of, ast.Mod) and isinstance(left, str):
        _check_percent(left, right)
    if isinstance(left, dict) and not isinstance(right, dict):
        raise RefusedError(f"joins a dict and a {kind(right)}")
    for side in (left, right):
        if isinstance(side, str | list | tuple | set | dict | range):
            budget.spend(len(side) // (16 if isinstance(side, str) else 1))


def _check_percent(text: str, values: Any) -> None:
    plain = [values] if not isinstance(values, tuple) else list(values)
    if any(found[1] is None for found in _PERCENT.finditer(text)) or not all(map(is_scalar, plain)):
        raise RefusedError("fills in a text with % in a way that is not plain; write the text out")


def is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, _SCALARS)


def unary(kind_of: ast.unaryop, value: Any, budget: Budget) -> Any:
    """`-value` and its like."""
    return checked(_UNARY[type(kind_of)](value), budget)


def compare(kind_of: ast.cmpop, left: Any, right: Any, budget: Budget) -> bool:
    """One comparison."""
    if isinstance(kind_of, ast.In | ast.NotIn) and isinstance(right, set | dict):
        as_key(left)
    elif not isinstance(kind_of, ast.Is | ast.IsNot):
        budget.weigh(left)
        budget.weigh(right)
    return bool(_COMPARE[type(kind_of)](left, right))


def formatted(value: Any, form: str, conversion: int, budget: Budget) -> str:
    """One `{value:form}` of an f-string."""
    if not is_scalar(value):
        raise RefusedError(f"puts a {kind(value)} into a text; only texts and numbers are put in")
    if not _FORMAT.fullmatch(form):
        raise RefusedError(f"has the format {form[:20]!r}; use a plain one such as .2f")
    value = repr(value) if conversion in (ord("r"), ord("a")) else str(value) if conversion == ord("s") else value
    return str(checked(format(value, form), budget))


def call(name: str, arguments: list[Any], named: dict[str, Any], budget: Budget) -> Any:
    """`name(*arguments, **named)`, where `name` is one of FUNCTIONS."""
    if named and name != "dict":
        raise RefusedError(f"gives {name}() a named argument ({next(iter(named))}); only dict() takes them")
    return checked(FUNCTIONS[name](budget, *arguments, **named), budget)


def method(value: Any, name: str, arguments: list[Any], budget: Budget) -> Any:
    """`value.name(*arguments)`, where that is one of METHODS."""
    found = METHODS.get((type(value), name))
    if found is None:
        known = sorted(known for of, known in METHODS if of is type(value))
        hint = f"a {kind(value)} has {', '.join(known)}" if known else f"a {kind(value)} has none"
        raise RefusedError(f"calls .{name}(); {hint} here")
    return checked(found(budget, value, *arguments), budget)


def _dict(budget: Budget, *arguments: Any, **named: Any) -> dict[Any, Any]:
    budget.spend(len(named))
    if len(arguments) > 1:
        raise RefusedError(f"gives dict() {len(arguments)} values; it takes one")
    found: dict[Any, Any] = {}
    if arguments and isinstance(arguments[0], dict):
        budget.spend(len(arguments[0]))
        found.update(dict.items(arguments[0]))
    elif arguments:
        for pair in items(arguments[0], budget):
            key, value = items(pair, budget)
            found[as_key(key)] = value
    return {**found, **named}


def _range(budget: Budget, *arguments: int) -> range:  # noqa: ARG001
    return range(*arguments)


def _number(make: Callable[..., Any]) -> Callable[..., Any]:
    def convert(budget: Budget, value: Any = 0, *more: Any) -> Any:
        if not all(map(is_scalar, (value, *more))):
            raise RefusedError(f"makes a number or text of a {kind(value)}; give it a text or a number")
        budget.spend(len(value) // 16 if isinstance(value, str) else 0)
        return make(value, *more)

    return convert


def _extreme(choose: Callable[..., Any]) -> Callable[..., Any]:
    def find(budget: Budget, *arguments: Any) -> Any:
        found = items(arguments[0], budget) if len(arguments) == 1 else list(arguments)
        if not all(map(is_scalar, found)):
            raise RefusedError(f"calls {choose.__name__}() on more than texts and numbers")
        return choose(found)

    return find


def _sum(budget: Budget, values: Any, start: Any = 0) -> Any:
    total = start
    for value in items(values, budget):
        total = binary(ast.Add(), total, value, budget)
    return total


def _len(budget: Budget, value: Any) -> int:  # noqa: ARG001
    return len(value)


def _text(budget: Budget, value: Any = "") -> str:
    return formatted(value, "", ord("s"), budget)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "dict": _dict,
    "list": lambda budget, values=(): items(values, budget),
    "tuple": lambda budget, values=(): tuple(items(values, budget)),
    "set": lambda budget, values=(): {as_key(value) for value in items(values, budget)},
    "range": _range,
    "len": _len,
    "int": _number(int),
    "float": _number(float),
    "bool": lambda budget, value=False: bool(value),  # noqa: ARG005
    "str": _text,
    "min": _extreme(min),
    "max": _extreme(max),
    "sum": _sum,
    "abs": _number(abs),
    "round": _number(round),
    "enumerate": lambda budget, values, start=0: list(enumerate(items(values, budget), start)),
    "zip": lambda budget, *several: list(zip(*(items(values, budget) for values in several), strict=False)),
}
"""What a config may call, by name; a name in it cannot be given another meaning."""


def _update(budget: Budget, target: dict[Any, Any], *arguments: Any) -> None:
    target.update(_dict(budget, *arguments))


def _append(budget: Budget, target: list[Any], value: Any) -> None:
    budget.spend()
    target.append(value)


def _extend(budget: Budget, target: list[Any], values: Any) -> None:
    target.extend(items(values, budget))


def _insert(budget: Budget, target: list[Any], place: int, value: Any) -> None:
    budget.spend(1 + len(target) // 16)
    target.insert(place, value)


def _get(budget: Budget, target: dict[Any, Any], key: Any, default: Any = None) -> Any:  # noqa: ARG001
    return target.get(as_key(key), default)


METHODS: Mapping[tuple[type, str], Callable[..., Any]] = {
    (dict, "update"): _update,
    (dict, "copy"): _dict,
    (dict, "get"): _get,
    (dict, "keys"): lambda budget, target: items(target, budget),
    (dict, "values"): lambda budget, target: items(list(target.values()), budget),
    (dict, "items"): lambda budget, target: items(list(target.items()), budget),
    (list, "append"): _append,
    (list, "extend"): _extend,
    (list, "insert"): _insert,
    (list, "copy"): lambda budget, target: items(target, budget),
}
"""What a config may call on a dict or a list that it made itself."""
