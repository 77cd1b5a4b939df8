"""Full disks, on small real ones (tmpfs): the study's folder, the pictures' folder, and the database."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults.cases import BOTH, POSTGRES, SQLITE, Found, Ground, Outcome, sound
from benchmarks.faults.crew import Site, account, opened, spec_of
from benchmarks.faults.searching import say
from benchmarks.faults.training import TrainingSite, training_site
from tests.postgres import PostgresServer
from tests.waiting import until

MIB = 1 << 20


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """A disk of `size` bytes mounted on `place`; RuntimeError where mounting is not allowed."""
    place.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(place)]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{place}: a small disk cannot be mounted ({done.stderr.strip()}); run as root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Takes all that is free on the disk, and returns the file to delete for room."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        try:
            for piece in (MIB, 4096, 1):
                _write_until_full(file.fileno(), b"x" * piece)
        finally:
            os.fsync(file.fileno())
    return filler


def _write_until_full(descriptor: int, piece: bytes) -> None:
    try:
        while os.write(descriptor, piece) == len(piece):
            pass
    except OSError:
        return


def full_folder(ground: Ground) -> Outcome:
    """7: the study's disk gets full while trial 0 trains: three trials fail by that cause, then the study stops.

    The database lies elsewhere and is whole; nothing half-written is left; with room the same command goes on.
    """
    folder, draw = ground.site.folder, random.Random(ground.seed)
    url = ground.site.url or f"sqlite:///{folder}/elsewhere.db"
    with small_disk(folder / "disk", 96 * MIB) as disk, training_site(disk / "full", url) as site:
        site.lay_out(trials=2, seed=ground.seed, train="iterations = 240\nevaluations = 12")
        runner = site.launch("run")
        until(lambda: site.reported() > 0, 120)
        time.sleep(draw.uniform(0.0, 0.5))
        filler = fill(disk)
        exit_status = runner.wait(180)
        said = site.outputs()
        found: Found = {
            "exit": exit_status,
            "causes": site.causes(),
            "messages": [trial.user_attrs["message"] for trial in site.trials() if "cause" in trial.user_attrs],
            "named": "the last three trials all failed by the same cause, disk full: " in said,
            "tracebacks": said.count("Traceback"),
            "half_written": len([path for path in site.runs.glob("trials/*/.*") if not path.name.startswith(".nfs")]),
            "integrity": _integrity(url),
        }
        filler.unlink()
        make_short(site)
        again = site.launch("run").wait(180)
        states = site.states()
        found |= {"exit_with_room": again, "complete": states.count("COMPLETE"), "left": len(set(states) - _ENDED)}
    stopped = exit_status == 1 and found["causes"] == ["disk full"] * 3 and found["named"]
    clean = not found["tracebacks"] and not found["half_written"] and found["integrity"] == "ok"
    return stopped and clean and again == 0 and found["complete"] == 2 and not found["left"], found


_ENDED = {"COMPLETE", "FAIL", "PRUNED"}


def make_short(site: TrainingSite) -> None:
    """The same study on a machine that has room: what is trained stays, only its checkpoints are fewer."""
    text = site.spec.read_text()
    site.spec.write_text(text.replace("threads = 1", "threads = 1\nkeep_checkpoints = 1"))


def full_pictures(ground: Ground) -> Outcome:
    """7: the disk of the pictures is full from the start: no trial fails for that, and it is said once."""
    folder = ground.site.folder
    with training_site(folder / "pictures", ground.site.url) as site:
        site.lay_out(trials=3, seed=ground.seed, train="iterations = 8\nevaluations = 2")
        with small_disk(site.runs / "artifacts", 16 * MIB) as disk:
            filler = fill(disk)
            ended = site.launch("run").wait(180) == 0
            said = site.outputs()
            found: Found = {
                "complete": site.states().count("COMPLETE"),
                "said": said.count("no pictures, disk full"),
                "tracebacks": said.count("Traceback"),
                "half_written": len(list(disk.iterdir())) - 1,
            }
            filler.unlink()
            found["added_with_room"] = _refresh(site)
    passed = found["complete"] == 3 and found["said"] == 1 and not found["tracebacks"] and not found["half_written"]
    return ended and passed and found["added_with_room"] >= 3, found


def _refresh(site: Site) -> int:
    """How many files `mmtuna dashboard` would attach now."""
    from mmtuna.search.trials.content import Content
    from mmtuna.search.trials.files import StudyFiles

    with opened(site) as study, spec_of(site) as spec:
        files = StudyFiles(spec.study, spec.data.root, study)
        content = Content(study=study, table=spec.study, data=spec.data, space=spec.search_space(), files=files)
        return content.refresh().files


def full_database(ground: Ground) -> Outcome:
    """7: SQLite's disk gets full at a random moment: the worker names it and ends, the file is whole."""
    with small_disk(ground.site.folder / "disk", 8 * MIB) as disk:
        url = f"sqlite:///{disk}/study.db"
        site = Site(ground.site.folder / "site", url)
        try:
            return _full_database(ground, site, disk, lambda: _integrity(url))
        finally:
            site.kill()


