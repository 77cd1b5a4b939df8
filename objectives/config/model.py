"""Edits of the model, the losses, the optimizer and the schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmtuna.objectives.config.base import BaseConfig
from mmtuna.objectives.config.classes import heads
from mmtuna.objectives.config.effective import UNET_STRIDE, crop_side
from mmtuna.objectives.config.schedules import average_gamma, warm_up_length
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Value
from mmtuna.spaces.settings import CLASS_WEIGHTED_LOSSES, DEFAULTS, MIXED_LOSSES

Cfg = dict[str, Any]


def set_base_channels(cfg: Cfg, settings: Mapping[str, Value]) -> None:
    """Channels of the UNet's first stage; the heads read the last stage and the one before it."""
    channels = int(settings["base_channels"])
    cfg["model"]["backbone"]["base_channels"] = channels
    cfg["model"]["decode_head"]["in_channels"] = channels
    cfg["model"]["auxiliary_head"]["in_channels"] = 2 * channels


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


OWN_LOSSES = (
    *("DDRHead", "PIDHead", "STDCHead", "PointHead", "SideAdapterCLIPHead", "MaskFormerHead", "Mask2FormerHead"),
    "VPDDepthHead",
)
"""Heads that compute losses of their own, told apart by their place in the list or by their name."""
_UNWEIGHTED_LOSSES = ("dice", "focal")
_SOFTMAX_LOSSES = ("ce_tversky", "lovasz", "ce_lovasz")


def set_loss(cfg: Cfg, settings: Mapping[str, Value], dataset: Dataset, base: BaseConfig) -> None:
    """The loss of every head, with the weight and the kind (softmax or sigmoid) that the head's own one has.

    Dice and focal weigh 1.0 on both heads of the UNet family, as the notebooks set them. InputError where the deciding
    head's losses cannot be others.
    """
    name = str(settings.get("loss", DEFAULTS["loss"]))
    mix = float(settings.get("mix_weight", DEFAULTS["mix_weight"]))
    found = list(heads(cfg["model"]))
    deciding = [head for place, head in found if place == "decode_head"][-1]
    if deciding.get("type") in OWN_LOSSES or "loss_decode" not in deciding:
        raise InputError(
            f"loss: the head {deciding.get('type')} of base config {base.name} computes losses of its own; drop loss"
        )
    for _, head in found:
        if head.get("type") in OWN_LOSSES or "loss_decode" not in head:
            continue
        own = head["loss_decode"] if isinstance(head["loss_decode"], dict) else head["loss_decode"][0]
        share, sigmoid = float(own.get("loss_weight", 1.0)), bool(own.get("use_sigmoid", False))
        if sigmoid and name in _SOFTMAX_LOSSES:
            raise InputError(
                f"loss: {name} is for a softmax, and base config {base.name} is trained with a sigmoid; take another"
            )
        if head.get("sampler") and name.removeprefix("ce_") in _UNWEIGHTED_LOSSES:
            raise InputError(
                f"loss: {name} cannot be weighed by pixel, and a head of base config {base.name} picks the pixels that "
                "count (sampler); take another"
            )
        terms: list[Cfg] = []
        if name in CLASS_WEIGHTED_LOSSES:
            terms.append(_cross_entropy(own, settings, dataset, base) | {"use_sigmoid": sigmoid, "loss_weight": share})
        second = name.removeprefix("ce_")
        if name != "cross_entropy":
            alone = 1.0 if base.is_unet else share
            terms.append({**_SECOND_LOSSES[second], "loss_weight": share * mix if name in MIXED_LOSSES else alone})
            if second == "dice":
                terms[-1]["use_sigmoid"] = sigmoid
        if second == "tversky" and dataset.ignore_index != 255:  # the others are told by the head
            terms[-1]["ignore_index"] = dataset.ignore_index
        head["loss_decode"] = terms[0] if len(terms) == 1 else terms


def _cross_entropy(own: Cfg, settings: Mapping[str, Value], dataset: Dataset, base: BaseConfig) -> Cfg:
    """The loss by class; of a base that is no UNet all of its own where foreground_weight is not named."""
    if not base.is_unet and own.get("type") == "CrossEntropyLoss" and "foreground_weight" not in settings:
        return dict(own)
    foreground = float(settings.get("foreground_weight", DEFAULTS["foreground_weight"]))
    weights = {} if foreground == 1.0 else {"class_weight": [1.0] + [foreground] * (len(dataset.classes) - 1)}
    return {"type": "CrossEntropyLoss", **weights}


# Tversky with alpha = beta = 0.5 is the Dice loss taken per class (Salehi et al. 2017, eq. 3).
_SECOND_LOSSES: Mapping[str, Cfg] = {
    "dice": {"type": "DiceLoss", "use_sigmoid": False},
    "focal": {"type": "FocalLoss"},
    "tversky": {"type": "TverskyLoss", "alpha": 0.5, "beta": 0.5},
    "lovasz": {"type": "LovaszLoss", "per_image": False, "reduction": "none"},
}


