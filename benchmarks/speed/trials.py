"""Trials an hour: `mmtuna run` beside stock MMSegmentation's tools/train.py, one process after another.

Table 2's rows on the paper's images, but for the focal loss, which stock does not compute on a CPU, with a small net,
three ways: stock, `speed = "exact"` and `speed = "auto"`, in turns (A B C C B A). Stock trains the very config.py that
the first trials leave, with the same iterations and evaluations, once more with one thread, as a trial has: then the
figures have to be equal.

    python benchmarks/speed/trials.py --data DATA/duke-dme-256

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
from functools import partial
from pathlib import Path
from typing import Any

import mmseg

import mmtuna
from mmtuna.objectives.devices import cores
from mmtuna.search.versions import machine, versions
from mmtuna.spaces.presets import paper
from mmtuna.spaces.table2 import TABLE2
from mmtuna.studies.standing import params_key

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "runs" / "speed"
RESULT = ROOT / "benchmarks" / "results" / "speed-trials.json"
TRAIN = Path(mmseg.__file__).parent / ".mim" / "tools" / "train.py"
BARE = Path(__file__).with_name("bare.py")
TRIED = [row.params(paper()) for row in TABLE2 if row.loss != "focal"]
ROWS = len(TRIED)
SIDES = ("stock", "exact", "auto")
PARTS = ("iterations", "loading", "evaluations", "the rest")
SPEC = """\
[study]
name = "speed"
folder = "{folder}"
trials = {rows}
pruner = "none"
[data]
root = "{data}"
subjects = "subjects.csv"
[model]
pretrained = "none"
[space]
preset = "paper"
start = [{start}]
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
_LOSS = re.compile(r"Iter\(train\).*?  loss: (.*)")
_EVALUATED = re.compile(r"Iter\(val\) \[(\d+)/\d+\] .*data_time: ([\d.]+)  time: ([\d.]+)")


