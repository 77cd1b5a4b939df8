"""README.md of a bundle: a model card (Mitchell et al. 2019) of what is known and what is not."""

from __future__ import annotations

from typing import Any

from mmtuna.spaces.metrics import units

_SCRIPT = ("predict.py", "masks for a folder of images; needs onnxruntime, Pillow and numpy")
_FILES = (
    _SCRIPT,
    ("model.onnx", "raw RGB values in, logits out, one fixed input size; normalisation inside"),
    ("config.py", "stock MMSegmentation config"),
    ("weights.pth", "weights for torch; loads with weights_only=True"),
    ("weights.safetensors", "the same weights without pickle"),
    ("bundle.json", "params, metrics, hashes, versions, input contract, parity, latency"),
)


def card(document: dict[str, Any]) -> str:
    """The model card of a complete bundle.json, as Markdown."""
    sections = (_use, _data, _measured, _limits, _params, _input, _contents)
    fold = f", fold {document['fold']}" if "fold" in document else ""
    title = f"# {document['study']}: trial {document['trial']}{fold}\n"
    return title + "".join(f"\n{section(document)}\n" for section in sections)


def _use(document: dict[str, Any]) -> str:
    classes = ", ".join(f"{index} {name}" for index, name in enumerate(document["output"]["classes"]))
    members = document.get("members", [])
    where = f"{members[0]}/" if members else ""
    together = f"""
This is one of {len(members)} nets: of each pixel the class whose probability (softmax of the logits) is highest on
average over all of them is taken.
"""
    return f"""Semantic segmentation of images into {len(document["output"]["classes"])} classes ({classes}).

    pip install onnxruntime pillow numpy
    python predict.py IMAGES_FOLDER OUT_FOLDER

{_in_mmsegmentation(document["input"]["rule"], where)}
{together if members else ""}
## Intended use

Research: to reproduce the figures below, to compare with other models, to segment images made like those it was
trained on. **Not a medical device.** It was not validated for diagnosis, treatment or any decision about a patient."""


def _in_mmsegmentation(rule: dict[str, Any], where: str) -> str:
    """The lines that give predict.py's mask; where images are read by a rule, what config.py loads are copies."""
    loaded = f'model = init_model("{where}config.py", "{where}weights.pth", device="cpu")'
    if rule["channels"] is None and rule["range"] is None:
        return f"""In MMSegmentation, without mmtuna:

    from mmseg.apis import inference_model, init_model
    {loaded}
    mask = inference_model(model, "image.png").pred_sem_seg.data[0]"""
    return f"""In MMSegmentation, without mmtuna. config.py takes 8-bit copies of the images; of the files themselves it
would make other masks. predict.py reads these as the copies were made; MMSegmentation wants their channels as BGR.

    import json
    from pathlib import Path
    from mmseg.apis import inference_model, init_model
    from predict import read_image
    rule = json.loads(Path("bundle.json").read_text())["input"]["rule"]
    {loaded}
    image = read_image(Path("image.tif"), rule)[..., ::-1]
    mask = inference_model(model, image).pred_sem_seg.data[0]"""


def _data(document: dict[str, Any]) -> str:
    prints = document["fingerprints"]
    split, data = prints.get("split", {}), prints.get("data", {})
    kind = split.get("kind", "unknown")
    lines = ["## Data", ""]
    if "members" in document:
        nets = f"{len(document['members'])} nets, each trained on the images of all folds but its own"
        lines.append(f"- {nets}; split {kind}.")
    elif "fold" in document:
        lines.append(f"- Trained on the images of all folds but number {document['fold']}; split {kind}.")
    else:
        trained = "training and validation images together" if document["retrained"] else "the training images"
        sizes = f"{_n(split, 'train')} training and {_n(split, 'val')} validation images"
        if "folds" in split:  # the counts are those of the first
            images = split.get("train", 0) + split.get("val", 0)
            sizes = f"{images or 'unknown'} images, each of which validates once in {split['folds']} folds"
        lines.append(f"- Trained on {trained}; split {kind}: {sizes}.")
    lines.append(
        f"- sha256 of the data {data.get('sha256', 'unknown')}, of the split {split.get('sha256', 'unknown')}."
    )
    weights = prints.get("weights") or {}
    names = sorted({name for key, name in weights.items() if not key.endswith(".sha256")})
    lines.append(
        f"- Started from {', '.join(names)}, unless the params say none." if names else "- Started from random weights."
    )
    return "\n".join(lines)


def _measured(document: dict[str, Any]) -> str:
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in document["metrics"].items())
    which = "last" if document["value_of"] == "last" else "best"
    lines = ["## How it was measured", "", f"| metric ({units(document['metrics'])}) | value |", "|---|---|", rows, ""]
    if document["retrained"]:
        lines.append(
            "**These are the figures of the trial before retraining**, measured on validation images that it had not "
            "been trained on. The weights in this bundle were then trained anew, with the same params and seed, on "
            "training and validation images together: nothing is left to measure them on. Files and torch were "
            "compared, metrics were not."
        )
    elif "members" in document:
        parity = document["parity"]
        lines.append(
            "Each image counts once, segmented by the net that had not been trained on it, pixels of all images "
            "counted together. What the nets give together is not measured on these images: all nets but one were "
            "trained on each. Every net was held against its own figures (README.md of its folder), and the masks that "
            f"predict.py writes against torch's mean: {parity['pixels_differing']} of {parity['pixels']} pixels differ."
        )
    else:
        parity = document["parity"]
        apart = document["verified"]["metrics_max_difference"]
        lines.append(
            f"The {which} evaluation of the trial, on the validation images at their own size, pixels of all images "
            f"counted together; names that end in _per_image or _per_subject are means over images or subjects, "
            f"which were not compared. The masks that predict.py writes give the same pooled figures"
            f"{f' to within {apart:.1e}' if apart else ', exactly'}. ONNX and torch logits differ by at most "
            f"{parity['logits_max_difference']:.1e}, and their classes in {parity['pixels_differing']} of "
            f"{parity['pixels']} pixels."
        )
    lines += [
        "",
        "The validation images guided the search: of many trials this one was taken because it did well on them,",
        f"so the figures are optimistic. {_unseen(document)}",
    ]
    return "\n".join(lines)


