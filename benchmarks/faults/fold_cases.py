"""Folds and a test set under kill -9: what a study comes to is what it comes to when it is left alone."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.faults.cases import SQLITE, Found, Ground, Outcome
from benchmarks.faults.training import TrainingSite, differences, training_site
from tests.waiting import until

FOLDS, TRIALS, EVALUATIONS = 3, 2, 4
DATA = f'subjects = "subjects.csv"\nsplit = "subject-kfold"\nfolds = {FOLDS}\ntest = ["2"]'
SLOTS = "--slots", "2"
START = "start = [{ lr_adam = 0.003 }, { lr_adam = 0.001 }]"
"""Params are given: a worker that is started again draws others than the one that was killed would have drawn."""


def killed_folds(ground: Ground) -> Outcome:
    """12: two trials of three folds in two slots, killed twice with kill -9 at random evaluations; then the test set.

    The slot whose trial ends first trains folds of the other's ahead of their turn. Values, curves, folds and the
    figures on the test set are those of a study that was left alone, in one slot, and so is every tensor of the last
    checkpoints; no fold that had ended is trained again.
    """
    draw, folder, url = random.Random(ground.seed), ground.site.folder, ground.site.url
    with training_site(folder / "killed", url) as killed, training_site(folder / "alone", url) as alone:
        for site in (killed, alone):
            train = f"iterations = 60\nevaluations = {EVALUATIONS}"
            site.lay_out(trials=TRIALS, data=DATA, space=START, train=train, faults=False, seed=ground.seed)
        most = TRIALS * FOLDS * EVALUATIONS
        moments = sorted(draw.sample(range(1, most - 1), 2))
        ended: dict[Path, int] = {}
        for moment in moments:
            worker = killed.launch("run", *SLOTS)
            until(partial(_reached, killed, moment), 300)
            worker.kill()
            worker.wait()
            ended |= {path: path.stat().st_mtime_ns for path in killed.runs.glob("trials/*/fold-*/course.json")}
        whole = killed.launch("run", *SLOTS).wait(300) == 0 and alone.launch("run").wait(300) == 0
        again = [path for path, written in ended.items() if path.stat().st_mtime_ns != written]
        looks = [_look(site) for site in (killed, alone)]
        pairs = list(zip(killed.trials(), alone.trials(), strict=True))
        found: Found = {
            "killed_at_evaluation": moments,
            "folds_ended_by_then": len(ended),
            "folds_trained_again": len(again),
            "values": [trial.value for trial, _ in pairs],
            "trials_that_differ": sum(_figures(one) != _figures(other) for one, other in pairs),
            "mIoU_on_the_test_set": looks[0]["figures"]["mIoU"],
            "test_figures_differ": looks[0]["figures"] != looks[1]["figures"],
            "tensors_that_differ": sum(_differing(killed, alone, number) for number in range(TRIALS)),
        }
    wrong = ("folds_trained_again", "trials_that_differ", "test_figures_differ", "tensors_that_differ")
    return whole and len(pairs) == TRIALS and not any(found[name] for name in wrong), found


def _reached(site: TrainingSite, evaluations: int) -> bool:
    return site.reported() >= evaluations


def _figures(trial: Any) -> list[Any]:
    """What must be equal of a trial: all but its times."""
    curve = [{name: value for name, value in point.items() if name != "seconds"} for point in trial.user_attrs["curve"]]
    return [trial.value, trial.params, trial.intermediate_values, curve, trial.user_attrs["folds"]]


def _look(site: TrainingSite) -> dict[str, Any]:
    command = [sys.executable, "-m", "mmtuna", "test", str(site.spec), "--json"]
    done = subprocess.run(command, env=site.env(), capture_output=True, text=True, check=True)
    look: dict[str, Any] = json.loads(done.stdout)["looks"][0]
    return look


def _differing(one: TrainingSite, other: TrainingSite, trial: int) -> int:
    folders = [f"fold-{number}/last.pth" for number in range(1, FOLDS + 1)]
    return sum(len(differences(one.trial(trial) / name, other.trial(trial) / name)["different"]) for name in folders)


CASES = {"12 folds killed twice": (killed_folds, SQLITE)}

__all__ = ["CASES"]
