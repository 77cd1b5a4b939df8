"""Inside the trial's process: MMEngine's Runner on one config, with hooks that report and obey.

The fork server imports this module, so it imports torch and mmseg at the top and does no tensor work. Everything
here talks to the worker through a `Channel` and knows neither Optuna nor a database.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import io
import math
import os
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mmtuna.objectives.devices import VARIABLE, choose_device
from mmtuna.objectives.insides import cuda_untouched

with (
    warnings.catch_warnings(),
    contextlib.redirect_stdout(io.StringIO()),
    contextlib.redirect_stderr(io.StringIO()),
    cuda_untouched(),
):
    # mmcv without compiled operators warns at import about models that are not ours.
    warnings.simplefilter("ignore")
    import cv2
    import mmseg.datasets
    import mmseg.engine
    import mmseg.evaluation
    import mmseg.models
    import mmseg.visualization  # noqa: F401
    import torch
    from mmengine.config import Config
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

    from mmtuna.objectives.evaluation.counting import counting_metric

from mmtuna.objectives.config import read_config
from mmtuna.objectives.config.initial import take_out
from mmtuna.objectives.outcome import Cause
from mmtuna.objectives.speed.heads import share_heads
from mmtuna.objectives.speed.kernels import replace_kernels
from mmtuna.objectives.speed.pace import set_in_config, set_in_model
from mmtuna.objectives.speed.replacements import replace_in_stock
from mmtuna.objectives.trial.causes import TrainingFailure, name_cause
from mmtuna.objectives.trial.closing import close_process
from mmtuna.objectives.trial.closing import load_strictly as load_strictly  # others take it from here
from mmtuna.objectives.trial.loader_deaths import error_of
from mmtuna.objectives.trial.open_files import allow_all_open_files
from mmtuna.objectives.trial.plan import TrialPlan
from mmtuna.objectives.trial.readback import check_initial_weights, check_readback
from mmtuna.objectives.trial.registered import admit
from mmtuna.objectives.trial.resuming import KEY, random_state, remembered, restore_before_the_next_batch
from mmtuna.spaces.files import whole_file
from mmtuna.spaces.speed import EXACT, Speed

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


class Channel(Protocol):
    """The way to the worker."""

    def tell(self, kind: str, **content: Any) -> None:
        """Sends a message."""

    def ask(self, kind: str, **content: Any) -> bool:
        """Sends a message and waits for the answer: True means stop."""

    def interrupted(self) -> bool:
        """Whether the worker has asked for a checkpoint and an end."""


class Interrupted(Exception):
    """The worker wants the training to end now; its checkpoint is written."""


class TrialHook(Hook):  # type: ignore[misc]
    """Reports progress and evaluations, keeps checkpoints, stops on NaN or when told to."""

    priority = "LOWEST"

    def __init__(self, channel: Channel, plan: TrialPlan, before: dict[str, Any] | None = None) -> None:
        self.channel, self.plan = channel, plan
        self.before = before
        self.curve: list[dict[str, Any]] = before["curve"] if before else []
        self.best = max((point["metrics"].get(plan.metric, -math.inf) for point in self.curve), default=-math.inf)
        self.started = self.told = time.monotonic()
        self.stopped = False

    def before_run(self, runner: Runner) -> None:  # noqa: ARG002
        self.channel.tell("alive")

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        check_initial_weights(runner, checkpoint.get("state_dict", checkpoint))

    def before_train(self, runner: Runner) -> None:
        if self.before:
            restore_before_the_next_batch(runner, self.before["random"])
        check_readback(runner, self.plan.settings, self.plan.speed, resumed=self.before is not None)
        if self.plan.heads is not None:
            share_heads(runner, self.plan.heads)
        metric = counting_metric(runner)
        metric.pictured, metric.measures = self.plan.pictured, self.plan.measures
        self.started = time.monotonic() - (self.before["seconds"] if self.before else 0.0)
        self.channel.tell("started", iterations=runner.max_iters)
        if self.before:
            self.stopped = self.channel.ask("resumed", curve=self.curve, seconds=self.before["seconds"])
            runner.train_loop.stop_training = self.stopped

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,  # noqa: ARG002
        outputs: dict[str, Any] | None = None,
    ) -> None:
        done, total = batch_idx + 1, runner.max_iters
        loss = (outputs or {}).get("loss", 0.0)
        loss = loss.item() if isinstance(loss, torch.Tensor) else float(loss)  # float() warns where it has a gradient
        if not math.isfinite(loss):
            raise TrainingFailure(Cause.DIVERGED, f"loss is {loss} at iteration {done}")
        now = time.monotonic()
        if now - self.told >= 0.5:
            self.told = now
            self.channel.tell("progressed", iteration=done, iterations=total, seconds=now - self.started)
        # Where an evaluation is due it comes first, so that no step of the curve is missing after the resume.
        evaluation_due = done == total or done % runner.train_loop.val_interval == 0
        if not evaluation_due and self.channel.interrupted():
            self._keep_last(runner, done)
            raise Interrupted

    def after_val_iter(
        self,
        runner: Runner,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
        data_batch: Any = None,  # noqa: ARG002
        outputs: Any = None,  # noqa: ARG002
    ) -> None:
        now = time.monotonic()
        if now - self.told >= 0.5:
            self.told = now
            self.channel.tell("alive")

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:  # noqa: ARG002
        metric = counting_metric(runner)
        figures = metric.figures()
        step = max(1, round(100 * runner.iter / runner.max_iters))
        seconds = time.monotonic() - self.started
        point = {"step": step, "iteration": runner.iter, "seconds": seconds, "metrics": figures}
        self.curve.append(point | metric.counted())
        folder = self.plan.folder
        improved = figures.get(self.plan.metric, math.nan) > self.best
        metric.write_evaluation(folder.evaluation, runner.iter)
        if improved:
            self.best = figures[self.plan.metric]
            _save(runner, folder.best, runner.iter, None)
        if improved or self.plan.value != "best":
            metric.write_masks(folder.predictions)
        self._keep_last(runner, runner.iter)  # last: it says that all of this evaluation is written
        self.stopped = self.channel.ask("evaluated", **self.curve[-1])
        if self.stopped:
            runner.train_loop.stop_training = True
        elif runner.iter < runner.max_iters and self.channel.interrupted():
            raise Interrupted

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        # EMAHook has put the averaged weights, which were evaluated, where weights stand. The last ones beside them are
        # for going on, and for nothing else.
        if "optimizer" not in checkpoint:
            checkpoint.pop("ema_state_dict", None)

    def _keep_last(self, runner: Runner, iteration: int) -> None:
        seconds = time.monotonic() - self.started
        resumable = {"random": random_state(), "curve": self.curve, "seconds": seconds}
        _save(runner, self.plan.folder.last, iteration, resumable)


def _save(runner: Runner, path: Path, iteration: int, resumable: dict[str, Any] | None) -> None:
    """A checkpoint after `iteration` iterations under `path`, whole or not at all.

    With optimizer, schedule and the values of `resumable` where it is to be resumed from, else weights alone.
    """
    meta = {"epoch": runner.epoch, "iter": iteration}  # by itself MMEngine counts one too many after an evaluation
    with whole_file(path) as part:
        runner.save_checkpoint(
            str(part.parent),
            part.name,
            save_optimizer=resumable is not None,
            save_param_scheduler=resumable is not None,
            meta=meta | ({KEY: resumable} if resumable else {}),
            by_epoch=False,
        )


def init_segmentor(cfg: dict[str, Any], checkpoint: Path, imports: Sequence[str], where: str) -> Any:
    """The segmentor of a trial's config with the weights of `checkpoint`, on the CPU, in evaluation mode."""
    from mmseg.apis import init_model

    take_out(cfg["model"])
    admit(cfg, where, imports)
    return init_model(Config(cfg), str(checkpoint), device="cpu")