def main() -> None:
    """Measures all sides in turn, as far as it is not done already, and writes the result."""
    options = _options()
    if options.anew:
        shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True, exist_ok=True)
    if not (OUT / "ours0" / "report.html").exists():
        _ours(options, "exact", 0)  # leaves the configs; everything is read from the disk once
    turns = list(enumerate((*SIDES, *reversed(SIDES)), start=1))
    rounds: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number, side in turns:
        call = partial(_stock, f"stock{number}") if side == "stock" else partial(_ours, options, side, number)
        rounds[side].append(_measured(f"{number} {side}", call))
    trained = ROWS * options.seeds
    if len(_logs("alone")) < trained:
        _stock("alone", threads=1)
    seconds = {side: statistics.median(found["seconds"] for found in measured) for side, measured in rounds.items()}
    last = {side: number for number, side in turns}
    logs = {side: _logs(f"stock{number}" if side == "stock" else f"ours{number}") for side, number in last.items()}
    parts = {side: _parts(logs[side], seconds[side], 1 if side == "stock" else cores()) for side in SIDES}
    logs["stock, one thread"] = _logs("alone")
    figures = {side: _figures(of_side) for side, of_side in logs.items()}
    losses = {side: [loss for log in of_side for loss in _LOSS.findall(log)] for side, of_side in logs.items()}
    chosen = next(row.speed for row in mmtuna.trials(OUT / f"ours{last['auto']}.toml"))
    speeds = {"stock": None, "exact": {}, "auto": dict(chosen or {})}
    bare = {side: _bare(speed) for side, speed in speeds.items()}
    document = {
        "what": f"{ROWS} rows of Table 2 (not the focal loss) with {options.seeds} seeds each, {options.channels} "
        f"channels, a quarter of every side, {options.share:g} of the iterations, 4 evaluations each, on the paper's "
        "images",
        "command": " ".join(["python", "benchmarks/speed/trials.py", *sys.argv[1:]]),
        "machine": machine(),
        "versions": versions(),
        "rounds": rounds,
        "trials_an_hour": {side: round(trained * 3600 / found, 1) for side, found in seconds.items()},
        "to_stock": {side: round(seconds["stock"] / seconds[side], 2) for side in SIDES[1:]},
        "last_miou_in_percent": figures,
        "largest_difference_to_stock_with_one_thread": {
            side: round(max(abs(a - b) for a, b in zip(figures[side], figures["stock, one thread"], strict=True)), 2)
            for side in SIDES
        },
        # Of nets that have found no fluid yet all figures are the same; the losses are not.
        "logged_losses_as_stock_with_one_thread": {
            side: f"{sum(a == b for a, b in zip(losses[side], losses['stock, one thread'], strict=True))} of "
            f"{len(losses[side])}"
            for side in SIDES
        },
        "auto_chose": speeds["auto"],
        "bare_loop_seconds": {side: round(found, 1) for side, found in bare.items()},
        "to_bare_loop": {side: round(seconds[side] / bare[side], 2) for side in SIDES},
        "seconds_of_the_machine_a_trial": parts,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    _draw(parts, bare["exact"] / trained)
    print(json.dumps({key: document[key] for key in ("trials_an_hour", "to_stock", "to_bare_loop")}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="the paper's images, as `mmtuna data chiu2015` has them"
    )
    parser.add_argument("--channels", type=int, default=8, help="base channels of the UNet, 64 in the paper")
    parser.add_argument("--share", type=float, default=0.25, help="of the paper's iterations")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each row")
    parser.add_argument("--anew", action="store_true", help="not on from where it was stopped")
    return parser.parse_args()


def _measured(name: str, call: Callable[[], None]) -> dict[str, float]:
    """Wall and CPU seconds of a call and the processes that it waits for, or what they were before it was stopped."""
    kept = OUT / "measured.json"
    known: dict[str, dict[str, float]] = json.loads(kept.read_text()) if kept.exists() else {}
    if name not in known:
        known[name] = _seconds(call)
        kept.write_text(json.dumps(known))
        print(name, known[name], flush=True)
    return known[name]


def _seconds(call: Callable[[], None]) -> dict[str, float]:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    call()
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}


def _ours(options: argparse.Namespace, speed: str, number: int) -> None:
    folder = OUT / f"ours{number}"
    spec = folder.with_suffix(".toml")
    start = ", ".join(
        "{ " + ", ".join(f"{name} = {json.dumps(value)}" for name, value in params.items()) + " }" for params in TRIED
    )
    given = {"data": options.data.resolve(), "channels": options.channels, "share": options.share, "start": start}
    spec.write_text(SPEC.format(folder=folder, rows=ROWS, speed=speed, **given))
    # A cache of its own: what a probe came to is not remembered from the round before.
    environment = {**os.environ, "MMTUNA_CACHE": str(OUT / f"cache{number}")}
    again = ["--replicates", str(options.seeds), "--top", str(ROWS)] if options.seeds > 1 else []
    _run([sys.executable, "-m", "mmtuna", "run", str(spec), "--slots", str(cores()), *again], environment)


def _stock(name: str, threads: int | None = None) -> None:
    shutil.rmtree(OUT / name, ignore_errors=True)
    environment = dict(os.environ) | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    for config in _configs():
        folder = OUT / name / config.parent.name
        _run([sys.executable, "-W", "ignore", str(TRAIN), str(config), "--work-dir", str(folder)], environment)


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: status {done.returncode}\n{done.stdout[-3000:]}")


def _configs() -> list[Path]:
    """The configs of all trainings, as the first study of ours has left them."""
    return sorted((OUT / "ours0" / "trials").glob("*/config.py"))


def _logs(name: str) -> list[str]:
    """What the trainings of one round have written, in the order of `_configs`."""
    if not name.startswith("ours"):
        return [path.read_text() for path in sorted((OUT / name).glob("*/*/*.log"))]
    # Which config is trained again first depends on how well it did.
    places = {key: place for place, key in enumerate(_keys("ours0"))}
    ordered = sorted((places[key], number) for number, key in enumerate(_keys(name)))
    return [(OUT / name / "trials" / f"{number:05d}" / "train.log").read_text() for _, number in ordered]


def _keys(name: str) -> list[tuple[str, int]]:
    """Params and replicate of each trial of a study of ours."""
    return [(params_key(row.params), row.replicate) for row in mmtuna.trials(OUT / f"{name}.toml")]


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
    found = {part: value / side_by_side / len(logs) for part, value in found.items()}
    found["the rest"] = seconds / len(logs) - sum(found.values())
    return {part: round(value, 3) for part, value in found.items()}


def _bare(speed: Mapping[str, Any] | None) -> float:
    """Seconds of the same iterations and evaluations as loops over one batch, with nothing about them: as many side by
    side as ours trains. With stock's operators, or with ours at that speed."""
    configs = list(map(str, _configs()))
    words = [] if speed is None else ["--speed", json.dumps(speed)]
    running = [
        subprocess.Popen([sys.executable, "-W", "ignore", str(BARE), *words, *share], stdout=subprocess.PIPE, text=True)
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
    axes.axvline(bare, color="black", linewidth=1, linestyle="--", label="bare loop, exact")
    axes.invert_yaxis()
    axes.set_xlabel("seconds of the machine a trial")
    axes.legend(frameon=False, fontsize=8, ncols=5, loc="lower center", bbox_to_anchor=(0.45, 1.0))
    figure.tight_layout()
    figure.savefig(RESULT.with_suffix(".svg"))


if __name__ == "__main__":
    main()
