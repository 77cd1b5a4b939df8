"""Machines that share a database and a bucket, and no folder: a trial goes on elsewhere, and all see its files."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from PIL import Image

from mmtuna.search.outputs.comparison import compare
from mmtuna.search.outputs.report import write_report
from mmtuna.search.outputs.summary import summary
from mmtuna.studies import results
from mmtuna.studies.files.bucket import client
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.s3_location import parse_location
from mmtuna.studies.study import open_existing
from tests.processes import alive_in_group
from tests.search.conftest import ENVIRONMENT, mmtuna, start, status, wait_for
from tests.search.dashboard_study import files_of

WriteSpec = Callable[..., Path]


@pytest.fixture
def s3_environment(location: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """`location`, also for the commands that a test starts."""
    import os

    for name in [name for name in ENVIRONMENT if name.startswith("AWS_")]:
        monkeypatch.delitem(ENVIRONMENT, name)
    for name, value in os.environ.items():
        if name.startswith("AWS_"):
            monkeypatch.setitem(ENVIRONMENT, name, value)
    return location


def sent(location: str) -> set[str]:
    """Names of all files that the lists in the bucket name."""
    s3, place = client(), parse_location(location)
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=place.bucket).get("Contents", ())]
    lists = [json.load(s3.get_object(Bucket=place.bucket, Key=key)["Body"]) for key in keys if key.endswith("S.json")]
    return {file["name"] for found in lists for file in found["files"]}


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_trial_goes_on_elsewhere_and_its_files_are_seen_everywhere(
    write_spec: WriteSpec, s3_environment: str, tmp_path: Path, phantom: Path, number: int
) -> None:
    storage = f"sqlite:///{tmp_path}/database/study.db"
    spec = write_spec(study=f'storage = "{storage}"\nartifacts = "{s3_environment}"', resources="lease = 3.0")
    spec.write_text(spec.read_text().replace("trials = 3", "trials = 1").replace("iterations = 8", "iterations = 120"))
    (tmp_path / "database").mkdir()
    folder = tmp_path / "runs" / "tiny"

    process = start("run", spec)
    wait_for(lambda: "last.pth" in sent(s3_environment), 90, "a checkpoint is sent while the trial trains")
    process.send_signal(number)
    process.communicate(timeout=30)
    assert status(spec)["states"] == {"WAITING" if number == signal.SIGTERM else "RUNNING": 1}
    wait_for(lambda: not alive_in_group(process.pid), 10, "all processes of the group are gone")
    shutil.rmtree(folder)

    done = mmtuna("run", spec)
    assert done.returncode == 0, done.stdout + done.stderr
    (trial,) = status(spec)["trials"]
    assert [point["step"] for point in trial["curve"]] == [25, 50, 75, 100]
    log = (folder / "trials/00000/train.log").read_text()
    assert log.count("resumed epoch") == 1
    assert log.count("[ 60/120]") <= 1
    study = open_existing(StudySpec.load(spec).study)
    assert [entry["ended"] for entry in study.trials[0].user_attrs["history"]] == [
        "interrupted" if number == signal.SIGTERM else "lost",
        "complete",
    ]

    # A third machine: other places for the study and for the data.
    trained = (folder / "trials/00000/last.pth").read_bytes()
    shutil.rmtree(folder)
    data = shutil.copytree(phantom, tmp_path / "data elsewhere")
    text = spec.read_text().replace(str(phantom), str(data)).replace('name = "tiny"', 'name = "tiny"\nfolder = "other"')
    spec.write_text(text)
    look_at_everything(StudySpec.load(spec), study, tmp_path, trained)


def test_a_bucket_that_cannot_be_used_is_told_before_trial_1(write_spec: WriteSpec, s3_environment: str) -> None:
    bucket = parse_location(s3_environment).bucket
    done = mmtuna("run", write_spec(study=f'artifacts = "{s3_environment.replace(bucket, "no-such-bucket")}"'))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "mmtuna: [study] artifacts = s3://no-such-bucket/some/where: there is no such bucket" in done.stderr


def look_at_everything(spec: StudySpec, study: optuna.Study, tmp_path: Path, trained: bytes) -> None:
    entry = results.rows(study)[0]
    found = summary(spec, study)
    assert found["best"]["config"] == str(spec.study.folder / "trials/00000/config.py")
    assert not (spec.study.folder / "trials/00000/last.pth").exists()
    page = write_report(spec, study, tmp_path / "report.html").read_text()
    assert page.count("data:image/png") > 2
    compare(spec, 0, 0, tmp_path / "compare.png", other=spec)
    with Image.open(tmp_path / "compare.png") as picture:
        assert picture.width > 4 * 64
    weights = files_of(spec, study).weights(entry)
    assert weights.name == "last.pth"
    assert weights.read_bytes() == trained
    there = files_of(spec, study).fetched(entry.folder or "", checkpoints=True)
    dataset = there.read_config()["train_dataloader"]["dataset"]
    config = there.config.read_text()
    assert Path(dataset["data_root"]).name == "data elsewhere"
    assert "runs/tiny" not in config.replace("work_dir", "")
