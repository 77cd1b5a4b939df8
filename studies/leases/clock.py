"""How long a study was worked on, for `[study] hours`: the seconds in which at least one worker was at work on it.

They are the database's, whatever the number of workers and their machines: each moves on the one row of the study when
it renews its leases, and adds the time since that was last done. Time in which nobody worked is not added.
"""

from __future__ import annotations

from contextlib import nullcontext

import optuna
import sqlalchemy
from sqlalchemy import case, exists, select, update

from mmtuna.studies.identity import id_of
from mmtuna.studies.storage.opening import engine_of
from mmtuna.studies.storage.tables import CLOCKS, WORKERS, now, reading, single, upsert


def begin(engine: sqlalchemy.Engine, study: str, number: int, worker: str) -> None:
    """Lets the clock of the study of the id `study` go on from now on, if no other worker lives.

    `number` is the study's in its storage, `worker` the name of the one that begins. After it come `keep`, and again.
    """
    living = (WORKERS.c.study_id == number) & (WORKERS.c.worker != worker) & (WORKERS.c.expires >= now(engine))
    stood = (CLOCKS.c.study == study) & ~exists(select(WORKERS.c.worker).where(living))
    with single(engine) as connection:
        connection.execute(update(CLOCKS).where(stood).values(last=now(engine)))


def keep(engine: sqlalchemy.Engine, study: str, seconds: float) -> None:
    """Adds the time since anybody did so; but none where that is longer than `seconds`, in which who asks worked.

    Then nobody worked for a while: the last worker was killed, and its leases had not run out when the next one began.
    """
    at = now(engine)
    since = at - CLOCKS.c.last
    added = case((since.between(0.0, seconds), since), else_=0.0)
    latest = case((since > 0, at), else_=CLOCKS.c.last)
    note = upsert(engine.dialect.name, CLOCKS).values(study=study, used=0.0, last=at)
    note = note.on_conflict_do_update(
        index_elements=[CLOCKS.c.study], set_={"used": CLOCKS.c.used + added, "last": latest}
    )
    with single(engine) as connection:
        connection.execute(note)


def used(
    study: optuna.Study,
    own_id: str | None = None,
    *,
    at_work: bool = False,
    connection: sqlalchemy.Connection | None = None,
) -> float:
    """Seconds that the study was worked on, as last noted; `at_work`, for a worker of it, until this moment.

    `own_id` is the study's, where that is known; `connection` that of the study's lock, for who holds it.
    """
    engine = engine_of(study)
    now_or_then = now(engine) if at_work else CLOCKS.c.last
    of_study = CLOCKS.c.study == (own_id or id_of(study) or "")
    with reading(engine) if connection is None else nullcontext(connection) as reader:
        row = reader.execute(select(CLOCKS.c.used, now_or_then - CLOCKS.c.last).where(of_study)).first()
    return 0.0 if row is None else float(row[0]) + max(0.0, float(row[1]))


def pass_on(source: optuna.Study, copy: optuna.Study) -> None:
    """Notes that a copy was worked on for as long as what it is a copy of."""
    engine = engine_of(copy)
    values = {"study": id_of(copy), "used": used(source), "last": now(engine)}
    with single(engine) as connection:
        connection.execute(sqlalchemy.insert(CLOCKS).values(**values))
