"""A test set that no trial sees, and the looks at it, on a real small study."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmtuna.objectives.config import read_config
from mmtuna.objectives.deployment.card import _unseen
from mmtuna.objectives.evaluation.metrics import Counts, Measures, metrics, per_image, total
from mmtuna.objectives.trial_files import StudyFolder
from mmtuna.search.checking.data import read_data
from mmtuna.search.commands.test import lines
from mmtuna.search.outputs import unseen
from mmtuna.search.outputs.bundle import gather
from mmtuna.search.outputs.report import write_report
from mmtuna.search.outputs.unseen import intervals, measure_unseen
from mmtuna.spaces.errors import InputError
from mmtuna.studies import configs
from mmtuna.studies.attributes import LOOKS
from mmtuna.studies.looks import Look, looks_of
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.statistics.intervals import How
from mmtuna.studies.study import open_existing
from tests.search.conftest import mmtuna, write_study

ASIDE = ("img_3", "img_4", "img_5")  # the second eye


def write(folder: Path, root: Path, data: str = 'split = "subject"\ntest = [2]') -> Path:
    study, data = 'pruner = "none"\nnsd_tolerance = 2.0', f'subjects = "subjects.csv"\n{data}'
    return write_study(folder, root, study=study, data=data)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, phantom: Path) -> Path:
    path = write(tmp_path_factory.mktemp("unseen"), phantom)
    done = mmtuna("run", path, "--trials", 2)
    assert done.returncode == 0, done.stderr
    assert "note: test: 3 images of 1 subject are set aside, " in done.stdout + done.stderr
    return path


def notes_and_problems(folder: Path, root: Path, data: str) -> tuple[list[str], list[str]]:
    spec = StudySpec.load(write(folder, root, data))
    found = read_data(spec.data, metric="mIoU", known=folder / "none.json")
    return [note for note in found.notes if note.startswith("test: ")], found.problems


def test_nothing_that_a_trial_reads_names_an_image_that_was_set_aside(trained: Path) -> None:
    folder = StudySpec.load(trained).study.folder
    assert (folder / "splits/test.txt").read_text().split() == list(ASIDE)
    lists = {folder / f"splits/{side}.txt" for side in ("train", "val")}
    for number in range(2):
        cfg = read_config(folder / f"trials/{number:05d}/config.py")
        loaders = [cfg[f"{side}_dataloader"]["dataset"]["ann_file"] for side in ("train", "val", "test")]
        assert {Path(file) for file in loaders} == lists
        evaluation = json.loads((folder / f"trials/{number:05d}/evaluation.json").read_text())
        assert not {Path(name).stem for name in evaluation["images"]} & set(ASIDE)
    assert not set("".join(path.read_text() for path in lists).split()) & set(ASIDE)


def test_a_study_keeps_the_test_set_that_it_was_begun_with(trained: Path, tmp_path: Path, phantom: Path) -> None:
    text = trained.read_text().replace('name = "tiny"', f'name = "tiny"\nfolder = "{trained.parent}/runs/tiny"')
    other = tmp_path / "study.toml"
    for line in ("test = [3]", ""):
        other.write_text(text.replace("test = [2]", line))
        refused = mmtuna("check", other, "--quick")
        assert refused.returncode == 2
        assert re.search(r"split\.held_out .*; its trials would not compare", refused.stderr), refused.stderr


def test_looks_are_few_kept_and_told(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = mmtuna("test", trained)
    assert done.returncode == 0, done.stderr
    assert "on 3 images of 1 subject" in done.stdout
    assert re.search(r"^  HD95_per_image +[\d.-]+( pixels)$", done.stdout, re.MULTILINE)
    assert re.search(r", HD95_per_image \d+\.\d+ pixels", mmtuna("status", trained).stdout)
    assert done.stdout.endswith("  no intervals: two subjects are needed at least\n")
    spec = StudySpec.load(trained)
    study = open_existing(spec.study)
    entry = configs.complete(study)
    (kept,) = study.user_attrs[LOOKS]
    assert (kept["trial"], kept["value"], kept["finished"]) == (entry.number, entry.value, 2)
    assert {"mIoU", "IoU.fluid", "Dice_per_image", "NSD_per_image"} <= set(kept["figures"])

    def measured_anew(*_: object) -> None:
        raise AssertionError("the images were looked at")

    with monkeypatch.context() as patched:
        patched.setattr(unseen, "_look", measured_anew)
        before = measure_unseen(spec, trial=1 - entry.number)  # another trial is a look too
    assert (before.fresh, len(before.looks)) == (False, 1)
    again = mmtuna("test", trained, "--again", "--json")
    document = json.loads(again.stdout)
    assert document["measured"]
    assert [look["figures"] for look in document["looks"]] == [kept["figures"]] * 2
    told = mmtuna("test", trained).stdout
    assert told.startswith("2 looks at the test set before, and none now")

    page = write_report(spec, study, trained.parent / "report.html").read_text()
    reached = f"that played no part, trial {entry.number} reached mIoU {kept['figures']['mIoU']:.4f}"
    assert f"{reached}. They were looked at" in page, "one subject has no interval"
    assert "They were looked at 1 more time after that" in page
    facts = gather(spec, study, entry, retrained=False)
    assert _unseen(facts).endswith("the first look at them.")


def test_the_share_of_a_class_is_that_of_the_images_that_trials_see(trained: Path, tmp_path: Path) -> None:
    spec = StudySpec.load(trained)
    lists = StudyFolder(spec.study.folder).lists
    masks = [spec.data.root / "masks" / f"{name}.png" for path in lists for name in path.read_text().split()]
    assert 0 < len(masks) < len(list((spec.data.root / "masks").iterdir()))
    share = 100 * np.mean([np.asarray(Image.open(mask)) == 1 for mask in masks])
    page = write_report(spec, open_existing(spec.study), tmp_path / "report.html").read_text()
    assert f"fluid ({share:.2f} % of labelled pixels)" in page


def test_a_study_without_a_test_set_has_none_to_look_at(trained: Path, tmp_path: Path, phantom: Path) -> None:
    spec = StudySpec.load(write(tmp_path, phantom, ""))
    with pytest.raises(InputError, match=r"^\[data\] test names no images, and a study keeps the test set"):
        measure_unseen(spec)


def test_a_list_folders_and_shares_name_a_test_set_and_leaks_are_told(tmp_path: Path, phantom: Path) -> None:
    val = (phantom / "splits/val.txt").read_text().split()
    (tmp_path / "test.txt").write_text("\n".join(val[:1]))
    notes, problems = notes_and_problems(
        tmp_path, phantom, f'split = "subject"\nval_share = 0.5\ntest = "{tmp_path}/test.txt"'
    )
    assert problems == []
    assert notes[0].startswith("test: 1 image of 1 subject is set aside, ")
    assert "stand among the trials' images too, so it will measure new images of known subjects" in notes[1]
    _, problems = notes_and_problems(tmp_path, phantom, f'test = "{tmp_path}/test.txt"')
    expected = (
        f"split (published splits/train.txt + splits/val.txt): {val[0]} in both val and test; an image may stand on "
        "one side only"
    )
    assert problems == [expected]
    notes, _ = notes_and_problems(tmp_path, phantom, 'split = "random"\nval_share = 0.5\ntest = 0.25')
    assert notes[0].startswith("test: 3 images of 1 subject are set aside, ")
    assert len(notes) == 1


def test_intervals_lie_around_the_figures() -> None:
    kinds = [((90, 8), (90, 10), (92, 8)), ((97, 1), (98, 2), (98, 2)), ((100, 0), (100, 0), (100, 0))]
    counts = [Counts(intersect=i, predicted=p, labelled=t) for i, p, t in kinds]
    classes = ("background", "fluid")
    for names, subjects in ((list("abc"), {}), (list("abcdef"), dict(zip("abcdef", "xxxyyy", strict=True)))):
        images = dict(zip(names, counts * 2, strict=False))
        for rule in (None, 1.0):
            measures = Measures(subjects=subjects, both_empty=rule)
            figures = metrics(total(images.values()), classes) | per_image(images, measures)
            found = intervals(images, figures, classes, measures)
            assert set(figures) - set(found) == {"aAcc"}
            for name, interval in found.items():
                # Both subjects have the same images, which makes nothing certain.
                assert interval.low < interval.high, name
                assert interval.low <= figures[name] <= interval.high, name


def test_a_look_says_what_each_interval_was_made_by() -> None:
    figures = {"mIoU": 0.7, "Dice_per_image": 0.8, "sensitivity_per_image": 1.0}
    how = {"mIoU": How.ERROR, "Dice_per_image": How.ERROR, "sensitivity_per_image": How.EXACT}
    look = Look(
        trial=1,
        value=0.7,
        at="2026-01-01T00:00:00+00:00",
        finished=3,
        images=6,
        subjects=2,
        figures=figures,
        intervals=dict.fromkeys(figures, (0.5, 1.0)),
        methods=how,
    )
    said = lines(unseen.Tested((look,), True, 1), "mIoU")[-1]
    assert said == (
        "  intervals over subjects: mean ± Student's t times the jackknife's standard error; of sensitivity_per_image "
        "Clopper-Pearson"
    )
    assert looks_of({LOOKS: [look.plain()]}) == [look]
    earlier = {name: value for name, value in look.plain().items() if name != "methods"}
    assert (
        lines(unseen.Tested(tuple(looks_of({LOOKS: [earlier]})), True, 1), "mIoU")[-1]
        == "  intervals over subjects: bootstrap"
    )
