"""Operators of torch whose kernels take more of a net's time than their work is worth, done otherwise.

Measured on an H100, UNet with PSPHead on images of 512, batches of 2: of 229 ms of an iteration in fp32 185 go into the
gradient of `upsample_bilinear2d`, in which the threads of 262,144 pixels add to the 1 to 36 cells of a pooled map one
after another; with channels last and bf16, of 120 ms 92 into `adaptive_avg_pool2d`. Both are linear and separable: a
product with a matrix of weights from the left, and with one from the right. On a CPU that gradient takes a tenth of an
iteration of a small net, and `argmax` over classes a tenth of an image's evaluation: 6.5 ms for two of 256 x 256, where
`max` takes 0.5 and tells the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F

from mmtuna.objectives.insides import replace_operators

RATIO = 16
"""Pixels that are made of one, from which on the gradient is a product: below it torch's own kernel has little to
wait for."""
_interpolate, _pool, _argmax = F.interpolate, F.adaptive_avg_pool2d, torch.Tensor.argmax
_by_products = {"cuda"}
"""Types of devices on which products are taken; on a CPU they would change the last bits of a training."""


def replace_kernels() -> None:
    """From now on this process enlarges, pools and takes the largest by what is below."""
    replace_operators(interpolate, adaptive_avg_pool2d, argmax)


def use_products(on_cpu: bool) -> None:
    """Whether products are taken on a CPU, too, from now on."""
    (_by_products.add if on_cpu else _by_products.discard)("cpu")


def uses_products() -> bool:
    """Whether they are."""
    return "cpu" in _by_products


def argmax(self: torch.Tensor, dim: int | None = None, keepdim: bool = False) -> torch.Tensor:
    """`torch.Tensor.argmax`, the same; not over the last dimension, quicker on a CPU."""
    if dim is None or self.device.type != "cpu" or dim in (-1, self.dim() - 1):
        return _argmax(self, dim, keepdim)
    return self.max(dim, keepdim).indices


def interpolate(
    input: torch.Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    *others: Any,
    **named: Any,
) -> torch.Tensor:
    """`torch.nn.functional.interpolate`, the same bit for bit, whose gradient is quick where it enlarges by much.

    That gradient is the same in every run, which torch's own is not: its threads add in the order in which they come.
    """
    ours = (
        input.device.type in _by_products
        and input.dim() == 4
        and mode == "bilinear"
        and scale_factor is None
        and not (others or named)
    )
    if ours and input.requires_grad:
        height, width = (size, size) if isinstance(size, int) else map(int, size)
        if height * width >= RATIO * input.shape[2] * input.shape[3]:
            enlarged: torch.Tensor = Enlarge.apply(input, (height, width), align_corners)  # type: ignore[no-untyped-call]
            return enlarged
    return _interpolate(input, size, scale_factor, mode, align_corners, *others, **named)


class Enlarge(torch.autograd.Function):
    """Bilinear interpolation of (N, C, h, w) to (N, C, H, W): torch's own, and its gradient as two products."""

    @staticmethod
    def forward(ctx: Any, map_: torch.Tensor, size: tuple[int, int], align_corners: bool | None) -> torch.Tensor:
        """Torch's own interpolation."""
        ctx.sizes, ctx.align_corners = (map_.shape[2:], size), align_corners
        return _interpolate(map_, size, None, "bilinear", align_corners)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """The gradient of the map, summed in fp32 or better."""
        wide = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
        (height, width), size = ctx.sizes
        down, across = (
            _weights("bilinear", one, to, ctx.align_corners, wide.dtype, wide.device)
            for one, to in ((height, size[0]), (width, size[1]))
        )
        with torch.autocast(wide.device.type, enabled=False):
            return (down.T @ (wide @ across)).to(gradient.dtype), None, None


def adaptive_avg_pool2d(input: torch.Tensor, output_size: Any) -> torch.Tensor:
    """`torch.nn.functional.adaptive_avg_pool2d`; channels that lie together are pooled by products, to rounding alike.

    A map whose channels lie apart, as they do in stock MMSegmentation, is torch's own matter.
    """
    last = input.dim() == 4 and input.is_contiguous(memory_format=torch.channels_last)
    if not (input.device.type in _by_products and last) or input.is_contiguous():
        return _pool(input, output_size)
    return pool_channels_last(input, output_size)


def pool_channels_last(map_: torch.Tensor, output_size: int | Sequence[int | None]) -> torch.Tensor:
    """Means of (N, C, H, W) over a grid of (h, w) cells, as two products of what lies in memory as (N, H, W, C)."""
    count, channels, height, width = map_.shape
    asked = (output_size, output_size) if isinstance(output_size, int) else output_size
    rows, columns = (one or own for one, own in zip(asked, (height, width), strict=True))
    wide = map_.permute(0, 2, 3, 1).to(torch.promote_types(map_.dtype, torch.float32))
    down, across = (
        _weights("mean", one, to, None, wide.dtype, wide.device) for one, to in ((height, rows), (width, columns))
    )
    with torch.autocast(wide.device.type, enabled=False):
        thin = (down @ wide.reshape(count, height, width * channels)).reshape(count, rows, width, channels)
        return (across @ thin).permute(0, 3, 1, 2).to(map_.dtype)


@lru_cache(maxsize=64)
def _weights(
    kind: str, one: int, to: int, align_corners: bool | None, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """The (to, one) matrix by which a line of `one` values becomes one of `to`: what torch makes of a line's basis."""
    basis = torch.eye(one, dtype=dtype, device=device).reshape(1, 1, one, one)
    with torch.no_grad():
        made = (
            _interpolate(basis, (to, one), None, kind, align_corners) if kind == "bilinear" else _pool(basis, (to, one))
        )
    return made[0, 0]