def _unseen(document: dict[str, Any]) -> str:
    """What was measured on images that no trial had seen: the first look at them that was of this trial."""
    if not document.get("test"):
        return "Measure it on images that no trial has seen before you rely on it."
    look, metric = document["test"][0], document["metric"]
    span = look["intervals"].get(metric)
    interval = f" (95 % interval {span[0]:.4f} to {span[1]:.4f})" if span else ""
    figure = f"{look['figures'][metric]:.4f}" if metric in look["figures"] else "no value"
    when = "the first look at them" if look["look"] == 1 else f"look {look['look']} at them, so it may have been chosen"
    before = " before it was retrained" if document["retrained"] else ""
    return f"On {look['images']} images that no trial had seen it reached {metric} {figure}{interval}{before}: {when}."


def _limits(document: dict[str, Any]) -> str:
    sizes = ", ".join(dict.fromkeys(f"{model['height']} x {model['width']}" for model in document["models"]))
    trained = "A training of each fold" if "members" in document else "One training"
    return f"""## Limits

- Other scanners, other diseases, other image shapes or preprocessing: unknown, expect worse.
- Input sizes of the models: {sizes} (height x width); images of other shapes are padded to fit one, or made smaller
  where none is large enough, and predict.py says so.
- Every pixel gets a class; nothing says how sure the model is, nor that an image is unlike its training data.
- {trained} with seed {document["seed"]}; another seed gives other figures."""


def _params(document: dict[str, Any]) -> str:
    rows = "\n".join(f"| {name} | {value} |" for name, value in document["params"].items())
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    return f"## Params\n\n| param | value |\n|---|---|\n{rows}\n\nVersions: {versions}."


def _input(document: dict[str, Any]) -> str:
    given, latency = document["input"], document["latency"]
    nets = "all models" if "members" in document else "the model"
    resize, pad = given["resize"], given["pad"]
    steps = [_reading(given["rule"])]
    if resize:
        how = "to fit, aspect ratio kept" if resize["keep_ratio"] else "to exactly that"
        size = f"{resize['scale'][0]} x {resize['scale'][1]} (width x height)"
        steps.append(f"resized to {size}, {how}; {resize['method']}")
    steps.append(f"as float32 `{given['name']}` of 1 x 3 x height x width, values 0 to 255, not normalised")
    if pad:
        rule = f"sides that are multiples of {pad['size_divisor']}" if "size_divisor" in pad else f"{pad['size']}"
        steps.append(f"padded right and below to {rule}, with the pixel {[round(v, 3) for v in given['pad_pixel']]}")
    if given["mode"] == "slide":
        window, stride = (" x ".join(map(str, given[key])) for key in ("window", "stride"))
        steps.append(
            f"cut into windows of {window}, every {stride} pixels, the last moved back inside; logits averaged"
        )
    joined = "softmax, the mean over all nets, " if "members" in document else ""
    steps.append(f"logits resized to the image's size, {joined}then argmax")
    listed = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1))
    return (
        f"## Input\n\nWhat predict.py does, for your own code:\n\n{listed}\n\n"
        f"On {latency['cores']} CPU cores ({latency['processor']}): {latency['model_ms']:g} ms a pass of {nets}, "
        f"{latency['image_ms']:g} ms an image (median of {latency['runs']})."
    )


def _reading(rule: dict[str, Any]) -> str:
    taken = "" if rule["channels"] is None else f"channels {', '.join(map(str, rule['channels']))} (from 0) taken, "
    if rule["range"] is None:
        return f"read as RGB, 8 bits a channel, {taken}turned as EXIF asks"
    low, high = rule["range"]
    bits = f" of {rule['bits']} bits" if rule.get("bits") else ""
    return (
        f"read with the file's own values{bits}, {taken}turned as EXIF asks; {low:g} and below become 0, {high:g} and "
        "above 255, between them linearly, halves rounded upwards"
    )


def _contents(document: dict[str, Any]) -> str:
    if "members" in document:
        nets = [(f"{name}/", "one of the nets, a bundle by itself") for name in document["members"]]
        return "## Files\n\n" + "\n".join(_listed(_SCRIPT, _FILES[-1], *nets))
    lines = _listed(*_FILES)
    sides = [side for model in document["models"] for side in model["side_files"]]
    if len(document["models"]) > 1:
        lines.append("- `model_HEIGHTxWIDTH.onnx`: the same network for the other input sizes")
    if sides:
        lines.append(f"- {', '.join(f'`{side}`' for side in sides)}: weights of the model; keep beside it")
    return "## Files\n\n" + "\n".join(lines)


def _listed(*files: tuple[str, str]) -> list[str]:
    return [f"- `{name}`: {text}" for name, text in files]


def _n(split: dict[str, Any], side: str) -> str:
    value = split.get(side)
    return str(value) if isinstance(value, int) else "an unknown number of"
