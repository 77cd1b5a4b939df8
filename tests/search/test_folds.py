"""A study whose trials are folds by subject, beside a test set, from the command to what is measured on that."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmtuna.objectives.config import read_config
from mmtuna.objectives.deployment.verify import count
from mmtuna.objectives.evaluation.metrics import Counts, metrics, total
from mmtuna.search.outputs.bundle import export_trial
from mmtuna.search.outputs.report import write_report
from mmtuna.spaces.errors import InputError
from mmtuna.studies.attributes import FOLDS
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.study import open_existing
from tests.search.conftest import mmtuna, status, write_study

DATA = 'subjects = "subjects.csv"\nsplit = "subject-kfold"\nfolds = 3\ntest = ["2"]'


def write(folder: Path, root: Path, data: str = DATA, study: str = 'pruner = "none"', train: str = "") -> Path:
    return write_study(folder, root, study=study, data=data, train=train)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, phantom: Path) -> Path:
    path = write(tmp_path_factory.mktemp("folds"), phantom)
    done = mmtuna("run", path, "--trials", 2)
    assert done.returncode == 0, done.stderr
    return path


def test_a_trial_is_all_folds_counted_together(trained: Path) -> None:
    spec = StudySpec.load(trained)
    folder = spec.study.folder / "trials/00000"
    folds = [json.loads((folder / f"fold-{number}/evaluation.json").read_text()) for number in (1, 2, 3)]
    counts = {name: Counts(**kept) for fold in folds for name, kept in fold["images"].items()}
    assert len(counts) == 9
    assert not {Path(name).stem for name in counts} & {"img_3", "img_4", "img_5"}
    first = status(trained)["trials"][0]
    assert first["folds"] == [fold["metrics"] for fold in folds]
    assert "mIoU by fold: " in mmtuna("status", trained).stdout
    assert first["value"] == metrics(total(counts.values()), spec.data.classes)["mIoU"]
    assert [point["step"] for point in first["curve"]][3::4] == [33, 66, 100]
    assert len({point["step"] for point in first["curve"]}) == 12
    assert first["iterations"] == first["curve"][-1]["iteration"] == 3 * 8
    whole = json.loads((folder / "evaluation.json").read_text())
    assert {name: Counts(**kept) for name, kept in whole["images"].items()} == counts
    kept = open_existing(spec.study).trials[0].user_attrs[FOLDS]
    assert [len(fold["images"]) for fold in kept] == [3, 3, 3]
    assert len(list((folder / "predictions").iterdir())) == 9
    assert list(folder.glob("overlays/*.png"))


def test_a_slot_without_a_trial_trains_folds_of_anothers(tmp_path: Path, phantom: Path, trained: Path) -> None:
    path = write(tmp_path, phantom)
    done = mmtuna("run", path, "--trials", 1, "--slots", 3)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^trial ", done.stdout, re.MULTILINE)) == 1
    alone, helped = status(trained)["trials"][0], status(path)["trials"][0]
    for point in (*alone["curve"], *helped["curve"]):
        del point["seconds"]
    assert [helped[name] for name in ("params", "value", "folds", "curve")] == [
        alone[name] for name in ("params", "value", "folds", "curve")
    ]
    folder = StudySpec.load(path).study.folder / helped["folder"]
    begun, ended = ((folder / place).stat().st_mtime for place in ("fold-3/config.py", "fold-1/last.pth"))
    assert begun < ended, "the third fold waited for the first one"


def test_each_fold_validates_on_subjects_that_it_does_not_train_on(trained: Path) -> None:
    folder, seen = StudySpec.load(trained).study.folder, set[str]()
    for number in (1, 2, 3):
        cfg = read_config(folder / f"trials/00001/fold-{number}/config.py")
        sides = [
            Path(cfg[f"{side}_dataloader"]["dataset"]["ann_file"]).read_text().split() for side in ("train", "val")
        ]
        assert (len(sides[0]), len(sides[1]), set(sides[0]) & set(sides[1])) == (6, 3, set())
        assert not seen & set(sides[1])
        seen |= set(sides[1])
    assert len(seen) == 9


def test_the_nets_of_all_folds_are_measured_together_and_exported_as_is_asked(trained: Path, tmp_path: Path) -> None:
    done = mmtuna("test", trained)
    assert done.returncode == 0, done.stderr
    assert "on 3 images of 1 subject" in done.stdout
    spec = StudySpec.load(trained)
    with pytest.raises(InputError, match=r"has a net for each of its 3 folds, and not one; `mmtuna export --ensemble`"):
        export_trial(spec, tmp_path / "bundle")
    with pytest.raises(InputError, match="--ensemble exports the nets of the folds, --retrain one"):
        export_trial(spec, tmp_path / "bundle", retrain=True, ensemble=True)
    copied = Path(shutil.copytree(trained.parent, tmp_path / "copy")) / "study.toml"
    next((copied.parent / "runs").rglob("00000/fold-2/last.pth")).unlink()
    with pytest.raises(InputError, match="trial 0: the weights of its folds are deleted, only the best"):
        export_trial(StudySpec.load(copied), tmp_path / "bundle", 0, ensemble=True)


def test_the_report_speaks_of_all_images_and_not_of_the_first_fold(trained: Path, tmp_path: Path) -> None:
    spec = StudySpec.load(trained)
    write_report(spec, open_existing(spec.study), tmp_path / "report.html", tmp_path / "methods.md")
    said = "9 images of 3 subjects, each of which validates once in 3 folds"
    text = (tmp_path / "methods.md").read_text()
    assert text.count(said) == 5, "methods and items 19, 21, 35 and 37"
    assert not re.search(r"\d training images", text)
    assert said in (tmp_path / "report.html").read_text()


@pytest.mark.slow  # an export of each fold; what joins them: tests/objectives/deployment
def test_the_bundle_of_all_folds_gives_what_was_measured_of_them_together(trained: Path, tmp_path: Path) -> None:
    looked = mmtuna("test", trained, "--json")
    assert looked.returncode == 0, looked.stderr
    exported = mmtuna("export", trained, "-o", tmp_path / "bundle", "--ensemble")
    assert exported.returncode == 0, exported.stderr
    assert exported.stdout.startswith(f"{tmp_path / 'bundle'}: 3 nets of trial ")
    spec, images = StudySpec.load(trained), tmp_path / "images"
    images.mkdir()
    for name in ("img_3", "img_4", "img_5"):
        shutil.copy(spec.data.root / f"images/{name}.png", images)
    command = [sys.executable, "-I", tmp_path / "bundle/predict.py", images, tmp_path / "masks"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    counts = [
        count(path, np.asarray(Image.open(spec.data.root / "masks" / path.name)), 2, 255)
        for path in (tmp_path / "masks").iterdir()
    ]
    figures = json.loads(looked.stdout)["looks"][0]["figures"]
    assert figures.items() >= metrics(total(counts), spec.data.classes).items()
    document = json.loads((tmp_path / "bundle/bundle.json").read_text())
    assert document["parity"]["pixels_differing"] == document["verified"]["metrics_max_difference"] == 0
    assert document["test"][0]["figures"] == figures
    card = (tmp_path / "bundle/README.md").read_text()
    assert "3 nets, each trained on the images of all folds but its own" in card
    assert "all folds but number 2; split subject-kfold" in (tmp_path / "bundle/fold-2/README.md").read_text()


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"data": 'split = "subject-kfold"'}, "needs to know whose the images are; give [data] subjects, a file"),
        ({"study": 'value = "best"'}, 'counts the last evaluation of every fold; take [study] value = "last"'),
        ({"study": "nsd_tolerance = 2.0"}, "distances do not add up; leave nsd_tolerance out"),
        ({"study": 'artifacts = "s3://bucket/b"'}, "keeps folds in the study's folder alone; remove [study] artifacts"),
        (
            {"data": DATA.replace("folds = 3", "folds = 20")},
            "20 folds of 4 evaluations are more than the 50 of a trial",
        ),
        ({"data": "", "study": 'pruner = "wilcoxon"'}, 'only split = "subject-kfold" has folds; take best-third'),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path: Path, phantom: Path, tables: dict[str, str], said: str) -> None:
    with pytest.raises(InputError) as refused:
        StudySpec.load(write(tmp_path, phantom, **tables))
    assert said in str(refused.value)


def test_fewer_subjects_than_folds_are_told_before_trial_1(tmp_path: Path, phantom: Path) -> None:
    done = mmtuna("check", write(tmp_path, phantom, DATA.replace("folds = 3", "folds = 4")), "--quick")
    assert done.returncode == 2
    assert done.stderr == (
        "mmtuna: [data] folds = 4: there are images of 3 subjects, and each fold validates on at least one; give at "
        "most 3, or split by image\n"
    )


@pytest.mark.slow
def test_the_params_of_a_trial_of_folds_are_trained_on_all_of_their_images(trained: Path, tmp_path: Path) -> None:
    spec = StudySpec.load(trained)
    document = export_trial(spec, tmp_path / "bundle", retrain=True).document
    assert document["retrained"]
    listed = Path(read_config(tmp_path / "bundle/config.py")["train_dataloader"]["dataset"]["ann_file"])
    assert sorted(listed.read_text().split()) == sorted((spec.study.folder / "splits/all.txt").read_text().split())
