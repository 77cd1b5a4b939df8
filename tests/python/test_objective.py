"""mmtuna.Objective within Optuna: any study, sampler, pruner and storage, as people use them."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.pruners import NopPruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FixedTrial, FrozenTrial, TrialState

import mmtuna
from mmtuna.homes import Home
from mmtuna.objectives.probes.choosing import device_name
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.search.trials import conclude
from mmtuna.spaces.errors import whole_number
from mmtuna.spaces.parameter import Params
from mmtuna.studies.attributes import SEARCHED, SPEED, SPEED_ON
from mmtuna.studies.leases.crew import crew_of
from tests.postgres import PostgresServer
from tests.python.conftest import TRAIN
from tests.waiting import until

MakeSpec = Callable[..., mmtuna.StudySpec]


class StopsAt(optuna.pruners.BasePruner):
    """A pruner of a person's own."""

    def __init__(self, step: int) -> None:
        self.step = step

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return (trial.last_step or 0) >= self.step


def new_study(**options: Any) -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0), **options)


def folder_of(spec: mmtuna.StudySpec, trial: FrozenTrial) -> TrialFolder:
    return TrialFolder(spec.study.folder / trial.user_attrs["folder"])


def test_a_study_in_memory_trains_two_at_a_time(make_spec: MakeSpec) -> None:
    spec = make_spec()
    study = new_study(pruner=NopPruner())  # of so few iterations some find nothing
    study.optimize(mmtuna.Objective(spec, slots=2), n_trials=4, n_jobs=2)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 4
    spans = sorted((trial.datetime_start, trial.datetime_complete) for trial in study.trials)
    assert any(begun < ended for (_, ended), (begun, _) in itertools.pairwise(spans)), "none overlapped"
    for trial in study.trials:
        attrs = trial.user_attrs
        assert list(trial.intermediate_values) == [25, 50, 75, 100]
        assert trial.value == attrs["metrics"]["mIoU"] == attrs["curve"][-1]["mIoU"]
        assert attrs["seed"] == 0
        assert attrs["cost"]["iterations"] == 8
        files = folder_of(spec, trial)
        assert files.config.is_file()
        assert files.pictures()
        assert any(key.startswith("artifacts:") for key in trial.system_attrs)


def test_what_it_trains_is_what_run_trains(make_spec: MakeSpec, tmp_path: Path) -> None:
    start = {"space": {"start": [{"lr_adam": 0.004}]}, "study": {"trials": 1}}
    spec = make_spec(**start)
    ran = mmtuna.run(spec).trials[0]
    other = make_spec(study={"folder": str(tmp_path / "other")})
    study = new_study()
    study.enqueue_trial({"lr_adam": 0.004})
    study.optimize(mmtuna.Objective(other), n_trials=1)
    plain = study.trials[0]
    for name in ("metrics", "best_metrics", "seed", "replicate"):
        assert plain.user_attrs[name] == ran.user_attrs[name]
    assert {*plain.user_attrs, "history", "start"} == {*ran.user_attrs}
    configs = [folder_of(*pair).config.read_text() for pair in ((spec, ran), (other, plain))]
    assert configs[0].replace(str(spec.study.folder), "X") == configs[1].replace(str(other.study.folder), "X")


@pytest.mark.slow  # likewise in tests/search/commands/test_run.py, by the command
def test_what_is_faster_is_measured_once_a_study(make_spec: MakeSpec) -> None:
    study = new_study()
    study.optimize(mmtuna.Objective(make_spec(train={"speed": "auto"}), slots=2), n_trials=2, n_jobs=2)
    ((name, kept),) = [entry for entry in study.user_attrs.items() if entry[0].startswith(SPEED_ON)]
    assert name == SPEED_ON + device_name("")
    assert [trial.user_attrs[SPEED] for trial in study.trials] == [kept, kept]
    study.set_user_attr(name, {"fused": True})  # as another process would have found it
    study.optimize(mmtuna.Objective(make_spec(train={"speed": "auto"})), n_trials=1)
    assert study.trials[-1].user_attrs[SPEED] == {"fused": True}


def test_a_spec_that_is_changed_afterwards_changes_no_trial(make_spec: MakeSpec) -> None:
    spec, study = make_spec(), new_study(pruner=NopPruner())
    objective = mmtuna.Objective(spec)
    spec.model_copy().train["iterations"] = 4
    study.optimize(objective, n_trials=1)
    assert study.trials[0].user_attrs["cost"]["iterations"] == 8


