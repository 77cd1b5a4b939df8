"""What a study is begun with: settled once, kept with it, and told or refused before."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from mmtuna.objectives.outcome import Ending, Outcome, TrialOrder
from mmtuna.objectives.recorded import RecordFile
from mmtuna.search.checking.earlier import find_warmth
from mmtuna.search.quiet import quiet_optuna
from mmtuna.search.work.running import replay_study
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.portfolio import Earlier, Portfolio, packaged
from mmtuna.studies.attributes import AGAIN, BEGUN_WITH, CAUSE, FINGERPRINTS, PORTFOLIO, SEARCHED, START
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.strategy import beginning
from mmtuna.studies.study import create_or_open, open_existing
from tests.search.conftest import mmtuna
from tests.search.simulation.pools import random_pool

WriteSpec = Callable[..., Path]
EXTENDED = 'preset = "extended"'
FEW = Portfolio(tuple(trial.params for trial in random_pool(3).trials))
KNOWING = Portfolio(
    FEW.configs, tuple(Earlier(one.params, place / 9) for place, one in enumerate(random_pool(9).trials))
)
REPLAY = {"replay": {"curves": "generated"}}


def spec_at(folder: Path, study: str = "", space: str = EXTENDED, name: str = "s", base: str = "unet") -> StudySpec:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "study.toml"
    path.write_text(
        f'[study]\nname = "{name}"\ntrials = 3\nfolder = "."\n{study}\n[data]\nroot = "."\n[model]\nbase = "{base}"\n'
        f"[space]\n{space}\n[replay]\n"
    )
    return StudySpec.load(path)


def replayed(spec: StudySpec, trials: int) -> optuna.Study:
    return replay_study(spec, Console(quiet=True), trials=trials)


def marked(study: optuna.Study, mark: str) -> list[int]:
    return [trial.number for trial in study.trials if mark in trial.user_attrs]


def test_the_portfolio_comes_first_but_for_what_a_person_asks_for(tmp_path: Path) -> None:
    spec = spec_at(tmp_path, 'pruner = "none"', f'{EXTENDED}\nstart = [{{ decoder = "fcn", crop = 288 }}]')
    begun = create_or_open(spec, REPLAY)
    beginning.settle(begun, spec, spec.search_space(), list, FEW)
    study = replayed(spec, 2)
    assert (marked(study, START), marked(study, PORTFOLIO)) == ([0], [1, 2, 3])
    assert study.trials[1].params == FEW.configs[0]
    assert study.user_attrs[BEGUN_WITH]["version"] == FEW.version
    assert marked(replayed(spec, 6), PORTFOLIO) == [1, 2, 3]  # each once
    assert study.trials[3].params == FEW.configs[2]


@pytest.mark.parametrize(
    ("study", "space", "base"),
    [
        ("portfolio = false", EXTENDED, "unet"),
        ('sampler = "random"', EXTENDED, "unet"),
        ("", 'preset = "paper"', "unet"),
        (
            "",
            "[space.params.weight_decay]\nlow = 1e-6\nhigh = 1e-2\nlog = true",
            "fcn_hr18s_4xb2-40k_cityscapes-512x1024",
        ),
    ],
)
def test_who_begins_without_one(tmp_path: Path, study: str, space: str, base: str) -> None:
    spec = spec_at(tmp_path, study, space, base=base)
    assert beginning.first_configs(spec, spec.search_space(), FEW) == []
    assert beginning.notes(spec, spec.search_space(), [], FEW) == []


def test_a_study_that_was_begun_before_goes_on_without_one(tmp_path: Path) -> None:
    spec = spec_at(tmp_path, "portfolio = false")
    study = optuna.create_study(direction="maximize")
    study.add_trial(optuna.trial.create_trial(value=0.5))
    beginning.settle(study, spec_at(tmp_path), spec.search_space(), list)
    assert beginning.portfolio_of(study) == ()


def test_notes_say_what_fits(tmp_path: Path) -> None:
    spec = spec_at(tmp_path)
    first = "trials are configs that did well on other data sets"
    begin = "[study] portfolio = false begins without"
    whole = beginning.notes(spec, spec.search_space(), [], FEW)
    assert whole == [f"the first 3 {first}: portfolio {FEW.version}; {begin}"]
    assert beginning.notes(spec, spec.search_space(), [], KNOWING) == [
        f"the first 3 {first}, and the sampler knows 9 trials there: portfolio {KNOWING.version}; {begin}"
    ]
    narrow = spec_at(
        tmp_path, space=f'{EXTENDED}\n[space.params.optimizer]\nchoices = ["{FEW.configs[0]["optimizer"]}"]'
    )
    used = len(beginning.first_configs(narrow, narrow.search_space(), FEW))
    assert 0 < used < 3
    assert beginning.notes(narrow, narrow.search_space(), [], FEW) == [
        f"the first {used} {first} ({3 - used} more do not fit into [space]): portfolio {FEW.version}; {begin}"
    ]


def test_foreground_weights_are_those_for_the_balance_of_the_data(tmp_path: Path) -> None:
    """On data of a tenth of the odds the square root of the odds is the square root of a tenth of what it was."""
    spec = spec_at(tmp_path)
    config = {**FEW.configs[0], "loss": "cross_entropy", "foreground_weight": 10.0}
    config.pop("mix_weight", None)
    whole = Portfolio((config,), (Earlier(config, 0.5), Earlier({**config, "foreground_weight": 2000.0}, 0.1)))

    def weights(odds: float) -> list[object]:
        begun = create_or_open(spec_at(tmp_path / f"{odds}", name=f"s{odds:g}"), REPLAY)
        beginning.settle(begun, spec, spec.search_space(), list, whole, odds)
        assert (beginning.odds_of(begun), begun.user_attrs[BEGUN_WITH]["version"]) == (odds, whole.version)
        known = [*beginning.portfolio_of(begun), *(one.params for one in beginning.earlier_of(begun))]
        return [params["foreground_weight"] for params in known]

    assert weights(100.0) == [10.0, 10.0]  # what lies outside [space] is known to nobody
    assert weights(10.0) == pytest.approx([10**0.5, 10**0.5, 2000**0.5])
    assert weights(1.0) == [10.0, 10.0]
    assert "portfolio " in (said := beginning.notes(spec, spec.search_space(), [], whole, 10.5)[0])
    assert f"{whole.version}, foreground weights for 10.5 pixels of background to one; [study] portfolio" in said


def test_more_configs_to_begin_with_than_trials_are_told(tmp_path: Path) -> None:
    def said(configs: int, enqueue: str = "") -> list[str]:
        start = ", ".join(f"{{ weight_decay = 1e-{2 + number} }}" for number in range(configs))
        twice = f"{start}, {start}" if configs else ""  # what stands twice is trained once
        spec = spec_at(tmp_path, f"portfolio = false\n{enqueue}", f"{EXTENDED}\nstart = [{twice}]")
        return beginning.notes(spec, spec.search_space(), [], FEW)

    assert said(0) == said(3) == []
    (note,) = said(4)
    assert note == (
        "4 configs to begin with (4 of [space] start) in 3 trials: 1 would be left untrained; [study] trials = 4 "
        "trains them all"
    )
    (note,) = said(2, 'enqueue = ["table2"]')
    assert note.startswith("13 configs to begin with (2 of [space] start and 11 of [study] enqueue) in 3 trials: 10")


def test_the_sampler_knows_what_others_found_but_for_what_a_person_asks_for(tmp_path: Path) -> None:
    def known(name: str, study: str) -> list[float]:
        spec = spec_at(tmp_path / name, study, name=name)
        begun = create_or_open(spec, REPLAY)
        beginning.settle(begun, spec, spec.search_space(), lambda: find_warmth(spec, spec.search_space()), KNOWING)
        return [one.rank for one in beginning.earlier_of(begun)]

    assert known("tpe", "") == [place / 9 for place in range(9)]
    assert known("without", "portfolio = false") == []
    assert known("gp", 'sampler = "gp"') == []
    record = recorded_file(tmp_path / "trials.jsonl")
    own = [
        one.rank
        for one in find_warmth(spec_at(tmp_path / "x"), spec_at(tmp_path / "x").search_space(), [record])[0].earlier
    ]
    assert known("own", f'warm = ["{record}"]') == own


def test_what_others_found_changes_what_is_drawn(tmp_path: Path) -> None:
    def drawn(folder: str, portfolio: Portfolio) -> Params:
        spec = spec_at(tmp_path / folder, 'pruner = "none"', f'{EXTENDED}\ndrop = ["initial_weights"]')
        begun = create_or_open(spec, REPLAY)
        beginning.settle(begun, spec, spec.search_space(), list, portfolio)
        params: Params = replayed(spec, 4).trials[3].params
        return params

    assert drawn("alone", FEW) == drawn("again", FEW)
    assert drawn("knowing", KNOWING) != drawn("alone too", FEW)


def test_all_packaged_trials_are_known_to_a_study_that_can_hold_them(tmp_path: Path) -> None:
    spec = spec_at(tmp_path, space=f'{EXTENDED}\ndrop = ["initial_weights"]')
    begun, space = create_or_open(spec, REPLAY), spec.search_space()
    beginning.settle(begun, spec, space, list, odds=80.0)
    whole = packaged().at(80.0).earlier
    held = [one for one in whole if space.contains(one.params)]
    assert beginning.earlier_of(begun) == held
    assert 0.9 * len(whole) < len(held) < len(whole)  # all but weights that would be beyond the range here
    assert len(packaged().earlier) > 400


def test_what_studies_were_begun_with_before_is_read_as_ever() -> None:
    """They kept a list in the place of a table."""
    study = optuna.create_study()
    one = {"params": {"optimizer": "SGD"}, "rank": 0.5}
    kept = {"portfolio": [], "others": [one], "warm": [{"name": "other", "earlier": [one, one]}]}
    study.set_user_attr(BEGUN_WITH, kept)
    assert beginning.earlier_of(study) == 3 * [Earlier({"optimizer": "SGD"}, 0.5)]


def test_notes_say_that_the_end_confirms(tmp_path: Path) -> None:
    def said(study: str) -> list[str]:
        spec = StudySpec.load(spec_at(tmp_path, f"portfolio = false\n{study}").study.folder / "study.toml")
        table = spec.study.model_copy(update={"trials": 40})
        return beginning.notes(spec.model_copy(update={"study": table}), spec.search_space(), [], FEW)

    (note,) = said("")
    assert note.startswith(
        "the last 10% of trials train the best 3 configs once more, and the surest wins; [study] conf"
    )
    assert said("confirm = 0") == []
    assert said("confirm = 0.2") == []  # the person knows


def recorded_file(path: Path, params: list[Params] | None = None) -> Path:
    file = RecordFile(path, "x", {})
    for number, trial in enumerate(random_pool(12).trials):
        ended = Outcome(ending=Ending.FINISHED, curve=trial.curve, seconds=trial.seconds, iterations=trial.iterations)
        file.append(TrialOrder(number=number, params=params[number] if params else trial.params, seed=0), ended)
    return path


def test_earlier_studies_are_found_by_folder_spec_and_record(tmp_path: Path) -> None:
    other = spec_at(tmp_path / "other", "portfolio = false", name="o")
    replayed(other, 12)
    record = recorded_file(tmp_path / "trials.jsonl")
    places = [tmp_path / "other", tmp_path / "other" / "study.toml", record]
    spec = spec_at(tmp_path / "new", f"portfolio = false\nwarm = {[str(place) for place in places]}")
    found = find_warmth(spec, spec.search_space())
    assert [(one.name, one.trials, one.fitting) for one in found] == [
        ("other", 12, 12),
        ("other", 12, 12),
        ("trials.jsonl", 12, 12),
    ]
    assert found[0].earlier == found[1].earlier
    study = replayed(spec, 3)
    assert len(beginning.earlier_of(study)) == 36
    record.unlink()  # what was found is kept with the study
    again = replayed(spec_at(tmp_path / "new", f"portfolio = false\nwarm = {[str(record)]}"), 4)
    assert len(beginning.earlier_of(again)) == 36
    changed = spec_at(tmp_path / "new", 'warm = ["elsewhere"]')
    assert beginning.goes_on_with(again, spec) == []
    assert beginning.goes_on_with(again, changed) == [
        "[study] warm counts when a study is begun; this one was begun with other, other, trials.jsonl"
    ]


def test_earlier_studies_are_known_as_they_would_be_on_these_data(tmp_path: Path) -> None:
    """From 10,000 to 100 pixels of background for one of the rest: the weight's root."""
    weighed = [
        {**one.params, "foreground_weight": 25.0} for one in random_pool(40).trials if "foreground_weight" in one.params
    ]
    record = recorded_file(tmp_path / "trials.jsonl", weighed[:12])
    counts = {"labelled": [[30000, 2, 1]], "intersect": [[[1, 1, 1]]] * 20, "predicted": [[[1, 1, 1]]] * 20}
    lines = [json.loads(line) | {"counts": counts} for line in record.read_text().splitlines()]
    record.write_text("".join(json.dumps(line) + "\n" for line in lines))
    other = spec_at(tmp_path / "other", "portfolio = false", name="o")
    study = create_or_open(other, REPLAY)
    beginning.settle(study, other, other.search_space(), list, odds=10_000.0)
    space = other.search_space()
    made = {one.name: one.distribution for one in space if one.name in weighed[0]}
    study.add_trial(optuna.trial.create_trial(value=0.5, params=weighed[0], distributions=made))
    spec = spec_at(tmp_path / "new", "portfolio = false")
    for place in (record, tmp_path / "other"):
        for odds, weight in ((100.0, 5.0), (1.0, 25.0), (9_500.0, 25.0)):
            (found,) = find_warmth(spec, space, [place], odds)
            weights = [float(one.params["foreground_weight"]) for one in found.earlier]
            assert weights == pytest.approx([weight] * len(weights))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", "nowhere holds no study; give a study's folder, its spec, or a file of `mmtuna run --record`"),
        ("gone.toml", "[study] warm: "),
        ("gone.toml", "gone.toml: no such file"),
        ("new", "[study] warm: study o does not exist yet"),
        ("two", "holds 2 studies; name the spec of the one that is meant"),
        ("strange.jsonl", "strange.jsonl fits into [space]: batch_size is missing; leave it out, or widen [space]"),
    ],
)
def test_what_holds_no_study_is_refused(tmp_path: Path, place: str, message: str) -> None:
    spec_at(tmp_path / "new", name="o")
    (tmp_path / "two").mkdir()
    with quiet_optuna():
        for name in ("a", "b"):
            optuna.create_study(study_name=name, storage=f"sqlite:///{tmp_path}/two/study.db")
    recorded_file(tmp_path / "strange.jsonl", [{"lr": 0.1}] * 12)
    spec = spec_at(tmp_path, f'warm = ["{place}"]')
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        find_warmth(spec, spec.search_space())
    assert "\n" not in str(caught.value)


