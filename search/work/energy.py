"""What cards took for each trial of a worker, where they tell: NVIDIA's, by NVML, if nvidia-ml-py is installed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from mmtuna.objectives.devices import visible_to_child

Counter = Callable[[], float]
"""Joules that a card took so far, since some time of its own."""


def counter_of(device: str, environment: Mapping[str, str] = os.environ) -> Counter | None:
    """The counter of a device such as "cuda:0"; None where it does not tell, or which card it is cannot be told.

    CUDA numbers cards by their speed, unless CUDA_DEVICE_ORDER says otherwise, and NVML by their place: a number names
    a card for sure where there is one, or the two agree. Part of a card (MIG) has no counter of its own.
    """
    if not device.startswith("cuda"):
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = _handle(pynvml, visible_to_child(device, environment), environment)
        if handle is None:
            return None
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)  # Volta and newer
    except Exception:  # none of the package's errors can be named where it is not installed; nor must one end a search
        return None
    return lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000.0  # it counts millijoules


def _handle(pynvml: Any, name: str, environment: Mapping[str, str]) -> Any:
    if name.startswith("GPU-"):
        return pynvml.nvmlDeviceGetHandleByUUID(name)
    sure = pynvml.nvmlDeviceGetCount() == 1 or environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    return pynvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() and sure else None


@dataclass
class _Card:
    counter: Counter
    counted: float
    trials: list[int] = field(default_factory=list)


class Meter:
    """Joules by trial; safe to use from several threads.

    What a card takes while it trains is shared evenly among the trials that this worker trains on it at the time.
    Other processes on the same card count as if they were these.
    """

    def __init__(self, find: Callable[[str], Counter | None] = counter_of) -> None:
        self._lock, self._find = threading.Lock(), find
        self._cards: dict[str, _Card | None] = {}
        self._joules: dict[int, float] = {}
        self._unknown: set[int] = set()

    @contextmanager
    def training(self, trial: int, device: str, *, resumed: bool = False) -> Iterator[None]:
        """Within it the trial, or a fold of it, trains on the device; `resumed`: it was trained before."""
        with self._lock:
            if resumed and trial not in self._joules:
                self._unknown.add(trial)  # by another worker
            card = self._settle(device)
            self._joules.setdefault(trial, 0.0)
            if card is None:
                self._unknown.add(trial)
            else:
                card.trials.append(trial)
        try:
            yield
        finally:
            with self._lock:
                self._settle(device)
                if card is not None:
                    card.trials.remove(trial)

    def joules(self, trial: int) -> float | None:
        """What was taken for the trial so far; None where that is not wholly known."""
        with self._lock:
            for device in self._cards:
                self._settle(device)
            return None if trial in self._unknown else self._joules.get(trial)

    def _settle(self, device: str) -> _Card | None:
        """Shares out what the device's card took since the last time; None where it does not tell."""
        if device not in self._cards:
            counter = self._find(device)
            self._cards[device] = None if counter is None else _Card(counter, counter())
        card = self._cards[device]
        if card is None:
            return None
        now = -1.0
        with suppress(Exception):  # a driver that is gone must not end a search
            now = card.counter()
        if now < card.counted:
            self._unknown.update(card.trials)
        for trial in card.trials:
            self._joules[trial] += max(0.0, now - card.counted) / len(card.trials)
        card.counted = max(now, 0.0)
        return card
