"""One small phantom, trainings of a few seconds, and a watch that listens; torch stays in child processes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.phantom import write_phantom
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import Evaluation, Outcome, TrialOrder
from mmtuna.objectives.trial.fork_server import SERVER
from mmtuna.spaces.parameter import Value
from tests.processes import children_of

TINY: Mapping[str, Value] = {
    "decoder": "fcn",
    "base_channels": 4,
    "input_size": 64,
    "inference": "whole",
    "iterations": 4,
    "evaluations": 2,
    "lr_sgd": 0.05,
}
"""A UNet with a 16th of the channels on 64 x 64 pixels, trained for four iterations."""


def child_pid() -> int:
    """Process id of the one trial process that this test has running."""
    (pid,) = children_of(SERVER.pid or -1)
    return pid


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@dataclass
class Listener:
    """A watch that keeps what it hears. `on_evaluated`, `asked`, `taken`: stop, end, lost?"""

    on_evaluated: Callable[[Evaluation], bool] = lambda evaluation: False
    asked: Callable[[], bool] = lambda: False
    taken: Callable[[], bool] = lambda: False
    pids: set[int] = field(default_factory=set)
    heard: list[Evaluation] = field(default_factory=list)

    def evaluated(self, evaluation: Evaluation) -> bool:
        self.heard.append(evaluation)
        return self.on_evaluated(evaluation)

    def progressed(self, iteration: int, iterations: int, seconds: float) -> None:
        assert 0 < iteration <= iterations
        assert seconds >= 0

    def interrupted(self) -> bool:
        self.pids.update(children_of(SERVER.pid or -1))
        return self.asked()

    def lost(self) -> bool:
        return self.taken()


Train = Callable[..., Outcome]


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_phantom(tmp_path_factory.mktemp("data") / "phantom", subjects=4, scans=3, size=64)


@pytest.fixture(scope="session")
def lists(phantom: Dataset) -> tuple[Path, Path]:
    return phantom.root / "splits/train.txt", phantom.root / "splits/val.txt"


@pytest.fixture(scope="session")
def objective(phantom: Dataset, lists: tuple[Path, Path]) -> Callable[..., SegmentationObjective]:
    """Makes a SegmentationObjective on the phantom; keywords replace its fields, `fixed` is added to TINY."""

    def make(folder: Path, fixed: Mapping[str, Value] | None = None, **fields: Any) -> SegmentationObjective:
        known: dict[str, Any] = {"base": "unet", "dataset": phantom, "lists": lists, "shapes": {(64, 64)}}
        return SegmentationObjective(folder=folder, fixed={**TINY, **(fixed or {})}, **{**known, **fields})

    return make


@pytest.fixture(scope="session")
def train(objective: Callable[..., SegmentationObjective]) -> Train:
    """Trains one tiny trial: train(folder, params, listener=..., number=..., seed=..., FIELD OF THE OBJECTIVE=...)."""

    def run(
        folder: Path,
        params: Mapping[str, Value] | None = None,
        listener: Listener | None = None,
        number: int = 0,
        seed: int = 0,
        **fields: Any,
    ) -> Outcome:
        order = TrialOrder(number=number, params=dict(params or {}), seed=seed)
        return objective(folder, **fields).run(order, listener or Listener())

    return run


@pytest.fixture(scope="session")
def lively_weights(
    tmp_path_factory: pytest.TempPathFactory,
    torch: ModuleType,
    fresh_weights: Callable[[dict[str, Any]], dict[str, Any]],
    objective: Callable[..., SegmentationObjective],
) -> Callable[[str], Path]:
    """A checkpoint of the tiny model with a decoder that predicts both classes in patches, as `decoder: str -> file`.

    After a few iterations from random weights a net predicts one class, and all such nets have the same figures.
    """
    folder = tmp_path_factory.mktemp("lively")

    def make(decoder: str) -> Path:
        torch.manual_seed(11)
        state = fresh_weights(objective(folder).config({"decoder": decoder}, seed=0))
        state["decode_head.conv_seg.weight"] *= 100
        torch.save({"state_dict": state}, folder / f"{decoder}.pth")
        return folder / f"{decoder}.pth"

    return make


@pytest.fixture(scope="session")
def listening() -> type[Listener]:
    return Listener


@pytest.fixture(scope="session")
def trial_pid() -> Callable[[], int]:
    return child_pid


@pytest.fixture(scope="session")
def gone() -> Callable[[int], bool]:
    return is_gone


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """torch in this process, with mmseg's models registered, for tests of tensors and checkpoint files."""
    import mmtuna.objectives.trial.training  # noqa: F401  first: it silences what mmcv says at import

    import torch  # isort: skip

    torch.set_num_threads(1)
    return torch


@pytest.fixture(scope="session")
def fresh_weights(torch: ModuleType) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Random weights of the model in a config."""
    from mmengine.config import ConfigDict
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    def make(cfg: dict[str, Any]) -> dict[str, Any]:
        init_default_scope("mmseg")
        with warnings.catch_warnings():  # mmseg's advice on two classes and on the mean
            warnings.filterwarnings("ignore", "For binary segmentation|Default ``avg_non_ignore``", UserWarning)
            return dict(MODELS.build(ConfigDict(cfg["model"])).state_dict())

    return make
