"""What a study knows before trial 1: settled when it is begun, and kept with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import optuna
from optuna.pruners import NopPruner

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.portfolio import Earlier, Portfolio, adapted, packaged, packed, unpacked
from mmtuna.spaces.prior import Prior
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import DEFAULTS, UNET
from mmtuna.spaces.table2 import TABLE2
from mmtuna.studies.attributes import BEGUN_WITH, SEARCHED, WORKERS
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.standing import params_key
from mmtuna.studies.strategy.confirming import CONFIGS, plan_of, to_search
from mmtuna.studies.strategy.pruning import build_pruner
from mmtuna.studies.strategy.sampling import LEARNING, SpaceSampler, build_sampler, sampler_name
from mmtuna.studies.strategy.warming import Warmth, fitting, name_of


def asked_for(spec: StudySpec, trials: int | None) -> StudySpec:
    """The spec of a study that is to hold `trials` finished trials now; None: those that `[study]` says.

    More than `[study]` says count as if it said so: whether a grid fits, and what is confirmed, are up to them. Fewer
    are a part of the study, which goes on later, beside workers that were asked for all of it: by what it is searched
    stays, and so small a part that its `confirm` is none of them only searches.
    """
    if trials is None or trials <= spec.study.trials:
        return spec
    return spec.model_copy(update={"study": spec.study.model_copy(update={"trials": trials})})


def check_beliefs(spec: StudySpec, space: SearchSpace) -> None:
    """InputError where the spec says what its sampler cannot heed, or of its end what cannot be done."""
    name = sampler_name(spec.study, space)
    if spec.study.warm and name != "tpe":
        raise InputError(
            f"[study] warm: the sampler {name} learns nothing of earlier studies; take tpe, or remove warm"
        )
    share = 0.0 if spec.study.confirm == "auto" else spec.study.confirm
    if name == "grid" and (share or spec.study.stop == "auto"):
        field = "confirm" if share else 'stop = "auto"'
        raise InputError(
            f"[study] {field}: a grid is trained whole; take sampler tpe, or remove it and confirm the best by `mmtuna "
            "run SPEC --replicates 3`"
        )
    if share and spec.study.hours is None and to_search(share, spec.study.trials) >= spec.study.trials:
        raise InputError(
            f"[study] confirm = {share:g} of {spec.study.trials} trials is none; take more trials, or a greater share"
        )
    believed = next(iter(spec.priors()), None)
    if believed is not None and name == "grid":
        raise InputError(f"[space.params.{believed}] prior: a grid is trained whole; take sampler tpe, or remove prior")


def first_configs(spec: StudySpec, space: SearchSpace, portfolio: Portfolio | None = None) -> list[Params]:
    """The configs that a new study of `spec` begins with, as far as `space` holds them, each once.

    They are of `portfolio`, by default of the one that comes with mmtuna.
    """
    if not _begins_with_others(spec, space, LEARNING):
        return []
    found: list[Params] = []
    for config in (portfolio or packaged()).configs:
        params = adapted(config, space, {**DEFAULTS, **spec.train})
        if params is not None and params not in found:
            found.append(params)
    return found


def _known_of_others(spec: StudySpec, space: SearchSpace, portfolio: Portfolio) -> tuple[Earlier, ...]:
    """The portfolio's trials that the sampler of a new study of `spec` knows, of those that `space` can hold.

    Where a person names earlier studies of their own it knows these alone.
    """
    if spec.study.warm or not _begins_with_others(spec, space, ("tpe",)):
        return ()
    return tuple(fitting(portfolio.earlier, space, {**DEFAULTS, **spec.train}))


def _begins_with_others(spec: StudySpec, space: SearchSpace, samplers: Sequence[str]) -> bool:
    """Whether it begins with what was recorded: with the UNet, so that on another base that says nothing; and who asks
    for chance or for every cell shall have just that."""
    return spec.study.portfolio and spec.model.base == UNET and sampler_name(spec.study, space) in samplers


def settle(
    study: optuna.Study,
    spec: StudySpec,
    space: SearchSpace,
    warmth: Callable[[], Sequence[Warmth]],
    portfolio: Portfolio | None = None,
    odds: float = 1.0,
) -> None:
    """Notes what `study` is begun with, where it is new. The caller holds the study's lock.

    One that was begun before there was anything to begin with goes on without. `odds` are those of its data
    (`mmtuna.spaces.portfolio.odds_of`).
    """
    if BEGUN_WITH in study.user_attrs or study.get_trials(deepcopy=False):
        return
    whole = portfolio or packaged()
    here = whole.at(odds)
    begun = {
        "version": whole.version,
        "odds": odds,
        "portfolio": first_configs(spec, space, here),
        "others": packed(_known_of_others(spec, space, here)),
        "warm": [{**asdict(one), "earlier": packed(one.earlier)} for one in warmth()],
    }
    study.set_user_attr(BEGUN_WITH, begun)


def portfolio_of(study: optuna.Study) -> Sequence[Params]:
    """The configs that the study was begun with."""
    found: Sequence[Params] = study.user_attrs.get(BEGUN_WITH, {}).get("portfolio", ())
    return found


def odds_of(study: optuna.Study) -> float:
    """How many background pixels there are for one of all other classes in the study's data; 1 where nobody knows."""
    return float(study.user_attrs.get(BEGUN_WITH, {}).get("odds", 1.0))


