"""A Speed is chosen: a study's own net is trained for some seconds, each way beside the one that was best so far."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmtuna.objectives.speed.pace import fitting
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.spaces.speed import EXACT, Speed
from mmtuna.spaces.traces import scratch_folder

SECONDS = 25.0
"""How long the measurement takes at most, where nobody says less; what it has not come to by then stays as it is in
stock MMSegmentation."""
_STEPS, _LONGEST = 24, 60.0  # of a slow net it may take as long as so many iterations, but no more than these seconds
_GRACE = 60.0  # seconds for the start of the child, and the step that is under way when the time is over
_LEAST = 0.03  # a share of the time that must be saved, beyond the measurement's own noise
_PAIRS = 2, 40  # of steps, one each way: at least so many, and no more
_SHARE = 0.25  # of all the time that is left, for one comparison
_WARM = 2  # steps before anything counts
_HOPELESS = 1.5  # times as long for the last of these: it need not be measured
_DRAINED = 6  # batches that processes have loaded while nobody waited for them
_LOADING = 0.1  # of an iteration's time: where loading takes less, no processes are tried for it
_LOADERS = 2
_CORES_BESIDE = 3  # that a trial must have before it gets processes to load its images


class _TimeOverError(Exception):
    """The measurement has taken its time."""


def choose(
    cfg: Mapping[str, Any],
    named: Sequence[str],
    *,
    visible: str,
    threads: int,
    one_size: bool,
    heads: Path | None = None,
    seconds: float = SECONDS,
) -> Speed:
    """The way of training this config that is fastest here, found in a child process within half a minute.

    Args:
        named: settings and dotted keys that a person has named: what they say stays.
        visible: for CUDA_VISIBLE_DEVICES, "" for the CPU.
        threads: CPU threads of a trial.
        one_size: whether all validation images have one size, so that several can be evaluated at a time.
        heads: see TrialPlan.
        seconds: how long the measurement may take.

    InputError where the config cannot be trained at all.
    """
    with scratch_folder() as folder:
        arguments = (dict(cfg), list(named), threads, one_size, str(heads or ""), str(folder), seconds)
        found = call_in_child(_choose, *arguments, timeout=_LONGEST + _GRACE, visible=visible)
    return Speed.of(found)


def device_name(visible: str) -> str:
    """What trials on this device are compared by: the GPU's or the CPU's name, with what that can do with bf16."""
    if visible:
        name: str = call_in_child(_gpu_name, visible=visible)
        return name
    lines: list[str] = []
    with contextlib.suppress(OSError):  # not Linux
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    fields = [line.partition(":") for line in lines]
    name = next((value.strip() for key, _, value in fields if key.strip() == "model name"), "CPU")
    flags = next((value.split() for key, _, value in fields if key.strip() in ("flags", "Features")), [])
    can = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "bf16") if flag in flags]
    return ", ".join([name, *can])


def _gpu_name() -> str:
    import torch

    return torch.cuda.get_device_name(0)


def _choose(
    cfg: dict[str, Any], named: list[str], threads: int, one_size: bool, heads: str, folder: str, seconds: float
) -> dict[str, Any]:
    """In the child, which has torch: the Speed as it is kept."""
    import torch

    torch.set_num_threads(threads)
    began = time.monotonic()
    trying = _Trying(cfg, heads, folder)
    best, fastest = EXACT, trying.built(EXACT)
    longest = min(fastest.step() for _ in range(_WARM)) * _STEPS
    end = began + (seconds if seconds < SECONDS else min(_LONGEST, max(seconds, longest)))
    for candidate in _candidates(torch.cuda.is_available(), threads, one_size, cfg):
        speed = fitting(replace(best, **candidate), cfg, named)
        if speed == best:
            continue
        try:
            if "loader_workers" in candidate and fastest.share_of_loading() < _LOADING:
                continue
            other = trying.built(speed)
            if _is_faster(fastest, other, candidate, end):
                best, fastest = speed, other
        except _TimeOverError:
            break
        except Exception:  # whatever it is that this net or this device cannot do: trials are trained without it
            traceback.print_exc()
    return best.kept()


def _candidates(gpu: bool, threads: int, one_size: bool, cfg: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What is tried, each beside what was found before it; bf16 comes first, with which other things pay more."""
    if gpu or _multiplies_in_bf16():
        yield {"precision": "bf16"}
    if gpu:
        yield {"precision": "fp16"}
    yield {"channels_last": True}
    if not gpu:  # where they are always taken
        yield {"products": True}
    yield {"fused": True}
    if not cfg["train_dataloader"].get("num_workers") and threads >= _CORES_BESIDE:
        yield {"loader_workers": _LOADERS}
    if one_size:  # as much memory as training takes, or less: nothing is kept for a backward pass
        yield {"evaluation_batch": min(8, 2 * int(cfg["train_dataloader"]["batch_size"]))}


