import re

import pytest

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.speed import EXACT, Speed

FAST = Speed(precision="bf16", channels_last=True, evaluation_batch=4)


def test_what_is_kept_of_a_speed_is_what_differs_from_stock() -> None:
    assert FAST.kept() == {"precision": "bf16", "channels_last": True, "evaluation_batch": 4}
    assert Speed.of(FAST.kept()) == FAST
    assert (EXACT.kept(), Speed.of({})) == ({}, EXACT)
    assert (str(FAST), str(EXACT)) == ("precision = bf16, channels_last, evaluation_batch = 4", "as exact")


@pytest.mark.parametrize("kept", [{"warp": 9}, {"fused": 1}, {"evaluation_batch": "4"}])
def test_what_another_version_kept_is_refused(kept: dict[str, object]) -> None:
    ((name, value),) = kept.items()
    said = f"speed: {name} = {value!r} is nothing that this version of mmtuna can do"
    with pytest.raises(InputError, match=re.escape(said)):
        Speed.of(kept)
