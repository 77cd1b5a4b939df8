"""Which device a process may use, and that none is touched before it is known.

Our names of devices count the GPUs that this process may use, CUDA_VISIBLE_DEVICES those of the machine.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible_to_child(device: str, environment: Mapping[str, str] = os.environ) -> str:
    """What CUDA_VISIBLE_DEVICES has to be in a trial process that is to use `device` and no other GPU.

    "cuda:1" is the second of those that the variable leaves to this process, as a cluster that deals out GPUs sets it;
    "" for the CPU.
    """
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return ""
    left = [name.strip() for name in environment.get(VARIABLE, "").split(",") if name.strip()]
    place = int(index or 0)
    return left[place] if place < len(left) else str(place)


@contextlib.contextmanager
def cuda_untouched() -> Iterator[None]:
    """For the first import of MMEngine and mmcv: within it torch tells what it was built for, and does not look.

    At their import they ask whether there is a GPU. The question alone starts CUDA, and no process that is forked from
    one where it was started can use a GPU ("Cannot re-initialize CUDA in forked subprocess"). What MMEngine settled on
    hearing the answer is put right by `choose_device`; until then its models are built on the CPU.
    """
    import torch

    before = torch.cuda.is_available
    torch.cuda.is_available = torch.backends.cuda.is_built
    try:
        yield
        _settle("cpu")
    finally:
        torch.cuda.is_available = before


def choose_device() -> None:
    """From now on MMEngine builds models on the GPU that this process may use, else on the CPU. Starts CUDA."""
    import torch

    _settle("cuda" if torch.cuda.is_available() else "cpu")


def _settle(device: str) -> None:
    import mmengine.device.utils

    mmengine.device.utils.DEVICE = device
