"""What reached training: settings read off the built Runner's objects and compared with the trial's.

A search whose parameters never reach training is a known failure of this trade. So this looks at the optimizer, the
transforms and the losses that were built, not at the config that they were built from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mmtuna.objectives.config.dotted import get_key
from mmtuna.objectives.config.model import LEAST_MOMENTUM, WITHOUT_DROPOUT
from mmtuna.objectives.config.schedules import average_gamma, warm_up_length
from mmtuna.objectives.config.settings import TrialSettings
from mmtuna.objectives.insides import starting_checkpoint
from mmtuna.objectives.speed import pace
from mmtuna.objectives.trial.building import class_layers, shapes_of
from mmtuna.spaces.effects import without_idle
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.settings import NO_CROP, OWN_WARM_UP
from mmtuna.spaces.speed import EXACT, Speed

_HEADS = {"FCNHead": "fcn", "PSPHead": "pspnet", "ASPPHead": "deeplabv3"}
_LOSSES = {
    ("CrossEntropyLoss",): "cross_entropy",
    ("DiceLoss",): "dice",
    ("FocalLoss",): "focal",
    ("LovaszLoss",): "lovasz",
    ("CrossEntropyLoss", "DiceLoss"): "ce_dice",
    ("CrossEntropyLoss", "TverskyLoss"): "ce_tversky",
    ("CrossEntropyLoss", "LovaszLoss"): "ce_lovasz",
}
_PRECISIONS = {"torch.float16": "fp16", "torch.bfloat16": "bf16", "None": "fp16"}
"""By the dtype that MMEngine's wrapper casts to; without one it takes torch's own for GPUs."""


class MismatchError(RuntimeError):
    """A setting of the trial is not what the Runner was built with."""


def check_readback(runner: Any, settings: TrialSettings, speed: Speed = EXACT, *, resumed: bool = False) -> None:
    """Raises MismatchError naming every setting whose value in the built Runner is not the trial's.

    `runner` is an mmengine Runner whose training has begun, built with `speed`, which is looked for likewise; one that
    is `resumed` starts from its own checkpoint.
    """
    observed = observe(runner)
    wanted = _comparable(settings.effective, runner.train_loop.max_iters)
    if speed != EXACT:
        observed |= pace.observed(runner)
        wanted |= speed.kept()
    if resumed:
        wanted.pop("initial_weights", None)
    wrong = []
    for name, value in wanted.items():
        found = _dotted(runner, name) if "." in name else observed.get(name, "not to be found")
        if not _same(found, value):
            wrong.append(f"{name} is {found!r} in the Runner and {value!r} in the trial")
    if wrong:
        raise MismatchError("; ".join(wrong))


def check_initial_weights(runner: Any, state: Mapping[str, Any]) -> None:
    """Raises MismatchError where weights to start from lack a tensor of the model or have it in another shape.

    Only those that depend on the number of classes may: MMEngine would log all others and leave them random.
    """
    wanted = shapes_of(getattr(runner.model, "module", runner.model))
    theirs = {name.removeprefix("module."): tuple(getattr(value, "shape", ())) for name, value in state.items()}
    misfits = [name for name, shape in wanted.items() if theirs.get(name) != shape]
    expected = class_layers(runner.cfg.to_dict()["model"], wanted) if misfits else []
    strange = [name for name in misfits if name not in expected]
    if strange:
        raise MismatchError(
            f"initial_weights: {len(strange)} of {len(wanted)} tensors are missing in the weights or of another shape "
            f"({strange[0]}); use weights of the same decoder and base_channels, or [model] pretrained = 'none'"
        )


def _dotted(runner: Any, key: str) -> Any:
    try:
        return get_key(runner.cfg.to_dict(), key, "config")
    except InputError:
        return "not to be found"


def _comparable(settings: Mapping[str, Any], max_iters: int) -> dict[str, Any]:
    """`settings` less those that the others leave without effect, with the rate that belongs to the optimizer as `lr`.

    Where the settings name no optimizer, the one rate among them is that of the base's own.
    """
    wanted: dict[str, Any] = without_idle(settings)
    for name in ("loader_workers", "speed"):  # these change no figure of a training
        wanted.pop(name, None)
    for rate in ("lr_sgd", "lr_adam"):
        if rate in wanted:
            wanted["lr"] = wanted.pop(rate)
    iterations = int(settings.get("iterations", max_iters))
    if "evaluations" in wanted:
        wanted["val_interval"] = math.ceil(iterations / wanted.pop("evaluations"))
    # What the schedule has of its own may be changed by dotted keys.
    if wanted.pop("warmup", OWN_WARM_UP) != OWN_WARM_UP:
        wanted["warmup"] = warm_up_length(settings, iterations)
    if wanted.get("ema"):
        wanted["ema"] = f"gamma {average_gamma(wanted['ema']):g}"
    if wanted.get("schedule") in ("poly", "poly_40k"):  # the two differ in where they end
        wanted["poly_end"] = iterations if wanted["schedule"] == "poly" else settings["poly_end"]
        wanted["schedule"] = "poly"
    else:
        wanted.pop("poly_end", None)
    return wanted


def observe(runner: Any) -> dict[str, Any]:
    """Settings by name as the built objects show them; what an object does not show is left out."""
    model = getattr(runner.model, "module", runner.model)
    seen: dict[str, Any] = {
        "decoder": _HEADS.get(type(_deciding(model)).__name__),
        "base_channels": getattr(getattr(model, "backbone", None), "base_channels", None),
        "batch_size": runner.train_dataloader.batch_size,
        "iterations": runner.train_loop.max_iters,
        "val_interval": runner.train_loop.val_interval,
        "initial_weights": "pretrained" if starting_checkpoint(runner) or _starts_from_files(model) else "none",
        "precision": _precision(runner.optim_wrapper),
        "dropout": _dropout(model),
        "ema": _average(runner),
    }
    return seen | _losses(model) | _optimizer(runner) | _transforms(runner) | _schedule(runner) | _inference(model)


def _precision(wrapper: Any) -> str:
    if type(wrapper).__name__ != "AmpOptimWrapper":
        return "fp32"
    dtype = str(wrapper.cast_dtype)
    return _PRECISIONS.get(dtype, dtype)


def _dropout(model: Any) -> Any:
    """The one share that all heads have which use it, else all that they have."""
    beside: Any = getattr(model, "auxiliary_head", None)
    found = [_deciding(model), *(list(beside) if hasattr(beside, "__iter__") else [beside])]
    shares = {getattr(head, "dropout_ratio", None) for head in found if type(head).__name__ not in WITHOUT_DROPOUT}
    shares.discard(None)
    return shares.pop() if len(shares) == 1 else sorted(shares)


def _average(runner: Any) -> float | str:
    """How the averages that are evaluated and kept forget, and what of them is not as `ema` makes it; 0 for none."""
    hooks = [hook for hook in runner.hooks if type(hook).__name__ == "EMAHook"]
    return " and ".join(_average_of(hook) for hook in hooks) or 0.0


def _average_of(hook: Any) -> str:
    model = hook.ema_model
    usual = {
        type(model).__name__: type(model).__name__ == "MomentumAnnealingEMA",
        f"momentum {model.momentum:g}": model.momentum == LEAST_MOMENTUM,
        f"every {model.interval} iterations": model.interval == 1,
        f"from iteration {hook.begin_iter} on": not hook.begin_iter,
        f"from epoch {hook.begin_epoch} on": not hook.begin_epoch,
        "statistics of the last weights": model.update_buffers,
    }
    return ", ".join([f"gamma {getattr(model, 'gamma', 0):g}", *(words for words, is_so in usual.items() if not is_so)])


def _starts_from_files(model: Any) -> bool:
    """Whether a part of the model was filled from a file by itself, as backbones are."""
    inits = [getattr(part, "init_cfg", None) for part in model.modules()]
    single = [one for init in inits for one in (init if isinstance(init, list | tuple) else [init])]
    return any(one.get("type") == "Pretrained" for one in single if isinstance(one, Mapping))


def _losses(model: Any) -> dict[str, Any]:
    decode: Any = getattr(_deciding(model), "loss_decode", None)  # some heads have losses under other names
    terms = list(decode) if hasattr(decode, "__iter__") else [decode]
    weights = getattr(terms[0], "class_weight", None)
    shares = [getattr(term, "loss_weight", None) for term in terms]
    return {
        "loss": _LOSSES.get(tuple(type(term).__name__ for term in terms)),
        "mix_weight": shares[-1] / shares[0] if shares[0] and shares[-1] is not None else None,
        "foreground_weight": 1.0 if weights is None else float(weights[-1]),
    }


def _optimizer(runner: Any) -> dict[str, Any]:
    optimizer = runner.optim_wrapper.optimizer
    # The schedule has already moved `lr`; `defaults` is what the optimizer was built with.
    return {
        "optimizer": type(optimizer).__name__,
        "lr": optimizer.defaults["lr"],
        "weight_decay": optimizer.defaults["weight_decay"],
        "momentum": optimizer.defaults.get("momentum"),
        "clip_norm": float((runner.optim_wrapper.clip_grad_kwargs or {}).get("max_norm", 0.0)),
    }


def _transforms(runner: Any) -> dict[str, Any]:
    dataset = runner.train_dataloader.dataset
    steps = {type(step).__name__: step for step in dataset.pipeline.transforms}
    seen: dict[str, Any] = {"crop": NO_CROP, "flip": "none", "rotation": 0, "scale_jitter": 0.0, "gamma": 0.0}
    seen["photometric"] = "PhotoMetricDistortion" in steps
    resize = steps.get("Resize") or steps.get("RandomResize")
    if resize is not None and isinstance(resize.scale[0], int):
        seen["input_size"] = max(resize.scale)
    if "RandomCrop" in steps:
        height, width = steps["RandomCrop"].crop_size
        seen["crop"] = height if height == width else (height, width)
        seen["cat_max_ratio"] = steps["RandomCrop"].cat_max_ratio
    if "RandomFlip" in steps and steps["RandomFlip"].prob == 0.5:
        direction = steps["RandomFlip"].direction
        both = isinstance(direction, list) and set(direction) == {"horizontal", "vertical"}
        seen["flip"] = "both" if both else direction
    if "RandomRotate" in steps:
        seen["rotation"] = max(steps["RandomRotate"].degree)
    if "RandomResize" in steps and steps["RandomResize"].ratio_range:
        seen["scale_jitter"] = max(steps["RandomResize"].ratio_range) - 1
    if "BioMedicalRandomGamma" in steps and steps["BioMedicalRandomGamma"].prob == 0.5:
        seen["gamma"] = max(steps["BioMedicalRandomGamma"].gamma_range) - 1
    return seen


def _schedule(runner: Any) -> dict[str, Any]:
    schedulers: list[Any] = list(runner.param_schedulers or [])
    if not schedulers:
        return {}
    first, last = schedulers[0], schedulers[-1]
    kind = type(last).__name__
    warm = {"warmup": first.end - first.begin if type(first).__name__ == "LinearLR" else 0}
    if kind == "CosineAnnealingLR":
        return {"schedule": "cosine", **warm}
    return {"schedule": "poly", "poly_end": last.end, **warm} if kind == "PolyLR" else {"schedule": kind, **warm}


def _inference(model: Any) -> dict[str, Any]:
    test = model.test_cfg
    if test.mode == "whole":
        return {"inference": "whole"}
    return {"inference": "slide", "window": test.crop_size[0], "stride": test.stride[0]}


def _deciding(model: Any) -> Any:
    """The head that decides: cascades hold several, and K-Net's loss lies in the one that makes the kernels."""
    head = model.decode_head
    head = head[-1] if hasattr(head, "__getitem__") else head
    return getattr(head, "kernel_generate_head", head)


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(found, int | float) and isinstance(wanted, int | float) and not isinstance(wanted, bool):
        return math.isclose(found, wanted, rel_tol=1e-6)
    return bool(found == wanted)
