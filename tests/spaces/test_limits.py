"""What a net may ask, and by how much one is beyond it."""

from __future__ import annotations

import pytest

from mmtuna.spaces.limits import NO_LIMITS, Limits, in_words

DEMAND = {"parameters": 1_500_000.0, "latency_ms": 12.34, "memory_mib": 80.0}


def test_what_is_beyond_a_limit_is_said() -> None:
    limits = Limits(max_parameters=1_000_000, max_latency_ms=20.0, max_memory_mib=40.0)
    assert limits.excess(DEMAND) == pytest.approx({"parameters": 0.5, "latency_ms": -0.383, "memory_mib": 1.0})
    assert limits.broken(DEMAND) == (
        "1,500,000 parameters, more than max_parameters = 1,000,000; 80 MiB of memory, more than max_memory_mib = 40"
    )
    assert str(limits) == "max_parameters = 1,000,000, max_latency_ms = 20, max_memory_mib = 40"
    assert in_words(DEMAND) == "1,500,000 parameters, 12.34 ms an image, 80 MiB of memory"


def test_a_limit_that_is_just_met_holds() -> None:
    assert Limits(max_parameters=1_500_000).broken(DEMAND) is None
    assert Limits(max_parameters=1_499_999).broken(DEMAND) is not None
    assert not NO_LIMITS
    assert NO_LIMITS.broken({}) is None
