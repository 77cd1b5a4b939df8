"""What is installed, and on what machine: what decides the results."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Mapping

from packaging.version import Version

PACKAGES = (
    *("mmtuna", "optuna", "torch", "onedl-mmsegmentation", "onedl-mmengine", "onedl-mmcv"),
    *("numpy", "sqlalchemy", "plotly"),
)
TESTED = {
    "onedl-mmcv": "2.3.6",
    "onedl-mmengine": "0.10.12",
    "onedl-mmsegmentation": "1.4.2",
    "optuna": "5.0.0",
    "optuna-dashboard": "0.21.0",
    "torch": "2.13.0",
}
"""The newest versions that the tests passed with, of the packages on whose insides mmtuna leans: constraints.txt's."""


def newer_than_tested(installed: Mapping[str, str] | None = None) -> list[str]:
    """A note on every package that is installed (by default: here) in a newer version than the tests passed with."""
    notes = []
    for name, tested in TESTED.items():
        found = (versions((name,)) if installed is None else installed).get(name)
        # A build of the same version, such as 2.13.0+cu130, is no newer one.
        if found is not None and Version(Version(found).public) > Version(tested):
            notes.append(
                f"{name} {found} is newer than {tested}, the newest that mmtuna's tests passed with; where something "
                f"is odd, pip install '{name}=={tested}'"
            )
    return notes


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Installed versions of what decides the results."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str]:
    """Processor, cores and system of this machine; nothing that names it."""
    return {"system": platform.system(), "processor": platform.machine(), "cores": str(os.cpu_count())}
