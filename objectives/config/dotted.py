"""Dotted keys: any value of any config as a parameter, and never a silent new branch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Value

# Values that settings write: what the setting says and what the key says would contradict each other.
_SECOND_NAMES: Mapping[str, tuple[str, ...]] = {
    "model.backbone.base_channels": ("base_channels",),
    "model.decode_head.dropout_ratio": ("dropout",),
    "model.auxiliary_head.dropout_ratio": ("dropout",),
    "model.test_cfg.mode": ("inference",),
    "optim_wrapper.type": ("precision",),
    "optim_wrapper.dtype": ("precision",),
    "optim_wrapper.clip_grad.max_norm": ("clip_norm",),
    "optim_wrapper.optimizer.type": ("optimizer",),
    "optim_wrapper.optimizer.lr": ("lr_sgd", "lr_adam", "optimizer"),
    "optim_wrapper.optimizer.momentum": ("momentum", "optimizer"),
    "optim_wrapper.optimizer.weight_decay": ("weight_decay", "optimizer"),
    "train_dataloader.batch_size": ("batch_size",),
    "train_dataloader.num_workers": ("loader_workers",),
}


def refuse_second_name(key: str, values: Mapping[str, Value]) -> None:
    """InputError for a key that one of the settings `values` sets already."""
    names = _SECOND_NAMES.get(key, ())
    if set(names) & set(values):
        use = " or ".join(name for name in names if name != "optimizer" or len(names) == 1)
        raise InputError(f"{key}: is what {use} sets; use {use} in its place")


def get_key(cfg: Any, key: str, where: str) -> Any:
    """The value at a dotted `key`; numbers step into lists. InputError where the key does not exist."""
    parent, last = _walk(cfg, key, where)
    return parent[last]


def set_key(cfg: Any, key: str, value: Any, where: str) -> None:
    """Replaces the value at a dotted `key`. InputError where it does not exist or is not a plain value."""
    parent, last = _walk(cfg, key, where)
    if isinstance(parent[last], dict | list | tuple):
        kind = "table" if isinstance(parent[last], dict) else "list"
        raise InputError(f"{where}: {key} is a {kind}; name one of its values, such as {key}.{_first(parent[last])}")
    parent[last] = value


def _walk(cfg: Any, key: str, where: str) -> tuple[Any, Any]:
    node, path = cfg, key.split(".")
    for depth, part in enumerate(path):
        names = [str(name) for name in (node if isinstance(node, dict) else range(len(node)))]
        if part not in names:
            near = difflib.get_close_matches(part, names, n=1)
            here = ".".join(path[:depth]) or "the config"
            hint = f"did you mean {near[0]}?" if near else f"{here} has {', '.join(names)}"
            raise InputError(f"{where}: no key {key}; {hint}")
        step: Any = part if isinstance(node, dict) else int(part)
        if depth == len(path) - 1:
            if isinstance(node, tuple):
                raise InputError(f"{where}: {key} lies in a tuple; name it as a list in the base config")
            return node, step
        node = node[step]
        if not isinstance(node, dict | list | tuple):
            raise InputError(f"{where}: no key {key}; {'.'.join(path[: depth + 1])} is the plain value {node!r}")
    raise InputError(f"{where}: the key is empty; write one such as model.backbone.base_channels")


def _first(node: Any) -> str:
    return str(next(iter(node), "0")) if isinstance(node, dict) else "0"
