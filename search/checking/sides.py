"""Sides and strides of a space, in pixels: what the UNet cannot halve, windows with gaps, crops that are padded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mmtuna.objectives.config.effective import UNET_STRIDE, effective
from mmtuna.search.checking.checks import ends
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Categorical, Int, Params, Value
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import NO_CROP, UNET, defaults_of

_SIDES = ("input_size", "crop", "window")
_SLIDING = ("inference", "input_size", "window", "stride")
_SCALE = "size_scale"


def check_sizes(space: SearchSpace, fixed: Mapping[str, Any], base: str, shapes: set[tuple[int, int]]) -> list[str]:
    """InputError for sides that the UNet cannot halve four times. Returns notes: of crops that are padded."""
    known = {**defaults_of(base), **fixed}
    if "input_size" not in space and "input_size" not in known:
        return []
    padded: dict[int, str] = {}
    for values in _corners(space, _SIDES, known):
        if "input_size" not in values:
            continue
        size, crop = int(values["input_size"]), values.get("crop", NO_CROP)
        smallest = min((size * min(shape) // max(shape) for shape in shapes), default=size)
        if isinstance(crop, int) and crop > smallest:
            padded[crop] = (
                f"crop = {crop} is larger than the shortest side of the input ({smallest} at input_size = {size}): "
                "what is missing is padded, and not counted"
            )
        if base == UNET:
            _check_halving(values)
    if base == UNET:
        _check_steps(space, known)
    return [padded[max(padded)]] if padded else []


def _check_halving(values: Mapping[str, Value]) -> None:
    for name in _SIDES:
        side = values.get(name)
        if isinstance(side, int) and side % UNET_STRIDE:
            below = side // UNET_STRIDE * UNET_STRIDE
            raise InputError(
                f"{name} = {side}: the UNet halves its input four times and takes multiples of {UNET_STRIDE}; "
                f"take {below} or {below + UNET_STRIDE}"
            )


def _check_steps(space: SearchSpace, known: Mapping[str, Any]) -> None:
    """InputError for what lies between the ends of a range, where no scale factor rounds it to what the UNet takes."""
    scales = ends(space.parameter(_SCALE)) if _SCALE in space else [known.get(_SCALE, 1.0)]
    for name in _SIDES if 1.0 in scales else ():
        sampled = space.parameter(name) if name in space else None
        if isinstance(sampled, Int) and sampled.low < sampled.high and sampled.step % UNET_STRIDE:
            between = "a log scale gives" if sampled.log else f"steps of {sampled.step} give"
            way = f"step = {UNET_STRIDE}" + (" in place of log, or give choices" if sampled.log else "")
            raise InputError(
                f"[space.params.{name}] low = {sampled.low}, high = {sampled.high}: the UNet halves its input four "
                f"times and takes multiples of {UNET_STRIDE}, and {between} others; set {way}"
            )


def check_strides(space: SearchSpace, fixed: Mapping[str, Any], base: str) -> None:
    """InputError where the sliding window moves on by more than its side, and leaves pixels that no window saw."""
    for values in _corners(space, _SLIDING, {**defaults_of(base), **fixed}):
        if values.get("inference") != "slide" or not set(_SLIDING) <= set(values):
            continue  # what is missing the base config says
        size, window, stride = (int(values[name]) for name in _SLIDING[1:])
        # Two windows stand at both ends of the input, whatever the stride: MMSegmentation moves the last one back.
        if stride > window and size > 2 * window:
            scaled = f" (scaled by {_SCALE})" if values[_SCALE] != 1.0 else ""
            raise InputError(
                f"stride = {stride} beside window = {window}{scaled}: in an input of {size} pixels the windows leave "
                f"gaps, and the trial fails; take strides up to {window}, or windows from {stride}"
            )


def _corners(space: SearchSpace, names: Collection[str], known: Mapping[str, Any]) -> Iterator[Params]:
    """What reaches trainings of each combination of the choices and ends of `names` that can exist, conditions heeded.

    `known` is what settings are where they are not sampled. `size_scale` is among them, as it was written.
    """
    wanted = {*names, _SCALE}
    for parameter in reversed(space.parameters):  # children stand behind their parents
        wanted |= set(parameter.when) if parameter.name in wanted else set()
    kept = [parameter for parameter in space if parameter.name in wanted]
    # A condition may name what lies between the ends.
    asked = {
        one.name: [value for child in kept for value in child.when.get(one.name, ()) if value not in ends(one)]
        for one in kept
    }
    small = SearchSpace(
        [
            Categorical(name=one.name, when=one.when, choices=tuple(dict.fromkeys([*ends(one), *asked[one.name]])))
            for one in kept
        ]
    )
    for cell in (small.cells() or []) if small.count() is not None else []:
        written = {_SCALE: 1.0, **known, **cell}
        yield {**effective(written), _SCALE: written[_SCALE]}
