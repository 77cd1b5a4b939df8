"""Where a password might show: outputs, files, process titles, the server's log and its databases."""

from __future__ import annotations

import subprocess
import sys
import threading
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults.crew import ROOT, Site
from tests.postgres import PostgresServer


def say(site: Site, command: str, *arguments: str, **env: str) -> str:
    """What a command prints, whether it succeeds or not."""
    full = [sys.executable, "-m", "mmtuna", command, str(site.spec), *arguments]
    done = subprocess.run(full, env=site.env(**env), capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout + done.stderr


@contextmanager
def process_titles() -> Iterator[set[str]]:
    """The command lines of all processes that the machine has meanwhile, looked at ten times a second."""
    titles: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    titles.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield titles
    finally:
        ended.set()
        thread.join()


def places_of(
    secret: str,
    said: Collection[str],
    titles: Collection[str],
    folders: Collection[Path],
    server: PostgresServer,
    databases: Collection[str],
) -> dict[str, int]:
    """How often `secret` stands where; files are also looked into where they are archives, as checkpoints are."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {
        "in_outputs": sum(secret in text for text in said),
        "in_files": sum(holds(path, secret.encode()) for path in files),
        "in_titles": sum(secret in title for title in titles),
        "in_server_log": server.log.count(secret),
        "in_database": sum(_in_database(server, name, secret) for name in databases),
        "searched": len(said) + len(titles) + len(files),
    }


def holds(path: Path, secret: bytes) -> bool:
    """Whether `secret` stands in the file, in its path or, where it is an archive, in what it holds."""
    if secret in str(path).encode() or secret in path.read_bytes():
        return True
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(secret in archive.read(name) for name in archive.namelist())


def _in_database(server: PostgresServer, database: str, secret: str) -> int:
    count = 0
    with server.connect(database) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            query = f'SELECT count(*) FROM "{table}" AS t WHERE t::text LIKE %s'
            count += int(connection.execute(query, (f"%{secret}%",)).fetchone()[0])
    return count
