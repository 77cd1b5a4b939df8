"""Studies that hold many ended trials, written at once."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import optuna
from optuna.trial import TrialState
from sqlalchemy import func, insert, select

from mmtuna.spaces.parameter import Float
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies import attributes
from mmtuna.studies.storage.opening import engine_of
from mmtuna.studies.storage.optuna_insides import (
    PARAMS,
    REPORTS,
    TRIALS,
    USER_ATTRS,
    VALUES,
    stored_param,
    stored_report,
    stored_value,
    study_id,
)

STEPS = (20, 40, 60, 80, 100)


def fill(study: optuna.Study, space: SearchSpace, count: int) -> None:
    """Adds `count` complete trials of a space of floats, with reports and attributes as a worker leaves them."""
    began = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)
    rows: dict[Any, list[dict[str, Any]]] = {table: [] for table in (TRIALS, PARAMS, VALUES, REPORTS, USER_ATTRS)}
    with engine_of(study).begin() as connection:
        first = (connection.scalar(select(func.max(TRIALS.c.trial_id))) or 0) + 1
        for place in range(count):
            trial_id, value = first + place, 0.5 + 0.4 * math.sin(place)
            trial = {"trial_id": trial_id, "number": place, "study_id": study_id(study), "state": TrialState.COMPLETE}
            rows[TRIALS].append(trial | {"datetime_start": began, "datetime_complete": began})
            for index, parameter in enumerate(space):
                assert isinstance(parameter, Float)
                share = math.modf(place * math.sqrt(2 + index))[0]
                param = parameter.low + (parameter.high - parameter.low) * share
                rows[PARAMS].append(
                    {"trial_id": trial_id, **stored_param(parameter.name, param, parameter.distribution)}
                )
            stored, kind = stored_value(value)
            rows[VALUES].append({"trial_id": trial_id, "objective": 0, "value": stored, "value_type": kind})
            for step in STEPS:
                stored, kind = stored_report(value * step / STEPS[-1])
                report = {"intermediate_value": stored, "intermediate_value_type": kind}
                rows[REPORTS].append({"trial_id": trial_id, "step": step, **report})
            attrs = {
                attributes.REPLICATE: 0,
                attributes.SEED: 0,
                attributes.METRICS: {"mIoU": value},
                attributes.FOLDER: f"trials/{place:05d}",
                attributes.HISTORY: [{"worker": "w", "attempt": 1, "ended": "complete", "at": 1e9 + place}],
            }
            rows[USER_ATTRS] += [
                {"trial_id": trial_id, "key": key, "value_json": json.dumps(held)} for key, held in attrs.items()
            ]
        for table, of_table in rows.items():
            connection.execute(insert(table), of_table)
        if connection.dialect.name == "postgresql":  # whose ids do not follow those that were given
            connection.execute(
                select(func.setval(func.pg_get_serial_sequence(TRIALS.name, "trial_id"), first + count - 1))
            )
