"""What mmtuna relies on within torch, MMEngine and MMSegmentation that none promises to keep: here, and nowhere else.

Every function says what is relied on and where it lives; tests/objectives/test_insides.py holds each against what is
installed. What belongs to their interfaces is used where it is needed. This module imports none of them by itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def cuda_untouched() -> Iterator[None]:
    """For the first import of MMEngine and mmcv: within it torch tells what it was built for, and does not look.

    At their import they ask `torch.cuda.is_available`. The question alone starts CUDA, and no process that is forked
    from one where it was started can use a GPU ("Cannot re-initialize CUDA in forked subprocess"). What MMEngine
    settled on hearing the answer is put right by `settle_device`; until then its models are built on the CPU.
    """
    import torch

    before = torch.cuda.is_available
    torch.cuda.is_available = torch.backends.cuda.is_built
    try:
        yield
        settle_device("cpu")
    finally:
        torch.cuda.is_available = before


def settle_device(device: str) -> None:
    """MMEngine builds models on `device`, "cuda" or "cpu" (`mmengine.device.utils.DEVICE`, settled at its import)."""
    import mmengine.device.utils

    mmengine.device.utils.DEVICE = device


def amp_without_a_gpu() -> None:
    """Lets MMEngine's AmpOptimWrapper be built on a CPU, for which torch's autocast knows bfloat16.

    Its constructor insists on `is_cuda_available`, as its module `mmengine.optim.optimizer.amp_optimizer_wrapper` has
    it, and asks nothing else of a GPU; the scaling of gradients turns itself off.
    """
    import mmengine.optim.optimizer.amp_optimizer_wrapper as amp

    amp.is_cuda_available = lambda: True


def raise_death_of_a_loader() -> None:
    """RuntimeError, saying how, where a process that loads images for this one has died (torch._C)."""
    import torch

    torch._C._error_if_any_worker_fails()


def starting_checkpoint(runner: Any) -> str | None:
    """What a Runner loads before it trains, None for nothing (`Runner._load_from`)."""
    found: str | None = runner._load_from
    return found


def after_skipped_batches(runner: Any, call: Callable[[], None]) -> None:
    """Calls `call` once a Runner that resumes has moved its loader to where it was, before the next batch.

    `skip_iter` of the training loop's iterator only marks how far; `_ensure_iterator` starts the loader there.
    """
    batches = runner.train_loop.dataloader_iterator
    skip = batches.skip_iter

    def skip_then_call(iterations: int) -> None:
        skip(iterations)
        batches._ensure_iterator()
        call()

    batches.skip_iter = skip_then_call


def has_focal_operator() -> bool:
    """Whether mmcv has its compiled focal loss (`_sigmoid_focal_loss` of mmseg.models.losses.focal_loss)."""
    from mmseg.models.losses import focal_loss

    return focal_loss._sigmoid_focal_loss not in (None, focal_loss.py_sigmoid_focal_loss)


def replace_focal_loss(forward: Callable[..., Any]) -> None:
    """Puts `forward` in the place of `FocalLoss.forward`.

    Where there is a GPU FocalLoss's constructor insists on mmcv's operator, which `forward` need not call: where that
    is missing its place is taken by the loss in plain torch.
    """
    from mmseg.models.losses import FocalLoss, focal_loss

    FocalLoss.forward = forward
    if focal_loss._sigmoid_focal_loss is None:
        focal_loss._sigmoid_focal_loss = focal_loss.py_sigmoid_focal_loss


def replace_operators(
    interpolate: Callable[..., Any], adaptive_avg_pool2d: Callable[..., Any], argmax: Callable[..., Any]
) -> None:
    """Puts these in the place of torch's own.

    mmseg's `resize` and torch's AdaptiveAvgPool2d look the first two up in `torch.nn.functional` at each call, mmseg's
    `postprocess_result` the third in `torch.Tensor`.
    """
    import torch.nn.functional

    torch.Tensor.argmax = argmax  # type: ignore[method-assign]
    torch.nn.functional.interpolate = interpolate
    torch.nn.functional.adaptive_avg_pool2d = adaptive_avg_pool2d


def replace_crop_box(draw: Callable[[Any, dict[str, Any]], tuple[int, int, int, int]]) -> None:
    """Puts `draw` in the place of `RandomCrop.crop_bbox`, which its `transform` calls first of all."""
    from mmcv.transforms.utils import cache_randomness
    from mmseg.datasets.transforms import RandomCrop

    RandomCrop.crop_bbox = cache_randomness(draw)


def find_mmsegs_bases() -> None:
    """`_base_ = "mmseg::..."` finds MMSegmentation's configs (`mmengine.config.utils.MODULE2PACKAGE`).

    It looks for a distribution called mmsegmentation, and the one that is maintained has another name.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE["mmseg"] = "mmseg"
