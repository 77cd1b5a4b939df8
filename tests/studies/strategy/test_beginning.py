from collections.abc import Callable

import pytest
from optuna import create_study
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import RandomSampler

from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.strategy.beginning import next_worker, notes, searched_by
from mmtuna.studies.strategy.pruning import BestOfAll
from mmtuna.studies.study import create_or_open, open_existing

Make = Callable[..., StudySpec]
DATA = {"data": {"sha256": "ab12"}}


def test_workers_get_ordinals(spec_of: Make) -> None:
    study = create_or_open(spec_of(), DATA)
    studies = (study, study, open_existing(spec_of().study))
    assert [next_worker(one, "tpe", "none") for one in studies] == [0, 1, 2]


def test_by_what_workers_search_is_kept(spec_of: Make) -> None:
    study = create_or_open(spec_of(), DATA)
    for sampler, pruner in (("tpe", "none"), ("tpe", "none"), ("tpe", "median"), ("random", "median"), ("tpe", "none")):
        next_worker(study, sampler, pruner)
    assert study.user_attrs["mmtuna:searched"] == [["tpe", "none"], ["tpe", "median"], ["random", "median"]]


@pytest.mark.parametrize(
    ("table", "pruner", "name"),
    [
        ("best-third", BestOfAll(1 / 3, 4, 20), "best-third"),
        ("best-third", MedianPruner(), "MedianPruner"),
        ("median", MedianPruner(), "MedianPruner"),
        ("median", NopPruner(), "none"),
        ("none", NopPruner(), "none"),
        ("wilcoxon", NopPruner(), "wilcoxon"),
        ("wilcoxon", MedianPruner(), "wilcoxon and MedianPruner"),
    ],
)
def test_a_study_is_searched_by_what_it_was_given(spec_of: Make, table: str, pruner: BasePruner, name: str) -> None:
    study = create_study(sampler=RandomSampler(), pruner=pruner)
    spec = StudyTable(name="s", pruner=table)
    assert searched_by(study, spec, spec_of().search_space()) == ("RandomSampler", name)


def test_what_was_searched_before_that_was_kept_is_not_guessed(spec_of: Make) -> None:
    study = create_or_open(spec_of(), DATA)
    study.set_user_attr("mmtuna:workers", 3)
    next_worker(study, "tpe", "none")
    assert study.user_attrs["mmtuna:searched"] == [[None, None], ["tpe", "none"]]


def test_a_study_whose_samplers_and_pruners_were_damaged_is_not_gone_on_with(spec_of: Make) -> None:
    create_or_open(spec_of(), DATA).set_user_attr("mmtuna:searched", 5)
    with pytest.raises(InputError, match=r"study s: its attributes cannot be read.*restore a copy of the database"):
        create_or_open(spec_of(), DATA)


def test_a_grid_of_fewer_combinations_than_trials_is_told(spec_of: Make) -> None:
    flips = '[space.params.flip]\nchoices = ["none", "horizontal"]'
    told = "a grid of 2 combinations in 3 trials: combinations are trained again, with further seeds, until"
    for trials, sampler, lines in ((2, "auto", 0), (3, "auto", 1), (3, "tpe", 0)):
        spec = spec_of(f'trials = {trials}\nsampler = "{sampler}"', space=flips)
        assert sum(note.startswith(told) for note in notes(spec, spec.search_space(), ())) == lines
