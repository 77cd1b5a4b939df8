"""The end of a study's budget: the best configs once more, and a search that stops by itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import optuna
import pytest
from optuna.trial import TrialState

from mmtuna.studies.asking import Budget, Claim, Hours, ask
from mmtuna.studies.attributes import AGAIN
from mmtuna.studies.configs import chosen
from mmtuna.studies.results import TrialRow, rows
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.standing import standing_of
from mmtuna.studies.statistics.seeds import noise_floor
from mmtuna.studies.storage.opening import study_lock
from mmtuna.studies.strategy import stopping
from mmtuna.studies.strategy.confirming import Plan, plan_of, surest, to_search, trainings
from mmtuna.studies.study import create_or_open
from tests.studies.test_hours import set_clock

CONFIRMED = Plan(confirm=0.4)
Give = Callable[..., Claim | Budget]


@pytest.fixture
def spec(spec_of: Callable[..., StudySpec], url: str, monkeypatch: pytest.MonkeyPatch) -> StudySpec:
    monkeypatch.setenv("MMTUNA_STORAGE", url)
    return spec_of(space="[space.params.weight_decay]\nlow = 1e-4\nhigh = 1e-2")


@pytest.fixture
def study(spec: StudySpec) -> optuna.Study:
    return create_or_open(spec, {})


@pytest.fixture
def give(study: optuna.Study, spec: StudySpec) -> Give:
    def ask_for(trials: int, plan: Plan = CONFIRMED, hours: Hours | None = None) -> Claim | Budget:
        lock = study_lock(spec.study.storage, "s")
        return ask(study, spec.search_space(), 0, trials=trials, lock=lock, hours=hours, plan=plan)

    return ask_for


def tell(study: optuna.Study, claim: Claim | Budget, value: float | None) -> Claim:
    assert isinstance(claim, Claim)
    study.tell(claim.trial, value, state=TrialState.PRUNED if value is None else TrialState.COMPLETE)
    return claim


def is_again(claim: Claim) -> bool:
    return AGAIN in claim.trial.user_attrs


@pytest.mark.parametrize(
    ("study_lines", "trials", "share"),
    [
        ("", 30, 0.1),
        ("", 29, 0.0),
        ('sampler = "gp"', 30, 0.1),
        ('sampler = "random"', 30, 0.0),
        ("confirm = 0", 30, 0.0),
        ("confirm = 0.3", 10, 0.3),
    ],
)
def test_by_default_a_tenth_of_thirty_trials_confirms(
    spec_of: Callable[..., StudySpec], study_lines: str, trials: int, share: float
) -> None:
    spec = spec_of(study=study_lines, space="[space.params.weight_decay]\nlow = 1e-4\nhigh = 1e-2")
    assert plan_of(spec.study, spec.search_space()).of(trials).confirm == share
    assert plan_of(spec.study, spec.search_space()).of(None).confirm == 0.0


def test_by_default_a_grid_confirms_nothing(spec_of: Callable[..., StudySpec]) -> None:
    spec = spec_of(study="trials = 60", space="[space.params.batch_size]\nchoices = [2, 4]")
    assert plan_of(spec.study, spec.search_space()).of(60).confirm == 0.0


def test_fewer_trials_than_by_default_confirm_are_all_searched(study: optuna.Study, give: Give) -> None:
    plan = Plan(confirm=0.4, least=6)
    for value in (0.1, 0.2, 0.3, 0.4, 0.5):
        assert not is_again(tell(study, give(5, plan), value))
    assert give(5, plan) is Budget.DONE
    assert is_again(tell(study, give(6, plan), 0.5))


def test_the_last_trials_train_the_best_configs_once_more_in_turn(study: optuna.Study, give: Give) -> None:
    searched = [tell(study, give(10), value) for value in (0.1, 0.5, None, 0.4, 0.3, 0.2)]
    assert not any(map(is_again, searched))
    more = [tell(study, give(10), 0.45) for _ in range(4)]
    assert all(map(is_again, more))
    of = [searched[number].params for number in (1, 3, 4, 1)]
    assert [claim.params for claim in more] == of
    assert [(claim.replicate, claim.seed) for claim in more] == [(1, 1), (1, 1), (1, 1), (2, 2)]
    assert give(10) is Budget.DONE
    assert len(study.trials) == 10


def test_the_best_are_known_when_the_last_trial_of_the_search_has_ended(study: optuna.Study, give: Give) -> None:
    tell(study, give(5), 0.5)
    tell(study, give(5), 0.4)
    last = give(5)
    assert give(5) is Budget.WAIT
    best = tell(study, last, 0.9)
    once_more, other = give(5), give(5)
    assert isinstance(once_more, Claim)
    assert once_more.params == best.params
    assert isinstance(other, Claim)
    assert is_again(other)
    assert give(5) is Budget.WAIT


def test_while_nothing_is_complete_the_search_goes_on(study: optuna.Study, give: Give) -> None:
    plan = Plan(confirm=0.4, stops=True)
    for _ in range(40):
        assert not is_again(tell(study, give(50, plan), None))
    assert not is_again(tell(study, give(50, plan), 0.5))
    assert is_again(tell(study, give(50, plan), 0.5))


def test_a_study_that_confirms_nothing_is_over_though_another_slot_trains(study: optuna.Study, give: Give) -> None:
    hours = Hours(100.0, lambda _: 90.0)
    assert isinstance(give(50, Plan(), hours), Claim)
    set_clock(study, 50.0)
    assert give(50, Plan(), hours) is Budget.OVER


def test_more_trials_are_searched_before_more_are_confirmed(study: optuna.Study, give: Give) -> None:
    for value in (0.1, 0.2, 0.3, 0.4, 0.5):
        tell(study, give(5), value)
    assert [is_again(tell(study, give(10), 0.1)) for _ in range(5)] == [False, False, False, True, True]
    assert give(10) is Budget.DONE


def test_a_share_of_the_hours_confirms(study: optuna.Study, give: Give) -> None:
    hours = Hours(1000.0, lambda _: 100.0)
    for value in (0.5, 0.4):
        tell(study, give(50, hours=hours), value)
    set_clock(study, 650.0)
    for _ in range(4):  # as many as fit, whatever part of the trials that is: those of the search may be stopped early
        assert is_again(tell(study, give(50, hours=hours), 0.4))
    assert give(50, hours=Hours(700.0, lambda _: 100.0)) is Budget.OVER
    set_clock(study, 950.0)
    assert give(50, hours=hours) is Budget.OVER


def add_again(study: optuna.Study, started: datetime, seconds: float, config: int = 0) -> None:
    """As if a config had been trained once more for so long."""
    of = study.trials[config]
    trial = optuna.trial.create_trial(
        params=of.params, distributions=of.distributions, value=0.5, user_attrs={AGAIN: True, "replicate": 1}
    )
    trial.datetime_start, trial.datetime_complete = started, started + timedelta(seconds=seconds)
    study.add_trial(trial)


def test_more_hours_are_searched_and_confirmed_by_their_share(study: optuna.Study, give: Give) -> None:
    for value in (0.5, 0.4):
        tell(study, give(50), value)
    began = datetime(2026, 1, 1, 12)
    add_again(study, began, 300.0)
    add_again(study, began + timedelta(seconds=100), 300.0, config=1)  # beside the other: 400 seconds together
    hours = Hours(1500.0, lambda _: 100.0)
    set_clock(study, 1000.0)  # of which 600 were searched: of 900
    assert not is_again(tell(study, give(50, hours=hours), 0.3))
    set_clock(study, 1190.0)
    assert not is_again(tell(study, give(50, hours=hours), 0.3))
    set_clock(study, 1310.0)
    assert is_again(tell(study, give(50, hours=hours), 0.3))


def test_a_search_stops_where_nothing_better_is_to_be_expected(study: optuna.Study, give: Give) -> None:
    plan, trials = Plan(stops=True), 40
    tell(study, give(trials, plan), 0.5)
    first = next(n for n in range(1, trials) if stopping.is_settled(n, n - 1, trials - n))
    for _ in range(first - 1):
        tell(study, give(trials, plan), 0.4)
    assert give(trials, plan) is Budget.SETTLED
    assert isinstance(give(trials, Plan()), Claim)
    assert give(trials, plan) is Budget.WAIT  # what still trains may be better
    study.enqueue_trial({"weight_decay": 1e-3})
    assert isinstance(give(trials, plan), Claim)


def test_a_search_that_stopped_by_itself_confirms_in_its_measure(study: optuna.Study, give: Give) -> None:
    plan = Plan(confirm=0.2, stops=True)
    tell(study, give(50, plan), 0.5)
    claims = []
    while isinstance(claim := give(50, plan), Claim):
        claims.append(is_again(tell(study, claim, 0.4)))
    assert claim is Budget.SETTLED
    searched = 1 + claims.count(False)
    assert searched < to_search(0.2, 50)
    assert claims.count(True) == trainings(0.2, searched, 50) == round(searched / 4)


def test_odds_grow_with_what_is_left_and_fall_with_what_brought_nothing() -> None:
    assert stopping.odds(30, 5, 0) == 0.0
    assert stopping.odds(30, 5, 10) < stopping.odds(30, 5, 30) < stopping.odds(30, 5, 300)
    assert stopping.odds(30, 25, 30) < stopping.odds(30, 5, 30) < stopping.odds(30, 0, 30)


def test_the_surest_config_wins_and_not_the_luckiest_draw(study: optuna.Study, give: Give) -> None:
    for value in (0.80, 0.79, 0.10):  # the third, which is bad, is confirmed as well
        tell(study, give(9, Plan(confirm=2 / 3)), value)
    best = chosen(rows(study))
    assert best is not None
    assert best.number == 0
    for value in (0.60, 0.78, 0.10, 0.61, 0.80, 0.10):
        assert is_again(tell(study, give(9, Plan(confirm=2 / 3)), value))
    winner = chosen(rows(study))
    assert winner is not None
    assert (winner.number, winner.value) == (7, 0.80)
    standing = standing_of(study)
    standing.look()
    assert standing.kept(1, 0) == [0, 7, 2]


def test_a_better_config_that_was_found_later_is_chosen_though_others_were_confirmed(
    study: optuna.Study, give: Give
) -> None:
    for value in (0.70, 0.69, 0.68, 0.70, 0.69, 0.69):
        tell(study, give(6, Plan(confirm=0.5)), value)
    tell(study, give(9, Plan()), 0.85)
    best = chosen(rows(study))
    assert best is not None
    assert best.number == 6


def test_a_config_that_diverged_when_it_was_confirmed_is_not_the_surest(study: optuna.Study, give: Give) -> None:
    plan = Plan(confirm=0.6)
    for value in (0.80, 0.79):
        tell(study, give(5, plan), value)
    claim = give(5, plan)
    assert isinstance(claim, Claim)
    assert claim.params == study.trials[0].params
    claim.trial.set_user_attr("cause", "diverged")
    study.tell(claim.trial, state=TrialState.PRUNED)
    assert is_again(tell(study, give(5, plan), 0.785))
    assert is_again(tell(study, give(5, plan), 0.80))
    best = chosen(rows(study))
    assert best is not None
    assert best.params == study.trials[1].params


def test_a_config_that_fails_when_it_is_confirmed_leaves_its_turn_to_the_others(
    study: optuna.Study, give: Give
) -> None:
    for value in (0.5, 0.4, 0.3):
        tell(study, give(6, Plan(confirm=0.5)), value)
    of = []
    for _ in range(4):
        claim = give(6, Plan(confirm=0.5))
        assert isinstance(claim, Claim)
        of.append(next(trial.number for trial in study.trials if trial.params == claim.params))
        study.tell(claim.trial, state=TrialState.FAIL)
    assert of == [0, 1, 2, 0]


def test_the_weights_of_what_is_to_be_confirmed_stay(study: optuna.Study, give: Give) -> None:
    for value in (0.80, 0.79, 0.78, 0.10):
        tell(study, give(8, Plan(confirm=0.5)), value)
    tell(study, give(8, Plan(confirm=0.5)), 0.795)  # the best one's second seed is among the best three trials now
    standing = standing_of(study)
    standing.look()
    assert standing.kept(3, 0) == [0, 4, 1]
    assert standing.kept(3, 3) == [0, 4, 1, 2]
    assert [standing.better_configs(value, 3) for value in (0.9, 0.785, 0.5)] == [0, 2, 3]


def test_the_hours_belong_to_the_search_while_nothing_is_complete(study: optuna.Study, give: Give) -> None:
    plan = Plan(confirm=0.5)
    claim = give(50, plan, Hours(1000.0, lambda _: 600.0))
    tell(study, claim, None)
    set_clock(study, 650.0)
    assert not is_again(tell(study, give(50, plan, Hours(1000.0, lambda _: 100.0)), None))


def test_a_slot_that_waits_draws_nothing_anew_until_a_trial_has_finished(study: optuna.Study, give: Give) -> None:
    asked = []

    def expected(_: object) -> float:
        asked.append(1)
        return 100.0 if len(asked) < 3 else 600.0

    hours, plan = Hours(1000.0, expected), Plan(confirm=0.3)
    tell(study, give(50, plan, hours), 0.5)
    assert isinstance(give(50, plan, hours), Claim)
    set_clock(study, 200.0)
    assert give(50, plan, hours) is Budget.WAIT
    drawn = len(asked)
    assert give(50, plan, hours) is Budget.WAIT
    assert len(asked) == drawn


def test_a_config_of_one_seed_is_less_sure_than_one_of_three() -> None:
    values = {"three": [0.79, 0.80, 0.81], "one": [0.805]}
    assert surest(values, noise_floor(values.values())) == "three"
    assert surest({"a": [0.5], "b": [0.6]}, None) == "b"


def test_without_a_floor_what_was_repeated_is_surer_than_a_single_lucky_training() -> None:
    assert surest({"once": [0.9], "fell": [0.8, 0.8], "held": [0.81, 0.81]}, None) == "held"
    assert surest({"once": [0.79], "diverged": [0.8, 0.0]}, None) == "once", "it came to nothing when it was repeated"


def test_what_found_nothing_twice_is_not_surer_than_what_found_something_once() -> None:
    def row(number: int, rate: float, background: float, fluid: float, again: bool = False) -> TrialRow:
        metrics = {"mIoU": (background + fluid) / 2, "IoU.background": background, "IoU.fluid": fluid}
        params = {"lr_adam": rate}
        value = metrics["mIoU"]
        return TrialRow(
            number=number,
            state="COMPLETE",
            value=value,
            params=params,
            metrics=metrics,
            best_metrics=metrics,
            again=again,
        )

    dead = [row(0, 1e-2, 0.9, 0.0), row(1, 1e-2, 0.9, 0.0, again=True)]
    best = chosen([*dead, row(2, 1e-3, 0.9, 0.5)])
    assert best is not None
    assert best.number == 2


def test_repeats_that_the_search_cut_short_take_no_turn_of_their_config(study: optuna.Study) -> None:
    crops = {"crop": optuna.distributions.CategoricalDistribution((64, 96, 128))}

    def add(crop: int, value: float | None, replicate: int, **marks: object) -> None:
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        attrs = {"replicate": replicate, **marks}
        study.add_trial(
            optuna.trial.create_trial(
                params={"crop": crop}, distributions=crops, value=value, state=state, user_attrs=attrs
            )
        )

    for crop, value in ((64, 0.9), (96, 0.85), (128, 0.8)):
        add(crop, value, 0)
    for replicate in (1, 2, 3):
        add(64, None, replicate)
    turns = []
    for _ in range(6):
        standing = standing_of(study)
        standing.look()
        number = standing.least_trained(3)
        assert number is not None
        turns.append(study.trials[number].params["crop"])
        add(turns[-1], 0.7, standing.free_replicate({"crop": turns[-1]}, -1), **{AGAIN: True})
    assert turns == [64, 96, 128] * 2
