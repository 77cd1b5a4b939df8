"""Which settings change a training at all, beside which others: a value that changes nothing must not look tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmtuna.spaces.parameter import Value
from mmtuna.spaces.settings import CLASS_WEIGHTED_LOSSES, MIXED_LOSSES, NO_CROP, OPTIMIZERS, SCHEDULES, defaults_of


@dataclass(frozen=True, kw_only=True)
class Need:
    """A setting is of use only where `parent` has one of `values`, or any value but those in `other_than`.

    `from_base`: a base config's own value of the parent will do, which only its text tells.
    """

    parent: str
    values: tuple[Value, ...] = ()
    other_than: tuple[Value, ...] = ()
    from_base: bool = False

    def met_by(self, value: Value) -> bool:
        """Whether the setting is of use beside `value` of the parent."""
        return value not in self.other_than if self.other_than else value in self.values

    def __str__(self) -> str:
        if self.other_than:
            return f"{self.parent} other than {_listed(self.other_than)}"
        return f"{self.parent} = {_listed(self.values)}"


_ADAMS = tuple(name for name in OPTIMIZERS if name != "SGD")
NEEDS: Mapping[str, Need] = {
    "cat_max_ratio": Need(parent="crop", other_than=(NO_CROP,)),
    "scale_jitter": Need(parent="crop", other_than=(NO_CROP,)),
    "mix_weight": Need(parent="loss", values=MIXED_LOSSES),
    "foreground_weight": Need(parent="loss", values=CLASS_WEIGHTED_LOSSES),
    "lr_sgd": Need(parent="optimizer", values=("SGD",), from_base=True),
    "lr_adam": Need(parent="optimizer", values=_ADAMS, from_base=True),
    "momentum": Need(parent="optimizer", values=("SGD",), from_base=True),
    "warmup": Need(parent="schedule", values=SCHEDULES),
    "window": Need(parent="inference", values=("slide",)),
    "stride": Need(parent="inference", values=("slide",)),
}
"""What each setting needs of another; those not named are always of use."""
SCALED: Mapping[str, tuple[str, ...]] = {
    "size_scale": ("input_size", "crop", "window", "stride"),
    "iteration_scale": ("iterations",),
}
"""What each scale factor scales: on a base config of one's own only where it is set."""

_REMEDY = "remove it (a study that has begun goes on without it)"

Possible = Mapping[str, Sequence[Value]]
"""The values that settings can take in a study, by name; a setting that is missing stays the base config's own."""


def why_idle(name: str, possible: Possible) -> str | None:
    """Why the setting `name` can change no training among `possible` ones, and what would; None where it can."""
    if name in SCALED:
        scaled = SCALED[name]
        if any(other in possible for other in scaled):
            return None
        return f"it scales {_listed(scaled)}, which the base config keeps; {_REMEDY}, or set {scaled[0]} too"
    need = NEEDS.get(name)
    if need is None or (need.from_base and need.parent not in possible):
        return None
    if need.parent not in possible:
        return f"it needs {need}, and the base config keeps its own; {_REMEDY}, or set {need.parent} too"
    values = possible[need.parent]
    if any(need.met_by(value) for value in values):
        return None
    return f"it needs {need}, and {need.parent} is {_listed(values)}; {_REMEDY}, or change {need.parent}"


def why_covered(name: str, possible: Possible) -> str | None:
    """Why the sliding window's `name` can change no training among `possible` ones: each window holds the whole input.

    None where it can. A thing apart from `why_idle`: who fixes so large a window means the whole image, and what trials
    of it were trained with stays theirs.
    """
    inputs, windows = possible.get("input_size", ()), possible.get("window", ())
    if name not in ("window", "stride") or not inputs or not windows:
        return None
    least, most = (choose(int(value) for value in values) for choose, values in ((min, windows), (max, inputs)))
    if least < most:  # scaled, they keep their order
        return None
    return f"window = {least} covers the whole input of {most} pixels; {_REMEDY}, or try windows below {most}"


def without_idle(values: Mapping[str, Value], others: Mapping[str, Value] | None = None) -> dict[str, Value]:
    """`values` of one training less those that change nothing beside each other and beside `others`."""
    possible = {name: (value,) for name, value in {**(others or {}), **values}.items()}
    return {name: value for name, value in values.items() if why_idle(name, possible) is None}


def default_values(base: str | None) -> dict[str, Sequence[Value]]:
    """`defaults_of` the base in the form of `Possible`."""
    return {name: (value,) for name, value in defaults_of(base).items()}


def _listed(values: Sequence[Value]) -> str:
    return " | ".join(str(value).lower() if isinstance(value, bool) else str(value) for value in values)
