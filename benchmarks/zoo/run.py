"""Every config of MMSegmentation's model zoo, ours beside stock: does it build, and does each method train?

    python benchmarks/zoo/run.py                      # what is not known yet, then the page
    python benchmarks/zoo/run.py --again ours         # after a change of ours: stock's answers are kept
    python benchmarks/zoo/run.py --only hrnet,knet    # some folders of the zoo

1. `builds`: stock reads the config and builds its model; ours edits it for a study of two classes, too.
2. `trains`, for the smallest config of each method (a folder of the zoo) that stock builds: two iterations and an
   evaluation on two images, on stock's side by a Runner, on ours by a trial, or what `mmtuna check` says against it.

Everything runs on the CPU, each answer in a child of its own with a time limit. Answers are kept as JSON lines in
runs/zoo/, so that a run that was ended goes on where it stood; at the end all of it is written to
benchmarks/results/zoo.json and as a table to docs/zoo.md. Exit status 1 where stock does what ours neither does nor
refuses at the check.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import ours
import stock
from page import page

from mmtuna.objectives.data.phantom import write_phantom
from mmtuna.search.versions import machine, versions
from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec import StudySpec

ROOT = Path(__file__).resolve().parents[2]
ANSWERS = ROOT / "runs" / "zoo" / "answers.jsonl"
RESULT = ROOT / "benchmarks" / "results" / "zoo.json"
PAGE = ROOT / "docs" / "zoo.md"
FORK = multiprocessing.get_context("fork")
BUILD_LIMIT, TRAIN_LIMIT = 300.0, 900.0  # seconds
SIDES = (64, 128, 256, 512)
"""Pixels: sides of images and crops of the trainings, the first with which stock trains."""

Answer = dict[str, Any]
Known = dict[tuple[str, str, str], Answer]
"""Answers by (builds or trains, side, config)."""


def main() -> None:
    """Asks what is not known yet and writes what is."""
    options = _options()
    known = _known(options.again)
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        root = Path(folder) / "data"
        write_phantom(root, subjects=2, scans=2, size=SIDES[0], val_share=0.5)
        for path in _configs(options.only) if "builds" in options.what else ():
            for side in options.side:
                ask = _build_stock if side == "stock" else _build_ours
                _ask(known, ("builds", side, path.stem), partial(ask, known, path, root))
        for path in _smallest(known, options.only) if "trains" in options.what else ():
            for side in options.side:
                ask = _train_stock if side == "stock" else _train_ours
                _ask(known, ("trains", side, path.stem), partial(ask, known, path, root))
    rows = [_row(known, path) for path in _configs("")]
    command = " ".join(["python", "benchmarks/zoo/run.py", *sys.argv[1:]])
    document = {"command": command, "machine": machine(), "versions": versions(), "configs": rows}
    RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(document), encoding="utf-8")
    print(f"{RESULT.relative_to(ROOT)} and {PAGE.relative_to(ROOT)} are written")
    sys.exit(1 if any(row["worse"] for row in rows) else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", choices=["stock", "ours", "all", "failed"], help="whose answers to ask for again")
    parser.add_argument("--side", nargs="+", choices=["stock", "ours"], default=["stock", "ours"], help="whom to ask")
    parser.add_argument("--what", nargs="+", choices=["builds", "trains"], default=["builds", "trains"])
    parser.add_argument("--only", default="", help="methods (folders of the zoo), by comma")
    return parser.parse_args()


def _configs(only: str) -> list[Path]:
    wanted = only.split(",") if only else None
    spec = importlib.util.find_spec("mmseg")
    assert spec is not None
    assert spec.origin is not None
    zoo = Path(spec.origin).parent / ".mim" / "configs"
    found = (path for path in sorted(zoo.glob("*/*.py")) if path.parent.name != "_base_")
    return [path for path in found if wanted is None or path.parent.name in wanted]


def _known(again: str | None) -> Known:
    lines = ANSWERS.read_text(encoding="utf-8").splitlines() if ANSWERS.is_file() else []
    known: Known = {}
    for line in lines:
        answer = json.loads(line)
        forgotten = again in (answer["side"], "all") or (again == "failed" and not answer["ok"])
        if not forgotten:
            known[answer["what"], answer["side"], answer["config"]] = answer
    ANSWERS.parent.mkdir(parents=True, exist_ok=True)
    ANSWERS.write_text("".join(json.dumps(answer) + "\n" for answer in known.values()), encoding="utf-8")
    return known


def _ask(known: Known, key: tuple[str, str, str], ask: Callable[[], Answer]) -> None:
    if key in known:
        return
    began = time.monotonic()
    answer = dict(zip(("what", "side", "config"), key, strict=True)) | ask()
    answer["seconds"] = round(time.monotonic() - began, 1)
    known[key] = answer
    with ANSWERS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(answer) + "\n")
    print(*key, "ok" if answer["ok"] else answer["reason"], f"({answer['seconds']} s)", flush=True)


def _forked(function: Callable[..., Answer], limit: float, *arguments: Any) -> Answer:
    """Calls `function` in a fork of this process, which has imported torch and mmseg and used neither."""
    here, there = FORK.Pipe()
    child = FORK.Process(target=_answer, args=(there, function, arguments))
    child.start()
    there.close()
    try:
        if not here.poll(limit):
            return {"ok": False, "reason": f"no answer in {limit:g} s"}
        answer: Answer = here.recv()
    except EOFError:
        child.join()
        return {"ok": False, "reason": f"the process died ({child.exitcode})"}
    finally:
        child.kill()
        child.join()
        here.close()
    return answer


def _answer(there: Connection, function: Callable[..., Answer], arguments: tuple[Any, ...]) -> None:
    with open(os.devnull, "w") as nowhere:  # the logs of a training
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        there.send({"ok": True} | function(*arguments))
    except BaseException as error:  # whatever a config brings about is the answer
        if isinstance(error, InputError):
            there.send({"ok": False, "reason": str(error)})
            return
        line = (str(error).strip().splitlines() or [""])[0]
        there.send({"ok": False, "reason": f"{type(error).__name__}: {line}"[:300]})


def _build_stock(_known: Known, path: Path, _root: Path) -> Answer:
    return _forked(stock.build, BUILD_LIMIT, str(path))


def _train_stock(_known: Known, path: Path, root: Path) -> Answer:
    answer: Answer = {}
    for size in SIDES:
        answer = _forked(stock.train, TRAIN_LIMIT, str(path), str(root), size) | {"side_pixels": size}
        if answer["ok"]:
            break
    return answer


def _build_ours(known: Known, path: Path, root: Path) -> Answer:
    return _forked(ours.build, BUILD_LIMIT, _spec(known, path, root))


def _train_ours(known: Known, path: Path, root: Path) -> Answer:
    study = _spec(known, path, root, known.get(("trains", "stock", path.stem), {}).get("side_pixels", SIDES[0]))
    try:
        return ours.train(study)
    finally:
        shutil.rmtree(study.study.folder, ignore_errors=True)


def _spec(known: Known, path: Path, root: Path, size: int | None = None) -> StudySpec:
    amp = known["builds", "stock", path.stem].get("amp", False)
    return ours.spec(path.stem, root, root.parent / "study", amp=amp, side=size)


def _smallest(known: Known, only: str) -> Iterator[Path]:
    """Of each method the config of fewest parameters, those in single precision first."""
    methods: dict[str, list[Path]] = {}
    for path in _configs(only):
        methods.setdefault(path.parent.name, []).append(path)
    for paths in methods.values():
        built = [(known["builds", "stock", path.stem], path) for path in paths]
        sizes = [(answer["amp"], answer["parameters"], path.stem, path) for answer, path in built if answer["ok"]]
        if sizes:
            yield min(sizes)[-1]


def _row(known: Known, path: Path) -> Answer:
    row: Answer = {"config": path.stem, "method": path.parent.name}
    for what in ("builds", "trains"):
        for side in ("stock", "ours"):
            answer = known.get((what, side, path.stem))
            if answer is not None:
                told = {key: answer[key] for key in answer if key not in ("what", "side", "config")}
                if "reason" in told:  # where the packages lie is this machine's own matter
                    told["reason"] = re.sub(r"/\S*/(\S+\.py)", r"\1", told["reason"])
                row[f"{what}_{side}"] = told
    row["worse"] = any(
        row.get(f"{what}_stock", {}).get("ok") and not _done_or_refused(row.get(f"{what}_ours", {}))
        for what in ("builds", "trains")
    )
    return row


def _done_or_refused(answer: Answer) -> bool:
    return bool(answer.get("ok")) or answer.get("at", "check") == "check"


if __name__ == "__main__":
    main()
