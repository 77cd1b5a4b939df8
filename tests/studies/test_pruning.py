import random
from collections import Counter
from collections.abc import Callable

import optuna
import pytest
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner
from optuna.trial import TrialState

from mmtuna.studies.pruning import build_pruner
from mmtuna.studies.spec import StudySpec

Make = Callable[..., StudySpec]
STEPS = (20, 40, 60, 80, 100)


def pruned_at(spec: StudySpec, *, trials: int, value: float) -> int | None:
    """The step at which a trial that reports `value` is stopped, after `trials` good ones (0.6 to 0.7)."""
    study = optuna.create_study(direction="maximize", pruner=build_pruner(spec.study, spec.evaluations()))
    for number in range(trials):
        trial = study.ask()
        for step in STEPS:
            trial.report(0.6 + number / 100 + step / 10_000, step)
            trial.should_prune()
        study.tell(trial, 0.6 + number / 100)
    trial = study.ask()
    for step in STEPS:
        trial.report(value - step / 10_000, step)
        if trial.should_prune():
            return step
    return None


@pytest.mark.parametrize(
    ("name", "kind"),
    [("median", MedianPruner), ("hyperband", HyperbandPruner), ("none", NopPruner)],
)
def test_pruner_by_name(spec_of: Make, name: str, kind: type) -> None:
    assert isinstance(build_pruner(spec_of(f'pruner = "{name}"').study, 5), kind)


@pytest.mark.parametrize(
    ("study", "trials", "value", "step"),
    [
        ("", 8, 0.1, 40),  # the first evaluation after 30 % of the training
        ("", 7, 0.1, None),  # the first 8 are never pruned
        ("", 8, 0.9, None),
        ("pruner_warmup = 0.0", 8, 0.1, 20),
        ("pruner_warmup = 0.7", 8, 0.1, 80),
        ("pruner_startup = 0", 3, 0.1, None),  # a median of three stops nothing
        ("pruner_startup = 0", 4, 0.1, 40),
        ('pruner = "none"', 20, 0.1, None),
    ],
)
def test_when_a_hopeless_trial_is_stopped(
    spec_of: Make, study: str, trials: int, value: float, step: int | None
) -> None:
    assert pruned_at(spec_of(study), trials=trials, value=value) == step


def cuts(
    spec: StudySpec, steps: tuple[int, ...], trials: int = 240
) -> tuple[Counter[int], dict[int, list[int | None]]]:
    """How many trials were cut at each step, and by bracket where each of its trials was; curves cross now and then."""
    pruner = build_pruner(spec.study, spec.evaluations())
    study = optuna.create_study(direction="maximize", pruner=pruner, study_name="fixed")
    chance = random.Random(0)
    brackets: dict[int, list[int | None]] = {}
    for number in range(trials):
        trial, end = study.ask(), chance.random()
        stopped = None
        for step in steps:
            trial.report(end * (1 - 0.5 ** (step / 25)) + chance.gauss(0, 0.03), step)
            if step < 100 and trial.should_prune():
                stopped = step
                break
        study.tell(trial, end if stopped is None else None, state=TrialState.PRUNED if stopped else TrialState.COMPLETE)
        if isinstance(pruner, HyperbandPruner) and number >= spec.study.pruner_startup:
            brackets.setdefault(pruner._get_bracket_id(study, trial._cached_frozen_trial), []).append(stopped)
    return Counter(step for bracket in brackets.values() for step in bracket if step), brackets


@pytest.mark.parametrize(
    ("study", "evaluations", "rungs", "count"),
    [
        ("", 5, {40, 80}, 2),
        ("", 8, {37, 75}, 2),
        ("", 20, {30, 90}, 2),
        ("", 2, {50}, 1),
        ("pruner_warmup = 0.0", 20, {5, 15, 45}, 3),
        ("pruner_warmup = 0.6", 5, {60}, 1),
    ],
)
def test_every_bracket_of_hyperband_cuts(
    spec_of: Make, study: str, evaluations: int, rungs: set[int], count: int
) -> None:
    spec = spec_of(f'pruner = "hyperband"\n{study}', train=f"evaluations = {evaluations}")
    steps = tuple(100 * place // evaluations for place in range(1, evaluations + 1))
    at, brackets = cuts(spec, steps)
    assert set(at) == rungs
    assert len(brackets) == count
    for bracket in brackets.values():
        cut = sum(step is not None for step in bracket) / len(bracket)
        assert cut > 0.4


def test_with_one_evaluation_hyperband_has_nothing_to_cut(spec_of: Make) -> None:
    spec = spec_of('pruner = "hyperband"', train="evaluations = 1")
    assert isinstance(build_pruner(spec.study, spec.evaluations()), NopPruner)


def test_where_evaluations_are_sampled_the_fewest_count(spec_of: Make) -> None:
    spec = spec_of(space="[space.params.evaluations]\nchoices = [8, 4, 16]")
    assert spec.evaluations() == 4
    assert spec_of().evaluations() == 5


def test_hyperband_stops_none_of_the_first(spec_of: Make) -> None:
    spec = spec_of('pruner = "hyperband"\npruner_startup = 40')
    study = optuna.create_study(direction="maximize", pruner=build_pruner(spec.study, spec.evaluations()))
    stopped = []
    for number in range(60):
        trial = study.ask()
        for step in STEPS[:-1]:
            trial.report(0.9 - number / 100, step)
            if trial.should_prune():
                stopped.append(number)
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, 0.9 - number / 100)
    assert stopped
    assert min(stopped) >= 40
