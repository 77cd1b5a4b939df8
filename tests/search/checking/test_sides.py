"""Sides and strides of a space that no trial could train with, or that change none."""

from __future__ import annotations

from typing import Any

import pytest

from mmtuna.search.checking.sides import check_sizes, check_strides
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Categorical, Float, Int, Parameter
from mmtuna.spaces.search_space import SearchSpace

CROPS = SearchSpace([Categorical(name="crop", choices=("none", 64, 96))])


def test_crops_larger_than_an_image_are_padded_and_told() -> None:
    (note,) = check_sizes(CROPS, {"input_size": 96}, "unet", {(96, 64)})
    assert note.startswith("crop = 96 is larger than the shortest side of the input (64 at input_size = 96): what is")
    assert check_sizes(CROPS, {"input_size": 96}, "unet", {(96, 96)}) == []
    assert check_sizes(CROPS, {}, "fcn_r50-d8_4xb2-40k_cityscapes-512x1024", {(64, 64)}) == []  # its own sizes


def test_sides_that_the_unet_cannot_halve_are_refused() -> None:
    with pytest.raises(InputError, match=r"input_size = 72: the UNet halves its input four times .* take 64 or 80"):
        check_sizes(CROPS, {"input_size": 72}, "unet", {(96, 96)})


@pytest.mark.parametrize("name", ["crop", "input_size", "window"])
def test_what_lies_between_the_ends_of_a_range_is_held_against_the_unet_too(name: str) -> None:
    def check(fixed: dict[str, Any], *more: Parameter, base: str = "unet", **fields: Any) -> None:
        space = SearchSpace([Int(name=name, low=32, high=64, **fields), *more])
        check_sizes(space, {"input_size": 64, **fixed} if name != "input_size" else fixed, base, {(64, 64)})

    said = (
        f"[space.params.{name}] low = 32, high = 64: the UNet halves its input four times and takes multiples of 16, "
    )
    for fields, why in (
        ({}, "and steps of 1 give others; set step = 16"),
        ({"step": 8}, "and steps of 8 give others; set step = 16"),
        ({"log": True}, "and a log scale gives others; set step = 16 in place of log, or give choices"),
    ):
        with pytest.raises(InputError) as caught:
            check({}, **fields)
        assert str(caught.value) == said + why
    check({}, step=16)
    check({}, step=32)
    check({"size_scale": 0.5})  # what is scaled is rounded to what the UNet takes
    check({}, base="fcn_r50-d8_4xb2-40k_cityscapes-512x1024")
    check({}, Float(name="size_scale", low=0.25, high=0.5))
    with pytest.raises(InputError, match="set step = 16"):
        check({}, Float(name="size_scale", low=0.25, high=1.0))


def test_a_sampled_scale_is_heeded() -> None:
    def check(*scales: float) -> None:
        scale = Categorical(name="size_scale", choices=scales)
        check_sizes(SearchSpace([scale]), {"input_size": 128, "crop": 72}, "unet", set())

    check(0.25, 0.5)
    with pytest.raises(InputError, match="crop = 72: the UNet halves"):
        check(0.5, 1.0)


WINDOWS = Categorical(name="window", choices=(16, 64))
STRIDES = Categorical(name="stride", choices=(8, 40))


@pytest.mark.parametrize(
    ("space", "fixed", "why"),
    [
        ([WINDOWS, STRIDES], {"input_size": 64}, "stride = 40 beside window = 16: in an input of 64 pixels"),
        ([STRIDES], {"input_size": 64, "window": 16}, "stride = 40 beside window = 16: in an input of 64 pixels"),
        ([WINDOWS], {"input_size": 64}, "stride = 170 beside window = 16: "),  # the paper's stride
        ([], {"input_size": 64, "window": 16, "stride": 40}, "take strides up to 16, or windows from 40"),
        (
            [Int(name="window", low=16, high=64, step=16), Int(name="stride", low=8, high=24)],
            {"input_size": 96},
            "stride = 24 beside window = 16: ",
        ),
        (
            [Int(name="input_size", low=32, high=64, step=32)],
            {"window": 16, "stride": 17},
            "stride = 17 beside window = 16: in an input of 64 pixels",
        ),
        (
            [WINDOWS, Categorical(name="stride", choices=(40,), when={"window": (16,)})],
            {"input_size": 64},
            "stride = 40 beside window = 16: ",
        ),
        (
            [],
            {"input_size": 512, "window": 32, "stride": 40, "size_scale": 0.5},
            "window = 16 (scaled by size_scale): in",
        ),
    ],
)
def test_strides_that_leave_gaps_are_refused(space: list[Parameter], fixed: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError) as caught:
        check_strides(SearchSpace(space), fixed, "unet")
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("space", "fixed", "base"),
    [
        ([WINDOWS, STRIDES], {"input_size": 64, "inference": "whole"}, "unet"),
        ([WINDOWS, STRIDES], {"input_size": 32}, "unet"),  # a window at either end leaves no gap
        ([WINDOWS], {"input_size": 64, "stride": 16}, "unet"),
        ([], {}, "unet"),
        ([WINDOWS, Categorical(name="stride", choices=(8,))], {"input_size": 512}, "unet"),
        (
            [
                Categorical(name="inference", choices=("whole", "slide")),
                Categorical(name="window", choices=(64,), when={"inference": ("slide",)}),
                Categorical(name="stride", choices=(40,), when={"window": (64,)}),
            ],
            {"input_size": 512},
            "unet",
        ),
        ([WINDOWS, STRIDES], {"inference": "slide"}, "fcn_r50-d8_4xb2-40k_cityscapes-512x1024"),  # its own input
    ],
)
def test_strides_that_leave_no_gap_pass(space: list[Parameter], fixed: dict[str, Any], base: str) -> None:
    check_strides(SearchSpace(space), fixed, base)
