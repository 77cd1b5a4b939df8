"""What a trial costs the database is the same in a small study and in a large one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy
from rich.console import Console
from sqlalchemy.pool import Pool

from mmtuna.search.work.running import replay_study
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import engine_of
from mmtuna.studies.study import create_or_open
from tests.studies.filled import fill

SPEC = """
[study]
name = "s"
trials = 10000
sampler = "{sampler}"
pruner = "{pruner}"
[data]
root = "."
[space.params.lr_sgd]
low = 1e-3
high = 1e-1
[space.params.weight_decay]
low = 1e-5
high = 1e-2
[replay]
"""


@dataclass
class Work:
    """What databases did: statements, and steps of SQLite's machine, a few for every row that it touches."""

    statements: int = 0
    steps: int = 0


@contextmanager
def counted() -> Iterator[Work]:
    work = Work()

    def step() -> int:
        work.steps += 1
        return 0

    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_progress_handler(step, 1)

    def on_statement(*_: object) -> None:
        work.statements += 1

    sqlalchemy.event.listen(Pool, "connect", on_connect)
    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", on_statement)
    try:
        yield work
    finally:
        sqlalchemy.event.remove(Pool, "connect", on_connect)
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", on_statement)


def work_of(folder: Path, before: int, trials: int, **words: str) -> Work:
    """What `trials` trials cost in a study that holds `before` ended ones, opening it included."""
    folder.mkdir()
    path = folder / "study.toml"
    path.write_text(SPEC.format(**words))
    spec = StudySpec.load(path)
    study = create_or_open(spec, {"replay": {"curves": "generated"}})
    fill(study, spec.search_space(), before)
    engine_of(study).dispose()
    with counted() as work:
        replay_study(spec, Console(quiet=True), trials=before + trials)
    return work


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "pruner"), [("random", "none"), ("tpe", "median")])
def test_a_trial_costs_the_same_after_100_and_after_1000(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str, pruner: str
) -> None:
    monkeypatch.delenv("MMTUNA_STORAGE", raising=False)
    found = []
    for before in (100, 1000):
        few, more = (
            work_of(tmp_path / f"{before}-{trials}", before, trials, sampler=sampler, pruner=pruner)
            for trials in (2, 12)
        )
        found.append(Work(more.statements - few.statements, more.steps - few.steps))
    small, large = found
    # Pruned trials report less often than complete ones.
    slack = 0.25 if pruner == "median" else 0.01
    assert large.statements == pytest.approx(small.statements, rel=slack)
    assert large.steps == pytest.approx(small.steps, rel=slack + 0.02)
    assert large.statements / 10 < 120
