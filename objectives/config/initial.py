"""Where a config names files of weights that its model starts from: found, replaced by local files, or taken out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_KEYS = ("pretrained", "checkpoint", "class_embed_path")
_OF_MMPRETRAIN = "mmcls://"


def initial_files(model: Mapping[str, Any]) -> dict[str, str]:
    """What a model's config names to start from, by its dotted place: addresses, MMEngine's short names, paths."""
    return {path: holder[key] for path, holder, key in _places(model, "model")}


def use_files(model: dict[str, Any], files: Mapping[str, Path]) -> None:
    """Writes the local file in the place of each name in `files`; what it does not hold is taken out."""
    for _, holder, key in list(_places(model, "model")):
        source = holder[key]
        if source not in files:
            holder[key] = None
        elif source.startswith(_OF_MMPRETRAIN):
            _use_backbone_of(model, holder, key, files[source])
        else:
            holder[key] = str(files[source])
    _drop_empty(model)


def take_out(model: dict[str, Any]) -> None:
    """Takes out all that a model would load by itself: its weights come from elsewhere, or it begins with none."""
    use_files(model, {})


def _places(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in _KEYS and isinstance(value, str):
                yield f"{path}.{key}", node, key
            else:
                yield from _places(value, f"{path}.{key}")
    elif isinstance(node, list | tuple):
        for place, value in enumerate(node):
            yield from _places(value, f"{path}.{place}")


def _use_backbone_of(model: dict[str, Any], holder: dict[str, Any], key: str, file: Path) -> None:
    """A file of mmpretrain holds a whole classifier, whose backbone's names begin so."""
    init = {"type": "Pretrained", "checkpoint": str(file), "prefix": "backbone."}
    if holder is model:
        holder[key] = None
        model["backbone"]["init_cfg"] = init
    else:
        holder.update(init)


def _drop_empty(node: Any) -> None:
    """Removes each Pretrained whose checkpoint is gone from `init_cfg`, which may be a table or a list of them."""
    if isinstance(node, dict):
        init = node.get("init_cfg")
        if isinstance(init, list | tuple):
            node["init_cfg"] = [one for one in init if not _is_empty(one)] or None
        elif _is_empty(init):
            node["init_cfg"] = None
        for value in node.values():
            _drop_empty(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _drop_empty(value)


def _is_empty(init: Any) -> bool:
    return isinstance(init, dict) and "checkpoint" in init and init["checkpoint"] is None
