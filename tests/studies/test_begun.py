"""A study goes on with the space that it was begun with, and tells a preset that moved from a spec that was changed."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from optuna.trial import create_trial

from mmtuna.spaces import presets
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Categorical, Float
from mmtuna.spaces.presets import preset
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.attributes import FINGERPRINTS, SAID, SETTINGS
from mmtuna.studies.begun import moved_preset, space_of
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.study import check_opening, create_or_open, open_existing, space_for
from tests.studies.begun_earlier import PRESETS, restored
from tests.test_layers import modules

Make = Callable[..., StudySpec]
REPLAY = {"replay": {"curves": "generated"}}
OWN = 'preset = "paper"\ndrop = ["flip"]\n[space.params.iterations]\nlow = 100\nhigh = 200\n'


@pytest.fixture
def move(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the presets those of another version: a loss less and one more, and a parameter more."""

    def moved(name: str) -> SearchSpace:
        kept = [entry for entry in preset(name) if entry.name != "loss" and "loss" not in entry.when]
        losses = Categorical(name="loss", choices=("cross_entropy", "dice", "tversky"))
        return SearchSpace([losses, *kept, Float(name="momentum", low=0, high=1)])

    def apply() -> None:
        spaces = {name: moved(name) for name in PRESETS}
        for name in PRESETS:
            monkeypatch.setitem(presets.PRESETS, name, lambda name=name: spaces[name])  # type: ignore[arg-type]

    return apply


@pytest.mark.parametrize("name", PRESETS)
def test_a_described_space_is_rebuilt(name: str) -> None:
    space = preset(name)
    again = SearchSpace.rebuilt(space.describe(), space.names)
    assert again.parameters == space.parameters
    assert SearchSpace.rebuilt(space.describe()).fingerprint() == space.fingerprint()


@pytest.mark.parametrize("name", PRESETS)
def test_a_study_of_an_earlier_commit_goes_on(name: str, tmp_path: Path) -> None:
    spec = restored(name, tmp_path)
    study = create_or_open(spec, REPLAY)
    assert len(study.trials) == {"extended": 4, "paper": 3}[name]
    assert space_of(study, spec).parameters == spec.search_space().parameters
    assert all(space_of(study, spec).contains(trial.params) for trial in study.trials)
    assert study.user_attrs[SAID]["preset"] == name  # from now on it is known what its spec says


@pytest.mark.parametrize("space", ['preset = "paper"', OWN])
def test_a_study_keeps_its_space_where_the_preset_moves(spec_of: Make, move: Callable[[], None], space: str) -> None:
    begun = spec_of(space=space).search_space()
    create_or_open(spec_of(space=space), REPLAY)
    move()
    spec = spec_of(space=space)
    assert spec.search_space().fingerprint() != begun.fingerprint()
    study = create_or_open(spec, REPLAY)
    assert space_of(study, spec).fingerprint() == begun.fingerprint()
    assert space_for(spec)[0].fingerprint() == begun.fingerprint()
    note = (
        "[space] preset = 'paper' is another one in this version (space.loss.choices lacks focal and has gained "
        "tversky); the study goes on with the space that it was begun with"
    )
    assert (moved_preset(study, spec), space_for(spec)[1]) == (note, note)


def test_where_nothing_moved_there_is_no_note(spec_of: Make) -> None:
    assert space_for(spec_of())[1] is None  # no study yet
    study = create_or_open(spec_of(), REPLAY)
    assert moved_preset(study, spec_of()) is None
    assert space_for(spec_of())[1] is None


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": 'preset = "paper"\ndrop = ["flip"]'}, r"study s: space\."),
        (
            {"space": 'preset = "paper"\n[space.params.crop]\nchoices = [64]'},
            r"study s: space\.crop\.choices lacks none, 192",
        ),
        ({"space": 'preset = "extended"'}, r"study s: space\."),
        ({"train": "evaluations = 4"}, r"study s: train\.evaluations was absent and is 4"),
    ],
)
def test_a_spec_that_was_changed_is_refused_also_where_the_preset_moved(
    spec_of: Make, move: Callable[[], None], moves: bool, changes: dict[str, str], message: str
) -> None:
    create_or_open(spec_of(), REPLAY)
    if moves:
        move()
    for refuse in (create_or_open, check_opening):
        with pytest.raises(InputError, match=message):
            refuse(spec_of(**changes), REPLAY)


