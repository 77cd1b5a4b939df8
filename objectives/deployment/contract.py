"""What a config says about its input and output, as bundle.json states it and predict.py obeys it. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmtuna.objectives.data.dataset import IMAGE_SOURCE, MASK_SOURCE
from mmtuna.objectives.data.reading import reduced
from mmtuna.objectives.predict import COLOUR, Rule, model_size, stored
from mmtuna.objectives.prepared import mask_rule_from, original_mask, write_copy, write_mask_copy
from mmtuna.spaces.errors import InputError

Cfg = dict[str, Any]
_SKIPPED = ("LoadAnnotations", "PackSegInputs")
_EXIF_ORIENTATION = 274
MAX_MODELS = 8
"""A model has one fixed input size; a data set of more sizes than this is not exported."""


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """A validation image: its name with suffix, relative to the image folder, and its two files.

    `source` is what a person has: the image itself, or what it is an 8-bit copy of. `reduce_zero_label` says that 0 in
    the mask counts nowhere and class `i` is `i + 1`.
    """

    name: str
    image: Path
    mask: Path
    source: Path
    reduce_zero_label: bool = False

    def truth(self) -> NDArray[np.uint8]:
        """The mask's class indices, height x width, as training sees them."""
        with Image.open(self.mask) as image:
            return reduced(np.asarray(image).astype(np.uint8), self.reduce_zero_label)


def labelled_images(cfg: Cfg, loader: str = "val_dataloader") -> list[LabelledImage]:
    """The images of a loader in their order; InputError where the list or a file is gone.

    Copies of images and masks that are not there are made.
    """
    found = cfg[loader]["dataset"]
    root, prefix = Path(found["data_root"]), found["data_prefix"]
    images, masks = root / prefix["img_path"], root / prefix["seg_map_path"]
    source = cfg.get(IMAGE_SOURCE) or {"img_path": prefix["img_path"], "img_suffix": found["img_suffix"]}
    mask_source = cfg.get(MASK_SOURCE) or {}
    listed = Path(found["ann_file"])
    try:
        names = [line.strip() for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"{listed}: the list of images cannot be read ({error.strerror}); put the data back") from None
    entries = [
        LabelledImage(
            name=f"{name}{found['img_suffix']}",
            image=images / f"{name}{found['img_suffix']}",
            mask=masks / f"{name}{found['seg_map_suffix']}",
            source=root / source["img_path"] / f"{name}{source['img_suffix']}",
            reduce_zero_label=bool(found.get("reduce_zero_label", False)),
        )
        for name in names
    ]
    for name, entry in zip(names, entries, strict=True):
        lacking = IMAGE_SOURCE in cfg and entry.source.is_file() and not entry.image.is_file()
        # On a machine that looks on; a list from elsewhere must not have anything written outside.
        if lacking and entry.image.resolve().is_relative_to(images.resolve()):
            write_copy(entry.source, cfg[IMAGE_SOURCE], entry.image)
        if mask_source and not entry.mask.is_file() and entry.mask.resolve().is_relative_to(masks.resolve()):
            original = original_mask(root, mask_source, name)
            if original.is_file():
                write_mask_copy(original, mask_rule_from(mask_source), entry.mask)
        for path in (entry.image, entry.mask, entry.source):
            if not path.is_file():
                raise InputError(f"{path}: no such file, the trial was measured with it; put the data back")
    return entries


def ignore_index(cfg: Cfg) -> int:
    """The mask value that counts nowhere."""
    return int(cfg["val_evaluator"].get("ignore_index", 255))


def input_contract(cfg: Cfg) -> dict[str, Any]:
    """The input of bundle.json; InputError for a test pipeline or preprocessing that predict.py cannot do."""
    preprocessor, test = cfg["model"]["data_preprocessor"], cfg["model"]["test_cfg"]
    resize = _resize(cfg)
    mean, std = preprocessor.get("mean"), preprocessor.get("std")
    if not takes_rgb(cfg):  # the config's figures are in the order of its own channels
        mean, std = (None if v is None else list(reversed(v)) for v in (mean, std))
    mean, std = [float(v) for v in mean or (0, 0, 0)], [float(v) for v in std or (1, 1, 1)]
    fill = float(preprocessor.get("pad_val", 0))
    slides = test.get("mode", "whole") == "slide"
    source = cfg.get(IMAGE_SOURCE, {})
    return {
        "rule": {"channels": source.get("channels"), "range": source.get("range")},
        "name": "image",
        "layout": "1 x 3 x height x width",
        "dtype": "float32",
        "channels": "RGB",
        "range": [0, 255],
        "normalisation": "inside the model: (image - mean) / std per channel; give it raw values",
        "mean": mean,
        "std": std,
        "resize": resize,
        "pad": _pad(preprocessor),
        "pad_pixel": [fill * s + m for m, s in zip(mean, std, strict=True)],
        "mode": "slide" if slides else "whole",
        "window": list(test["crop_size"]) if slides else None,
        "stride": list(test["stride"]) if slides else None,
    }


