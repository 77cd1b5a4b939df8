"""Notes, plots and files of a study, as the dashboard serves them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from mmtuna.search.trials.content import Refreshed
from mmtuna.studies import study as study_room
from mmtuna.studies.spec import StudySpec
from tests.search.dashboard_study import MESSAGE, Client, content_of, end_trial, make_study, served, trials


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> StudySpec:
    made = make_study(tmp_path_factory.mktemp("dashboard"))
    content_of(made, study_room.open_existing(made.study)).refresh()
    return made


@pytest.fixture(scope="module")
def client(spec: StudySpec) -> Iterator[Client]:
    with served(spec) as found:
        yield found


# What it shows


def test_every_ended_trial_has_its_note_and_files(client: Client) -> None:
    for trial in trials(client):
        names = {artifact["filename"] for artifact in trial["artifacts"]}
        curve = set() if trial["state"] == "Fail" else {"learning_curve.png", "learning_curve.json"}
        assert names == {"best.png", "worst.png", "config.py"} | curve
        assert trial["state"].lower().replace("fail", "failed") in trial["note"]["body"].lower()
    study = client.json("/api/studies/1")
    assert "### The paper's Table 2 beside ours" in study["note"]["body"]
    assert study["objective_names"] == ["mIoU"]
    assert [plot["id"] for plot in study["plotly_graph_objects"]] == ["history"]


def test_a_row_of_table2_says_so_and_stands_beside_the_published_figures(client: Client) -> None:
    note = trials(client)[0]["note"]["body"]
    assert "Row 1 of the paper's Table 2" in note
    assert re.search(r"mIoU\s+\| 0\.6855\s+\| 0\.6000", note)
    assert re.search(r"fluid\s+\| 0\.2100\s+\| -", note)


def test_a_message_is_shown_and_never_run(client: Client) -> None:
    note = trials(client)[5]["note"]["body"]
    fenced = re.search(r"^(`{4,})text\n(.*?)\n\1$", note, flags=re.MULTILINE | re.DOTALL)
    assert fenced is not None
    assert fenced[2] == MESSAGE
    assert "<script" not in note.replace(fenced[0], "")


def test_a_second_refresh_changes_nothing_and_a_new_trial_is_added(tmp_path: Path) -> None:
    spec = make_study(tmp_path, trials=3)
    study = study_room.open_existing(spec.study)
    first = content_of(spec, study).refresh()
    assert (first.notes, first.files) == (4, 15)
    assert content_of(spec, study).refresh() == Refreshed()
    trial = study.ask()
    spec.search_space().suggest(trial)
    end_trial(spec, study, trial)
    assert content_of(spec, study).refresh_trial(3) == Refreshed(notes=1, files=5)
    assert content_of(spec, study).refresh().notes == 1  # the study's own


def test_a_plot_that_the_dashboard_draws_itself_is_taken_back(tmp_path: Path) -> None:
    spec = make_study(tmp_path, trials=1)
    study = study_room.open_existing(spec.study)
    old = json.dumps({"data": [{"type": "bar", "x": [0.5], "y": ["lr"]}], "layout": {}})
    study._storage.set_study_system_attr(study._study_id, "dashboard:plot_data:importances:0", old)
    assert content_of(spec, study).refresh().plots == 2
    assert content_of(spec, study).refresh() == Refreshed()
    with served(spec) as client:
        shown = {plot["id"]: plot["graph_object"] for plot in client.json("/api/studies/1")["plotly_graph_objects"]}
    assert set(shown) == {"history", "importances"}
    figure = json.loads(shown["importances"])
    assert figure["data"] == []
    assert "see Hyperparameter Importance" in figure["layout"]["title"]["text"]


def test_files_of_a_running_trial_are_kept_with_the_trial(tmp_path: Path) -> None:
    spec = make_study(tmp_path, trials=1)
    study = study_room.open_existing(spec.study)
    trial = study.ask()
    trial.set_user_attr("curve", [{"step": 50.0, "mIoU": 0.5}])
    assert content_of(spec, study).refresh_trial(1) == Refreshed(files=2)
    study.tell(trial, 0.5)
    assert content_of(spec, study).refresh_trial(1) == Refreshed(notes=1)
    metas = optuna.artifacts.get_all_artifact_meta(study.trials[1], storage=study._storage)
    assert {meta.filename for meta in metas} == {"learning_curve.png", "learning_curve.json"}


def test_a_note_that_a_person_edited_stays_theirs(tmp_path: Path) -> None:
    spec = make_study(tmp_path, trials=1)
    study = study_room.open_existing(spec.study)
    content_of(spec, study).refresh()
    with served(spec, writable=True) as client:
        note = trials(client)[0]["note"]
        mine = {"version": note["version"] + 1, "body": "mine"}
        assert client.change("PUT", "/api/studies/1/1/note", mine).status == 204
        assert content_of(spec, study).refresh() == Refreshed()
        assert client.json("/api/studies/1")["trials"][0]["note"]["body"] == "mine"


def test_no_file_elsewhere_is_attached_for_a_folder_that_the_database_names(tmp_path: Path) -> None:
    spec = make_study(tmp_path, trials=1)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "config.py").write_text("password")
    study = study_room.open_existing(spec.study)
    for folder in ("../../secret", str(tmp_path / "secret")):
        trial = study.ask()
        trial.set_user_attr("folder", folder)
        study.tell(trial, 0.5)
        assert content_of(spec, study).refresh_trial(trial.number).files == 0
