"""What mmtuna relies on within torch, MMEngine and MMSegmentation, held against those that are installed; and that
nothing else in objectives and search relies on more."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mmtuna.objectives import insides
from tests.test_layers import ROOT, imports, modules
from tests.waiting import until

MODULE = Path("objectives/insides.py")
CLOSING = Path("objectives/trial/closing.py")
"""Closes what it names, each with a test that notices when it is gone: tests/objectives/trial/test_closing.py."""
MOVED = f"the installed version does this otherwise: mend {MODULE}, and what leans on it"


@pytest.fixture(autouse=True)
def installed(torch: ModuleType) -> None:
    """All of it imported, without what it says at its import."""


@pytest.fixture
def device_as_before() -> Iterator[None]:
    from mmengine.device import get_device

    before = get_device()
    yield
    insides.settle_device(before)


def test_models_are_built_on_the_device_that_is_settled(device_as_before: None) -> None:
    from mmengine.device import get_device

    for device in ("cuda", "cpu"):
        insides.settle_device(device)
        assert get_device() == device, f"mmengine.device.utils.DEVICE: {MOVED}"


UNTOUCHED = """
import torch
asked = []
torch._C._cuda_getDeviceCount = lambda: asked.append(1) or 0
torch.backends.cuda.is_built = lambda: True
import mmtuna.objectives.insides as insides
with insides.cuda_untouched():
    import mmengine.device
    import mmcv
    assert torch.cuda.is_available()
