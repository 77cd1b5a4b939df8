"""What a trial costs on a device: its seconds and its memory, measured in children that train for a moment."""

from __future__ import annotations

import contextlib
import copy
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from mmtuna.objectives.devices import free_of_machine, kilobytes
from mmtuna.objectives.probes.extent import Extent
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.traces import scratch_folder

WARM_UP = 2
"""Iterations that are not counted: libraries settle on how they compute, and memory is taken."""
IMAGES = 4
"""Validation images that are evaluated; the others are taken to cost what these do."""
_FAILED = "failed"
_ENOUGH = 30  # iterations, where one trial alone is measured
_LEAST = 3
_GRACE = 60.0  # seconds for building, and for the iteration or the image that is under way when the time is over
_CONTEXT = (256 << 20, 1 << 30)  # bytes of GPU memory that CUDA itself takes of a process, at least and at most


@dataclass(frozen=True, kw_only=True)
class TrialCost:
    """What one trial costs.

    Args:
        start: seconds before its first iteration.
        iteration: seconds an iteration, loading its images included.
        evaluation: seconds of evaluating all validation images and writing a checkpoint.
        memory: bytes that it takes at most: on a GPU of the GPU's, else of the machine's beyond what it shares with the
            process that it was forked from.
    """

    start: float
    iteration: float
    evaluation: float
    memory: int

    def seconds(self, extent: Extent) -> float:
        """Seconds of a whole trial that does so much."""
        return self.start + extent.iterations * self.iteration + extent.evaluations * self.evaluation


def measure(
    cfg: Mapping[str, Any], images: int, *, visible: str, threads: int = 1, beside: int = 1, seconds: float = 3.0
) -> tuple[TrialCost, ...]:
    """Trains a config for about so many seconds in `beside` children at the same time, and evaluates a few images.

    Args:
        cfg: a trial's complete config.
        images: how many validation images there are; the config's list may hold fewer.
        visible: for CUDA_VISIBLE_DEVICES, "" for the CPU.
        threads: CPU threads of each child.
        seconds: of counted iterations, which begin when all children have warmed up; three are counted at least, or
            those that the warm-up consists of where an iteration takes that long.

    Returns the cost of each child's trial. InputError, in one line, where one fails, or has no answer within a minute
    beyond twice the time.
    """
    small = _endless(cfg)
    failures: list[InputError] = []
    with scratch_folder() as folder, ThreadPoolExecutor(max_workers=beside) as pool:

        def one(number: int) -> TrialCost | None:
            own = folder / str(number)
            own.mkdir()
            arguments = (small, images, str(own), threads, beside, seconds)
            try:
                return TrialCost(**call_in_child(_measure, *arguments, timeout=2 * seconds + _GRACE, visible=visible))
            except InputError as error:
                failures.append(error)
                (folder / _FAILED).touch()  # the others wait for it, and fail of that
                return None

        found = [cost for cost in pool.map(one, range(beside)) if cost is not None]
    if failures:
        raise failures[0]
    return tuple(found)


def free_memory(visible: str) -> int | None:
    """Bytes that trials may still take: of the GPU that CUDA_VISIBLE_DEVICES = `visible` names, "" for the machine's
    own, of which a container may have less. None where the system does not say."""
    if visible:
        return int(call_in_child(_free_of_gpu, visible=visible))
    return free_of_machine()


def _free_of_gpu() -> int:
    import torch

    return int(torch.cuda.mem_get_info()[0])


