"""Inside the trial's process: MMEngine's Runner on one config, with hooks that report and obey.

The fork server imports this module, so it imports torch and mmseg at the top and does no tensor work. Everything
here talks to the worker through a `Channel` and knows neither Optuna nor a database.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    # mmcv without compiled operators warns at import about models that are not ours.
    warnings.simplefilter("ignore")
    import cv2
    import mmengine.runner.checkpoint as mmengine_checkpoint
    import mmseg.datasets
    import mmseg.engine
    import mmseg.evaluation
    import mmseg.models
    import mmseg.visualization  # noqa: F401
    import torch
    from mmengine.config import Config
    from mmengine.hooks import Hook
    from mmengine.runner import Runner
    from mmengine.utils import import_modules_from_strings
    from mmseg.evaluation import IoUMetric
    from mmseg.registry import METRICS

from objectives.config import read_config
from objectives.evaluation import Counts, metrics, total
from objectives.files import write_json_whole
from objectives.focal import repair_focal_loss
from objectives.outcome import Cause
from objectives.readback import MismatchError, check_readback
from objectives.trial_files import BEST, CONFIG, EVALUATION, LAST


class Channel(Protocol):
    """The way to the worker."""

    def tell(self, kind: str, **content: Any) -> None:
        """Sends a message."""

    def ask(self, kind: str, **content: Any) -> bool:
        """Sends a message and waits for the answer: True means stop."""


class TrainingFailure(Exception):
    """A named cause that ends a training; the message is for people."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@METRICS.register_module()
class CountingIoUMetric(IoUMetric):  # type: ignore[misc]
    """IoUMetric that keeps the counts of every image beside what it prints."""

    images: dict[str, Counts]

    def process(self, data_batch: dict[str, Any], data_samples: list[dict[str, Any]]) -> None:
        super().process(data_batch, data_samples)
        if not self.results or len(self.results) == len(data_samples):
            self.images = {}
        for sample, (intersect, _, predicted, labelled) in zip(
            data_samples, self.results[-len(data_samples) :], strict=True
        ):
            self.images[str(sample["img_path"])] = Counts(
                intersect=_integers(intersect), predicted=_integers(predicted), labelled=_integers(labelled)
            )


def _integers(histogram: torch.Tensor) -> tuple[int, ...]:
    return tuple(int(count) for count in histogram.tolist())


