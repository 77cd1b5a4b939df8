"""Whether the lists and folders that a person names for the sides of a split are there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.split import in_folder, listed
from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec.tables import DataTable, plain_folder

_PLACES = ("images", "masks", "image_suffix", "mask_suffix")
_OTHER_TESTS = '; a share is given as 0.2, subjects as ["3", "8"]'


def check_named(data: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """InputError for a list or folder of `[data]` train, val or test that check could not read.

    Args:
        data: the whole table, what was proposed and what was given.
        given: what a person settled of it; what was proposed is not looked at, since its lists may not be written yet.
    """
    split = data.get("split", DataTable.model_fields["split"].default)
    sides = ("train", "val", "test") if split in ("lists", "folders") else ("test",)
    named = {side: data.get(side, DataTable.model_fields[side].default) for side in sides}
    sought = {
        side: place for side, place in named.items() if isinstance(place, str) and (side in given or side not in data)
    }
    if not sought:
        return
    dataset = Dataset.open(data["root"], classes=("a", "b"), **{key: data[key] for key in _PLACES if key in data})
    for side, place in sought.items():
        try:
            if split == "folders":
                in_folder(dataset, plain_folder(place), side)
            else:
                listed(dataset, place)
        except InputError as error:
            other = _OTHER_TESTS if side == "test" else ""
            raise InputError(f"[data] {side} = {json.dumps(place)}: {error}{other}") from None
