"""Writing a bundle step by step, in a child process; a step that fails says which it was."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmtuna.objectives import predict
from mmtuna.objectives.config import write_config
from mmtuna.objectives.config.initial import take_out
from mmtuna.objectives.deployment import card, contract, verify
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.objectives.weights import file_sha256
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import write_json_whole, write_whole

DOCUMENT, CARD, SCRIPT, CONFIG = "bundle.json", "README.md", "predict.py", "config.py"
FORMAT = 1
_PATHS = ("data_root", "ann_file")
_LARGEST = ("logits_max_difference", "logits_relative_difference")


def write_bundle(
    part: Path, trial: TrialFolder, facts: dict[str, Any], weights: Path, imports: Sequence[str] = ()
) -> dict[str, Any]:
    """Fills the empty folder `part` and verifies what lies there; InputError names the step that failed."""
    cfg = stand_alone(trial.read_config())
    with _step("the input contract"):
        document = describe(cfg, facts)
        images = contract.labelled_images(cfg)
        document["input"]["rule"] = contract.with_kind(document["input"]["rule"], images)
        sizes = contract.model_sizes(cfg, document["input"])
    write_config(cfg, part / CONFIG, header(cfg, facts))
    shutil.copyfile(predict.__file__, part / SCRIPT)
    with _step("weights and ONNX"):
        segmentor = _write_models(cfg, weights, part, document, sizes, imports)
    write_json_whole(part / DOCUMENT, document)  # predict.py reads it
    with _step("ONNX against torch"):
        document["parity"] = verify.compare_with_torch(segmentor, part, images)
    with _step("metrics from the files"):
        _measure(cfg, part, document, images)
    with _step("latency"):
        document["latency"] = verify.measure_latency(part, images[0])
    return _finish(part, document)


def write_ensemble(
    part: Path,
    folds: Sequence[TrialFolder],
    facts: dict[str, Any],
    members: Sequence[dict[str, Any]],
    weights: Sequence[Path],
    imports: Sequence[str] = (),
) -> dict[str, Any]:
    """Fills the empty folder `part` with a bundle of each fold, verified, and what makes one of them all, verified."""
    from mmtuna.objectives.deployment import graph  # imports torch

    made: dict[str, dict[str, Any]] = {}
    for fold, own, checkpoint in zip(folds, members, weights, strict=True):
        (part / fold.path.name).mkdir()
        try:
            made[fold.path.name] = write_bundle(part / fold.path.name, fold, own, checkpoint, imports)
        except InputError as error:
            raise InputError(f"{fold.path.name}: {error}") from error
    first = next(iter(made.values()))
    document: dict[str, Any] = {"format": FORMAT, **facts, "input": first["input"], "output": first["output"]}
    document["members"], document["models"] = list(made), [_within(n, m) for n, d in made.items() for m in d["models"]]
    shutil.copyfile(predict.__file__, part / SCRIPT)
    write_json_whole(part / DOCUMENT, document)  # predict.py reads it
    with _step("the nets together"):
        listed = [image for fold in folds for image in contract.labelled_images(fold.read_config())]
        images = list({image.name: image for image in listed}.values())
        segmentors = [graph.load_segmentor(part / name, imports) for name in made]
        document["parity"] = verify.compare_together(segmentors, part, images, len(document["output"]["classes"]))
        document["latency"] = verify.measure_latency(part, images[0])
    alone = [found["parity"] for found in made.values()]
    document["parity"] |= {name: max(parity[name] for parity in alone) for name in _LARGEST}
    worst = max(found["verified"]["metrics_max_difference"] for found in made.values())
    document["verified"] = {"metrics": "of each net on its own fold's images", "metrics_max_difference": worst}
    return _finish(part, document)


def _within(folder: str, model: dict[str, Any]) -> dict[str, Any]:
    """A model of bundle.json as seen from the folder above."""
    sides = [f"{folder}/{side}" for side in model["side_files"]]
    return {**model, "file": f"{folder}/{model['file']}", "side_files": sides}


def _finish(part: Path, document: dict[str, Any]) -> dict[str, Any]:
    """Writes the card, and bundle.json with what each file holds."""
    write_whole(part / CARD, card.card(document))
    files = [path for path in sorted(part.rglob("*")) if path.is_file() and path != part / DOCUMENT]
    document["files"] = {path.relative_to(part).as_posix(): file_sha256(path) for path in files}
    write_json_whole(part / DOCUMENT, document)
    return document


def stand_alone(cfg: dict[str, Any]) -> dict[str, Any]:
    """The trial's config without the files of weights that it started from: the weights lie beside it."""
    alone = {**copy.deepcopy(cfg), "load_from": None, "resume": False}
    take_out(alone["model"])
    return alone


def describe(cfg: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """bundle.json before anything was measured."""
    return {"format": FORMAT, **facts, "input": contract.input_contract(cfg), "output": contract.output_contract(cfg)}


def header(cfg: dict[str, Any], facts: dict[str, Any]) -> str:
    """The comment on top of config.py: whose it is, and which of its paths are this machine's."""
    lines = [
        f"Stock MMSegmentation config of trial {facts['trial']} of study {facts['study']}, by mmtuna.",
        'With weights.pth: mmseg.apis.init_model("config.py", "weights.pth"). To train again, set these to your own:',
    ]
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        lines += [f"  {loader}.dataset.{key} = {cfg[loader]['dataset'][key]}" for key in _PATHS]
    return "\n".join(lines)


def _write_models(
    cfg: dict[str, Any],
    checkpoint: Path,
    part: Path,
    document: dict[str, Any],
    sizes: list[tuple[int, int]],
    imports: Sequence[str],
) -> Any:
    from mmtuna.objectives.deployment import graph  # imports torch

    meta = {key: document["output"][key] for key in ("classes", "palette")}
    graph.save_weights(checkpoint, part, meta, {"made_by": "mmtuna", "study": document["study"]})
    segmentor = graph.load_segmentor(part, imports)
    document["models"] = graph.export_models(segmentor, document["input"], contract.takes_rgb(cfg), sizes, part)
    return segmentor


def _measure(cfg: dict[str, Any], part: Path, document: dict[str, Any], images: list[contract.LabelledImage]) -> None:
    found = verify.measure_files(part, images, document["output"]["classes"], contract.ignore_index(cfg))
    document["verified"] = {"metrics_tolerance": verify.METRICS_TOLERANCE}
    if document["retrained"]:
        # These weights saw the validation images: their figures would only look like a measurement.
        document["verified"]["metrics"] = "not compared: retrained on training and validation images"
        return
    worst = verify.check_metrics(found, document["metrics"])
    document["verified"] |= {"metrics": found, "metrics_max_difference": worst}


@contextmanager
def _step(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # torch, ONNX and mmseg raise anything; a person needs the step and one line
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = lines[0] if isinstance(error, InputError) else f"{type(error).__name__}: {lines[0]}"
        raise InputError(f"no bundle was written, {name}: {reason}") from error
