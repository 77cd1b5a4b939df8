"""A trial's settings are merged once, sampled before fixed before the paper's, and kept as written and as effective."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from mmtuna.objectives.config import merge_settings
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.settings import DEFAULTS


def test_sampled_before_fixed_before_the_papers() -> None:
    params, fixed = {"crop": 64, "a.b": 1}, {"crop": 96, "batch_size": 4}
    made = merge_settings(params, fixed, is_unet=True, has_weights=True)
    assert made.written == {**DEFAULTS, "crop": 64, "batch_size": 4, "a.b": 1}
    assert made.decoder == DEFAULTS["decoder"]
    other = merge_settings(params, fixed, is_unet=False, has_weights=True)
    assert (other.written, other.decoder) == ({"crop": 64, "batch_size": 4, "a.b": 1}, "")


def test_without_weights_no_trial_starts_from_weights() -> None:
    for is_unet in (True, False):
        made = merge_settings({"initial_weights": "pretrained"}, {}, is_unet=is_unet, has_weights=False)
        assert made.effective["initial_weights"] == "none"


def test_scale_factors_stand_in_what_is_written_and_are_applied_in_what_is_effective() -> None:
    made = merge_settings({"crop": 320}, {"size_scale": 0.5, "iteration_scale": 0.1}, is_unet=True, has_weights=True)
    assert (made.written["crop"], made.written["size_scale"]) == (320, 0.5)
    assert (made.effective["crop"], made.effective["poly_end"]) == (160, 4000)
    assert not {"size_scale", "iteration_scale"} & set(made.effective)


def test_a_name_or_a_value_that_is_none_is_told_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^settings: iteration is no setting; did you mean iterations"):
        merge_settings({"iteration": 5}, {}, is_unet=True, has_weights=True)
    with pytest.raises(InputError, match=r"^settings: crop = 'all' is not allowed; it takes 'none' or"):
        merge_settings({}, {"crop": "all"}, is_unet=False, has_weights=True)


def test_they_are_frozen_and_cross_to_another_process() -> None:
    made = merge_settings({"crop": 64}, {}, is_unet=True, has_weights=False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.written = {}  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(made)) == made
