"""Table 2 at full size on a GPU: vessel weights from DRIVE, then the paper's eleven rows on the paper's images.

The published HRF weights cannot be had everywhere. This trains UNet-S5-D16 with each head on DRIVE in their place,
starts every row from them, and writes one JSON document with the published figures beside.

    python benchmarks/gpu_table2.py --data ../shared/data --out runs/gpu --replicates 3
    python benchmarks/gpu_table2.py --data ../shared/data --out runs/rehearsal --rehearse     # CPU, minutes

DATA holds drive/ and duke-dme-256/. `--pretrained auto` takes the published weights instead, where they are reachable.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mmtuna.search.versions import machine, versions

ROOT = Path(__file__).resolve().parent.parent

VESSELS = """\
[study]
name = "drive-vessels"
folder = "{out}/vessels"
trials = {heads}
sampler = "grid"
pruner = "none"

[data]
root = "{data}/drive"
classes = ["background", "vessel"]
split = "random"

[model]
pretrained = "none"

[space.params.decoder]
choices = {decoders}

# As the base config's HRF training: crops of 256, batches of 4, flips and photometric distortion, SGD 0.01, poly.
[train]
input_size = {vessel_size}
crop = 256
flip = "both"
photometric = true
batch_size = 4
iterations = 3000
schedule = "poly"
foreground_weight = 3.0
inference = "slide"
evaluations = 3
{scale}

[resources]
devices = {devices}
"""

TABLE2 = """\
[study]
name = "duke-table2"
folder = "{out}/table2"
trials = 11
seed = 0
pruner = "none"
enqueue = ["table2"]

[data]
root = "{data}/duke-dme-256"
subjects = "subjects.csv"

[model]
pretrained = "{pretrained}"

[space]
preset = "paper"

[train]
evaluations = 4
{scale}

[resources]
devices = {devices}
keep_checkpoints = 2
"""

REHEARSAL = "base_channels = 4\nsize_scale = 0.125\niteration_scale = 0.01"


def mmtuna(*arguments: str) -> str:
    """Runs a command, its progress on our stderr; returns its stdout."""
    command = [sys.executable, "-m", "mmtuna", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: status {done.returncode}")
    return done.stdout


def gpu() -> str | None:
    """Name of the first GPU and its driver, or None."""
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().splitlines()[0]
    except (OSError, subprocess.CalledProcessError):
        return None


def figures(rows: list[dict[str, Any]], trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per row: the published figures, ours over the replicates, and each replicate's value and seconds."""
    kept = ("number", "label", "published_miou", "published_mdice", "published_fluid_iou")
    kept += ("n", "miou", "mdice", "class_iou", "note")
    found = []
    for row in rows:
        own = [trial for trial in trials if trial["table2"] == row["number"] and trial["state"] == "COMPLETE"]
        replicates = [
            {"seed": trial["seed"], "metrics": trial["metrics"], "seconds": trial["seconds"], "curve": trial["curve"]}
            for trial in own
        ]
        found.append({key: row[key] for key in kept} | {"replicates": replicates})
    return found


def main() -> None:
    """Runs the whole of it and writes OUT/table2.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--replicates", type=int, default=1)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--decoders", nargs="+", default=["fcn", "pspnet", "deeplabv3"])
    parser.add_argument("--pretrained", default=None, help="auto, or a path with {decoder}; DRIVE weights by default")
    parser.add_argument("--rehearse", action="store_true", help="small nets and images, a hundredth of the iterations")
    arguments = parser.parse_args()
    if gpu() is None and not arguments.rehearse:
        sys.exit("gpu_table2.py: no GPU here (nvidia-smi finds none), and at full size a CPU needs weeks; --rehearse")
    began = time.time()
    out, data = arguments.out.resolve(), arguments.data.resolve()
    out.mkdir(parents=True, exist_ok=True)
    scale = REHEARSAL if arguments.rehearse else ""
    # By name: a torch that does not see the GPU must not train on the CPU instead.
    devices = '["cpu"]' if arguments.rehearse else '["cuda:0"]'
    slots = ("--slots", str(arguments.slots))

    pretrained = arguments.pretrained
    vessels: list[dict[str, Any]] = []
    if pretrained is None:
        names = json.dumps(arguments.decoders)
        size = 592  # DRIVE's 565 x 584, to the next multiple of 16
        heads = len(arguments.decoders)
        text = VESSELS.format(
            out=out, data=data, decoders=names, heads=heads, scale=scale, vessel_size=size, devices=devices
        )
        (out / "vessels.toml").write_text(text)
        mmtuna("run", str(out / "vessels.toml"), *slots, "--json")
        vessels = json.loads(mmtuna("status", str(out / "vessels.toml"), "--json"))["trials"]
        collect = [sys.executable, "scripts/collect_weights.py", str(out / "vessels.toml"), str(out / "weights")]
        subprocess.run(collect, cwd=ROOT, check=True)
        pretrained = str(out / "weights" / "{decoder}.pth")

    # The grid's three decoders all need weights to begin; the rows themselves use PSPNet.
    spec = out / "table2.toml"
    spec.write_text(TABLE2.format(out=out, data=data, pretrained=pretrained, scale=scale, devices=devices))
    rows = json.loads(mmtuna("table2", str(spec), "--replicates", str(arguments.replicates), *slots, "--json"))
    status = json.loads(mmtuna("status", str(spec), "--json"))
    found = figures(rows, status["trials"])
    document = {
        "what": "Table 2 rehearsed small; the figures mean nothing" if arguments.rehearse else "Table 2 at full size",
        "command": "python " + " ".join(["benchmarks/gpu_table2.py", *sys.argv[1:]]),
        "machine": machine() | {"gpu": gpu()},
        "versions": versions(),
        "seconds": round(time.time() - began, 1),
        "vessels": [{"params": trial["params"], "metrics": trial["metrics"]} for trial in vessels],
        "best_miou": max((row["miou"]["mean"] for row in found if row["miou"]), default=None),
        "median_seconds_a_row": statistics.median(r["seconds"] for row in found for r in row["replicates"]),
        "rows": found,
    }
    (out / "table2.json").write_text(json.dumps(document, indent=1) + "\n")
    print(out / "table2.json")


if __name__ == "__main__":
    main()
