from collections.abc import Callable
from pathlib import Path

import pytest

from studies.spec import StudySpec

SPEC = """
[study]
name = "s"
{study}
[data]
root = "data"
{data}
[space]
{space}
[train]
{train}
"""


@pytest.fixture
def spec_of(tmp_path: Path) -> Callable[..., StudySpec]:
    """A spec in a file of its own folder, with lines added to its tables."""

    def make(study: str = "", data: str = "", space: str = 'preset = "paper"', train: str = "") -> StudySpec:
        path = tmp_path / "study.toml"
        path.write_text(SPEC.format(study=study, data=data, space=space, train=train))
        return StudySpec.load(path)

    return make


@pytest.fixture(autouse=True)
def _no_storage_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMTUNA_STORAGE", raising=False)
