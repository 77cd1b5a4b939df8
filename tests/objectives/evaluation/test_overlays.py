"""Pictures: every kind of pixel in its colour and texture; images chosen alike every time; masks as evaluated."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.deployment.contract import labelled_images
from mmtuna.objectives.deployment.predictions import predict_names
from mmtuna.objectives.deployment.verify import count
from mmtuna.objectives.evaluation import overlays
from mmtuna.objectives.evaluation.overlays import (
    CONFUSED,
    FALSE,
    MISSED,
    RIGHT,
    TRUTH,
    choose_images,
    compare,
    overlay,
    side_by_side,
)
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.spaces.errors import InputError

SIDE = 400
"""Pixels: large enough that nothing is enlarged."""


def grid(*areas: tuple[slice, slice, int]) -> NDArray[np.uint8]:
    array = np.zeros((SIDE, SIDE), np.uint8)
    for rows, columns, value in areas:
        array[rows, columns] = value
    return array


def near(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    return np.asarray((picture == np.asarray(colour)).all(axis=2))


SCAN = np.full((SIDE, SIDE), 120, np.uint8)
TALL = slice(50, 150)
LEFT, MIDDLE, RIGHT_THIRD = slice(50, 100), slice(100, 150), slice(150, 200)


def test_missed_false_and_right_pixels_are_told_apart_by_colour_and_texture() -> None:
    truth = grid((TALL, LEFT, 1), (TALL, MIDDLE, 1))
    prediction = grid((TALL, MIDDLE, 1), (TALL, RIGHT_THIRD, 1))
    picture = np.asarray(overlay(SCAN, truth, prediction))
    assert picture.shape == (SIDE, SIDE, 3)
    shares = {}
    for name, colour, columns in (("missed", MISSED, LEFT), ("false", FALSE, RIGHT_THIRD)):
        inside = near(picture[60:140, columns], colour)[:, 5:-5]
        shares[name] = inside.mean()
        assert not near(picture, colour)[:, :45].any()
    # A hatch and dots, not an area; the two are of different density and pattern.
    assert 0.25 < shares["missed"] < 0.5
    assert 0.15 < shares["false"] < 0.45
    untouched = picture[60:140, 105:145]
    assert (untouched == 120).all(), "right foreground keeps its grey"
    assert near(picture, RIGHT)[60:140, 100:102].all()
    assert near(picture, TRUTH)[60:140, 49].all(), "the truth's contour lies just outside it"
    assert (picture[300:] == 120).all()


def test_a_single_wrong_pixel_shows() -> None:
    truth, prediction = grid(), grid()
    prediction[201, 203] = 1
    assert tuple(np.asarray(overlay(SCAN, truth, prediction))[201, 203]) == FALSE


def test_one_foreground_class_taken_for_another_is_crossed_and_ignored_pixels_are_dark() -> None:
    truth = grid((TALL, LEFT, 1), (TALL, slice(300, 350), 9))
    prediction = grid((TALL, LEFT, 2), (TALL, slice(300, 350), 1))
    picture = np.asarray(overlay(SCAN, truth, prediction, ignore_index=9))
    assert 0.2 < near(picture, CONFUSED)[60:140, 55:95].mean() < 0.6
    assert (picture[60:140, 305:345] == 48).all()


def test_small_scans_are_enlarged_and_colour_scans_turned_grey() -> None:
    small = np.zeros((32, 64, 3), np.uint8)
    small[..., 0] = 200
    picture = np.asarray(overlay(small, np.zeros((32, 64), np.uint8), np.zeros((32, 64), np.uint8)))
    assert picture.shape == (192, 384, 3)
    assert (picture == picture[..., :1]).all()


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"scan \(400, 400\), truth \(400, 400\) and prediction \(4, 4\) differ in size"
    ):
        overlay(SCAN, grid(), np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="no image to compare"):
        compare([])


def test_panels_stand_side_by_side_with_captions_and_a_legend() -> None:
    truth = grid((TALL, LEFT, 1))
    row = side_by_side(SCAN, truth, grid(), title="img_7.png", palette=[[0, 0, 0], [230, 159, 0]])
    assert row.width > 4 * SIDE
    assert row.height > SIDE + 3 * overlays._CAPTION
    both = compare([("a", SCAN, truth, {"untuned": grid(), "tuned": truth}), ("b", SCAN, truth, {"untuned": truth})])
    assert both.width == row.width
    assert both.height > 2 * SIDE
    again = compare([("a", SCAN, truth, {"untuned": grid(), "tuned": truth}), ("b", SCAN, truth, {"untuned": truth})])
    assert both.tobytes() == again.tobytes()


# --- which images ---


def counted(right: int, predicted: int, labelled: int) -> dict[str, list[int]]:
    return {
        "intersect": [900, right],
        "predicted": [1000 - predicted, predicted],
        "labelled": [1000 - labelled, labelled],
    }


EVALUATION_OF_NINE = {
    "images": {
        **{f"{iou:02d}.png": counted(iou, iou, 100) for iou in (90, 10, 50, 30, 70, 20)},
        "clean.png": counted(0, 0, 0),
        "spotted.png": counted(0, 40, 0),
        "speckled.png": counted(0, 5, 0),
    }
}


def test_worst_median_best_and_images_without_fluid_are_chosen() -> None:
    chosen = choose_images(EVALUATION_OF_NINE, ("background", "fluid"), 6)
    assert chosen == ["10.png", "30.png", "50.png", "90.png", "spotted.png", "clean.png"]
    assert choose_images(EVALUATION_OF_NINE, ("background", "fluid"), 4) == [
        "10.png",
        "30.png",
        "90.png",
        "spotted.png",
    ]
    assert choose_images(EVALUATION_OF_NINE, ("background", "fluid"), 1) == ["10.png"]
    assert len(choose_images(EVALUATION_OF_NINE, ("background", "fluid"), 50)) == 9


def test_the_choice_does_not_depend_on_the_order_of_the_file() -> None:
    backwards = {"images": dict(reversed(EVALUATION_OF_NINE["images"].items()))}
    for limit in range(1, 10):
        chosen = choose_images(backwards, ("background", "fluid"), limit)
        assert chosen == choose_images(EVALUATION_OF_NINE, ("background", "fluid"), limit)
        assert len(chosen) == len(set(chosen)) == limit


def test_a_set_without_fluid_and_one_without_empty_images_fill_their_places() -> None:
    empty = {"images": {f"{n}.png": counted(0, n, 0) for n in range(5)}}
    assert choose_images(empty, ("background", "fluid"), 3) == ["4.png", "2.png", "0.png"]
    full = {"images": {f"{n}.png": counted(n, n, 9) for n in range(5)}}
    assert choose_images(full, ("background", "fluid"), 3) == ["0.png", "2.png", "4.png"]


# --- masks of single images ---


@pytest.fixture(scope="module")
def trial(train: Callable[..., Any], phantom: Dataset, tmp_path_factory: pytest.TempPathFactory) -> TrialFolder:
    return TrialFolder(train(tmp_path_factory.mktemp("study")).folder)


def test_predicted_masks_have_the_evaluations_counts(trial: TrialFolder) -> None:
    evaluation = trial.read_evaluation()
    names = list(evaluation["images"])[:2]
    masks = predict_names(trial, names, trial.last)
    assert list(masks) == names
    assert sorted(path.name for path in trial.predictions.iterdir()) == sorted(names)
    truths = {entry.name: entry.truth() for entry in labelled_images(trial.read_config())}
    for name, path in masks.items():
        with Image.open(path) as mask:
            assert mask.mode == "L"
        found = count(path, truths[name], 2, 255)
        assert {key: list(value) for key, value in vars(found).items()} == evaluation["images"][name]

    predict_names(trial, names[:1], trial.last)
    assert [path.name for path in trial.predictions.iterdir()] == names[:1], "the former ones are replaced"


def test_unknown_names_and_missing_weights_change_nothing(trial: TrialFolder, tmp_path: Path) -> None:
    copied = TrialFolder(shutil.copytree(trial.path, tmp_path / "00007"))
    (name, *_) = copied.read_evaluation()["images"]
    shutil.rmtree(copied.predictions, ignore_errors=True)
    with pytest.raises(InputError, match=r"nobody\.png: does not validate in 00007; use names such as img_"):
        predict_names(copied, [name, "nobody.png"], copied.last)
    copied.last.unlink()
    with pytest.raises(InputError, match=r"last\.pth: no such file; only the best trials keep weights"):
        predict_names(copied, [name], copied.last)
    copied.config.unlink()
    with pytest.raises(InputError, match=r"config\.py: no such file"):
        predict_names(copied, [name], copied.last)
    assert not copied.predictions.exists()
