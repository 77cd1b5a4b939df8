"""The vocabulary of a training: every setting by name, its allowed values, and the paper's value as default.

A space samples some settings; a spec's `[train]` fixes others; the rest take the defaults below, which are the
paper's. "notebooks" cites the authors' public notebooks and logs (github.com/nogibjj/yj_xq_661_final_project);
"table" cites the paper's Table 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mmtuna.spaces.claimed import in_place_of, refusal
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Categorical, Float, Int, Parameter, Value
from mmtuna.spaces.speed import AUTOMATIC, EXACTLY

DECODERS = ("fcn", "pspnet", "deeplabv3")
LOSSES = ("cross_entropy", "dice", "focal", "ce_dice", "ce_tversky", "lovasz", "ce_lovasz")
CLASS_WEIGHTED_LOSSES = ("cross_entropy", "ce_dice", "ce_tversky", "ce_lovasz")
MIXED_LOSSES = ("ce_dice", "ce_tversky", "ce_lovasz")
OPTIMIZERS = ("SGD", "Adam", "AdamW")
PRECISIONS = ("fp32", "fp16", "bf16")
SCHEDULES = ("poly_40k", "poly", "cosine")
NO_CROP = "none"
OWN_WARM_UP = "schedule"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A named setting: `allowed` says which values it takes, `default` is the paper's, `source` says where from."""

    allowed: Parameter
    default: Value
    meaning: str
    source: str

    @property
    def name(self) -> str:
        return self.allowed.name


class Crop(Int):
    """A crop's side in pixels, or "none" for the whole image."""

    def contains(self, value: object) -> bool:
        return value == NO_CROP or super().contains(value)


class WarmUp(Float):
    """A share of the training, or "schedule" for the warm-up that the schedule has of its own."""

    def contains(self, value: object) -> bool:
        return value == OWN_WARM_UP or super().contains(value)


def _choice(name: str, *choices: Value) -> Categorical:
    return Categorical(name=name, choices=choices)