def full_postgres(ground: Ground) -> Outcome:
    """7: the same for a PostgreSQL whose data get no room."""
    with small_disk(ground.site.folder / "disk", 160 * MIB) as disk:
        ground.site.folder.chmod(0o755)
        with PostgresServer(place=disk) as server:
            site = Site(ground.site.folder / "site", server.create("full"))
            try:
                return _full_database(ground, site, disk, lambda: _readable(server, "full"))
            finally:
                site.kill()


def _full_database(ground: Ground, site: Site, disk: Path, look: Callable[[], str]) -> Outcome:
    site.write(trials=60, seed=ground.seed, pause=0.05, lease=3.0)
    worker = site.start("--slots", "2")
    until(lambda: (site.folder / "runs").exists() and account(site, 60, 0)["finished"] > 0, 60)
    time.sleep(random.Random(ground.seed).uniform(0.0, 0.5))
    filler = fill(disk)
    exit_status = _exit_of(worker, 60)
    again_on_full = say(site, "replay")
    said = site.outputs() + again_on_full
    found: Found = {
        "exit": exit_status,
        "named": said.count("disk full: the database cannot grow; free some room and run again"),
        "named_at_start": "disk is full" in again_on_full or "disk full" in again_on_full,
        "tracebacks": said.count("Traceback"),
    }
    filler.unlink()
    found["integrity"] = look()
    ended = site.start().wait(120) == 0
    found |= account(site, 60, 0)
    clean = found["named"] > 0 and found["named_at_start"] and not found["tracebacks"] and found["integrity"] == "ok"
    return ended and exit_status == 1 and clean and sound(found), found


def full_log_of_postgres(ground: Ground) -> Outcome:
    """7: the disk of PostgreSQL's write-ahead log gets full, of which the server dies.

    A worker either hears the reason and ends, or waits as for any server that is away; started again with room, the
    server has every trial, and the study ends with exactly those asked for.
    """
    with small_disk(ground.site.folder / "disk", 8 * MIB) as disk:
        ground.site.folder.chmod(0o755)
        with PostgresServer(wal=disk) as server:
            site = Site(ground.site.folder / "site", server.create("full"))
            try:
                return _full_log(ground, site, server, disk)
            finally:
                site.kill()


def _full_log(ground: Ground, site: Site, server: PostgresServer, disk: Path) -> Outcome:
    site.write(trials=60, seed=ground.seed, pause=0.1, lease=3.0)
    worker = site.start("--slots", "2")
    until(lambda: (site.folder / "runs").exists() and account(site, 60, 0)["finished"] > 0, 60)
    before = account(site, 60, 0)["finished"]
    filler = fill(disk)
    _use_up_log(server, "full")
    exit_status = _exit_of(worker, 20)
    said = site.outputs()
    found: Found = {
        "died": "PANIC" in server.log,
        "worker": "waits" if exit_status is None else f"ended with {exit_status}",
        "named": "disk full: " in said or "the database does not answer since " in said,
        "tracebacks": said.count("Traceback"),
    }
    filler.unlink()
    server.start()
    found["integrity"] = _readable(server, "full")
    ended = site.start().wait(120) == 0 and worker.wait(60) == (0 if exit_status is None else 1)
    found |= account(site, 60, 0)
    clean = found["died"] and found["named"] and not found["tracebacks"] and found["integrity"] == "ok"
    return ended and clean and found["finished"] >= before and sound(found), found


def _use_up_log(server: PostgresServer, database: str) -> None:
    """Makes other load than ours: it takes the log's next files until there is no room for one."""
    import psycopg

    try:
        with server.connect(database) as connection:
            connection.execute("CREATE TABLE other_load (number int)")
            for number in range(40):
                connection.execute("INSERT INTO other_load VALUES (%s)", (number,))
                connection.execute("SELECT pg_switch_wal()")
    except psycopg.OperationalError:
        return  # it is dead


def _exit_of(worker: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status, None where it goes on."""
    try:
        return worker.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _integrity(url: str) -> str:
    """What SQLite says of its file, "ok" where nothing is wrong; "ok" for a server, whose trials `account` reads."""
    if not url.startswith("sqlite:///"):
        return "ok"
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


def _readable(server: PostgresServer, database: str) -> str:
    """Reads every row of every table, by way of the tables and not of the indexes."""
    with server.connect(database) as connection:
        connection.execute("SET enable_indexscan = off")
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        rows = [connection.execute(f'SELECT t::text FROM "{table}" AS t').fetchall() for (table,) in tables]
    return "ok" if all(isinstance(row, list) for row in rows) else "unreadable"


CASES = {
    "7a disk of the study full": (full_folder, BOTH),
    "7b disk of the pictures full": (full_pictures, BOTH),
    "7c disk of the database full": (full_database, SQLITE),
    "7c disk of the server full": (full_postgres, POSTGRES),
    "7c disk of the server log full": (full_log_of_postgres, POSTGRES),
}
