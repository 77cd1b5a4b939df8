"""What cards took is shared out among the trials that trained on them; the cards' library is a stand-in here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from mmtuna.search.work.energy import Meter, counter_of


class Card:
    """A counter that a test moves; it fails where it stands at None."""

    def __init__(self) -> None:
        self.joules: float | None = 1000.0

    def __call__(self) -> float:
        assert self.joules is not None
        return self.joules

    def take(self, joules: float) -> None:
        assert self.joules is not None
        self.joules += joules


def test_what_a_shared_card_takes_is_shared_by_those_that_train_meanwhile() -> None:
    card = Card()
    meter = Meter(lambda device: card if device == "cuda:0" else None)
    with meter.training(1, "cuda:0"):
        card.take(10)
        with meter.training(2, "cuda:0"):
            card.take(20)
        card.take(5)
    card.take(100)  # nobody trains
    with meter.training(3, "cuda:0"), meter.training(4, "cpu"):
        card.take(7)
    assert [meter.joules(trial) for trial in (1, 2, 3, 4, 5)] == [25.0, 10.0, 7.0, None, None]


def test_a_trial_that_helpers_train_on_too_has_all_of_it() -> None:
    cards = {"cuda:0": Card(), "cuda:1": Card()}
    meter = Meter(cards.get)
    with meter.training(1, "cuda:0"), meter.training(1, "cuda:1"):
        cards["cuda:0"].take(3)
        cards["cuda:1"].take(4)
        assert meter.joules(1) == 7.0
    cards["cuda:1"].take(9)
    assert meter.joules(1) == 7.0


def test_what_is_not_wholly_known_is_not_told() -> None:
    card = Card()
    meter = Meter(lambda device: card)
    with meter.training(1, "cuda:0", resumed=True):  # another worker began it
        card.take(1)
    with meter.training(2, "cuda:0"):
        card.take(1)
    with meter.training(2, "cuda:0", resumed=True):  # put back and taken again here
        card.take(2)
    with meter.training(3, "cuda:0"):
        card.joules = 5.0  # it was reset
    with meter.training(4, "cuda:0"):
        card.joules = None  # its driver is gone
    assert [meter.joules(trial) for trial in (1, 2, 3, 4)] == [None, 3.0, None, None]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Puts a stand-in for pynvml in place, with so many cards; a handle is its index or UUID."""

    def install(cards: int) -> None:
        def energy(handle: object) -> int:
            if handle == "GPU-old":
                raise RuntimeError("Not Supported")
            return 2500

        module = SimpleNamespace(
            nvmlInit=lambda: None,
            nvmlDeviceGetCount=lambda: cards,
            nvmlDeviceGetHandleByIndex=lambda index: index,
            nvmlDeviceGetHandleByUUID=lambda name: name,
            nvmlDeviceGetTotalEnergyConsumption=energy,
        )
        monkeypatch.setitem(sys.modules, "pynvml", module)

    return install


@pytest.mark.parametrize(
    ("device", "cards", "environment", "known"),
    [
        ("cpu", 1, {}, False),
        ("cuda:0", 1, {}, True),
        ("cuda:0", 2, {}, False),
        ("cuda:1", 2, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, True),
        ("cuda:1", 2, {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, True),
        ("cuda:0", 2, {"CUDA_VISIBLE_DEVICES": "GPU-old"}, False),
        ("cuda:0", 1, {"CUDA_VISIBLE_DEVICES": "MIG-a"}, False),
    ],
)
def test_which_card_a_device_is_has_to_be_sure(
    nvml: Callable[[int], None], device: str, cards: int, environment: dict[str, str], known: bool
) -> None:
    nvml(cards)
    counter = counter_of(device, environment)
    assert (counter is not None) == known
    assert counter is None or counter() == 2.5


def test_without_the_package_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert counter_of("cuda:0", {}) is None
