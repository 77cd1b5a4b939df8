"""`mmtuna report` on a study whose database was damaged."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest

from mmtuna.search.commands.report import report
from mmtuna.search.commands.status import status
from mmtuna.spaces.errors import InputError
from mmtuna.studies.study import open_existing
from tests.search import dashboard_study
from tests.search.dashboard_study import make_study
from tests.studies.reported import SECTIONS, Page


def test_status_tells_what_seeds_alone_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = make_study(tmp_path, trials=3)
    status(tmp_path / "study.toml", as_json=False)
    assert "noise floor" not in capsys.readouterr().out
    study = open_existing(spec.study)
    study.add_trial(study.trials[0])  # the same again, but for its figure
    study.add_trial(optuna.trial.create_trial(**_again(study.trials[0], 0.05)))
    status(tmp_path / "study.toml", as_json=False)
    assert (
        "noise floor: seeds alone change mIoU by a standard deviation of 0.0289 (95 % interval 0.0150 to 0.1814, "
        "from 1 set of params trained with more than one seed)\n" in capsys.readouterr().out
    )


def _again(trial: optuna.trial.FrozenTrial, more: float) -> dict[str, Any]:
    metrics = {**trial.user_attrs["metrics"], "mIoU": trial.user_attrs["metrics"]["mIoU"] + more}
    kept = {"params": trial.params, "distributions": trial.distributions, "value": metrics["mIoU"]}
    return {**kept, "user_attrs": {**trial.user_attrs, "metrics": metrics}}


def test_status_says_where_metrics_are_not_those_of_the_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_study(tmp_path, trials=2)
    status(tmp_path / "study.toml", as_json=False)
    assert "at its last evaluation" not in capsys.readouterr().out
    of_best = tmp_path / "best"
    of_best.mkdir()
    monkeypatch.setattr(dashboard_study, "SPEC", dashboard_study.SPEC.replace("[study]", '[study]\nvalue = "best"'))
    make_study(of_best, trials=2)
    status(of_best / "study.toml", as_json=False)
    assert "\n  at its last evaluation: mIoU 0." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE study_user_attributes SET value_json = '{'", "the study's attributes"),
        (
            "UPDATE study_user_attributes SET value_json = '[1]' WHERE key LIKE '%prints'",
            "the study's fingerprints",
        ),
        ("UPDATE trials SET state = 'GONE' WHERE trial_id = 2", "all of trial 1"),
        ("UPDATE trial_user_attributes SET value_json = '5' WHERE trial_id = 2 AND key = 'curve'", "curve of trial 1"),
    ],
)
def test_the_report_of_a_damaged_study_is_written_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str, said: str
) -> None:
    spec = make_study(tmp_path, trials=3)
    connection = sqlite3.connect(spec.study.folder / "study.db")
    assert connection.execute(damage).rowcount > 0
    connection.commit()
    connection.close()
    report(tmp_path / "study.toml", None)
    page = Page(Path(capsys.readouterr().out.strip()).read_text())
    assert list(page.sections) == list(SECTIONS)
    assert f"does not hold it as mmtuna writes it: {said}." in page.sections["headline"]
    assert "0.62" in page.sections["headline"], "the best of the trials that are left"


@pytest.mark.parametrize(
    ("out", "methods"), [("x.html", "x.html"), ("x.html", "./sub/../x.html"), (None, "runs/REPORT")]
)
def test_one_file_does_not_become_report_and_methods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str | None, methods: str
) -> None:
    spec = make_study(tmp_path, trials=1)
    monkeypatch.chdir(tmp_path)
    methods = methods.replace("runs/REPORT", str(spec.study.folder / "report.html"))
    with pytest.raises(InputError) as caught:
        report(tmp_path / "study.toml", None if out is None else Path(out), Path(methods))
    assert str(caught.value) == (
        f"{Path(methods)}: named for the report and for its methods; one would be lost, so name two files"
    )
    assert not list(tmp_path.rglob("*.html"))
