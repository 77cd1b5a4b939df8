from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from mmtuna.search.checking.preparing import prepare
from mmtuna.search.versions import TESTED, newer_than_tested
from mmtuna.studies.spec import StudySpec
from tests.test_lock import CONSTRAINTS, pinned_version

NEWER = (
    f"optuna {optuna.__version__} is newer than 4.9.1, the newest that mmtuna's tests passed with; where something "
    "is odd, pip install 'optuna==4.9.1'"
)


def test_the_tested_versions_are_those_of_the_constraints() -> None:
    assert {name: pinned_version(CONSTRAINTS[name][0]) for name in TESTED} == TESTED


def test_what_is_installed_in_a_newer_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert newer_than_tested(TESTED) == []
    assert newer_than_tested({"optuna": "4.99", "torch": f"{TESTED['torch']}+cu130"}) == []
    assert newer_than_tested({"torch": "2.100.0+cpu"})[0].startswith(
        f"torch 2.100.0+cpu is newer than {TESTED['torch']}"
    )
    monkeypatch.setitem(TESTED, "optuna", "4.9.1")
    assert NEWER in newer_than_tested()


def test_check_tells_it_as_a_note(
    write_spec: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(TESTED, "optuna", "4.9.1")
    ready = prepare(StudySpec.load(write_spec(root=tmp_path / "nothing")))
    assert NEWER in ready.notes
    assert not [problem for problem in ready.problems if "optuna" in problem]
