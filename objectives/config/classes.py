"""How many classes a model tells apart: in every place of a base config that says so, and nowhere else."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from mmtuna.objectives.config.dotted import get_key
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.spaces.errors import InputError

Cfg = dict[str, Any]
HEADS = ("decode_head", "auxiliary_head")
_BOUNDARY_HEADS = ("STDCHead",)
"""Heads that tell boundaries from what is none, whatever the data's classes are."""


def heads(model: Cfg) -> Iterator[tuple[str, Cfg]]:
    """Every head with the place it stands in, decode_head or auxiliary_head; of K-Net's the one that has the loss."""
    for place in HEADS:
        found = model.get(place) or []
        for head in found if isinstance(found, list | tuple) else [found]:
            yield place, head.get("kernel_generate_head", head)


def class_count(model: Cfg) -> int | None:
    """The number of classes that the deciding head of a model's config names, None where it names none."""
    counts = [head["num_classes"] for place, head in heads(model) if place == HEADS[0] and "num_classes" in head]
    return int(counts[-1]) if counts else None


def set_classes(cfg: Cfg, dataset: Dataset, base_name: str) -> None:
    """Number of classes of every head, and the mask value that is not counted.

    Weights of the base's own classes say nothing about others: a list of them is left out. InputError for a base whose
    decode head names no number of classes.
    """
    model = cfg["model"]
    if class_count(model) is None:
        raise InputError(
            f"base config {base_name}: its decode_head names no num_classes, so it cannot be told of "
            f"{len(dataset.classes)} classes; name a config for segmentation"
        )
    _set_count(model, dataset.classes)
    if dataset.ignore_index != 255:
        for _, head in heads(model):
            head["ignore_index"] = dataset.ignore_index
        model["data_preprocessor"]["seg_pad_val"] = dataset.ignore_index


def is_class_count(cfg: Cfg, key: str, classes: int) -> bool:
    """Whether a dotted `key` is a head's number of channels that follows from its number of classes.

    Of a head that puts features out, as MaskFormer's, the same key is free.
    """
    holder, _, last = key.rpartition(".")
    if last != "out_channels" or not holder.startswith(tuple(f"model.{place}" for place in HEADS)):
        return False
    head = get_key(cfg, holder, "config")
    return isinstance(head, dict) and "num_classes" in head and head.get(last) in (None, classes)


def set_ignored(node: Any, ignore_index: int) -> None:
    """Every place of a base that names the mask value which is not counted, or fills masks with it, names the data's.

    One that stayed behind would train a class as nothing, or nothing as a class.
    """
    if isinstance(node, dict):
        for key in ("ignore_index", "seg_pad_val"):
            if isinstance(node.get(key), int):
                node[key] = ignore_index
        pad = node.get("pad_val")
        if isinstance(pad, dict) and "seg" in pad:
            pad["seg"] = ignore_index
        for child in node.values():
            set_ignored(child, ignore_index)
    elif isinstance(node, list | tuple):
        for child in node:
            set_ignored(child, ignore_index)


def with_one_more_class(model: Cfg) -> Cfg:
    """The same model for one class more: the tensors that differ in it are those that depend on the classes."""
    more = copy.deepcopy(model)
    count = class_count(model) or 0
    _set_count(more, [f"class {number}" for number in range(count + 1)])
    return more


def lost_weights(model: Cfg, classes: int) -> str | None:
    """What `set_classes` leaves out of a base's model that was made for another number of classes, in words."""
    count = class_count(model)
    if count is None or count == classes:
        return None
    lost = sum(_of_classes(node, count) for place in HEADS for node in _tables(model.get(place)))
    if not lost:
        return None
    return f"class_weight is for the base's {count} classes and is left out: the data have {classes}"


def _set_count(model: Cfg, classes: Sequence[str]) -> None:
    old, new = class_count(model), len(classes)
    assert old is not None
    for place in HEADS:
        for node in _tables(model.get(place)):
            if "num_classes" in node and node.get("type") not in _BOUNDARY_HEADS:
                node["num_classes"] = new
                if node.get("out_channels") in (1, old):  # one channel of a sigmoid would not fit a list of classes
                    node["out_channels"] = new
            if old != new and _of_classes(node, old):
                weights = node.pop("class_weight")
                if len(weights) > old and len(set(weights[:old])) == 1:  # equal ones, and one for "no object"
                    node["class_weight"] = [*weights[:1] * new, *weights[old:]]
    encoder = model.get("text_encoder")
    if isinstance(encoder, dict):  # classes are told by their names
        encoder |= {"dataset_name": None, "vocabulary": list(classes)}


def _of_classes(node: Cfg, count: int) -> bool:
    weights = node.get("class_weight")
    return isinstance(weights, list | tuple) and len(weights) in (count, count + 1)


def _tables(node: Any) -> Iterator[Cfg]:
    """Every table in `node`, itself first."""
    if isinstance(node, dict):
        yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ()
    for child in children:
        yield from _tables(child)