def test_check_says_what_a_study_would_begin_with_or_refuses_it(tmp_path: Path, write_spec: WriteSpec) -> None:
    recorded_file(tmp_path / "trials.jsonl", [{"lr_adam": 1e-3 + place / 1e3} for place in range(12)])
    spec = write_spec(study='warm = ["./trials.jsonl"]')
    done = mmtuna("check", spec, "--quick", "--json")
    assert done.returncode == 0, done.stdout
    note = "[study] warm: 10 of 12 trials of trials.jsonl fit into [space]; the sampler begins with these"
    assert note in json.loads(done.stdout)["notes"]
    done = mmtuna("check", write_spec(study='warm = ["elsewhere"]'), "--quick", "--json")
    assert done.returncode == 2
    assert [line.partition("; give")[0] for line in json.loads(done.stdout)["problems"]] == [
        f"[study] warm: {tmp_path}/elsewhere holds no study"
    ]


def test_what_diverged_and_what_was_stopped_rank_below_the_rest(tmp_path: Path) -> None:
    spec = spec_at(tmp_path, "portfolio = false")
    study = create_or_open(spec, REPLAY)
    params = [trial.params for trial in random_pool(4).trials]
    made = {name: spec.search_space().parameter(name).distribution for one in params for name in one}
    for place, (state, value, step, attrs) in enumerate(
        [
            (TrialState.PRUNED, 0.0, 81, {CAUSE: "diverged"}),
            (TrialState.PRUNED, 0.3, 40, {}),
            (TrialState.COMPLETE, 0.1, 100, {}),
            (TrialState.FAIL, 0.9, 100, {}),
        ]
    ):
        one = {name: made[name] for name in params[place]}
        trial = optuna.trial.create_trial(
            state=state,
            value=value if state == TrialState.COMPLETE else None,
            params=params[place],
            distributions=one,
            intermediate_values={step: value},
            user_attrs=attrs,
        )
        study.add_trial(trial)
    (found,) = find_warmth(spec, spec.search_space(), [tmp_path])
    assert [one.params for one in found.earlier] == [params[2], params[1], params[0]]
    assert (found.trials, [round(one.rank, 2) for one in found.earlier]) == (3, [0.83, 0.5, 0.17])


