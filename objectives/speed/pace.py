"""A Speed put into a Runner, in memory: the trial's config.py stays as it is. And found again in what was built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from mmtuna.objectives.config.model import set_precision
from mmtuna.objectives.insides import amp_without_a_gpu
from mmtuna.spaces.speed import EXACT, Speed

_FUSED = ("SGD", "Adam", "AdamW")
"""Optimizers that torch can fuse on CPUs and GPUs alike."""
_NAMES: Mapping[str, tuple[str, ...]] = {
    "precision": ("precision", "optim_wrapper.type", "optim_wrapper.dtype"),
    "fused": ("optim_wrapper.optimizer.fused", "optim_wrapper.optimizer.foreach"),
    "loader_workers": ("loader_workers", "train_dataloader.num_workers"),
    "evaluation_batch": ("val_dataloader.batch_size",),
}
"""Settings and dotted keys by which a person says what a field of Speed would say."""


def fitting(speed: Speed, cfg: Mapping[str, Any], named: Iterable[str]) -> Speed:
    """What of `speed` a trial of this config takes: not what a person has `named`, nor what its base does otherwise.

    cuDNN's benchmark is what a person says, and else off, whatever the base says: it chooses by the time that passes,
    so that two trainings by one seed differ, and costs a trial's start more than it gains. On an H100, UNet with
    PSPHead: 12 s and 18 GB for 1 s and 2 GB with crops of 320, 29 s and 69 GB with 512, and no faster iteration.
    """
    names, wrapper = set(named), cfg["optim_wrapper"]
    taken = [field for field, keys in _NAMES.items() if names & set(keys)]
    if wrapper.get("type", "OptimWrapper") != "OptimWrapper":
        taken.append("precision")
    if wrapper["optimizer"].get("type") not in _FUSED:
        taken.append("fused")
    benchmark = "env_cfg.cudnn_benchmark" in names and bool(cfg.get("env_cfg", {}).get("cudnn_benchmark"))
    return replace(speed, **{field: getattr(EXACT, field) for field in taken}, cudnn_benchmark=benchmark)


def set_in_config(cfg: dict[str, Any], speed: Speed) -> None:
    """Puts into a config that is about to be built, and is no file's any more, what is said there."""
    if speed.precision:
        set_precision(cfg["optim_wrapper"], speed.precision)
        amp_without_a_gpu()
    if speed.fused:
        cfg["optim_wrapper"]["optimizer"]["fused"] = True
    cfg["env_cfg"] = {**cfg.get("env_cfg", {}), "cudnn_benchmark": speed.cudnn_benchmark}
    if speed.loader_workers:
        cfg["train_dataloader"] |= {"num_workers": speed.loader_workers, "persistent_workers": True}
    if speed.evaluation_batch > 1:
        cfg["val_dataloader"]["batch_size"] = speed.evaluation_batch


def set_in_model(model: Any, speed: Speed) -> None:
    """Puts into a model that was just built, and into its process, what is said there."""
    import torch

    from mmtuna.objectives.speed.kernels import use_products

    use_products(speed.products)
    if speed.channels_last:
        model.to(memory_format=torch.channels_last)


def observed(runner: Any) -> dict[str, Any]:
    """The fields of Speed, but for precision, as the built objects show them."""
    import torch

    from mmtuna.objectives.speed.kernels import uses_products

    kernels = [weight for weight in runner.model.parameters() if weight.dim() == 4 and min(weight.shape[1:3]) > 1]
    return {
        "channels_last": all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels),
        "fused": bool(runner.optim_wrapper.optimizer.defaults.get("fused")),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "products": uses_products(),
        "loader_workers": runner.train_dataloader.num_workers,
        "evaluation_batch": runner.val_dataloader.batch_size,
    }
