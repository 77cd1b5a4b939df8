"""What of a config of the portfolio a study's own space can hold, and the portfolio that is installed."""

from __future__ import annotations

import pytest

from mmtuna.spaces.parameter import Categorical, Float, Int, Params
from mmtuna.spaces.portfolio import FILE, adapted, odds_of, packaged, rebalanced
from mmtuna.spaces.presets import extended, paper
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import DEFAULTS

SPACE = SearchSpace(
    [
        Categorical(name="optimizer", choices=("SGD", "AdamW")),
        Float(name="lr_sgd", low=1e-3, high=1e-1, log=True, when={"optimizer": ("SGD",)}),
        Int(name="rotation", low=0, high=20, step=10),
        Categorical(name="crop", choices=("none", 192, 320)),
    ]
)
CONFIG: Params = {"optimizer": "SGD", "lr_sgd": 1e-2, "rotation": 10, "crop": 192}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, CONFIG),
        ({"rotation": 14}, CONFIG),
        ({"rotation": 90}, {**CONFIG, "rotation": 20}),
        ({"lr_sgd": 1e-5}, {**CONFIG, "lr_sgd": 1e-3}),
        ({"crop": 288}, {**CONFIG, "crop": 320}),
        ({"optimizer": "LBFGS"}, None),
        ({"crop": "whole"}, None),
        ({"flip": "none"}, CONFIG),  # what the study fixes so
        ({"flip": "both"}, CONFIG),  # one of five is another one
        ({"flip": "both", "batch_size": 8, "schedule": "poly"}, None),  # three of seven
        ({"loss": "cross_entropy"}, CONFIG),  # the study's own
        ({"loss": "dice"}, None),
    ],
)
def test_a_config_is_taken_as_far_as_it_is_still_itself(changes: Params, found: Params | None) -> None:
    assert adapted({**CONFIG, **changes}, SPACE, DEFAULTS) == found


def test_what_a_config_does_not_say_is_left_to_the_sampler() -> None:
    without = {name: value for name, value in CONFIG.items() if name != "rotation"}
    assert adapted(without, SPACE, DEFAULTS) == without


def test_nothing_is_moved_where_it_must_be_exact() -> None:
    assert adapted(CONFIG, SPACE, DEFAULTS, exact=True) == CONFIG
    assert adapted({**CONFIG, "rotation": 14}, SPACE, DEFAULTS, exact=True) is None


@pytest.mark.parametrize(
    ("weight", "theirs", "ours", "found"),
    [
        (1.0, 100.0, 4.0, 1.0),
        (100.0, 100.0, 4.0, 4.0),  # what evens out the classes there does so here
        (10.0, 100.0, 4.0, 2.0),
        (2.0, 4.0, 100.0, 10.0),
        (0.1, 100.0, 4.0, 0.5),
        (10.0, 100.0, 0.5, 10.0),  # a foreground that is no minority
        (10.0, 1.0, 4.0, 10.0),
        (50.0, 1.01, 100.0, 50.0),
        (10.0, 100.0, 109.0, 10.0),  # balanced alike
    ],
)
def test_a_foreground_weight_is_the_same_power_of_the_odds(
    weight: float, theirs: float, ours: float, found: float
) -> None:
    assert rebalanced({"foreground_weight": weight, "crop": 288}, theirs, ours) == {
        "foreground_weight": pytest.approx(found),
        "crop": 288,
    }
    assert rebalanced({"crop": 288}, theirs, ours) == {"crop": 288}


def test_odds_are_of_the_first_class_to_all_others() -> None:
    assert odds_of([900, 80, 10]) == 10.0
    assert [odds_of(pixels) for pixels in ([], [5], [5, 0], [0, 5])] == [1.0] * 4


def test_the_portfolio_fits_into_the_preset_that_it_was_recorded_with() -> None:
    space = SearchSpace([one for one in extended() if one.name != "initial_weights"])
    found = packaged()
    assert f"# Version {found.version}." in FILE.read_text() or not found.configs
    for config in found.configs:
        fitting = adapted(config, space, DEFAULTS)
        assert fitting is not None
        assert fitting.items() <= config.items()
        assert adapted(config, paper(), DEFAULTS) is None  # its rate is not searched there
