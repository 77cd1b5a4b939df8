"""Records random trials of the extended preset, trained to their end, which `mmtuna replay` searches.

Three sets: the paper's images, the vessels of DRIVE, synthetic eyes. On each the same params, of which a portfolio can
be chosen, and then others of its own, drawn by a seed of its own, so that a set can be searched whose trials no other
set knows. Some of both are trained once more, with another seed: what seeds change says how far one training can be
trusted. Leaves recorded/NAME.jsonl beside this file, a line a trial. Stop it at any time; the same command goes on with
what no line is there for.

    python benchmarks/search/record.py --data DATA --only duke,drive,phantom --trials 102 --own 58 --again 12
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import optuna
from contests import HERE, ROOT, SETS, names_of
from optuna.samplers import RandomSampler

from mmtuna.objectives.recorded import load_recorded
from mmtuna.search.quiet import quiet_optuna
from mmtuna.search.trials.conclude import has_collapsed
from mmtuna.spaces.parameter import Params
from mmtuna.studies.spec import StudySpec

ROUND = 20
"""Trials of a set before it is the next one's turn: stopped half-way, all sets have about as many."""
RECORDED = HERE / "recorded"
AGAIN = 2000
"""The first seed of the trainings that are done once more: beyond those of the specs."""


def main() -> None:
    """Records in rounds until every set has its trials."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = {name: _params(name, options) for name in options.only}
    total = options.trials + options.own
    for trials in (*range(ROUND, total, ROUND), total):
        for name in options.only:
            trained = trained_on(name)
            record(name, [params for params in wanted[name][:trials] if params not in trained], options)
    for name in options.only:
        again = _spread(name, options.again) if options.again else []
        trained = trained_on(name)
        record(name, [params for params in again if trained.count(params) < 2], options, seed=AGAIN)
        _tell(name)


def record(
    name: str, lacks: list[Params], options: argparse.Namespace, seed: int | None = None, folder: Path = RECORDED
) -> None:
    """Trains what is lacking of a set, by the spec's seeds or from another one on, and records it in `folder`."""
    if not lacks:
        return
    # All that is kept of a study is its lines: each round is one of its own, on any machine.
    shutil.rmtree(options.out / name, ignore_errors=True)
    command = [sys.executable, "-m", "mmtuna", "run", str(_spec(name, lacks, options, seed))]
    command += ["--record", str(_recorded(name, folder)), "--slots", str(options.slots)]
    _run([*command, "--trials", str(len(lacks))])


def _spread(name: str, count: int) -> list[Params]:
    """So many of a set's configs that found something, or fewer: over the ranks of their first trainings, more densely
    among the best, of which a search chooses."""
    first: list[tuple[float, Params]] = []
    for trial in load_recorded(_recorded(name)):
        ends = trial.curve[-1] if trial.curve and trial.cause is None else None
        if ends is not None and not has_collapsed(ends) and all(trial.params != params for _, params in first):
            first.append((ends.metrics["mIoU"], trial.params))
    first.sort(key=lambda pair: -pair[0])
    shares = ((place / max(1, count - 1)) ** 2 for place in range(count))
    return [first[place][1] for place in sorted({round(share * (len(first) - 1)) for share in shares})]


def _run(command: list[str]) -> None:
    """Runs the command to its end; SIGTERM is passed on to it, that trials may be put back, and ends this too."""
    with subprocess.Popen(command) as running:
        before = signal.signal(signal.SIGTERM, lambda *_: running.terminate())
        status = running.wait()
        signal.signal(signal.SIGTERM, before)
    if status:
        sys.exit(status)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="holds duke-dme-256/ and drive/, see benchmarks/README"
    )
    parser.add_argument(
        "--only", type=names_of("set", SETS), default=SETS, help="names of the sets by comma; all by default"
    )
    parser.add_argument("--trials", type=int, default=120, help="of each set, of the same params")
    parser.add_argument("--own", type=int, default=0, help="further ones of each set, of other params on each")
    parser.add_argument("--again", type=int, default=0, help="configs of each set that are trained once more")
    parser.add_argument("--slots", type=int, default=2, help="trials at the same time, a core each")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "search", help="folder of the studies")
    return parser.parse_args()


def _params(name: str, options: argparse.Namespace) -> list[Params]:
    """What is to be trained on a set: the params that all sets share, and as many of its own as are asked for."""
    known, found = [trained_on(other) for other in SETS], list[Params]()
    for params in (params for trained in known for params in trained if all(params in other for other in known)):
        found += [] if params in found else [params]
    found = found[: options.trials]
    _draw(found, options.trials, seed=0)
    _draw(found, options.trials + options.own, seed=1 + SETS.index(name))
    return found


@quiet_optuna()
def _draw(found: list[Params], count: int, seed: int) -> None:
    """Draws of the space until there are so many; a seed counts on from the spec's."""
    spec = StudySpec.load(HERE / f"{SETS[0]}.toml")
    space, study = spec.search_space(), optuna.create_study(sampler=RandomSampler(seed=spec.study.seed + seed))
    while len(found) < count:
        params = space.suggest(study.ask())
        found += [] if params in found else [params]


def trained_on(name: str, folder: Path = RECORDED) -> list[Params]:
    path = _recorded(name, folder)
    return [trial.params for trial in load_recorded(path)] if path.exists() else []


def _spec(name: str, start: list[Params], options: argparse.Namespace, seed: int | None) -> Path:
    """The spec of a set, with the place of its data, what it is to train and, where it is another, the first seed; eyes
    are drawn where they are missing."""
    spec: Path = options.out / f"{name}.toml"
    rows = [
        "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in params.items()) + " }" for params in start
    ]
    text = (HERE / f"{name}.toml").read_text(encoding="utf-8").replace("DATA", options.data.resolve().as_posix())
    if seed is not None:
        text = re.sub(r"(?m)^seed = \d+", f"seed = {seed}", text)
    listed = "[space]\nstart = [\n  " + ",\n  ".join(rows) + ",\n]"
    spec.write_text(text.replace("[space]", listed, 1), encoding="utf-8")
    eyes = options.out / "phantom-eyes"
    if name == "phantom" and not eyes.exists():
        subprocess.run([sys.executable, "-m", "mmtuna", "data", "phantom", str(eyes)], check=True)
    return spec


def _recorded(name: str, folder: Path = RECORDED) -> Path:
    return folder / f"{name}.jsonl"


def _tell(name: str) -> None:
    path = _recorded(name)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    seconds = [row["seconds"] for row in rows]
    took = f"median {statistics.median(seconds):.0f} s, mean {statistics.mean(seconds):.0f} s"
    print(f"{name}: {len(rows)} trials, {took}, {path.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
