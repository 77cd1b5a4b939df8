"""What the report says beyond the study itself: data, split, versions, machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studies.report import ReportFacts
    from studies.spec import StudySpec

PACKAGES = (
    *("mmtuna", "optuna", "torch", "onedl-mmsegmentation", "onedl-mmengine", "onedl-mmcv"),
    *("numpy", "sqlalchemy", "plotly"),
)


def versions() -> dict[str, str]:
    """Installed versions of what decides the results."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str]:
    """Processor, cores and system of this machine; nothing that names it."""
    return {"system": platform.system(), "processor": platform.machine(), "cores": str(os.cpu_count())}


def gather_facts(spec: StudySpec) -> ReportFacts:
    """Facts of the spec's data and of this machine, as the study was begun on them."""
    raise NotImplementedError
