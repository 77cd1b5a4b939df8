"""Pydantic's errors as one line that a person can act on."""

from __future__ import annotations

import difflib
import json
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

SECRET = (("study", "storage"), ("study", "artifacts"))


def one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """The first error of `error` as `[table] key = value is wrong: why`; unknown keys with the nearest known one."""
    errors = error.errors(include_url=False)
    # A misspelt required key is both missing and unknown; the unknown one carries the hint.
    first = next((entry for entry in errors if entry["type"] == "extra_forbidden"), errors[0])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    place = tuple(str(part) for part in first["loc"])
    cause = (first.get("ctx") or {}).get("error")
    if not place:
        return f"{cause or first['msg']}{more}"
    where = _where(place)
    if first["type"] == "extra_forbidden":
        return f"{where} is unknown; {_hint(place, model)}{more}"
    if first["type"] == "missing":
        return f"{where} is missing; add it{more}"
    if cause is not None and str(cause).startswith("["):
        return f"{cause}{more}"
    shown = "" if place[:2] in SECRET else f" = {_show(first['input'])}"
    return f"{where}{shown} is wrong: {cause or first['msg']}{more}"


def _where(place: tuple[str, ...]) -> str:
    table, *keys = place
    if table == "space" and len(keys) > 1 and keys[0] == "params":
        return f"[space.params.{keys[1]}]"
    return f"[{table}] {'.'.join(keys)}".rstrip()


def _hint(place: tuple[str, ...], model: type[BaseModel]) -> str:
    fields = model.model_fields
    for part in place[:-1]:
        annotation = fields[part].annotation
        # An optional table is annotated as `Table | None`.
        tables = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        fields = next(kind.model_fields for kind in tables if issubclass(kind, BaseModel))
    near = difflib.get_close_matches(place[-1], fields, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(fields)}"


def _show(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
