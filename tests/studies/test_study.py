import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Categorical, Float
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.table2 import TABLE2
from mmtuna.studies.asking import Budget, Claim, ask
from mmtuna.studies.attributes import FINGERPRINTS
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.standing import params_key, params_of
from mmtuna.studies.storage.opening import study_lock
from mmtuna.studies.strategy.enqueuing import (
    Replicates,
    enqueue_grid,
    enqueue_start,
    enqueue_table2,
    missing_replicates,
    missing_table2,
)
from mmtuna.studies.strategy.sampling import build_sampler
from mmtuna.studies.study import check_opening, create_or_open, finished, left, open_existing

Make = Callable[..., StudySpec]
DATA = {"data": {"sha256": "ab12"}}
SMALL = "[space.params.crop]\nchoices = [64, 96]\n[space.params.batch_size]\nchoices = [1, 2]"


def claim_from(study: optuna.Study, spec: StudySpec, trials: int) -> Claim:
    lock = study_lock(spec.study.storage, spec.study.name)
    claim = ask(study, spec.search_space(), spec.study.seed, trials=trials, lock=lock)
    assert isinstance(claim, Claim)
    return claim


def running(study: optuna.Study) -> int:
    return len(study.get_trials(states=(TrialState.RUNNING,)))


def test_reopening_keeps_the_study(spec_of: Make) -> None:
    study = create_or_open(spec_of(), DATA)
    assert study.direction.name == "MAXIMIZE"
    study.enqueue_trial({})
    again = create_or_open(spec_of("trials = 99\nseed = 5\n"), DATA)
    assert len(again.trials) == 1
    assert again.user_attrs[FINGERPRINTS]["data"]["sha256"] == "ab12"


@pytest.mark.parametrize(
    ("changes", "fingerprints", "message"),
    [
        ({}, {"data": {"sha256": "cd34"}}, r"study s: data.sha256 was ab12 and is cd34; .* another \[study\] name, or"),
        ({}, {}, "data.sha256 was ab12 and is absent"),
        ({}, {"data": {"sha256": "ab12"}, "new": {"x": 1}}, "study s: new was absent and is "),
        ({"train": "evaluations = 4"}, DATA, "study s: train.evaluations was absent and is 4"),
        ({"study": 'metric = "mDice"'}, DATA, "study s: metric.name was mIoU and is mDice"),
        (
            {"space": 'preset = "paper"\n[space.params.crop]\nchoices=[64]'},
            DATA,
            r"space\.crop\.choices lacks none, 192, 224, 288, 320 and has gained 64;",
        ),
        ({"data": 'split = "random"'}, DATA, "split.kind was lists and is random"),
    ],
)
def test_reopening_with_something_else(
    spec_of: Make, changes: dict[str, str], fingerprints: dict[str, dict[str, Any]], message: str
) -> None:
    create_or_open(spec_of(), DATA)
    with pytest.raises(InputError, match=message):
        create_or_open(spec_of(**changes), fingerprints)


def weights(**leaves: str) -> dict[str, dict[str, Any]]:
    return {"weights": {"fcn": "iter_400.pth", **{f"fcn.{key}": value for key, value in leaves.items()}}}


def test_other_start_weights_of_the_same_name_are_refused(spec_of: Make) -> None:
    create_or_open(spec_of(), weights(sha256="ab12"))
    assert create_or_open(spec_of(), weights(sha256="ab12")).study_name == "s"
    for change in (create_or_open, check_opening):
        with pytest.raises(
            InputError, match=r"study s: weights\.fcn\.sha256 was ab12 and is cd34; its trials would not"
        ):
            change(spec_of(), weights(sha256="cd34"))


def test_a_study_that_kept_names_of_weights_alone_goes_on(spec_of: Make) -> None:
    create_or_open(spec_of(), weights())
    assert create_or_open(spec_of(), weights(sha256="ab12")).study_name == "s"
    with pytest.raises(InputError, match=r"weights\.fcn was iter_400\.pth and is other\.pth"):
        create_or_open(spec_of(), {"weights": {"fcn": "other.pth", "fcn.sha256": "ab12"}})


def test_a_study_of_someone_else_is_left_alone(spec_of: Make) -> None:
    spec = spec_of()
    spec.study.folder.mkdir(parents=True)
    optuna.create_study(storage=spec.study.storage, study_name="s").add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(InputError, match="study s is not a study of mmtuna"):
        create_or_open(spec, DATA)


