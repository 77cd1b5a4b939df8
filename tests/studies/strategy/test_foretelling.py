"""What a forest makes of earlier trials and own ones, and the sets that it chooses among."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from mmtuna.search.quiet import quiet_optuna
from mmtuna.spaces.parameter import Categorical, Float, Int, Params
from mmtuna.spaces.portfolio import Earlier, packed, unpacked
from mmtuna.spaces.presets import extended
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.strategy.foretelling import WarmSampler, drawn, near, points
from mmtuna.studies.strategy.sampling import SpaceSampler, build_sampler

Make = Callable[..., StudySpec]
SPACE = SearchSpace(
    [
        Categorical(name="optimizer", choices=("SGD", "AdamW")),
        Float(name="lr_sgd", low=1e-4, high=1e-2, log=True, when={"optimizer": ("SGD",)}),
        Categorical(name="crop", choices=(192, 320, 256)),
        Int(name="rotation", low=0, high=20, step=10),
    ]
)


def known(of_sgd: float, of_adam: float, count: int = 40) -> list[Earlier]:
    """Random sets, whose ranks their optimizer says."""
    chance = random.Random(5)
    sets = [drawn(SPACE, chance) for _ in range(count)]
    return [Earlier(params, of_sgd if params["optimizer"] == "SGD" else of_adam) for params in sets]


def told(sampler: optuna.samplers.BaseSampler, worth: Callable[[Params], float], trials: int) -> list[Params]:
    """The sets that a study draws which is told so."""
    with quiet_optuna():
        study = optuna.create_study(direction="maximize", sampler=sampler)
        found = []
        for _ in range(trials):
            trial = study.ask()
            found.append(SPACE.suggest(trial))
            study.tell(trial, worth(found[-1]))
    return found


def warm(earlier: list[Earlier], seed: int = 0) -> SpaceSampler:
    return SpaceSampler(WarmSampler(optuna.samplers.RandomSampler(seed=seed), SPACE, earlier, seed), SPACE)


def test_points_are_places_in_ranges_and_among_choices() -> None:
    sets: list[Params] = [
        {"optimizer": "SGD", "lr_sgd": 1e-3, "crop": 320, "rotation": 20},
        {"optimizer": "AdamW", "crop": 192, "rotation": 0},
    ]
    assert points(SPACE, sets) == pytest.approx(np.array([[1, 0, 2, 1, 0.5], [0, 1, 0, 0, -1]]))


@pytest.mark.parametrize("space", [SPACE, extended()])
def test_random_sets_and_those_near_to_them_are_complete(space: SearchSpace) -> None:
    chance = random.Random(0)
    for _ in range(200):
        params = drawn(space, chance)
        other = near(params, space, chance)
        assert space.why_not(params) is None
        assert space.why_not(other) is None
    assert len({str(drawn(space, chance)) for _ in range(20)}) > 10


def test_near_sets_differ_in_some_parameters_only() -> None:
    chance, space = random.Random(0), extended()
    params = drawn(space, chance)
    same = [
        name for _ in range(200) for name, value in near(params, space, chance).items() if params.get(name) == value
    ]
    assert 0.7 < len(same) / 200 / len(params) < 0.95


def test_the_first_sets_are_what_others_found_good() -> None:
    for seed in range(5):
        assert told(warm(known(0.9, 0.1), seed), lambda _: 0.5, 1)[0]["optimizer"] == "SGD"
        assert told(warm(known(0.1, 0.9), seed), lambda _: 0.5, 1)[0]["optimizer"] == "AdamW"


def test_own_trials_overrule_others() -> None:
    """Others found SGD better; here it is worse."""
    found = [told(warm(known(0.9, 0.1), seed), lambda p: float(p["optimizer"] == "AdamW"), 40) for seed in range(5)]
    of_sgd = [[params["optimizer"] == "SGD" for params in sets] for sets in found]
    assert np.mean([first[:3] for first in of_sgd]) > 0.7
    assert np.mean([first[-10:] for first in of_sgd]) < 0.5


def test_the_same_seed_draws_the_same(spec_of: Make) -> None:
    table = spec_of('sampler = "tpe"').study

    def sets(seed: int) -> list[Params]:
        again = table.model_copy(update={"seed": seed})
        return told(build_sampler(again, SPACE, 0, earlier=known(0.9, 0.1)), lambda p: float(p["rotation"]), 8)

    assert sets(3) == sets(3)
    assert sets(3) != sets(4)


def test_a_stopped_trial_counts_by_what_it_came_to() -> None:
    """One that was good when it was stopped is no worse than a complete one that found nothing."""
    with quiet_optuna():
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
        for place in range(30):
            trial = study.ask()
            stopped = SPACE.suggest(trial)["optimizer"] == "SGD"
            if stopped:
                trial.report(0.6 + place / 1000, 40)
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, 0.4 + place / 1000)
        sampler = WarmSampler(optuna.samplers.RandomSampler(), SPACE, known(0.5, 0.5, 2), 0)
        drawn_next = [sampler.sample_relative(study, study.trials[0], {}).get("optimizer") for _ in range(60)]
    assert drawn_next.count("SGD") > 2 * drawn_next.count("AdamW")


def test_what_was_packed_is_unpacked() -> None:
    earlier = known(0.75, 0.25)
    assert unpacked(packed(earlier)) == earlier
    assert unpacked(packed([])) == []
