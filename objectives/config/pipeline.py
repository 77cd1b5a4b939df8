"""Edits of the data pipelines: each function sets, replaces or removes one transform."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mmtuna.objectives.config.effective import crop_side
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Value
from mmtuna.spaces.settings import DEFAULTS

Pipeline = list[dict[str, Any]]

# The order in which MMSegmentation's own configs apply them; a new transform is put in its place.
_ORDER = (
    "LoadImageFromFile",
    "LoadAnnotations",
    "Resize",
    "RandomResize",
    "RandomCrop",
    "RandomFlip",
    "RandomRotate",
    "PhotoMetricDistortion",
    "BioMedicalRandomGamma",
    "PackSegInputs",
)
_LOCAL = (None, {"backend": "local"}, {"backend": "disk"})
_LOADING: Mapping[str, Mapping[str, Any]] = {
    "LoadImageFromFile": {
        "to_float32": False,
        "color_type": "color",
        "imdecode_backend": "cv2",
        "ignore_empty": False,
    },
    "LoadAnnotations": {"imdecode_backend": "pillow"},
}
_RESIZES = ("Resize", "RandomResize", "ResizeShortestEdge", "RandomChoiceResize")


def put(pipeline: Pipeline, transform: dict[str, Any], instead_of: tuple[str, ...] = ()) -> None:
    """Puts `transform` in the place of the first of its kind (or of `instead_of`), else where it belongs."""
    kinds = (transform["type"], *instead_of)
    places = [index for index, step in enumerate(pipeline) if step["type"] in kinds]
    if places:
        pipeline[places[0]] = transform
        for index in reversed(places[1:]):
            del pipeline[index]
        return
    later = _ORDER[_ORDER.index(transform["type"]) + 1 :]
    index = next((index for index, step in enumerate(pipeline) if step["type"] in later), len(pipeline))
    pipeline.insert(index, transform)


def remove(pipeline: Pipeline, kind: str) -> None:
    """Removes every transform of that kind."""
    pipeline[:] = [step for step in pipeline if step["type"] != kind]


def set_loading(pipeline: Pipeline, base: str) -> None:
    """Files are loaded as `mmtuna check` and predict.py read them; InputError where the base means to load otherwise.

    That class 0 of our masks is a class, and that files lie on this machine, is no other way of loading.
    """
    for step in pipeline:
        if not str(step["type"]).startswith("Load"):
            continue
        usual = _LOADING.get(step["type"], {})
        meant = {key: value for key, value in step.items() if key not in ("type", "reduce_zero_label")}
        meant = {key: value for key, value in meant.items() if value not in _LOCAL and value != usual.get(key)}
        if step["type"] not in _LOADING or meant:
            said = ", ".join(f"{key} = {value!r}" for key, value in meant.items())
            raise InputError(
                f"base config {base}: loads files by {step['type']}({said}), which check and predict.py do not; use "
                "LoadImageFromFile and LoadAnnotations as they are, and [data] range or channels where they will not do"
            )
        for key in [key for key in step if key != "type"]:
            del step[key]


def set_ignore_index(train: Pipeline, ignore_index: int) -> None:
    """What transforms fill in or leave out of their counts is marked with the data set's own value."""
    for step in train:
        if step["type"] == "RandomRotate":
            step["seg_pad_val"] = ignore_index
        elif step["type"] == "RandomCrop" and ignore_index != 255:
            step["ignore_index"] = ignore_index


def set_input_size(train: Pipeline, test: Pipeline, settings: Mapping[str, Value], *, jitter: bool) -> None:
    """Resizes to fit a square of input_size pixels, aspect ratio kept, in training and test.

    With `jitter` the training's own random scale stays, around the new size.
    """
    size = int(settings["input_size"])
    plain: dict[str, Any] = {"type": "Resize", "scale": (size, size), "keep_ratio": True}
    span = _random_scale(train) if jitter else None
    put(train, {**plain, "type": "RandomResize", "ratio_range": span} if span else plain, _RESIZES)
    # Before the masks are loaded: MMSegmentation compares predictions with masks of the size that they lie in.
    test[:] = [step for step in test if step["type"] not in _RESIZES]
    loaded = next((index for index, step in enumerate(test) if step["type"] == "LoadAnnotations"), None)
    loads = [index for index, step in enumerate(test) if step["type"].startswith("LoadImage")]
    test.insert(loaded if loaded is not None else loads[-1] + 1 if loads else 0, plain)


