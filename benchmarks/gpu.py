"""What is to be known on a GPU, in one go: tests, packing, speed beside stock, Table 2 with replicates, a search.

    python benchmarks/gpu.py --data DATA --out runs/gpu                  # one GPU, at most 25 minutes
    python benchmarks/gpu.py --data DATA --out runs/small --rehearse     # a CPU, small, to see that it runs

DATA holds drive/ and duke-dme-256/ (see benchmarks/README.md). The published HRF weights cannot be had everywhere: the
UNet is trained on DRIVE with each head in their place, and every row starts from it; `--pretrained auto` takes the
published ones. The parts follow one another, each with its share of `--minutes`; what a part has come to is written
into RESULT at once, and the same command goes on with the parts that are missing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmtuna.search.versions import machine, versions  # noqa: E402
from mmtuna.spaces.files import write_json_whole  # noqa: E402
from mmtuna.spaces.table2 import TABLE2  # noqa: E402

BARE = ROOT / "benchmarks" / "speed" / "bare.py"
TFLOP = {512: 2.4, 320: 0.96}
"""Of one iteration of the paper's UNet with batches of 2, by the side of its images: forward and backward."""
PACKINGS = (("exact", 11), ("auto", 11), ("mps", 11), ("auto", 6), ("exact", 4), ("exact", 1))
"""`[train] speed` and trials at the same time, what matters most first; "mps" is "auto" under NVIDIA's MPS."""
ROWS_OF_STOCK = (0, 8)
"""Rows of Table 2 whose nets are looked at, and that stock trains unless --stock-rows says more: 200 iterations of 512,
400 with crops of 320."""

HEAD = """\
[study]
name = "{name}"
folder = "{out}/{name}"
trials = {trials}
{study}

[data]
root = "{data}"
{split}

[model]
pretrained = "{pretrained}"

[resources]
devices = ["{device}"]
{resources}

[space]
{space}

[train]
{scale}
"""
# As the base config's HRF training: crops of 256, batches of 4, flips and photometric distortion, SGD 0.01, poly.
VESSELS = """\
input_size = 592
crop = 256
flip = "both"
photometric = true
batch_size = 4
iterations = 3000
schedule = "poly"
foreground_weight = 3.0
inference = "slide"
evaluations = 1
"""
REHEARSAL = "base_channels = 4\nsize_scale = 0.125\niteration_scale = 0.02\n"


@dataclass
class Bench:
    """The options, and the document that grows part by part."""

    options: argparse.Namespace
    document: dict[str, Any]
    began: float

    @property
    def out(self) -> Path:
        return self.options.out.resolve()

    @property
    def result(self) -> Path:
        return self.out / "gpu.json"

    @property
    def device(self) -> str:
        # By name: a torch that does not see the GPU must not train on the CPU instead.
        return "cpu" if self.options.rehearse else "cuda:0"

    def left(self) -> float:
        """Seconds of the budget."""
        return self.options.minutes * 60 - (time.monotonic() - self.began)

    def note(self, **found: Any) -> None:
        """Adds to the document and writes it."""
        self.document |= found
        write_json_whole(self.result, self.document)

    def spec(self, name: str, data: str, *, train: str = "", pretrained: str | None = None, **parts: Any) -> Path:
        """Writes the spec of a study of that name and returns its path."""
        scale = train + (REHEARSAL if self.options.rehearse else "")
        given = {"study": "", "split": 'split = "random"', "resources": "", "space": "", "trials": 1} | parts
        path = self.out / f"{name}.toml"
        path.write_text(
            HEAD.format(
                name=name,
                out=self.out,
                data=self.options.data.resolve() / data,
                pretrained=pretrained or self.weights(),
                device=self.device,
                scale=scale,
                **given,
            )
        )
        return path

    def weights(self) -> str:
        """`[model] pretrained` of all that follows the vessels."""
        return self.options.pretrained or str(self.out / "weights" / "{decoder}.pth")


