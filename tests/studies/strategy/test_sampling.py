from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.pruners import HyperbandPruner
from optuna.samplers import GPSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Categorical, Float
from mmtuna.spaces.presets import extended
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.results import diverged
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.standing import params_key
from mmtuna.studies.strategy.sampling import SpaceSampler, build_sampler, sampler_name

Make = Callable[..., StudySpec]
SIX = SearchSpace([Categorical(name="crop", choices=(1, 2, 3)), Categorical(name="flip", choices=("a", "b"))])


@pytest.mark.parametrize(
    ("study", "name", "base"),
    [
        ("trials = 1079", "tpe", TPESampler),
        ("trials = 1080", "grid", RandomSampler),
        ('trials = 1080\nsampler = "tpe"', "tpe", TPESampler),
        ('sampler = "random"', "random", RandomSampler),
        ('sampler = "gp"', "gp", GPSampler),
    ],
)
def test_sampler_by_name(spec_of: Make, study: str, name: str, base: type) -> None:
    spec = spec_of(study)
    sampler = build_sampler(spec.study, spec.search_space(), 0)
    assert sampler_name(spec.study, spec.search_space()) == name
    assert isinstance(sampler, SpaceSampler)
    assert isinstance(sampler.base, base)


def test_a_name_that_was_never_checked_draws_nothing_at_random() -> None:
    with pytest.raises(InputError) as caught:
        build_sampler(StudyTable.model_construct(name="s", sampler="cmaes", seed=0, duplicates="replicate"), SIX, 0)
    assert str(caught.value) == '[study] sampler = "cmaes" is unknown; use auto, tpe, random, gp or grid'


def test_a_continuous_space_is_no_grid(spec_of: Make) -> None:
    spec = spec_of("trials = 100000", space='preset = "extended"')
    assert sampler_name(spec.study, spec.search_space()) == "tpe"


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
@pytest.mark.parametrize("pruner", [optuna.pruners.NopPruner(), HyperbandPruner()])
def test_every_set_of_a_conditional_space_is_complete(spec_of: Make, sampler: str, pruner: Any) -> None:
    space = extended()
    spec = spec_of(f'sampler = "{sampler}"\nduplicates = "redraw"')
    study = optuna.create_study(sampler=build_sampler(spec.study, space, 0), pruner=pruner, direction="maximize")
    for _ in range(14):
        trial = study.ask()
        params = space.suggest(trial)
        assert space.why_not(params) is None
        trial.report(0.5, 50)
        trial.should_prune()
        study.tell(trial, 1.0 if params["loss"] == "dice" else 0.5)


def test_enqueued_params_pass_untouched(spec_of: Make) -> None:
    space = extended()
    study = optuna.create_study(sampler=build_sampler(spec_of('duplicates = "redraw"').study, space, 0))
    whole = space.suggest(study.ask())
    study.enqueue_trial(dict(whole))
    study.enqueue_trial({"optimizer": "SGD", "lr_sgd": 0.05})
    assert space.suggest(study.ask()) == whole
    completed = space.suggest(study.ask())
    assert (completed["optimizer"], completed["lr_sgd"]) == ("SGD", 0.05)
    assert space.why_not(completed) is None


@pytest.mark.parametrize("base", [RandomSampler(seed=1), TPESampler(seed=1, n_startup_trials=2)])
@pytest.mark.parametrize("pruner", [None, HyperbandPruner(max_resource=100)])
def test_redraw_visits_every_cell_before_it_repeats(base: Any, pruner: Any) -> None:
    study = optuna.create_study(sampler=SpaceSampler(base, SIX, redraw=True, seed=1), pruner=pruner)
    keys = []
    for _ in range(8):
        trial = study.ask()
        keys.append(params_key(SIX.suggest(trial)))
        trial.report(1.0, 1)
        trial.should_prune()  # makes Hyperband's brackets
        study.tell(trial, 1.0)
    assert len(set(keys[:6])) == 6
    assert len(set(keys)) == 6


class Stubborn(RandomSampler):
    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        return param_distribution.choices[0]


def test_redraw_takes_an_unseen_cell_where_the_sampler_insists() -> None:
    study = optuna.create_study(sampler=SpaceSampler(Stubborn(), SIX, redraw=True, seed=1))
    for _ in range(6):
        SIX.suggest(study.ask())
    assert len({params_key(trial.params) for trial in study.trials}) == 6


def test_redraw_draws_failed_params_again_and_avoids_waiting_ones() -> None:
    study = optuna.create_study(sampler=SpaceSampler(Stubborn(), SIX, redraw=True, seed=1))
    first = study.ask()
    SIX.suggest(first)
    study.tell(first, state=TrialState.FAIL)
    again = study.ask()
    assert SIX.suggest(again) == {"crop": 1, "flip": "a"}
    study.tell(again, state=TrialState.FAIL)
    trial = study.ask()
    study.enqueue_trial({"crop": 1, "flip": "a"})
    assert SIX.suggest(trial) != {"crop": 1, "flip": "a"}


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_what_is_drawn_of_a_stepped_range_is_what_a_grid_trains(spec_of: Make, sampler: str) -> None:
    """0.06 + 0.01 is a hair less than 0.07, and would be another value of a trial."""
    space = SearchSpace([Float(name="weight_decay", low=0.06, high=0.07, step=0.01)])
    study = optuna.create_study(sampler=build_sampler(spec_of(f'sampler = "{sampler}"').study, space, 0))
    drawn = [space.suggest(study.ask())["weight_decay"] for _ in range(12)]
    assert set(drawn) == {0.06, 0.07} == {trial.params["weight_decay"] for trial in study.trials}


def test_without_redraw_params_may_repeat() -> None:
    study = optuna.create_study(sampler=SpaceSampler(Stubborn(), SIX))
    assert [SIX.suggest(study.ask()) for _ in range(2)] == [{"crop": 1, "flip": "a"}] * 2


def test_tpe_learns_from_diverged_trials(spec_of: Make) -> None:
    """Above 1e-2 every trial diverges. Told so, TPE soon stays below; random sampling goes there half the time."""
    space = SearchSpace([Float(name="lr_sgd", low=1e-4, high=1.0, log=True)])

    def diverged_late(sampler: str) -> int:
        spec = spec_of(f'sampler = "{sampler}"')
        study = optuna.create_study(direction="maximize", sampler=build_sampler(spec.study, space, 0))
        for _ in range(50):
            trial = study.ask()
            if float(space.suggest(trial)["lr_sgd"]) > 1e-2:
                end = diverged(step=20, message="loss is NaN")
                assert end.report is not None
                trial.report(end.report[1], end.report[0])
                study.tell(trial, state=end.state)
            else:
                study.tell(trial, 0.5)
        return sum(trial.state == TrialState.PRUNED for trial in study.trials[20:])

    assert diverged_late("random") >= 10
    assert diverged_late("tpe") <= 6


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"a": 1, "b": "x"}, {"b": "x", "a": 1}, True),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
    ],
)
def test_params_key(one: dict[str, Any], other: dict[str, Any], equal: bool) -> None:
    assert (params_key(one) == params_key(other)) == equal
