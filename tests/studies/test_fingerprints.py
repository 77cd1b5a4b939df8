from typing import Any

import pytest

from mmtuna.spaces.parameter import Categorical, Float, Int, Parameter
from mmtuna.studies.fingerprints import difference

LOSS = Categorical(name="loss", choices=("dice", "focal"))
RATE = Float(name="rate", low=1e-3, high=0.1, log=True)
CODE = "".join(chr(97 + number % 26) for number in range(100))


def space(parameter: Parameter | None) -> dict[str, Any]:
    return {"space": {} if parameter is None else {"loss": parameter.describe()}}


@pytest.mark.parametrize(
    ("was", "now", "words"),
    [
        (LOSS, LOSS, None),
        (LOSS, Categorical(name="loss", choices=("dice",)), "space.loss.choices lacks focal"),
        (LOSS, Categorical(name="loss", choices=("dice", "focal", 3)), "space.loss.choices has gained 3"),
        (
            LOSS,
            Categorical(name="loss", choices=("dice", "tversky")),
            "space.loss.choices lacks focal and has gained tversky",
        ),
        (
            LOSS,
            Categorical(name="loss", choices=("focal", "dice")),
            "space.loss.choices was in the order dice, focal and is in the order focal, dice",
        ),
        (
            Categorical(name="loss", choices=(True,)),
            Categorical(name="loss", choices=(1,)),
            "space.loss.choices lacks true and has gained 1",
        ),
        (RATE, Float(name="rate", low=1e-2, high=0.1, log=True), "space.loss.low was 0.001 and is 0.01"),
        (RATE, Float(name="rate", low=1e-3, high=0.1), "space.loss.log was true and is false"),
        (
            RATE,
            Int(name="rate", low=1, high=2),
            "space.loss was a number from 0.001 to 0.1 and is a whole number from 1 to 2",
        ),
        (RATE, LOSS, "space.loss was a number from 0.001 to 0.1 and is one of dice, focal"),
        (RATE, None, "space.loss was a number from 0.001 to 0.1 and is absent"),
        (None, LOSS, "space.loss was absent and is one of dice, focal"),
        (
            Float(name="rate", low=0, high=1, when={"optimizer": ("SGD", "Adam")}),
            Float(name="rate", low=0, high=1, when={"optimizer": ("SGD",)}),
            "space.loss.when.optimizer lacks Adam",
        ),
    ],
)
def test_a_difference_of_spaces_names_the_parameter_and_the_values(
    was: Parameter | None, now: Parameter | None, words: str | None
) -> None:
    assert difference(space(was), space(now)) == words


@pytest.mark.parametrize(
    ("was", "now", "words"),
    [
        ({"data": {"classes": ["a", "b"]}}, {"data": {"classes": ["a", "c"]}}, "data.classes lacks b and has gained c"),
        ({"train": {"amp": True}}, {"train": {"amp": 1}}, "train.amp was true and is 1"),
        ({"train": {}}, {"train": {"evaluations": 4}}, "train.evaluations was absent and is 4"),
        (
            {"base": {"unet": CODE}},
            {"base": {"unet": CODE[:90] + "?"}},
            f"base.unet was ...{CODE[70:]} and is ...{CODE[70:90]}?",
        ),
    ],
)
def test_a_difference_shows_the_part_that_differs(was: dict[str, Any], now: dict[str, Any], words: str) -> None:
    assert difference(was, now) == words
