"""What a study knows before trial 1: settled when it is begun, and kept with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import optuna

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.portfolio import Portfolio, adapted, packaged
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import DEFAULTS, UNET
from mmtuna.studies.attributes import BEGUN_WITH
from mmtuna.studies.confirming import to_search
from mmtuna.studies.sampling import sampler_name
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.warming import Earlier, Warmth, name_of

_LEARNING = ("tpe", "gp")
"""The samplers that begin with a portfolio: who asks for chance or for every cell shall have just that."""


def check_beliefs(spec: StudySpec, space: SearchSpace) -> None:
    """InputError where the spec says what its sampler cannot heed, or of its end what cannot be done."""
    name = sampler_name(spec.study, space)
    if spec.study.warm and name != "tpe":
        raise InputError(
            f"[study] warm: the sampler {name} learns nothing of earlier studies; take tpe, or remove warm"
        )
    if name == "grid" and (spec.study.confirm or spec.study.stop == "auto"):
        field = "confirm" if spec.study.confirm else 'stop = "auto"'
        raise InputError(
            f"[study] {field}: a grid is trained whole; take sampler tpe, or remove it and confirm the best by `mmtuna "
            "run SPEC --replicates 3`"
        )
    share, trials = spec.study.confirm, spec.study.trials
    if share and spec.study.hours is None and to_search(share, trials) >= trials:
        raise InputError(
            f"[study] confirm = {share:g} of {trials} trials is none; take more trials, or a greater share"
        )
    believed = next(iter(spec.priors()), None)
    if believed is not None and name == "grid":
        raise InputError(f"[space.params.{believed}] prior: a grid is trained whole; take sampler tpe, or remove prior")


def first_configs(spec: StudySpec, space: SearchSpace, portfolio: Portfolio | None = None) -> list[Params]:
    """The configs that a new study of `spec` begins with, as far as `space` holds them, each once.

    They are of `portfolio`, by default of the one that comes with mmtuna.

    They were found with the UNet: on another base there are none.
    """
    table = spec.study
    if not table.portfolio or spec.model.base != UNET or sampler_name(table, space) not in _LEARNING:
        return []
    found: list[Params] = []
    for config in (portfolio or packaged()).configs:
        fitting = adapted(config, space, {**DEFAULTS, **spec.train})
        if fitting is not None and fitting not in found:
            found.append(fitting)
    return found


def settle(
    study: optuna.Study,
    spec: StudySpec,
    space: SearchSpace,
    warmth: Callable[[], Sequence[Warmth]],
    portfolio: Portfolio | None = None,
) -> None:
    """Notes what `study` is begun with, where it is new. The caller holds the study's lock.

    One that was begun before there was anything to begin with goes on without.
    """
    if BEGUN_WITH in study.user_attrs or study.get_trials(deepcopy=False):
        return
    whole = portfolio or packaged()
    begun = {"version": whole.version, "portfolio": first_configs(spec, space, whole)}
    study.set_user_attr(BEGUN_WITH, {**begun, "warm": [asdict(one) for one in warmth()]})


def portfolio_of(study: optuna.Study) -> Sequence[Params]:
    """The configs that the study was begun with."""
    found: Sequence[Params] = study.user_attrs.get(BEGUN_WITH, {}).get("portfolio", ())
    return found


def earlier_of(study: optuna.Study) -> list[Earlier]:
    """The earlier studies' trials that the study was begun with."""
    kept: Sequence[Mapping[str, Any]] = study.user_attrs.get(BEGUN_WITH, {}).get("warm", ())
    return [Earlier(one["params"], one["rank"]) for warmth in kept for one in warmth["earlier"]]


def notes(
    spec: StudySpec, space: SearchSpace, warmth: Sequence[Warmth], portfolio: Portfolio | None = None
) -> list[str]:
    """What a person should know of how a new study begins."""
    found = [
        f"[study] warm: {one.fitting} of {one.trials} trials of {one.name} fit into [space]; the sampler begins with "
        "these"
        for one in warmth
    ]
    whole = portfolio or packaged()
    used = len(first_configs(spec, space, whole))
    if used:
        rest = "" if used == len(whole.configs) else f" ({len(whole.configs) - used} more do not fit into [space])"
        found.append(
            f"the first {used} trials are configs that did well on other data sets, portfolio {whole.version}{rest}; "
            "[study] portfolio = false begins without"
        )
    return found


def goes_on_with(study: optuna.Study, spec: StudySpec) -> list[str]:
    """A note where a study that has begun knows other earlier studies than its spec names."""
    kept = [str(one["name"]) for one in study.user_attrs.get(BEGUN_WITH, {}).get("warm", ())]
    if [name_of(path) for path in spec.study.warm] == kept:
        return []
    return [f"[study] warm counts when a study is begun; this one was begun with {', '.join(kept) or 'none'}"]
