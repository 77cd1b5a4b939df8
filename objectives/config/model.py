"""Edits of the model, the losses, the optimizer and the schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmtuna.objectives.config.effective import crop_side, learning_rate
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Value
from mmtuna.spaces.settings import CLASS_WEIGHTED_LOSSES, DEFAULTS, MIXED_LOSSES

Cfg = dict[str, Any]


def heads(cfg: Cfg) -> Iterator[tuple[Cfg, float]]:
    """Each head with the share its cross entropy has in the loss: 1.0 decode head, 0.4 auxiliary (base config)."""
    for key, share in (("decode_head", 1.0), ("auxiliary_head", 0.4)):
        found = cfg["model"].get(key) or []
        for head in found if isinstance(found, list) else [found]:
            yield head, share


def set_base_channels(cfg: Cfg, settings: Mapping[str, Value]) -> None:
    """Channels of the UNet's first stage; the heads read the last stage and the one before it."""
    channels = int(settings["base_channels"])
    cfg["model"]["backbone"]["base_channels"] = channels
    cfg["model"]["decode_head"]["in_channels"] = channels
    cfg["model"]["auxiliary_head"]["in_channels"] = 2 * channels


def set_classes(cfg: Cfg, dataset: Dataset) -> None:
    """Number of classes of every head, and the mask value that is not counted."""
    for head, _ in heads(cfg):
        head["num_classes"] = len(dataset.classes)
        if "out_channels" in head:  # a one-channel sigmoid head of the base would not fit a class list
            head["out_channels"] = len(dataset.classes)
        if dataset.ignore_index != 255:
            head["ignore_index"] = dataset.ignore_index
    if dataset.ignore_index != 255:
        cfg["model"]["data_preprocessor"]["seg_pad_val"] = dataset.ignore_index


def set_one_device(node: Any) -> None:
    """SyncBN needs several processes; on one device it is BN."""
    if isinstance(node, dict):
        if node.get("type") == "SyncBN":
            node["type"] = "BN"
        for child in node.values():
            set_one_device(child)
    elif isinstance(node, list | tuple):
        for child in node:
            set_one_device(child)


def set_loss(cfg: Cfg, settings: Mapping[str, Value], dataset: Dataset) -> None:
    """The loss of every head. Dice and focal weigh 1.0 on both heads, as the notebooks set them."""
    name = str(settings.get("loss", DEFAULTS["loss"]))
    mix = float(settings.get("mix_weight", DEFAULTS["mix_weight"]))
    foreground = float(settings.get("foreground_weight", DEFAULTS["foreground_weight"]))
    for head, share in heads(cfg):
        terms: list[Cfg] = []
        if name in CLASS_WEIGHTED_LOSSES:
            terms.append({"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": share})
            if foreground != 1.0:
                terms[0]["class_weight"] = [1.0] + [foreground] * (len(dataset.classes) - 1)
        second = name.removeprefix("ce_")
        if name != "cross_entropy":
            weight = share * mix if name in MIXED_LOSSES else 1.0
            terms.append({**_SECOND_LOSSES[second], "loss_weight": weight})
        if second == "tversky" and dataset.ignore_index != 255:  # the others are told by the head
            terms[-1]["ignore_index"] = dataset.ignore_index
        head["loss_decode"] = terms[0] if len(terms) == 1 else terms


# Tversky with alpha = beta = 0.5 is the Dice loss taken per class (Salehi et al. 2017, eq. 3).
_SECOND_LOSSES: Mapping[str, Cfg] = {
    "dice": {"type": "DiceLoss", "use_sigmoid": False},
    "focal": {"type": "FocalLoss"},
    "tversky": {"type": "TverskyLoss", "alpha": 0.5, "beta": 0.5},
    "lovasz": {"type": "LovaszLoss", "per_image": False, "reduction": "none"},
}


