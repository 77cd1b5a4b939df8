"""A trial's config.py trains in stock MMSegmentation, without mmtuna, to the same weights and figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from mmtuna.objectives.outcome import Ending, Outcome
from mmtuna.spaces.parameter import Params

# mmtuna reaches this interpreter through a finder of its editable install or a folder on sys.path. Both are taken
# away, and that nothing of it can be imported any more is checked before the wheel's own script runs.
STOCK = """
import importlib.util, runpy, sys, warnings

sys.meta_path[:] = [f for f in sys.meta_path if "mmtuna" not in getattr(f, "__module__", str(f)) + str(f)]
held = [p for p in sys.path if __import__("os").path.isdir(__import__("os").path.join(p, "mmtuna"))]
sys.path[:] = [p for p in sys.path if p not in held]
sys.modules.pop("mmtuna", None)
assert importlib.util.find_spec("mmtuna") is None
try:
    import mmtuna
except ImportError:
    print("mmtuna is absent")
warnings.simplefilter("ignore")
tool, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = tool
runpy.run_path(tool, run_name="__main__")
assert "mmtuna" not in sys.modules
"""

PARAMS: dict[str, Params] = {
    "crops and flips": {
        "decoder": "pspnet",
        "crop": 48,
        "flip": "both",
        "rotation": 15,
        "photometric": True,
        "scale_jitter": 0.5,
        "gamma": 0.5,
        "cat_max_ratio": 0.99,
        "dropout": 0.3,
        "clip_norm": 1.0,
        "warmup": 0.5,
        "ema": 0.25,
        "optimizer": "AdamW",
        "lr_adam": 0.0005,
        "schedule": "cosine",
        "inference": "slide",
        "window": 48,
        "stride": 16,
    },
}


@pytest.mark.parametrize("name", PARAMS)
def test_a_trials_config_gives_the_trials_metrics_in_stock_mmsegmentation(
    train: Callable[..., Outcome],
    tmp_path: Path,
    name: str,
    torch: ModuleType,
    lively_weights: Callable[[str], Path],
) -> None:
    import mmseg

    from mmtuna.objectives.trial.training import load_strictly

    settings: Params = {"iterations": 6, "evaluations": 2, "loss": "ce_tversky", "foreground_weight": 5.0}
    weights = {"pspnet": lively_weights("pspnet")}
    ours = train(tmp_path / "study", {**settings, **PARAMS[name]}, weights=weights)
    assert ours.ending is Ending.FINISHED, ours.message
    assert ours.folder is not None
    assert ours.curve[-1].metrics["IoU.fluid"] > 0

    tool = Path(mmseg.__file__).parent / ".mim/tools/train.py"
    command = [sys.executable, "-I", "-c", STOCK, str(tool), str(ours.folder / "config.py"), "--work-dir", "stock"]
    # One thread, as the trial had: sums in another order round otherwise.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.startswith("mmtuna is absent")

    (scalars,) = (tmp_path / "stock").glob("*/vis_data/scalars.json")
    rows = [row for row in map(json.loads, scalars.read_text().splitlines()) if "mIoU" in row]
    assert [row["step"] for row in rows] == [evaluation.iteration for evaluation in ours.curve] == [3, 6]
    for row, evaluation in zip(rows, ours.curve, strict=True):
        for metric in ("mIoU", "mDice", "aAcc"):
            assert row[metric] == pytest.approx(100 * evaluation.metrics[metric], abs=0.00501), metric

    stock = load_strictly(tmp_path / "stock/iter_6.pth", map_location="cpu")
    last = load_strictly(ours.folder / "last.pth", map_location="cpu")
    assert stock["meta"]["iter"] == last["meta"]["iter"] == 6
    assert stock["state_dict"].keys() == last["state_dict"].keys()
    assert [n for n in last["state_dict"] if not torch.equal(stock["state_dict"][n], last["state_dict"][n])] == []
    moments = [checkpoint["optimizer"]["state"] for checkpoint in (stock, last)]
    assert moments[0].keys() == moments[1].keys() != set()
    assert all(torch.equal(moments[0][k]["exp_avg"], moments[1][k]["exp_avg"]) for k in moments[0])
