"""Trainings of a few iterations in a child: evaluations, checkpoints, seeds, and the causes of failures."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.evaluation.metrics import Counts, Measures, left_out, metrics, per_image, total
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import Cause, Ending, Outcome, TrialOrder
from mmtuna.spaces.parameter import Params

Train = Callable[..., Outcome]
FIVE = {"iterations": 5, "evaluations": 2, "lr_sgd": 0.0001}


@pytest.fixture(scope="module")
def weights(lively_weights: Callable[[str], Path]) -> dict[str, Path]:
    return {"fcn": lively_weights("fcn")}


@pytest.fixture(scope="module")
def finished(train: Train, tmp_path_factory: pytest.TempPathFactory, weights: dict[str, Path]) -> Outcome:
    outcome = train(tmp_path_factory.mktemp("finished"), FIVE, number=7, weights=weights)
    assert outcome.ending is Ending.FINISHED, outcome.message
    assert outcome.curve[-1].metrics["IoU.fluid"] > 0
    return outcome


def folder_of(outcome: Outcome) -> Path:
    assert outcome.folder is not None
    return outcome.folder


def values(outcome: Outcome) -> list[dict[str, float]]:
    return [evaluation.metrics for evaluation in outcome.curve]


def test_evaluations_come_at_their_steps_and_the_last_at_the_end(finished: Outcome) -> None:
    assert [(e.step, e.iteration) for e in finished.curve] == [(60, 3), (100, 5)]
    assert finished.iterations == 5
    assert (finished.cause, finished.message) == (None, "")
    assert 0 < finished.curve[0].seconds < finished.curve[1].seconds < finished.seconds


def test_metrics_are_exact_functions_of_the_counts_of_every_image(finished: Outcome, phantom: Dataset) -> None:
    last = json.loads((folder_of(finished) / "evaluation.json").read_text())
    names = (phantom.root / "splits/val.txt").read_text().split()
    assert sorted(last["images"]) == sorted(f"{name}.png" for name in names)
    images = {name: Counts(**{k: tuple(v) for k, v in counts.items()}) for name, counts in last["images"].items()}
    for name, counts in images.items():
        truth = np.asarray(Image.open(phantom.root / "masks" / name))
        assert counts.labelled == tuple(int((truth == c).sum()) for c in range(2))
        assert sum(counts.predicted) == truth.size
    expected = metrics(total(images.values()), phantom.classes) | per_image(images, Measures())
    assert last["metrics"] == finished.curve[-1].metrics == expected
    assert last["both_empty"] == left_out(images)
    assert last["iteration"] == 5
    assert all(0 <= value <= 1 for value in last["metrics"].values())


IMPORTED = """
import sys
from pathlib import Path
from mmtuna.objectives.trial import preload, training
before = set(sys.modules)
training.prepare_process(1, "")
runner = training.build_runner(training.read_config(Path(sys.argv[1])), (), "config.py", work_dir=sys.argv[2])
training.counting_metric(runner)
runner.train()
print(*sorted(set(sys.modules) - before))
"""


@pytest.mark.slow
def test_children_import_next_to_nothing_that_the_fork_server_has_not(finished: Outcome, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", IMPORTED, folder_of(finished) / "config.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()[-1].split()) < 40


def test_what_mmengine_writes_of_the_config_is_the_config(finished: Outcome, tmp_path: Path, torch: ModuleType) -> None:
    from mmengine.config import Config

    asked = Config.fromfile(folder_of(finished) / "config.py").to_dict()
    checkpoint = torch.load(folder_of(finished) / "best.pth", weights_only=False)
    (dumped,) = (folder_of(finished) / "work").glob("*.py")
    in_checkpoint = tmp_path / "config.py"
    in_checkpoint.write_text(checkpoint["meta"]["cfg"])
    for written in (dumped, in_checkpoint):
        found = Config.fromfile(written).to_dict()
        assert found["model"] == asked["model"]
        assert found["train_dataloader"] == asked["train_dataloader"]
        assert found["optim_wrapper"] == asked["optim_wrapper"]


def test_a_trial_keeps_its_files_and_nothing_half_written(finished: Outcome) -> None:
    folder = folder_of(finished)
    assert folder.name == "00007"
    assert {p.name for p in folder.iterdir()} == {
        *("config.py", "train.log", "last.pth", "best.pth", "evaluation.json", "work"),
    }
    assert [p for p in folder.rglob("*") if p.suffix == ".pth" and p.parent != folder] == []
    assert (
        "# trial 7, seed 0\n# iterations = 5\n# evaluations = 2\n# lr_sgd = 0.0001\n"
        in (folder / "config.py").read_text()
    )
    assert "Iter(val)" in (folder / "train.log").read_text()


def test_checkpoints_load_as_plain_weights_and_know_their_iteration(
    finished: Outcome, torch: ModuleType, fresh_weights: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    from mmtuna.objectives.config import read_config
    from mmtuna.objectives.trial.training import load_strictly

    folder = folder_of(finished)
    last, best = (load_strictly(folder / f"{name}.pth", map_location="cpu") for name in ("last", "best"))
    assert last["meta"]["iter"] == 5
    best_of_all = max(finished.curve, key=lambda e: e.metrics["mIoU"])
    assert best["meta"]["iter"] == best_of_all.iteration
    assert {"optimizer", "param_schedulers"} <= last.keys()
    assert not {"optimizer", "param_schedulers"} & best.keys()
    wanted = fresh_weights(read_config(folder / "config.py"))
    for checkpoint in (last, best):
        shapes = {name: value.shape for name, value in checkpoint["state_dict"].items()}
        assert shapes == {name: value.shape for name, value in wanted.items()}
        assert all(torch.isfinite(value).all() for value in checkpoint["state_dict"].values())


def test_the_same_seed_gives_the_same_training_and_another_one_another(
    train: Train, finished: Outcome, tmp_path: Path, torch: ModuleType, weights: dict[str, Path]
) -> None:
    from mmtuna.objectives.trial.training import load_strictly

    same, other = (train(tmp_path / str(seed), FIVE, seed=seed, weights=weights) for seed in (0, 1))
    assert values(same) == values(finished)
    one, two, three = (
        load_strictly(folder_of(o) / "last.pth", map_location="cpu")["state_dict"] for o in (finished, same, other)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(
        one["backbone.encoder.0.0.convs.0.conv.weight"], three["backbone.encoder.0.0.convs.0.conv.weight"]
    )
    assert values(other) != values(finished)


def test_a_stop_is_clean_and_leaves_whole_files(train: Train, tmp_path: Path, listening: Any) -> None:
    listener = listening(on_evaluated=lambda evaluation: True)
    outcome = train(tmp_path, FIVE, listener)
    assert (outcome.ending, outcome.cause, outcome.iterations) == (Ending.STOPPED, None, 3)
    assert [e.step for e in outcome.curve] == [60]
    from mmtuna.objectives.trial.training import load_strictly

    for name in ("last", "best"):
        assert load_strictly(folder_of(outcome) / f"{name}.pth", map_location="cpu")["meta"]["iter"] == 3
    assert [p.name for p in folder_of(outcome).iterdir() if p.name.startswith(".")] == []
    assert json.loads((folder_of(outcome) / "evaluation.json").read_text())["iteration"] == 3


def test_a_second_attempt_at_a_trial_begins_with_an_empty_folder(train: Train, tmp_path: Path, listening: Any) -> None:
    folder = tmp_path / "trials/00000"
    folder.mkdir(parents=True)
    (folder / "best.pth").write_text("of the attempt before")
    assert train(tmp_path, {"precision": "fp16"}).ending is Ending.FAILED
    assert not (folder / "best.pth").exists()


def test_a_loss_that_is_no_number_is_divergence(
    train: Train,
    objective: Callable[..., SegmentationObjective],
    tmp_path: Path,
    torch: ModuleType,
    fresh_weights: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    state = fresh_weights(objective(tmp_path).config({}, seed=0))
    state["backbone.encoder.0.0.convs.0.conv.weight"][:] = float("nan")
    torch.save({"state_dict": state}, tmp_path / "poisoned.pth")
    outcome = train(tmp_path, weights={"fcn": tmp_path / "poisoned.pth"})
    assert (outcome.ending, outcome.cause) == (Ending.FAILED, Cause.DIVERGED)
    assert outcome.message == "loss is nan at iteration 1"
    assert outcome.curve == ()


def test_memory_that_runs_out_is_named(train: Train, tmp_path: Path, listening: Any) -> None:
    listener, starved = listening(), set[int]()

    def starve() -> bool:
        for pid in listener.pids - starved:
            used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
            resource.prlimit(pid, resource.RLIMIT_AS, (used + (300 << 20), resource.RLIM_INFINITY))
            starved.add(pid)
        return False

    listener.asked = starve
    # Each of its first activations takes 64 MB.
    settings = {"base_channels": 64, "input_size": 256, "batch_size": 4, "iterations": 2}
    outcome = train(tmp_path, settings, listener)
    assert len(starved) == 1
    assert (outcome.ending, outcome.cause) == (Ending.FAILED, Cause.OUT_OF_MEMORY), outcome.message


def raised_from(error: Exception, origin: Exception) -> Exception:
    error.__cause__ = origin
    return error


@pytest.mark.parametrize(
    ("error", "cause", "message"),
    [
        (OSError(28, "No space left on device"), Cause.DISK_FULL, "OSError: [Errno 28] No space left on device"),
        (OSError(2, "No such file"), Cause.ERROR, "FileNotFoundError: [Errno 2] No such file"),
        (MemoryError(), Cause.OUT_OF_MEMORY, "MemoryError"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
            Cause.OUT_OF_MEMORY,
            "RuntimeError: Def",
        ),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), Cause.OUT_OF_MEMORY, "RuntimeError: Def"),
        (
            RuntimeError("Caught _ArrayMemoryError in DataLoader worker process 0.\nOriginal Traceback"),
            Cause.OUT_OF_MEMORY,
            "RuntimeError: Caught _ArrayMemoryError",
        ),
        (
            RuntimeError(
                "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's "
                "workers are out of shared memory. Please try to raise your shared memory limit."
            ),
            Cause.OUT_OF_MEMORY,
            "RuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error.",
        ),
        (
            raised_from(
                RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"),
                RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            ),
            Cause.CRASHED,
            "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed.",
        ),
        (
            raised_from(OSError("class `LocalVisBackend`: no errno here"), OSError(28, "No space left on device")),
            Cause.DISK_FULL,
            "OSError: class `LocalVisBackend`",
        ),
        (RuntimeError("first line\nsecond"), Cause.ERROR, "RuntimeError: first line"),
        (ValueError(), Cause.ERROR, "ValueError"),
    ],
)
def test_causes_are_named_from_what_was_raised(torch: ModuleType, error: Exception, cause: Cause, message: str) -> None:
    from mmtuna.objectives.trial.training import name_cause

    found, line = name_cause(error)
    assert found is cause
    assert line.startswith(message)
    assert "\n" not in line


def test_a_gpu_out_of_memory_is_named(torch: ModuleType) -> None:
    from mmtuna.objectives.trial.training import name_cause

    assert name_cause(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"))[0] is Cause.OUT_OF_MEMORY


def test_a_config_that_cannot_be_built_is_a_failure_and_not_an_exception(train: Train, tmp_path: Path) -> None:
    outcome = train(tmp_path, {"model.nose": 1})
    assert (outcome.ending, outcome.cause) == (Ending.FAILED, Cause.ERROR)
    assert "no key model.nose" in outcome.message


def test_an_error_in_training_is_one_line_here_and_a_traceback_in_the_log(
    train: Train, tmp_path: Path, lists: tuple[Path, Path]
) -> None:
    (tmp_path / "val.txt").write_text("img_99\n")
    outcome = train(tmp_path, {"iterations": 1, "evaluations": 1}, lists=(lists[0], tmp_path / "val.txt"))
    assert (outcome.ending, outcome.cause) == (Ending.FAILED, Cause.ERROR)
    assert outcome.message.startswith("FileNotFoundError: ")
    assert "img_99.png" in outcome.message
    assert "Traceback (most recent call last)" in (folder_of(outcome) / "train.log").read_text()


def test_another_ignore_index_trains_with_corners_and_padding_ignored(
    train: Train, tmp_path: Path, phantom: Dataset
) -> None:
    """Rotation and padding fill masks with the ignored value; filled with another, the loss would meet class 255."""
    other = replace(phantom, ignore_index=200)
    settings = {"rotation": 45, "crop": 48, "input_size": 80, "loss": "ce_tversky", "batch_size": 4}
    outcome = train(tmp_path, settings, dataset=other)
    assert (outcome.ending, outcome.message) == (Ending.FINISHED, "")


def test_images_that_are_not_square_train_and_are_evaluated(train: Train, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for k, shape in enumerate([(50, 77), (77, 50), (64, 40), (50, 77)]):
        Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(tmp_path / f"data/images/{k}.png")
        Image.fromarray(rng.integers(0, 3, shape, dtype=np.uint8)).save(tmp_path / f"data/masks/{k}.png")
    dataset = Dataset.open(tmp_path / "data", classes=("a", "b", "c"))
    lists = (tmp_path / "train.txt", tmp_path / "val.txt")
    lists[0].write_text("0\n1\n")
    lists[1].write_text("2\n3\n")
    outcome = train(tmp_path, {"iterations": 2}, dataset=dataset, lists=lists, shapes={(50, 77), (77, 50), (64, 40)})
    assert (outcome.ending, outcome.message) == (Ending.FINISHED, "")
    assert {"IoU.a", "IoU.b", "IoU.c"} <= outcome.curve[-1].metrics.keys()
    counted = json.loads((folder_of(outcome) / "evaluation.json").read_text())["images"]
    assert {name: sum(counts["labelled"]) for name, counts in counted.items()} == {"2.png": 64 * 40, "3.png": 50 * 77}


def test_names_in_folders_are_kept_apart(train: Train, tmp_path: Path, phantom: Dataset) -> None:
    names = [f"{folder}/{n}" for folder in ("aachen", "bremen") for n in ("0", "1")]
    for name, source in zip(names, phantom.names, strict=False):
        for kind, path in (("images", phantom.image_path(source)), ("masks", phantom.mask_path(source))):
            (tmp_path / "data" / kind / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / kind / f"{name}.png").write_bytes(path.read_bytes())
    lists = (tmp_path / "train.txt", tmp_path / "val.txt")
    for path in lists:
        path.write_text("\n".join(names) + "\n")
    dataset = Dataset.open(tmp_path / "data", classes=("background", "fluid"))
    outcome = train(tmp_path, {"iterations": 1, "evaluations": 1}, dataset=dataset, lists=lists)
    counted = json.loads((folder_of(outcome) / "evaluation.json").read_text())["images"]
    assert sorted(counted) == [f"{name}.png" for name in names]


def test_a_trusted_config_of_ones_own_trains_and_its_imports_run_in_the_child(
    objective: Callable[..., SegmentationObjective], tmp_path: Path, listening: Any
) -> None:
    (tmp_path / "mine.py").write_text(
        "_base_ = 'mmseg::unet/unet-s5-d16_fcn_4xb4-40k_hrf-256x256.py'\n"
        "model = dict(backbone=dict(base_channels=4), decode_head=dict(in_channels=4))\n"
        "model['auxiliary_head'] = dict(in_channels=8)\n"
        "custom_imports = dict(imports=['this'])\n"
    )
    fixed: Params = {"iterations": 2, "evaluations": 1, "input_size": 64, "crop": "none", "inference": "whole"}
    ours = replace(objective(tmp_path, base=str(tmp_path / "mine.py"), trust_code=True), fixed=fixed)
    outcome = ours.run(TrialOrder(number=0, params={"lr_sgd": 0.02}, seed=0), listening())
    assert (outcome.ending, outcome.message) == (Ending.FINISHED, "")
    assert "Beautiful is better than ugly" in (folder_of(outcome) / "train.log").read_text()


def test_the_log_of_scalars_lies_in_the_trials_own_folder(finished: Outcome) -> None:
    (scalars,) = folder_of(finished).glob("work/*/vis_data/scalars.json")
    rows = [json.loads(line) for line in scalars.read_text().splitlines()]
    printed = [row["mIoU"] for row in rows if "mIoU" in row]
    assert printed == [pytest.approx(100 * e.metrics["mIoU"], abs=0.0051) for e in finished.curve]