def test_a_pruner_of_ones_own_prunes(make_spec: MakeSpec) -> None:
    study = new_study(pruner=StopsAt(50))
    study.optimize(mmtuna.Objective(make_spec()), n_trials=1)
    trial = study.trials[0]
    assert trial.state is TrialState.PRUNED
    assert list(trial.intermediate_values) == [25, 50]
    assert trial.user_attrs["cost"]["iterations"] == 4


@pytest.mark.parametrize(
    ("pruner", "stop", "steps"),
    [
        (StopsAt(100), True, [25, 50, 75]),
        (NopPruner(), True, [25, 50, 75, 100]),
        (StopsAt(100), False, [25, 50, 75, 100]),
    ],
)
def test_what_never_finds_a_class_is_stopped_where_anything_is(
    make_spec: MakeSpec,
    monkeypatch: pytest.MonkeyPatch,
    pruner: optuna.pruners.BasePruner,
    stop: bool,
    steps: list[int],
) -> None:
    monkeypatch.setattr(conclude, "has_collapsed", lambda evaluation: True)
    study = new_study(pruner=pruner)
    objective = mmtuna.Objective(make_spec(), stop_collapses=stop)
    study.optimize(objective, n_trials=1)  # nothing was ever found here
    study.add_trial(optuna.trial.create_trial(value=0.9))
    study.optimize(objective, n_trials=1)
    first, _, second = study.trials
    assert (first.state, list(first.intermediate_values)) == (TrialState.COMPLETE, [25, 50, 75, 100])
    assert list(second.intermediate_values) == steps
    assert second.state is (TrialState.COMPLETE if steps[-1] == 100 else TrialState.PRUNED)


def test_a_loss_that_is_no_number_is_pruned_with_the_lowest_value(make_spec: MakeSpec) -> None:
    spec = make_spec(train={**TRAIN, "model.decode_head.loss_decode.loss_weight": 1e39})  # inf in float32
    study = new_study()
    study.optimize(mmtuna.Objective(spec), n_trials=1)
    trial = study.trials[0]
    assert (trial.state, trial.value) == (TrialState.PRUNED, 0.0)
    assert trial.user_attrs["cause"] == "diverged"
    assert trial.user_attrs["message"] == "loss is inf at iteration 1"


def test_params_come_from_a_function_dotted_keys_included(make_spec: MakeSpec) -> None:
    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        return {
            "loss": trial.suggest_categorical("loss", ["ce_dice"]),
            "model.decode_head.dropout_ratio": trial.suggest_float("dropout", 0.25, 0.25),
        }

    spec = make_spec(space={"params": {}})
    study = new_study()
    study.optimize(mmtuna.Objective(spec, suggest=suggest), n_trials=1)
    trial = study.trials[0]
    assert trial.state is TrialState.COMPLETE
    assert trial.params == {"loss": "ce_dice", "dropout": 0.25}
    assert trial.user_attrs["settings"] == {"loss": "ce_dice", "model.decode_head.dropout_ratio": 0.25}
    cfg = folder_of(spec, trial).read_config()
    assert cfg["model"]["decode_head"]["dropout_ratio"] == 0.25
    assert [loss["type"] for loss in cfg["model"]["decode_head"]["loss_decode"]] == ["CrossEntropyLoss", "DiceLoss"]


def test_settings_of_a_function_are_what_tells_configs_apart(make_spec: MakeSpec) -> None:
    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        return {"lr_adam": trial.suggest_categorical("lr", [1e-3, 2e-3]), "weight_decay": decays[trial.number]}

    spec, study = make_spec(space={"params": {}}), new_study()
    objective = mmtuna.Objective(spec, suggest=suggest)
    decays = (0.0, 0.0, 0.1)
    for _ in decays:
        study.enqueue_trial({"lr": 1e-3})
    study.optimize(objective, n_trials=3)
    rows = mmtuna.trials(spec, study)
    assert [(row.params, row.seed) for row in rows] == [
        ({"lr_adam": 1e-3, "weight_decay": 0.0}, 0),
        ({"lr_adam": 1e-3, "weight_decay": 0.0}, 1),
        ({"lr_adam": 1e-3, "weight_decay": 0.1}, 0),
    ]


