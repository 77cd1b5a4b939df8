"""`mmtuna export`: the bundle of a trial."""

from __future__ import annotations

import sys
from pathlib import Path

from mmtuna.search.outputs.bundle import Exported, export_trial
from mmtuna.studies.spec import StudySpec


def export(path: Path, out: Path, trial: int | None, retrain: bool, ensemble: bool) -> None:
    """Writes the bundle and prints what was verified."""
    spec, say = StudySpec.load(path), lambda line: print(line, file=sys.stderr)
    exported = export_trial(spec, out, trial, retrain=retrain, ensemble=ensemble, say=say)
    print(line_of(exported))


def line_of(exported: Exported) -> str:
    """What a person is told of a bundle."""
    found = exported.document
    parity, latency = found["parity"], found["latency"]
    figure = f"{found['metric']} {found['value']:.4f}" + (", measured before retraining" if found["retrained"] else "")
    if "members" in found:
        figure += " of each image by the net that had not been trained on it, not by all together"
    nets = f"{len(found['members'])} nets of trial" if "members" in found else "trial"
    return (
        f"{exported.folder}: {nets} {exported.trial}, {figure}; ONNX and torch differ in {parity['pixels_differing']} "
        f"of {parity['pixels']} pixels; {latency['image_ms']:.0f} ms an image on {latency['cores']} CPU cores"
    )
