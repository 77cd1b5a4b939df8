"""`export` and `compare` on a real small study, and every way to call them wrongly."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from PIL import Image

import mmtuna.objectives.deployment as deployment
from mmtuna.objectives.config import read_config
from mmtuna.objectives.evaluation.overlays import choose_images
from mmtuna.objectives.trial_files import BEST, LAST
from mmtuna.search.commands.compare import compare as look
from mmtuna.search.commands.compare import line_of as told
from mmtuna.search.commands.export import line_of
from mmtuna.search.outputs.bundle import Exported, export_trial
from mmtuna.search.outputs.comparison import Against, Comparison, against, compare
from mmtuna.search.outputs.report import write_report
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.metrics import is_pooled
from mmtuna.studies import results
from mmtuna.studies.certainty import Beside
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.statistics import comparing
from mmtuna.studies.statistics.comparing import Verdict
from mmtuna.studies.study import open_existing
from tests.processes import alive_in_group
from tests.search.conftest import interrupt, mmtuna, start, wait_for, write_study
from tests.studies.reported import Page


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, phantom: Path) -> Path:
    """A study of three complete trials, one that waits and one that failed."""
    path = write_study(tmp_path_factory.mktemp("export"), phantom, study='pruner = "none"')
    done = mmtuna("run", path)
    assert done.returncode == 0, done.stderr
    study = open_existing(StudySpec.load(path).study)
    study.enqueue_trial({"lr_adam": 1e-3})
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    return path


@pytest.fixture
def spec(finished: Path, tmp_path: Path) -> StudySpec:
    """A copy of the study that a test may damage."""
    copied = shutil.copytree(finished.parent, tmp_path / "copy")
    return StudySpec.load(copied / "study.toml")


def best(spec: StudySpec) -> results.TrialRow:
    found = results.best(results.rows(open_existing(spec.study)))
    assert found is not None
    return found


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_the_best_trial_is_exported_with_all_that_is_known_of_it(spec: StudySpec, tmp_path: Path) -> None:
    entry = best(spec)
    said = line_of(export_trial(spec, tmp_path / "bundle"))
    assert said.startswith(
        f"{tmp_path / 'bundle'}: trial {entry.number}, mIoU {entry.value:.4f}; ONNX and torch differ in 0 "
    )
    document = json.loads((tmp_path / "bundle/bundle.json").read_text())
    assert document["trial"] == entry.number
    assert document["params"] == entry.params
    assert document["metrics"] == entry.metrics
    pooled = {name: value for name, value in entry.metrics.items() if is_pooled(name)}
    assert document["verified"]["metrics"] == pooled
    assert document["metrics_measured"] == "on these weights"
    assert len(document["fingerprints"]["data"]["sha256"]) == len(document["fingerprints"]["split"]["sha256"]) == 64
    assert document["versions"]["torch"]
    assert str(tmp_path) not in json.dumps(document)


@pytest.mark.slow
def test_a_trial_can_be_named_and_the_best_evaluation_be_the_value(finished: Path, tmp_path: Path) -> None:
    text = finished.read_text().replace('pruner = "none"', 'pruner = "none"\nvalue = "best"')
    shutil.copytree(finished.parent / "runs", tmp_path / "runs")
    (tmp_path / "study.toml").write_text(text)
    spec = StudySpec.load(tmp_path / "study.toml")
    export_trial(spec, tmp_path / "bundle", 1)
    document = json.loads((tmp_path / "bundle/bundle.json").read_text())
    assert document["trial"] == 1
    assert document["metrics"] == results.rows(open_existing(spec.study))[1].best_metrics
    assert document["value_of"] == "best"


def test_the_figure_of_the_nets_of_folds_is_said_to_be_of_each_alone() -> None:
    parity, latency = {"pixels_differing": 0, "pixels": 9}, {"image_ms": 7.2, "cores": 2}
    document = {"metric": "mIoU", "value": 0.4215, "retrained": False, "parity": parity, "latency": latency}
    said = line_of(Exported(Path("bundle"), 0, {**document, "members": ["fold-1", "fold-2", "fold-3"]}))
    assert said.startswith(
        "bundle: 3 nets of trial 0, mIoU 0.4215 of each image by the net that had not been trained on it, not by all "
        "together; ONNX and torch differ in 0 of 9 pixels"
    )
    assert line_of(Exported(Path("bundle"), 0, document)).startswith("bundle: trial 0, mIoU 0.4215; ONNX")


@pytest.mark.slow
def test_retraining_takes_all_images_and_says_whose_the_figures_are(spec: StudySpec, tmp_path: Path) -> None:
    entry = best(spec)
    for name in (LAST, BEST):  # the trial's own weights are not needed
        (spec.study.folder / (entry.folder or "") / name).unlink()
    lines: list[str] = []
    exported = export_trial(spec, tmp_path / "bundle", retrain=True, say=lines.append)
    assert f"mIoU {entry.value:.4f}, measured before retraining" in line_of(exported)
    assert lines[-1].startswith("retraining: 100 %")
    document = json.loads((tmp_path / "bundle/bundle.json").read_text())
    assert document["retrained"] is True
    assert document["metrics"] == entry.metrics
    assert document["metrics_measured"] == "before retraining"
    assert document["verified"]["metrics"].startswith("not compared")
    assert "These are the figures of the trial before retraining" in (tmp_path / "bundle/README.md").read_text()
    assert not list(spec.study.folder.glob(".retrain-*"))
    listed = Path(read_config(tmp_path / "bundle/config.py")["train_dataloader"]["dataset"]["ann_file"])
    splits = spec.study.folder / "splits"
    assert listed.read_text() == (splits / "train.txt").read_text() + (splits / "val.txt").read_text()


def test_wrong_trials_are_refused_in_one_line(spec: StudySpec, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    with pytest.raises(InputError, match=r"^trial 99: study tiny has no such trial; it has 0 to 4, see `mmtuna status"):
        export_trial(spec, out, 99)
    with pytest.raises(InputError, match=r"^trial 3 of study tiny is waiting; take a complete trial, or the best$"):
        export_trial(spec, out, 3)
    with pytest.raises(InputError, match=r"^trial 4 of study tiny is fail"):
        export_trial(spec, out, 4)
    (spec.study.folder / (best(spec).folder or "") / LAST).unlink()
    with pytest.raises(
        InputError, match=r"weights are deleted, only the best \[resources\] keep_checkpoints trials .*--retrain"
    ):
        export_trial(spec, out, None)
    assert not out.exists()


def test_a_full_folder_a_missing_package_and_an_empty_study_are_refused(
    spec: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="exists and is not an empty folder; name a new or an empty one"):
        export_trial(spec, spec.study.folder, None)
    with pytest.raises(InputError, match="/proc/zz: cannot be written"):  # and not after an hour of training
        export_trial(spec, Path("/proc/zz"), None, retrain=True)
    study = open_existing(spec.study)
    optuna.create_study(study_name="empty", storage=study._storage, direction="maximize")
    empty = spec.model_copy(update={"study": spec.study.model_copy(update={"name": "empty"})})
    with pytest.raises(
        InputError, match="study empty: no trial is complete yet; `mmtuna run SPEC` goes on until one is"
    ):
        export_trial(empty, tmp_path / "bundle", None)
    with pytest.raises(InputError, match="trial 0: study empty has no such trial; it has none"):
        export_trial(empty, tmp_path / "bundle", 0)
    monkeypatch.setattr(deployment, "NEEDED", ("no_such_package",))
    with pytest.raises(InputError, match=r"pip install 'mmtuna\[export\]'"):
        export_trial(spec, tmp_path / "bundle", None)


@pytest.mark.slow  # likewise in tests/objectives/deployment
def test_data_that_changed_since_the_trial_leaves_no_bundle(spec: StudySpec, tmp_path: Path, phantom: Path) -> None:
    entry = best(spec)
    changed = shutil.copytree(phantom, tmp_path / "changed")
    for path in (changed / "masks").iterdir():
        Image.new("L", (64, 64), 1).save(path)
    config = spec.study.folder / (entry.folder or "") / "config.py"
    config.write_text(config.read_text().replace(f"'{phantom}'", f"'{changed}'"))
    with pytest.raises(
        InputError, match=r"metrics from the files: .* data, checkpoint or versions changed since the trial"
    ):
        export_trial(spec, tmp_path / "bundle", None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changed", "copy"]


def test_two_trials_are_drawn_beside_each_other(
    spec: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phantom: Path
) -> None:
    out = tmp_path / "compare.png"
    drawn = compare(spec, 0, 1, out)
    evaluation = json.loads((spec.study.folder / "trials/00001/evaluation.json").read_text())
    shown = {name for name, counts in evaluation["images"].items() if counts["labelled"][1]}
    assert set(drawn.images) <= shown
    width, height = size_of(out)
    assert width > 4 * 384

    name = choose_images(evaluation, ("background", "fluid"), 1)[0]
    assert compare(spec, 0, 1, out, name) == Comparison(out, (0, 1), (name,))
    assert size_of(out)[0] == width
    assert size_of(out)[1] < height or len(shown) == 1

    with pytest.raises(InputError, match=r"compare\.jpg: must be a PNG file; name it such as compare\.png"):
        compare(spec, 0, 1, tmp_path / "compare.jpg")
    with pytest.raises(InputError, match=r"x\.png: does not validate in 00001"):
        compare(spec, 0, 1, out, "x.png")
    with pytest.raises(InputError, match="trial 3 of study tiny is waiting"):
        compare(spec, 3, 1, out)


def test_a_trial_of_another_study_is_drawn_on_the_same_images_and_masks_alone(
    finished: Path, spec: StudySpec, tmp_path: Path
) -> None:
    out, other = tmp_path / "compare.png", StudySpec.load(finished)
    assert compare(spec, 0, 0, out, None, other).trials == (0, 0)
    out.unlink()
    file = spec.study.folder / "trials/00000/evaluation.json"
    evaluation = json.loads(file.read_text())
    counts = next(iter(evaluation["images"].values()))
    counts["labelled"] = [counts["labelled"][0] - 1, counts["labelled"][1] + 1]
    file.write_text(json.dumps(evaluation))
    apart = (
        "no picture was drawn, trial 0 of tiny and trial 0 of tiny: they were measured on different images or masks; "
    )
    with pytest.raises(InputError, match=f"^{apart}draw two of the same images, split and masks$"):
        compare(spec, 0, 0, out, None, other)
    file.unlink()
    unknown = "trial 0 of tiny has no evaluation.json on this machine that can be read, so nothing says which images"
    with pytest.raises(InputError, match=f"^no picture was drawn, {unknown}"):
        compare(spec, 0, 0, out, None, other)
    assert not out.exists()


def test_compare_says_what_is_known_of_two_configs_or_why_nothing(
    finished: Path, spec: StudySpec, capsys: pytest.CaptureFixture[str]
) -> None:
    look(finished, 0, 1, None, None)
    said = capsys.readouterr().out
    assert said.startswith("trial 1 (1 seed) beside trial 0 (1 seed): not testable, mIoU ")
    why = "no params that found something were trained with more than one seed, so what seeds alone change is not known"
    assert said.endswith(f"; {why}\n")
    for same in (lambda: look(finished, 0, 0, None, None), lambda: compare(spec, 0, 0, spec.study.folder / "0.png")):
        with pytest.raises(InputError, match="trial 0 is named twice; give two trials, or with --other the spec"):
            same()
    with pytest.raises(InputError, match="trial 0 is named twice"):
        against(spec, 0, 0, spec)
    assert against(spec, 0, 1, spec) == against(spec, 0, 1), "the very study is no other one"
    look(finished, 0, 1, None, None, finished, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert (document["a"], document["b"], document["picture"]) == ([0], [1], None)
    assert document["beside"]["verdict"] == "not testable"
    evaluation = spec.study.folder / "trials/00001/evaluation.json"
    evaluation.write_text(evaluation.read_text().replace('"predicted"', '"found"'))
    why = "trial 1 has an evaluation.json that does not hold the counts that mmtuna writes"
    assert against(spec, 0, 1).beside.why == why
    other = spec.model_copy(update={"study": spec.study.model_copy(update={"metric": "mDice"})})
    with pytest.raises(InputError, match="the studies maximise mIoU and mDice; compare two of the same metric"):
        against(spec, 0, 1, other)
    other = spec.model_copy(update={"study": spec.study.model_copy(update={"value": "best"})})
    with pytest.raises(InputError, match="the studies' values are of the last and of the best evaluation; compare two"):
        against(spec, 0, 1, other)


def test_compare_says_which_figure_is_tested_where_values_are_of_best_evaluations() -> None:
    tested = comparing.Comparison(difference=-0.2243, units=16, by_units=0.001, by_seeds=0.01, verdict=Verdict.WORSE)
    found = Beside(seeds=(1, 1), difference=0.1735, at_last=-0.2243, verdict=Verdict.WORSE, comparison=tested)
    assert told(Against((0,), (1,), "mIoU", found, "best"), 0, 1) == (
        "trial 1 (1 seed) beside trial 0 (1 seed): worse, mIoU +0.1735 by the best evaluations, and at the last, which "
        "alone is tested, -0.2243; p = 0.001 over 16 images (Wilcoxon), p = 0.01 against seeds and images together (t "
        "test)"
    )
    assert ": worse, mIoU +0.1735; p" in told(Against((0,), (1,), "mIoU", found), 0, 1)


def test_the_report_holds_intervals_of_what_was_counted(spec: StudySpec, tmp_path: Path) -> None:
    study = open_existing(spec.study)
    page = Page(write_report(spec, study, tmp_path / "report.html", tmp_path / "methods.md").read_text())
    counts = json.loads((spec.study.folder / "trials/00000/evaluation.json").read_text())["images"]
    text, entry = page.sections["certainty"], best(spec)
    assert f"{len(counts)} validation images; intervals by mean ± Student's t" in text
    assert re.search(rf" {entry.number} 1 {entry.value:.4f} \(0\.\d+ to 0\.\d+\) ", text)
    assert "mmtuna run SPEC --replicates 3 trains" in text
    methods = (tmp_path / "methods.md").read_text()
    assert "**ADD**" in methods
    assert "; split: given lists." in methods, "nothing tells that they were published"


def test_kept_predictions_serve_where_the_weights_are_gone(
    spec: StudySpec, tmp_path: Path, write_spec: Callable[..., Path]
) -> None:
    evaluation = json.loads((spec.study.folder / "trials/00000/evaluation.json").read_text())
    name = next(iter(evaluation["images"]))
    for number in (0, 1):
        folder = spec.study.folder / f"trials/{number:05d}"
        (folder / LAST).unlink()
        shutil.rmtree(folder / "predictions")  # the training's own are of all its pictured images
        (folder / "predictions").mkdir()
        Image.new("L", (64, 64), 1).save(folder / "predictions" / name)
    compare(spec, 0, 1, tmp_path / "compare.png", name)
    with pytest.raises(InputError, match="its weights are deleted"):
        compare(spec, 0, 1, tmp_path / "compare.png", next(n for n in evaluation["images"] if n != name))


def test_ctrl_c_ends_in_one_line_and_leaves_nothing(finished: Path, tmp_path: Path) -> None:
    process = start("export", finished, "-o", tmp_path / "bundle")
    wait_for(lambda: len(alive_in_group(process.pid)) > 1, 60, "a child writes the bundle")
    interrupt(process)
    output = process.communicate(timeout=15)[0]
    assert process.returncode == 130
    assert output.splitlines() == ["mmtuna: stopped by Ctrl-C"]
    assert list(tmp_path.iterdir()) == []
