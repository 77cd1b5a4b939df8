"""`mmtuna copy`: a study moved to another storage."""

from __future__ import annotations

from pathlib import Path

from mmtuna.search.quiet import quiet_optuna
from mmtuna.studies.copying import copy_study
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import hide_password


@quiet_optuna()
def copy(path: Path, to: str) -> None:
    """Copies the study and prints how many trials it has."""
    spec = StudySpec.load(path)
    print(f"{copy_study(spec.study, spec.resources, to)} trials copied to {hide_password(to)}")
