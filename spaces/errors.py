"""The one exception for everything a person can mend: a spec, a file, a name, a setting."""

from __future__ import annotations

from numbers import Integral


class InputError(ValueError):
    """Bad input, told in one line: what is wrong, where, and what would be right.

    Commands turn it into one line on stderr and exit status 2, never into a traceback.
    """


def whole_number(name: str, value: object, least: int) -> int:
    """`value` of the argument `name`, also where it is numpy's; InputError where it is not whole, or below `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise InputError(f"{name}: give a whole number from {least} on, not {value!r}")
    return int(value)


def whole_number_or_none(name: str, value: object, least: int) -> int | None:
    """The same of an argument that need not be given."""
    return None if value is None else whole_number(name, value, least)


def true_or_false(name: str, value: object) -> bool:
    """`value` of the argument `name`; InputError where it is not True or False, such as "no", which Python takes for
    true."""
    if not isinstance(value, bool):
        raise InputError(f"{name}: give True or False, not {value!r}")
    return value
