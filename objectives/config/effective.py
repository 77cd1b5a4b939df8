"""The sizes and counts that reach training, after the scale factors of a rehearsal."""

from __future__ import annotations

from collections.abc import Mapping

from mmtuna.spaces.parameter import Params, Value
from mmtuna.spaces.settings import NO_CROP

UNET_STRIDE = 16
"""UNet-S5 halves its input four times, so sides must be multiples of 16."""


def effective(settings: Mapping[str, Value]) -> Params:
    """`settings` with size_scale and iteration_scale applied and removed.

    Scaled sizes (pixels) are rounded to the nearest multiple of 16, at least 16; scaled counts to at least 1.
    At scale 1.0 nothing is rounded. `poly_end` (iterations) is where schedule poly_40k ends.
    """
    values = dict(settings)
    size_scale = float(values.pop("size_scale", 1.0))
    iteration_scale = float(values.pop("iteration_scale", 1.0))
    for name in ("input_size", "crop", "window"):
        side = values.get(name)
        if size_scale != 1.0 and isinstance(side, int):
            values[name] = max(UNET_STRIDE, int(side * size_scale / UNET_STRIDE + 0.5) * UNET_STRIDE)
    if size_scale != 1.0 and "stride" in values:
        values["stride"] = max(1, round(int(values["stride"]) * size_scale))
    if "iterations" in values:
        values["iterations"] = max(1, round(int(values["iterations"]) * iteration_scale))
    values["poly_end"] = max(1, round(40_000 * iteration_scale))
    return values


def crop_side(settings: Mapping[str, Value]) -> int | None:
    """Side of the training crop in pixels, or None for the whole image."""
    crop = settings.get("crop", NO_CROP)
    return None if crop == NO_CROP else int(crop)
