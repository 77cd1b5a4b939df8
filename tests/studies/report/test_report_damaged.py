"""Reports of studies whose database holds what mmtuna never wrote: what can be shown is, and the rest is said."""

from __future__ import annotations

import math
import random
import re
import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.presets import paper
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.report import ReportFacts
from mmtuna.studies.results import rows
from tests.studies.reported import add, draw_params, new_study, read

LEFT_OUT = "Left out everywhere below, since the database does not hold it as mmtuna writes it: "
SOUND = 16
WRONG: list[tuple[str, Any]] = [
    ("metrics", [0.5]),
    ("metrics", "high"),
    ("metrics", {"mIoU": "high"}),
    ("metrics", {"mIoU": math.inf}),
    ("metrics", {"mIoU": True}),
    ("best_metrics", 0.5),
    ("curve", {"step": 50, "mIoU": 0.5}),
    ("curve", [0.5, 0.6]),
    ("curve", [{"mIoU": 0.5}]),
    ("curve", [{"step": "half", "mIoU": 0.5}]),
    ("curve", [{"step": math.nan, "mIoU": 0.5}]),
    ("curve", [{"step": 50, "mIoU": "high"}]),
    ("curve", [{"step": 50, "mIoU": -math.inf}, {"step": 100, "mIoU": 0.5}]),
    ("cost", 80.0),
    ("cost", {"seconds": "long", "iterations": 400}),
    ("cost", {"seconds": math.nan, "iterations": 400}),
    ("cost", {"seconds": -1.0, "iterations": 400}),
    ("cost", {"seconds": 1.0, "iterations": 400.5}),
    ("cause", 5),
    ("cause", {"out": "of memory"}),
    ("message", ["a", "b"]),
    ("message", 10**400),
    ("seed", "zero"),
    ("seed", {}),
    ("replicate", "first"),
    ("table2", [1]),
    ("folder", 5),
]


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return paper()


def fill(study: optuna.Study, space: SearchSpace, n: int = SOUND) -> optuna.Study:
    chance = random.Random(1)
    for _ in range(n):
        add(study, space, draw_params(space, chance), final=chance.uniform(0.6, 0.7))
    return study


def test_of_a_sound_study_nothing_is_left_out(space: SearchSpace) -> None:
    assert "Left out" not in read(fill(new_study(), space), space).sections["headline"]


@pytest.mark.parametrize(("attr", "value"), WRONG)
def test_an_attribute_of_another_type_is_left_out_and_said(space: SearchSpace, attr: str, value: Any) -> None:
    study = fill(new_study(), space)
    add(study, space, draw_params(space, random.Random(2)), final=0.65, **{attr: value})
    page = read(study, space)
    assert f"{LEFT_OUT}{attr} of trial {SOUND}." in page.sections["headline"]
    assert f"{SOUND + 1} complete" in page.sections["headline"]
    assert {"history", "curves", "importances"} <= set(page.charts)


def test_all_of_it_at_once_in_every_state(space: SearchSpace) -> None:
    study, chance = fill(new_study(), space), random.Random(2)
    for state in TrialState:
        for attr, value in WRONG:
            add(study, space, draw_params(space, chance), state, **{attr: value})
    page = read(study, space)
    named = re.findall(r"(\w+) of trials [\d, ]+", page.sections["headline"].split(LEFT_OUT)[1])
    assert sorted(named) == sorted({attr for attr, _ in WRONG})
    shown = {number for trace in page.charts["history"]["data"] for number in trace["x"]}
    assert shown >= set(range(SOUND))


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_a_value_that_is_no_number_is_no_best(space: SearchSpace, value: float) -> None:
    study = fill(new_study(), space)
    params = draw_params(space, random.Random(2))
    distributions = {each.name: each.distribution for each in space if each.exists(params)}
    study.add_trial(create_trial(value=value, params=dict(params), distributions=distributions))
    page = read(study, space)
    assert f"{LEFT_OUT}value of trial {SOUND}." in page.sections["headline"]
    assert f"{SOUND} complete" in page.sections["headline"]
    assert f"trial {SOUND}," not in page.sections["headline"]
    assert f"PED-ANOVA over {SOUND} complete trials" in page.sections["importances"]


def test_figures_that_are_nan_are_left_blank(space: SearchSpace) -> None:
    study = fill(new_study(), space)
    nothing = {"mIoU": 0.9, "mDice": math.nan, "IoU.fluid": math.nan}
    curve = [{"step": 50, "mIoU": math.nan}, {"step": 100, "mIoU": 0.9}]
    add(study, space, draw_params(space, random.Random(2)), final=0.9, metrics=nothing, curve=curve, table2=1)
    page = read(study, space)
    assert "Left out" not in page.sections["headline"]
    assert f" {SOUND} 0.9000 - - " in page.sections["best"]
    assert "nan" not in page.sections["methods"]
    assert "nan" not in page.sections["table2"]


