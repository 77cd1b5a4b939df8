"""The least that trials of these configs could take: their net, loss and optimizer over one batch and one image.

Prints a list, one a config: `first` and `iteration`, seconds of the first iteration and of a later one, `image` (one of
an evaluation) and `seconds` of its iterations and evaluations over all images; of a GPU the `memory` that was reserved,
in MiB, and its dearest `kernels`, in ms an iteration. On the GPU that this process may use, else on the CPU with one
thread.
Usage: bare.py [--speed JSON] CONFIG...   JSON being a Speed as trials keep it: what mmtuna's trials do beside stock
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmtuna.objectives.trial.training import build_runner, prepare_process, read_config  # isort: skip  keeps mmseg quiet
from mmtuna.objectives.config.allowed import imported
from mmtuna.objectives.devices import choose_device
from mmtuna.spaces.speed import Speed

REPEATED = 8


def bare(path: str, folder: str, speed: Speed | None) -> dict[str, Any]:
    """What is printed of a config."""
    cfg = Config.fromfile(path)
    cfg.work_dir = folder
    if speed is None:
        runner = Runner.from_cfg(cfg)
    else:
        plain = read_config(Path(path))
        runner = build_runner(plain, imported(plain), path, speed, work_dir=folder, experiment_name=Path(path).stem)
        cfg = runner.cfg  # with what the speed says of precision, optimizer and images at a time
    batch = next(iter(runner.train_dataloader))
    images = Runner.build_dataloader(cfg.val_dataloader)
    optimizer = runner.build_optim_wrapper(cfg.optim_wrapper)
    runner.model.train()

    def step() -> None:
        runner.model.train_step(copy.deepcopy(batch), optimizer)

    first, training = _timed(step)
    on_gpu = _on_gpu(step) if torch.cuda.is_available() else {}
    several = next(iter(images))
    runner.model.eval()
    with torch.no_grad():
        _, evaluating = _timed(lambda: runner.model.val_step(copy.deepcopy(several)))
    image = evaluating / len(several["inputs"])
    iterations, interval = cfg.train_cfg.max_iters, cfg.train_cfg.val_interval
    seconds = iterations * training + -(-iterations // interval) * len(images.dataset) * image
    return {"first": first, "iteration": training, "image": image, "seconds": seconds} | on_gpu


def _timed(step: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of the first, and of one of those behind it."""
    began = time.monotonic()
    step()
    _wait()
    first = time.monotonic() - began
    began = time.monotonic()
    for _ in range(REPEATED):
        step()
    _wait()
    return first, (time.monotonic() - began) / REPEATED


def _on_gpu(step: Callable[[], Any]) -> dict[str, Any]:
    """The GPU's memory and the five operators in which it spends most of an iteration."""
    with torch.profiler.profile() as profile:
        for _ in range(REPEATED):
            step()
        _wait()
    operators = [one for one in profile.key_averages() if one.key.startswith("aten::")]
    operators.sort(key=lambda one: -one.self_device_time_total)
    kernels = {one.key: round(one.self_device_time_total / 1000 / REPEATED, 2) for one in operators[:5]}
    return {"memory": torch.cuda.max_memory_reserved() >> 20, "kernels": kernels}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # a GPU is asked, and answers later


if __name__ == "__main__":
    paths, speed = sys.argv[1:], None
    if paths[0] == "--speed":
        speed, paths = Speed.of(json.loads(paths[1])), paths[2:]
        prepare_process(1, None)
    torch.set_num_threads(1)
    choose_device()
    with tempfile.TemporaryDirectory() as folder:  # one for all: MMEngine keeps the first visualizer of a name
        print(json.dumps([bare(path, folder, speed) for path in paths]))
