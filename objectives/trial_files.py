"""Where a trial keeps its files, which of them are here, and what a study's trials share. Names stand here alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmtuna.spaces.errors import InputError

CONFIG = "config.py"
LOG = "train.log"
LAST = "last.pth"
BEST = "best.pth"
EVALUATION = "evaluation.json"
PREDICTIONS = "predictions"
OVERLAYS = "overlays"
WORK = "work"
FOLD, COURSE = "fold-", "course.json"
CHECKPOINTS = (LAST, BEST)
MANIFEST, LISTS, COPIES, MASK_COPIES = "manifest.json", "splits", "images", "masks"
NEAR_DUPLICATES = "near-duplicates.png"


def trial_name(number: int) -> str:
    """The folder of trial `number`, relative to the study's."""
    return f"trials/{number:05d}"


@dataclass(frozen=True)
class TrialFolder:
    """The folder of one trial. Making one reads nothing: the properties say where a file lies if it is there."""

    path: Path

    @property
    def config(self) -> Path:
        """The stock config that is trained and exported."""
        return self.path / CONFIG

    @property
    def log(self) -> Path:
        """Everything that the training printed, of all attempts at the trial."""
        return self.path / LOG

    @property
    def last(self) -> Path:
        """Resumable checkpoint of the last evaluation: weights, optimizer, schedule, iteration."""
        return self.path / LAST

    @property
    def best(self) -> Path:
        """Weights of the evaluation with the best value of the study's metric."""
        return self.path / BEST

    @property
    def evaluation(self) -> Path:
        """The last evaluation: metrics, and the counts of every image."""
        return self.path / EVALUATION

    @property
    def predictions(self) -> Path:
        """Folder of the masks predicted for the study's pictured images."""
        return self.path / PREDICTIONS

    @property
    def overlays(self) -> Path:
        """Folder of the pictures of these predictions."""
        return self.path / OVERLAYS

    @property
    def work(self) -> Path:
        """MMEngine's own folder."""
        return self.path / WORK

    @property
    def course(self) -> Path:
        """The whole curve of a fold that was trained to its end, which is there once it was."""
        return self.path / COURSE

    def fold(self, number: int) -> TrialFolder:
        """The folder of fold `number`, from 1, of a trial that has several."""
        return TrialFolder(self.path / f"{FOLD}{number}")

    def folds(self) -> list[TrialFolder]:
        """The folds that are here, in their order; none of a trial that is one training."""
        return [TrialFolder(path) for path in sorted(self.path.glob(f"{FOLD}*"), key=lambda path: int(path.name[5:]))]

    def weights(self, value: str) -> Path:
        """The weights whose metrics are the trial's value, in a study of value "last" or "best"."""
        return {"last": self.last, "best": self.best}[value]

    def has_weights(self, value: str) -> bool:
        """Whether these weights are here; of most trials they are deleted once others are better."""
        return self.weights(value).is_file()

    def delete_checkpoints(self) -> None:
        """Deletes both checkpoints, and those of its folds, where they are there."""
        for folder in (self, *self.folds()):
            for name in CHECKPOINTS:
                (folder.path / name).unlink(missing_ok=True)

    def mask(self, image: str) -> Path:
        """The predicted mask of a validation image, 8-bit PNG, by the image's name relative to the image folder."""
        return (self.predictions / image).with_suffix(".png")

    def masks(self, images: Iterable[str]) -> dict[str, Path]:
        """The masks that are here, by those of the names `images` that they belong to."""
        return {name: path for name in images if (path := self.mask(name)).is_file()}

    def has_masks(self) -> bool:
        """Whether the trial was evaluated and kept masks, so that pictures can be drawn of it."""
        return self.predictions.is_dir() and self.evaluation.is_file()

    def pictures(self) -> list[Path]:
        """The overlays that are here, in the study's order of images."""
        return sorted(self.overlays.glob("*.png"))

    def read_evaluation(self) -> dict[str, Any]:
        """The last evaluation: `iteration`, `metrics` (fractions by name), `images` (name: pixel counts per class).

        InputError where there is none, or none that can be read.
        """
        try:
            found: dict[str, Any] = json.loads(self.evaluation.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{self.evaluation}: cannot be read ({reason}); a trial that was evaluated has it, take another, or "
                "train this one again"
            ) from None
        return found

    def images_with_masks(self) -> dict[str, Any]:
        """The pixel counts of the images that the trial kept a mask of, by name. InputError as of `read_evaluation`."""
        images = self.read_evaluation()["images"]
        return {name: images[name] for name in self.masks(images)}

    def read_config(self) -> dict[str, Any]:
        """The config as plain values; InputError where there is none, or it is no config of plain values."""
        from mmtuna.objectives.config import read_config

        if not self.config.is_file():
            raise InputError(f"{self.config}: no such file; put the study's folder back, or take another trial")
        try:
            return read_config(self.config)
        except (ValueError, SyntaxError):
            raise InputError(f"{self.config}: is no config of plain values; it was changed from outside") from None


@dataclass(frozen=True)
class StudyFolder:
    """The folder of a study: its trials' folders, and the files that they share."""

    path: Path

    @property
    def manifest(self) -> Path:
        """What every image file held when it was last read."""
        return self.path / MANIFEST

    @property
    def lists(self) -> tuple[Path, Path]:
        """The names of the training and of the validation images, one a line without suffix."""
        return self.path / LISTS / "train.txt", self.path / LISTS / "val.txt"

    @property
    def near_duplicates(self) -> Path:
        """Picture of the validation images that are most like a training image, where some are too much so."""
        return self.path / NEAR_DUPLICATES

    @property
    def copies(self) -> Path:
        """Folder of the 8-bit copies of images that configs name where the data set needs them."""
        return self.path / COPIES

    @property
    def mask_copies(self) -> Path:
        """Folder of the masks' copies, whose values are class indices, likewise."""
        return self.path / MASK_COPIES

    def lies_among(self, root: Path, places: Mapping[str, str]) -> tuple[str, Path] | None:
        """Which of the data's `places` below `root` the study would lie in, by its key, and that folder; None where in
        none, and where a place has a `*`."""
        folders = {key: (root / place).resolve() for key, place in places.items() if "*" not in place}
        return next((found for found in folders.items() if self.path.resolve().is_relative_to(found[1])), None)

    def trial(self, number: int) -> TrialFolder:
        """Where trial `number` keeps its files."""
        return TrialFolder(self.path / trial_name(number))

    @property
    def whole_list(self) -> Path:
        """The names of the images of all folds, one a line without suffix."""
        return self.path / LISTS / "all.txt"

    def fold_lists(self, number: int) -> tuple[Path, Path]:
        """`lists` of fold `number`, from 1."""
        folder = self.path / LISTS / f"{FOLD}{number}"
        return folder / "train.txt", folder / "val.txt"

    def shared(self) -> tuple[Path, ...]:
        """What all trials share, whether it is there or not."""
        return (self.manifest, *self.lists)