@pytest.mark.parametrize(
    ("params", "distributions"),
    [
        ({"decoder": "unet++"}, {"decoder": CategoricalDistribution(("unet++", "fcn"))}),
        ({"decoder": 0.5}, {"decoder": FloatDistribution(0, 1)}),
        ({"decoder": None}, {"decoder": CategoricalDistribution((None, "fcn"))}),
    ],
)
def test_params_outside_of_the_space_are_not_drawn(
    space: SearchSpace, params: dict[str, Any], distributions: dict[str, Any]
) -> None:
    study = fill(new_study(), space)
    study.add_trial(create_trial(value=0.9, params=params, distributions=distributions))
    page = read(study, space)
    assert "since the space does not hold the value: decoder of 1 trial." in page.sections["slices"]
    assert f"trial {SOUND}," in page.sections["headline"], "it is the best one all the same"
    assert {"history", "importances", "slice-0"} <= set(page.charts)


@pytest.mark.parametrize(
    ("attrs", "said"),
    [
        ({"mmtuna:spec": [1]}, "the study's spec"),
        ({"mmtuna:spec": {"metric": 3, "model": [], "data": "x", "train": 5}}, "the study's spec"),
        ({"mmtuna:fingerprints": "beef"}, "the study's fingerprints"),
        ({"mmtuna:begun_with": [1]}, "the study's beginning"),
        ({"mmtuna:begun_with": {"others": 40, "warm": []}}, "the study's beginning"),
        ({"mmtuna:begun_with": {"others": {"names": ["lr"], "rows": [[0.5]]}}}, "the study's beginning"),
        ({"mmtuna:searched": 5}, "the study's samplers and pruners"),
        ({"mmtuna:searched": [["tpe"]]}, "the study's samplers and pruners"),
    ],
)
def test_attributes_of_the_study(space: SearchSpace, attrs: dict[str, Any], said: str) -> None:
    study = fill(new_study(), space)
    for name, value in attrs.items():
        study.set_user_attr(name, value)
    page = read(study, space, ReportFacts())
    assert f"{LEFT_OUT}{said}." in page.sections["headline"]
    assert "mIoU, of the last evaluation" in page.sections["space"]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE trial_values SET value = NULL WHERE trial_id = 4",
        "UPDATE trial_values SET value_type = 'LARGE' WHERE trial_id = 4",
        "UPDATE trial_intermediate_values SET intermediate_value = NULL WHERE trial_id = 4",
        "UPDATE trials SET state = 'GONE' WHERE trial_id = 4",
        "UPDATE trials SET datetime_start = 'yesterday' WHERE trial_id = 4",
        "UPDATE trial_user_attributes SET value_json = '{' WHERE trial_id = 4 AND key = 'curve'",
        "UPDATE trial_params SET param_value = 99 WHERE trial_id = 4 AND param_name = 'decoder'",
        "UPDATE trial_params SET distribution_json = '[]' WHERE trial_id = 4",
    ],
)
def test_a_trial_that_optuna_cannot_read_is_left_out_and_said(space: SearchSpace, tmp_path: Path, damage: str) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    fill(optuna.create_study(study_name="fluid", storage=url, direction="maximize"), space)
    with sqlite3.connect(tmp_path / "study.db") as connection:
        assert connection.execute(damage).rowcount > 0
    connection.close()
    study = optuna.load_study(study_name="fluid", storage=url)
    page = read(study, space)
    assert f"{LEFT_OUT}all of trial 3." in page.sections["headline"]
    assert f"Of {SOUND - 1} ended trials" in page.sections["methods"]
    assert "1 trial more could no longer be read; no figure counts them." in page.sections["methods"]
    shown = [number for trace in page.charts["history"]["data"] for number in trace["x"]]
    assert set(shown) == set(range(SOUND)) - {3}
    with pytest.raises(InputError, match=r"study fluid: trial 3 cannot be read, .*; restore a copy of the"):
        rows(study)


def test_no_more_than_twelve_trials_are_named(space: SearchSpace) -> None:
    study, chance = fill(new_study(), space), random.Random(2)
    for _ in range(14):
        add(study, space, draw_params(space, chance), final=0.65, seed="zero")
    text = read(study, space).sections["headline"]
    assert "seed of trials 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27 and 2 more." in text
