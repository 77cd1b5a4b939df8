"""What must not change within a study, compared leaf by leaf."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mmtuna.spaces.settings import FORMER
from mmtuna.studies.idle import idle_as_kept

ABSENT = "absent"
_SUM = ".sha256"


def merged(described: Mapping[str, Any], fingerprints: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`fingerprints` beside and within what the spec says, as the plain data that a storage gives back."""
    both = dict(described)
    for name, leaves in fingerprints.items():
        both[name] = {**both.get(name, {}), **leaves} if isinstance(leaves, Mapping) else leaves
    return plain(both)


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """`value` as a storage gives it back."""
    found: dict[str, Any] = json.loads(json.dumps(value, sort_keys=True))
    return found


def as_kept(was: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """`now` as it would have been kept when `was` was: less what was not kept then, with what no trial ever felt.

    Sums of start weights, and of whose the images are, came later, and so did how weights are averaged. Settings that
    change nothing could be written then and are refused now: whoever removes them goes on with the same study, and so
    does who writes one under the name that it has now.
    """
    now = _under_former_names(was, now)
    same = dict(now)
    if "average" not in was:
        same.pop("average", None)
    for part in ("weights", "data"):
        known = was.get(part, {})
        if part in now:
            same[part] = {name: leaf for name, leaf in now[part].items() if name in known or not name.endswith(_SUM)}
    return same | idle_as_kept(was, now)


def _under_former_names(was: Mapping[str, Any], now: Mapping[str, Any]) -> Mapping[str, Any]:
    before, train = was.get("train", {}), dict(now.get("train", {}))
    for name, former in FORMER.items():
        if name in before and name not in train and former.values.get(before[name]) == train.get(former.now):
            train[name] = before[name]
            del train[former.now]
    return {**now, "train": train} if "train" in now else now


def difference(was: Mapping[str, Any], now: Mapping[str, Any], place: str = "") -> str | None:
    """The first part that differs, in words such as "space.loss.choices lacks focal"; None where all are equal."""
    for name in sorted({*was, *now}):
        old, new = was.get(name, ABSENT), now.get(name, ABSENT)
        here = f"{place}.{name}" if place else name
        if _is_parameter(old) or _is_parameter(new):
            found = _of_parameter(old, new, here)
        elif isinstance(old, Mapping) and isinstance(new, Mapping):
            found = difference(old, new, here)
        else:
            found = _of_leaf(old, new, here)
        if found:
            return found
    return None


def _of_leaf(old: object, new: object, place: str) -> str | None:
    if json.dumps(old) == json.dumps(new):  # 1 and True are equal in Python
        return None
    if isinstance(old, list) and isinstance(new, list):
        return _of_lists(old, new, place)
    shown, other = short(old), short(new)
    if shown == other:  # they differ beyond what is shown
        texts = [_word(value) for value in (old, new)]
        place_of = next(at for at, (one, two) in enumerate(zip(*texts, strict=False)) if one != two)
        shown, other = (f"...{text[max(0, place_of - 20) : place_of + 40]}" for text in texts)
    return f"{place} was {shown} and is {other}"


def _of_lists(old: list[Any], new: list[Any], place: str) -> str:
    before, after = ([_word(value) for value in values] for values in (old, new))
    lacking = ", ".join(word for word in before if word not in after)
    gained = ", ".join(word for word in after if word not in before)
    if lacking or gained:
        words = [f"{verb} {short(values)}" for verb, values in (("lacks", lacking), ("has gained", gained)) if values]
        return f"{place} {' and '.join(words)}"
    return f"{place} was in the order {short(', '.join(before))} and is in the order {short(', '.join(after))}"


def _is_parameter(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) == {"distribution", "when"}


def _of_parameter(old: Any, new: Any, place: str) -> str | None:
    """`difference` of two parameters as `Parameter.describe` describes them, one of which may be absent."""
    before, after = ({} if value == ABSENT else json.loads(value["distribution"]) for value in (old, new))
    if before.get("name") != after.get("name"):
        return f"{place} was {_range(before)} and is {_range(after)}"
    one, other = before["attributes"], after["attributes"]
    return difference(one, other, place) or difference(old["when"], new["when"], f"{place}.when")


def _range(distribution: Mapping[str, Any]) -> str:
    """A distribution, as Optuna writes it in JSON, in a few words."""
    if not distribution:
        return ABSENT
    parts = distribution["attributes"]
    if "choices" in parts:
        return f"one of {short(', '.join(map(_word, parts['choices'])))}"
    kind = "a whole number" if distribution["name"] == "IntDistribution" else "a number"
    return f"{kind} from {_word(parts['low'])} to {_word(parts['high'])}"


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def short(value: object) -> str:
    """`value` on one line of at most 80 signs."""
    text = _word(value)
    return text if len(text) <= 80 else text[:77] + "..."
