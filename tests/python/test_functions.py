"""The functions of mmtuna on studies that a person gives: no training, so each is a matter of a moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import pytest

import mmtuna
from mmtuna.studies.study import adopt

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
