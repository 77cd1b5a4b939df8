"""The search from spec to best config, by the real command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from mmtuna.search.commands.run import lines_of_top
from mmtuna.search.work.running import replay_study
from mmtuna.studies.spec import StudySpec
from tests.search.conftest import mmtuna, start, status

WriteSpec = Callable[..., Path]


def test_what_further_seeds_made_of_the_best_configs_is_told() -> None:
    lucky = {"trials": [1, 9], "values": [0.80, 0.70], "diverged": 0, "mean": 0.75, "least": None}
    steady = {"trials": [2, 8], "values": [0.77, 0.78], "diverged": 0, "mean": 0.775, "least": 0.7512}
    document = {"metric": "mIoU", "best": {"trial": 1}, "top": [steady, lucky]}
    assert list(lines_of_top(document)) == [
        "  trials 2, 8: mIoU 0.7750 on average, 0.7512 at least, of 2 seeds (0.7700, 0.7800)",
        "  trials 1, 9: mIoU 0.7500 on average of 2 seeds (0.8000, 0.7000)",
    ]
    assert list(lines_of_top({"metric": "mIoU", "best": None})) == []


TWICE = ("--trials", "5", "--replicates", "2", "--top", "2")


def test_a_study_runs_goes_on_and_counts_exactly(write_spec: WriteSpec) -> None:
    spec = write_spec()
    folder = spec.parent / "runs" / "tiny"

    first = mmtuna("run", spec, "--slots", "2", "--json")
    assert first.returncode == 0, first.stderr
    summary = json.loads(first.stdout)
    assert summary["finished"] == 3
    best = summary["best"]
    assert set(best["params"]) == {"lr_adam"}
    assert 0 <= best["metrics"]["IoU.fluid"] <= 1
    assert best["value"] == best["metrics"]["mIoU"]
    assert Path(best["config"]).is_file()
    assert Path(summary["report"]).read_text().lower().startswith("<!doctype html>")

    again = mmtuna("run", spec)
    assert again.returncode == 0, again.stderr
    assert len(status(spec)["trials"]) == 3

    more = mmtuna("run", spec, *TWICE, "--json")
    assert more.returncode == 0, more.stderr
    *trials, third, fourth = status(spec)["trials"]
    assert [trial["state"] in ("COMPLETE", "PRUNED") for trial in trials] == [True] * 5
    assert len({trial["params"]["lr_adam"] for trial in trials}) == 5

    for trial in trials:
        files = {path.name for path in (folder / trial["folder"]).iterdir()}
        assert {"config.py", "train.log", "evaluation.json"} <= files
        assert trial["curve"][-1]["step"] == 100 or trial["state"] == "PRUNED"
        assert trial["seconds"] > 0

    assert "the best 2 configs with 2 seeds each: 2 trainings to do" in more.stderr
    assert [third["state"], fourth["state"]] == ["COMPLETE"] * 2
    for config in json.loads(more.stdout)["top"]:
        before, after = config["trials"]
        first_seed, second_seed = trials[before], (third, fourth)[after - 5]
        assert first_seed["params"] == second_seed["params"] == config["params"]
        assert second_seed["seed"] == first_seed["seed"] + 1
        assert config["mean"] == pytest.approx((first_seed["value"] + second_seed["value"]) / 2)
    refused = mmtuna("run", spec, "--top", "2")
    assert (refused.returncode, refused.stderr) == (
        2,
        "mmtuna: --top 2 says of how many configs --replicates trains more seeds; add --replicates 3\n",
    )


@pytest.mark.slow
def test_a_study_that_was_begun_under_a_settings_former_name_trains_on(write_spec: WriteSpec) -> None:
    spec = write_spec(train="amp = false")
    first = mmtuna("run", spec, "--trials", "1")
    assert first.returncode == 0, first.stderr
    assert 'note: [train] amp: is called precision now; precision = "fp32" says the same' in first.stdout
    write_spec(train='precision = "fp32"')
    more = mmtuna("run", spec, "--trials", "2")
    assert (more.returncode, more.stderr) == (0, "")
    assert "amp" not in more.stdout
    assert [trial["state"] for trial in status(spec)["trials"]] == ["COMPLETE"] * 2


@pytest.mark.slow  # how it is measured: tests/objectives/speed/test_pace.py
def test_what_is_faster_is_measured_once_and_stays_the_studys(write_spec: WriteSpec) -> None:
    spec = write_spec(train='speed = "auto"')
    first = mmtuna("run", spec, "--trials", "1")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.count("measures what is faster on") == 1
    more = mmtuna("run", spec, "--trials", "2")
    assert (more.returncode, more.stderr) == (0, "")
    assert "measures" not in more.stdout
    found = status(spec)
    ((kind, speed),) = found["speeds"].items()
    assert f"note: speed on {kind}: {speed}" in first.stdout
    assert f"note: speed on {kind}: {speed}" in more.stdout
    assert f"\nspeed on {kind}: {speed}\n" in mmtuna("status", spec).stdout
    kept = [trial["speed"] for trial in found["trials"]]
    assert kept[0] is not None
    assert kept == [kept[0]] * 2

    write_spec()
    exact = mmtuna("run", spec, "--trials", "3")
    assert exact.returncode == 2
    assert "train.speed was auto and is absent; its trials would not compare" in exact.stderr


def test_several_runs_may_begin_one_study_at_once(write_spec: WriteSpec) -> None:
    """As deploy/worker.sbatch and deploy/kubernetes.yaml do."""
    spec = write_spec()
    runs = [start("run", spec, "--slots", "1") for _ in range(2)]
    said = [run.communicate(timeout=240)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert all("best: trial" in text for text in said)
    assert [trial["state"] in ("COMPLETE", "PRUNED") for trial in status(spec)["trials"]] == [True] * 3


def test_checkpoints_of_all_but_the_best_are_deleted(write_spec: WriteSpec) -> None:
    spec = write_spec(study='pruner = "none"', resources="keep_checkpoints = 1")
    assert mmtuna("run", spec).returncode == 0
    found = status(spec)
    kept = sorted((spec.parent / "runs" / "tiny" / "trials").glob("*/best.pth"))
    assert [int(path.parent.name) for path in kept] == [found["best"]["trial"]]


def test_other_data_space_or_settings_are_refused_by_name(write_spec: WriteSpec, phantom: Path) -> None:
    spec = write_spec()
    assert mmtuna("run", spec, "--trials", "1").returncode == 0
    before = status(spec)["trials"]

    write_spec(train="rotation = 10")
    changed = mmtuna("run", spec)
    assert changed.returncode == 2
    assert changed.stderr == (
        "mmtuna: study tiny: train.rotation was absent and is 10; its trials would not compare: take another [study] "
        "name, or the old value\n"
    )
    write_spec(data='split = "subject"\nsubjects = "subjects.csv"')
    assert "study tiny: split.kind was lists and is subject" in mmtuna("check", spec).stderr
    text = write_spec().read_text().replace("high = 1e-2", "high = 2e-2")
    spec.write_text(text)
    assert "study tiny: space.lr_adam.high was 0.01 and is 0.02" in mmtuna("run", spec).stderr
    write_spec()
    assert status(spec)["trials"] == before


def test_a_cause_that_ends_every_trial_stops_the_study(write_spec: WriteSpec) -> None:
    assert mmtuna("run", write_spec(), "--trials", 1).returncode == 0
    spec = write_spec(resources="deadline = 0.05")  # of a study that has begun it is told, and not refused
    done = mmtuna("run", spec)
    assert done.returncode == 1
    assert "note: [resources] deadline = 0.05 is 50 ms, and the shortest trial takes about " in done.stdout
    assert "the last three trials all failed by the same cause, deadline: not done after 0.05 s" in done.stderr
    assert status(spec)["causes"]["deadline"] == 3


@pytest.mark.slow  # the naming of it is tested in tests/objectives/test_training.py
def test_divergence_is_a_named_cause_and_the_study_goes_on(write_spec: WriteSpec) -> None:
    space = '[space.params.lr_sgd]\nchoices = [1e-2, 10.0]\n[space.params.optimizer]\nchoices = ["SGD"]\n'
    spec = write_spec(space=space, study='sampler = "random"', train="momentum = 0.99\nweight_decay = 1.0")
    spec.write_text(spec.read_text().replace('optimizer = "AdamW"\n', "").replace("iterations = 8", "iterations = 60"))
    done = mmtuna("run", spec, "--trials", "6", timeout=240)
    assert done.returncode == 0, done.stderr
    trials = status(spec)["trials"]
    diverged = [trial for trial in trials if trial["cause"] == "diverged"]
    assert diverged
    assert all(trial["state"] == "PRUNED" and trial["value"] == 0.0 for trial in diverged)
    assert all("loss is" in trial["message"] for trial in diverged)
    assert any(trial["state"] == "COMPLETE" for trial in trials)


@pytest.mark.slow
def test_replicates_of_table_2_have_seeds_of_their_own(write_spec: WriteSpec) -> None:
    spec = write_spec(space='preset = "paper"', train="size_scale = 0.15", study="enqueue = []")
    text = spec.read_text().replace("[space.params.lr_adam]\nlow = 1e-4\nhigh = 1e-2\nlog = true\n", "")
    for line in ('decoder = "fcn"\n', 'optimizer = "AdamW"\n', "iterations = 8\n"):
        text = text.replace(line, "")
    spec.write_text(text.replace("input_size = 64", "iteration_scale = 0.005"))
    done = mmtuna("table2", spec, "--replicates", "2", "--slots", "2", "--json", timeout=280)
    assert done.returncode == 0, done.stderr
    lines = json.loads(done.stdout)
    assert [line["n"] for line in lines] == [2] * 11
    seeds = {(trial["table2"], trial["seed"]) for trial in status(spec)["trials"]}
    assert seeds == {(row, seed) for row in range(1, 12) for seed in (0, 1)}
    assert mmtuna("table2", spec, "--format", "latex").stdout.startswith("\\begin{tabular}")


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "grid", "auto"])
def test_every_sampler_fills_a_replayed_study(tmp_path: Path, sampler: str) -> None:
    spec = tmp_path / "study.toml"
    spec.write_text(
        f'[study]\nname = "r"\ntrials = 24\nsampler = "{sampler}"\n[data]\nroot = "."\n[replay]\n'
        '[space.params.crop]\nchoices = ["none", 192, 224, 288, 320]\n[space.params.iterations]\nchoices = [200, 400]\n'
        "[space.params.weight_decay]\nchoices = [1e-4, 1e-3]\n"
    )
    study = replay_study(StudySpec.load(spec), Console(quiet=True), slots=3)
    assert [trial.state.is_finished() for trial in study.trials] == [True] * 24
    cells = {json.dumps(trial.params, sort_keys=True) for trial in study.trials}
    if sampler in ("grid", "auto"):
        assert len(cells) == 20


def test_a_recorded_study_can_be_searched_again(tmp_path: Path) -> None:
    head = '[study]\nname = "{name}"\ntrials = 12\npruner = "none"\n[data]\nroot = "."\n[space]\npreset = "paper"\n'
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(head.format(name="first") + "[replay]\n")
    values = {trial.value for trial in replay_study(StudySpec.load(first), Console(quiet=True)).trials}
    (tmp_path / "trials.json").write_text(mmtuna("status", first, "--json").stdout)
    second.write_text(head.format(name="second") + '[replay]\ncurves = "./trials.json"\n')
    assert {trial.value for trial in replay_study(StudySpec.load(second), Console(quiet=True)).trials} <= values


def test_the_end_of_a_budget_confirms_the_best_and_says_which_is_chosen(tmp_path: Path) -> None:
    spec = tmp_path / "study.toml"
    spec.write_text(
        '[study]\nname = "r"\ntrials = 12\nconfirm = 0.3\npruner = "none"\nsampler = "random"\n[data]\nroot = "."\n'
        "[replay]\n[space.params.weight_decay]\nlow = 1e-4\nhigh = 1e-3\n"
    )
    done = mmtuna("replay", spec, "--slots", 2, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    again = [trial for trial in status(spec)["trials"] if trial["again"]]
    assert (document["finished"], [trial["replicate"] for trial in again]) == (12, [1, 1, 1, 2])
    assert [trial["number"] for trial in again] == [8, 9, 10, 11]
    assert sorted(len(config["trials"]) for config in document["top"]) == [2, 2, 3]
    assert document["chosen"] in document["top"][0]["trials"]
    said = mmtuna("replay", spec).stdout
    assert ("chosen: trial" in said) == (document["chosen"] != document["best"]["trial"])
    assert said.count("on average") == 3


def test_seeds_that_diverged_are_told_behind_the_figures_of_their_config() -> None:
    config = {"trials": [1, 4], "values": [0.6, 0.75], "diverged": 1, "mean": 0.45, "least": None}
    (line,) = lines_of_top({"metric": "mIoU", "top": [config]})
    assert line == "  trials 1, 4: mIoU 0.4500 on average of 3 seeds (0.6000, 0.7500) (1 diverged, counting 0)"
