"""What a person believes of a parameter: drawn as it is believed, refused where it cannot be."""

from __future__ import annotations

import random
import re
import statistics
from collections.abc import Mapping
from typing import Any

import pytest

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Categorical, Float, Int, Number, at_share, share_of
from mmtuna.spaces.prior import Prior, prior

RATE = Float(name="lr_sgd", low=1e-4, high=1e-1, log=True)
SIDE = Int(name="rotation", low=0, high=30, step=5)
LOSS = Categorical(name="loss", choices=("dice", "focal", "lovasz"))


@pytest.mark.parametrize("parameter", [RATE, SIDE, Float(name="momentum", low=0.0, high=1.0, step=0.25)])
def test_numbers_are_drawn_around_the_value_and_within_the_range(parameter: Number) -> None:
    middle = at_share(parameter, 0.5)
    drawn = [Prior(middle, 0.1).draw(parameter, random.Random(seed)) for seed in range(400)]
    assert all(parameter.contains(value) for value in drawn)
    shares = [share_of(parameter, float(value)) for value in drawn]
    assert statistics.mean(shares) == pytest.approx(share_of(parameter, middle), abs=0.03)
    assert 0.05 < statistics.stdev(shares) < 0.15


def test_the_end_of_a_range_is_believed_without_leaving_it() -> None:
    drawn = [Prior(1e-1, 0.3).draw(RATE, random.Random(seed)) for seed in range(200)]
    assert all(RATE.contains(value) for value in drawn)
    assert {Prior(1e-1, 0.0).draw(RATE, random.Random(seed)) for seed in range(9)} == {1e-1}


def test_another_choice_is_as_likely_as_it_is_said() -> None:
    drawn = [Prior("focal", 0.25).draw(LOSS, random.Random(seed)) for seed in range(2000)]
    assert drawn.count("focal") / 2000 == pytest.approx(0.75, abs=0.04)
    assert set(drawn) == {"dice", "focal", "lovasz"}
    assert Prior(1).draw(Categorical(name="batch_size", choices=(1,)), random.Random(0)) == 1


@pytest.mark.parametrize(
    ("parameter", "fields", "message"),
    [
        (RATE, {"prior": 1.0}, "[space.params.lr_sgd] prior = 1.0 is none of its values; take 0.0001 to 0.1"),
        (SIDE, {"prior": 7}, "prior = 7 is none of its values; take 0 to 30 in steps of 5"),
        (SIDE, {"prior": True}, "prior = True is none of its values"),
        (LOSS, {"prior": "hinge"}, "prior = 'hinge' is none of its values; take dice, focal, lovasz"),
        (LOSS, {"prior": "dice", "prior_spread": 1.5}, "prior_spread = 1.5 is wrong: give 0 (sure) to 1"),
        (LOSS, {"prior": "dice", "prior_spread": "wide"}, "prior_spread = 'wide' is wrong"),
        (LOSS, {"prior_spread": 0.1}, "[space.params.loss] prior_spread needs a prior beside it"),
    ],
)
def test_a_belief_that_cannot_be(parameter: Any, fields: Mapping[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        prior(parameter, fields)


def test_a_whole_number_does_for_a_real_one() -> None:
    assert prior(Float(name="mix_weight", low=0.5, high=4.0), {"prior": 1}) == Prior(1.0)
