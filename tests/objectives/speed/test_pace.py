"""What is done for speed reaches training, stands in no config, and is chosen by measurement."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmtuna.objectives.config import TrialSettings
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import Ending, Outcome, TrialOrder
from mmtuna.objectives.probes import choosing
from mmtuna.objectives.probes.choosing import choose, device_name
from mmtuna.objectives.speed.pace import fitting
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.objectives.trial_files import CONFIG
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.speed import EXACT, Speed

MakeObjective = Callable[..., SegmentationObjective]
FAST = Speed(precision="bf16", channels_last=True, fused=True, products=True, loader_workers=1, evaluation_batch=3)
AUTO: Params = {"speed": "auto", "optimizer": "AdamW", "lr_adam": 0.001}


def folder_of(outcome: Outcome) -> Path:
    assert outcome.folder is not None
    return outcome.folder


def test_a_trial_does_what_was_chosen_and_its_config_does_not_say_so(
    objective: MakeObjective, tmp_path: Path, listening: Any
) -> None:
    order = TrialOrder(number=0, params={}, seed=0)
    fast = objective(tmp_path / "fast", fixed=AUTO, speeds={"cpu": FAST}).run(order, listening())
    assert (fast.ending, fast.message) == (Ending.FINISHED, "")
    assert fast.speed == FAST
    slow = objective(tmp_path / "slow", fixed=AUTO).run(order, listening())
    assert (slow.ending, slow.speed) == (Ending.FINISHED, EXACT)
    exact = objective(tmp_path / "exact", fixed={**AUTO, "speed": "exact"}).run(order, listening())
    assert (exact.ending, exact.speed) == (Ending.FINISHED, None)
    configs = {(folder_of(outcome) / CONFIG).read_text() for outcome in (fast, slow, exact)}
    assert len(configs) == 1
    assert slow.curve[-1].metrics == exact.curve[-1].metrics
    # In lower precision figures differ a little, and no more.
    assert fast.curve[-1].metrics["aAcc"] == pytest.approx(exact.curve[-1].metrics["aAcc"], abs=0.2)


def read_back(
    cfg: dict[str, Any], settings: TrialSettings, kept: dict[str, Any], built: dict[str, Any], work: str
) -> str:
    """In a child: what read-back says of a Runner that was built with `built` where the trial says `kept`."""
    from mmtuna.objectives.trial.readback import MismatchError, check_readback
    from mmtuna.objectives.trial.training import build_runner

    runner = build_runner(cfg, (), "the trial", Speed.of(built), work_dir=work, experiment_name=Path(work).name)
    runner._train_loop = runner.build_train_loop(runner.cfg.train_cfg)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    try:
        check_readback(runner, settings, Speed.of(kept))
    except MismatchError as error:
        return str(error)
    return ""


ALL = replace(FAST, cudnn_benchmark=True)


@pytest.mark.parametrize("name", ALL.kept())
def test_what_did_not_reach_training_is_told_by_name(objective: MakeObjective, tmp_path: Path, name: str) -> None:
    ours = objective(tmp_path, fixed=AUTO)
    cfg, settings = ours.config({"env_cfg.cudnn_benchmark": False}, seed=0), ours.settings({})
    kept = ALL.kept()
    built = {other: value for other, value in kept.items() if other != name}
    assert call_in_child(read_back, cfg, settings, kept, kept, str(tmp_path / "all")) == ""
    said = call_in_child(read_back, cfg, settings, kept, built, str(tmp_path / "less"))
    assert said.startswith(f"{name} is ")
    assert said.endswith(f"in the Runner and {kept[name]!r} in the trial")


def test_what_a_person_names_and_a_base_does_otherwise_stays(objective: MakeObjective, tmp_path: Path) -> None:
    cfg = objective(tmp_path, fixed=AUTO).config({}, seed=0)
    assert fitting(FAST, cfg, ()) == FAST
    assert fitting(FAST, cfg, ("precision", "loader_workers")) == replace(FAST, precision="", loader_workers=0)
    assert cfg["env_cfg"][
        "cudnn_benchmark"
    ]  # by the base: a benchmark chooses by the clock, so only a person turns it on
    assert fitting(FAST, cfg, ("env_cfg.cudnn_benchmark",)) == ALL
    cfg["env_cfg"]["cudnn_benchmark"] = False
    assert fitting(FAST, cfg, ("env_cfg.cudnn_benchmark",)) == FAST
    cfg["optim_wrapper"] = {"type": "AmpOptimWrapper", "optimizer": {"type": "Adadelta", "lr": 1.0}}
    assert fitting(FAST, cfg, ()) == replace(FAST, precision="", fused=False)


def test_speed_is_chosen_by_training_for_some_seconds(objective: MakeObjective, tmp_path: Path) -> None:
    ours = objective(tmp_path, fixed=AUTO)
    began = time.monotonic()
    found = choose(ours.config({}, seed=0), list(AUTO), visible="", threads=1, one_size=True, seconds=8.0)
    assert time.monotonic() - began < 45  # its process starts first
    assert found.precision in ("", "bf16")
    if not {"avx512_bf16", "amx_bf16", "bf16"} & set(device_name("").split(", ")):
        assert found.precision == ""  # emulated: it takes several times as long
    assert (found.cudnn_benchmark, found.loader_workers) == (False, 0)
    assert found.evaluation_batch in (1, 4)


def test_what_cannot_be_trained_is_said_in_one_line(objective: MakeObjective, tmp_path: Path) -> None:
    cfg = objective(tmp_path).config({}, seed=0)
    cfg["train_dataloader"]["dataset"]["ann_file"] = str(tmp_path / "none.txt")
    with pytest.raises(InputError, match="_choose failed: "):
        choose(cfg, [], visible="", threads=1, one_size=True)


class Timed:
    """A way of training whose steps take what is written here."""

    def __init__(self, *seconds: float) -> None:
        self._seconds = itertools.cycle(seconds)

    def step(self) -> float:
        return next(self._seconds)


@pytest.mark.parametrize(
    ("one", "other", "faster"),
    [
        ((1.0,), (0.9,), True),
        ((1.0,), (0.98,), False),  # less than 3 %
        ((1.0,), (1.1,), False),
        ((1.0, 3.0, 0.4, 1.7, 0.2), (0.95, 0.3, 2.9, 0.3, 1.8), False),  # nothing can be said
    ],
)
def test_only_what_saves_more_than_the_noise_is_faster(
    one: tuple[float, ...], other: tuple[float, ...], faster: bool
) -> None:
    ways: tuple[Any, Any] = (Timed(*one), Timed(*other))
    assert choosing._is_faster(*ways, {"fused": True}, time.monotonic() + 60) is faster


def test_a_measurement_ends_where_its_time_is_over() -> None:
    ways: tuple[Any, Any] = (Timed(1.0), Timed(0.1))
    with pytest.raises(choosing._TimeOverError):
        choosing._is_faster(*ways, {"fused": True}, time.monotonic() - 1)


def test_a_device_has_a_name() -> None:
    assert device_name("") == device_name("")
    assert device_name("")
