from collections.abc import Callable
from itertools import count

import optuna
import pytest
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner, WilcoxonPruner

from mmtuna.studies.pruning import build_pruner
from mmtuna.studies.spec import StudySpec

Make = Callable[..., StudySpec]
STEPS = (20, 40, 60, 80, 100)


def pruned_at(spec: StudySpec, *, trials: int, value: float) -> int | None:
    """The step at which a trial that reports `value` is stopped, after `trials` good ones (0.6 to 0.7)."""
    study = optuna.create_study(direction="maximize", pruner=build_pruner(spec.study))
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
    [("median", MedianPruner), ("hyperband", HyperbandPruner), ("wilcoxon", WilcoxonPruner), ("none", NopPruner)],
)
def test_pruner_by_name(spec_of: Make, name: str, kind: type) -> None:
    assert isinstance(build_pruner(spec_of(f'pruner = "{name}"').study), kind)


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
        ('pruner = "wilcoxon"', 7, 0.1, None),
        ('pruner = "wilcoxon"', 8, 0.1, 80),  # four evaluations are the fewest of which p can fall below 0.1
        ('pruner = "wilcoxon"\npruner_warmup = 0.9', 8, 0.1, 100),
        ('pruner = "wilcoxon"', 8, 0.9, None),
    ],
)
def test_when_a_hopeless_trial_is_stopped(
    spec_of: Make, study: str, trials: int, value: float, step: int | None
) -> None:
    assert pruned_at(spec_of(study), trials=trials, value=value) == step


def test_hyperband_stops_hopeless_trials_but_not_the_first(spec_of: Make) -> None:
    spec = spec_of('pruner = "hyperband"')
    study = optuna.create_study(direction="maximize", pruner=build_pruner(spec.study), study_name="fixed")
    stopped = []
    for number in count():
        if number == 40:
            break
        trial = study.ask()
        level = 0.9 - number / 100
        for step in STEPS:
            trial.report(level, step)
            if trial.should_prune():
                stopped.append((number, step))
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, level)
    assert stopped
    assert min(number for number, _ in stopped) >= 8
    assert min(step for _, step in stopped) >= 30
