"""One iteration and one small evaluation of configs: what trials of them would fail of at once."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmtuna.objectives.config import TrialSettings
from mmtuna.objectives.outcome import Cause
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.traces import scratch_folder

IMAGES = 2
"""Validation images that are looked at."""
_GRACE = 5.0  # seconds for the iteration that is under way when the time is over

Entry = tuple[Mapping[str, Any], TrialSettings]
"""A trial's config (mmtuna.objectives.config.build_config) and the settings that it was made from."""


def probe(entries: Sequence[Entry], visible: str, seconds: float) -> list[str | None]:
    """Of each entry trains one iteration, reads the settings back and evaluates two images, in a child process.

    Args:
        visible: for CUDA_VISIBLE_DEVICES, "" for the CPU.
        seconds: when they are over, what was not come to is left out.

    Returns for the first so many entries what went wrong, in one line, or None. A child that dies has done so of the
    entry at which it was; another one goes on.
    """
    deadline = time.monotonic() + seconds
    small = [(_small(cfg), settings) for cfg, settings in entries]
    found: list[str | None] = []
    while len(found) < len(small) and (left := deadline - time.monotonic()) > 0:
        with scratch_folder() as folder:
            told = folder / "told"
            died = None
            try:
                call_in_child(_probe, small[len(found) :], left, str(folder), timeout=left + _GRACE, visible=visible)
            except InputError as error:
                died = str(error)
            found += [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []
            if died is None or died.startswith("no answer in "):
                break
            found.append(died)
    return found


def _small(cfg: Mapping[str, Any]) -> dict[str, Any]:
    small = copy.deepcopy(dict(cfg))
    small["val_dataloader"]["dataset"]["indices"] = IMAGES
    for loader in ("train_dataloader", "val_dataloader"):
        small[loader] |= {"num_workers": 0, "persistent_workers": False}
    return small


def _probe(entries: list[tuple[dict[str, Any], TrialSettings]], seconds: float, folder: str) -> None:
    """In the child, which has torch: a line of JSON for each entry into the file `told` of `folder`."""
    from mmtuna.objectives.trial.causes import name_cause

    began = time.monotonic()
    for number, (cfg, settings) in enumerate(entries):
        if time.monotonic() - began > seconds:
            return
        said = None
        try:
            _train_once(cfg, settings, folder, f"probe{number}")
        except Exception as error:  # whatever a net, a transform or a loss raises
            said = name_cause(error)[1]
        with (Path(folder) / "told").open("a") as file:
            file.write(json.dumps(said) + "\n")


def _train_once(cfg: dict[str, Any], settings: TrialSettings, folder: str, name: str) -> None:
    import math

    from mmengine.hooks import Hook

    from mmtuna.objectives.config.allowed import imported
    from mmtuna.objectives.evaluation.counting import counting_metric
    from mmtuna.objectives.trial.causes import TrainingFailure
    from mmtuna.objectives.trial.readback import check_readback
    from mmtuna.objectives.trial.training import build_runner

    class OneIteration(Hook):  # type: ignore[misc]
        def before_train(self, runner: Any) -> None:
            check_readback(runner, settings)
            counting_metric(runner)  # tells the metric its image folder; a short training evaluates at iteration 1

        def after_train_iter(
            self,
            runner: Any,
            batch_idx: int,  # noqa: ARG002
            data_batch: Any = None,  # noqa: ARG002
            outputs: dict[str, Any] | None = None,
        ) -> None:
            loss = float((outputs or {}).get("loss", 0.0))
            if not math.isfinite(loss):
                raise TrainingFailure(Cause.DIVERGED, f"the loss of the first iteration is {loss}")
            runner.train_loop.stop_training = True

    # What it imports is the base's own: it was made from it just now.
    runner = build_runner(cfg, imported(cfg), "the trial", work_dir=folder, experiment_name=name)
    runner.register_hook(OneIteration(), priority="LOWEST")
    runner.train()
    runner.val_loop.run()
