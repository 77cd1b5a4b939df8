"""Whether a value is of the kind that its field takes, before there is a whole spec to check."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec.tables import DataTable, LimitsTable, ModelTable, ResourcesTable, SpaceTable, StudyTable, Table

TABLES: Mapping[str, type[Table]] = {
    "study": StudyTable,
    "data": DataTable,
    "model": ModelTable,
    "space": SpaceTable,
    "limits": LimitsTable,
    "resources": ResourcesTable,
}
"""All but [train], whose fields are settings."""
_WITHIN = {
    "palette": "[[0, 0, 0], [230, 159, 0]]",
    "start": '[{ decoder = "fcn" }]',
    "params": "{ NAME = { low = 0.1 } }",
}
"""What is given where a list of plain values is not enough."""


def parse_value(text: str) -> Any:
    """A value as TOML has it; what is none is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def check_field(table: str, name: str, value: object) -> None:
    """InputError where `[table] name` takes another kind of value, with the `--set` that gives it.

    Fields of `[train]`, and such as no table has, are passed over. What fields say together only the spec tells.
    """
    field = TABLES[table].model_fields.get(name) if table in TABLES else None
    if field is None:
        return
    kinds = _kinds(field.annotation) - {type(None)}
    if kinds == {tuple} and not isinstance(value, list):
        raise InputError(f"[{table}] {name} takes a list: --set '{table}.{name}={_WITHIN.get(name) or _listed(value)}'")
    if kinds == {dict} and not isinstance(value, dict):
        raise InputError(f"[{table}] {name} takes a table: --set '{table}.{name}={_WITHIN[name]}'")
    if name in ("classes", "drop") and isinstance(value, list) and not all(isinstance(item, str) for item in value):
        shown = json.dumps([str(item) for item in value])
        raise InputError(f"[{table}] {name} takes names, as text: --set '{table}.{name}={shown}'")
    if tuple in kinds or dict in kinds:
        return
    try:
        kind: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        TypeAdapter(kind, config=ConfigDict(strict=True)).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        cause = (first.get("ctx") or {}).get("error")
        raise InputError(f"[{table}] {name}: {cause or first['msg']}") from None


def _kinds(annotation: Any) -> set[Any]:
    """The types that an annotation is a union of, without what they hold."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return {kind for one in get_args(annotation) for kind in _kinds(one)}
    return {Literal if origin is Literal else origin or annotation}


def _listed(value: object) -> str:
    """A value as a list in TOML: text at its commas."""
    if not isinstance(value, str):
        return json.dumps([value], default=str)
    items = (item.strip(" \"'") for item in value.strip("[]() ").split(","))
    return json.dumps([parse_value(item) for item in items if item], default=str)
