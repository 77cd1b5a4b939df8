from collections.abc import Callable
from pathlib import Path

import pytest

from mmtuna.studies.files import bucket as s3_bucket
from mmtuna.studies.files.trial_store import TrialFiles
from mmtuna.studies.spec import StudySpec
from tests.postgres import PostgresServer
from tests.studies.stored_files import on_machine

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


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty storage, on SQLite and on Postgres."""
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("server")
        return server.url(request.getfixturevalue("database"))
    return f"sqlite:///{tmp_path}/new/folder/study.db"


@pytest.fixture
def stored_spec(spec_of: Callable[..., StudySpec], url: str, monkeypatch: pytest.MonkeyPatch) -> StudySpec:
    """A spec whose study lies in `url`."""
    monkeypatch.setenv("MMTUNA_STORAGE", url)
    return spec_of(space="[space.params.crop]\nchoices = [64, 96]")


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are not repeated by boto3, so that a cut connection is told at once. Comes before `location`."""
    monkeypatch.setattr(s3_bucket, "_TRIES", 1)


@pytest.fixture
def files(location: str, tmp_path: Path) -> TrialFiles:
    return on_machine(location, tmp_path / "a")
