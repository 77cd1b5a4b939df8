"""The paper's set-up at the scale of a small machine: specs with their places, vessel weights to start from."""

from __future__ import annotations

import argparse
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mmtuna.search.errors import StoppedError

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
ITERATIONS = {"vessels": 1500, "claims": 1600, "leak": 400}
"""The paper's rows had 400; by SGD at its rate the small net finds no fluid before 1,200."""


def told_in_one_line(main: Callable[[], None]) -> None:
    """Runs `main`; a stop in order, as by Ctrl-C, ends it with one line."""
    try:
        main()
    except StoppedError as stopped:
        sys.exit(str(stopped))


def options(what: str) -> argparse.Namespace:
    """What every program here is told on its command line; `what` is its docstring."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="holds duke-dme-256/ and drive/, see benchmarks/README"
    )
    parser.add_argument("--replicates", type=int, default=3, help="trainings of each config, each with its seed")
    parser.add_argument("--slots", type=int, default=2, help="trials at the same time")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "claims", help="folder of the studies")
    parser.add_argument("--rehearse", action="store_true", help="a hundredth of the iterations, to see that it runs")
    return parser.parse_args()


def spec(name: str, told: argparse.Namespace) -> Path:
    """The spec of that name with the places of data and studies in it."""
    found: Path = told.out.resolve() / f"{name}.toml"
    text = (HERE / f"{name}.toml").read_text(encoding="utf-8")
    iterations = max(8, ITERATIONS[name] // (100 if told.rehearse else 1))
    for word, place in {"DATA": told.data.resolve().as_posix(), "OUT": told.out.resolve().as_posix()}.items():
        text = text.replace(word, place)
    for word, number in {"ITERATIONS": iterations, "HALF": iterations // 2}.items():
        text = text.replace(word, str(number))
    found.parent.mkdir(parents=True, exist_ok=True)
    found.write_text(text, encoding="utf-8")
    return found


def vessels(told: argparse.Namespace) -> None:
    """Trains the nets that others start from, unless they are there."""
    weights = told.out.resolve() / "weights"
    if all((weights / f"{decoder}.pth").is_file() for decoder in ("pspnet", "fcn")):
        return
    path = spec("vessels", told)
    subprocess.run([sys.executable, "-m", "mmtuna", "run", str(path), "--slots", str(told.slots)], check=True)
    collect = runpy.run_path(str(ROOT / "scripts" / "collect_weights.py"))
    collect["main"](str(path), str(weights))