def earlier_of(study: optuna.Study) -> list[Earlier]:
    """The trials of others, or of a person's earlier studies, that the study was begun with."""
    begun: Mapping[str, Any] = study.user_attrs.get(BEGUN_WITH, {})
    kept = [begun.get("others", ()), *(warmth["earlier"] for warmth in begun.get("warm", ()))]
    return [one for trials in kept for one in unpacked(trials)]


def next_worker(study: optuna.Study, sampler: str, pruner: str) -> int:
    """The ordinal of a new worker: 0, 1, ... The caller holds the study's lock."""
    ordinal = int(study.user_attrs.get(WORKERS, 0))
    note_searched(study, sampler, pruner, before=ordinal > 0)
    study.set_user_attr(WORKERS, ordinal + 1)
    return ordinal


def note_searched(study: optuna.Study, sampler: str, pruner: str, *, before: bool) -> None:
    """Keeps by what the study is searched, for a report to tell: a spec may name others tomorrow.

    `before`: whether it was searched already when nothing of this was kept. The caller holds the study's lock.
    """
    so_far = study.user_attrs.get(SEARCHED, [[None, None]] if before else [])
    if [sampler, pruner] not in so_far:
        study.set_user_attr(SEARCHED, [*so_far, [sampler, pruner]])


def searched_by(study: optuna.Study, table: StudyTable, space: SearchSpace) -> tuple[str, str]:
    """The sampler and the pruner that `study` has: by the names of `[study]` where they are those that `join` gives
    it, else by their classes."""
    sampler, pruner = type(study.sampler).__name__, type(study.pruner).__name__
    if isinstance(study.sampler, SpaceSampler):
        sampler = sampler_name(table, space)
    if type(study.pruner) is type(build_pruner(table)):
        pruner = table.pruner
    elif isinstance(study.pruner, NopPruner):
        pruner = "none"
    elif table.pruner == "wilcoxon":  # between the folds an Objective asks it, whatever the study's pruner says
        pruner = f"{table.pruner} and {pruner}"
    return sampler, pruner


def join(study: optuna.Study, table: StudyTable, space: SearchSpace, priors: Mapping[str, Prior]) -> int:
    """One more worker of the study, its ordinal: sampler and pruner of `study` are the table's from now. The caller
    holds the study's lock."""
    ordinal = next_worker(study, sampler_name(table, space), table.pruner)
    so_far, earlier = len(study.get_trials(deepcopy=False)), earlier_of(study)
    study.sampler = build_sampler(table, space, so_far, ordinal, priors=priors, earlier=earlier)
    study.pruner = build_pruner(table)
    return ordinal


def notes(
    spec: StudySpec,
    space: SearchSpace,
    warmth: Sequence[Warmth],
    portfolio: Portfolio | None = None,
    odds: float = 1.0,
) -> list[str]:
    """What a person should know of how a new study begins."""
    found = [
        f"[study] warm: {one.fitting} of {one.trials} trials of {one.name} fit into [space]; the sampler begins with "
        "these"
        for one in warmth
    ]
    count, trials = space.count(), spec.study.trials
    found += _too_many_to_begin_with(spec)
    if count is not None and count < trials and sampler_name(spec.study, space) == "grid":
        found.append(
            f"a grid of {count} combinations in {trials} trials: combinations are trained again, with further seeds, "
            f"until all are done; [study] trials = {count} trains each once"
        )
    plan = plan_of(spec.study, space)
    if spec.study.confirm == "auto" and (share := plan.of(trials).confirm):
        found.append(
            f"the last {share:.0%} of trials train the best {CONFIGS} configs once more, and the surest wins; [study] "
            "confirm = 0 searches to the end"
        )
    whole = portfolio or packaged()
    here = whole.at(odds)
    used, known = len(first_configs(spec, space, here)), len(_known_of_others(spec, space, here))
    if used:
        rest = "" if used == len(whole.configs) else f" ({len(whole.configs) - used} more do not fit into [space])"
        learnt = f", and the sampler knows {known} trials there" if known else ""
        weighed = f", foreground weights for {odds:.3g} pixels of background to one" if odds > 1 else ""
        found.append(
            f"the first {used} trials are configs that did well on other data sets{rest}{learnt}: portfolio "
            f"{whole.version}{weighed}; [study] portfolio = false begins without"
        )
    return found


def _too_many_to_begin_with(spec: StudySpec) -> list[str]:
    """A note where a new study ends before it has trained all that its spec puts into the queue."""
    parts = {"[space] start": len({params_key(params) for params in spec.space.start})}
    if "table2" in spec.study.enqueue:
        parts["[study] enqueue"] = len(TABLE2)
    whole, trials = sum(parts.values()), spec.study.trials
    if whole <= trials:
        return []
    said = " and ".join(f"{count} of {place}" for place, count in parts.items() if count)
    note = (
        f"{whole} configs to begin with ({said}) in {trials} trials: {whole - trials} would be left untrained; [study] "
        f"trials = {whole} trains them all"
    )
    return [note]


def goes_on_with(study: optuna.Study, spec: StudySpec) -> list[str]:
    """A note where a study that has begun knows other earlier studies than its spec names."""
    kept = [str(one["name"]) for one in study.user_attrs.get(BEGUN_WITH, {}).get("warm", ())]
    if [name_of(path) for path in spec.study.warm] == kept:
        return []
    return [f"[study] warm counts when a study is begun; this one was begun with {', '.join(kept) or 'none'}"]
