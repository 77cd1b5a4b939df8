"""One iteration of each combination that matters, before trial 1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmtuna.search.checking.preparation import Preparation
from mmtuna.search.checking.preparing import prepare
from mmtuna.search.checking.probing import Probed, combinations, mark_of, remember, remembered
from mmtuna.spaces.parameter import Categorical, Float, Int
from mmtuna.spaces.presets import extended
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.spec import StudySpec
from tests.search.conftest import mmtuna

WriteSpec = Callable[..., Path]
DECODERS = """
[space.params.batch_size]
choices = [1, 2]
[space.params.decoder]
choices = ["fcn", "pspnet"]
"""


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MMTUNA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def two_decoders(write_spec: WriteSpec) -> Path:
    """A spec of two decoders and two batch sizes, of which one does not go with one decoder."""
    path = write_spec(space=DECODERS)
    text = path.read_text().replace('decoder = "fcn"\n', "").replace("batch_size = 2\n", "")
    path.write_text(text)
    return path


def test_each_decoder_loss_and_optimizer_is_tried_and_both_ends_of_sizes() -> None:
    tried = combinations(extended())
    smallest = {"batch_size": 2, "crop": 192, "input_size": 320}
    assert [entry.apart for entry in tried[:3]] == [{"decoder": name} for name in ("fcn", "pspnet", "deeplabv3")]
    assert all(entry.params | smallest == entry.params for entry in tried[:3])
    for name in ("decoder", "loss", "optimizer", "schedule"):
        assert {entry.params[name] for entry in tried} == set(extended().parameter(name).values() or []), name
    assert {entry.params["loss"] for entry in tried[:3]} == {"cross_entropy"}  # the choice that stands first
    largest = tried[-1].params
    assert (largest["batch_size"], largest["crop"], largest["input_size"]) == (8, "none", 512)
    assert (largest["flip"], largest["rotation"], largest["photometric"]) == ("both", 30, True)
    assert all(extended().contains(entry.params) for entry in tried)
    assert len(tried) < 20


def test_both_ends_of_a_dotted_key_are_tried_and_nothing_twice() -> None:
    space = SearchSpace(
        [Float(name="model.decode_head.dropout_ratio", low=0.0, high=0.5), Int(name="batch_size", low=2, high=2)]
    )
    tried = [entry.params["model.decode_head.dropout_ratio"] for entry in combinations(space)]
    assert {0.0, 0.5} <= set(tried)
    assert len({str(entry.params) for entry in combinations(space)}) == len(tried)
    assert len(combinations(SearchSpace([Categorical(name="flip", choices=("none",))]))) == 1


def test_what_fails_is_told_with_its_settings_name(two_decoders: Path) -> None:
    (problem,) = prepare(StudySpec.load(two_decoders), probe=True).problems
    assert problem.startswith("batch_size = 1 beside decoder = pspnet: one iteration fails (ValueError: Expected more")
    assert problem.endswith("with batch_size = 2 it does not")


def test_quick_leaves_it_out(two_decoders: Path) -> None:
    done = mmtuna("check", two_decoders, "--quick")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("ready: ")


def mark(ready: Preparation) -> Path:
    return mark_of(ready.spec.describe(), ready.fingerprints(), ready.devices)


def test_what_went_well_is_remembered_until_the_study_is_another(write_spec: WriteSpec) -> None:
    ready = prepare(StudySpec.load(write_spec(train="crop = 32")), probe=True)
    assert ready.problems == []
    found = remembered(mark(ready))
    assert found is not None
    assert found.tried == found.planned >= 1
    other = prepare(StudySpec.load(write_spec(train="crop = 48")))
    assert remembered(mark(other)) is None


def test_what_it_did_not_come_to_is_told(write_spec: WriteSpec) -> None:
    spec = StudySpec.load(write_spec())
    remember(mark(prepare(spec)), Probed(problems=(), tried=3, planned=9))
    (note,) = [note for note in prepare(spec, probe=True).notes if "iteration" in note]
    assert note == "one iteration was tried of 3 combinations out of 9 that matter: that took 60 s"


def test_a_cache_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    remember(tmp_path / "file" / "mark", Probed(problems=(), tried=1, planned=1))
    assert remembered(tmp_path / "file" / "mark") is None
