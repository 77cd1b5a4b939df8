"""Where a password may stand: each of the places that docs/distributed.md names, on a server that asks for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmtuna.search import cli
from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import open_storage
from mmtuna.studies.study import create_or_open
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


CANARY = "S3cret"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://a:{CANARY}",
        f"postgresql+psycopg:/a:{CANARY}@h/c",
        f"a:{CANARY}@h/c",
        f"postgresql:a:{CANARY}@h/c",
        f"postgresql+psycopg//a:{CANARY}@h/c",
        f"postgresql+psycopg://a:x@{CANARY}@127.0.0.1:1/c",
        f"postgresql+psycopg://a/{CANARY}@h/c",
        f"postgresql+psycopg://a:{CANARY}@127.0.0.1:port/c",
        f"postgresql+psycopg://a:{CANARY}@[::1/c",
        f"postgresql+psycopg://a@h/c&password={CANARY}",
        f"postgresql+psycopg://h/c?user=a?password={CANARY}",
        f"postgresql+psycopg://a:{CANARY}@h..i/c",
        f"postgresql://a:{CANARY}",
        f"mysql://a:x@{CANARY}@h/c",
        f" postgresql+psycopg://a:{CANARY}@h/c",
    ],
)
@pytest.mark.parametrize("place", ["MMTUNA_STORAGE", "[study] storage", "--to"])
def test_a_mistyped_url_is_refused_and_not_repeated(
    place: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("psycopg", reason="needs mmtuna[postgres]")
    spec = tmp_path / "study.toml"
    storage = f'storage = "{url}"' if place == "[study] storage" else ""
    spec.write_text(f'[study]\nname = "s"\n{storage}\n[data]\nroot = "."\n[space]\npreset = "paper"\n')
    if place == "MMTUNA_STORAGE":
        monkeypatch.setenv(place, url)
    if place == "--to":
        create_or_open(StudySpec.load(spec), {})
    command = ["copy", str(spec), "--to", url] if place == "--to" else ["status", str(spec)]
    monkeypatch.setattr(sys, "argv", ["mmtuna", *command])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capfd.readouterr()
    assert ended.value.code == 2
    assert CANARY not in said.out + said.err
    (line,) = said.err.splitlines()
    assert "cannot be read as a URL; write sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME" in line or (
        place == "--to" and line.startswith("mmtuna: --to ") and "a password on a command line" in line
    )