def _endless(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a training that goes on until it is stopped, evaluates nothing meanwhile, and then a few images."""
    endless = copy.deepcopy(dict(cfg))
    endless["train_cfg"] |= {"max_iters": 10**9, "val_interval": 10**9}
    endless["val_dataloader"]["dataset"]["indices"] = IMAGES
    return endless


def _measure(
    cfg: dict[str, Any], images: int, folder: str, threads: int, beside: int, seconds: float
) -> dict[str, Any]:
    """In the child, which has torch."""
    from mmtuna.objectives.trial.causes import name_cause

    try:
        return asdict(_train_and_evaluate(cfg, images, Path(folder), threads, beside, seconds))
    except InputError:
        raise
    except Exception as error:  # whatever a net, a transform or a loss raises
        raise InputError(name_cause(error)[1]) from None


def _train_and_evaluate(
    cfg: dict[str, Any], images: int, folder: Path, threads: int, beside: int, seconds: float
) -> TrialCost:
    began = time.monotonic()
    import torch

    from mmtuna.objectives.config.allowed import imported
    from mmtuna.objectives.evaluation.counting import counting_metric
    from mmtuna.objectives.trial.training import build_runner

    torch.set_num_threads(threads)
    # What it imports is the base's own: it was made from it just now.
    runner = build_runner(cfg, imported(cfg), "the trial", work_dir=str(folder), experiment_name="measured")
    clock = _clock(folder, beside, seconds)
    runner.register_hook(clock, priority="LOWEST")
    runner.train()
    counting_metric(runner)  # tells the metric its image folder
    evaluated = time.monotonic()
    with contextlib.suppress(_Enough):
        runner.val_loop.run()
    evaluated = time.monotonic() - evaluated
    each = median(clock.images[1:] or clock.images)
    written = time.monotonic()
    runner.save_checkpoint(str(folder), "measured.pth", save_optimizer=True, save_param_scheduler=True, by_epoch=False)
    written = time.monotonic() - written
    return TrialCost(
        start=clock.first - began,
        iteration=median(clock.times[WARM_UP:] or clock.times[1:] or clock.times),
        evaluation=evaluated + max(0, images - len(clock.images)) * each + written,
        memory=_own_memory() + clock.memory,
    )


def _clock(folder: Path, beside: int, seconds: float) -> Any:
    """A hook of MMEngine, which only a child has, that takes the times."""
    from mmengine.hooks import Hook

    class Clock(Hook):  # type: ignore[misc]
        """Takes the times, and ends the training when there are enough of them, or an evaluation that takes long."""

        def __init__(self) -> None:
            self.first = self.last = self.counted_from = 0.0
            self.times: list[float] = []
            self.images: list[float] = []
            self.memory = 0

        def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:  # noqa: ARG002
            if not self.first:
                self.first = self.last = time.monotonic()

        def after_train_iter(
            self,
            runner: Any,
            batch_idx: int,  # noqa: ARG002
            data_batch: Any = None,  # noqa: ARG002
            outputs: dict[str, Any] | None = None,
        ) -> None:
            float((outputs or {}).get("loss", 0.0))  # as a trial does: waits for the GPU
            now = time.monotonic()
            self.times.append(now - self.last)
            warm = len(self.times) >= WARM_UP or now - self.first > seconds / 2
            if warm and not self.counted_from:
                self.memory = _loaders_memory()
                _wait_for_others(folder, beside, 2 * seconds + _GRACE)
                self.counted_from = now = time.monotonic()
            self.last = now
            counted = len(self.times) - WARM_UP
            over = self.counted_from and now - self.counted_from > seconds and counted >= _LEAST
            slow = sum(self.times) > 2 * seconds  # iterations of which three more would take too long
            if over or slow or (beside == 1 and counted >= _ENOUGH):
                runner.train_loop.stop_training = True

        def before_val(self, runner: Any) -> None:  # noqa: ARG002
            self.last = time.monotonic()

        def after_val_iter(
            self,
            runner: Any,  # noqa: ARG002
            batch_idx: int,  # noqa: ARG002
            data_batch: Any = None,  # noqa: ARG002
            outputs: Any = None,  # noqa: ARG002
        ) -> None:
            now = time.monotonic()
            self.images.append(now - self.last)
            self.last = now
            if sum(self.images) > seconds:
                raise _Enough

    return Clock()


class _Enough(Exception):
    """An evaluation that takes long is not needed to its end."""


def _wait_for_others(folder: Path, beside: int, seconds: float) -> None:
    """Until all children have come so far, so that what is counted is counted while all of them train."""
    (folder / "warm").touch()
    end = time.monotonic() + seconds
    while beside > 1 and len(list(folder.parent.glob("*/warm"))) < beside:
        if (folder.parent / _FAILED).exists() or time.monotonic() > end:
            raise InputError(f"one of {beside} trainings at the same time failed")
        time.sleep(0.01)


def _own_memory() -> int:
    """Bytes at most: of the GPU where this process uses one, else of the machine's that it shares with no other."""
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        # Others may use the GPU as well: what this process has of it beside its tensors is told by nobody.
        beyond = total - free - torch.cuda.memory_reserved()
        return torch.cuda.max_memory_reserved() + min(max(beyond, _CONTEXT[0]), _CONTEXT[1])
    status = kilobytes(Path("/proc/self/status"))
    private = _private_memory(Path("/proc/self/smaps_rollup"))
    if private is not None and "VmHWM" in status:
        return private + (status["VmHWM"] - status["VmRSS"])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _loaders_memory() -> int:
    """Bytes of the processes that load images for this one."""
    import multiprocessing

    found = [_private_memory(Path(f"/proc/{child.pid}/smaps_rollup")) for child in multiprocessing.active_children()]
    return sum(private or 0 for private in found)


def _private_memory(path: Path) -> int | None:
    """Bytes that a process shares with no other; None where the system does not say."""
    found = kilobytes(path)
    return found["Private_Clean"] + found["Private_Dirty"] if "Private_Dirty" in found else None
