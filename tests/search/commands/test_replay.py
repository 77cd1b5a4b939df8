"""`mmtuna replay --studies`: a table, JSON and a picture of simulated studies, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from mmtuna.objectives.outcome import Ending, Outcome, TrialOrder
from mmtuna.objectives.recorded import RecordFile
from tests.search.conftest import mmtuna
from tests.search.simulation.pools import random_pool


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recorded") / "trials.jsonl"
    file = RecordFile(path, "x", {})
    for number, trial in enumerate(random_pool(40).trials):
        outcome = Outcome(ending=Ending.FINISHED, curve=trial.curve, seconds=trial.seconds, iterations=trial.iterations)
        file.append(TrialOrder(number=number, params=trial.params, seed=0), outcome)
    return path


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text('[study]\nname = "r"\ntrials = 8\n[data]\nroot = "nowhere"\n[space]\npreset = "extended"\n')
    return path


def test_settings_are_held_against_plain_optuna(spec: Path, recorded: Path, tmp_path: Path) -> None:
    common = ("replay", spec, "--recorded", recorded, "--studies", 4, "--sampler", "random", "--pruner", "median,none")
    done = mmtuna(*common, "--workers", "1,4", "-o", tmp_path / "regret.png")
    assert done.returncode == 0, done.stderr
    for text in ("plain Optuna, 1 worker ", "random + median, 4 workers", "40 recorded trials", "nothing is made up"):
        assert text in done.stdout
    assert "held out, nearest, within 1: a recorded trial is foretold by the others with an error of 0." in done.stdout
    heads = next(line for line in done.stdout.splitlines() if "iterations to it" in line)
    assert re.split(r" {2,}", heads.strip())[-5:] == ["iterations", "seconds", "pruned", "collapsed", "no answer"]
    with Image.open(tmp_path / "regret.png") as picture:
        assert picture.width == 820
    assert not (tmp_path / "runs").exists()
    told = mmtuna(*common, "--json")
    assert told.returncode == 0, told.stderr
    document = json.loads(told.stdout)
    assert [line["setting"]["pruner"] for line in document["lines"]] == ["optuna", "median", "none"]
    assert (document["answers"], document["seeds"]) == ("recorded", None)
    assert document["held_out"]["blend, within 1"]["answered"] == 1.0


def test_the_share_without_an_answer_is_told(spec: Path, recorded: Path) -> None:
    done = mmtuna(
        *("replay", spec, "--recorded", recorded, "--studies", 2, "--sampler", "random", "--pruner", "none"),
        *("--answers", "nearest", "--within", 0.01, "--json"),
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [line["unanswered"] for line in document["lines"]] == [1.0, 1.0]
    assert [line["starved"] for line in document["lines"]] == [2, 2]
    assert document["held_out"]["nearest, within 0.01"] == {"answered": 0, "error": None, "guess": None, "ranks": None}


def test_of_what_is_alike_it_is_told_how_much_seeds_decide(spec: Path, recorded: Path) -> None:
    done = mmtuna("replay", spec, "--recorded", recorded, "--studies", 2, "--trials", 4, "--answers", "alike")
    assert done.returncode == 0, done.stderr
    lacking = "seeds: too few configs were recorded twice; what is alike is told as if seeds changed nothing"
    assert lacking in done.stdout.splitlines()
    rows = [json.loads(line) for line in recorded.read_text().splitlines()]
    again = [row | {"seed": row["seed"] + 1000} for row in rows if row["state"] == "COMPLETE"][:5]
    recorded.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *again]))
    told = mmtuna("replay", spec, "--recorded", recorded, "--studies", 2, "--trials", 4, "--answers", "alike")
    assert told.returncode == 0, told.stderr
    assert (
        "seeds: 5 configs were recorded more than once; their values differ by a standard deviation of 0.0000, those "
        "of the best third by 0.0000"
    ) in told.stdout.splitlines()


def test_what_is_known_before_trial_1_and_each_part_left_out(spec: Path, recorded: Path) -> None:
    spec.write_text(spec.read_text() + '[space.params.optimizer]\nchoices = ["SGD", "Adam", "AdamW"]\nprior = "Adam"\n')
    done = mmtuna(
        *("replay", spec, "--recorded", recorded, "--studies", 2, "--sampler", "tpe", "--json"),
        *("--portfolio", recorded, "--warm", recorded, "--without", "portfolio,warm,prior,sampler,pruner,collapse"),
    )
    assert done.returncode == 0, done.stderr
    lines = json.loads(done.stdout)["lines"]
    known = [tuple(line["setting"][part] for part in ("portfolio", "warm", "prior")) for line in lines]
    full, nothing = ("trials.jsonl", "trials.jsonl", "of the spec"), ("", "", "")
    assert known[:5] == [nothing, full, ("", *full[1:]), (full[0], "", full[2]), (*full[:2], "")]
    assert [(line["setting"]["sampler"], line["setting"]["pruner"]) for line in lines[5:]] == [
        ("random", "best-third"),
        ("tpe", "none"),
        ("tpe", "best-third"),
    ]
    assert [line["setting"]["collapse"] for line in lines] == [100, *[60] * 6, 100]
    assert lines[1]["regret"] == 0.0  # its portfolio begins with the best of what is searched


@pytest.mark.parametrize(("warm", "known"), [((), "trials.jsonl"), (("--warm", ""), "")])
def test_the_default_sampler_knows_the_trials_of_a_portfolio(
    spec: Path, recorded: Path, warm: tuple[str, ...], known: str
) -> None:
    done = mmtuna("replay", spec, "--recorded", recorded, "--studies", 1, "--portfolio", recorded, "--json", *warm)
    assert done.returncode == 0, done.stderr
    _, line = json.loads(done.stdout)["lines"]
    assert [line["setting"][part] for part in ("sampler", "portfolio", "warm")] == ["auto", "trials.jsonl", known]


def test_earlier_studies_are_told_to_tpe_alone(spec: Path, recorded: Path) -> None:
    """The spec refuses them beside another sampler, which would not heed them."""
    done = mmtuna(
        *("replay", spec, "--recorded", recorded, "--studies", 1, "--trials", 3, "--sampler", "gp,tpe", "--json"),
        *("--pruner", "none", "--warm", recorded, "--without", "warm"),
    )
    assert done.returncode == 0, done.stderr
    settings = [line["setting"] for line in json.loads(done.stdout)["lines"]]
    assert [(setting["sampler"], setting["warm"]) for setting in settings] == [
        ("optuna", ""),
        ("gp", ""),
        ("tpe", "trials.jsonl"),
        ("tpe", ""),
    ]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ((), "--studies needs recorded trials; give --recorded FILE, or [replay] curves, of `mmtuna run --record`"),
        (("--sampler", "grid"), "--sampler grid: cannot be simulated; take auto, tpe, random, gp, several by comma"),
        (("--pruner", "median,wilcoxon"), "--pruner wilcoxon: cannot be simulated; take best-third, median, none"),
        (("--workers", "1,no"), "--workers 1,no: give whole numbers from 1 on, several by comma, such as 1,8"),
        (
            ("--answers", "alike", "--noise", 0.1),
            "--noise: of what is alike the recorded file tells what seeds change, by configs that it holds more than",
        ),
        (("--answers", "dreams"), "--answers dreams is unknown; use recorded, nearest, blend"),
        (("--recorded", "gone.jsonl"), "gone.jsonl: cannot be read"),
        (("--portfolio", "gone.jsonl"), "gone.jsonl: cannot be read"),
        (("--warm", "gone"), "[study] warm: gone holds no study; give a study's folder, its spec, or a file"),
        (
            ("--warm", "trials.jsonl", "--sampler", "gp,random"),
            "--warm trials.jsonl: tpe alone learns of earlier studies; add tpe to --sampler, or leave --warm out",
        ),
        (
            ("--trials", 5, "--iterations", 5000),
            "--trials and --iterations are two budgets, one in place of the other; leave one of them out",
        ),
        (("--trials", 5, "--seconds", 60), "--trials and --seconds are two budgets"),
        (
            ("--evaluations", 6),
            "--evaluations 6: the recorded trials were evaluated 5 times; give that many or fewer, or leave",
        ),
        (
            ("--without", "pruner,luck"),
            "--without luck: there is no such part; take sampler, pruner, collapse, portfolio",
        ),
    ],
)
def test_what_is_refused(
    spec: Path, recorded: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], line: str
) -> None:
    given = ("--recorded", recorded) if options and "--recorded" not in options else ()
    monkeypatch.chdir(recorded.parent)
    done = mmtuna("replay", spec, "--studies", 2, *given, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert line in done.stderr


def test_a_budget_in_which_no_trial_ends_is_refused(spec: Path, recorded: Path) -> None:
    done = mmtuna("replay", spec, "--recorded", recorded, "--studies", 2, "--sampler", "random", "--seconds", 0.01)
    assert done.returncode == 2, done.stdout
    said = "mmtuna: plain Optuna, 1 worker: no trial ends within the budget; give more --iterations or --seconds"
    assert done.stderr.strip().endswith(said), done.stderr
