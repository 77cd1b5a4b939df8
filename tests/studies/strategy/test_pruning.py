from collections.abc import Callable

import optuna
import pytest
from optuna.pruners import NopPruner, PercentilePruner

from mmtuna.studies.spec import StudySpec
from mmtuna.studies.strategy.pruning import build_pruner

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
    [("percentile", PercentilePruner), ("median", PercentilePruner), ("none", NopPruner)],
)
def test_pruner_by_name(spec_of: Make, name: str, kind: type) -> None:
    assert isinstance(build_pruner(spec_of(f'pruner = "{name}"').study), kind)


@pytest.mark.parametrize(
    ("study", "trials", "value", "step"),
    [
        ("", 4, 0.1, 20),  # the first evaluation at 20 % of the training or later
        ("", 3, 0.1, None),  # the first 4 are never pruned
        ("", 8, 0.9, None),
        ("", 8, 0.635, None),  # in the worse half, and not in the worst quarter
        ('pruner = "median"', 8, 0.635, 20),
        ("pruner_warmup = 0.3", 8, 0.1, 40),
        ("pruner_warmup = 0.7", 8, 0.1, 80),
        ("pruner_startup = 0", 3, 0.1, None),  # a quarter of three stops nothing
        ("pruner_startup = 0", 4, 0.1, 20),
        ("pruner_startup = 6", 5, 0.1, None),
        ('pruner = "none"', 20, 0.1, None),
    ],
)
def test_when_a_hopeless_trial_is_stopped(
    spec_of: Make, study: str, trials: int, value: float, step: int | None
) -> None:
    assert pruned_at(spec_of(study), trials=trials, value=value) == step
