"""Processes that take trials from the dead and are killed at a step of it; forked, which is a second less for each."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import sqlalchemy

from mmtuna.objectives.trial.fork_server import ForkServer
from mmtuna.studies.leases.leases import reap
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import engine_of
from mmtuna.studies.study import open_existing

REAPERS = ForkServer(__name__)


def reap_until(spec: Path, step: int, folder: Path) -> int:
    """The exit status of a process that dies at its `step`th word with the database: -9, 0 where it had done before."""
    child = REAPERS.fork(_reap, dict(os.environ), str(spec), step, str(folder))
    try:
        assert child.ended(60)
        assert child.status is not None
        return child.status
    finally:
        child.close()


def _reap(_: Any, environment: dict[str, str], spec: str, step: int, folder: str) -> None:
    os.environ.update(environment)  # where the study lies
    reap_and_die(Path(spec), step, Path(folder), 3)


def reap_and_die(spec: Path, step: int, folder: Path, retries: int) -> None:
    """Takes trials from the dead, and this process dies at its `step`th word with the database; 0 lets it live."""
    study = open_existing(StudySpec.load(spec).study)
    seen = 0

    def count(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == step:
            os.kill(os.getpid(), signal.SIGKILL)

    for event in ("before_cursor_execute", "commit"):
        sqlalchemy.event.listen(engine_of(study), event, count)
    reap(study, folder, retries)
