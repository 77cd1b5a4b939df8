"""What a study was begun with, held against what its spec says now: the same, another preset of that name, a change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.attributes import FINGERPRINTS, SAID, SETTINGS
from mmtuna.studies.fingerprints import as_kept, difference, merged, plain
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.space import said


def refuse_change(study: optuna.Study, spec: StudySpec, fingerprints: Mapping[str, Mapping[str, Any]]) -> None:
    """InputError where the study was begun on other data, space or settings than `spec` and `fingerprints` say.

    A preset that holds something else in this version is no change: the study goes on with its own space.
    """
    attrs = study.user_attrs
    was = attrs.get(FINGERPRINTS)
    if was is None:
        return
    if ("replay" in was) != ("replay" in fingerprints):
        its = "replayed curves, no trainings" if "replay" in was else "trainings, no replayed curves"
        raise InputError(f"study {study.study_name}: its trials are {its}; take another [study] name")
    now = as_kept(was, merged(spec.describe(), fingerprints))
    if _says_the_same(attrs, spec):
        now["space"] = was["space"]
    if "average" not in was and _averaged(study, was):
        raise InputError(
            f"study {study.study_name}: ema was another average when it was begun, of a share of all iterations and "
            "without the statistics of batch normalisation; its trials would not compare: take another [study] name"
        )
    changed = difference(was, now)
    if changed:
        raise InputError(
            f"study {study.study_name}: {changed}; its trials would not compare: take another [study] name, or the "
            "old value"
        )


def _averaged(study: optuna.Study, was: Mapping[str, Any]) -> bool:
    """Whether `ema` was fixed or sampled, or a function gave it to a trial, of which the spec then says nothing."""
    if was.get("train", {}).get("ema") or "ema" in was.get("space", {}):
        return True
    return any(trial.user_attrs.get(SETTINGS, {}).get("ema") for trial in study.get_trials(deepcopy=False))


def refuse_other_meaning(study: optuna.Study, spec: StudySpec) -> None:
    """InputError where the figures of the study's trials are not what `spec` calls them: metric, value or classes.

    Whatever else the spec says by now, they can be looked at.
    """
    was, now = study.user_attrs.get(FINGERPRINTS) or {}, plain(spec.describe())
    kept = {"metric": was.get("metric"), "classes": was.get("data", {}).get("classes")}
    said = {"metric": now["metric"], "classes": now["data"]["classes"]}
    known = [name for name, part in kept.items() if part is not None]  # what a study of before did not keep
    changed = difference({name: kept[name] for name in known}, {name: said[name] for name in known})
    if changed:
        raise InputError(
            f"study {study.study_name}: {changed}; its trials were measured by the old value: take that, or look at "
            "another study"
        )


def space_of(study: optuna.Study, spec: StudySpec) -> SearchSpace:
    """The space that the study's trials are drawn from: the one that it was begun with, whatever its spec says now."""
    was, written = study.user_attrs.get(FINGERPRINTS), spec.search_space()
    if was is None or not _space_difference(was, spec):
        return written
    return SearchSpace.rebuilt(was["space"], written.names)


def moved_preset(study: optuna.Study, spec: StudySpec) -> str | None:
    """A note where the spec's preset holds something else than when the study was begun; None where it does not."""
    attrs = study.user_attrs
    moved = _space_difference(attrs[FINGERPRINTS], spec) if _says_the_same(attrs, spec) else None
    if not moved:
        return None
    return (
        f"[space] preset = {spec.space.preset!r} is another one in this version ({moved}); the study goes on with the "
        "space that it was begun with"
    )


def _space_difference(was: Mapping[str, Any], spec: StudySpec) -> str | None:
    now = as_kept(was, plain(spec.describe()))
    return difference({"space": was.get("space", {})}, {"space": now["space"]})


def _says_the_same(attrs: Mapping[str, Any], spec: StudySpec) -> bool:
    return FINGERPRINTS in attrs and attrs.get(SAID) == plain(said(spec.space))
