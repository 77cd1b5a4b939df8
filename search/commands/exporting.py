"""`mmtuna export`: the bundle of one trial, of the best by default, or of its params trained on all images."""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import optuna

from mmtuna.objectives.deployment import build_bundle, check_installed
from mmtuna.objectives.outcome import Ending, Evaluation, TrialOrder
from mmtuna.objectives.trial_files import BEST, CONFIG, LAST
from mmtuna.search.trials.folder import local_folder
from mmtuna.search.versions import machine, versions
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import require_new_folder
from mmtuna.studies import results
from mmtuna.studies.attributes import FINGERPRINTS
from mmtuna.studies.results import TrialRow
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.study import open_existing


def export_trial(spec: StudySpec, out: Path, trial: int | None, retrain: bool = False) -> str:
    """Writes the bundle of a complete trial to `out`, verified, and returns the line to print.

    Args:
        out: folder, new or empty.
        trial: number of the trial; None for the best.
        retrain: train its params on training and validation images together and export these weights. The metrics
            are then the trial's own, measured before, and are labelled so.

    Raises InputError for a trial that does not exist, is not complete or has lost its weights, an `out` that is not
    empty or cannot be written, a package that is missing, and a verification that fails; then nothing is written.
    """
    check_installed()
    require_new_folder(out)
    study = open_existing(spec)
    entry = find_complete(spec, study, trial)
    facts = gather(spec, study, entry, retrained=retrain)
    if retrain:
        spec.study.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".retrain-", dir=spec.study.folder) as folder:
            found = build_bundle(_retrain(spec, entry, Path(folder)), out, facts, LAST)
    else:
        weights = require_weights(spec, study, entry)
        found = build_bundle(spec.study.folder / (entry.folder or ""), out, facts, weights)
    return _message(spec, entry, out, found)


def find_complete(spec: StudySpec, study: optuna.Study, number: int | None) -> TrialRow:
    """The complete trial `number`, or the best one; InputError where there is none."""
    name = spec.study.name
    if number is None:
        best = results.best(study)
        if best is None:
            raise InputError(f"study {name}: no trial is complete yet; `mmtuna run SPEC` goes on until one is")
        return best
    entries = results.rows(study)
    if not 0 <= number < len(entries):
        known = f"0 to {len(entries) - 1}" if entries else "none"
        raise InputError(f"trial {number}: study {name} has no such trial; it has {known}, see `mmtuna status SPEC`")
    entry = entries[number]
    if entry.state != "COMPLETE" or entry.value is None:
        raise InputError(f"trial {number} of study {name} is {entry.state.lower()}; take a complete trial, or the best")
    return entry


def trial_folder(spec: StudySpec, study: optuna.Study, entry: TrialRow, *, checkpoints: bool = False) -> Path:
    """The folder of a trained trial; InputError for a replayed one and for one whose config is gone.

    Where it lies in S3 it is fetched, and its checkpoints only where they are asked for.
    """
    if entry.folder is None:
        raise InputError(f"trial {entry.number} was replayed, not trained: it has no weights; take a trained study")
    folder = local_folder(spec, study, entry.folder, checkpoints=checkpoints)
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder / CONFIG}: no such file; put the study's folder back, or take another trial")
    return folder


def require_weights(spec: StudySpec, study: optuna.Study, entry: TrialRow) -> str:
    """File name of the weights whose metrics are the trial's value; InputError where retention has deleted them."""
    name = LAST if spec.study.value == "last" else BEST
    if not (trial_folder(spec, study, entry, checkpoints=True) / name).is_file():
        raise InputError(
            f"trial {entry.number}: its weights are deleted, only the best {spec.resources.keep_checkpoints} trials "
            "keep theirs; export one of these, raise [resources] keep_checkpoints before you `mmtuna run SPEC` for "
            "more trials, or train it again with --retrain"
        )
    return name


def gather(spec: StudySpec, study: optuna.Study, entry: TrialRow, *, retrained: bool) -> dict[str, Any]:
    """What bundle.json says of the trial, as plain data without this machine's paths."""
    last = spec.study.value == "last"
    return {
        "study": spec.study.name,
        "trial": entry.number,
        "seed": entry.seed,
        "params": dict(entry.params),
        "metric": spec.study.metric,
        "value": entry.value,
        "value_of": spec.study.value,
        "metrics": dict(entry.metrics if last else entry.best_metrics),
        "metrics_measured": "before retraining" if retrained else "on these weights",
        "fingerprints": study.user_attrs.get(FINGERPRINTS, {}),
        "versions": versions(),
        "machine": machine(),
        "retrained": retrained,
    }


def _retrain(spec: StudySpec, entry: TrialRow, folder: Path) -> Path:
    """Trains the trial's params and seed on all images and returns the folder of the training."""
    from mmtuna.search.work.preparation import prepare
    from mmtuna.search.work.running import NotReadyError, cores
    from mmtuna.spaces.files import write_whole
    from mmtuna.studies.study import check_fingerprints

    ready = prepare(spec)
    if ready.problems:
        raise NotReadyError(ready.problems)
    check_fingerprints(spec, ready.fingerprints())
    objective = ready.objective()
    assert ready.split is not None
    # In the study's folder, not with the training: the bundle's config names it.
    both = objective.lists[1].with_name("train_and_val.txt")
    write_whole(both, "".join(f"{name}\n" for name in (*ready.split.train, *ready.split.val)))
    objective = dataclasses.replace(objective, lists=(both, objective.lists[1]), folder=folder)
    order = TrialOrder(
        number=entry.number,
        params=dict(entry.params),
        seed=entry.seed if entry.seed is not None else spec.study.seed,
        device=ready.devices[0],
        threads=spec.resources.threads or cores(),
    )
    outcome = objective.run(order, _ToTheEnd())
    if outcome.ending is not Ending.FINISHED:
        raise InputError(f"retraining trial {entry.number} failed, {outcome.cause}: {outcome.message}")
    assert outcome.folder is not None
    return outcome.folder


class _ToTheEnd:
    """Watches a retraining: nothing stops it."""

    def evaluated(self, evaluation: Evaluation) -> bool:
        """Says how far it is; its metrics are of images it trains on, so they are not shown."""
        print(f"retraining: {evaluation.step} % after {evaluation.seconds:.0f} s", file=sys.stderr)
        return False

    def progressed(self, iteration: int, iterations: int, seconds: float) -> None:
        """Is told at every half second, which would be too many lines."""

    def interrupted(self) -> bool:
        """Ctrl-C ends the command itself."""
        return False

    def lost(self) -> bool:
        """Nobody else trains this."""
        return False


def _message(spec: StudySpec, entry: TrialRow, out: Path, found: dict[str, Any]) -> str:
    parity, latency = found["parity"], found["latency"]
    figure = f"{spec.study.metric} {entry.value:.4f}" + (", measured before retraining" if found["retrained"] else "")
    return (
        f"{os.fspath(out)}: trial {entry.number}, {figure}; ONNX and torch differ in {parity['pixels_differing']} of "
        f"{parity['pixels']} pixels; {latency['image_ms']:.0f} ms an image on {latency['cores']} CPU cores"
    )