def main() -> None:
    """Runs the parts that the result lacks, as far as the time goes."""
    options = _options()
    if _gpu() is None and not options.rehearse:
        sys.exit("gpu.py: no GPU here (nvidia-smi finds none), and at full size a CPU needs weeks; --rehearse")
    bench = Bench(options, {}, time.monotonic())
    bench.out.mkdir(parents=True, exist_ok=True)
    if bench.result.exists():
        bench.document = json.loads(bench.result.read_text(encoding="utf-8"))
    bench.note(
        what="a rehearsal on a CPU; its figures mean nothing" if options.rehearse else "the paper's images on one GPU",
        command="python " + " ".join(["benchmarks/gpu.py", *sys.argv[1:]]),
        machine=machine() | {"gpu": _gpu()},
        versions=versions(),
    )
    for name, part in PARTS.items():
        if name in bench.document or (name == "vessels" and options.pretrained):
            continue
        if bench.left() < 30:
            print(f"gpu.py: the time is over before {name}; the same command goes on there", flush=True)
            break
        begun = time.monotonic()
        try:
            found = part(bench)
        except PartError as error:
            found = {"failed": str(error)}
        bench.note(**{name: found | {"seconds_of_this_part": round(time.monotonic() - begun, 1)}})
        print(name, json.dumps(bench.document[name])[:600], flush=True)
    print(bench.result)