class Interrupts(optuna.pruners.BasePruner):
    """Ctrl-C at the first evaluation."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        raise KeyboardInterrupt


def test_ctrl_c_in_a_study_with_leases_is_no_other_error_and_the_trial_waits(make_spec: MakeSpec) -> None:
    spec = make_spec()
    objective, study = mmtuna.Objective(spec), mmtuna.open_study(spec)
    study.pruner = Interrupts()
    with pytest.raises(KeyboardInterrupt):
        study.optimize(objective, n_trials=1)
    assert [trial.state for trial in study.trials] == [TrialState.WAITING]
    study.pruner = optuna.pruners.NopPruner()
    study.optimize(objective, n_trials=1)
    (trial,) = study.trials
    assert (trial.state, trial.user_attrs["history"][0]["ended"]) == (TrialState.COMPLETE, "interrupted")
    assert not (folder_of(spec, trial).path / "train.log").read_text().count("Traceback")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"optimizer": "SGD"}, "suggest gives optimizer, which [train] fixes; remove it from one of the two"),
        ({"speed": "auto"}, "suggest: speed is the same in all trials of a study; set it in [train]"),
        ({"randomness.seed": 3}, "suggest: randomness.seed is set by mmtuna; use [study] seed in its place"),
        ({"los": "dice"}, "suggest: los is no setting; did you mean loss?"),
        ({"crop": 5}, "suggest: crop = 5 is not allowed; it takes 'none' or a whole number from 16 to 8192"),
        (None, 'suggest gives None; return settings by name, such as {"lr_adam": 0.001}'),
    ],
)
def test_what_a_function_gives_is_checked(make_spec: MakeSpec, given: Any, words: str) -> None:
    objective = mmtuna.Objective(make_spec(), suggest=lambda _: given)
    with pytest.raises(mmtuna.InputError) as caught:
        new_study().optimize(objective, n_trials=1)
    assert str(caught.value) == words


def test_a_failure_is_an_exception_with_its_cause(make_spec: MakeSpec) -> None:
    spec = make_spec(resources={"deadline": 0.01})
    study = new_study()
    objective = mmtuna.Objective(spec)
    study.optimize(objective, n_trials=2, catch=(mmtuna.TrialFailedError,))
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 2
    assert {trial.user_attrs["cause"] for trial in study.trials} == {"deadline"}
    with pytest.raises(mmtuna.TrialFailedError, match=r"deadline: not done after 0\.01 s") as caught:
        study.optimize(objective, n_trials=1)
    assert caught.value.cause == "deadline"


def test_a_study_that_minimises_is_refused(make_spec: MakeSpec) -> None:
    study = optuna.create_study(study_name="low")
    with pytest.raises(mmtuna.InputError) as caught:
        study.optimize(mmtuna.Objective(make_spec()), n_trials=1)
    assert str(caught.value) == 'study low: mIoU is to be maximised; make the study with direction="maximize"'


def test_a_study_begun_on_something_else_is_refused(make_spec: MakeSpec) -> None:
    study = new_study(study_name="one")
    study.optimize(mmtuna.Objective(make_spec()), n_trials=1)
    other = make_spec(train={**TRAIN, "iterations": 12})
    with pytest.raises(mmtuna.InputError, match=r"study one: train\.iterations was 8 and is 12"):
        study.optimize(mmtuna.Objective(other), n_trials=1)


def test_two_studies_of_one_spec_keep_their_files_apart(make_spec: MakeSpec) -> None:
    spec = make_spec()
    objective = mmtuna.Objective(spec)
    folders = []
    for _ in range(2):
        study = new_study(study_name="a b")
        study.optimize(objective, n_trials=1)
        folders.append(study.trials[0].user_attrs["folder"])
    assert folders == ["plain/a-b/trials/00000", "plain/a-b-2/trials/00000"]
    assert all((spec.study.folder / folder / "last.pth").is_file() for folder in folders)


def test_a_fixed_trial_is_trained_and_touches_no_study(make_spec: MakeSpec) -> None:
    spec = make_spec()
    trial = FixedTrial({"lr_adam": 0.003})
    value = mmtuna.Objective(spec)(trial)
    assert value == trial.user_attrs["metrics"]["mIoU"]
    assert trial.user_attrs["folder"] == "fixed/trials/00000"


FOLDS = {
    "study": {"pruner": "wilcoxon"},
    "data": {"subjects": "subjects.csv", "split": "subject-kfold", "folds": 2},
    "train": {"evaluations": 2},
}


def test_a_fixed_trial_of_folds_is_behind_none(make_spec: MakeSpec) -> None:
    trial = FixedTrial({"lr_adam": 0.003})
    value = mmtuna.Objective(make_spec(**FOLDS))(trial)
    assert value == trial.user_attrs["metrics"]["mIoU"]
    assert len(trial.user_attrs["folds"]) == 2


@pytest.mark.parametrize(
    ("pruner", "pruner_of_its_own", "steps"),
    [
        ("wilcoxon", optuna.pruners.NopPruner(), [25, 50, 75]),
        ("best-third", optuna.pruners.MedianPruner(), [25, 50, 75]),
        ("best-third", optuna.pruners.NopPruner(), [25, 50, 75, 100]),
    ],
)
def test_what_stops_trials_stops_collapses(
    make_spec: MakeSpec,
    monkeypatch: pytest.MonkeyPatch,
    pruner: str,
    pruner_of_its_own: optuna.pruners.BasePruner,
    steps: list[int],
) -> None:
    monkeypatch.setattr(conclude, "has_collapsed", lambda evaluation: True)
    spec = make_spec(**{**FOLDS, "study": {"pruner": pruner}})
    study = new_study(pruner=pruner_of_its_own)
    study.add_trial(optuna.trial.create_trial(value=0.9))
    study.optimize(mmtuna.Objective(spec), n_trials=1)
    assert list(study.trials[1].intermediate_values) == steps


def test_calls_with_the_same_params_at_once_take_two_seeds(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective, study, real = mmtuna.Objective(make_spec()), new_study(), Home.free_replicate

    def slow(home: Home, params: Params, number: int) -> int:
        found = real(home, params, number)
        time.sleep(0.3)
        return found

    for _ in range(2):
        study.enqueue_trial({"lr_adam": 0.003})
    trials = [study.ask() for _ in range(2)]
    home = objective._home(trials[0])
    params = [home.space.suggest(trial) for trial in trials]
    monkeypatch.setattr(Home, "free_replicate", slow)
    with ThreadPoolExecutor(2) as pool:
        orders = list(pool.map(lambda asked: objective._order(*asked, home), zip(trials, params, strict=True)))
    assert sorted(order.seed for order in orders) == [0, 1]


def test_a_study_keeps_by_what_it_is_searched(make_spec: MakeSpec) -> None:
    objective, study = mmtuna.Objective(make_spec()), new_study(pruner=NopPruner())
    for _ in range(2):
        objective._home(study.ask())
    assert study.user_attrs[SEARCHED] == [["RandomSampler", "none"]]
    study.sampler, study.pruner = optuna.samplers.TPESampler(seed=0), StopsAt(50)
    objective._home(study.ask())
    assert study.user_attrs[SEARCHED] == [["RandomSampler", "none"], ["TPESampler", "StopsAt"]]


def test_a_study_that_was_searched_before_this_was_kept_says_so(make_spec: MakeSpec) -> None:
    study = new_study()
    study.add_trial(optuna.trial.create_trial(value=0.9))
    mmtuna.Objective(make_spec(study={"pruner": "median"}))._home(study.ask())
    assert study.user_attrs[SEARCHED] == [[None, None], ["RandomSampler", "MedianPruner"]]


def test_the_specs_own_study_keeps_another_sampler_that_it_was_given(make_spec: MakeSpec) -> None:
    spec = make_spec()
    objective, study = mmtuna.Objective(spec), mmtuna.open_study(spec)
    objective._home(study.ask())
    assert study.user_attrs[SEARCHED] == [["tpe", "best-third"]]
    again = optuna.load_study(
        study_name="tiny", storage=spec.study.storage, sampler=optuna.samplers.RandomSampler(), pruner=NopPruner()
    )
    objective._home(again.ask())
    assert again.user_attrs[SEARCHED] == [["tpe", "best-third"], ["RandomSampler", "none"]]


def test_from_a_thread(make_spec: MakeSpec) -> None:
    study = new_study()
    failed: list[BaseException] = []

    def search() -> None:
        try:
            study.optimize(mmtuna.Objective(make_spec()), n_trials=1)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=search)
    thread.start()
    thread.join()
    assert not failed
    assert study.trials[0].state is TrialState.COMPLETE


def test_in_a_journal_and_a_sqlite_file_of_ones_own(make_spec: MakeSpec, tmp_path: Path) -> None:
    objective = mmtuna.Objective(make_spec())
    for storage in (JournalStorage(JournalFileBackend(str(tmp_path / "journal"))), f"sqlite:///{tmp_path}/own.db"):
        study = new_study(storage=storage, study_name="own")
        study.optimize(objective, n_trials=1)
        again = optuna.load_study(study_name="own", storage=storage)
        assert again.trials[0].state is TrialState.COMPLETE
        assert again.trials[0].user_attrs["metrics"]["mIoU"] == again.trials[0].value


def test_on_postgres_beside_a_worker(make_spec: MakeSpec, server: PostgresServer, database: str) -> None:
    spec = make_spec(study={"storage": server.url(database), "trials": 3})
    study = mmtuna.open_study(spec)
    assert study.user_attrs["mmtuna:searched"] == [["tpe", "best-third"]]
    study.optimize(mmtuna.Objective(spec), n_trials=1)
    assert study.trials[0].user_attrs["folder"] == "trials/00000"
    assert [trial.state for trial in mmtuna.run(spec).trials] == [TrialState.COMPLETE] * 3


KILLED = """
import sys, mmtuna
spec = mmtuna.StudySpec.load(sys.argv[1])
mmtuna.open_study(spec).optimize(mmtuna.Objective(spec), n_trials=1)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_its_trial_to_others(make_spec: MakeSpec, tmp_path: Path, eyes: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        f"""
[study]
name = "tiny"
folder = "study"
trials = 1
[data]
root = "{eyes}"
subjects = "subjects.csv"
[model]
pretrained = "none"
[space.params.lr_adam]
low = 1e-4
high = 1e-2
[train]
decoder = "fcn"
base_channels = 4
input_size = 64
inference = "whole"
optimizer = "AdamW"
iterations = 60
evaluations = 20
[resources]
devices = ["cpu"]
threads = 1
"""
    )
    last = tmp_path / "study" / "trials" / "00000" / "last.pth"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)])
    try:
        assert until(last.is_file, 120), "no checkpoint was written"
        process.kill()
    finally:
        process.wait()
    study = mmtuna.run(path)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE]
    history = study.trials[0].user_attrs["history"]
    assert [entry["ended"] for entry in history] == ["lost", "complete"]
    assert study.trials[0].user_attrs["seed"] == 0