def with_kind(rule: Rule, images: Sequence[LabelledImage]) -> Rule:
    """The rule of `input_contract` with the kind of file that it was made for: `bits`, and `colour` where it takes
    channels by number; None where the images differ.

    The validation images stand for all: `mmtuna check` refuses a mixed set. A rule that takes files as they are stays.
    """
    if rule["channels"] is None and rule["range"] is None:
        return rule
    found = [stored(image.source.read_bytes()) for image in images]
    kind = {"bits": _common({bits for bits, _ in found})}
    if rule["channels"] is not None:
        kind["colour"] = _common({count >= COLOUR for _, count in found})
    return {**rule, **kind}


def _common(values: set[Any]) -> Any:
    return values.pop() if len(values) == 1 else None


def takes_rgb(cfg: Cfg) -> bool:
    """Whether the network itself sees RGB: OpenCV reads BGR, and either flag of the preprocessor turns it round."""
    preprocessor = cfg["model"]["data_preprocessor"]
    return bool(preprocessor.get("bgr_to_rgb") or preprocessor.get("rgb_to_bgr"))


def output_contract(cfg: Cfg) -> dict[str, Any]:
    """The output of bundle.json; InputError for a head that is not one logit a class."""
    head = cfg["model"]["decode_head"]
    head = head[-1] if isinstance(head, list | tuple) else head
    meta = cfg["val_dataloader"]["dataset"]["metainfo"]
    if head.get("out_channels", head["num_classes"]) < 2:
        raise InputError("the decode head has one sigmoid channel; a bundle needs one logit a class: set num_classes")
    return {
        "name": "logits",
        "layout": "1 x classes x height x width, of the input's size",
        "mask": "resize the logits to the image's size (bilinear), then argmax over the classes",
        "align_corners": bool(head.get("align_corners", False)),
        "classes": list(meta["classes"]),
        "palette": [list(colour) for colour in meta["palette"]],
    }


def model_sizes(cfg: Cfg, contract: dict[str, Any]) -> list[tuple[int, int]]:
    """(height, width) of the model's input for every image of the data, the most frequent first.

    InputError where there are more than MAX_MODELS.
    """
    entries = [*labelled_images(cfg), *labelled_images(cfg, "train_dataloader")]
    sizes = Counter(model_size(contract, *image_size(entry.image)) for entry in entries)
    if len(sizes) > MAX_MODELS:
        raise InputError(
            f"the images need {len(sizes)} input sizes and an ONNX model has one, at most {MAX_MODELS} are exported; "
            'crop the data to fewer shapes, or search with [train] inference = "slide"'
        )
    return [size for size, _ in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))]


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) after the turn that EXIF asks for; only the header is read."""
    with Image.open(path) as image:
        turned = image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
        return (image.width, image.height) if turned else (image.height, image.width)


def _resize(cfg: Cfg) -> dict[str, Any] | None:
    rule: dict[str, Any] | None = None
    for step in cfg["test_pipeline"]:
        options = {key: value for key, value in step.items() if key != "type"}
        if step["type"] == "LoadImageFromFile" and not options:
            continue
        if step["type"] in _SKIPPED:
            continue
        if step["type"] == "Resize" and rule is None and set(options) <= {"scale", "keep_ratio"} and "scale" in options:
            scale = options["scale"]
            rule = {
                "scale": [scale, scale] if isinstance(scale, int) else list(scale),
                "keep_ratio": bool(options.get("keep_ratio", False)),
                "method": "cv2.resize INTER_LINEAR on 8-bit values, half-pixel centres, no smoothing",
            }
            continue
        raise InputError(
            f"test_pipeline has {step}, which predict.py cannot do; it knows LoadImageFromFile and one Resize to scale"
        )
    return rule


def _pad(preprocessor: Cfg) -> dict[str, Any] | None:
    test = preprocessor.get("test_cfg") or {}
    if test.get("size_divisor"):
        return {"size_divisor": int(test["size_divisor"])}
    return {"size": [int(test["size"][-2]), int(test["size"][-1])]} if test.get("size") else None
