"""Trials an hour: `mmtuna run` beside stock MMSegmentation's tools/train.py, one process after another.

Table 2's eleven rows on the paper's images, with a small net on a CPU, three ways: stock, `speed = "exact"` and
`speed = "auto"`, in turns (A B C C B A). Stock trains the very config.py that the first trials leave, with the same
iterations and evaluations, once more with one thread, as a trial has: then the figures have to be equal.

    python benchmarks/speed/trials.py --data ../shared/data/duke-dme-256

Writes benchmarks/results/speed-trials.json, and where the seconds go as speed-trials.svg beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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
SIDES = ("stock", "exact", "auto")
PARTS = ("iterations", "loading", "evaluations", "the rest")
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
speed = "{speed}"
[resources]
devices = ["cpu"]
"""
_TRAINED = re.compile(r"Iter\(train\) \[ *(\d+)/\d+\].* time: ([\d.]+)  data_time: ([\d.]+)")
_EVALUATED = re.compile(r"Iter\(val\) \[(\d+)/\d+\] .*data_time: ([\d.]+)  time: ([\d.]+)")


def main() -> None:
    """Measures all sides in turn and writes the result."""
    options = _options()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    _ours(options, "exact", 0)  # leaves the configs; everything is read from the disk once
    rounds: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number, side in enumerate((*SIDES, *reversed(SIDES)), start=1):
        call = (lambda: _stock(None)) if side == "stock" else (lambda s=side, n=number: _ours(options, s, n))
        rounds[side].append(_measured(call))
        print(side, rounds[side][-1], flush=True)
    logs = {"stock": _logs_of_stock(), "exact": _logs_of_ours(2), "auto": _logs_of_ours(3)}
    seconds = {side: statistics.median(found["seconds"] for found in measured) for side, measured in rounds.items()}
    parts = {side: _parts(logs[side], seconds[side], 1 if side == "stock" else cores()) for side in SIDES}
    alone = _measured(lambda: _stock(1))
    figures = {"stock": _figures(_logs_of_stock()), "exact": _figures(logs["exact"]), "auto": _figures(logs["auto"])}
    bare = _bare()
    document = {
        "what": f"Table 2's {ROWS} rows, {options.channels} channels, a quarter of every side, "
        f"{options.share:g} of the iterations, 4 evaluations each, on the paper's images",
        "command": " ".join(["python", "benchmarks/speed/trials.py", *sys.argv[1:]]),
        "machine": machine(),
        "versions": versions(),
        "rounds": rounds | {"stock with one thread": [alone]},
        "trials_an_hour": {side: round(ROWS * 3600 / found, 1) for side, found in seconds.items()},
        "to_stock": {side: round(seconds["stock"] / seconds[side], 2) for side in SIDES[1:]},
        "last_miou_in_percent": figures,
        "largest_difference_to_stock_with_one_thread": {
            side: max(abs(a - b) for a, b in zip(figures[side], figures["stock"], strict=True)) for side in SIDES[1:]
        },
        "bare_loop_seconds": round(bare, 1),
        "to_bare_loop": {side: round(seconds[side] / bare, 2) for side in SIDES[1:]},
        "seconds_of_the_machine_a_trial": parts,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    _draw(parts, bare / ROWS)
    print(json.dumps({key: document[key] for key in ("trials_an_hour", "to_stock", "to_bare_loop")}))


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


def _ours(options: argparse.Namespace, speed: str, number: int) -> None:
    folder = OUT / f"ours{number}"
    spec = folder.with_suffix(".toml")
    given = {"data": options.data.resolve(), "channels": options.channels, "share": options.share}
    spec.write_text(SPEC.format(folder=folder, rows=ROWS, speed=speed, **given))
    # A cache of its own: what a probe came to is not remembered from the round before.
    environment = {**os.environ, "MMTUNA_CACHE": str(OUT / f"cache{number}")}
    _run([sys.executable, "-m", "mmtuna", "run", str(spec), "--slots", str(cores())], environment)


def _stock(threads: int | None) -> None:
    shutil.rmtree(OUT / "stock", ignore_errors=True)
    environment = dict(os.environ) | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    for row in range(ROWS):
        config = OUT / "ours0" / "trials" / f"{row:05d}" / "config.py"
        folder = OUT / "stock" / str(row)
        _run([sys.executable, "-W", "ignore", str(TRAIN), str(config), "--work-dir", str(folder)], environment)


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: status {done.returncode}\n{done.stdout[-3000:]}")


def _logs_of_ours(number: int) -> list[str]:
    return [(OUT / f"ours{number}/trials/{row:05d}/train.log").read_text() for row in range(ROWS)]


def _logs_of_stock() -> list[str]:
    return [next((OUT / "stock" / str(row)).glob("*/*.log")).read_text() for row in range(ROWS)]


def _figures(logs: Sequence[str]) -> list[float]:
    """Last mIoU of each row in percent, as MMSegmentation rounds it."""
    return [float(re.findall(r"Iter\(val\).* mIoU: ([\d.]+)", log)[-1]) for log in logs]


def _parts(logs: Sequence[str], seconds: float, side_by_side: int) -> dict[str, float]:
    """Where a trial's share of the machine's time goes, on average: what MMEngine logs, and all the rest.

    It logs means of the last iterations, which a trial of several evaluations resets: a window is as long as it says.
    """
    training = loading = evaluating = 0.0
    for log in logs:
        before = 0
        for done, whole, data in _TRAINED.findall(log):
            training += (int(done) - before) * (float(whole) - float(data))
            loading += (int(done) - before) * float(data)
            before = int(done)
        evaluating += sum(int(images) * float(whole) for images, _, whole in _EVALUATED.findall(log))
    found = dict(zip(PARTS, (training, loading, evaluating), strict=False))
    found = {part: value / side_by_side / ROWS for part, value in found.items()}
    found["the rest"] = seconds / ROWS - sum(found.values())
    return {part: round(value, 3) for part, value in found.items()}


def _bare() -> float:
    """Seconds of the same iterations and evaluations as loops over one batch, with nothing about them: as many side by
    side as ours trains."""
    configs = [str(OUT / "ours0" / "trials" / f"{row:05d}" / "config.py") for row in range(ROWS)]
    running = [
        subprocess.Popen([sys.executable, "-W", "ignore", str(BARE), *share], stdout=subprocess.PIPE, text=True)
        for share in (configs[first :: cores()] for first in range(cores()))
        if share
    ]
    said = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        sys.exit("trials.py: a bare loop failed")
    found = [entry["seconds"] for text in said for entry in json.loads(text.splitlines()[-1])]
    return sum(found) / len(running)


def _draw(parts: Mapping[str, Mapping[str, float]], bare: float) -> None:
    """A bar a side, stacked by part, with the bare loop as a line."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 2.6))
    left = dict.fromkeys(parts, 0.0)
    for part, colour in zip(PARTS, ("#2b6cb0", "#63b3ed", "#ed8936", "#a0aec0"), strict=True):
        widths = [parts[side][part] for side in parts]
        names = [side if side == "stock" else f'speed = "{side}"' for side in parts]
        axes.barh(names, widths, left=list(left.values()), label=part, color=colour)
        left = {side: left[side] + parts[side][part] for side in parts}
    axes.axvline(bare, color="black", linewidth=1, linestyle="--", label="bare loop")
    axes.invert_yaxis()
    axes.set_xlabel("seconds of the machine a trial")
    axes.legend(frameon=False, fontsize=8, ncols=5, loc="lower center", bbox_to_anchor=(0.45, 1.0))
    figure.tight_layout()
    figure.savefig(RESULT.with_suffix(".svg"))


if __name__ == "__main__":
    main()