def _random_scale(train: Pipeline) -> tuple[float, float] | None:
    """How far a training pipeline resizes at random, as factors of the size that it resizes to; None for not at all."""
    step = next((step for step in train if step["type"] in _RESIZES), {})
    if step.get("type") == "RandomResize":
        if step.get("ratio_range"):
            low, high = step["ratio_range"]
            return float(low), float(high)
        sides = [max(scale) for scale in step["scale"]] if isinstance(step["scale"][0], list | tuple) else []
        return (min(sides) / max(sides), 1.0) if sides else None
    if step.get("type") == "RandomChoiceResize":
        sides = [min(scale) if isinstance(scale, list | tuple) else scale for scale in step["scales"]]
        crop = next((min(_pair(other["crop_size"])) for other in train if other["type"] == "RandomCrop"), None)
        around = crop or math.sqrt(min(sides) * max(sides))
        return min(sides) / around, max(sides) / around
    return None


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def set_crop(train: Pipeline, _test: Pipeline, settings: Mapping[str, Value]) -> None:
    """Random square crop, or none; what settings do not name of the base's own crop stays."""
    side = crop_side(settings)
    if side is None:
        remove(train, "RandomCrop")
        return
    own = next((step for step in train if step["type"] == "RandomCrop"), {"cat_max_ratio": DEFAULTS["cat_max_ratio"]})
    crop = {**own, "type": "RandomCrop", "crop_size": (side, side)}
    if "cat_max_ratio" in settings:
        crop["cat_max_ratio"] = float(settings["cat_max_ratio"])
    put(train, crop)


def set_flip(train: Pipeline, _test: Pipeline, settings: Mapping[str, Value]) -> None:
    """Random flip with probability 0.5 in all; "both" draws one of the two directions."""
    flip = settings["flip"]
    if flip == "none":
        remove(train, "RandomFlip")
    elif flip == "both":
        put(train, {"type": "RandomFlip", "prob": 0.5, "direction": ["horizontal", "vertical"]})
    else:
        put(train, {"type": "RandomFlip", "prob": 0.5, "direction": flip})


def set_rotation(train: Pipeline, _test: Pipeline, settings: Mapping[str, Value]) -> None:
    """Random rotation; what turns into view is black in the image and ignored in the mask."""
    degrees = int(settings["rotation"])
    remove(train, "RandomRotate")
    if degrees:
        put(train, {"type": "RandomRotate", "prob": 0.5, "degree": degrees, "pad_val": 0, "seg_pad_val": 255})


def set_photometric(train: Pipeline, _test: Pipeline, settings: Mapping[str, Value]) -> None:
    """Random brightness, contrast, saturation and hue."""
    remove(train, "PhotoMetricDistortion")
    if settings["photometric"]:
        put(train, {"type": "PhotoMetricDistortion"})


def set_scale_jitter(train: Pipeline, settings: Mapping[str, Value], base: str) -> None:
    """Random scale around the size that training images are resized to, where they are cropped to one size again.

    InputError for a base that resizes to several sizes, where no input_size says around which.
    """
    if crop_side(settings) is None:
        return
    spread = float(settings["scale_jitter"])
    resize = next((step for step in train if step["type"] in _RESIZES), {"type": "none"})
    scale = resize.get("scale")
    if resize["type"] not in ("Resize", "RandomResize") or not scale or isinstance(scale[0], list | tuple):
        raise InputError(f"scale_jitter: base config {base} resizes to no single size; set input_size too")
    kept = {key: value for key, value in resize.items() if key not in ("type", "ratio_range")}
    if spread:
        put(train, {"type": "RandomResize", **kept, "ratio_range": (1 / (1 + spread), 1 + spread)}, _RESIZES)
    else:
        put(train, {"type": "Resize", **kept}, _RESIZES)


def set_gamma(train: Pipeline, _test: Pipeline, settings: Mapping[str, Value]) -> None:
    """Random gamma: darker or brighter, black and white stay."""
    spread = float(settings["gamma"])
    remove(train, "BioMedicalRandomGamma")
    if spread:
        span = (1 / (1 + spread), 1 + spread)
        put(train, {"type": "BioMedicalRandomGamma", "prob": 0.5, "gamma_range": span})
