"""What a net may ask of the machine that it is deployed on, and what it does ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PARAMETERS, LATENCY, MEMORY = "parameters", "latency_ms", "memory_mib"
Demand = Mapping[str, float]
"""What a net asks: `parameters`, and where they were measured `latency_ms` an image and `memory_mib`."""
_WORDS = {PARAMETERS: "{:,.0f} parameters", LATENCY: "{:,.4g} ms an image", MEMORY: "{:,.4g} MiB of memory"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that a net may ask; None is no limit.

    Args:
        max_parameters: of the net that is deployed, auxiliary heads aside.
        max_latency_ms: milliseconds from an image's pixels to its mask, on the device that trials train on.
        max_memory_mib: MiB of the weights and of what one image takes at most, there.
    """

    max_parameters: int | None = None
    max_latency_ms: float | None = None
    max_memory_mib: float | None = None

    def __bool__(self) -> bool:
        return bool(self.given())

    def given(self) -> dict[str, float]:
        """The limits that there are, by the name of what they limit."""
        limits = {PARAMETERS: self.max_parameters, LATENCY: self.max_latency_ms, MEMORY: self.max_memory_mib}
        return {name: limit for name, limit in limits.items() if limit is not None}

    def excess(self, demand: Demand) -> dict[str, float]:
        """By what share of each limit the demand is beyond it, 0 or less where it is not: Optuna's constraints."""
        return {name: demand[name] / limit - 1 for name, limit in self.given().items()}

    def broken(self, demand: Demand) -> str | None:
        """Which limits the demand is beyond, in words; None where it is beyond none."""
        given = self.given()
        over = [name for name, share in self.excess(demand).items() if share > 0]
        parts = [f"{in_words({name: demand[name]})}, more than max_{name} = {given[name]:,.10g}" for name in over]
        return "; ".join(parts) or None

    def __str__(self) -> str:
        return ", ".join(f"max_{name} = {limit:,.10g}" for name, limit in self.given().items())


NO_LIMITS = Limits()


def in_words(demand: Demand) -> str:
    """`1,234 parameters, 5.2 ms an image, 40 MiB of memory`."""
    return ", ".join(words.format(demand[name]) for name, words in _WORDS.items() if name in demand)
