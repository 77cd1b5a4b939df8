"""The least that trials of these configs could take: their net, loss and optimizer over one batch and one image.

Prints a list of seconds, one a config: its iterations, and its evaluations over all images. Usage: bare.py CONFIG...
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner

import mmtuna.objectives.trial.training  # noqa: F401  imports mmseg with its warnings kept quiet

REPEATED = 8


def seconds_of(path: str) -> float:
    """Seconds of a config's iterations and evaluations at the speed of the bare loop, with one thread."""
    cfg = Config.fromfile(path)
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        runner = Runner.from_cfg(cfg)
        batch = next(iter(runner.train_dataloader))
        images = Runner.build_dataloader(cfg.val_dataloader)
        optimizer = runner.build_optim_wrapper(cfg.optim_wrapper)
        runner.model.train()
        training = _once(lambda: runner.model.train_step(copy.deepcopy(batch), optimizer))
        image = next(iter(images))
        runner.model.eval()
        with torch.no_grad():
            evaluating = _once(lambda: runner.model.val_step(copy.deepcopy(image)))
    iterations, interval = cfg.train_cfg.max_iters, cfg.train_cfg.val_interval
    return iterations * training + -(-iterations // interval) * len(images) * evaluating


def _once(step: Callable[[], Any]) -> float:
    step()
    began = time.monotonic()
    for _ in range(REPEATED):
        step()
    return (time.monotonic() - began) / REPEATED


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps([seconds_of(path) for path in sys.argv[1:]]))