def test_open_existing(spec_of: Make) -> None:
    with pytest.raises(InputError, match="study s does not exist yet; `mmtuna run SPEC` begins it"):
        open_existing(spec_of().study)
    create_or_open(spec_of(), DATA)
    assert open_existing(spec_of().study).study_name == "s"


def test_table2_is_enqueued_once_per_replicate(spec_of: Make) -> None:
    spec = spec_of()
    study = create_or_open(spec, DATA)
    space = spec.search_space()
    assert [enqueue_table2(study, space, n) for n in (1, 1, 3, 2)] == [11, 0, 22, 0]
    assert left(study, None) == 33
    claim = claim_from(study, spec, 50)
    assert claim.params == TABLE2[0].params(space)
    assert (claim.seed, claim.replicate, claim.trial.user_attrs["table2"]) == (0, 0, 1)
    study.tell(claim.trial, state=TrialState.FAIL)
    assert enqueue_table2(study, space, 3) == 1  # a row that failed leaves no hole in the table


def test_seeds_of_enqueued_replicates_follow_the_spec(spec_of: Make) -> None:
    spec = spec_of("seed = 7")
    study = create_or_open(spec, DATA)
    enqueue_table2(study, spec.search_space(), 2)
    claims = [claim_from(study, spec, 50) for _ in range(22)]
    assert [claim.seed for claim in claims] == [7] * 11 + [8] * 11
    assert {claim.trial.user_attrs["seed"] for claim in claims} == {7, 8}


@pytest.mark.parametrize(
    ("space", "train", "message"),
    [
        ('preset = "paper"\ndrop = ["flip"]', "", r"cannot tell rows 2 and 3 of Table 2 apart"),
        (
            'preset = "paper"\ndrop = ["decoder"]',
            'decoder = "fcn"',
            r"fixes decoder = 'fcn', row 1 of Table 2 has 'pspnet'",
        ),
        (SMALL, "", "crop = 'none' is outside its range; widen the space"),
    ],
)
def test_table2_in_a_space_that_does_not_hold_it(spec_of: Make, space: str, train: str, message: str) -> None:
    spec = spec_of(space=space, train=train)
    study = create_or_open(spec, DATA)
    with pytest.raises(InputError, match=message):
        enqueue_table2(study, spec.search_space(), fixed=spec.train)
    assert left(study, None) == 0


def test_grid_is_enqueued_shuffled_and_once(spec_of: Make) -> None:
    spec = spec_of(space=SMALL)
    study = create_or_open(spec, DATA)
    study.enqueue_trial({"crop": 64, "batch_size": 2})
    assert enqueue_grid(study, spec.search_space(), seed=0) == 3
    assert enqueue_grid(study, spec.search_space(), seed=1) == 0
    assert len({params_key(claim_from(study, spec, 9).params) for _ in range(4)}) == 4
    with pytest.raises(InputError, match='sampler = "grid": the space is continuous'):
        enqueue_grid(study, SearchSpace([Float(name="lr_sgd", low=0.1, high=0.2)]), seed=0)


def test_only_the_queue_is_trained_where_only_that_was_asked_for(spec_of: Make) -> None:
    spec = spec_of(space=SMALL)
    study = create_or_open(spec, DATA)
    space, lock = spec.search_space(), study_lock(spec.study.storage, "s")
    study.enqueue_trial({"crop": 64, "batch_size": 2})
    claim = ask(study, space, spec.study.seed, trials=None, lock=lock)
    assert isinstance(claim, Claim)
    assert ask(study, space, spec.study.seed, trials=None, lock=lock) is Budget.WAIT  # it may be put back
    sampled = ask(study, space, spec.study.seed, trials=9, lock=lock)
    assert isinstance(sampled, Claim)  # by another worker, whose trials are not waited for
    assert left(study, None) == 1
    study.tell(claim.trial, state=TrialState.FAIL)
    assert ask(study, space, spec.study.seed, trials=None, lock=lock) is Budget.DONE
    assert (left(study, None), left(study, 3)) == (0, 3)
    assert running(study) == 1


