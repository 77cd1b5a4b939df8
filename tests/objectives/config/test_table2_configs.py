"""Every row of Table 2 at full size: built, started from a checkpoint file, trained for an iteration, evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mmtuna.objectives.config import load_base, read_config
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.phantom import write_phantom
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import Ending, TrialOrder
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.objectives.weights import compare_with_models, file_sha256, resolve_weights
from mmtuna.spaces.table2 import PRETRAINED_FILES, SEED, TABLE2, Row

REAL = Path(__file__).parents[3] / "../shared/data/duke-dme-256"


@dataclass
class FullSize:
    """Data, lists of four and two images, and a checkpoint of the right architecture and name."""

    dataset: Dataset
    lists: tuple[Path, Path]
    weights: Path


@pytest.fixture(scope="module")
def full_size(
    tmp_path_factory: pytest.TempPathFactory,
    torch: ModuleType,
    fresh_weights: Callable[[dict[str, Any]], dict[str, Any]],
) -> FullSize:
    folder = tmp_path_factory.mktemp("full")
    if REAL.is_dir():
        dataset = Dataset.open(REAL.resolve(), classes=("background", "fluid"))
    else:
        dataset = write_phantom(folder / "phantom", subjects=2, scans=3, size=256)
    lists = (folder / "train.txt", folder / "val.txt")
    lists[0].write_text("\n".join(dataset.names[:4]) + "\n")
    lists[1].write_text("\n".join(dataset.names[4:6]) + "\n")
    empty = SegmentationObjective(base="unet", dataset=dataset, lists=lists, shapes={(256, 256)}, folder=folder)
    torch.manual_seed(3)
    state = fresh_weights(empty.config(TABLE2[0].settings, seed=0))
    torch.save({"meta": {}, "state_dict": state}, folder / "new.pth")
    stem = PRETRAINED_FILES["pspnet"].rsplit("-", 1)[0]
    weights = (folder / "new.pth").rename(folder / f"{stem}-{file_sha256(folder / 'new.pth')[:8]}.pth")
    return FullSize(dataset, lists, weights)


def test_the_checkpoint_is_accepted_for_every_row(full_size: FullSize, tmp_path: Path) -> None:
    base = load_base("unet", decoder="pspnet")
    path = resolve_weights(str(full_size.weights), base)
    assert path == full_size.weights
    objective = SegmentationObjective(
        base="unet", dataset=full_size.dataset, lists=full_size.lists, shapes={(256, 256)}, folder=tmp_path
    )
    # The rows differ in nothing that shapes the model.
    models = [objective.config(row.settings, seed=SEED)["model"] for row in TABLE2]
    for model in models:
        del model["data_preprocessor"], model["decode_head"]["loss_decode"], model["auxiliary_head"]["loss_decode"]
    assert all(model == models[0] for model in models)
    assert call_in_child(compare_with_models, path, {"": objective.config(TABLE2[5].settings, seed=SEED)}) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("row", TABLE2, ids=lambda row: f"row{row.number}")
def test_every_row_trains_at_full_size_from_a_checkpoint(
    full_size: FullSize, tmp_path: Path, row: Row, torch: ModuleType, listening: Any
) -> None:
    from mmtuna.objectives.trial.training import load_strictly

    objective = SegmentationObjective(
        base="unet",
        dataset=full_size.dataset,
        lists=full_size.lists,
        shapes={(256, 256)},
        folder=tmp_path,
        weights={"pspnet": full_size.weights},
    )
    params = {**row.settings, "iterations": 1, "evaluations": 1}
    outcome = objective.run(TrialOrder(number=row.number, params=params, seed=SEED, threads=2), listening())
    assert (outcome.ending, outcome.message) == (Ending.FINISHED, "")
    assert outcome.folder is not None
    assert set(outcome.curve[-1].metrics) >= {"mIoU", "mDice", "IoU.background", "IoU.fluid"}

    trained = read_config(outcome.folder / "config.py")
    full = objective.config(row.settings, SEED)
    for cfg in (trained, full):  # only the length differs
        del cfg["train_cfg"], cfg["default_hooks"]["checkpoint"]["interval"]
    assert trained == full
    assert trained["load_from"] == str(full_size.weights)
    assert f"Load checkpoint from {full_size.weights}" in (outcome.folder / "train.log").read_text()

    # One step from the checkpoint: near it, and no longer on it. Adam's first step is the learning rate, 0.01.
    before = torch.load(full_size.weights, weights_only=True)["state_dict"]
    after = load_strictly(outcome.folder / "last.pth", map_location="cpu")["state_dict"]
    name = "backbone.encoder.4.1.convs.1.conv.weight"
    step = (after[name] - before[name]).abs().max().item()
    assert 0 < step <= 0.0101
    assert before[name].abs().max().item() > 0.03