UNGUARDED = """
import os, sys
with open(sys.argv[2], "a") as file:
    file.write("x")
import optuna, mmtuna
study = optuna.create_study(direction="maximize")
study.optimize(mmtuna.Objective(sys.argv[1]), n_trials=1)
print(study.trials[0].state.name)
"""
QUICK = """
import sys, signal, warnings, multiprocessing.forkserver as server

def state():
    return [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)], list(warnings.filters)

before = state()
import mmtuna
assert "optuna" not in sys.modules, "import mmtuna loads optuna"
assert state() == before, "import mmtuna changes the process"
import optuna.artifacts  # with numpy and boto3, which set filters of their own
before = state()
mmtuna.Objective, mmtuna.run, mmtuna.StudySpec, mmtuna.InputError
assert "torch" not in sys.modules, "the names load torch"
assert state() == before, "the names change the process"
assert server._forkserver._preload_modules == ["__main__"], server._forkserver._preload_modules
"""


@pytest.mark.slow  # docs/python.md is one such script, and is run; the fork server alone: tests/objectives/trial
def test_a_script_without_a_guard_runs_once(tmp_path: Path, make_spec: MakeSpec, eyes: Path) -> None:
    script, mark = tmp_path / "script.py", tmp_path / "mark"
    script.write_text(
        UNGUARDED.replace("mmtuna.Objective(sys.argv[1])", "mmtuna.Objective(SPEC)").replace(
            "import optuna, mmtuna", f"import optuna, mmtuna\nSPEC = mmtuna.StudySpec(**{tables(tmp_path, eyes)!r})"
        )
    )
    done = subprocess.run(
        [sys.executable, str(script), "-", str(mark)], capture_output=True, text=True, timeout=200, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (0, "COMPLETE\n"), done.stderr
    assert mark.read_text() == "x"


def tables(folder: Path, eyes: Path) -> dict[str, Any]:
    return {
        "study": {"name": "tiny", "folder": str(folder / "study")},
        "data": {"root": str(eyes), "subjects": "subjects.csv"},
        "model": {"pretrained": "none"},
        "space": {"params": {"lr_adam": {"low": 1e-4, "high": 1e-2}}},
        "train": TRAIN,
        "resources": {"devices": ["cpu"], "threads": 1},
    }


def test_importing_it_is_quick_and_changes_nothing() -> None:
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", QUICK], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 20  # on a machine that is busy; alone well under a second


@pytest.mark.parametrize(
    ("function", "given", "words"),
    [
        *((mmtuna.run, {"trials": bad}, "trials: give a whole number from 1 on") for bad in (0, -5, 2.5, True, "3")),
        *((mmtuna.run, {"slots": bad}, "slots: give a whole number from 1 on") for bad in (0, -1, "2", 1.0)),
        (mmtuna.run, {"replicates": 1}, "replicates: give a whole number from 2 on"),
        (mmtuna.run, {"replicates": 3, "top": 0}, "top: give a whole number from 1 on"),
        (mmtuna.export, {"out": "bundle", "trial": "0"}, "trial: give a whole number from 0 on"),
        (mmtuna.compare, {"a": "0", "b": 1, "out": "x.png"}, "a: give a whole number from 0 on"),
        (mmtuna.compare, {"a": 0, "b": -1, "out": "x.png"}, "b: give a whole number from 0 on"),
        (mmtuna.against, {"a": 0, "b": None}, "b: give a whole number from 0 on"),
        (mmtuna.leak, {"replicates": 0}, "replicates: give a whole number from 1 on"),
        (mmtuna.leak, {"folds": 1}, "folds: give a whole number from 2 on"),
        (mmtuna.leak, {"slots": 0}, "slots: give a whole number from 1 on"),
        (mmtuna.leak, {"trials": [1.5]}, "trials: give a whole number from 0 on"),
        (mmtuna.leak, {"trials": 3}, "trials: give numbers of trials, such as [0, 3]"),
        (mmtuna.leak, {"trials": "03"}, "trials: give numbers of trials, such as [0, 3]"),
        (mmtuna.Objective, {"slots": False}, "slots: give a whole number from 1 on"),
        (mmtuna.Objective, {"stop_collapses": "no"}, "stop_collapses: give True or False"),
        (mmtuna.Objective, {"stop_collapses": 0}, "stop_collapses: give True or False"),
        (mmtuna.export, {"out": "bundle", "retrain": "no"}, "retrain: give True or False"),
        (mmtuna.export, {"out": "bundle", "ensemble": None}, "ensemble: give True or False"),
        (mmtuna.Objective, {"suggest": 5}, "suggest: give a function from a trial to settings"),
    ],
)
def test_what_is_no_number_and_no_flag_is_refused_before_anything_is_read(
    function: Callable[..., object], given: dict[str, Any], words: str
) -> None:
    with pytest.raises(mmtuna.InputError) as caught:
        function("no-such-study.toml", **given)
    assert str(caught.value).startswith(words + ", not ")


def test_a_number_of_numpy_s_is_a_number() -> None:
    for count in (3, np.int64(3), np.uint8(3)):
        found = whole_number("trials", count, 1)
        assert (found, type(found)) == (3, int)


def test_more_seeds_of_nothing_are_refused() -> None:
    with pytest.raises(mmtuna.InputError, match=r"^--top 3 says of how many configs --replicates trains more seeds"):
        mmtuna.run("no-such-study.toml", top=3)


def test_names_that_are_not_there_are_refused() -> None:
    with pytest.raises(AttributeError, match="module 'mmtuna' has no attribute 'optimise'"):
        _ = mmtuna.optimise
    assert set(mmtuna.__all__) <= set(dir(mmtuna))
    for name in mmtuna.__all__:
        assert getattr(mmtuna, name).__doc__


@pytest.mark.slow
def test_leases_show_others_that_a_trial_is_trained(make_spec: MakeSpec) -> None:
    spec = make_spec(train={**TRAIN, "iterations": 40, "evaluations": 8})
    study = mmtuna.open_study(spec)
    seen: list[tuple[int, ...]] = []
    thread = threading.Thread(target=lambda: study.optimize(mmtuna.Objective(spec), n_trials=1))
    thread.start()
    while thread.is_alive():
        seen += [worker.trials for worker in crew_of(study).workers]
        time.sleep(0.1)
    assert (0,) in seen
    assert study.trials[0].state is TrialState.COMPLETE