_ALL = (
    Setting(
        allowed=_choice("decoder", *DECODERS),
        default="pspnet",
        meaning="decode head on the UNet; only for base = 'unet'",
        source="notebooks: all eleven rows use PSPNet, picked from Table 1",
    ),
    Setting(
        allowed=Int(name="base_channels", low=1, high=1024),
        default=64,
        meaning="channels of the UNet's first stage; only for base = 'unet'",
        source="base config unet-s5-d16_pspnet_4xb4-40k_hrf-256x256",
    ),
    Setting(
        allowed=Int(name="input_size", low=32, high=8192),
        default=512,
        meaning="pixels: images are resized to fit input_size x input_size, aspect ratio kept, in training and test",
        source="notebooks: Resize 512 x 512, keep_ratio",
    ),
    Setting(
        allowed=Crop(name="crop", low=16, high=8192),
        default=NO_CROP,
        meaning="pixels: side of the random training crop, or 'none'",
        source="table",
    ),
    Setting(
        allowed=Float(name="cat_max_ratio", low=0.0, high=1.0),
        default=0.75,
        meaning="a crop in which one class covers more than this share is drawn again, up to 10 times; 0.99 asks for "
        "1 % of other classes",
        source="notebooks: RandomCrop(cat_max_ratio 0.75)",
    ),
    Setting(
        allowed=_choice("flip", "none", "horizontal", "vertical", "both"),
        default="none",
        meaning="random flip, probability 0.5 in all",
        source="table",
    ),
    Setting(
        allowed=Int(name="rotation", low=0, high=180),
        default=0,
        meaning="degrees: random rotation within plus or minus this, probability 0.5; 0 is none",
        source="notebooks: no rotation in any row",
    ),
    Setting(
        allowed=_choice("photometric", False, True),
        default=False,
        meaning="random brightness, contrast, saturation and hue (PhotoMetricDistortion)",
        source="notebooks: none",
    ),
    Setting(
        allowed=Float(name="scale_jitter", low=0.0, high=3.0),
        default=0.0,
        meaning="training images are resized by a random factor from 1 / (1 + this) to 1 + this beside input_size "
        "(RandomResize), before the crop; 0 is none",
        source="notebooks: none",
    ),
    Setting(
        allowed=Float(name="gamma", low=0.0, high=9.0),
        default=0.0,
        meaning="random gamma with an exponent from 1 / (1 + this) to 1 + this, probability 0.5 "
        "(BioMedicalRandomGamma); 0 is none",
        source="notebooks: none",
    ),
    Setting(
        allowed=Float(name="dropout", low=0.0, high=0.99),
        default=0.1,
        meaning="share of the channels that decode and auxiliary heads drop at random in training (dropout_ratio)",
        source="base config unet-s5-d16_pspnet_4xb4-40k_hrf-256x256",
    ),
    Setting(
        allowed=_choice("loss", *LOSSES),
        default="cross_entropy",
        meaning="training loss; ce_dice, ce_tversky (Dice per class) and ce_lovasz add the second to cross entropy",
        source="table",
    ),
    Setting(
        allowed=Float(name="mix_weight", low=0.0, high=100.0),
        default=1.0,
        meaning="weight of the loss that ce_dice, ce_tversky and ce_lovasz add to cross entropy's 1.0",
        source="ours: the paper names the mix of cross entropy and Dice as future work",
    ),
    Setting(
        allowed=Float(name="foreground_weight", low=0.01, high=1000.0),
        default=1.0,
        meaning="class weight of every class but the background in cross entropy",
        source="notebooks: no class weights",
    ),
    Setting(allowed=_choice("optimizer", *OPTIMIZERS), default="SGD", meaning="optimizer", source="table"),
    Setting(
        allowed=Float(name="lr_sgd", low=0.0, high=10.0),
        default=0.01,
        meaning="learning rate where the optimizer is SGD",
        source="notebooks: SGD lr 0.01",
    ),
    Setting(
        allowed=Float(name="lr_adam", low=0.0, high=10.0),
        default=0.01,
        meaning="learning rate where the optimizer is Adam or AdamW",
        source="notebooks: Adam lr 0.01",
    ),
    Setting(
        allowed=Float(name="momentum", low=0.0, high=1.0),
        default=0.9,
        meaning="momentum of SGD",
        source="notebooks: momentum 0.9",
    ),
    Setting(
        allowed=Float(name="weight_decay", low=0.0, high=1.0),
        default=5e-4,
        meaning="L2 penalty of the optimizer (decoupled in AdamW)",
        source="table",
    ),
    Setting(
        allowed=_choice("schedule", *SCHEDULES),
        default="poly_40k",
        meaning="poly_40k: PolyLR power 0.9 to 1e-4 ending at 40,000; poly: the same ending with the training; "
        "cosine: linear warm-up over a tenth, then half a cosine to 0",
        source="notebooks: PolyLR power 0.9 to 1e-4, end at 40,000",
    ),
    Setting(
        allowed=WarmUp(name="warmup", low=0.0, high=0.5),
        default=OWN_WARM_UP,
        meaning="share of the iterations in which the rate rises linearly from a tenth (LinearLR), before the "
        "schedule; 0 is none, 'schedule' is none for poly and poly_40k and a tenth for cosine",
        source="notebooks: none",
    ),
    Setting(
        allowed=Float(name="clip_norm", low=0.0, high=1e6),
        default=0.0,
        meaning="gradients of a larger norm than this are scaled down to it (clip_grad); 0 is no clipping",
        source="base config: clip_grad None",
    ),
    Setting(
        allowed=Float(name="ema", low=0.0, high=0.99),
        default=0.0,
        meaning="evaluates, and keeps in the weights' place, their average (EMAHook), of which half is younger than "
        "this share of the iterations so far; 0 is none, 0.5 the plain mean",
        source="ours: the notebooks evaluate the last weights",
    ),
    Setting(allowed=Int(name="batch_size", low=1, high=4096), default=2, meaning="images a batch", source="notebooks"),
    Setting(
        allowed=Int(name="iterations", low=1, high=10_000_000),
        default=400,
        meaning="training iterations",
        source="table",
    ),
    Setting(
        allowed=_choice("initial_weights", "pretrained", "none"),
        default="pretrained",
        meaning="start from the spec's [model] pretrained weights, or from random ones",
        source="notebooks: HRF weights in every row",
    ),
    Setting(
        allowed=_choice("inference", "slide", "whole"),
        default="slide",
        meaning="test by sliding window, or the whole image at once",
        source="notebooks: sliding window 256, stride 170",
    ),
    Setting(
        allowed=Int(name="window", low=16, high=8192),
        default=256,
        meaning="pixels: side of the sliding window",
        source="notebooks: sliding window 256",
    ),
    Setting(
        allowed=Int(name="stride", low=1, high=8192),
        default=170,
        meaning="pixels: step of the sliding window",
        source="notebooks: stride 170",
    ),
    Setting(
        allowed=Int(name="evaluations", low=1, high=100),
        default=5,
        meaning="how often a training is evaluated, evenly spread, the last at its end",
        source="ours: 4 to 8 suit the pruners",
    ),
    Setting(
        allowed=Float(name="size_scale", low=0.01, high=1.0),
        default=1.0,
        meaning="scales input_size, crop, window and stride down, to rehearse a search on a small machine",
        source="ours: 1.0 is the paper",
    ),
    Setting(
        allowed=Float(name="iteration_scale", low=0.0001, high=1.0),
        default=1.0,
        meaning="scales iterations (and the 40,000 of poly_40k) down, to rehearse a search on a small machine",
        source="ours: 1.0 is the paper",
    ),
    Setting(
        allowed=_choice("precision", *PRECISIONS),
        default="fp32",
        meaning="fp16 and bf16 are mixed precision (AmpOptimWrapper with that dtype) and need a GPU",
        source="notebooks: float32",
    ),
    Setting(
        allowed=_choice("speed", EXACTLY, AUTOMATIC),
        default=EXACTLY,
        meaning="exact trains bit for bit as stock MMSegmentation; auto takes what is faster on this machine (below)",
        source="ours: exact is the paper",
    ),
    Setting(
        allowed=Int(name="loader_workers", low=0, high=64),
        default=0,
        meaning="processes that load images beside the training; 0 loads in the training process",
        source="ours: small images load in far less time than a step takes",
    ),
)