class TrialHook(Hook):  # type: ignore[misc]
    """Reports progress and evaluations, keeps checkpoints, stops on NaN or when told to."""

    priority = "LOWEST"

    def __init__(self, channel: Channel, plan: dict[str, Any]) -> None:
        self.channel, self.plan = channel, plan
        self.folder = Path(plan["folder"])
        self.metric: str = plan["metric"]
        self.best = -math.inf
        self.started = self.told = time.monotonic()
        self.stopped = False

    def before_train(self, runner: Runner) -> None:
        check_readback(runner, self.plan["settings"])
        self.started = time.monotonic()
        self.channel.tell("started", iterations=runner.max_iters)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,  # noqa: ARG002
        outputs: dict[str, Any] | None = None,
    ) -> None:
        loss = float((outputs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise TrainingFailure(Cause.DIVERGED, f"loss is {loss} at iteration {batch_idx + 1}")
        now = time.monotonic()
        if now - self.told >= 0.5:
            self.told = now
            self.channel.tell(
                "progressed", iteration=batch_idx + 1, iterations=runner.max_iters, seconds=now - self.started
            )

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:  # noqa: ARG002
        images = runner.val_loop.evaluator.metrics[0].images
        figures = _figures(images, runner)
        value = figures.get(self.metric, math.nan)
        _save(runner, self.folder / LAST, resumable=True)
        if value > self.best:
            self.best = value
            _save(runner, self.folder / BEST, resumable=False)
        step = max(1, round(100 * runner.iter / runner.max_iters))
        top = Path(runner.val_dataloader.dataset.data_prefix["img_path"])
        counts = {Path(path).relative_to(top).as_posix(): vars(count) for path, count in images.items()}
        write_json_whole(self.folder / EVALUATION, {"iteration": runner.iter, "metrics": figures, "images": counts})
        self.stopped = self.channel.ask(
            "evaluated", step=step, iteration=runner.iter, seconds=time.monotonic() - self.started, metrics=figures
        )
        if self.stopped:
            runner.train_loop.stop_training = True


def _figures(images: dict[str, Counts], runner: Runner) -> dict[str, float]:
    return metrics(total(images.values()), runner.val_dataloader.dataset.metainfo["classes"])


def _save(runner: Runner, path: Path, *, resumable: bool) -> None:
    """A checkpoint under `path`, whole or not at all; without optimizer and schedule where it is not to resume."""
    aside = f".{path.name}.{os.getpid()}"
    try:
        runner.save_checkpoint(
            str(path.parent),
            aside,
            save_optimizer=resumable,
            save_param_scheduler=resumable,
            meta={"epoch": runner.epoch, "iter": runner.iter},  # by itself it would count one iteration too many
            by_epoch=False,
        )
        os.replace(path.parent / aside, path)
    finally:
        (path.parent / aside).unlink(missing_ok=True)


def load_strictly(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:  # noqa: ARG001
    """torch.load with weights_only=True and no way back: MMEngine's own loader falls back to running the pickle."""
    with torch.serialization.safe_globals(mmengine_checkpoint.get_torch_safe_globals()):
        return torch.load(file, map_location=map_location, weights_only=True)


def prepare_process(device: str, threads: int) -> None:
    """Pins this process to its device and its share of the CPU. Call before anything touches CUDA."""
    os.environ["CUDA_VISIBLE_DEVICES"] = device.removeprefix("cuda:") if device.startswith("cuda:") else ""
    torch.set_num_threads(threads)
    cv2.setNumThreads(0)
    mmengine_checkpoint._safe_torch_load = load_strictly
    repair_focal_loss()


def train(plan: dict[str, Any], channel: Channel) -> None:
    """Trains the config.py in the plan's folder and reports through `channel`; a failure is reported, not raised.

    `plan`: folder, metric, device, threads, settings (effective, to be read back from the built Runner).
    """
    try:
        prepare_process(plan["device"], plan["threads"])
        runner = _build_runner(plan)
        hook = TrialHook(channel, plan)
        runner.register_hook(hook)
        runner.train()
        channel.tell("finished", stopped=hook.stopped)
    except Exception as error:
        import traceback

        traceback.print_exc()  # into the trial's log
        cause, message = name_cause(error)
        channel.tell("failed", cause=cause, message=message)


def import_custom_modules(cfg: Mapping[str, Any]) -> None:
    """Imports what the config's custom_imports name; only a base config that the person trusts has them."""
    if cfg.get("custom_imports"):
        import_modules_from_strings(**cfg["custom_imports"])


def _build_runner(plan: dict[str, Any]) -> Runner:
    folder = Path(plan["folder"])
    cfg = Config(read_config(folder / CONFIG))
    import_custom_modules(cfg)
    cfg.work_dir = str(folder / "work")
    cfg.experiment_name = folder.name
    cfg.val_evaluator.type = "CountingIoUMetric"
    cfg.default_hooks.checkpoint = None  # TrialHook saves under fixed names, whole or not at all
    cfg.default_hooks.pop("visualization", None)
    return Runner.from_cfg(cfg)


def name_cause(error: BaseException) -> tuple[Cause, str]:
    """The named cause behind an exception, and one line for people."""
    lines = str(error).strip().splitlines()
    message = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if isinstance(error, TrainingFailure):
        return error.cause, str(error)
    if isinstance(error, MismatchError):
        return Cause.MISMATCH, str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "not enough memory" in str(error):
        return Cause.OUT_OF_MEMORY, message
    if isinstance(error, OSError) and error.errno in (28, 122):  # ENOSPC, EDQUOT
        return Cause.DISK_FULL, message
    return Cause.ERROR, message
