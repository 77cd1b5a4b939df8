"""The functions of mmtuna on studies that a person gives: no training, so each is a matter of a moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

import mmtuna
from mmtuna.homes import FOLDER
from mmtuna.objectives.trial_files import StudyFolder
from mmtuna.search.trials.ownership import claim_folder
from mmtuna.studies.study import adopt, create_or_open

MakeSpec = Callable[..., mmtuna.StudySpec]
READERS = [mmtuna.trials, mmtuna.table2, mmtuna.report]


def begun(spec: mmtuna.StudySpec, name: str = "own", **options: Any) -> optuna.Study:
    """A study of a person's own as an Objective of `spec` leaves it, with one complete trial."""
    study = optuna.create_study(study_name=name, direction="maximize", **options)
    adopt(study, spec, {})
    study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={"metrics": {"mIoU": 0.5}}))
    return study


@pytest.mark.parametrize("function", READERS)
@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"study": {"metric": "Dice.fluid"}}, "metric.name was mIoU and is Dice.fluid"),
        ({"study": {"value": "best"}}, "metric.value was last and is best"),
        ({"data": {"classes": ["background", "cyst"]}}, "classes lacks fluid and has gained cyst"),
    ],
)
def test_figures_of_a_study_of_ones_own_that_mean_something_else_are_refused(
    make_spec: MakeSpec, function: Callable[..., Any], tables: dict[str, Any], words: str
) -> None:
    study = begun(make_spec())
    with pytest.raises(mmtuna.InputError) as caught:
        function(make_spec(**tables), study=study)
    assert str(caught.value) == (
        f"study own: {words}; its trials were measured by the old value: take that, or look at another study"
    )


def low() -> optuna.Study:
    return optuna.create_study(study_name="low", direction="minimize")


def foreign() -> optuna.Study:
    study = optuna.create_study(study_name="foreign", direction="maximize")
    study.add_trial(optuna.trial.create_trial(value=0.5))
    return study


@pytest.mark.parametrize("function", READERS)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            low,
            "study low: it does not maximise one value, as every study that mmtuna trains; {give}",
        ),
        (
            foreign,
            "study foreign is not a study of mmtuna: what its trials were trained on is not known, and its values {be}",
        ),
        (lambda: "own", "study: give a study of Optuna, or none for the spec's own, not 'own'"),
    ],
)
def test_a_study_that_mmtuna_did_not_train_is_refused(
    make_spec: MakeSpec, function: Callable[..., Any], make: Callable[[], Any], words: str
) -> None:
    with pytest.raises(mmtuna.InputError) as caught:
        function(make_spec(), study=make())
    give = "give one that an Objective trained for"
    assert str(caught.value) == words.format(give=give, be=f"may be anything; {give}")


@pytest.mark.parametrize("function", [mmtuna.trials, mmtuna.table2])
def test_a_study_whose_figures_mean_the_same_is_read(make_spec: MakeSpec, function: Callable[..., Any]) -> None:
    spec = make_spec()
    assert function(make_spec(study={"trials": 7}), study=begun(spec))


def test_a_report_of_another_study_leaves_that_of_the_spec_alone(make_spec: MakeSpec) -> None:
    spec = make_spec()
    create_or_open(spec, {})
    own = optuna.load_study(study_name="tiny", storage=spec.study.storage)
    assert mmtuna.report(spec, study=own) == mmtuna.report(spec) == spec.study.folder / "report.html"
    before, study = (spec.study.folder / "report.html").read_text(), begun(spec)
    with pytest.raises(mmtuna.InputError) as caught:
        mmtuna.report(spec, study=study)
    assert str(caught.value) == "study own: no folder of it is known here; give out, the file to write"
    study.set_user_attr(FOLDER, "plain/own")
    assert mmtuna.report(spec, study=study) == spec.study.folder / "plain" / "own" / "report.html"
    assert "0.5" in (spec.study.folder / "plain" / "own" / "report.html").read_text()
    assert (spec.study.folder / "report.html").read_text() == before
    study.set_user_attr(FOLDER, "../..")
    with pytest.raises(mmtuna.InputError) as caught:
        mmtuna.report(spec, study=study)
    assert str(caught.value) == (
        f"study own: its folder ../.. lies outside {spec.study.folder}; its storage was changed"
    )


def test_a_study_is_the_specs_own_by_whatever_url_it_was_opened(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec()
    claim_folder(StudyFolder(spec.study.folder), create_or_open(spec, {}))
    monkeypatch.chdir(spec.study.folder)
    study = optuna.load_study(study_name="tiny", storage="sqlite:///study.db")
    assert mmtuna.report(spec, study=study) == spec.study.folder / "report.html"


def test_the_methods_of_a_study_of_ones_own_say_nothing_of_the_specs_search(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec(study={"seed": 7, "trials": 23})
    own, study = create_or_open(spec, {}), begun(spec)
    study.set_user_attr("mmtuna:searched", [["RandomSampler", "none"]])
    own.add_trial(study.trials[0])
    told = []
    for place, one in enumerate((own, study, begun(spec, "unknown"))):
        mmtuna.report(spec, tmp_path / "x.html", one, methods=tmp_path / f"{place}.md")
        told.append((tmp_path / f"{place}.md").read_text())
    said = ("the study was to hold 23 finished ones", "The study's seed was 7", "by the tpe sampler", "the best third")
    assert [[words in text for words in said] for text in told] == [[True] * 4, [False] * 4, [False] * 4]
    assert "Trials were proposed by RandomSampler and not pruned." in told[1]
    assert "Trials were" not in told[2]


def test_a_report_does_not_say_that_a_study_was_to_hold_fewer_trials_than_it_holds(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec, file = make_spec(study={"trials": 1}), tmp_path / "methods.md"
    own, trained = create_or_open(spec, {}), begun(spec).trials[0]
    told = []
    for _ in range(2):
        own.add_trial(trained)
        mmtuna.report(spec, tmp_path / "x.html", methods=file)
        told.append(file.read_text())
    assert ["the study was to hold 1 finished ones" in text for text in told] == [True, False]
