"""Our side: a config as [model] base of a small study, built, and one trial of it trained."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import Ending, Evaluation, TrialOrder
from mmtuna.objectives.weights import model_bytes
from mmtuna.search.checking.data import open_dataset
from mmtuna.search.checking.preparing import prepare
from mmtuna.studies.spec import StudySpec


class Alone:
    """A watch that stops nothing."""

    def evaluated(self, evaluation: Evaluation) -> bool:  # noqa: ARG002
        return False

    def progressed(self, iteration: int, iterations: int, seconds: float) -> None:
        pass

    def interrupted(self) -> bool:
        return False

    def lost(self) -> bool:
        return False


def spec(name: str, root: Path, folder: Path, *, amp: bool, side: int | None = None) -> StudySpec:
    """The study of a person who names the config and nothing else; with `side`, images and crops of so many pixels."""
    sizes = "" if side is None else f"input_size = {side}\ncrop = {side}\n"
    precision = 'precision = "fp32"' if amp else ""
    text = f"""
[study]
name = "zoo"
folder = {json.dumps(str(folder))}
[data]
root = {json.dumps(str(root))}
[model]
base = {json.dumps(name)}
pretrained = "none"
[space.params.batch_size]
choices = [2]
[train]
iterations = 2
evaluations = 1
{sizes}{precision}
[resources]
devices = ["cpu"]
"""
    return StudySpec.parse(text, folder / "study.toml")


def build(study: StudySpec) -> dict[str, Any]:
    """Reads the config, edits it for the study and builds its model, as `mmtuna check` does in a child."""
    dataset = open_dataset(study.data)
    lists = (dataset.root / "splits" / "train.txt", dataset.root / "splits" / "val.txt")
    objective = SegmentationObjective(
        base=study.model.base, dataset=dataset, lists=lists, shapes=set(), folder=study.study.folder, fixed=study.train
    )
    return {"bytes": model_bytes(objective.config({"batch_size": 2}, seed=0))}


def train(study: StudySpec) -> dict[str, Any]:
    """Trains the study's one trial: two iterations and an evaluation; where it fails, what `mmtuna check` says."""
    ready = prepare(study)
    if ready.problems:
        return {"ok": False, "at": "check", "reason": ready.problems[0]}
    outcome = ready.objective().run(TrialOrder(number=0, params={"batch_size": 2}, seed=0), Alone())
    if outcome.ending is Ending.FINISHED:
        return {"ok": True, "mIoU": outcome.curve[-1].metrics["mIoU"]}
    began = time.monotonic()
    problems = prepare(study, probe=True).problems
    if problems:
        seconds = round(time.monotonic() - began, 1)
        return {"ok": False, "at": "check", "reason": problems[0], "check_seconds": seconds}
    return {"ok": False, "at": "trial", "reason": f"{outcome.cause}: {outcome.message}"}