def test_what_a_sampler_cannot_heed_is_refused(tmp_path: Path) -> None:
    space = "[space.params.crop]\nchoices = [64, 96]"
    for study, more, message in (
        ('sampler = "random"\nwarm = ["x"]', "", "[study] warm: the sampler random learns nothing of earlier studies"),
        ("", "prior = 64", "[space.params.crop] prior: a grid is trained whole; take sampler tpe, or remove prior"),
    ):
        spec = spec_at(tmp_path, study, f"{space}\n{more}")
        with pytest.raises(InputError, match=re.escape(message)):
            beginning.check_beliefs(spec, spec.search_space())


def test_an_end_that_cannot_be_is_refused(tmp_path: Path) -> None:
    cells = "[space.params.flip]\nchoices = ['none', 'horizontal']"
    for field, said in (("confirm = 0.2", "confirm"), ('stop = "auto"', 'stop = "auto"')):
        spec = spec_at(tmp_path, f'sampler = "grid"\n{field}', cells)
        with pytest.raises(InputError, match=re.escape(f"[study] {said}: a grid is trained whole; take sampler tpe")):
            beginning.check_beliefs(spec, spec.search_space())
    spec = spec_at(tmp_path, "confirm = 0.1")
    with pytest.raises(InputError, match=re.escape("[study] confirm = 0.1 of 3 trials is none; take more trials")):
        beginning.check_beliefs(spec, spec.search_space())
    with pytest.raises(InputError, match="of 3 trials is none"):
        replayed(spec, 3)


