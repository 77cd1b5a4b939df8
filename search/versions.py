"""What is installed, and on what machine: what decides the results."""

from __future__ import annotations

import importlib.metadata
import os
import platform

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
