"""What a sampler makes of earlier studies and of beliefs: much where they are right, soon little where they are not."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import optuna
import pytest
from optuna.pruners import HyperbandPruner
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from mmtuna.search.quiet import quiet_optuna
from mmtuna.spaces.parameter import Categorical, Float, Params
from mmtuna.spaces.portfolio import Earlier
from mmtuna.spaces.prior import Prior
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.strategy.sampling import build_sampler
from mmtuna.studies.strategy.warming import MODELLED, Drawn, drawn_before, ranked, thinned, warmth_of

Make = Callable[..., StudySpec]
SPACE = SearchSpace(
    [
        Categorical(name="optimizer", choices=("SGD", "AdamW")),
        Float(name="lr_sgd", low=1e-4, high=1.0, log=True, when={"optimizer": ("SGD",)}),
        Float(name="lr_adam", low=1e-4, high=1.0, log=True, when={"optimizer": ("AdamW",)}),
    ]
)


def worth(params: Params) -> float:
    """Best with AdamW at 1e-3."""
    rate = float(params.get("lr_adam", params.get("lr_sgd", 1.0)))
    return 1.0 - abs(math.log10(rate) + 3.0) / 4 - 0.3 * (params["optimizer"] == "SGD")


def study_of(sampler: BaseSampler, trials: int) -> optuna.Study:
    with quiet_optuna():
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for _ in range(trials):
            trial = study.ask()
            study.tell(trial, worth(SPACE.suggest(trial)))
    return study


def earlier(upside_down: bool = False) -> list[Earlier]:
    """Sixty random trials of another study, whose values lie elsewhere, and that may prefer what is bad here."""
    with quiet_optuna():
        study = study_of(optuna.samplers.RandomSampler(seed=77), 60)
    sign = -1.0 if upside_down else 1.0
    drawn = [Drawn(dict(trial.params), 0.1 + 0.01 * sign * float(trial.value or 0.0)) for trial in study.trials]
    return list(warmth_of("other", drawn, SPACE, {}).earlier)


def regrets(spec: StudySpec, trials: int, **known: object) -> float:
    """What ten studies of so many trials missed of the best, 1.0, on average."""
    found = []
    for seed in range(10):
        sampler = build_sampler(spec.study.model_copy(update={"seed": seed}), SPACE, 0, **known)  # type: ignore[arg-type]
        found.append(1.0 - study_of(sampler, trials).best_value)
    return statistics.mean(found)


def test_ranks_are_those_within_a_sample() -> None:
    assert ranked([0.5]) == [0.5]
    assert ranked([3.0, 1.0, 2.0, 1.0]) == [0.875, 0.25, 0.625, 0.25]


def test_stopped_trials_rank_below_all_others_by_how_far_they_came() -> None:
    params = SPACE.suggest(optuna.trial.FixedTrial({"optimizer": "SGD", "lr_sgd": 0.1}))
    drawn = [Drawn(params, 0.2), Drawn(params, None, 40), Drawn(params, None, 80), Drawn(params, 0.1)]
    drawn.append(Drawn({**params, "lr_sgd": 7.0}, 0.9))
    found = warmth_of("other", drawn, SPACE, {})
    assert (found.trials, found.fitting) == (5, 4)
    assert [one.rank for one in found.earlier] == [0.7, 0.5, 0.3, 0.1]  # 0.9 went to what does not fit


def test_few_of_many_hold_the_best_and_the_worst() -> None:
    many = [Earlier({"lr": rank}, rank) for rank in range(100)]
    assert [one.rank for one in thinned(many, 4)] == [99, 66, 33, 0]
    assert thinned(many[:3], 4) == many[2::-1]
    assert thinned(many, 1) == [many[99]]
    assert thinned(many, 0) == []
    params = SPACE.suggest(optuna.trial.FixedTrial({"optimizer": "SGD", "lr_sgd": 0.1}))
    drawn = [Drawn(params, place / 300) for place in range(300)]
    found = warmth_of("other", drawn, SPACE, {})
    assert (found.fitting, len(found.earlier)) == (300, MODELLED)
    assert (found.earlier[0].rank, found.earlier[-1].rank) == (599 / 600, 1 / 600)


def test_what_was_known_helps_from_the_first_trial_on_and_costs_little_where_it_is_wrong(spec_of: Make) -> None:
    """Measured: after 5 trials 0.10, with earlier studies 0.04; after 30 some 0.01 whatever is believed."""
    spec = spec_of('sampler = "tpe"')
    right = {"optimizer": Prior("AdamW"), "lr_adam": Prior(2e-3)}
    wrong = {"optimizer": Prior("SGD"), "lr_sgd": Prior(0.5)}
    early = regrets(spec, 5)
    assert regrets(spec, 5, earlier=earlier()) < 0.5 * early
    assert regrets(spec, 5, priors=right) < 0.7 * early
    late = regrets(spec, 30)
    assert regrets(spec, 30, earlier=earlier(upside_down=True)) < late + 0.02
    assert regrets(spec, 30, priors=wrong) < late + 0.02


def test_running_and_pruned_trials_are_heeded_beside_earlier_ones(spec_of: Make) -> None:
    sampler = build_sampler(spec_of('sampler = "tpe"').study, SPACE, 0, earlier=earlier())
    with quiet_optuna():
        study = optuna.create_study(direction="maximize", sampler=sampler)
        stopped, running, failed = study.ask(), study.ask(), study.ask()
        for trial in (stopped, running, failed):
            SPACE.suggest(trial)
        stopped.report(0.1, 20)
        study.tell(stopped, state=TrialState.PRUNED)
        study.tell(failed, state=TrialState.FAIL)
        params = SPACE.suggest(study.ask())
    assert SPACE.contains(params)


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_the_first_set_is_what_is_believed_and_later_ones_lie_around_it(spec_of: Make, sampler: str) -> None:
    priors = {"optimizer": Prior("AdamW", 0.0), "lr_adam": Prior(1e-2, 0.05)}
    study = study_of(build_sampler(spec_of(f'sampler = "{sampler}"').study, SPACE, 0, priors=priors), 12)
    first, *others = [trial.params for trial in study.trials]
    assert first == {"optimizer": "AdamW", "lr_adam": 1e-2}
    near = [params for params in others if 3e-3 < params.get("lr_adam", 0.0) < 3e-2]
    assert 2 <= len(near) <= 10


def test_what_is_heeded_fades_over_all_brackets_of_hyperband() -> None:
    counted = []

    class Counting(optuna.samplers.RandomSampler):
        def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            counted.append(drawn_before(study, trial))

    with quiet_optuna():
        study = optuna.create_study(sampler=Counting(), pruner=HyperbandPruner(min_resource=1, max_resource=9))
        for _ in range(6):
            trial = study.ask()
            SPACE.suggest(trial)
            trial.report(0.5, 1)
            trial.should_prune()
            study.tell(trial, 0.5)
        study.enqueue_trial({"optimizer": "SGD", "lr_sgd": 0.1})
        for _ in range(2):
            study.ask()
    assert counted == [0, 1, 2, 3, 4, 5, 6, 6]


def test_a_prior_that_the_space_of_a_study_does_not_hold_is_left_out(spec_of: Make) -> None:
    priors = {"lr_adam": Prior(50.0), "gone": Prior(1.0)}
    assert study_of(build_sampler(spec_of().study, SPACE, 0, priors=priors), 3).trials[0].params != {}


def test_a_belief_that_is_refused_is_not_said_again_for_ever(spec_of: Make) -> None:
    """As where what is believed takes longer than what is left of the hours, or was trained already."""
    priors = {"optimizer": Prior("AdamW", 0.0), "lr_adam": Prior(1e-2, 0.05)}
    sampler = build_sampler(spec_of().study, SPACE, 0, priors=priors)
    study = optuna.create_study(sampler=sampler)
    study.ask()
    drawn = [sampler.sample_relative(study, study.trials[0], {}) for _ in range(20)]
    assert drawn[0] == {"optimizer": "AdamW", "lr_adam": 1e-2}
    assert drawn[0] not in drawn[1:]
    assert "SGD" in {params["optimizer"] for params in drawn}
