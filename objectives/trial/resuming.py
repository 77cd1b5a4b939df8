"""Going on where a training stopped: random state and learning curve beside the weights, restored bit for bit.

MMEngine's checkpoint holds weights, optimizer, schedule and iteration. What it leaves out decides the next batch and
the next dropout mask. On the CPU, with images loaded in the training process, a training that is stopped and resumed
ends with the same weights as one that was not.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmtuna.objectives.insides import after_skipped_batches

KEY = "mmtuna"
"""Where our part stands in a checkpoint's meta."""


def random_state() -> dict[str, Any]:
    """State of Python's, NumPy's and torch's generators as plain values and tensors: loads with weights_only."""
    version, numbers, gauss = random.getstate()
    state: Any = np.random.get_state(legacy=True)  # a tuple; NumPy's types allow for its other form
    kind, keys, position, has_gauss, cached = state
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [str(kind), torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Puts back what `random_state` returned; GPUs that are not there are passed over."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])


def restore_before_the_next_batch(runner: Any, state: dict[str, Any]) -> None:
    """Restores the random state once the data loader has been moved to where it was.

    A loader draws a number when it starts, which it had done before the state was taken; and no hook lies between
    that and the next batch.
    """
    after_skipped_batches(runner, lambda: restore_random_state(state))


def remembered(checkpoint: Path, load: Any) -> dict[str, Any] | None:
    """Our part of a checkpoint, or None where there is no checkpoint that can be resumed from."""
    if not checkpoint.is_file():
        return None
    found: dict[str, Any] | None = load(checkpoint, map_location="cpu").get("meta", {}).get(KEY)
    return found
