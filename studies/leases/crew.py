"""Who works on a study just now, as the leases tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import optuna
from sqlalchemy import select

from mmtuna.studies.leases import signs_of_life
from mmtuna.studies.storage.opening import engine_of
from mmtuna.studies.storage.optuna_insides import TRIALS, study_id
from mmtuna.studies.storage.tables import LEASES, WORKERS, has_expired, now

EXPIRING = 1 / 3
"""A lease with less than this share of its time left should have been renewed by now."""


@dataclass(frozen=True)
class WorkerLife:
    """A worker, host:pid:random, with its slots and trials; `seconds_left` until it counts as lost, negative after. Of
    one that died on this machine `alive` tells it before."""

    worker: str
    slots: int
    alive: bool
    seconds_left: float
    trials: tuple[int, ...]


@dataclass(frozen=True)
class LeaseLife:
    """A lease that should have been renewed, or has expired already (`seconds_left` negative)."""

    trial: int
    worker: str
    seconds_left: float


@dataclass(frozen=True)
class Crew:
    """All workers, and the leases that need watching."""

    workers: tuple[WorkerLife, ...]
    expiring: tuple[LeaseLife, ...]


def crew_of(study: optuna.Study, folder: Path | None = None) -> Crew:
    """The workers of `study` at this moment, by the database's clock; nothing is changed.

    With the study's `folder` those that are known to have died on this machine are told at once.
    """
    engine = engine_of(study)
    left = (WORKERS.c.expires - now(engine)).label("left")
    workers = select(WORKERS, left, has_expired(engine, WORKERS).label("expired")).order_by(WORKERS.c.started)
    lease_left = (LEASES.c.expires - now(engine)).label("left")
    leases = select(LEASES, lease_left, TRIALS.c.number).join(TRIALS, TRIALS.c.trial_id == LEASES.c.trial_id)
    with engine.begin() as connection:
        crew = connection.execute(workers.where(WORKERS.c.study_id == study_id(study))).all()
        held = connection.execute(leases.where(LEASES.c.study_id == study_id(study)).order_by(TRIALS.c.number)).all()
    return Crew(
        tuple(
            WorkerLife(
                row.worker,
                row.slots,
                not (row.expired or (folder is not None and signs_of_life.is_gone(folder, row.worker))),
                round(row.left, 1),
                tuple(lease.number for lease in held if lease.worker == row.worker),
            )
            for row in crew
        ),
        tuple(
            LeaseLife(lease.number, lease.worker, round(lease.left, 1))
            for lease in held
            if lease.left < EXPIRING * lease.seconds
        ),
    )
