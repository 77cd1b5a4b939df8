"""What is done for speed in the trials of a study: chosen by measurement, and no part of their configs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mmtuna.spaces.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What every trial of a study does for speed on one kind of device; by default nothing: stock's own figures."""

    precision: str = ""
    """ "fp16" or "bf16" in place of fp32; "" leaves the config's own."""
    channels_last: bool = False
    """Whether tensors lie in memory with their channels together."""
    fused: bool = False
    """Whether the optimizer updates all weights in one step."""
    cudnn_benchmark: bool = False
    """Whether cuDNN tries its algorithms for each size of input: where a person's env_cfg.cudnn_benchmark says so."""
    products: bool = False
    """Whether the gradients of enlarged maps are matrix products on a CPU, too, as they are on a GPU; with channels
    last, pooling likewise."""
    loader_workers: int = 0
    """Processes that load images for training; 0 leaves the config's own."""
    evaluation_batch: int = 1
    """Images of one size that are evaluated at a time."""

    def kept(self) -> dict[str, Any]:
        """What differs from stock, as plain data."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Speed:
        """What `kept` returned; InputError for what no version of this kind has written."""
        known = {field.name: type(field.default) for field in fields(cls)}
        for name, value in kept.items():
            if name not in known or type(value) is not known[name]:
                raise InputError(f"speed: {name} = {value!r} is nothing that this version of mmtuna can do")
        return cls(**kept)

    def __str__(self) -> str:
        return (
            ", ".join(name if value is True else f"{name} = {value}" for name, value in self.kept().items())
            or "as exact"
        )


EXACT = Speed()
"""No bit of a training differs from stock MMSegmentation's."""
EXACTLY, AUTOMATIC = "exact", "auto"
"""The two values of the setting `speed`."""
