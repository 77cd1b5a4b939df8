"""Pydantic's errors as one line that a person can act on."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

SECRET = (("study", "storage"), ("study", "artifacts"))


def one_line(error: ValidationError, model: type[BaseModel], within: tuple[str, ...] = ()) -> str:
    """The first error of `error` as `[table] key = value is wrong: why`; unknown keys with the nearest known one.

    `within`: where in a spec `model` stands, if it is not the whole of it.
    """
    # What could not be filled in for want of another key follows from what is wrong with that one.
    errors = [entry for entry in error.errors(include_url=False) if entry["type"] != "default_factory_not_called"]
    # A misspelt required key is both missing and unknown; the unknown one carries the hint.
    first = next((entry for entry in errors if entry["type"] == "extra_forbidden"), errors[0])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    inner = tuple(str(part) for part in first["loc"])
    place = (*within, *inner) if inner else ()
    cause = (first.get("ctx") or {}).get("error")
    if not place:
        return f"{cause or first['msg']}{more}"
    where = _where(place)
    if first["type"] == "extra_forbidden":
        return f"{where} is unknown; {_hint(inner, model)}{more}"
    if first["type"] == "missing":
        return f"{where} is missing; add it{more}"
    if cause is not None and str(cause).startswith("["):
        return f"{cause}{more}"
    shown = "" if place[:2] in SECRET else f" = {_show(first['input'])}"
    return f"{where}{shown} is wrong: {cause or _why(first, place, model)}{more}"


def _why(entry: Mapping[str, Any], place: tuple[str, ...], model: type[BaseModel]) -> str:
    """Pydantic's message, or where that speaks of Python's types, what would be right."""
    kind, given = entry["type"], entry["input"]
    if place == ("data", "classes") and kind in ("tuple_type", "too_short"):
        return 'give a list of at least 2 names, the background first: ["background", "fluid"]'
    if kind == "tuple_type":
        return f"give a list: {_show([given])}" if isinstance(given, str | dict) else "give a list"
    if kind == "path_type":
        return 'give text: a path, such as "some/folder"'
    if kind == "string_pattern_mismatch":  # the study's name alone has a pattern
        return "use letters, digits, dot, hyphen, underscore, and begin with no dot or hyphen"
    if kind in ("model_type", "dict_type"):
        return f"it is a table; {_how_to_write(place, given, model)}"
    return str(entry["msg"])


def _how_to_write(place: tuple[str, ...], given: object, model: type[BaseModel]) -> str:
    if len(place) > 2:
        return "give choices = [...], or low = ... and high = ..."
    if len(place) == 2:
        return f"write [{'.'.join(place)}.NAME]"
    key = next(iter(_keys(model, place)), "evaluations")
    return f"write a line [{place[0]}], and below it {key} = {_show(given) if isinstance(given, str) else '...'}"


def _where(place: tuple[str, ...]) -> str:
    table, *keys = place
    if table == "space" and len(keys) > 1 and keys[0] == "params":
        return f"[space.params.{keys[1]}]"
    return f"[{table}] {'.'.join(keys)}".rstrip()


def _hint(place: tuple[str, ...], model: type[BaseModel]) -> str:
    fields = _keys(model, place[:-1])
    near = difflib.get_close_matches(place[-1], fields, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(fields)}"


def _keys(model: type[BaseModel], place: tuple[str, ...]) -> Mapping[str, FieldInfo]:
    """The keys of the table at `place`; none for one that takes any."""
    fields: Mapping[str, FieldInfo] = model.model_fields
    for part in place:
        annotation = fields[part].annotation
        # An optional table is annotated as `Table | None`.
        kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        fields = next((kind.model_fields for kind in kinds if issubclass(kind, BaseModel)), {})
    return fields


def _show(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