def _multiplies_in_bf16() -> bool:
    """Whether this CPU convolves in bf16 at least about as fast as in fp32: one that emulates it takes many times as
    long, and a whole net would take all of the time."""
    import torch

    def seconds(dtype: Any) -> float:
        image, kernel = torch.rand(1, 64, 48, 48, dtype=dtype), torch.rand(64, 64, 3, 3, dtype=dtype)
        found = []
        for _ in range(5):
            began = time.monotonic()
            torch.conv2d(image, kernel)
            found.append(time.monotonic() - began)
        return min(found)

    return seconds(torch.bfloat16) < _HOPELESS * seconds(torch.float32)


class _Trying:
    """Builds Runners of one config."""

    def __init__(self, cfg: dict[str, Any], heads: str, folder: str) -> None:
        self._cfg, self._heads, self._folder = cfg, heads, folder
        self._numbers = itertools.count()

    def built(self, speed: Speed) -> _Way:
        from mmtuna.objectives.config.allowed import imported
        from mmtuna.objectives.speed.heads import share_heads
        from mmtuna.objectives.trial.training import build_runner

        name = f"way{next(self._numbers)}"
        imports = imported(self._cfg)  # the base's own: the config was made from it just now
        runner = build_runner(self._cfg, imports, "the trial", speed, work_dir=self._folder, experiment_name=name)
        if self._heads:
            share_heads(runner, Path(self._heads))
        return _Way(runner, speed.products)


class _Way:
    """One way of training, which can be trained step by step."""

    def __init__(self, runner: Any, products: bool) -> None:
        import torch

        self._torch, self._runner, self._products = torch, runner, products
        self._batches = iter(runner.train_dataloader)
        self._wrapper = runner.build_optim_wrapper(runner.cfg.optim_wrapper)
        self._loading: list[float] = []
        self._images: Any = None
        runner.model.init_weights()

    def step(self) -> float:
        """Seconds of one iteration."""
        began = self._begin()
        batch = next(self._batches)
        self._loading.append(time.monotonic() - began)
        self._runner.model.train()
        self._runner.model.train_step(batch, optim_wrapper=self._wrapper)
        return self._now() - began

    def evaluate(self) -> float:
        """Seconds an image of one step of an evaluation."""
        if self._images is None:
            self._images = next(iter(self._runner.val_dataloader))
        self._runner.model.eval()
        began = self._begin()
        with self._torch.no_grad():
            self._runner.model.val_step(self._images)
        return (self._now() - began) / len(self._images["inputs"])

    def share_of_loading(self) -> float:
        """How much of an iteration's time goes by until its images are there."""
        steps = [self.step() for _ in range(_WARM)]
        return statistics.median(self._loading[-len(steps) :]) / statistics.median(steps)

    def _begin(self) -> float:
        from mmtuna.objectives.speed.kernels import use_products

        use_products(self._products)  # one for the whole process, and the other way had it last
        return self._now()

    def _now(self) -> float:
        if self._torch.cuda.is_available():
            self._torch.cuda.synchronize()
        return time.monotonic()


def _is_faster(one: _Way, other: _Way, candidate: Mapping[str, Any], end: float) -> bool:
    """Whether `other` saves more than 3 %, and more than what the measurement itself wavers by.

    _TimeOverError where the time was over before anything could be said.
    """
    evaluating, loading = "evaluation_batch" in candidate, "loader_workers" in candidate
    steps = [way.evaluate if evaluating else way.step for way in (one, other)]
    stop = time.monotonic() + (end - time.monotonic()) * _SHARE
    warm = [[_in_time(step, end) for _ in range(_WARM)][-1] for step in steps]
    if warm[1] > _HOPELESS * warm[0]:
        return False
    times: tuple[list[float], list[float]] = ([], [])
    for turn in itertools.count():
        # A B B A: what drifts is felt by both. Processes would load for one side while the other is at work.
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            for _ in range(_DRAINED if loading else 0):
                _in_time(steps[side], end)
            times[side].append(_in_time(steps[side], end))
        if turn + 1 >= _PAIRS[1] or (turn + 1 >= _PAIRS[0] and time.monotonic() > stop):
            break
    ratios = [b / a for a, b in zip(*times, strict=True)]
    quarters = statistics.quantiles(ratios, n=4)
    noise = (quarters[2] - quarters[0]) / len(ratios) ** 0.5
    return bool(statistics.median(times[1]) / statistics.median(times[0]) < 1 - max(_LEAST, noise))


def _in_time(step: Callable[[], float], end: float) -> float:
    if time.monotonic() > end:
        raise _TimeOverError
    return step()
