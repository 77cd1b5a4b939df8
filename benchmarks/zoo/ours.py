"""Our side: what `mmtuna check` says of a config as [model] base, and one trial of the study it makes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from mmtuna.objectives.outcome import Ending, Evaluation, TrialOrder
from mmtuna.search.work.preparation import prepare
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
{sizes}{"amp = false" if amp else ""}
[resources]
devices = ["cpu"]
"""
    return StudySpec.parse(text, folder / "study.toml")


def check(study: StudySpec) -> dict[str, Any]:
    """Whether `mmtuna check` calls the study ready, else its first problem, and after how many seconds."""
    began = time.monotonic()
    problems = prepare(study).problems  # without the iteration: that is for `train`
    return {"ok": not problems, "seconds": round(time.monotonic() - began, 1)} | (
        {"reason": problems[0]} if problems else {}
    )


def train(study: StudySpec) -> dict[str, Any]:
    """Checks the study, then trains its one trial: two iterations and an evaluation."""
    began = time.monotonic()
    ready = prepare(study, probe=True)
    checked = round(time.monotonic() - began, 1)
    if ready.problems:
        return {"ok": False, "at": "check", "reason": ready.problems[0], "check_seconds": checked}
    outcome = ready.objective().run(TrialOrder(number=0, params={"batch_size": 2}, seed=0), Alone())
    found = {"ok": outcome.ending is Ending.FINISHED, "at": "trial", "check_seconds": checked}
    if outcome.ending is not Ending.FINISHED:
        return found | {"reason": f"{outcome.cause}: {outcome.message}"}
    return found | {"mIoU": outcome.curve[-1].metrics["mIoU"]}
