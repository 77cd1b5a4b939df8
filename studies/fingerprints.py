"""What must not change within a study, compared leaf by leaf."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mmtuna.studies.idle import idle_as_kept

ABSENT = "absent"


def merged(described: Mapping[str, Any], fingerprints: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`fingerprints` beside and within what the spec says, as the plain data that a storage gives back."""
    both = dict(described)
    for name, leaves in fingerprints.items():
        both[name] = {**both.get(name, {}), **leaves} if isinstance(leaves, Mapping) else leaves
    plain: dict[str, Any] = json.loads(json.dumps(both, sort_keys=True))
    return plain


def as_kept(was: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """`now` as it would have been kept when `was` was: less what was not kept then, with what no trial ever felt.

    Sums of start weights came later. Settings that change nothing could be written then and are refused now: whoever
    removes them goes on with the same study.
    """
    known, weights = was.get("weights", {}), now.get("weights", {})
    kept = {key: value for key, value in weights.items() if key in known or not key.endswith(".sha256")}
    same = {**now, "weights": kept} if "weights" in now else dict(now)
    return same | idle_as_kept(was, now)


def first_difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, object, object] | None:
    """(dotted place, old value, new value) of the first leaf that differs, or None where all are equal."""
    for name in sorted({*was, *now}):
        old, new = was.get(name, ABSENT), now.get(name, ABSENT)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            inner = first_difference(old, new)
            if inner:
                return f"{name}.{inner[0]}", inner[1], inner[2]
        elif old != new or isinstance(old, bool) != isinstance(new, bool):
            return name, old, new
    return None


def short(value: object) -> str:
    """`value` on one line of at most 80 signs."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
