"""Configs whose trials counted images, made up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmtuna.studies.certainty import Counted
from mmtuna.studies.results import TrialRow
from mmtuna.studies.statistics.measures import counts_table, measured

CLASSES = ("background", "fluid")
IMAGES = [f"{number:02d}.png" for number in range(16)]
METRIC = "mIoU"
Counts = dict[str, Any]


def counts(missed: float, rng: np.random.Generator) -> Counts:
    """16 images of 1,000 pixels, four of them without fluid; of the others the share `missed` is not found."""
    found = {}
    for place, name in enumerate(IMAGES):
        fluid = 0 if place % 4 == 3 else 100 + 10 * place
        lost = round(fluid * min(1.0, max(0.0, missed + rng.normal(0, 0.02)))) if fluid else 0
        found[name] = {
            "intersect": [1000 - fluid, fluid - lost],
            "predicted": [1000 - fluid + lost, fluid - lost],
            "labelled": [1000 - fluid, fluid],
        }
    return found


def study(missed: Sequence[Sequence[float]]) -> tuple[list[TrialRow], Counted]:
    """A config a sequence, a trial with the share of fluid that it misses each."""
    rng, rows, images = np.random.default_rng(0), [], {}
    for config, shares in enumerate(missed):
        for share in shares:
            number = len(rows)
            images[number] = counts(share, rng)
            found = measured(METRIC, counts_table([images[number]], IMAGES), CLASSES)
            assert found is not None
            (value,) = found.by_seed
            params, metrics = {"lr_adam": 0.001 * (config + 1)}, {METRIC: value}
            rows.append(TrialRow(number=number, state="COMPLETE", value=value, params=params, metrics=metrics))
    return rows, Counted(trials=images)
