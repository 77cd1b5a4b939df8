import re
from typing import Any

import optuna
import pytest
from optuna.trial import FixedTrial

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Categorical, Float, Int, Parameter
from mmtuna.spaces.presets import extended, paper, preset
from mmtuna.spaces.search_space import SearchSpace

OPTIMIZER = Categorical(name="optimizer", choices=("SGD", "Adam"))
MOMENTUM = Categorical(name="momentum", choices=(0.8, 0.9), when={"optimizer": ("SGD",)})
NESTEROV = Categorical(name="nesterov", choices=(False, True), when={"momentum": (0.9,)})
CHAIN = SearchSpace([NESTEROV, MOMENTUM, OPTIMIZER])


def test_parents_stand_before_children() -> None:
    assert CHAIN.names == ("optimizer", "momentum", "nesterov")


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"optimizer": "Adam"}, None),
        ({"optimizer": "SGD", "momentum": 0.8}, None),
        ({"optimizer": "SGD", "momentum": 0.9, "nesterov": True}, None),
        ({}, "optimizer is missing"),
        ({"optimizer": "SGD"}, "momentum is missing"),
        ({"optimizer": "SGD", "momentum": 0.9}, "nesterov is missing"),
        ({"optimizer": "Adam", "momentum": 0.8}, "momentum does not exist for these values of optimizer"),
        (
            {"optimizer": "SGD", "momentum": 0.8, "nesterov": True},
            "nesterov does not exist for these values of momentum",
        ),
        ({"optimizer": "Lion"}, "optimizer = 'Lion' is outside its range"),
        ({"optimizer": "Adam", "lr": 1}, "lr is no parameter of the space"),
    ],
)
def test_conditions(params: dict[str, Any], reason: str | None) -> None:
    assert CHAIN.why_not(params) == reason
    assert CHAIN.contains(params) == (reason is None)


def test_cells_respect_conditions() -> None:
    cells = CHAIN.cells()
    assert cells == [
        {"optimizer": "SGD", "momentum": 0.8},
        {"optimizer": "SGD", "momentum": 0.9, "nesterov": False},
        {"optimizer": "SGD", "momentum": 0.9, "nesterov": True},
        {"optimizer": "Adam"},
    ]
    assert CHAIN.count() == 4


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ([Int(name="a", low=1, high=10), Int(name="b", low=1, high=10)], 100),
        ([Float(name="a", low=0.0, high=1.0)], None),
        ([Float(name="a", low=0.0, high=1.0, step=0.25)], 5),
        ([Int(name=str(index), low=1, high=100) for index in range(3)], None),  # a million: not listed
        (  # of six ranges one exists at a time
            [
                Categorical(name="way", choices=tuple("abcdef")),
                *(Int(name=f"of_{way}", low=1, high=10, when={"way": (way,)}) for way in "abcdef"),
            ],
            60,
        ),
    ],
)
def test_count(parameters: list[Parameter], count: int | None) -> None:
    assert SearchSpace(parameters).count() == count


def test_suggest_asks_for_what_exists_only() -> None:
    assert CHAIN.suggest(FixedTrial({"optimizer": "Adam"})) == {"optimizer": "Adam"}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [extended().suggest(study.ask()) for _ in range(40)]
    assert [reason for reason in map(extended().why_not, drawn) if reason] == []


def test_project_keeps_the_sampled_part() -> None:
    settings = {"optimizer": "Adam", "momentum": 0.9, "batch_size": 2}
    assert CHAIN.project(settings) == {"optimizer": "Adam"}
    with pytest.raises(InputError, match="space: momentum is missing; widen the space or leave these settings out"):
        CHAIN.project({"optimizer": "SGD"})


def test_fingerprint_is_free_of_order_and_knows_every_field() -> None:
    same = SearchSpace([MOMENTUM, OPTIMIZER, NESTEROV])
    assert same.fingerprint() == CHAIN.fingerprint()
    variants: list[Parameter] = [
        Int(name="a", low=1, high=8),
        Int(name="a", low=1, high=8, log=True),
        Int(name="a", low=1, high=9),
        Float(name="a", low=1, high=8),
        Categorical(name="a", choices=(1, 8)),
        Categorical(name="a", choices=(8, 1)),
        Categorical(name="a", choices=(1, 8), when={"optimizer": ("SGD",)}),
        Categorical(name="b", choices=(1, 8)),
    ]
    prints = {SearchSpace([OPTIMIZER, variant]).fingerprint() for variant in variants}
    assert len(prints) == len(variants)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ([OPTIMIZER, OPTIMIZER], "space: parameter optimizer stands twice; give each name once"),
        ([MOMENTUM], "parameter momentum: exists only for some optimizer, which is no parameter of the space"),
        (
            [
                Categorical(name="a", choices=(1,), when={"b": (1,)}),
                Categorical(name="b", choices=(1,), when={"a": (1,)}),
            ],
            "space: the conditions of a, b form a circle",
        ),
    ],
)
def test_spaces_that_cannot_be(parameters: list[Parameter], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        SearchSpace(parameters)


def test_parameter_by_name() -> None:
    assert CHAIN.parameter("momentum") is MOMENTUM
    assert "momentum" in CHAIN
    with pytest.raises(InputError, match="space: no parameter lr; it has optimizer, momentum, nesterov"):
        CHAIN.parameter("lr")


def test_presets() -> None:
    assert paper().count() == 1080 == 3 * 5 * 2 * 3 * 2 * 3 * 2
    assert extended().count() is None
    with pytest.raises(InputError, match="preset = 'papr' is unknown; use paper or extended"):
        preset("papr")


def test_extended_holds_every_choice_of_paper() -> None:
    wide = extended()
    for parameter in paper():
        values = parameter.values()
        assert values is not None
        assert [value for value in values if not wide.parameter(parameter.name).contains(value)] == []


def test_a_condition_on_a_value_that_the_parent_cannot_take_is_refused() -> None:
    parent = Categorical(name="a", choices=(1, 2))
    child = Categorical(name="b", choices=(1,), when={"a": (9,)})
    with pytest.raises(InputError, match="parameter b: exists for a = 9, which a cannot take"):
        SearchSpace([child, parent])
