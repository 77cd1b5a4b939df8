"""What predict.py takes and what it refuses, before any model is asked."""

from __future__ import annotations

import pytest

from mmtuna.objectives import predict
from mmtuna.objectives.predict import BadImageError
from tests.inputs import builders as b


def refused(data: bytes, rule: predict.Rule) -> str:
    with pytest.raises(BadImageError) as found:
        predict.decode(data, rule)
    return str(found.value)


def test_a_channel_that_is_not_there_is_asked_for_as_the_trainings_images_had_it() -> None:
    rule = {"channels": [3, 0, 1], "range": None}
    way = "save it with the 4 channels or more that the training's images had"
    assert refused(b.png(b.rgb("a")), rule) == f"has channels 0 to 2, and 3 is asked for; {way}"
    assert refused(b.png(b.grey("a")), rule) == f"has channel 0 alone, and 3 is asked for; {way}"
    assert refused(b.with_alpha("PNG")(b.rgb("a")), {}) == "has 4 channels; save it as 8-bit grey or RGB PNG"
