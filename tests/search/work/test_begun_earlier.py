from pathlib import Path

import pytest

from mmtuna.studies.study import open_existing
from tests.search.conftest import mmtuna
from tests.studies.begun_earlier import PRESETS, restored


@pytest.mark.parametrize("preset", PRESETS)
def test_a_study_begun_by_an_earlier_commit_is_continued(preset: str, tmp_path: Path) -> None:
    spec = restored(preset, tmp_path)
    before = open_existing(spec.study).get_trials()
    done = mmtuna("replay", tmp_path / "study.toml", "--trials", 6)
    assert done.returncode == 0, done.stderr
    assert "note:" not in done.stdout
    trials = open_existing(spec.study).get_trials()
    assert sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in trials) == 6
    assert [(trial.params, trial.values) for trial in trials[: len(before)]] == [(t.params, t.values) for t in before]
    assert all(spec.search_space().contains(trial.params) for trial in trials)
    shown = mmtuna("status", tmp_path / "study.toml")
    assert shown.returncode == 0, shown.stderr
