"""The bundle of a trial: what a person takes away, verified before it exists. Needs the extra `mmtuna[export]`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import whole_folder

NEEDED = ("onnx", "onnxscript", "onnxruntime", "safetensors")
_TIMEOUT = 4 * 3600.0  # seconds; a large validation set on a slow CPU takes its time

__all__ = ["build_bundle", "build_ensemble", "check_installed"]


def check_installed() -> None:
    """InputError, naming the command that mends it, where a package that exporting needs is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"export needs {', '.join(missing)}; run: pip install 'mmtuna[export]'")


def build_bundle(
    trial: TrialFolder, out_folder: Path, facts: dict[str, Any], weights: Path, imports: Sequence[str] = ()
) -> dict[str, Any]:
    """Writes the bundle of a trained trial to `out_folder`, verified, whole or not at all.

    Args:
        trial: holds the config; the data must lie where that says.
        out_folder: new or empty.
        facts: plain JSON data for bundle.json and README.md: study, trial, seed, params, metric, value, value_of,
            metrics (fractions; what the exported files must reach), fingerprints, versions, retrained (True: weights
            of another training than the metrics, which are then not compared).
        weights: the checkpoint whose metrics those are.
        imports: modules of the person's own that the trial's config may import.

    Returns what bundle.json holds. Raises InputError where a package, a file or the data is missing, the config is
    beyond what predict.py can do, or a verification fails: then nothing is left at `out_folder`.
    """
    from mmtuna.objectives.deployment.bundle import write_bundle  # the whole of it in a child: this side has no torch

    _check([trial], [weights])
    return _in_child(write_bundle, out_folder, trial, facts, weights, list(imports))


def build_ensemble(
    folds: Sequence[TrialFolder],
    out_folder: Path,
    facts: dict[str, Any],
    members: Sequence[dict[str, Any]],
    weights: Sequence[Path],
    imports: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes the nets of a trial's folds as one bundle, whose predict.py takes the mean of their probabilities.

    Args:
        folds: the folders of the trial's folds.
        facts: as of `build_bundle`, of the trial; its metrics are those of each image by the net of its own fold.
        members: the same of each fold, with its number from 1 as `fold`.
        weights: the checkpoint of each fold.

    Each fold's net lies in a folder of the fold's name, a bundle itself, and is held against the fold's own metrics.
    Otherwise as `build_bundle`.
    """
    from mmtuna.objectives.deployment.bundle import write_ensemble

    _check(folds, weights)
    return _in_child(write_ensemble, out_folder, list(folds), facts, list(members), list(weights), list(imports))


def _check(trials: Sequence[TrialFolder], weights: Sequence[Path]) -> None:
    check_installed()
    for file in (*(trial.config for trial in trials), *weights):
        if not file.is_file():
            raise InputError(f"{file}: no such file; export needs the config and weights of the trial")


def _in_child(write: Callable[..., dict[str, Any]], out_folder: Path, *given: Any) -> dict[str, Any]:
    """`write(part, *given)` in a child, whose folder `part` becomes `out_folder` where that succeeds."""
    from mmtuna.objectives.trial.process import call_in_child

    with whole_folder(out_folder) as part:
        found: dict[str, Any] = call_in_child(write, part, *given, timeout=_TIMEOUT)
    return found
