"""What `check` says a validation side can show, against simulated studies and the masks themselves."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.evidence import effective_number, smallest_difference, what_val_shows
from mmtuna.objectives.data.manifest import inspect
from mmtuna.studies.statistics.measures import measured


@pytest.mark.parametrize("units", [6, 7, 8, 9, 10, 11, 12, 16, 22, 25, 26, 60])
def test_the_smallest_difference_is_found_four_times_in_five(units: int) -> None:
    rng = np.random.default_rng(4)
    drawn = rng.normal(smallest_difference(units), 1.0, (10_000, units))
    found = stats.wilcoxon(drawn, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.012)  # three deviations


def test_six_pairs_need_one_sign_alike() -> None:
    assert stats.norm.cdf(smallest_difference(6)) ** 6 == pytest.approx(0.8, abs=0.001)
    assert all(smallest_difference(units) > smallest_difference(units + 1) for units in range(6, 40))


def test_too_few_can_show_nothing() -> None:
    assert stats.wilcoxon(np.arange(1.0, 6.0)).pvalue > 0.05 > stats.wilcoxon(np.arange(1.0, 7.0)).pvalue
    assert math.isinf(smallest_difference(5))
    assert math.isfinite(smallest_difference(6))


def test_equal_amounts_weigh_as_many_as_there_are() -> None:
    assert effective_number([5, 5, 5]) == pytest.approx(3)
    assert effective_number([1, 1, 98]) == pytest.approx(1.04, abs=0.01)


def data(root: Path, subjects: str = "") -> Dataset:
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for place in range(16):
        mask = np.zeros((10, 10), np.uint8)
        mask[:, : (0 if place % 2 else 9 if place == 0 else 1)] = 1
        for folder in ("images", "masks"):
            Image.fromarray(mask).save(root / folder / f"{place:02d}.png")
    if subjects:
        lines = [f"{place:02d},{subjects[place % len(subjects)]}\n" for place in range(16)]
        (root / "subjects.csv").write_text("image,subject\n" + "".join(lines))
    return Dataset.open(root, classes=("background", "fluid"), subjects="subjects.csv" if subjects else None)


def test_a_note_says_what_the_side_can_show(tmp_path: Path) -> None:
    dataset = data(tmp_path)
    manifest = inspect(dataset).manifest
    (note,) = what_val_shows(dataset, dataset.names, manifest, "Dice_per_image")
    assert note == (
        "val: 8 of 16 images hold foreground, one of them 56 % of it: pooled figures weigh as 2.9 equal images would; "
        "a paired test over 8 images tells two configs apart four times in five whose mean difference is 1.25 "
        "deviations of the differences: 0.125 Dice where these deviate by 0.1; a verdict also needs more than "
        "seeds change"
    )
    assert what_val_shows(dataset, ["01", "03"], manifest, "mIoU") == []
    (note,) = what_val_shows(dataset, ["00", "02"], manifest, "mIoU")
    assert note.endswith("no paired test over 2 images can tell two configs apart; 6 are needed at least")


def test_subjects_are_the_pairs_where_they_are_known(tmp_path: Path) -> None:
    dataset = data(tmp_path, "aabb")
    (note,) = what_val_shows(dataset, dataset.names, inspect(dataset).manifest, "mIoU")
    assert note.endswith("no paired test over 2 subjects can tell two configs apart; 6 are needed at least")


@pytest.mark.parametrize(
    ("metric", "tells"),
    [
        ("mIoU", "a paired test over 10 images tells two configs apart"),
        ("Dice.fluid", "no paired test over 5 images can tell two configs apart"),
        ("Dice.background", "a paired test over 10 images tells two configs apart"),
        ("IoU_per_image", "no paired test over 5 images can tell two configs apart"),
    ],
)
def test_the_pairs_are_those_that_compare_makes(tmp_path: Path, metric: str, tells: str) -> None:
    dataset = data(tmp_path)
    val = dataset.names[:10]
    (note,) = what_val_shows(dataset, val, inspect(dataset).manifest, metric)
    assert "val: 5 of 10 images hold foreground, one of them 69 % of it: pooled figures weigh as 2.0" in note
    assert tells in note
    fluid = np.array([0 if place % 2 else 90 if place == 0 else 10 for place in range(10)], float)
    table = np.stack([np.stack([100 - fluid, fluid], axis=-1)] * 3, axis=1)[np.newaxis]  # right, predicted, labelled
    found = measured(metric, table, dataset.classes)
    assert found is not None
    assert f"over {np.isfinite(found.values).sum()} images" in note
