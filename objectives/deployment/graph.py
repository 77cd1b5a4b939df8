"""The trained network as files: weights for torch, weights without pickle, ONNX. Imports torch: for a child process."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mmtuna.objectives.config import read_config
from mmtuna.objectives.trial.training import init_segmentor, load_strictly
from mmtuna.objectives.trial_files import CONFIG
from mmtuna.spaces.errors import InputError

WEIGHTS, TENSORS, MODEL = "weights.pth", "weights.safetensors", "model.onnx"
_ONE_FILE_LIMIT = 1 << 30
"""Bytes of weights up to which they lie in the ONNX file itself; a protobuf ends at 2 GiB."""


class RawImageModel(torch.nn.Module):
    """The segmentor from raw RGB values to logits: float32 (1, 3, H, W) in 0 to 255 -> (1, classes, H, W).

    `contract` is the input of bundle.json: its mean and std are in RGB order.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, segmentor: Any, contract: dict[str, Any], takes_rgb: bool) -> None:
        super().__init__()
        self.segmentor, self.takes_rgb = segmentor, takes_rgb
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(contract[name], dtype=torch.float32).reshape(1, 3, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of the input's size."""
        normalised = (image - self.mean) / self.std
        if not self.takes_rgb:
            normalised = normalised[:, [2, 1, 0]]
        size = normalised.shape[2:]
        # MMSegmentation's heads resize their logits to what the image's metadata say.
        found: torch.Tensor = self.segmentor.encode_decode(normalised, [{"img_shape": size, "pad_shape": size}])
        return found


def save_weights(checkpoint: Path, folder: Path, dataset_meta: dict[str, Any], note: dict[str, str]) -> None:
    """Writes weights.pth and weights.safetensors from a training's checkpoint, less all that only training needs.

    `dataset_meta` holds classes and palette; `note` is plain text kept beside the weights.
    """
    from safetensors.torch import save_file

    state = load_strictly(checkpoint, map_location="cpu")["state_dict"]
    # clone: tensors that share memory are refused by safetensors and stored whole by torch
    state = {name: value.detach().clone().contiguous() for name, value in state.items()}
    broken = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise InputError(f"{checkpoint}: {broken[0]} holds NaN or infinity; export another trial")
    torch.save({"meta": {"dataset_meta": dataset_meta, **note}, "state_dict": state}, folder / WEIGHTS)
    save_file(state, str(folder / TENSORS), metadata={"format": "pt", **note})
    (folder / TENSORS).chmod((folder / WEIGHTS).stat().st_mode)  # safetensors writes for the owner alone
    back = torch.load(folder / WEIGHTS, weights_only=True)["state_dict"]
    if any(not torch.equal(back[name], value) for name, value in state.items()):
        raise InputError(f"{folder / WEIGHTS}: reads back other than it was written; check the disk")


def load_segmentor(folder: Path, imports: Sequence[str] = ()) -> Any:
    """The segmentor of config.py and weights.pth, as MMSegmentation's own init_model builds it, in evaluation mode.

    `imports` are modules of the person's own that the config may import. InputError where config and weights do not
    belong together: init_model would only log that.
    """
    segmentor = init_segmentor(read_config(folder / CONFIG), folder / WEIGHTS, imports, str(folder / CONFIG))
    wanted = torch.load(folder / WEIGHTS, weights_only=True)["state_dict"]
    loaded = segmentor.state_dict()
    strange = sorted(
        name
        for name in {*wanted, *loaded}
        if name not in wanted or name not in loaded or not torch.equal(wanted[name], loaded[name])
    )
    if strange:
        raise InputError(
            f"config and weights do not belong together, {len(strange)} of {len(loaded)} tensors did not load "
            f"({strange[0]}); export another trial"
        )
    return segmentor


def export_models(
    segmentor: Any, contract: dict[str, Any], takes_rgb: bool, sizes: list[tuple[int, int]], folder: Path
) -> list[dict[str, Any]]:
    """Writes one ONNX model for each input size and returns `models` of bundle.json.

    The first is model.onnx, others carry their size in the name. Large weights lie in a side file beside each.
    """
    network = RawImageModel(segmentor, contract, takes_rgb).eval()
    large = sum(value.numel() * value.element_size() for value in network.state_dict().values()) > _ONE_FILE_LIMIT
    models: list[dict[str, Any]] = []
    for height, width in sizes:
        file = folder / (MODEL if not models else f"model_{height}x{width}.onnx")
        # The exporter prints and warns about its own insides.
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network,
                (torch.full((1, 3, height, width), 127.0),),
                str(file),
                dynamo=True,
                external_data=large,
                input_names=["image"],
                output_names=["logits"],
                verbose=False,
            )
        _strip(file)
        side = [path.name for path in sorted(folder.glob(f"{file.name}.*"))]
        models.append({"file": file.name, "height": height, "width": width, "side_files": side})
    return models


def _strip(file: Path) -> None:
    """Takes the exporter's notes out of a model: stack traces, with this machine's paths in them."""
    import onnx

    model = onnx.load(str(file), load_external_data=False)
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    for part in (*nodes, *model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.metadata_props[:]
    onnx.save(model, str(file))
    onnx.checker.check_model(str(file))
