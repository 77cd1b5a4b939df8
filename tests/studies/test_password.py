"""Where a password may stand: each of the places that docs/distributed.md names, on a server that asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from spaces.errors import InputError
from studies.storage import open_storage
from tests.postgres import PASSWORD, PostgresServer


@pytest.fixture(autouse=True)
def _no_password_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_without_a_password_the_server_refuses(server: PostgresServer, database: str) -> None:
    with pytest.raises(InputError, match=r"does not open: .*no password supplied"):
        open_storage(server.url(database, with_password=False))


def test_a_wrong_password_is_not_repeated(server: PostgresServer, database: str) -> None:
    with pytest.raises(InputError, match="password authentication failed") as caught:
        open_storage(server.url(database).replace(PASSWORD, "wrong-canary"))
    assert "wrong-canary" not in str(caught.value)


def test_password_in_the_environment(server: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert open_storage(server.url(database, with_password=False)).get_all_studies() == []


def test_password_in_a_password_file(
    server: PostgresServer, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "passwords"
    file.write_text(f"127.0.0.1:{server.port}:{database}:mmtuna:{PASSWORD}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    assert open_storage(server.url(database, with_password=False)).get_all_studies() == []


def test_a_service_file(server: PostgresServer, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "services"
    file.write_text(
        f"[mmtuna]\nhost=127.0.0.1\nport={server.port}\nuser=mmtuna\ndbname={database}\npassword={PASSWORD}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    assert open_storage("postgresql+psycopg:///?service=mmtuna").get_all_studies() == []
