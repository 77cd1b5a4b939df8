"""Dotted keys reach plain values that exist, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mmtuna.objectives.config.dotted import get_key, set_key
from mmtuna.spaces.errors import InputError

CFG: dict[str, Any] = {
    "model": {
        "head": {"dropout": 0.1, "sizes": (1, 2)},
        "aux": [{"weight": 0.4}, {"weight": 0.2}],
        "scales": [1, 2, 3],
    },
    "seed": None,
}


@pytest.mark.parametrize(
    ("key", "value"),
    [("model.head.dropout", 0.5), ("model.aux.1.weight", 0.9), ("model.scales.2", 6), ("seed", 4)],
)
def test_a_value_is_replaced_where_it_stands(key: str, value: object) -> None:
    cfg = copy.deepcopy(CFG)
    set_key(cfg, key, value, "x")
    assert get_key(cfg, key, "x") == value
    before = get_key(CFG, key, "x")
    set_key(cfg, key, before, "x")
    assert cfg == CFG


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("modle.head", r"base: no key modle.head; did you mean model\?"),
        ("model.head.drop", r"base: no key model.head.drop; did you mean dropout\?"),
        ("model.zzz", r"base: no key model.zzz; model has head, aux, scales"),
        ("zzz", r"base: no key zzz; the config has model, seed"),
        ("model.aux.2.weight", r"base: no key model.aux.2.weight; model.aux has 0, 1"),
        ("model.aux.-1.weight", r"no key model.aux.-1.weight"),
        ("model.head.dropout.x", r"no key model.head.dropout.x; model.head.dropout is the plain value 0.1"),
        ("model.head", r"base: model.head is a table; name one of its values, such as model.head.dropout"),
        ("model.scales", r"base: model.scales is a list; name one of its values, such as model.scales.0"),
        ("model.head.sizes.0", r"base: model.head.sizes.0 lies in a tuple; name it as a list in the base config"),
        ("model.", r"no key model.; model has"),
        ("", r"no key ; the config has"),
    ],
)
def test_a_key_that_is_not_there_is_an_error_and_changes_nothing(key: str, message: str) -> None:
    cfg = copy.deepcopy(CFG)
    with pytest.raises(InputError, match=message):
        set_key(cfg, key, 1, "base")
    assert cfg == CFG
