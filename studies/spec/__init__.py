"""The spec: what a person wrote in study.toml, checked.

Imports spaces alone.
"""

from mmtuna.studies.spec.study_spec import StudySpec

__all__ = ["StudySpec"]
