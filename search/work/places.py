"""How many trials a worker may train at a time, on each device and in all: fewer once they ran out of memory."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

_MACHINE = ""
"""Stands for all devices: they share the machine's memory."""


@dataclass
class _Training:
    device: str
    begun: bool = False
    shared: set[str] = field(default_factory=set)
    """Where another one trained at some time while this one did: the device, and the machine."""


class Places:
    """The places of one worker's slots, a device a slot; safe to use from several threads."""

    def __init__(self, devices: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._allowed = Counter([*devices, *(_MACHINE for _ in devices)])
        self._training: dict[int, _Training] = {}
        self.lowered = 0
        """How many trials were put back since memory ran out beside others."""

    @contextmanager
    def training(self, slot: int, device: str) -> Iterator[bool]:
        """Within it the slot has a place on the device; False where there is none just now."""
        with self._lock:
            room = all(self._count(place) < self._allowed[place] for place in (device, _MACHINE))
            if room:
                self._training[slot] = _Training(device)
        try:
            yield room
        finally:
            if room:
                with self._lock:
                    del self._training[slot]

    def began(self, slot: int) -> None:
        """Takes note that the slot, which has a place, has a trial to train there."""
        with self._lock:
            own = self._training[slot]
            own.begun = True
            for other in self._training.values():
                if other is not own and other.begun:
                    both = {_MACHINE} | ({own.device} if other.device == own.device else set())
                    own.shared |= both
                    other.shared |= both

    def _count(self, place: str) -> int:
        return sum(place in (_MACHINE, entry.device) for entry in self._training.values())

    def lower(self, slot: int, *, of_gpu: bool) -> str | None:
        """Takes note that the slot's trial ran out of memory, the GPU's or the machine's.

        Where others trained beside it there is one place less from now on, one at least; in words. None where it was
        alone.
        """
        with self._lock:
            own = self._training[slot]
            place = own.device if of_gpu else _MACHINE
            if place not in own.shared:
                return None
            self._allowed[place] = max(1, self._allowed[place] - 1)
            self.lowered += 1
            left = self._allowed[place]
            on = f" on {own.device}" if of_gpu else ""
            times = f", {self.lowered} times by now" if self.lowered > 1 else ""
            return f"out of memory beside others; from now on {left} at a time{on}{times}"
