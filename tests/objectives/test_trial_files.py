"""One object knows a trial's folder: where each file lies, and which are here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmtuna.objectives.trial_files import StudyFolder, TrialFolder
from mmtuna.spaces.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> TrialFolder:
    found = StudyFolder(tmp_path).trial(7)
    found.path.mkdir(parents=True)
    return found


def test_the_names_are_those_that_the_documentation_names(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    trial = study.trial(7)
    files = (trial.config, trial.log, trial.last, trial.best, trial.evaluation, trial.predictions, trial.overlays)
    assert [path.relative_to(tmp_path).as_posix() for path in (*files, trial.work)] == [
        f"trials/00007/{name}"
        for name in (
            *("config.py", "train.log", "last.pth", "best.pth"),
            *("evaluation.json", "predictions", "overlays", "work"),
        )
    ]
    assert [path.relative_to(tmp_path).as_posix() for path in study.shared()] == [
        *("manifest.json", "splits/train.txt", "splits/val.txt"),
    ]
    assert not list(tmp_path.iterdir())


def test_the_weights_of_a_trial_are_those_of_its_value(folder: TrialFolder) -> None:
    folder.last.write_bytes(b"last")
    assert folder.has_weights("last")
    assert not folder.has_weights("best")
    assert folder.weights("best") == folder.best
    folder.delete_checkpoints()
    assert not folder.has_weights("last")
    folder.delete_checkpoints()  # of most trials they are gone already


def test_masks_are_found_by_the_names_of_their_images(folder: TrialFolder) -> None:
    counts = {"labelled": [3, 1]}
    assert not folder.has_masks()
    (folder.predictions / "left").mkdir(parents=True)
    (folder.predictions / "left" / "eye.scan.png").write_bytes(b"mask")
    images = {"left/eye.scan.tif": counts, "right/eye.scan.tif": counts}
    folder.evaluation.write_text(json.dumps({"iteration": 4, "metrics": {}, "images": images}))
    assert folder.has_masks()
    assert folder.masks(images) == {"left/eye.scan.tif": folder.predictions / "left" / "eye.scan.png"}
    assert folder.images_with_masks() == {"left/eye.scan.tif": counts}


def test_an_evaluation_that_is_missing_or_cut_is_told_in_one_line(folder: TrialFolder) -> None:
    with pytest.raises(InputError, match=r"00007/evaluation.json: cannot be read \(No such file or directory\); a "):
        folder.read_evaluation()
    folder.evaluation.write_text('{"images": ')
    with pytest.raises(InputError, match=r"evaluation.json: cannot be read \(Expecting value: .*\); a trial that was"):
        folder.read_evaluation()


def test_a_config_is_read_as_plain_values_or_refused_in_one_line(folder: TrialFolder) -> None:
    with pytest.raises(InputError, match=r"00007/config.py: no such file; put the study's folder back"):
        folder.read_config()
    folder.config.write_text("# trial 7\nmodel = dict(type='EncoderDecoder')\n")
    with pytest.raises(InputError, match=r"config.py: is no config of plain values; it was changed from outside"):
        folder.read_config()
    folder.config.write_text("model = {'type': 'EncoderDecoder'}\n")
    assert folder.read_config() == {"model": {"type": "EncoderDecoder"}}