@pytest.mark.parametrize(
    "averaging",
    [{"train": "ema = 0.1"}, {"space": 'preset = "paper"\n[space.params.ema]\nchoices = [0.0, 0.1]'}, {}],
)
def test_a_study_of_another_average_is_refused_and_one_of_none_goes_on(
    spec_of: Make, averaging: dict[str, str]
) -> None:
    spec = spec_of(**averaging)
    study = create_or_open(spec, REPLAY)
    before = {name: part for name, part in study.user_attrs[FINGERPRINTS].items() if name != "average"}
    study.set_user_attr(FINGERPRINTS, before)
    if not averaging:
        create_or_open(spec, REPLAY)
        return
    for refuse in (create_or_open, check_opening):
        with pytest.raises(InputError, match=r"^study s: ema was another average when it was begun, of a share of all"):
            refuse(spec, REPLAY)


def test_a_study_whose_function_gave_another_average_is_refused(spec_of: Make) -> None:
    study = create_or_open(spec_of(), REPLAY)
    before = {name: part for name, part in study.user_attrs[FINGERPRINTS].items() if name != "average"}
    study.set_user_attr(FINGERPRINTS, before)
    for settings, refused in (({"ema": 0.0}, False), ({"ema": 0.4}, True)):
        study.add_trial(create_trial(value=0.5, user_attrs={SETTINGS: settings}))
        with pytest.raises(InputError, match=r"^study s: ema was another average") if refused else nullcontext():
            create_or_open(spec_of(), REPLAY)


def test_trainings_and_replayed_curves_are_two_studies(spec_of: Make) -> None:
    trained = {"data": {"sha256": "ab12"}}
    for name, begins, then, its in (
        ("a", REPLAY, trained, "replayed curves, no trainings"),
        ("b", trained, REPLAY, "trainings, no replayed curves"),
    ):
        spec = spec_of().model_copy(update={"study": spec_of().study.model_copy(update={"name": name})})
        create_or_open(spec, begins)
        with pytest.raises(InputError, match=rf"^study {name}: its trials are {its}; take another \[study\] name$"):
            check_opening(spec, then)


def test_of_a_study_begun_earlier_nobody_knows_whose_the_difference_is(
    tmp_path: Path, move: Callable[[], None]
) -> None:
    spec = restored("paper", tmp_path)
    move()
    with pytest.raises(
        InputError, match=re.escape("study paper: space.loss.choices lacks focal and has gained tversky")
    ):
        create_or_open(spec, REPLAY)


def test_once_opened_by_a_spec_that_agrees_it_keeps_its_space(tmp_path: Path, move: Callable[[], None]) -> None:
    spec = restored("paper", tmp_path)
    create_or_open(spec, REPLAY)
    begun = spec.search_space()
    move()
    assert space_of(create_or_open(spec, REPLAY), spec).fingerprint() == begun.fingerprint()


def test_what_only_looks_sees_the_studys_own_space_whatever_the_spec_says(spec_of: Make) -> None:
    begun = spec_of().search_space()
    create_or_open(spec_of(), REPLAY)
    changed = spec_of(space='preset = "extended"')
    assert space_of(open_existing(changed.study), changed).fingerprint() == begun.fingerprint()


def test_commands_ask_the_study_for_its_space() -> None:
    found = [
        f"{path.name}:{node.lineno}"
        for room, path in modules()
        if room == "search" and path.name != "report.py"  # which shows what it can of a damaged study
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "search_space"
    ]
    assert not found, "a spec's preset may have moved: take space_of(study, spec), or space_for(spec) before it"


OLD = "[space.params.crop]\nchoices = [64, 96]\n"


@pytest.mark.parametrize("train", ["amp = true", 'precision = "fp16"'])
def test_a_study_that_was_begun_under_a_settings_former_name_goes_on(spec_of: Make, train: str) -> None:
    create_or_open(spec_of(space=OLD, train="amp = true"), REPLAY)
    for _ in range(2):
        assert create_or_open(spec_of(space=OLD, train=train), REPLAY).study_name == "s"
    for other in ("amp = false", 'precision = "fp32"', 'precision = "bf16"', ""):
        with pytest.raises(InputError, match=r"study s: train\.amp was true and is (false|absent)"):
            create_or_open(spec_of(space=OLD, train=other), REPLAY)


def test_what_was_sampled_under_a_settings_former_name_is_sampled_on(spec_of: Make) -> None:
    sampled = OLD + "[space.params.amp]\nchoices = [false, true]"
    study = create_or_open(spec_of(space=sampled), REPLAY)
    space = space_of(study, spec_of(space=sampled))
    assert {space.suggest(study.ask())["amp"] for _ in range(12)} == {False, True}
    with pytest.raises(InputError, match=re.escape("[train] and [space]: amp and precision are one setting; remove")):
        spec_of(space=sampled, train='precision = "fp32"')
