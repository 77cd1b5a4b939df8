"""The paper's Tables 1 and 2 as data: params, published figures, where each comes from, and where sources disagree.

Paper: X. Liu, Y. Zhu, "Transfer Learning for Domain Adaptation". Figures are fractions, 0 to 1. Sources: "paper" is
the printed table, "log" the authors' public notebooks (github.com/nogibjj/yj_xq_661_final_project).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mmtuna.spaces.parameter import Params, Value
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import DEFAULTS, NO_CROP

SEED = 0
"""The seed of every row (notebooks)."""

PRETRAINED_FILES: Mapping[str, str] = {
    "fcn": "fcn_unet_s5-d16_256x256_40k_hrf_20201223_173724-d89cf1ed.pth",
    "pspnet": "pspnet_unet_s5-d16_256x256_40k_hrf_20201227_181818-fdb7e29b.pth",
    "deeplabv3": "deeplabv3_unet_s5-d16_256x256_40k_hrf_20201226_094047-3a1fdf85.pth",
}
"""Weights trained on HRF fundus vessels, per decoder; the last eight digits open the file's sha256 (notebooks)."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of Table 2. `fluid_iou` comes from the log, None where no log exists; `note` names a disagreement."""

    number: int
    iterations: int
    crop: int | str
    flip: str
    loss: str
    optimizer: str
    weight_decay: float
    mdice: float
    miou: float
    fluid_iou: float | None
    note: str = ""

    @property
    def settings(self) -> Params:
        """All settings of this row: its own seven and the ones the paper fixed without saying."""
        own: dict[str, Value] = {
            "decoder": "pspnet",
            "iterations": self.iterations,
            "crop": self.crop,
            "flip": self.flip,
            "loss": self.loss,
            "optimizer": self.optimizer,
            "weight_decay": self.weight_decay,
        }
        return {**DEFAULTS, **own}

    def params(self, space: SearchSpace) -> Params:
        """This row as params of `space`; InputError where the space does not hold it."""
        return space.project(self.settings)

    @property
    def label(self) -> str:
        """What sets the row apart, in a few words: `400 it, crop 320, CE, SGD, 5e-4`."""
        loss = {"cross_entropy": "CE", "dice": "Dice", "focal": "Focal"}[self.loss]
        flip = "" if self.flip == "none" else f", flip {self.flip}"
        return f"{self.iterations} it, crop {self.crop}{flip}, {loss}, {self.optimizer}, {self.weight_decay:g}"


def _row(
    number: int,
    iterations: int,
    crop: int | str,
    flip: str,
    loss: str,
    optimizer: str,
    weight_decay: float,
    published: tuple[float, float, float | None],
    note: str = "",
) -> Row:
    mdice, miou, fluid_iou = published
    return Row(
        number=number,
        iterations=iterations,
        crop=crop,
        flip=flip,
        loss=loss,
        optimizer=optimizer,
        weight_decay=weight_decay,
        mdice=mdice,
        miou=miou,
        fluid_iou=fluid_iou,
        note=note,
    )


CE = "cross_entropy"
TABLE2: tuple[Row, ...] = (
    _row(1, 200, NO_CROP, "none", CE, "SGD", 5e-4, (0.7721, 0.6855, 0.3762)),
    _row(2, 400, NO_CROP, "none", CE, "SGD", 5e-4, (0.7173, 0.6371, 0.2799)),
    _row(3, 400, NO_CROP, "horizontal", CE, "SGD", 5e-4, (0.7040, 0.6263, 0.2585)),
    _row(4, 400, 192, "none", CE, "SGD", 5e-4, (0.6951, 0.6190, 0.2451)),
    _row(5, 400, 224, "none", CE, "SGD", 5e-4, (0.7106, 0.6299, 0.2715)),
    _row(6, 400, 320, "none", CE, "SGD", 5e-4, (0.8401, 0.7567, 0.5182)),
    _row(
        7,
        400,
        320,
        "none",
        "dice",
        "SGD",
        5e-4,
        (0.8395, 0.7560, 0.5166),
        "MMSeg's DiceLoss flattens all classes together and is nearly blind to a class of 1 % of the pixels",
    ),
    _row(8, 400, 320, "none", "focal", "SGD", 5e-4, (0.8280, 0.7429, 0.4909)),
    _row(
        9,
        400,
        320,
        "none",
        CE,
        "Adam",
        5e-4,
        (0.4981, 0.4963, 0.0),
        "never predicts fluid: lr 0.01 is far too high for Adam, so the row says nothing about Adam",
    ),
    _row(
        10,
        400,
        320,
        "none",
        CE,
        "SGD",
        1e-4,
        (0.8430, 0.7600, 0.5247),
        "the paper's best; weight decay 1e-4 in paper and notebook, 1e-5 in the README",
    ),
    _row(
        11,
        400,
        320,
        "none",
        CE,
        "SGD",
        1e-3,
        (0.8312, 0.7464, None),
        "its notebook ran 1e-4 again, with output identical to row 10; the printed figure has no log",
    ),
)
PUBLISHED_BEST = max(TABLE2, key=lambda row: row.miou)

TABLE1: Mapping[str, float] = {"pspnet": 0.0022, "fcn": 0.0008, "deeplabv3": 0.0016}
"""Table 1 per decoder, without fine-tuning. Printed as mIoU; the notebooks compute the foreground IoU of each of the
110 images, 0 where an image has no fluid and none is predicted, and average."""

DISCREPANCIES: tuple[str, ...] = (
    "Best row's weight decay: 0.0001 in the paper and the notebook, 0.00001 in the README; 0.0001 is used.",
    "The row with weight decay 0.001 has no log: its notebook ran 0.0001 again.",
    "Table 1 is not mIoU but the mean foreground IoU per image over all 110 images.",
    "The split is by image: nine of the ten subjects stand on both sides.",
    (
        "One run a row: runs of one MMSegmentation config differ by 0.7 to over 2 points of mIoU between seeds, so "
        "rows that differ by 0.3 cannot be ranked."
    ),
)
