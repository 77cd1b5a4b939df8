"""Names of the metrics, as the literature has them, and what they say in words.

Names follow MMSegmentation where pixels of all images are counted together (pooled), and Metrics Reloaded (Maier-Hein
et al. 2024) for what is measured an image at a time and averaged: IoU, Dice, sensitivity, specificity, NSD, HD95.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

SENSITIVITY, SPECIFICITY = "sensitivity_per_image", "specificity_per_image"
NSD, HD95 = "NSD_per_image", "HD95_per_image"
BOTH_EMPTY = {"left_out": None, "1": 1.0, "0": 0.0}
"""By what the spec says: what an image without foreground in truth and prediction counts; None leaves it out."""
COUNTS = ("intersect", "predicted", "labelled")
"""What is counted of a class: pixels found rightly, pixels found, pixels that are its."""
PER_SUBJECT = ("IoU_per_subject", "Dice_per_subject")

_POOLED = "from pixel counts summed over all validation images"
_MEANINGS = {
    "mIoU": f"the intersection over union, averaged over the classes, {_POOLED}",
    "mDice": f"the Dice coefficient, averaged over the classes, {_POOLED}",
    "IoU_per_image": "the intersection over union of the foreground in each image, averaged over the images",
    "Dice_per_image": "the Dice coefficient of the foreground in each image, averaged over the images",
    "IoU_per_subject": "the intersection over union of all of a subject's foreground, averaged over subjects",
    "Dice_per_subject": "the Dice coefficient of all of a subject's foreground, averaged over subjects",
    SENSITIVITY: "the share of the images with foreground in which some was found",
    SPECIFICITY: "the share of the images without foreground in which none was found",
    NSD: "the normalised surface Dice of the foreground in each image, averaged over the images",
    HD95: "the 95th percentile of the Hausdorff distance of the foreground in each image, in pixels, averaged",
}


def is_pooled(name: str) -> bool:
    """Whether a metric is a function of the pixels of all images counted together."""
    return not name.endswith(("_per_image", "_per_subject"))


def maximised(classes: Sequence[str]) -> list[str]:
    """The metrics that a study of these classes can maximise: fractions, 0 to 1, of which more is better."""
    per_class = [f"{kind}.{name}" for kind in ("IoU", "Dice") for name in classes]
    return ["mIoU", "mDice", *per_class, *(name for name in _MEANINGS if not is_pooled(name) and name != HD95)]


def units(names: Collection[str]) -> str:
    """Of what size figures of these names are: all from 0 to 1, but a distance."""
    return "0 to 1" + (f"; {HD95} in pixels" if HD95 in names else "")


def figure_text(name: str, value: float) -> str:
    """`mIoU 0.7130`; `HD95_per_image 74.0520 pixels`."""
    return f"{name} {value:.4f}{unit(name)}"


def unit(name: str) -> str:
    """What stands behind a figure of this name; nothing behind a fraction."""
    return " pixels" if name == HD95 else ""


def meaning(name: str) -> str:
    """What a metric is, in words; of IoU.CLASS and Dice.CLASS too."""
    kind, _, of = name.partition(".")
    what = "Dice coefficient" if kind == "Dice" else "intersection over union"
    return _MEANINGS.get(name, f"the {what} of the class {of}, {_POOLED}")
