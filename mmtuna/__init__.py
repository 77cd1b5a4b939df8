"""Hyperparameter search for image segmentation: Optuna proposes, MMSegmentation trains, nothing is lost.

From Python (docs/python.md), every name loaded when it is first used:

    study = mmtuna.run("study.toml")                                       # what the commands do, as functions
    study.optimize(mmtuna.Objective("study.toml"), n_trials=20, n_jobs=2)  # or the plain way of Optuna
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmtuna.functions import (
        against,
        compare,
        export,
        leak,
        open_study,
        report,
        run,
        table2,
        trials,
        trials_dataframe,
    )
    from mmtuna.objective import Objective, TrialFailedError
    from mmtuna.search.errors import NotReadyError, StoppedError
    from mmtuna.spaces.errors import InputError
    from mmtuna.studies.spec import StudySpec

_HOMES = {
    "mmtuna.functions": (
        *("against", "compare", "export", "leak", "open_study", "report", "run", "table2"),
        *("trials", "trials_dataframe"),
    ),
    "mmtuna.objective": ("Objective", "TrialFailedError"),
    "mmtuna.search.errors": ("NotReadyError", "StoppedError"),
    "mmtuna.spaces.errors": ("InputError",),
    "mmtuna.studies.spec": ("StudySpec",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "InputError",
    "NotReadyError",
    "Objective",
    "StoppedError",
    "StudySpec",
    "TrialFailedError",
    "against",
    "compare",
    "export",
    "leak",
    "open_study",
    "report",
    "run",
    "table2",
    "trials",
    "trials_dataframe",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'mmtuna' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
