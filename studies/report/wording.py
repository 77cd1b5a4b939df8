"""Figures and names as a person says them, for pages, notes and sentences alike."""

from __future__ import annotations

from collections.abc import Sequence

from mmtuna.spaces.parameter import Categorical, Float, Int, Parameter
from mmtuna.spaces.search_space import SearchSpace


def count(number: int, one: str, many: str = "") -> str:
    """`1 trial`, `1,000 trials`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def in_folds(what: str, folds: int) -> str:
    """`32 images of 8 subjects, each of which validates once in 4 folds`."""
    return f"{what}, each of which validates once in {folds} folds"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def hours(seconds: float) -> str:
    """Seconds as hours, with as many digits as say something."""
    amount = seconds / 3600
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:.1f}" if amount >= 10 else f"{amount:.2f}"


def kilowatt_hours(joules: float) -> str:
    """Joules as kilowatt-hours, with three digits."""
    return f"{joules / 3.6e6:.3g}"


def value_text(value: object, digits: int = 4) -> str:
    """A param as a person writes it in the spec, floats with so many significant digits."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def size_of(space: SearchSpace) -> str:
    """How large the search space is."""
    parameters = list(space)
    known = space.count()
    if known is not None:
        return f"{count(len(parameters), 'parameter')}, {count(known, 'combination')}"
    continuous = sum(parameter.values() is None for parameter in parameters)
    if continuous:
        return f"{count(len(parameters), 'parameter')}, {continuous} of them continuous"
    return f"{count(len(parameters), 'parameter')}, more than 100,000 combinations"


def range_text(parameter: Parameter) -> str:
    """What a parameter may be."""
    if isinstance(parameter, Categorical):
        return ", ".join(value_text(choice) for choice in parameter.choices)
    assert isinstance(parameter, Int | Float)
    words = f"{value_text(parameter.low)} to {value_text(parameter.high)}"
    if parameter.log:
        return f"{words}, log scale"
    return words if parameter.step in (None, 1) else f"{words} in steps of {value_text(parameter.step or 1)}"


def only_where(parameter: Parameter) -> str:
    """Where a parameter exists; empty where it always does."""
    when = "; ".join(
        f"{parent} is {' or '.join(value_text(value) for value in values)}" for parent, values in parameter.when.items()
    )
    return f"only where {when}" if when else ""
