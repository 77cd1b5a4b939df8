"""What a trial's process is told at its start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmtuna.objectives.config.settings import TrialSettings
from mmtuna.objectives.evaluation.metrics import PLAIN, Measures
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.spaces.speed import EXACT, Speed


@dataclass(frozen=True, kw_only=True)
class TrialPlan:
    """One training in one process: what to train lies in the folder's config.py, the rest is here."""

    folder: TrialFolder
    """Holds config.py, and takes everything that the training leaves."""
    settings: TrialSettings
    """What the config was made from, to be found again in the Runner that is built from it."""
    metric: str
    """The study's metric; the evaluation at which it is best is kept as best.pth."""
    visible: str
    """For CUDA_VISIBLE_DEVICES: the GPU to train on, "" for the CPU."""
    threads: int
    """CPU threads of torch."""
    resume: bool = False
    """Whether to go on from last.pth, where there is one."""
    value: str = "last"
    """Which evaluation's masks are kept, "last" or "best"."""
    pictured: frozenset[str] = frozenset()
    """Validation images whose masks are kept, by name relative to the image folder, with suffix."""
    measures: Measures = PLAIN
    """How validation images are measured one at a time."""
    heads: Path | None = None
    """Folder in which the trials of this machine share what the heads of their data pipelines give; None for none."""
    speed: Speed = EXACT
    """What is done for speed beside what config.py says."""
    imports: tuple[str, ...] = ()
    """Modules of the person's own that the config may import; only with a base that they trust."""