SETTINGS: Mapping[str, Setting] = {setting.name: setting for setting in _ALL}
DEFAULTS: Mapping[str, Value] = {name: setting.default for name, setting in SETTINGS.items()}
UNET = "unet"
"""The base that stands for MMSegmentation's UNet with the head that `decoder` names, as the paper had it."""


def defaults_of(base: str | None) -> Mapping[str, Value]:
    """What settings are where nobody names them: the paper's with its UNet; another base's own config says it."""
    return DEFAULTS if base == UNET else {}


UNET_ONLY = ("decoder", "base_channels")
LATER_NAMES: Mapping[str, tuple[str, ...]] = {
    "dropout": ("model.decode_head.dropout_ratio", "model.auxiliary_head.dropout_ratio"),
}
"""Settings that studies could only name by dotted keys before: beside one of these the paper's value is not meant."""
NEVER_SAMPLED = ("speed",)
"""Settings that all trials of a study have in common."""


@dataclass(frozen=True, kw_only=True)
class Former:
    """A name that a setting had before: studies that were begun with it go on.

    `now` is its name today, and `values` maps each value that it took under the old one to today's.
    """

    allowed: Categorical
    now: str
    values: Mapping[Value, Value]


FORMER: Mapping[str, Former] = {
    "amp": Former(allowed=_choice("amp", False, True), now="precision", values={False: "fp32", True: "fp16"}),
}
"""What settings were called before, by that name."""


def check_settings(values: Mapping[str, object], where: str) -> None:
    """Raises InputError for a name that is neither a setting nor a dotted config key, or a value it cannot take.

    A dotted key that mmtuna sets itself (mmtuna.spaces.claimed) is none that may be named.
    """
    check_one_name(values, where)
    for name, value in values.items():
        if "." in name:
            use = in_place_of(name)
            if use:
                raise InputError(f"{where}: {refusal(name, use)}")
            continue
        if name not in SETTINGS and name not in FORMER:
            near = difflib.get_close_matches(name, SETTINGS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(SETTINGS)}, or a dotted config key"
            raise InputError(f"{where}: {name} is no setting; {hint}")
        allowed = (SETTINGS.get(name) or FORMER[name]).allowed
        if not allowed.contains(value):
            raise InputError(f"{where}: {name} = {value!r} is not allowed; it takes {_range(allowed)}")


def scaled_by(values: Mapping[str, object]) -> str:
    """`size_scale = 0.125, iteration_scale = 0.05`: what scales the sides and iterations among `values`; empty where
    nothing does."""
    scales = {name: values.get(name, 1.0) for name in ("size_scale", "iteration_scale")}
    return ", ".join(f"{name} = {scale:g}" for name, scale in scales.items() if isinstance(scale, float) and scale < 1)


def check_sampled(names: Iterable[str], where: str) -> None:
    """Raises InputError for a setting that trials of one study cannot differ in."""
    for name in NEVER_SAMPLED:
        if name in names:
            raise InputError(f"{where}: {name} is the same in all trials of a study; set it in [train]")


def check_one_name(values: Mapping[str, object], where: str) -> None:
    """Raises InputError for a setting that stands there under two of its names."""
    for name, former in FORMER.items():
        if name in values and former.now in values:
            raise InputError(f"{where}: {name} and {former.now} are one setting; remove {name}")


def by_present_names(values: Mapping[str, Value]) -> dict[str, Value]:
    """`values`, which `check_settings` has passed, with every setting under the name that it has today."""
    found: dict[str, Value] = {}
    for name, value in values.items():
        former = FORMER.get(name)
        found |= {name: value} if former is None else {former.now: former.values[value]}
    return found


def _range(allowed: Parameter) -> str:
    if isinstance(allowed, Categorical):
        return " | ".join(
            str(choice).lower() if isinstance(choice, bool) else str(choice) for choice in allowed.choices
        )
    assert isinstance(allowed, Int | Float)
    word = NO_CROP if isinstance(allowed, Crop) else OWN_WARM_UP if isinstance(allowed, WarmUp) else ""
    other = f"{word!r} or " if word else ""
    kind = "a whole number" if isinstance(allowed, Int) else "a number"
    return f"{other}{kind} from {allowed.low:g} to {allowed.high:g}"
