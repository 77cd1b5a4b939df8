"""The commented study.toml that `mmtuna init` writes: every field with its meaning and its default."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import write_whole
from mmtuna.studies.spec.fields import TABLES
from mmtuna.studies.spec.study_spec import StudySpec
from mmtuna.studies.spec.tables import Table

_HEAD = """\
# A study of mmtuna. Lines that are commented out show how a value is given; where none is, the default counts.
# Relative paths start at the folder of this file. The environment variable MMTUNA_STORAGE replaces [study] storage:
# a database URL with a password belongs there, not here.
"""
_SHOWN = {
    "preset": '"paper"',
    "folder": '"runs/NAME"',
    "storage": '"sqlite:///runs/NAME/study.db"',
    "artifacts": '"s3://bucket/prefix"',
    "image_suffix": '".png"',
    "mask_suffix": '".png"',
    "palette": "[[0, 0, 0], [230, 159, 0]]",
    "values": "[0, [1, 255]]",
    "channels": "[0]",
    "range": '"p0.5-p99.5"',
    "subjects": '"subjects.csv"',
    "test": "0.2",
    "threads": "4",
    "nsd_tolerance": "2.0",
    "deadline": "3600.0",
    "hours": "8.0",
    "max_parameters": "5_000_000",
    "max_latency_ms": "50.0",
    "max_memory_mib": "512.0",
}
_SPACE_EXAMPLES = """\
# A parameter of your own, or the preset's with another range:
# [space.params.lr_sgd]
# low = 1e-3
# high = 1e-1
# log = true
# when = { optimizer = ["SGD"] }
# prior = 1e-2  # what you believe in; prior_spread = 0.15 is how surely
#
# Any key of the MMSegmentation config, in quotes:
# [space.params."model.decode_head.dropout_ratio"]
# low = 0.0
# high = 0.5
"""
_TRAIN = """\
# Settings that are the same in every trial; those that are neither here nor in [space] are the paper's.
[train]
"""
_TRAIN_EXAMPLES = """\
# evaluations = 5
# precision = "fp16"  # needs a GPU
# speed = "auto"  # what is faster on this machine; "exact" trains bit for bit as stock MMSegmentation
# ema = 0.05  # evaluates an average of the weights, of which half is younger than a twentieth of the iterations so far
# "model.auxiliary_head.dropout_ratio" = 0.2
"""


def write_commented(
    path: str | Path,
    *,
    data_root: str | Path,
    classes: Sequence[str] = ("background", "fluid"),
    name: str | None = None,
    preset: str | None = "paper",
    values: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Writes a study.toml that loads back to the defaults, but for what the arguments say.

    `name` is the study's, by default that of the file's folder, with other signs than a name may hold turned to `-`.
    `values` maps a table (`study`, `data`, ...) to fields that differ from their defaults; None stands for the default.
    An existing file is an InputError, since it may hold a person's edits, and a field or value that no spec has.
    """
    path = Path(path)
    if path.exists():
        raise InputError(f"{path}: exists already; remove it, or give another folder")
    given: dict[str, dict[str, Any]] = {table: dict(fields) for table, fields in (values or {}).items()}
    given["study"] = {"name": name or _name_from(path.resolve().parent.name)} | given.get("study", {})
    given["data"] = {"root": str(data_root), "classes": list(classes)} | given.get("data", {})
    given["space"] = {"preset": preset} | given.get("space", {})
    for table, fields in given.items():
        known = TABLES[table].model_fields if table in TABLES else fields
        strange = next((key for key in fields if key not in known), None)
        if strange is not None:
            raise InputError(f"[{table}] {strange} is unknown; known: {', '.join(known)}")
    text = _text(given)
    StudySpec.parse(text, path)
    write_whole(path, text)


def _name_from(folder: str) -> str:
    kept = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "-" for sign in folder)
    return kept.lstrip(".-")[:100] or "study"


def _text(given: Mapping[str, Mapping[str, Any]]) -> str:
    parts = [_HEAD]
    for name, table in TABLES.items():
        if name == "resources":
            train = "".join(f"{_key(key)} = {_toml(value)}\n" for key, value in given.get("train", {}).items())
            parts.append(_TRAIN + train + _TRAIN_EXAMPLES)
        parts.append(_table_text(name, table, given.get(name, {})))
        if name == "space":
            parts.append(_SPACE_EXAMPLES)
            parts += [_parameter_text(key, fields) for key, fields in given["space"].get("params", {}).items()]
    return "\n".join(parts)


def meanings(table: type[Table]) -> dict[str, str]:
    """What the docstrings below the fields of a table say of each."""
    (found,) = ast.parse(inspect.getsource(table)).body
    assert isinstance(found, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(said.value.value)
        for field, said in pairwise(found.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant) and isinstance(said.value.value, str)
    }


def _table_text(name: str, table: type[Table], given: Mapping[str, Any]) -> str:
    lines, said = [f"[{name}]"], meanings(table)
    for key, field in table.model_fields.items():
        if key == "params":
            continue
        lines.append(f"# {said[key]}")
        value = given.get(key, _default(field))
        lines.append(f"# {key} = {_SHOWN.get(key, '...')}" if value is None else f"{key} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _parameter_text(name: str, fields: Mapping[str, Any]) -> str:
    return "\n".join([f"[space.params.{_key(name)}]", *(f"{key} = {_toml(fields[key])}" for key in fields)]) + "\n"


def _default(field: FieldInfo) -> Any:
    return None if field.default is PydanticUndefined else field.default


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() else json.dumps(name)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    # JSON's strings, numbers and booleans are TOML's too.
    return json.dumps(value)
