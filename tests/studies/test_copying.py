"""`mmtuna copy`: everything arrives, or nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from mmtuna.spaces.errors import InputError
from mmtuna.studies import copying
from mmtuna.studies.asking import Claim, ask
from mmtuna.studies.attributes import COPIED_FROM, ID
from mmtuna.studies.copying import copy_study
from mmtuna.studies.leases import End, Leases
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import open_storage, study_lock
from mmtuna.studies.study import create_or_open
from tests.postgres import PostgresServer
from tests.studies.finishing import finish

Make = Callable[..., StudySpec]


@pytest.fixture
def spec(spec_of: Make) -> StudySpec:
    return spec_of(space="[space.params.crop]\nchoices = [64, 96]\n[space.params.lr_sgd]\nlow=0.01\nhigh=0.1\nlog=true")


@pytest.fixture
def study(spec: StudySpec) -> optuna.Study:
    """One trial of every state but running, an infinite and a NaN value among what they reported."""
    study = create_or_open(spec, {"data": {"sha256": "ab12"}})
    study.enqueue_trial({"crop": 64, "lr_sgd": 0.05}, user_attrs={"seed": 5})
    space = spec.search_space()
    for how in (
        End(state=TrialState.COMPLETE, value=1 / 3, attrs={"curve": [{"step": 20, "mIoU": 0.1}]}),
        End(state=TrialState.PRUNED),
        End(state=TrialState.FAIL, attrs={"cause": "crashed"}),
    ):
        trial = study.ask()
        space.suggest(trial)
        trial.report(0.25, 20)
        trial.report(math.nan, 40)
        trial.report(math.inf, 60)
        finish(study, trial, how)
    study.enqueue_trial({"crop": 96, "lr_sgd": 0.02})
    return study


def records(study: optuna.Study) -> list[object]:
    attrs = {key: value for key, value in study.user_attrs.items() if key not in (ID, COPIED_FROM)}
    return [attrs, *(repr({**vars(trial), "_trial_id": None}) for trial in study.get_trials())]


def test_everything_arrives(spec: StudySpec, study: optuna.Study, url: str) -> None:
    seen: list[tuple[int, int]] = []
    assert copy_study(spec.study, spec.resources, url.replace(":canary-7d1f9e@", "@"), lambda *at: seen.append(at)) == 4
    assert seen[-1] == (4, 4)
    copy = optuna.load_study(study_name="s", storage=open_storage(url))
    assert records(copy) == records(study)
    assert copy.direction == study.direction
    assert copy.user_attrs[ID] != study.user_attrs[ID]
    assert copy.user_attrs[COPIED_FROM] == [study.user_attrs[ID]]
    assert len(records(copy)) == 5


@pytest.fixture(autouse=True)
def _password_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "canary-7d1f9e")


def test_what_is_refused(spec: StudySpec, study: optuna.Study, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the study lies there already; name another storage"):
        copy_study(spec.study, spec.resources, spec.study.storage)
    with pytest.raises(InputError, match=r"--to postgresql.*u:\*\*\*@h/d: everybody .* can read a password"):
        copy_study(spec.study, spec.resources, "postgresql+psycopg://u:secret@h/d")
    target = f"sqlite:///{tmp_path}/target.db"
    copy_study(spec.study, spec.resources, target)
    with pytest.raises(InputError, match="holds a study s already; name another storage"):
        copy_study(spec.study, spec.resources, target)

    leases = Leases(study=study, folder=tmp_path)
    lock = study_lock(spec.study.storage, "s")
    assert isinstance(ask(study, spec.search_space(), spec.study.seed, trials=9, lock=lock, leases=leases), Claim)
    with pytest.raises(InputError, match=r"study s: trial 3 is running; stop its worker first; .* 60 s, .* 11 min"):
        copy_study(spec.study, spec.resources, f"sqlite:///{tmp_path}/other.db")
    leases.close()
    assert copy_study(spec.study, spec.resources, f"sqlite:///{tmp_path}/other.db") == 4


def test_a_difference_removes_the_copy(
    spec: StudySpec, study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    real = copying._fill

    def fill_and_spoil(source: optuna.Study, copy: optuna.Study, on_trial: object) -> int:
        count = real(source, copy, lambda *_: None)
        copy._storage.set_trial_user_attr(copy.get_trials()[3]._trial_id, "stray", 1)
        return count

    monkeypatch.setattr(copying, "_fill", fill_and_spoil)
    with pytest.raises(InputError, match="user_attrs of trial 3 came out otherwise"):
        copy_study(spec.study, spec.resources, target)
    assert open_storage(target).get_all_studies() == []


def test_what_a_copy_that_was_cut_off_left_is_no_study_and_goes(
    spec: StudySpec, study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    monkeypatch.setattr(optuna, "delete_study", lambda **_kwargs: None)  # killed: it cleans nothing up
    monkeypatch.setattr(copying, "_compare", lambda *_studies: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        copy_study(spec.study, spec.resources, target)
    monkeypatch.undo()
    monkeypatch.setenv("PGPASSWORD", "canary-7d1f9e")
    (left,) = open_storage(target).get_all_studies()
    assert left.study_name.startswith("s.copying-")
    copy_study(spec.study, spec.resources, target)
    assert [study.study_name for study in open_storage(target).get_all_studies()] == ["s"]


def test_a_copy_may_take_longer_than_a_server_bears_silence(
    spec: StudySpec, study: optuna.Study, server: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmtuna.studies.storage.postgres._IDLE_SECONDS", 3)
    url = server.url(database)
    assert copy_study(spec.study, spec.resources, url.replace(":canary-7d1f9e@", "@"), lambda *_: time.sleep(1)) == 4
    assert len(optuna.load_study(study_name="s", storage=open_storage(url)).get_trials()) == 4
