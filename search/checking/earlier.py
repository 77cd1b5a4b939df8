"""`[study] warm`: trials of earlier studies, from wherever a person keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from mmtuna.objectives.recorded import load_recorded, odds_of_recorded
from mmtuna.search.trials.conclude import Scoring
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.portfolio import rebalanced
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import defaults_of
from mmtuna.spaces.trials import Cause
from mmtuna.studies.attributes import CAUSE
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.tables import SQLITE, StudyTable
from mmtuna.studies.standing import params_of
from mmtuna.studies.storage.opening import open_storage
from mmtuna.studies.strategy import beginning
from mmtuna.studies.strategy.warming import SPEC_NAME, Drawn, Warmth, name_of, warmth_of
from mmtuna.studies.study import open_existing

_DATABASE = "study.db"
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


def find_warmth(
    spec: StudySpec, space: SearchSpace, paths: Sequence[Path] | None = None, odds: float = 1.0
) -> list[Warmth]:
    """What earlier studies found, those of `[study] warm` or at `paths`, as far as `space` can hold it, and as it is on
    data of these `odds` (`mmtuna.spaces.portfolio.odds_of`).

    InputError for a place that holds no study, and for a study of which nothing fits.
    """
    settings = {**defaults_of(spec.model.base), **spec.train}
    found = []
    for path in spec.study.warm if paths is None else paths:
        try:
            drawn = drawn_of(path, Scoring.of(spec.study), odds)
        except InputError as error:
            raise InputError(f"[study] warm: {error}") from None
        warmth = warmth_of(name_of(path), drawn, space, settings)
        if not warmth.earlier:
            why = f": {space.why_not(drawn[0].params)}" if drawn else ", it has no ended trial"
            raise InputError(f"[study] warm: nothing of {path} fits into [space]{why}; leave it out, or widen [space]")
        found.append(warmth)
    return found


def drawn_of(path: Path, scoring: Scoring, odds: float = 1.0) -> list[Drawn]:
    """The ended trials of the earlier study at `path`, as on data of these `odds`; InputError where there is none."""
    if path.suffix in (".jsonl", ".json"):
        recorded = load_recorded(path)
        theirs = odds_of_recorded(recorded)
        return [Drawn(rebalanced(one.params, theirs, odds), scoring.value_of_recorded(one)) for one in recorded]
    study = open_existing(_table_of(path), to_look=True)
    ended, theirs = study.get_trials(deepcopy=False, states=_ENDED), beginning.odds_of(study)
    return [_of_trial(trial, rebalanced(params, theirs, odds)) for trial in ended if (params := params_of(trial))]


def _of_trial(trial: FrozenTrial, params: Params) -> Drawn:
    if trial.state == TrialState.COMPLETE:
        return Drawn(params, trial.value)
    diverged = trial.user_attrs.get(CAUSE) == Cause.DIVERGED
    return Drawn(params, None, 0 if diverged else max(trial.intermediate_values, default=0))


def _table_of(path: Path) -> StudyTable:
    """The study that lies at `path`: a spec, a folder that a study writes, or one that holds a spec."""
    if path.suffix == ".toml":
        return StudySpec.load(path).study
    database = path / _DATABASE
    if database.exists():
        storage = open_storage(f"{SQLITE}{database}", check_version=False)
        names = optuna.get_all_study_names(storage)
        if len(names) == 1:
            return StudyTable(name=names[0], folder=path, storage=f"{SQLITE}{database}")
        raise InputError(f"{path} holds {len(names)} studies; name the spec of the one that is meant")
    if (path / SPEC_NAME).exists():
        return StudySpec.load(path / SPEC_NAME).study
    raise InputError(f"{path} holds no study; give a study's folder, its spec, or a file of `mmtuna run --record`")
