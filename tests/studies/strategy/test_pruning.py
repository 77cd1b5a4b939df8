import random
from collections.abc import Callable

import optuna
import pytest
from optuna.pruners import MedianPruner, NopPruner

from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.strategy.pruning import BestOfAll, build_pruner

Make = Callable[..., StudySpec]
STEPS = (20, 40, 60, 80, 100)


def train(study: optuna.Study, value: float) -> int | None:
    """The step at which a trial that reports `value`, and ever so little more each time, is stopped."""
    trial = study.ask()
    for step in STEPS:
        trial.report(value + step / 1e6, step)
        if trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return step
    study.tell(trial, value)
    return None


def study_of(spec: StudySpec, *, good: int) -> optuna.Study:
    """A study with so many complete trials: 0.6, 0.61, ..., whatever its pruner says of these."""
    study = optuna.create_study(direction="maximize", pruner=NopPruner())
    for number in range(good):
        train(study, 0.6 + number / 100)
    study.pruner = build_pruner(spec.study)
    return study


@pytest.mark.parametrize(
    ("name", "kind"),
    [("best-third", BestOfAll), ("median", MedianPruner), ("none", NopPruner)],
)
def test_pruner_by_name(spec_of: Make, name: str, kind: type) -> None:
    assert isinstance(build_pruner(spec_of(f'pruner = "{name}"').study), kind)


def test_a_name_that_there_is_not_is_refused_with_those_that_there_are(spec_of: Make) -> None:
    with pytest.raises(InputError, match=r"pruner.*'best-third', 'median', 'wilcoxon' or 'none'"):
        spec_of('pruner = "percentile"')


def test_a_name_that_was_never_checked_stops_nothing_in_silence() -> None:
    with pytest.raises(InputError) as caught:
        build_pruner(StudyTable.model_construct(name="s", pruner="medain"))
    assert str(caught.value) == '[study] pruner = "medain" is unknown; use best-third, median, wilcoxon or none'


@pytest.mark.parametrize(
    ("study", "trials", "value", "step"),
    [
        ("", 4, 0.1, 20),  # the first evaluation at 20 % of the training or later
        ("", 3, 0.1, None),  # the first 4 are never pruned
        ("", 8, 0.9, None),
        ("", 8, 0.655, None),  # the third of nine
        ("", 8, 0.645, 20),  # the fourth
        ('pruner = "median"', 8, 0.645, None),
        ('pruner = "median"', 8, 0.625, 20),
        ("pruner_warmup = 0.3", 8, 0.1, 40),
        ("pruner_warmup = 0.7", 8, 0.1, 80),
        ("pruner_startup = 0", 3, 0.1, None),  # beside three none is stopped
        ("pruner_startup = 0", 4, 0.1, 20),
        ("pruner_startup = 6", 5, 0.1, None),
        ('pruner = "none"', 20, 0.1, None),
    ],
)
def test_when_a_hopeless_trial_is_stopped(
    spec_of: Make, study: str, trials: int, value: float, step: int | None
) -> None:
    assert train(study_of(spec_of(study), good=trials), value) == step


def test_what_was_stopped_counts_as_worse_than_what_came_further(spec_of: Make) -> None:
    study = study_of(spec_of(), good=8)
    assert train(study, 0.645) == 20
    assert [train(study, 0.1) for _ in range(6)] == [20] * 6
    assert train(study, 0.645) is None, "the fourth of 16 is among the best third"


def test_about_a_third_goes_on_however_good_those_before_were(spec_of: Make) -> None:
    """Beside complete trials alone each has to be better than ever more of the best."""
    shares = {}
    for name in ("best-third", "median"):
        chance, study = random.Random(0), study_of(spec_of(f'pruner = "{name}"'), good=7)
        ended = [train(study, chance.gauss(0.5, 0.1)) for _ in range(200)]
        shares[name] = sum(step is None for step in ended) / len(ended)
    assert shares["median"] < 0.1
    assert 0.25 < shares["best-third"] < 0.4


def test_a_slow_trial_is_compared_at_each_step_anew(spec_of: Make) -> None:
    study = study_of(spec_of(), good=8)
    trial = study.ask()
    for step, value in zip(STEPS[:3], (0.9, 0.9, 0.1), strict=True):
        trial.report(value, step)
        assert not trial.should_prune(), "its best so far counts"


def test_nets_over_a_limit_were_not_trained_and_count_for_nothing(spec_of: Make) -> None:
    study = study_of(spec_of(), good=8)
    for _ in range(30):
        study.tell(study.ask(), state=optuna.trial.TrialState.PRUNED)
    assert train(study, 0.645) == 20, "the fourth of nine"
