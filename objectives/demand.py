"""What a net asks of the machine that it is deployed on: counted and measured in a child, on the trial's device."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mmtuna.objectives.devices import kilobytes
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.limits import LATENCY, MEMORY, PARAMETERS

WARM_UP, RUNS = 2, 10
"""Images that are not timed, and those that are."""
_SECONDS = 20.0  # after which no further image is timed
_TRAINED_ONLY = "auxiliary_head"
_UNSHAPED = ("loss_decode", "init_cfg", "pretrained", "train_cfg", "test_cfg")
_UNFELT = ("loss_decode", "init_cfg", "pretrained", "train_cfg", _TRAINED_ONLY)


def architecture(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What of a trial's config its demand depends on: the net as it is deployed, and what becomes of an image."""
    return {"model": _without(_UNFELT, cfg["model"]), "pipeline": cfg["test_pipeline"]}


def shaping(model: Mapping[str, Any]) -> Any:
    """What of a config's model the names and shapes of its tensors depend on, and somewhat more."""
    return _without(_UNSHAPED, model)


def _without(keys: Collection[str], part: Any) -> Any:
    if isinstance(part, Mapping):
        return {key: _without(keys, value) for key, value in part.items() if key not in keys}
    return [_without(keys, value) for value in part] if isinstance(part, list | tuple) else part


def measure_demand(
    cfg: Mapping[str, Any], names: Collection[str], shape: tuple[int, int], *, visible: str, threads: int
) -> dict[str, float]:
    """What the net of a trial's config asks of those `names` that mmtuna.spaces.limits has; parameters always.

    Args:
        shape: (height, width) in pixels of the image that it is measured with.
        visible: for CUDA_VISIBLE_DEVICES, "" for the CPU.
        threads: CPU threads that it has.

    An image goes from its pixels to its mask as in MMSegmentation's `inference_model`, the sliding window included.
    Its time is the least of ten: others may train beside it. InputError for what cannot be measured.
    """
    found: dict[str, float] = call_in_child(_measure, dict(cfg), sorted(names), list(shape), threads, visible=visible)
    return found


def _measure(cfg: dict[str, Any], names: list[str], shape: list[int], threads: int) -> dict[str, float]:
    """In the child, which has torch."""
    import torch

    from mmtuna.objectives.trial.building import unfilled
    from mmtuna.objectives.trial.causes import name_cause
    from mmtuna.objectives.weights import build_model

    torch.set_num_threads(threads)
    try:
        if set(names) <= {PARAMETERS}:
            with unfilled():
                return {PARAMETERS: _count(build_model(cfg))}
        return _run(cfg, names, shape)
    except InputError:
        raise
    except Exception as error:  # whatever a net or a transform raises
        raise InputError(name_cause(error)[1]) from None


def _count(model: Any) -> int:
    """Parameters of the net that is deployed: auxiliary heads serve the training alone."""
    named = model.named_parameters()
    return sum(int(values.numel()) for name, values in named if not name.startswith(_TRAINED_ONLY))


def _run(cfg: dict[str, Any], names: list[str], shape: list[int]) -> dict[str, float]:
    import numpy as np
    import torch
    from mmengine.config import Config
    from mmseg.apis import inference_model

    from mmtuna.objectives.weights import build_model

    peak = _peak_memory() if MEMORY in names else None
    model = build_model(cfg)
    count = _count(model)
    if hasattr(model, _TRAINED_ONLY):
        delattr(model, _TRAINED_ONLY)
    model.cfg = Config(cfg)
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    times: list[float] = []
    began = time.monotonic()
    for _ in range(WARM_UP + RUNS):
        start = time.perf_counter()
        inference_model(model, image).pred_sem_seg.data.cpu()
        times.append(time.perf_counter() - start)
        if time.monotonic() - began > _SECONDS and len(times) > WARM_UP:
            break
    found: dict[str, float] = {PARAMETERS: count}
    if LATENCY in names:
        found[LATENCY] = 1000 * min(times[WARM_UP:])
    if peak is not None:
        found[MEMORY] = peak() / 2**20
    return found


def _peak_memory() -> Any:
    """From now on counts; called, it says how many bytes were taken at most: of the GPU in use, else of the machine."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated
    status = Path("/proc/self/status")
    if sys.platform != "linux" or "VmHWM" not in kilobytes(status):
        raise InputError("this system does not say how much memory a process has taken; remove max_memory_mib")
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is what is taken now
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"the peak of memory cannot be reset here ({reason}); remove max_memory_mib") from None
    before = kilobytes(status)["VmRSS"]
    return lambda: kilobytes(status)["VmHWM"] - before