class PartError(RuntimeError):
    """A part that did not come to its end; the others go on."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=25.0, help="in all")
    parser.add_argument("--replicates", type=int, default=3, help="trainings of each row of Table 2")
    parser.add_argument("--trials", type=int, default=60, help="of the extended search")
    parser.add_argument("--pretrained", default=None, help="auto, or a path with {decoder}; DRIVE's by default")
    parser.add_argument("--packings", type=int, help="of those that are tried, the first so many")
    parser.add_argument(
        "--stock-rows",
        type=_numbers,
        default=ROWS_OF_STOCK,
        help="rows of Table 2 from 0 on that stock trains, by comma",
    )
    parser.add_argument("--rehearse", action="store_true", help="small nets and images, few iterations, on the CPU")
    return parser.parse_args()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _gpu() -> str | None:
    """Name, driver and memory of the first GPU, None where there is none."""
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def _call(bench: Bench, *words: str, share: float = 1.0, environment: dict[str, str] | None = None) -> str:
    """Runs a Python program for at most that share of the time left; its stdout."""
    allowed = max(20.0, share * bench.left())
    with (bench.out / "log.txt").open("a") as log:
        try:
            done = subprocess.run(
                [sys.executable, *words],
                cwd=ROOT,
                env={**os.environ, "MMTUNA_CACHE": str(bench.out / "cache"), **(environment or {})},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                timeout=allowed,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PartError(f"{' '.join(words)}: not done in {allowed:.0f} s") from None
    if done.returncode:
        raise PartError(f"{' '.join(words)}: status {done.returncode}; see {bench.out / 'log.txt'}")
    return done.stdout


def _mmtuna(bench: Bench, *words: str, share: float = 1.0, environment: dict[str, str] | None = None) -> str:
    return _call(bench, "-m", "mmtuna", *words, share=share, environment=environment)


def _trials(bench: Bench, spec: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_mmtuna(bench, "status", str(spec), "--json"))["trials"]
    return found


def tests(bench: Bench) -> dict[str, Any]:
    """The tests that need a GPU; what pytest says of them."""
    if bench.options.rehearse:
        return {"said": "they need a GPU"}
    said = _call(bench, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", "tests/objectives/trial")
    return {"said": said.strip().splitlines()[-1]}


def vessels(bench: Bench) -> dict[str, Any]:
    """The nets that all else starts from: each head on DRIVE, side by side."""
    spec = bench.spec(
        "vessels",
        "drive",
        pretrained="none",
        trials=3,
        study='sampler = "grid"\npruner = "none"',
        split='split = "random"\nclasses = ["background", "vessel"]',
        space='[space.params.decoder]\nchoices = ["fcn", "pspnet", "deeplabv3"]',
        train=VESSELS,
    )
    _mmtuna(bench, "run", str(spec), "--slots", "3", share=0.4)
    _call(bench, "scripts/collect_weights.py", str(spec), str(bench.out / "weights"))
    return {"trials": [{key: trial[key] for key in ("params", "metrics", "seconds")} for trial in _trials(bench, spec)]}


def _table2_spec(bench: Bench, name: str, **more: Any) -> Path:
    return bench.spec(
        name,
        "duke-dme-256",
        trials=len(TABLE2),
        study='pruner = "none"\nenqueue = ["table2"]',
        split='subjects = "subjects.csv"',
        space='preset = "paper"',
        **({"train": "evaluations = 4\n"} | more),
    )


def packing(bench: Bench) -> dict[str, Any]:
    """All eleven rows so many at a time: seconds of `mmtuna check`, and of `mmtuna run` from its start to its end, the
    measurement of its speed among them. The rates are of both together."""
    found: dict[str, dict[str, Any]] = {"exact": {}, "auto": {}, "mps": {}}
    packings = PACKINGS if not bench.options.rehearse else [(speed, 2) for speed in ("exact", "auto")]
    for speed, slots in packings[: bench.options.packings]:
        try:
            found[speed][str(slots)] = _packed(bench, speed, slots)
        except PartError as error:
            found[speed][str(slots)] = {"failed": str(error)}
        bench.note(packing_so_far=found)
    bench.document.pop("packing_so_far", None)
    tried = {speed: several for speed, several in found.items() if several}
    return found | {"best": {speed: max(several, key=lambda n: _rate(several[n])) for speed, several in tried.items()}}


def _packed(bench: Bench, speed: str, slots: int) -> dict[str, Any]:
    train = f'evaluations = 4\nspeed = "{"auto" if speed == "mps" else speed}"\n'
    spec = _table2_spec(bench, f"{speed}{slots}", train=train)
    with _mps(bench) if speed == "mps" else contextlib.nullcontext({}) as environment:
        began = time.monotonic()
        _mmtuna(bench, "check", str(spec), share=0.4, environment=environment)
        checked = time.monotonic()
        _mmtuna(bench, "run", str(spec), "--slots", str(slots), share=0.4, environment=environment)
        ended = time.monotonic()
    mious = [trial["metrics"]["mIoU"] for trial in sorted(_trials(bench, spec), key=lambda trial: trial["number"])]
    return {
        "check_seconds": round(checked - began, 1),
        "run_seconds": round(ended - checked, 1),
        "trials_an_hour": round(3600 * len(TABLE2) / (ended - began), 1),
        "mious": [round(100 * miou, 2) for miou in mious],
    }


@contextlib.contextmanager
def _mps(bench: Bench) -> Iterator[dict[str, str]]:
    """The environment of an MPS of this benchmark's own, by which processes compute on the GPU at the same time."""
    control = shutil.which("nvidia-cuda-mps-control")
    if control is None:
        raise PartError("nvidia-cuda-mps-control is not there")
    folders = {name: str(bench.out / name) for name in ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY")}
    for folder in folders.values():
        Path(folder).mkdir(exist_ok=True)
    subprocess.run([control, "-d"], env=os.environ | folders, check=True)
    try:
        yield folders
    finally:
        subprocess.run([control], input="quit\n", text=True, env=os.environ | folders, check=False, timeout=60)


def _rate(found: dict[str, Any]) -> float:
    return float(found.get("trials_an_hour", 0.0))


def beside_stock(bench: Bench) -> dict[str, Any]:
    """Rows by stock tools/train.py from the config.py that ours left, one after another.

    Of rows that it does not train the last one's time stands: but for two, whose images are larger, their crops are as
    large or smaller.
    """
    import mmseg

    train = str(Path(mmseg.__file__).parent / ".mim" / "tools" / "train.py")
    trials = _packed_trials(bench)
    rows: list[dict[str, Any]] = []
    for row in bench.options.stock_rows:
        folder = bench.out / "stock" / str(row)
        shutil.rmtree(folder, ignore_errors=True)
        config = trials / f"{row:05d}" / "config.py"
        began = time.monotonic()
        visible = {} if not bench.options.rehearse else {"CUDA_VISIBLE_DEVICES": ""}
        _call(bench, "-W", "ignore", train, str(config), "--work-dir", str(folder), environment=visible)
        seconds = time.monotonic() - began
        ours = json.loads((trials / f"{row:05d}" / "evaluation.json").read_text())["metrics"]["mIoU"]
        rows.append(
            {
                "row": row + 1,
                "stock_seconds": round(seconds, 1),
                "stock_miou": max(_stock_mious(folder), key=lambda found: found[0])[1],
                "our_miou": round(100 * ours, 2),
            }
        )
        bench.note(beside_stock_so_far=rows)
    bench.document.pop("beside_stock_so_far", None)
    seconds = [row["stock_seconds"] for row in rows]
    stock = 3600 * len(TABLE2) / (sum(seconds) + (len(TABLE2) - len(seconds)) * seconds[-1])
    ours = {
        f"{speed}, {slots} at a time": round(_rate(bench.document["packing"][speed][slots]) / stock, 2)
        for speed, slots in bench.document["packing"]["best"].items()
    }
    return {"rows": rows, "stock_trials_an_hour": round(stock, 1), "ours_to_stock": ours}


def _stock_mious(folder: Path) -> Iterator[tuple[int, float]]:
    (scalars,) = folder.glob("*/vis_data/scalars.json")
    for line in scalars.read_text().splitlines():
        entry = json.loads(line)
        if "mIoU" in entry:
            yield entry["step"], entry["mIoU"]


def limit(bench: Bench) -> dict[str, Any]:
    """The bare loop of two rows' nets, stock's and ours at both speeds, and how far it is from what the card can do."""
    trials = _packed_trials(bench)
    fast = bench.out / f"auto{_best_slots(bench, 'auto')}.toml"
    chosen = next((trial["speed"] for trial in _trials(bench, fast) if trial["speed"]), {}) if fast.exists() else {}
    found: dict[str, Any] = {"auto": chosen}
    for row in ROWS_OF_STOCK:
        side, config = 512 if TABLE2[row].crop == "none" else 320, str(trials / f"{row:05d}" / "config.py")
        for name, words in {"stock": (), "exact": ("--speed", "{}"), "auto": ("--speed", json.dumps(chosen))}.items():
            text = _call(bench, "-W", "ignore", str(BARE), *words, config)
            seconds = json.loads(text.splitlines()[-1])[0]
            rate = round(TFLOP[side] / seconds["iteration"], 1)
            found[f"{side}, {name}"] = seconds | {"tflop_a_second": rate}
    return found


def table2(bench: Bench) -> dict[str, Any]:
    """Every row with replicates, with the published figures beside."""
    spec = _table2_spec(bench, "table2", resources="keep_checkpoints = 2")
    words = ("--replicates", str(bench.options.replicates), "--slots", _best_slots(bench), "--json")
    rows = json.loads(_mmtuna(bench, "table2", str(spec), *words, share=0.6))
    seconds = [trial["seconds"] for trial in _trials(bench, spec) if trial["seconds"]]
    return {"rows": rows, "median_seconds_a_trial": statistics.median(seconds)}


def search(bench: Bench) -> dict[str, Any]:
    """The extended preset, as far as the time goes."""
    spec = bench.spec(
        "search",
        "duke-dme-256",
        trials=bench.options.trials,
        study=f"hours = {max(bench.left() - 60, 30) / 3600:.4f}",
        split='subjects = "subjects.csv"',
        space='preset = "extended"',
        train='evaluations = 5\nspeed = "auto"\n',
    )
    _mmtuna(bench, "run", str(spec), "--slots", _best_slots(bench, "auto"))
    kept = ("number", "state", "value", "params", "seconds", "metrics")
    trials = [{key: trial.get(key) for key in kept} for trial in _trials(bench, spec)]
    return {"best": max((trial["value"] or 0.0 for trial in trials), default=None), "trials": trials}


def _packed_trials(bench: Bench) -> Path:
    """The eleven trials of the quickest packing: those of one that was not done in time may lack rows."""
    slots = _best_slots(bench)
    if not _rate(bench.document["packing"]["exact"][slots]):
        raise PartError("no packing came to its end, so there are no configs to train")
    return bench.out / f"exact{slots}" / "trials"


def _best_slots(bench: Bench, speed: str = "exact") -> str:
    return str(bench.document.get("packing", {}).get("best", {}).get(speed, 1))


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "tests": tests,
    "vessels": vessels,
    "packing": packing,
    "beside_stock": beside_stock,
    "limit": limit,
    "table2": table2,
    "search": search,
}

if __name__ == "__main__":
    main()
