"""Looks at the test set: kept in the study, each with what was seen, so that nobody looks twice without knowing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna

from mmtuna.studies.attributes import LOOKS


@dataclass(frozen=True, kw_only=True)
class Look:
    """One measurement of a trial on the images that no trial saw.

    Args:
        trial: its number, with `value`, the study's metric on the validation images.
        at: when, ISO 8601 in UTC.
        finished: trials that the study held by then.
        images: how many were measured, of how many `subjects`; None where these are not known.
        figures: by metric its figure (mmtuna.spaces.metrics).
        intervals: by metric the 95 % interval of its figure, where it has one.
        methods: by metric what its interval was made by (mmtuna.studies.statistics.intervals.How).
    """

    trial: int
    value: float
    at: str
    finished: int
    images: int
    subjects: int | None
    figures: Mapping[str, float]
    intervals: Mapping[str, Sequence[float]]
    methods: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON data; `looks_of` reads it."""
        return asdict(self)

    def text(self, metric: str) -> str:
        """The figure of `metric`, and its interval in brackets, such as 0.8123 (0.7512 to 0.8634); - for none."""
        figure, span = self.figures.get(metric), self.intervals.get(metric)
        if figure is None:
            return "-"
        return f"{figure:.4f}" + (f" ({span[0]:.4f} to {span[1]:.4f})" if span else "")


def looks_of(attrs: Mapping[str, Any]) -> list[Look]:
    """The looks of a study of these attributes, the first one first; what is not as mmtuna writes it is left out."""
    kept = attrs.get(LOOKS)
    found = (_look(entry) for entry in (kept if isinstance(kept, list) else []))
    return [look for look in found if look is not None]


def note_look(study: optuna.Study, look: Look, lock: AbstractContextManager[object]) -> list[Look]:
    """Adds a look to the study's, under its lock, and returns all."""
    with lock:
        before = study.user_attrs.get(LOOKS, [])
        study.set_user_attr(LOOKS, [*before, look.plain()])
    return looks_of(study.user_attrs)


def _look(entry: object) -> Look | None:
    """None for what others wrote there."""
    if not isinstance(entry, Mapping):
        return None
    try:
        look = Look(**entry)
        numbers = [look.trial, look.finished, look.images, look.value, *look.figures.values()]
        pairs = [float(end) for low, high in look.intervals.values() for end in (low, high)]
    except (TypeError, ValueError, AttributeError):
        return None
    sound = isinstance(look.at, str) and isinstance(look.methods, Mapping)
    sound = sound and all(isinstance(number, int | float) for number in [*numbers, *pairs])
    return look if sound and isinstance(look.subjects, int | None) else None