def test_more_trials_asked_for_count_as_if_the_spec_said_so(tmp_path: Path) -> None:
    cells = "[space.params.flip]\nchoices = ['none', 'horizontal']\n[space.params.crop]\nchoices = [64, 96, 128]"
    spec = spec_at(tmp_path, "", cells)
    study = replayed(spec, 6)  # where `trials = 3` holds no grid of six
    assert len({json.dumps(trial.params, sort_keys=True) for trial in study.trials}) == len(study.trials) == 6
    assert study.user_attrs[SEARCHED] == [["grid", "best-third"]]
    assert len(replayed(spec, 2).trials) == 6


def test_fewer_trials_asked_for_are_a_part_of_the_same_search(tmp_path: Path) -> None:
    spec = spec_at(tmp_path, "", "[space.params.crop]\nchoices = [64, 96, 128]")
    study = replayed(spec, 2)
    assert study.user_attrs[SEARCHED] == [["grid", "best-third"]]
    study = replayed(spec, 3)
    assert sorted(trial.params["crop"] for trial in study.trials) == [64, 96, 128]


def test_what_is_confirmed_is_a_share_of_the_trials_asked_for(tmp_path: Path) -> None:
    spec = spec_at(tmp_path, 'sampler = "random"\nconfirm = 0.1\npruner = "none"')
    with pytest.raises(InputError, match=re.escape("[study] confirm = 0.1 of 4 trials is none; take more")):
        replayed(spec, 4)
    study = replayed(spec, 10)  # where `trials = 3` would be none
    assert marked(study, AGAIN) == [9]
    whole = spec_at(tmp_path / "ten", 'sampler = "random"\nconfirm = 0.1\npruner = "none"')
    ten = whole.model_copy(update={"study": whole.study.model_copy(update={"trials": 10})})
    assert marked(replayed(ten, 2), AGAIN) == [], "a part of ten that only searches"