assert not torch.cuda.is_available() and len(asked) == 1
print(mmengine.device.get_device())
"""


def test_imports_within_it_do_not_look_for_a_gpu() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", UNTOUCHED], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout == "cpu\n", f"torch.cuda.is_available: {MOVED}\n{done.stderr}"


def test_mixed_precision_can_be_built_on_a_cpu(torch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import mmengine.optim.optimizer.amp_optimizer_wrapper as amp
    from mmengine.optim import AmpOptimWrapper

    if torch.cuda.is_available():
        pytest.skip("says what happens without a GPU")
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    monkeypatch.setattr(amp, "is_cuda_available", amp.is_cuda_available)  # puts it back after the test
    with pytest.raises(AssertionError, match="only available training"):
        AmpOptimWrapper(optimizer=optimizer, dtype="bfloat16")
    insides.amp_without_a_gpu()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.cuda.amp.GradScaler is enabled|.*CUDA is not available", UserWarning)
        wrapper = AmpOptimWrapper(optimizer=optimizer, dtype="bfloat16")
    wrapper.update_params((2 * weight).sum())
    assert weight.item() == 0.0, f"AmpOptimWrapper: {MOVED}"


class Dying:
    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0


def test_the_death_of_a_loader_is_told(torch: Any) -> None:
    from torch.utils.data import DataLoader

    before = signal.getsignal(signal.SIGCHLD)
    insides.raise_death_of_a_loader()  # there is none
    loading: Any = iter(DataLoader(Dying(), num_workers=1))  # type: ignore[arg-type, var-annotated]
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or torch tells it by itself
    told: list[str] = []

    def dead() -> bool:
        try:
            insides.raise_death_of_a_loader()
        except RuntimeError as error:
            told.append(str(error))
        return bool(told)

    try:
        assert until(dead, 10), f"torch._C._error_if_any_worker_fails: {MOVED}"
        assert "is killed by signal: Killed" in told[0], MOVED
        assert loading is not None
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.fixture
def runner(torch: ModuleType, tmp_path: Path) -> Callable[..., Any]:
    """A Runner that trains a net of one weight: runner(iterations, what else Runner takes)."""
    from mmengine.model import BaseModel
    from mmengine.runner import Runner
    from torch.utils.data import Dataset

    class Numbers(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> dict[str, int]:
            return {"inputs": index}

    class Net(BaseModel):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))
            self.seen: list[int] = []

        def forward(self, inputs: Any, mode: str) -> dict[str, Any]:
            self.seen += inputs.tolist()
            return {"loss": self.weight.sum()}

    def make(iterations: int, **more: Any) -> Any:
        return Runner(
            model=Net(),
            work_dir=str(tmp_path / "work"),
            experiment_name=f"to-{iterations}",
            train_dataloader={
                "batch_size": 1,
                "dataset": Numbers(),
                "sampler": {"type": "InfiniteSampler", "shuffle": False},
                "collate_fn": {"type": "default_collate"},
            },
            train_cfg={"by_epoch": False, "max_iters": iterations},
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
            default_hooks={"checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": 3}},
            log_level="ERROR",
            **more,
        )

    return make


def test_a_resumed_runner_calls_between_the_skipped_batches_and_the_next(
    runner: Callable[..., Any], tmp_path: Path
) -> None:
    from mmengine.hooks import Hook

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MMEngine's, of its own old ways
        first = runner(3)
        assert insides.starting_checkpoint(first) is None, f"Runner._load_from: {MOVED}"
        first.train()
        again = runner(6, load_from=str(tmp_path / "work/iter_3.pth"), resume=True)
        assert insides.starting_checkpoint(again) == str(tmp_path / "work/iter_3.pth"), f"Runner._load_from: {MOVED}"
        called: list[list[int]] = []

        class Look(Hook):  # type: ignore[misc]
            def before_train(self, runner: Any) -> None:
                insides.after_skipped_batches(runner, lambda: called.append(list(runner.model.seen)))

        again.register_hook(Look())
        again.train()
    assert called == [[]], f"dataloader_iterator.skip_iter: {MOVED}"
    assert again.model.seen == [3, 4, 5], MOVED


def test_the_focal_loss_is_ours_where_mmcv_has_no_operator(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmseg.models.losses import FocalLoss, focal_loss

    assert not insides.has_focal_operator(), "mmcv is built with its operators: this test needs one without"
    monkeypatch.setattr(FocalLoss, "forward", FocalLoss.forward)
    monkeypatch.setattr(focal_loss, "_sigmoid_focal_loss", None)
    insides.replace_focal_loss(lambda self, pred: pred)
    assert focal_loss._sigmoid_focal_loss is focal_loss.py_sigmoid_focal_loss, MOVED
    assert not insides.has_focal_operator()
    assert FocalLoss()(7) == 7, f"FocalLoss.forward: {MOVED}"
    monkeypatch.setattr(focal_loss, "_sigmoid_focal_loss", lambda: None)
    assert insides.has_focal_operator(), f"mmseg.models.losses.focal_loss._sigmoid_focal_loss: {MOVED}"


def test_operators_are_ours_wherever_mmseg_takes_torchs(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmseg.models.segmentors.base import BaseSegmentor
    from mmseg.models.utils import resize

    for place, name in ((torch.nn.functional, "interpolate"), (torch.nn.functional, "adaptive_avg_pool2d")):
        monkeypatch.setattr(place, name, getattr(place, name))  # put back behind the test
    monkeypatch.setattr(torch.Tensor, "argmax", torch.Tensor.argmax)
    insides.replace_operators(lambda map_, *_: map_ + 1, lambda map_, _: map_ + 2, lambda self, **_: self[:1] + 3)
    zero = torch.zeros(1, 2, 4, 4)
    assert resize(zero, (4, 4), mode="bilinear", align_corners=False).max() == 1, f"mmseg.models.utils.resize: {MOVED}"
    assert torch.nn.AdaptiveAvgPool2d(1)(zero).max() == 2, f"torch.nn.AdaptiveAvgPool2d: {MOVED}"
    (found,) = BaseSegmentor.postprocess_result(ModuleType("a model"), zero, None)
    assert found.pred_sem_seg.data.max() == 3, f"BaseSegmentor.postprocess_result: {MOVED}"


def test_crops_are_drawn_by_ours() -> None:
    import numpy as np
    from mmseg.datasets.transforms import RandomCrop

    stock = RandomCrop.__dict__["crop_bbox"]
    try:
        insides.replace_crop_box(lambda self, results: (1, 3, 2, 5))
        results = RandomCrop((2, 3))({"img": np.zeros((9, 9, 3), np.uint8), "seg_fields": []})
        assert results["img"].shape == (2, 3, 3), f"RandomCrop.crop_bbox: {MOVED}"
    finally:
        RandomCrop.crop_bbox = stock


def test_bases_of_mmseg_are_found(tmp_path: Path) -> None:
    from mmengine.config import Config

    insides.find_mmsegs_bases()
    (tmp_path / "own.py").write_text('_base_ = "mmseg::_base_/default_runtime.py"\n')
    assert Config.fromfile(str(tmp_path / "own.py")).default_scope == "mmseg", f"MODULE2PACKAGE: {MOVED}"


def test_every_name_here_has_its_test() -> None:
    tree = ast.parse((ROOT / MODULE).read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    text = Path(__file__).read_text(encoding="utf-8")
    assert {name for name in functions if f"insides.{name}(" not in text} == set()


# Names without an underscore that are an inside all the same.
INSIDES = {"DEVICE", "MODULE2PACKAGE", "get_torch_safe_globals", "skip_iter", "dataloader_iterator"}
LIBRARIES = ("torch", "mmengine", "mmseg", "mmcv", "multiprocessing")


def uses(tree: ast.Module) -> list[str]:
    """What a module reaches for within others: private names, those of INSIDES, what it sets in a library."""
    found = []
    theirs = {name.rpartition(".")[2] for _, name in imports(tree) if name.partition(".")[0] in LIBRARIES}
    theirs |= {name.partition(".")[0] for _, name in imports(tree) if name.partition(".")[0] in LIBRARIES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            ours = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            private = node.attr.startswith("_") and not node.attr.startswith("__") and ast.unparse(node) != "os._exit"
            if (private and not ours) or node.attr in INSIDES:
                found.append(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in LIBRARIES:
            parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            found += [part for part in parts if part in INSIDES or part.startswith("_")]
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                root = target
                while isinstance(root, ast.Attribute | ast.Subscript):
                    root = root.value
                if root is not target and isinstance(root, ast.Name) and root.id in theirs:
                    found.append(ast.unparse(target))
    return found


def test_nothing_else_reaches_into_them() -> None:
    reaching = {
        str(path.relative_to(ROOT)): reached
        for room, path in modules()
        if room in ("objectives", "search", "mmtuna")
        and path not in (ROOT / MODULE, ROOT / CLOSING)
        and (reached := uses(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert reaching == {}, f"what is relied on within a library stands in {MODULE}, with a test"


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch._C._error_if_any_worker_fails()",
        "import torch\ntorch.cuda.is_available = lambda: True",
        "from mmengine.config import Config\nConfig.pretty_text = ''",
        "from mmengine.config.utils import MODULE2PACKAGE",
        "from multiprocessing.forkserver import _forkserver",
        "def f(runner):\n    return runner._load_from",
        "import mmengine.device.utils\nmmengine.device.utils.DEVICE = 'cpu'",
    ],
)
def test_the_rule_would_catch_a_use(text: str) -> None:
    assert uses(ast.parse(text))


@pytest.mark.parametrize("text", ["import os\nos._exit(1)", "class A:\n    def f(self):\n        return self._x"])
def test_the_rule_leaves_other_names_alone(text: str) -> None:
    assert not uses(ast.parse(text))
