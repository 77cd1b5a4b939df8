"""Trials an hour: `mmtuna run` beside stock MMSegmentation's tools/train.py, one process after another.

Table 2's eleven rows on the paper's images, with a small net on a CPU. Stock trains the very config.py that the trials
of the first round leave, with the same iterations and evaluations, once with all cores and in a first look with one
thread, as a trial has: then the figures have to be equal. The sides take turns, A B B A.

    python benchmarks/speed/trials.py --data ../shared/data/duke-dme-256
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mmseg

from mmtuna.objectives.trial.devices import cores
from mmtuna.search.versions import machine, versions

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "runs" / "speed"
RESULT = ROOT / "benchmarks" / "results" / "speed-trials.json"
TRAIN = Path(mmseg.__file__).parent / ".mim" / "tools" / "train.py"
BARE = Path(__file__).with_name("bare.py")
ROWS = 11
SPEC = """\
[study]
name = "speed"
folder = "{folder}"
trials = {rows}
pruner = "none"
enqueue = ["table2"]
[data]
root = "{data}"
subjects = "subjects.csv"
[model]
pretrained = "none"
[space]
preset = "paper"
[train]
base_channels = {channels}
size_scale = 0.25
iteration_scale = {share}
evaluations = 4
[resources]
devices = ["cpu"]
"""


def main() -> None:
    """Measures both sides in turn and writes the result."""
    options = _options()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    rounds: dict[str, list[dict[str, float]]] = {"ours": [], "stock": []}
    for number, side in enumerate(("ours", "stock", "stock", "ours")):
        measured = _measured(lambda n=number: _ours(options, n)) if side == "ours" else _measured(_stock)
        rounds[side].append(measured)
        print(side, measured, flush=True)
    alone = _measured(lambda: _stock(threads=1))
    differences = [abs(ours - stock) for ours, stock in zip(_our_figures(0), _stock_figures(), strict=True)]
    bare = _bare()
    seconds = {side: statistics.median(found["seconds"] for found in measured) for side, measured in rounds.items()}
    document = {
        "what": f"Table 2's {ROWS} rows, {options.channels} channels, a quarter of every side, "
        f"{options.share:g} of the iterations, 4 evaluations each, on the paper's images",
        "command": " ".join(["python", "benchmarks/speed/trials.py", *sys.argv[1:]]),
        "machine": machine(),
        "versions": versions(),
        "rounds": rounds | {"stock with one thread": [alone]},
        "trials_an_hour": {side: round(ROWS * 3600 / found, 1) for side, found in seconds.items()},
        "ours_to_stock": round(seconds["stock"] / seconds["ours"], 2),
        "largest_difference_of_miou_in_percent": max(differences),
        "bare_loop_seconds": round(bare, 1),
        "ours_to_bare_loop": round(seconds["ours"] / bare, 2),
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: document[key] for key in ("trials_an_hour", "ours_to_stock", "ours_to_bare_loop")}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="the paper's images, as `mmtuna data chiu2015` has them"
    )
    parser.add_argument("--channels", type=int, default=8, help="base channels of the UNet, 64 in the paper")
    parser.add_argument("--share", type=float, default=0.25, help="of the paper's iterations")
    return parser.parse_args()


def _measured(call: Callable[[], None]) -> dict[str, float]:
    """Wall and CPU seconds of a call and the processes that it waits for."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    call()
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}


def _ours(options: argparse.Namespace, number: int) -> None:
    folder = OUT / f"ours{number}"
    spec = folder.with_suffix(".toml")
    data = options.data.resolve()
    spec.write_text(SPEC.format(folder=folder, rows=ROWS, data=data, channels=options.channels, share=options.share))
    # A cache of its own: what a probe came to is not remembered from the round before.
    environment = {**os.environ, "MMTUNA_CACHE": str(OUT / f"cache{number}")}
    _run([sys.executable, "-m", "mmtuna", "run", str(spec)], environment)


def _stock(threads: int | None = None) -> None:
    shutil.rmtree(OUT / "stock", ignore_errors=True)
    environment = dict(os.environ) | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    for row in range(ROWS):
        command = [
            sys.executable,
            "-W",
            "ignore",
            str(TRAIN),
            str(_config(row)),
            "--work-dir",
            str(OUT / "stock" / str(row)),
        ]
        _run(command, environment)


def _bare() -> float:
    """Seconds of the same iterations and evaluations as loops over one batch, with nothing about them: as many side by
    side as ours trains."""
    shares = [[str(_config(row)) for row in range(ROWS)][first :: cores()] for first in range(cores())]
    running = [
        subprocess.Popen([sys.executable, "-W", "ignore", str(BARE), *share], stdout=subprocess.PIPE, text=True)
        for share in shares
        if share
    ]
    said = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        sys.exit("trials.py: a bare loop failed")
    return sum(sum(json.loads(text.splitlines()[-1])) for text in said) / len(running)


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: status {done.returncode}\n{done.stdout[-3000:]}")


def _config(row: int) -> Path:
    return OUT / "ours0" / "trials" / f"{row:05d}" / "config.py"


def _our_figures(number: int) -> list[float]:
    """Last mIoU of each row in percent, rounded as MMSegmentation does."""
    folder = OUT / f"ours{number}" / "trials"
    found = [json.loads((folder / f"{row:05d}" / "evaluation.json").read_text()) for row in range(ROWS)]
    return [round(100 * entry["metrics"]["mIoU"], 2) for entry in found]


def _stock_figures() -> list[float]:
    found = []
    for row in range(ROWS):
        (scalars,) = (OUT / "stock" / str(row)).glob("*/vis_data/scalars.json")
        lines = [json.loads(line) for line in scalars.read_text().splitlines()]
        found.append([line["mIoU"] for line in lines if "mIoU" in line][-1])
    return found


if __name__ == "__main__":
    main()