def test_budget_counts_finished_and_running(spec_of: Make) -> None:
    spec = spec_of(space=SMALL)
    study = create_or_open(spec, DATA)
    space, lock = spec.search_space(), study_lock(spec.study.storage, "s")
    first, second = claim_from(study, spec, 2), claim_from(study, spec, 2)
    assert ask(study, space, spec.study.seed, trials=2, lock=lock) is Budget.WAIT
    study.tell(first.trial, 0.5)
    assert ask(study, space, spec.study.seed, trials=2, lock=lock) is Budget.WAIT
    study.tell(second.trial, state=TrialState.FAIL)
    third = claim_from(study, spec, 2)
    third.trial.report(0.1, 20)
    study.tell(third.trial, state=TrialState.PRUNED)
    assert ask(study, space, spec.study.seed, trials=2, lock=lock) is Budget.DONE
    assert (finished(study), running(study)) == (2, 0)
    assert isinstance(ask(study, space, spec.study.seed, trials=3, lock=lock), Claim)


def test_repeated_params_are_replicates_with_other_seeds(spec_of: Make) -> None:
    spec = spec_of("seed = 10", space="[space.params.crop]\nchoices = [64]")
    study = create_or_open(spec, DATA)
    claims = [claim_from(study, spec, 9) for _ in range(3)]
    assert [(claim.replicate, claim.seed) for claim in claims] == [(0, 10), (1, 11), (2, 12)]
    study.tell(claims[1].trial, state=TrialState.FAIL)
    assert claim_from(study, spec, 9).replicate == 1  # its seed never gave a result


def test_another_seed_gives_no_training_the_seed_of_an_earlier_one(spec_of: Make) -> None:
    spec = spec_of("seed = 10", space="[space.params.crop]\nchoices = [64]")
    study = create_or_open(spec, DATA)
    first = claim_from(study, spec, 9)
    later = spec_of("seed = 9", space="[space.params.crop]\nchoices = [64]")
    study.enqueue_trial({"crop": 64}, user_attrs={"replicate": 2})
    claims = [first, *(claim_from(study, later, 9) for _ in range(2))]
    assert [(claim.replicate, claim.seed) for claim in claims] == [(0, 10), (2, 12), (1, 11)]


def test_an_enqueued_trial_with_params_of_another_space_fails_and_says_so(spec_of: Make) -> None:
    spec = spec_of(space=SMALL)
    study = create_or_open(spec, DATA)
    study.enqueue_trial({"crop": 64, "bath_size": 1})
    study.enqueue_trial({"crop": 96, "batch_size": 2})
    claim = claim_from(study, spec, 9)
    assert claim.params == {"crop": 96, "batch_size": 2}
    (strange,) = study.get_trials(states=(TrialState.FAIL,))
    said = "enqueued with bath_size, none of the space's crop, batch_size; enqueue these"
    assert (strange.user_attrs["cause"], strange.user_attrs["message"]) == ("error", said)


def test_params_are_those_that_a_trial_is_trained_with() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"crop": 64, "bath_size": 1})
    assert params_of(study.trials[0]) == {"crop": 64, "bath_size": 1}
    trial = study.ask()
    assert params_of(study.trials[0]) == {"crop": 64, "bath_size": 1}, "begun, and nothing is suggested yet"
    trial.suggest_categorical("crop", [64, 96])
    assert params_of(study.trials[0]) == {"crop": 64}
    trial.set_user_attr("settings", {"crop": 64, "dropout": 0.5})
    assert params_of(study.trials[0]) == {"crop": 64, "dropout": 0.5}


def test_attributes_of_an_enqueued_trial_stay(spec_of: Make) -> None:
    spec = spec_of(space=SMALL)
    study = create_or_open(spec, DATA)
    study.enqueue_trial({"crop": 64, "batch_size": 1}, user_attrs={"seed": 77, "replicate": 4})
    claim = claim_from(study, spec, 9)
    assert (claim.seed, claim.replicate) == (77, 4)


def test_a_trial_that_cannot_be_suggested_does_not_stay_running(spec_of: Make) -> None:
    spec = spec_of(space=SMALL)
    study = create_or_open(spec, DATA)
    study.enqueue_trial({"crop": 65, "batch_size": 1})
    with pytest.raises(ValueError, match="65"):
        claim_from(study, spec, 9)
    assert running(study) == 0


