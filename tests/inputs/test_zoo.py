"""What `make zoo` asks of stock and of ours can still be asked: of one config, built, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmtuna.objectives.data.phantom import write_phantom

ZOO = Path(__file__).parents[2] / "benchmarks" / "zoo"
ASKED = """
import json, sys
sys.path.insert(0, sys.argv[1])
import mmseg, ours, stock
from pathlib import Path
name, root = "fast_scnn_8xb4-160k_cityscapes-512x1024", Path(sys.argv[2])
config = Path(mmseg.__file__).parent / ".mim" / "configs" / "fastscnn" / f"{name}.py"
print(json.dumps([stock.build(str(config)), ours.build(ours.spec(name, root, root.parent / "study", amp=False))]))
"""


@pytest.mark.slow
def test_both_sides_build_a_config(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_phantom(root, subjects=2, scans=2, size=64, val_share=0.5)
    asked = subprocess.run([sys.executable, "-c", ASKED, ZOO, root], capture_output=True, text=True, timeout=120)
    assert asked.returncode == 0, asked.stderr
    stock, ours = json.loads(asked.stdout.splitlines()[-1])
    assert ours["bytes"] / 4 == pytest.approx(stock["parameters"], rel=0.02)  # of two classes for nineteen