WITHOUT_DROPOUT = (
    *("Mask2FormerHead", "MaskFormerHead", "SegmenterMaskTransformerHead", "SideAdapterCLIPHead", "VPDDepthHead"),
)
"""Heads that have no dropout, or have it and never use it."""


def set_dropout(model: Cfg, settings: Mapping[str, Value], base: BaseConfig) -> None:
    """The share of channels that heads drop before they classify; InputError where the deciding head has no dropout."""
    found = list(heads(model))
    deciding = [head for place, head in found if place == "decode_head"][-1]
    if deciding.get("type") in WITHOUT_DROPOUT:
        raise InputError(f"dropout: the head {deciding['type']} of base config {base.name} has none; drop dropout")
    for _, head in found:
        if head.get("type") not in WITHOUT_DROPOUT:
            head["dropout_ratio"] = float(settings["dropout"])


def set_optimizer(cfg: Cfg, settings: Mapping[str, Value], base: BaseConfig) -> None:
    """Optimizer, learning rate, momentum and weight decay; the wrapper's other keys stay the base's.

    Of a base that is no UNet every value stays that the settings do not name; another kind of optimizer than the
    base's needs a learning rate beside it, since the base's is not for it.
    """
    wrapper = cfg["optim_wrapper"]
    own, wanted = wrapper["optimizer"], settings.get("optimizer")
    if base.is_unet:
        wrapper["optimizer"] = {"type": wanted, "lr": float(settings[rate_of(wanted)])}
        if wanted == "SGD":
            wrapper["optimizer"]["momentum"] = float(settings["momentum"])
        wrapper["optimizer"]["weight_decay"] = float(settings["weight_decay"])
    else:
        if wanted is not None and wanted != own["type"]:
            wrapper["optimizer"] = _another_optimizer(str(wanted), own, settings, base)
        _edit_optimizer(wrapper["optimizer"], settings)
    if "precision" in settings:
        set_precision(wrapper, str(settings["precision"]))


_DTYPES = {"fp16": "float16", "bf16": "bfloat16"}
_OF_AMP = ("loss_scale", "dtype", "use_fp64")
"""Keys of MMEngine's wrapper for mixed precision that the plain one does not have."""


def set_precision(wrapper: Cfg, precision: str) -> None:
    """The optimizer's wrapper for "fp32", "fp16" or "bf16", in place of the base's own."""
    if precision in _DTYPES:
        wrapper.update(type="AmpOptimWrapper", loss_scale="dynamic", dtype=_DTYPES[precision])
    elif wrapper.get("type") == "AmpOptimWrapper":
        wrapper["type"] = "OptimWrapper"
        for key in _OF_AMP:
            wrapper.pop(key, None)


def rate_of(optimizer: object) -> str:
    """The name of the setting that is the learning rate of this optimizer."""
    return "lr_sgd" if optimizer == "SGD" else "lr_adam"


def _another_optimizer(wanted: str, own: Cfg, settings: Mapping[str, Value], base: BaseConfig) -> Cfg:
    if rate_of(wanted) not in settings:
        raise InputError(
            f"optimizer = {wanted!r}: base config {base.name} trains with {own['type']}, whose rate {own.get('lr')} is "
            f"not for it; set {rate_of(wanted)} too"
        )
    kept = {key: own[key] for key in ("weight_decay",) if key in own}
    momentum = {"momentum": float(DEFAULTS["momentum"])} if wanted == "SGD" else {}
    return {"type": wanted, **momentum, **kept}


def _edit_optimizer(optimizer: Cfg, settings: Mapping[str, Value]) -> None:
    rate = rate_of(optimizer["type"])
    other = "lr_adam" if rate == "lr_sgd" else "lr_sgd"
    if "optimizer" not in settings:
        if other in settings:
            raise InputError(
                f"{other}: the base config's optimizer is {optimizer['type']}; use {rate}, or set optimizer"
            )
        if "momentum" in settings and optimizer["type"] != "SGD":
            raise InputError(f"momentum: the base config's optimizer is {optimizer['type']}; drop it, or set optimizer")
    for name, key in ((rate, "lr"), ("weight_decay", "weight_decay"), ("momentum", "momentum")):
        if name in settings and (name != "momentum" or optimizer["type"] == "SGD"):
            optimizer[key] = float(settings[name])


