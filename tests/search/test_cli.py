"""The command line: quick, quiet, and as the documentation says."""

from __future__ import annotations

import json
import math
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmtuna.search.checking.checks import covering
from mmtuna.search.checking.preparing import reopen
from mmtuna.search.commands.table2 import print_table2
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.template import write_commented
from mmtuna.studies.study import open_existing
from tests.folders import tree
from tests.search.conftest import ENVIRONMENT, mmtuna

WriteSpec = Callable[..., Path]


# What `status` cannot do without: the libraries that read a spec and a study, and the quantiles of a noise floor.
LIBRARIES = (
    "import typer, pydantic, optuna, sqlalchemy.orm, optuna.storages._rdb.storage as rdb, scipy.special;"
    "rdb.models, scipy.special.chdtri"
)


def seconds(*command: object) -> float:
    """CPU seconds of a call, which other processes on the machine change less than its wall time."""
    words = [str(word) for word in command]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], env=ENVIRONMENT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that these tests only look at."""
    spec = tmp_path_factory.mktemp("replayed") / "study.toml"
    spec.write_text('[study]\nname = "r"\ntrials = 12\n[data]\nroot = "."\n[replay]\n[space]\npreset = "paper"\n')
    assert mmtuna("replay", spec).returncode == 0
    return spec


def test_help_and_status_start_quickly(replayed: Path) -> None:
    """Help in absolute CPU time; status beside the libraries it needs, as machines differ in how fast these load.

    Each by its fastest call, in turn: the others were measured with something else on the machine.
    """
    calls = {
        "help": ("-m", "mmtuna", "--help"),
        "status": ("-m", "mmtuna", "status", replayed),
        "libraries": ("-c", LIBRARIES),
    }
    best = dict.fromkeys(calls, math.inf)
    for _ in range(15):
        best = {name: min(best[name], seconds(*call)) for name, call in calls.items()}
        if best["help"] < 0.7 and best["status"] < 1.8 * best["libraries"]:
            return
    pytest.fail(f"seconds: {best}")


@pytest.mark.parametrize("arguments", [["--help"], ["status", "SPEC"], ["report", "SPEC"], ["table2", "SPEC"]])
def test_commands_that_only_look_do_not_import_torch(replayed: Path, arguments: list[str]) -> None:
    words = [str(replayed) if word == "SPEC" else word for word in arguments]
    code = (
        "import sys\nfrom mmtuna.search.cli import app\n"
        f"try:\n    app({words!r})\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'mmseg', 'mmcv', 'cv2', 'ray'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr


def test_init_writes_a_spec_that_is_ready(tmp_path: Path, phantom: Path) -> None:
    mine = tmp_path / "my study"
    done = mmtuna("init", mine, "--data", phantom, "--set", "limits.max_parameters=1e9")
    assert done.returncode == 2
    assert "max_parameters" in done.stderr
    done = mmtuna("init", mine, "--data", phantom, "--set", "limits.max_parameters=1_000_000_000")
    assert done.returncode == 0, done.stderr
    spec = mine / "study.toml"
    assert done.stdout.endswith(f"{spec}; next: mmtuna check '{spec}'\n")
    assert StudySpec.load(spec).limits.max_parameters == 1_000_000_000
    text = spec.read_text().replace('pretrained = "auto"', 'pretrained = "none"')
    spec.write_text(text.replace("[train]\n", "[train]\nbase_channels = 2\n"))
    ready = mmtuna("check", spec, "--quick", "--json")
    assert ready.returncode == 0, ready.stdout
    assert json.loads(ready.stdout)["ready"] is True
    assert not (mine / "runs").exists()

    again = mmtuna("init", mine, "--data", phantom)
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_every_example_of_a_new_spec_may_be_uncommented(tmp_path: Path, phantom: Path) -> None:
    write_commented(tmp_path / "study.toml", data_root=phantom)
    text = (tmp_path / "study.toml").read_text().replace('pretrained = "auto"', 'pretrained = "none"')
    examples = re.compile(r"^# (?=\[space\.params|[a-z_]+ = |\")", re.MULTILINE)
    spec = StudySpec.parse(examples.sub("", text), tmp_path / "study.toml")
    assert spec.train == {
        "evaluations": 5,
        "precision": "fp16",
        "speed": "auto",
        "ema": 0.05,
        "model.auxiliary_head.dropout_ratio": 0.2,
    }
    assert {"lr_sgd", "model.decode_head.dropout_ratio"} <= set(spec.search_space().names)
    assert spec.resources.deadline == 3600
    ready = reopen(spec)
    for params in covering(ready.space):
        cfg = ready.dry_objective().config(params, seed=0)
        assert cfg["model"]["auxiliary_head"]["dropout_ratio"] == 0.2


def test_init_puts_no_study_among_the_images(tmp_path: Path, phantom: Path) -> None:
    flat = Path(shutil.copytree(phantom / "images", tmp_path / "flat"))
    for mask in (phantom / "masks").iterdir():
        shutil.copy(mask, flat / f"{mask.stem}_mask.png")
    done = mmtuna("init", flat, "--data", flat)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs/flat"
    assert f"study: folder {folder}, not among the images, where what trials write would be data\n" in done.stdout
    assert StudySpec.load(flat / "study.toml").study.folder == folder


def test_init_refuses_a_preset_that_is_not_there(tmp_path: Path, phantom: Path) -> None:
    done = mmtuna("init", tmp_path / "mine", "--data", phantom, "--preset", "papr")
    assert (done.returncode, done.stderr) == (2, "mmtuna: --preset papr is unknown; use paper or extended\n")
    assert not (tmp_path / "mine").exists()


def test_init_splits_by_subject_where_no_lists_lie(tmp_path: Path, phantom: Path) -> None:
    root = tmp_path / "data"
    (root / "splits").mkdir(parents=True)
    for name in ("images", "masks", "subjects.csv"):
        (root / name).symlink_to(phantom / name)
    assert mmtuna("init", tmp_path, "--data", root).returncode == 0
    text = (tmp_path / "study.toml").read_text()
    assert 'split = "subject"' in text
    assert 'subjects = "subjects.csv"' in text


def test_data_commands(tmp_path: Path) -> None:
    assert mmtuna("data", "phantom", tmp_path / "eyes", "--subjects", 2, "--scans", 2, "--size", 64).returncode == 0
    assert mmtuna("data", "fundus", tmp_path / "fundus", "--images", 4, "--size", 64).returncode == 0
    found = mmtuna("data", "check", tmp_path / "fundus", "--classes", "background,vessel", "--json")
    document = json.loads(found.stdout)
    assert document["images"] == 4
    assert document["problems"] == []
    assert 0.02 < document["shares"]["vessel"] < 0.3
    twice = mmtuna("data", "phantom", tmp_path / "eyes")
    assert twice.returncode == 2
    assert "eyes: exists and is not an empty folder" in twice.stderr
    nothing = mmtuna("data", "chiu2015", tmp_path, tmp_path / "duke")
    assert nothing.returncode == 2
    assert "Subject_01.mat" in nothing.stderr


def test_targets_that_cannot_be_written_are_named(tmp_path: Path, phantom: Path, replayed: Path) -> None:
    spec = replayed
    file = tmp_path / "taken"
    file.write_text("")
    cases: list[tuple[list[object], str]] = [
        (["report", spec, "-o", tmp_path], f"{tmp_path}: is a folder and should be a file"),
        (["report", spec, "-o", file / "r.html"], f"{file}/r.html: cannot be written ({file} is a file); name a place"),
        (["init", file, "--data", phantom], f"{file}/study.toml: cannot be written ({file} is a file); name a place"),
        (["init", "/proc/zz", "--data", phantom], "/proc/zz/study.toml: cannot be written (No such file or directory)"),
        (["data", "phantom", file / "x", "--subjects", 2], f"{file}/x: cannot be written ({file} is a file)"),
    ]
    for command, said in cases:
        done = mmtuna(*command)
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"mmtuna: {said}"), line


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("trials = 12", 'metric = "mDice"', "metric.name was mIoU and is mDice"),
        ("trials = 12", 'value = "best"', "metric.value was last and is best"),
        ("trials = 12", 'both_empty = "1"', "metric.both_empty was absent and is 1"),
        ('root = "."', 'classes = ["background", "cyst"]', "classes lacks fluid and has gained cyst"),
    ],
)
def test_figures_are_called_what_they_were_measured_as(replayed: Path, was: str, now: str, said: str) -> None:
    edited = replayed.with_name("edited.toml")
    edited.write_text(replayed.read_text().replace(was, f"{was}\n{now}"))
    before = tree(replayed.parent)
    for command in (("status",), ("report",), ("table2",), ("compare", 0, 1), ("export", "-o", edited.parent / "new")):
        done = mmtuna(command[0], edited, *command[1:])
        assert done.returncode == 2, done.stdout
        assert done.stderr.startswith(f"mmtuna: study r: {said}"), done.stderr
        assert "; its trials were measured by the old value: take that, or look at another study" in done.stderr
    assert tree(replayed.parent) == before


def test_options_without_effect_are_refused_before_anything_is_read() -> None:
    alone = "has an effect with {0} alone; add it, or leave {1} out"
    cases: list[tuple[list[object], str]] = [
        (["replay", "no.toml", "--noise", 0.1], f"--noise {alone.format('--studies', '--noise')}"),
        (["replay", "no.toml", "--workers", 1], f"--workers {alone.format('--studies', '--workers')}"),
        (["replay", "no.toml", "--studies", 2, "--slots", 2], "--slots: simulated studies have --workers; give these"),
        (["status", "no.toml", "--every", 9], f"--every {alone.format('--watch', '--every')}"),
        (["table2", "no.toml", "--slots", 2], f"--slots {alone.format('--replicates', '--slots')}"),
        (["table2", "no.toml", "--json", "--format", "csv"], "--format csv and --json: one document has one form"),
        (["compare", "no.toml", 0, 1, "--image", "a.png"], f"--image {alone.format('-o', '--image')}"),
        (["init", "new", "--data", "no", "--trust-code"], f"--trust-code {alone.format('--config', '--trust-code')}"),
    ]
    for command, said in cases:
        done = mmtuna(*command)
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"mmtuna: {said}"), line


def test_table_2_says_of_which_evaluations_it_is(replayed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = StudySpec.load(replayed)
    best = spec.model_copy(update={"study": spec.study.model_copy(update={"value": "best"})})
    for one, title in ((spec, "ours\n"), (best, "ours, both by last evaluations (the study counts best ones)\n")):
        print_table2(one, open_existing(spec.study))
        first = capsys.readouterr().out.partition("\n")[0]
        assert first.rstrip() + "\n" == f"The paper's Table 2 beside {title}"


def test_table_2_of_a_replayed_study_in_every_format(replayed: Path) -> None:
    spec = replayed
    for style, begins in (("markdown", "| row |"), ("csv", "row,settings"), ("latex", "\\begin{tabular}")):
        assert mmtuna("table2", spec, "--format", style).stdout.startswith(begins)
    assert "0.7600" in mmtuna("table2", spec).stdout
    wrong = mmtuna("table2", spec, "--format", "pdf")
    assert wrong.returncode == 2
    assert "--format pdf is unknown; use text, markdown, csv, latex" in wrong.stderr