def test_a_replay_goes_on_with_a_file_that_grew_and_with_no_other(tmp_path: Path) -> None:
    trials = random_pool(12).trials

    def record(first: int, beyond: int) -> None:
        (tmp_path / "r.jsonl").unlink(missing_ok=True)
        file = RecordFile(tmp_path / "r.jsonl", "r", {})
        for number, one in enumerate(trials[first:beyond]):
            ended = Outcome(ending=Ending.FINISHED, curve=one.curve, seconds=one.seconds, iterations=one.iterations)
            file.append(TrialOrder(number=number, params=one.params, seed=0), ended)

    path = tmp_path / "study.toml"
    spec_at(tmp_path, "portfolio = false")
    path.write_text(path.read_text() + 'curves = "./r.jsonl"\n')
    spec = StudySpec.load(path)
    record(0, 6)
    replayed(spec, 1)
    record(0, 9)
    assert len(replayed(spec, 2).trials) == 2
    for first, beyond in ((3, 12), (0, 4)):
        record(first, beyond)
        with pytest.raises(
            InputError, match=r"r\.jsonl no longer holds the 6 trials that study s was begun with; take"
        ):
            replayed(spec, 3)
    study = open_existing(spec.study)
    assert len(study.trials) == 2
    # As one that was begun before this was kept.
    study.set_user_attr(FINGERPRINTS, {**study.user_attrs[FINGERPRINTS], "replay": {"curves": "r.jsonl"}})
    assert len(replayed(spec, 3).trials) == 3
