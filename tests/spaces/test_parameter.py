import re
import warnings
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.trial import FixedTrial

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Categorical, Float, Int, Parameter, parameter, rebuilt


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"choices": [1, 2]}, Categorical(name="p", choices=(1, 2))),
        ({"choices": [False, True]}, Categorical(name="p", choices=(False, True))),
        ({"low": 1, "high": 5}, Int(name="p", low=1, high=5)),
        ({"low": 1, "high": 9, "step": 2}, Int(name="p", low=1, high=9, step=2)),
        ({"low": 1.0, "high": 5}, Float(name="p", low=1.0, high=5)),
        ({"type": "float", "low": 1, "high": 5}, Float(name="p", low=1, high=5)),
        ({"low": 1e-4, "high": 0.1, "log": True}, Float(name="p", low=1e-4, high=0.1, log=True)),
        ({"choices": ["a"], "when": {"q": "x"}}, Categorical(name="p", choices=("a",), when={"q": ("x",)})),
    ],
)
def test_from_a_table(table: dict[str, Any], expected: Parameter) -> None:
    assert parameter("p", table) == expected


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "parameter p: neither choices nor low and high; give one of the two"),
        ({"low": 1}, "neither choices nor low and high"),
        ({"type": "choice", "choices": [1]}, "type 'choice' is unknown; use categorical, int or float"),
        (
            {"type": "int", "low": 1},
            "int lacks high; it takes low, high, step, log, when, prior, prior_spread and nothing else",
        ),
        ({"choices": [1], "low": 3}, "categorical has unknown fields low; it takes choices, when"),
        ({"choices": []}, "choices is empty; give at least one choice"),
        ({"choices": [1, 1]}, "hold a value twice: the second would never be tried; give each once"),
        ({"choices": [True, 1]}, "choices [True, 1] hold True and 1, which are equal: the second would never be tried"),
        ({"choices": [0, 0.0]}, "hold 0 and 0.0, which are equal"),
        ({"choices": [0.5, float("inf")]}, "hold no finite number; remove it"),
        ({"choices": [[1]]}, "choices is [[1]]; give a list of strings, numbers, true or false"),
        ({"low": 5, "high": 1}, "range 5 to 1 is empty"),
        ({"low": 0, "high": 1, "log": True}, "log scale from 0; a log scale starts above 0"),
        ({"low": 0.0, "high": float("inf")}, "low must be finite"),
        ({"low": 1, "high": 6, "step": 2}, "6 is not reached from 1 in steps of 2; end at 5"),
        ({"low": 1, "high": 8, "step": 0}, "step 0; a step is 1 or more"),
        ({"low": 0.1, "high": 0.9, "step": 0.2, "log": True}, "a step is finite, above 0 and excludes a log scale"),
        ({"low": 0.1, "high": 0.9, "step": 0.0}, "step 0.0; a step is finite, above 0"),
        ({"low": 0.1, "high": 0.9, "step": float("inf")}, "step inf; a step is finite, above 0"),
        ({"low": 0.1, "high": 0.9, "step": float("nan")}, "step nan; a step is finite, above 0"),
        (
            {"low": 0.0, "high": 1.0, "step": 1 / 3},
            "steps of 0.3333333333333333 from 0.0 end a rounding error beside 1.0; write low, high and step with few",
        ),
        ({"low": 0.0, "high": 0.1 + 0.2, "step": 0.1}, "end a rounding error beside 0.30000000000000004; write low"),
        ({"low": 0.001, "high": 0.01, "step": 0.004}, "0.01 is not reached from 0.001 in steps of 0.004; end at 0.009"),
        ({"low": 0.001, "high": 0.01, "step": 1.0}, "in steps of 1.0; take a step of 0.009 or less"),
        ({"type": "int", "low": 1, "high": 2.5}, "high is 2.5; int takes a number of that kind"),
        ({"low": 1.0, "high": "2"}, "high is '2'; float takes a number"),
        ({"low": 1, "high": 2, "log": "yes"}, "log is 'yes'; write true or false"),
    ],
)
def test_wrong_tables(table: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        parameter("p", table)


@pytest.mark.parametrize(
    ("made", "inside", "outside"),
    [
        (Categorical(name="p", choices=(1, "a")), [1, "a", 1.0], [True, "1", 2, None]),
        (Categorical(name="p", choices=(True,)), [True], [1, 1.0, "true"]),
        (Int(name="p", low=2, high=8, step=3), [2, 5, 8], [3, 1, 11, 5.0, True, "5"]),
        (Float(name="p", low=0.1, high=1.0), [0.1, 1.0, 1, 0.5], [0.0999, 1.1, True, "0.5", float("nan")]),
        (Float(name="p", low=0.0, high=0.3, step=0.1), [0.0, 0.1, 0.2, 0.3], [0.15, 0.4]),
    ],
)
def test_membership(made: Parameter, inside: list[Any], outside: list[Any]) -> None:
    assert [value for value in inside if not made.contains(value)] == []
    assert [value for value in outside if made.contains(value)] == []


@pytest.mark.parametrize(
    ("made", "values"),
    [
        (Int(name="p", low=1, high=3), [1, 2, 3]),
        (Int(name="p", low=0, high=30, step=15), [0, 15, 30]),
        (Float(name="p", low=0.0, high=1.0), None),
        (Float(name="p", low=0.5, high=0.5), [0.5]),
        (Float(name="p", low=0.0, high=1.0, step=0.5), [0.0, 0.5, 1.0]),
        (Float(name="p", low=0.06, high=0.07, step=0.01), [0.06, 0.07]),  # 0.06 + 0.01 is less than 0.07
        (Float(name="p", low=0.0, high=0.3, step=0.1), [0.0, 0.1, 0.2, 0.3]),  # 3 * 0.1 is more than 0.3
        (Float(name="p", low=0.3, high=0.3, step=0.1), [0.3]),
    ],
)
def test_values(made: Parameter, values: list[Any] | None) -> None:
    assert made.values() == values


@pytest.mark.parametrize(
    "made",
    [
        Categorical(name="p", choices=(2, "a", True)),
        Int(name="p", low=2, high=64, log=True),
        Float(name="p", low=0.0, high=0.3, step=0.1),
        Float(name="p", low=1e-6, high=1e-2, log=True),
    ],
)
def test_everything_suggested_is_contained(made: Parameter) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    assert all(made.contains(made.suggest(study.ask())) for _ in range(30))


def test_a_fixed_trial_needs_no_study() -> None:
    assert Int(name="p", low=1, high=9).suggest(FixedTrial({"p": 4})) == 4


def test_a_study_whose_steps_did_not_reach_the_end_is_read_and_goes_on_to_where_they_ended() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = distribution_to_json(FloatDistribution(0.001, 0.01, step=0.004))
    mended = Float(name="p", low=0.001, high=0.009, step=0.004)
    assert rebuilt("p", {"distribution": kept, "when": {}}) == mended
    assert mended.describe()["distribution"] == kept


def test_the_values_of_a_stepped_float_lie_within_it() -> None:
    drop = Float(name="drop", low=0.0, high=0.3, step=0.1)
    assert len(drop.values() or []) == 4
    assert all(drop.contains(value) for value in drop.values() or [])