def prepare_process(threads: int, visible: str | None = None) -> None:
    """Pins this process to its share of the CPU and, with `visible`, to a GPU; call before anything touches CUDA.

    `visible` is for CUDA_VISIBLE_DEVICES: "" for no GPU, None for what this process inherited.
    """
    if visible is not None:
        os.environ[VARIABLE] = visible
    choose_device()
    allow_all_open_files()
    _keep_freed_memory()
    torch.set_num_threads(threads)
    cv2.setNumThreads(0)
    close_process()
    replace_in_stock()
    replace_kernels()


def _keep_freed_memory() -> None:
    """glibc gives what an iteration has freed back to the system, and the next one takes it page by page again: 7 % of
    a small net's time on the CPU. The most that is in use at once stays as it was."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # musl has none
            libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
            libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def train(plan: TrialPlan, channel: Channel) -> None:
    """Trains `plan` and reports through `channel`; a failure is reported, not raised."""
    error = error_of(lambda: _train(plan, channel))
    if isinstance(error, Interrupted):
        channel.tell("interrupted")
    elif error is not None:
        import traceback

        with contextlib.suppress(OSError):  # the log may lie on the disk that is full
            traceback.print_exception(error)  # into the trial's log
        cause, message = name_cause(error)
        channel.tell("failed", cause=cause, message=message)


def _train(plan: TrialPlan, channel: Channel) -> None:
    prepare_process(plan.threads, plan.visible)
    _require_gpu(plan.visible)
    channel.tell("alive")
    before = remembered(plan.folder.last, load_strictly) if plan.resume else None
    runner = _runner_of(plan, resume=before is not None)
    channel.tell("alive")
    hook = TrialHook(channel, plan, before)
    runner.register_hook(hook)
    runner.train()
    channel.tell("finished", stopped=hook.stopped)


def _require_gpu(visible: str) -> None:
    """A net that is meant for a GPU must not be trained on the CPU in silence, for weeks."""
    if visible and not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        raise TrainingFailure(
            Cause.ERROR,
            f"torch {torch.__version__}, built for {built}, cannot use GPU {visible}; update the driver, or install "
            "another torch",
        )


def build_runner(
    cfg: Mapping[str, Any], imports: Sequence[str], where: str, speed: Speed = EXACT, **own: str
) -> Runner:
    """The Runner of a stock config, evaluated by counts, with no hook that saves or draws.

    Args:
        imports: the modules of the person's own that the config may import.
        where: whose config it is, for messages.
        speed: what is done for speed beside the config.
        own: what is no part of a trial's config: work_dir, experiment_name.

    Raises InputError for names that are not registered.
    """
    admit(cfg, where, imports)
    built = copy.deepcopy({**cfg, **own})
    set_in_config(built, speed)
    # MMEngine writes it out at every start and with every checkpoint; yapf's layout took a sixth of a short trial.
    config = Config(built, format_python_code=False)
    config.val_evaluator.type = "CountingIoUMetric"
    config.default_hooks.checkpoint = None  # TrialHook saves under fixed names, whole or not at all
    config.default_hooks.pop("visualization", None)
    runner = Runner.from_cfg(config)
    set_in_model(runner.model, speed)
    return runner


def _runner_of(plan: TrialPlan, *, resume: bool) -> Runner:
    folder = plan.folder
    cfg = read_config(folder.config)
    if resume:
        cfg |= {"load_from": str(folder.last), "resume": True}
        take_out(cfg["model"])  # its own checkpoint holds all
    names = {"work_dir": str(folder.work), "experiment_name": folder.path.name}
    return build_runner(cfg, plan.imports, str(folder.config), plan.speed, **names)
