"""The two spaces that come with mmtuna: what the paper tried by hand, and what it never touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Categorical, Float, Int, Parameter
from mmtuna.spaces.search_space import SearchSpace

# Written out, and not taken from the vocabulary of settings: a study goes on for as long as its space stays the same,
# and a loss that is added to the vocabulary must not end every study that was begun before.
_DECODERS = ("fcn", "pspnet", "deeplabv3")
_CROPS = ("none", 192, 224, 288, 320)
_LOSSES = ("cross_entropy", "dice", "focal", "ce_dice", "ce_tversky", "lovasz", "ce_lovasz")
_MIXED_LOSSES = ("ce_dice", "ce_tversky", "ce_lovasz")
_CLASS_WEIGHTED_LOSSES = ("cross_entropy", "ce_dice", "ce_tversky", "ce_lovasz")


def paper() -> SearchSpace:
    """The grid behind Table 2: 1,080 combinations, of which the paper shows eleven.

    Crop 288 was run and left out of the table; FCN and DeepLabV3 stand in Table 1 only.
    """
    return SearchSpace(
        [
            Categorical(name="decoder", choices=_DECODERS),
            Categorical(name="crop", choices=_CROPS),
            Categorical(name="flip", choices=("none", "horizontal")),
            Categorical(name="loss", choices=("cross_entropy", "dice", "focal")),
            Categorical(name="optimizer", choices=("SGD", "Adam")),
            Categorical(name="weight_decay", choices=(1e-4, 5e-4, 1e-3)),
            Categorical(name="iterations", choices=(200, 400)),
        ]
    )


def extended() -> SearchSpace:
    """Every choice of `paper()` and the axes that the manual grid never touched.

    A parameter may have a wider range here than there, so the two are spaces of different studies.
    """
    parameters: list[Parameter] = [
        Categorical(name="decoder", choices=_DECODERS),
        Categorical(name="input_size", choices=(320, 384, 512)),
        Categorical(name="crop", choices=_CROPS),
        Categorical(name="flip", choices=("none", "horizontal", "vertical", "both")),
        Int(name="rotation", low=0, high=30, step=5),
        Categorical(name="photometric", choices=(False, True)),
        Categorical(name="loss", choices=_LOSSES),
        Float(name="mix_weight", low=0.25, high=4.0, log=True, when={"loss": _MIXED_LOSSES}),
        Float(name="foreground_weight", low=1.0, high=50.0, log=True, when={"loss": _CLASS_WEIGHTED_LOSSES}),
        Categorical(name="optimizer", choices=("SGD", "Adam", "AdamW")),
        Float(name="lr_sgd", low=1e-3, high=1e-1, log=True, when={"optimizer": ("SGD",)}),
        Float(name="lr_adam", low=1e-5, high=1e-2, log=True, when={"optimizer": ("Adam", "AdamW")}),
        Float(name="weight_decay", low=1e-6, high=1e-2, log=True),
        Categorical(name="schedule", choices=("poly_40k", "poly", "cosine")),
        Categorical(name="batch_size", choices=(2, 4, 8)),
        Int(name="iterations", low=200, high=1600, step=200),
        Categorical(name="initial_weights", choices=("pretrained", "none")),
    ]
    return SearchSpace(parameters)


PRESETS: Mapping[str, Callable[[], SearchSpace]] = {"paper": paper, "extended": extended}


def preset(name: str) -> SearchSpace:
    """The preset of that name; InputError where there is none."""
    if name not in PRESETS:
        raise InputError(f"[space] preset = {name!r} is unknown; use {' or '.join(PRESETS)}, or [space.params.NAME]")
    return PRESETS[name]()
