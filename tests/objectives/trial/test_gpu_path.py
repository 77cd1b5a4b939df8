"""The way to the GPU as far as a machine without one can walk it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mmtuna.objectives.devices import VARIABLE, choose_device
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import Cause, Ending, TrialOrder
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.objectives.weights import present_devices
from mmtuna.spaces.errors import InputError

ROOT = Path(__file__).parents[3]
# As a torch that is built for CUDA: the first question for the number of GPUs starts CUDA.
SCRIPT = """
import torch

asked = []
torch._C._cuda_getDeviceCount = lambda: asked.append("started") or 1
torch.backends.cuda.is_built = lambda: True
torch.cuda._is_compiled = lambda: True
torch.version.cuda = "13.0"  # beside a toolkit torch.utils.cpp_extension looks whether there is a GPU
torch._C._cuda_getCurrentRawStream = None  # a build for CUDA has it, and torch._dynamo imports it
assert torch.cuda.is_available()
assert asked.pop()
{imported}
from mmengine.device import get_device
print(len(asked), get_device())
"""
needs_no_gpu = pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="says what happens without a GPU")


def imported(what: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "CUDA_HOME": str(ROOT)}
    script = SCRIPT.format(imported=what)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_fork_server_does_not_start_cuda() -> None:
    """Where it does, no trial can use a GPU: "Cannot re-initialize CUDA in forked subprocess"."""
    assert imported("import mmtuna.objectives.trial.preload") == "0 cpu"


def test_without_our_care_it_would() -> None:
    assert imported("import mmengine.device") == "1 cuda"


@pytest.fixture
def on_the_cpu(torch: ModuleType) -> Iterator[None]:
    """Puts MMEngine's device back after the test."""
    yield
    choose_device()


@pytest.mark.parametrize(("there", "device"), [(True, "cuda"), (False, "cpu")])
def test_mmengine_builds_where_this_process_may(
    torch: ModuleType, on_the_cpu: None, monkeypatch: pytest.MonkeyPatch, there: bool, device: str
) -> None:
    from mmengine.device import get_device

    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: there)
        choose_device()
        assert get_device() == device


@needs_no_gpu
def test_a_trial_that_is_given_a_gpu_is_not_trained_on_the_cpu(
    objective: Callable[..., SegmentationObjective], listening: Any, tmp_path: Path
) -> None:
    order = TrialOrder(number=0, params={}, seed=0, device="cuda:0")
    outcome = objective(tmp_path).run(order, listening())
    assert (outcome.ending, outcome.cause, outcome.iterations) == (Ending.FAILED, Cause.ERROR, 0)
    assert "cannot use GPU 0; update the driver, or install another torch" in outcome.message


@needs_no_gpu
def test_a_gpu_that_is_counted_and_of_no_use_is_told_before_trial_1(
    torch: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for devices in ("auto", ["cuda:1"], ["cuda"]):
        with pytest.raises(InputError, match=r"torch .* cannot use cuda:\d .*; install a newer driver, free"):
            present_devices(devices)
    assert present_devices(["cpu"]) == ["cpu"]
    with pytest.raises(InputError, match="cuda:2 is not there; this machine has cuda:0, cuda:1, cpu"):
        present_devices(["cuda:2"])


def test_children_are_on_the_cpu_unless_they_look_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call_in_child(os.getenv, VARIABLE, "all") == ""
    assert call_in_child(os.getenv, VARIABLE, "all", visible="3") == "3"
    assert call_in_child(os.getenv, VARIABLE, "all", visible=None) == os.environ.get(VARIABLE, "all")


def test_focal_loss_is_built_on_a_gpu_without_mmcvs_operators(
    torch: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmseg.models.losses import FocalLoss, focal_loss

    from mmtuna.objectives.speed import replacements

    monkeypatch.setattr(replacements, "replace_crop_box", lambda _: None)
    monkeypatch.setattr(focal_loss, "_sigmoid_focal_loss", None)
    monkeypatch.setattr(FocalLoss, "forward", FocalLoss.forward)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(RuntimeError, match="sigmoid_focal_loss ops"):
        FocalLoss()
    replacements.replace_in_stock()
    assert FocalLoss().forward.__func__ is replacements.forward


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_memory_that_runs_out_beside_torchs_allocator_is_named(torch: ModuleType, text: str) -> None:
    from mmtuna.objectives.trial.causes import name_cause

    assert name_cause(RuntimeError(text))[0] is Cause.OUT_OF_MEMORY


def test_counts_are_exact_beyond_what_float32_holds(torch: ModuleType) -> None:
    from mmseg.evaluation import IoUMetric

    from mmtuna.objectives.evaluation.counting import CountingIoUMetric

    pixels = 2**24 + 3
    labels = torch.zeros(pixels, dtype=torch.uint8)
    labels[0] = 255
    predicted = torch.zeros(pixels, dtype=torch.uint8)
    predicted[1] = 1
    both, union, ours, truth = CountingIoUMetric.intersect_and_union(predicted, labels, 2, 255)
    assert both.tolist() == [pixels - 2, 0]
    assert union.tolist() == [pixels - 1, 1]
    assert ours.tolist() == [pixels - 2, 1]
    assert truth.tolist() == [pixels - 1, 0]

    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 5, (40, 30), generator=generator)  # 4 is no class, as a mask may hold by mistake
    labels[0] = 255
    predicted = torch.randint(0, 4, (40, 30), generator=generator)
    theirs = IoUMetric.intersect_and_union(predicted, labels, 4, 255)
    for ours, other in zip(CountingIoUMetric.intersect_and_union(predicted, labels, 4, 255), theirs, strict=True):
        assert ours.tolist() == other.tolist()


def test_a_gpu_counts_as_a_cpu_does(torch: ModuleType) -> None:
    from mmtuna.objectives.evaluation.counting import count_by_scatter

    values = torch.randint(0, 7, (5000,), generator=torch.Generator().manual_seed(1))
    assert count_by_scatter(values, 9).tolist() == torch.bincount(values, minlength=9).tolist()
    assert count_by_scatter(values[:0], 2).tolist() == [0, 0]


@pytest.mark.gpu
@pytest.mark.parametrize("fixed", [{}, {"speed": "auto", "precision": "fp16"}], ids=["exact", "auto"])
def test_trials_train_on_a_gpu(
    objective: Callable[..., SegmentationObjective], tmp_path: Path, listening: Any, fixed: dict[str, Any]
) -> None:
    ours = objective(tmp_path, fixed=fixed)
    for number in range(2):  # from one fork server
        outcome = ours.run(TrialOrder(number=number, params={}, seed=0, device="cuda:0"), listening())
        assert (outcome.ending, outcome.message) == (Ending.FINISHED, "")
        assert outcome.folder is not None
        assert "GPU 0: " in (outcome.folder / "train.log").read_text()
