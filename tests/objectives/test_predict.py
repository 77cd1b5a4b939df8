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


def test_an_image_of_another_depth_than_the_trainings_is_refused() -> None:
    deep, shallow, colour = b.png(b.deep("a")), b.png(b.grey("a")), b.png(b.rgb("a"))
    rule = {"channels": None, "range": [240, 2340], "bits": 16}
    assert predict.decode(deep, rule).shape == (b.HEIGHT, b.WIDTH, 3)
    for data in (shallow, colour):
        said = "has 8 bits a channel, and the training's images had 16; give the original, which has 16"
        assert refused(data, rule) == said
    said = "has 16 bits a channel, and the training's images had 8; save it with 8 bits as those were"
    assert refused(deep, {**rule, "bits": 8}) == said
    older = {"channels": None, "range": [240, 2340]}
    assert [predict.decode(data, older).shape[2] for data in (deep, shallow, colour)] == [3, 3, 3]


def test_grey_in_the_place_of_colour_is_refused_where_channels_are_taken_by_number() -> None:
    grey, colour, more = b.png(b.grey("a")), b.png(b.rgb("a")), b.with_alpha("PNG")(b.rgb("a"))
    rule = {"channels": [0], "range": None, "bits": 8, "colour": True}
    said = "has 1 channel, and the training's images were in colour; give it as those were"
    assert refused(grey, rule) == said
    assert (predict.decode(colour, rule) == predict.decode(more, rule)).all()
    said = "has 3 channels, and the training's images were grey; give it as those were"
    assert refused(colour, {**rule, "colour": False}) == said
    assert predict.decode(grey, {**rule, "colour": None}).shape[2] == 3