def test_processes_and_threads_fill_the_study_exactly(spec_of: Make, tmp_path: Path) -> None:
    spec = spec_of()
    trials = 60
    command = [sys.executable, str(Path(__file__).with_name("asking.py")), str(tmp_path / "study.toml"), str(trials)]
    started = [
        subprocess.Popen(
            [*command, "2", "2"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])},
        )
        for _ in range(4)
    ]
    assert [process.wait(120) for process in started] == [0] * 4
    study = open_existing(spec.study)
    states = Counter(trial.state for trial in study.trials)
    assert states[TrialState.COMPLETE] == trials
    assert states[TrialState.RUNNING] == states[TrialState.WAITING] == 0
    # Every row is taken exactly once per replicate; a failed one is enqueued again only by a worker that starts later.
    done = Counter(
        (trial.user_attrs["table2"], trial.user_attrs["replicate"])
        for trial in study.trials
        if "table2" in trial.user_attrs and trial.state == TrialState.COMPLETE
    )
    assert max(done.values()) == 1
    enqueued = {(t.user_attrs["table2"], t.user_attrs["replicate"]) for t in study.trials if "table2" in t.user_attrs}
    assert enqueued == {(row.number, replicate) for row in TABLE2 for replicate in (0, 1)}
    taken = Counter(
        (params_key(trial.params), trial.user_attrs["seed"])
        for trial in study.trials
        if trial.state == TrialState.COMPLETE
    )
    assert max(taken.values()) == 1  # no training is done twice
    assert study.user_attrs["mmtuna:workers"] == 4


def test_workers_do_not_repeat_each_other(spec_of: Make) -> None:
    space = SearchSpace([Float(name="lr_sgd", low=1e-3, high=1e-1, log=True), Categorical(name="crop", choices=(1, 2))])
    spec = spec_of()
    drawn = []
    for trials_so_far, worker in ((0, 0), (0, 1), (5, 0), (0, 0)):
        study = optuna.create_study(sampler=build_sampler(spec.study, space, trials_so_far, worker))
        drawn.append(params_key(space.suggest(study.ask())))
    assert len(set(drawn)) == 3
    assert drawn[0] == drawn[3]


def test_params_to_begin_with_are_enqueued_once_and_completed(tmp_path: Path) -> None:
    space = '[space]\npreset = "paper"\nstart = [{ crop = 320, loss = "dice" }, { crop = 192 }]\n'
    path = tmp_path / "study.toml"
    path.write_text(f'[study]\nname = "s"\n[data]\nroot = "."\n{space}')
    spec = StudySpec.load(path)
    study = create_or_open(spec, {})
    assert enqueue_start(study, spec.space.start) == 2
    assert enqueue_start(study, spec.space.start) == 0
    lock = study_lock(spec.study.storage, "s")
    claim = ask(study, spec.search_space(), spec.study.seed, trials=5, lock=lock)
    assert isinstance(claim, Claim)
    assert (claim.params["crop"], claim.params["loss"]) == (320, "dice")
    assert spec.search_space().contains(claim.params)
    study.tell(claim.trial, 0.5)
    assert enqueue_start(study, spec.space.start) == 0


@pytest.mark.parametrize(
    ("start", "said"),
    [("crop = 200", r"start: crop = 200 lies outside its range"), ("cropp = 192", "start: cropp is no parameter")],
)
def test_params_to_begin_with_must_lie_in_the_space(tmp_path: Path, start: str, said: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(f'[study]\nname = "s"\n[data]\nroot = "."\n[space]\npreset = "paper"\nstart = [{{ {start} }}]\n')
    with pytest.raises(InputError, match=said):
        StudySpec.load(path)


def test_what_the_search_cut_short_is_no_seed_of_its_config(spec_of: Make) -> None:
    spec = spec_of()
    study, space = create_or_open(spec, DATA), spec.search_space()
    row = TABLE2[0].params(space)

    def add(replicate: int, state: TrialState, **marks: object) -> None:
        value = 0.8 if state is TrialState.COMPLETE else None
        attrs = {"replicate": replicate, **marks}
        frozen = optuna.trial.create_trial(
            params=row,
            distributions={name: space.distributions()[name] for name in row},
            value=value,
            state=state,
            user_attrs=attrs,
        )
        study.add_trial(frozen)

    add(0, TrialState.PRUNED)
    assert [number for number, _, _ in missing_table2(study, space, 1)] == list(range(1, 12))
    add(0, TrialState.COMPLETE)
    add(1, TrialState.PRUNED)
    wanted = Replicates(count=3, sets=(row,))
    assert [replicate for _, replicate in missing_replicates(study, space, wanted)] == [1, 2]
    add(2, TrialState.PRUNED, again=True)  # trained for this alone: that it diverged is its result
    assert [replicate for _, replicate in missing_replicates(study, space, wanted)] == [1]
