"""What a folder holds, for the tests that say that nothing was touched."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

_OF_A_DATABASE = ("-wal", "-shm", "-journal")


def rows_of(database: Path) -> list[str] | bytes:
    """Every row of the database, as the statement that would write it; its bytes where it is none."""
    try:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            return [line for line in connection.iterdump() if line.startswith("INSERT") and "version" not in line]
    except sqlite3.Error:
        return database.read_bytes() if database.is_file() else b""


def tree(folder: Path) -> dict[str, list[str] | bytes]:
    """Each file's bytes, and each database's rows.

    The bytes of a database are not what is in it: SQLite moves rows from the log beside it whenever a connection
    closes, one that Python collects late too.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith(_OF_A_DATABASE)]
    return {
        str(path.relative_to(folder)): rows_of(path) if path.suffix == ".db" else path.read_bytes() for path in files
    }
