"""What a trial's loaders give, in a few words; for a child, which has torch."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

COUNT = 7


def batches(cfg: dict[str, Any], heads: str, work: str) -> dict[str, Any]:
    """Digests of training batches and of all validation images, with the state of the generators after each side.

    `heads` is the folder of the shared heads, "" for stock's own loading; `shared` how many transforms they replace.
    """
    import numpy as np
    import torch

    from mmtuna.objectives.config.allowed import imported
    from mmtuna.objectives.speed.heads import SharedHead, share_heads
    from mmtuna.objectives.trial.training import build_runner

    runner = build_runner(cfg, imported(cfg), "the trial", work_dir=work, experiment_name=Path(work).name)
    if heads:
        share_heads(runner, Path(heads))
    sides = (runner.train_dataloader, runner.val_dataloader)
    firsts = [loader.dataset.pipeline.transforms[0] for loader in sides]
    found: dict[str, Any] = {"shared": [len(first.steps) for first in firsts if isinstance(first, SharedHead)]}
    for name, loader in zip(("train", "val"), sides, strict=True):
        iterator = iter(loader)
        said = [_digest(batch) for batch, _ in zip(iterator, range(COUNT), strict=False)]
        state = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # type: ignore[index]
        found[name] = [*said, hashlib.sha256(repr(state).encode()).hexdigest()]
    return found


def _digest(batch: Any) -> str:
    parts: list[object] = []
    for image, sample in zip(batch["inputs"], batch["data_samples"], strict=True):
        mask = sample.gt_sem_seg.data
        for tensor in (image, mask):
            parts += [tensor.dtype, tensor.shape, tensor.stride(), tensor.numpy().tobytes()]
        parts.append(sorted(sample.metainfo.items()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()