def set_optimizer(cfg: Cfg, settings: Mapping[str, Value]) -> None:
    """Optimizer, learning rate, momentum and weight decay; the wrapper's other keys stay the base's.

    Where the settings name no optimizer, the base's stays and only the named values change.
    """
    wrapper = cfg["optim_wrapper"]
    if "optimizer" in settings:
        wrapper["optimizer"] = {"type": settings["optimizer"], "lr": learning_rate(settings)}
        if settings["optimizer"] == "SGD":
            wrapper["optimizer"]["momentum"] = float(settings.get("momentum", DEFAULTS["momentum"]))
        wrapper["optimizer"]["weight_decay"] = float(settings.get("weight_decay", DEFAULTS["weight_decay"]))
    else:
        _edit_base_optimizer(wrapper["optimizer"], settings)
    if settings.get("amp"):
        wrapper.update(type="AmpOptimWrapper", loss_scale="dynamic")


def _edit_base_optimizer(optimizer: Cfg, settings: Mapping[str, Value]) -> None:
    rate = "lr_sgd" if optimizer["type"] == "SGD" else "lr_adam"
    other = "lr_adam" if rate == "lr_sgd" else "lr_sgd"
    if other in settings:
        raise InputError(f"{other}: the base config's optimizer is {optimizer['type']}; use {rate}, or set optimizer")
    if "momentum" in settings and optimizer["type"] != "SGD":
        raise InputError(f"momentum: the base config's optimizer is {optimizer['type']}; drop it, or set optimizer")
    for name, key in ((rate, "lr"), ("weight_decay", "weight_decay"), ("momentum", "momentum")):
        if name in settings:
            optimizer[key] = float(settings[name])


def set_schedule(cfg: Cfg, settings: Mapping[str, Value], iterations: int) -> None:
    """Learning-rate schedule, by iteration. eta_min is a hundredth of the rate, the paper's 1e-4 at 0.01."""
    rate = float(cfg["optim_wrapper"]["optimizer"]["lr"])
    if settings["schedule"] == "cosine":
        warm = min(max(1, iterations // 10), iterations - 1)
        cosine = {"type": "CosineAnnealingLR", "T_max": iterations - warm, "eta_min": 0.0, "by_epoch": False}
        cosine.update(begin=warm, end=iterations)
        linear = {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": warm}
        cfg["param_scheduler"] = [linear, cosine] if warm else [cosine]
        return
    end = int(settings["poly_end"]) if settings["schedule"] == "poly_40k" else iterations
    poly = {"type": "PolyLR", "power": 0.9, "eta_min": rate / 100, "begin": 0, "end": end, "by_epoch": False}
    cfg["param_scheduler"] = [poly]


def set_inference(cfg: Cfg, settings: Mapping[str, Value]) -> None:
    """Sliding window or whole image."""
    if settings["inference"] == "whole":
        cfg["model"]["test_cfg"] = {"mode": "whole"}
        return
    window, stride = (int(settings.get(name, DEFAULTS[name])) for name in ("window", "stride"))
    cfg["model"]["test_cfg"] = {"mode": "slide", "crop_size": (window, window), "stride": (stride, stride)}


def set_batch_shape(cfg: Cfg, settings: Mapping[str, Value], shapes: set[tuple[int, int]], stride: int | None) -> None:
    """Size in pixels to which a batch is padded.

    The crop; without a crop 256 as the notebooks left it, which pads nothing, unless images are not square: then
    the whole input, so that they fit one batch. Test images are padded to the network's stride where they need it.
    """
    input_size = int(settings.get("input_size", 0))
    scale = {input_size * min(shape) / max(shape) for shape in shapes} or {float(input_size)}
    square = scale == {float(input_size)}
    preprocessor = cfg["model"]["data_preprocessor"]
    side = crop_side(settings)
    if side is not None:
        preprocessor["size"] = (side, side)
    elif input_size:
        side = min(256, input_size) if square else input_size
        preprocessor["size"] = (side, side)
    preprocessor.pop("size_divisor", None)
    if stride and input_size and (not square or input_size % stride):
        preprocessor["test_cfg"] = {"size_divisor": stride}