def set_schedule(cfg: Cfg, settings: Mapping[str, Value], iterations: int) -> None:
    """Learning-rate schedule, by iteration. eta_min is a hundredth of the rate, the paper's 1e-4 at 0.01.

    InputError for a warm-up that the training is too short for, or that lasts beyond the end of poly_40k.
    """
    rate = float(cfg["optim_wrapper"]["optimizer"]["lr"])
    warm = warm_up_length(settings, iterations)
    linear = {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": warm}
    after: Cfg
    if settings["schedule"] == "cosine":
        after = {"type": "CosineAnnealingLR", "T_max": iterations - warm, "eta_min": 0.0, "by_epoch": False}
        after.update(begin=warm, end=iterations)
    else:
        end = int(settings["poly_end"]) if settings["schedule"] == "poly_40k" else iterations
        if warm and end < warm + 2:
            raise InputError(
                f"warmup = {settings['warmup']}: its {warm} iterations last until poly_40k has ended, at {end}; take "
                "schedule = 'poly', or a smaller share"
            )
        after = {"type": "PolyLR", "power": 0.9, "eta_min": rate / 100, "begin": warm, "end": end, "by_epoch": False}
    cfg["param_scheduler"] = [linear, after] if warm else [after]


def set_clipping(wrapper: Cfg, settings: Mapping[str, Value]) -> None:
    """Clipping of the gradients' norm over all weights, in place of the base's own."""
    norm = float(settings["clip_norm"])
    wrapper["clip_grad"] = {"max_norm": norm, "norm_type": 2} if norm else None


LEAST_MOMENTUM = 1e-9
"""Never reached: MMEngine takes the larger of this and gamma / (gamma + iterations so far), and allows no 0."""


def set_average(cfg: Cfg, settings: Mapping[str, Value]) -> None:
    """The moving average of the weights, in place of the base's own.

    Averaged are the statistics of batch normalisation, too: the last weights' own do not fit averaged ones (Izmailov et
    al. 2018, section 3.2). And the average grows with the training: one of a fixed length holds the first random
    weights at early evaluations, and finds nothing.
    """
    own, usual = cfg.get("custom_hooks") or [], cfg.get("default_hooks") or {}
    for name in [name for name, hook in usual.items() if _is_average(hook)]:
        del usual[name]
    hooks = [hook for hook in own if not _is_average(hook)]
    if settings["ema"]:
        kind = {"type": "EMAHook", "ema_type": "MomentumAnnealingEMA", "update_buffers": True}
        hooks.append({**kind, "gamma": average_gamma(float(settings["ema"])), "momentum": LEAST_MOMENTUM})
    if hooks or own:
        cfg["custom_hooks"] = hooks


def _is_average(hook: Mapping[str, Any] | None) -> bool:
    return hook is not None and str(hook.get("type")).rpartition(".")[2] == "EMAHook"


def set_inference(cfg: Cfg, settings: Mapping[str, Value]) -> None:
    """Sliding window or whole image; a base that slides keeps its own window and stride where none is named."""
    if settings["inference"] == "whole":
        cfg["model"]["test_cfg"] = {"mode": "whole"}
        return
    own = cfg["model"].get("test_cfg") or {}
    if own.get("mode") == "slide" and not {"window", "stride"} & set(settings):
        return
    window, stride = (int(settings.get(name, DEFAULTS[name])) for name in ("window", "stride"))
    cfg["model"]["test_cfg"] = {"mode": "slide", "crop_size": (window, window), "stride": (stride, stride)}


_FIXED_GRID = ("BEiT", "MAE")
"""Backbones that take images of one size alone, in training and test: their positions are relative ones of a grid."""


def set_batch_shape(
    cfg: Cfg, settings: Mapping[str, Value], shapes: set[tuple[int, int]], base: BaseConfig, *, cropped: bool
) -> None:
    """Size in pixels to which a batch is padded, from the crop or the input size; `cropped`: training crops.

    Of a base that is no UNet the base's own size stays where the settings name neither. Images that are not cropped may
    differ in size, so they are padded to the largest of their batch.
    """
    side, input_size = crop_side(settings), int(settings.get("input_size", 0))
    preprocessor = cfg["model"]["data_preprocessor"]
    if base.is_unet:
        _set_unet_batch_shape(preprocessor, side, input_size, shapes)
    elif side is not None:
        preprocessor["size"] = (side, side)
        preprocessor.pop("size_divisor", None)
        if cfg["model"].get("backbone", {}).get("type") in _FIXED_GRID:
            _set_grid(cfg["model"], side)
    elif not cropped and ("crop" in settings or input_size):
        preprocessor.pop("size", None)
        preprocessor["size_divisor"] = 32


def _set_unet_batch_shape(preprocessor: Cfg, side: int | None, size: int, shapes: set[tuple[int, int]]) -> None:
    """The crop; without a crop 256 as the notebooks left it, which pads nothing, unless images are not square: then
    the whole input, so that they fit one batch. Test images are padded to the network's stride where they need it."""
    scale = {size * min(shape) / max(shape) for shape in shapes} or {float(size)}
    square = scale == {float(size)}
    side = side or (min(256, size) if square else size)
    preprocessor["size"] = (side, side)
    preprocessor.pop("size_divisor", None)
    if not square or size % UNET_STRIDE:
        preprocessor["test_cfg"] = {"size_divisor": UNET_STRIDE}


def _set_grid(model: Cfg, side: int) -> None:
    """Training and test at `side` pixels: by a window of that size, over images padded to it where they are smaller."""
    model["backbone"]["img_size"] = (side, side)
    stride = max(1, side * 2 // 3)
    model["test_cfg"] = {"mode": "slide", "crop_size": (side, side), "stride": (stride, stride)}
    model["data_preprocessor"]["test_cfg"] = {"size": (side, side)}
