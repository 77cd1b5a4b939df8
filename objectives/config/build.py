"""build_config: a pure function from (base, settings, data, split) to a complete stock MMSegmentation config."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmtuna.objectives.config import model, pipeline
from mmtuna.objectives.config.allowed import RUNNER_KEYS, check_trial_config
from mmtuna.objectives.config.base import BaseConfig
from mmtuna.objectives.config.classes import is_class_count, set_classes, set_ignored
from mmtuna.objectives.config.dotted import get_key, refuse_second_name, set_key
from mmtuna.objectives.config.initial import use_files
from mmtuna.objectives.config.schedules import fit_schedule
from mmtuna.objectives.config.settings import TrialSettings
from mmtuna.objectives.data.dataset import IMAGE_SOURCE, MASK_SOURCE, Dataset
from mmtuna.spaces.claimed import refusal
from mmtuna.spaces.effects import NEEDS
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Value
from mmtuna.spaces.settings import DEFAULTS, UNET_ONLY

Cfg = dict[str, Any]


_PIPELINE_EDITS: Mapping[str, Callable[..., None]] = {
    "crop": pipeline.set_crop,
    "flip": pipeline.set_flip,
    "rotation": pipeline.set_rotation,
    "photometric": pipeline.set_photometric,
    "gamma": pipeline.set_gamma,
}


def build_config(
    base: BaseConfig,
    settings: TrialSettings,
    *,
    dataset: Dataset,
    lists: tuple[Path, Path],
    shapes: set[tuple[int, int]],
    weights: Path | None,
    backbones: Mapping[str, Path] | None = None,
    seed: int,
) -> Cfg:
    """A complete stock config as plain data: it trains with MMSegmentation's own tools/train.py.

    Args:
        settings: of the trial, made for this kind of base; a base that is no UNet keeps its own value of all that they
            do not name.
        lists: the files of training and validation names, one a line without suffix.
        shapes: the (height, width) in pixels that occur among the images.
        weights: checkpoint to start from where initial_weights is "pretrained"; None for random weights.
        backbones: files of the base's own weights by what it calls them, likewise; the base's others are taken out.
        seed: of the training.

    Raises InputError for a setting that this base cannot take, or a dotted key that it lacks.
    """
    values = settings.effective
    if not base.is_unet:
        _refuse_what_the_base_keeps(values, base)
    for name in values:
        if "." in name:
            refuse_second_name(name, values)
    cfg = {key: copy.deepcopy(base.cfg[key]) for key in RUNNER_KEYS if key in base.cfg}
    cfg["model"].setdefault("data_preprocessor", copy.deepcopy(base.cfg.get("data_preprocessor", {})))
    _set_model(cfg, values, dataset, base)
    # A model's own downloads would be neither verified nor recorded.
    pretrained = values.get("initial_weights", "pretrained") != "none"
    use_files(cfg["model"], (backbones or {}) if pretrained else {})
    _set_data(cfg, values, dataset, lists, base)
    cropped = any(step["type"] == "RandomCrop" for step in _pipeline_of(cfg["train_dataloader"], base))
    model.set_batch_shape(cfg, values, shapes, base, cropped=cropped)
    _set_training(cfg, values, base)
    cfg["load_from"] = str(weights) if weights and pretrained else None
    cfg["randomness"] = {"seed": seed}
    if dataset.source is not None:  # nothing of MMEngine's: says what the images were made from
        cfg[IMAGE_SOURCE] = dict(dataset.source)
    if dataset.mask_source is not None:
        cfg[MASK_SOURCE] = dict(dataset.mask_source)
    for name, value in values.items():
        if "." in name:
            _set_dotted(cfg, name, value, dataset, base)
    _test_as_evaluated(cfg)
    check_trial_config(cfg, f"base config {base.name}", base.imports)
    return cfg


def _refuse_what_the_base_keeps(values: Mapping[str, Value], base: BaseConfig) -> None:
    for name in UNET_ONLY:
        if name in values:
            raise InputError(f"{name}: base config {base.name} has a decoder of its own; drop it from the space")
    for name in values:
        need = NEEDS.get(name)
        if need is not None and not need.from_base and need.parent not in values:
            raise InputError(
                f"{name}: without {need.parent} base config {base.name} keeps its own; set {need.parent} too"
            )


def _set_dotted(cfg: Cfg, key: str, value: Value, dataset: Dataset, base: BaseConfig) -> None:
    where = f"base config {base.name}"
    get_key(cfg, key, where)
    if is_class_count(cfg, key, len(dataset.classes)):
        raise InputError(f"{where}: {refusal(key, '[data] classes')}")
    set_key(cfg, key, value, where)


def _test_as_evaluated(cfg: Cfg) -> None:
    """What is exported and tested reads images as the evaluations did, dotted keys of these included."""
    steps = cfg["val_dataloader"]["dataset"]["pipeline"]
    cfg["test_dataloader"]["dataset"]["pipeline"] = copy.deepcopy(steps)
    cfg["test_pipeline"] = copy.deepcopy(steps)


def _set_model(cfg: Cfg, values: Mapping[str, Value], dataset: Dataset, base: BaseConfig) -> None:
    model.set_one_device(cfg["model"])
    set_classes(cfg, dataset, base.name)
    set_ignored(cfg["model"], dataset.ignore_index)
    if base.is_unet:
        model.set_base_channels(cfg, values)
    if {"loss", "mix_weight", "foreground_weight"} & set(values):
        model.set_loss(cfg, values, dataset, base)
    if "dropout" in values:
        model.set_dropout(cfg["model"], values, base)
    if "inference" in values:
        model.set_inference(cfg, values)


def _set_data(
    cfg: Cfg, values: Mapping[str, Value], dataset: Dataset, lists: tuple[Path, Path], base: BaseConfig
) -> None:
    train = _pipeline_of(cfg["train_dataloader"], base)
    test = _pipeline_of(cfg["val_dataloader"], base)
    if "input_size" in values:
        pipeline.set_input_size(train, test, values, jitter=not base.is_unet)
    if "scale_jitter" in values:
        pipeline.set_scale_jitter(train, values, base.name)
    for name, edit in _PIPELINE_EDITS.items():
        if name in values:
            edit(train, test, values)
    pipeline.set_ignore_index(train, dataset.ignore_index)
    for steps in (train, test):
        set_ignored(steps, dataset.ignore_index)
    for key, steps, names in (
        ("train_dataloader", train, lists[0]),
        ("val_dataloader", test, lists[1]),
        ("test_dataloader", test, lists[1]),
    ):
        loader = cfg.setdefault(key, {})
        loader["dataset"] = _dataset(dataset, names, steps)
        loader["num_workers"] = int(values.get("loader_workers", DEFAULTS["loader_workers"]))
        loader["persistent_workers"] = loader["num_workers"] > 0
        loader["sampler"] = {"type": "InfiniteSampler", "shuffle": True}
        if key != "train_dataloader":
            loader.update(batch_size=1, sampler={"type": "DefaultSampler", "shuffle": False})
        elif "batch_size" in values:
            loader["batch_size"] = int(values["batch_size"])
    for key in ("val_evaluator", "test_evaluator"):
        cfg[key] = {"type": "IoUMetric", "iou_metrics": ["mIoU", "mDice"]}
        if dataset.ignore_index != 255:
            cfg[key]["ignore_index"] = dataset.ignore_index


def _pipeline_of(loader: Cfg, base: BaseConfig) -> pipeline.Pipeline:
    found = loader["dataset"]
    if found.get("type") == "MultiImageMixDataset":
        raise InputError(
            f"base config {base.name}: its training images are mixed from several (MultiImageMixDataset), which is not "
            "kept; give train_dataloader.dataset a plain data set with a pipeline"
        )
    while "pipeline" not in found:  # wrappers such as RepeatDataset
        found = found["dataset"] if "dataset" in found else found["datasets"][0]
    steps: pipeline.Pipeline = copy.deepcopy(found["pipeline"])
    pipeline.set_loading(steps, base.name)
    return steps


def _dataset(dataset: Dataset, names: Path, steps: pipeline.Pipeline) -> Cfg:
    cfg: Cfg = {
        "type": "BaseSegDataset",
        "data_root": str(dataset.root.resolve()),
        "data_prefix": {"img_path": dataset.images, "seg_map_path": dataset.masks},
        "ann_file": str(names.resolve()),
        "img_suffix": dataset.image_suffix,
        "seg_map_suffix": dataset.mask_suffix,
        "metainfo": {"classes": list(dataset.classes), "palette": _palette(dataset)},
        "reduce_zero_label": dataset.mask_rule.reduce_zero_label,
        "pipeline": copy.deepcopy(steps),
    }
    if dataset.ignore_index != 255:
        cfg["ignore_index"] = dataset.ignore_index
    return cfg


# Okabe and Ito's colours (2008), told apart by colour-blind people; black is the background.
_COLOURS = (
    *((0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0)),
    (204, 121, 167),
)


def _palette(dataset: Dataset) -> list[list[int]]:
    classes = len(dataset.classes)
    if dataset.palette:
        return [list(colour) for colour in dataset.palette]
    # Past the eight named colours, steps that are coprime to 256 keep the colours distinct.
    more = [((37 * k) % 256, (97 * k) % 256, (171 * k) % 256) for k in range(len(_COLOURS), classes)]
    return [list(colour) for colour in (*_COLOURS, *more)[:classes]]


def _set_training(cfg: Cfg, values: Mapping[str, Value], base: BaseConfig) -> None:
    if {"optimizer", "lr_sgd", "lr_adam", "weight_decay", "momentum", "precision"} & set(values):
        model.set_optimizer(cfg, values, base)
    if "clip_norm" in values:
        model.set_clipping(cfg["optim_wrapper"], values)
    iterations = int(values.get("iterations", 0)) or int(cfg["train_cfg"].get("max_iters") or 0)
    if not iterations:
        raise InputError("iterations: the base config counts epochs; set iterations in [train] or in the space")
    if "schedule" in values:
        model.set_schedule(cfg, values, iterations)
    else:
        fit_schedule(cfg, iterations, base.name)
    if "ema" in values:
        model.set_average(cfg, values)
    _refuse_hooks_that_end(cfg, base)
    evaluations = int(values.get("evaluations", DEFAULTS["evaluations"]))
    interval = -(-iterations // evaluations)
    cfg["train_cfg"] = {"type": "IterBasedTrainLoop", "max_iters": iterations, "val_interval": interval}
    cfg["val_cfg"] = {"type": "ValLoop"}
    cfg["test_cfg"] = {"type": "TestLoop"}
    hooks = cfg.setdefault("default_hooks", {})
    hooks["checkpoint"] = {
        "type": "CheckpointHook",
        "by_epoch": False,
        "interval": interval,
        "max_keep_ckpts": 1,
        "save_best": "mIoU",
        "rule": "greater",
    }
    cfg["log_processor"] = {"by_epoch": False}
    if "visualizer" in cfg:  # a base's own may send what it draws to a service
        cfg["visualizer"]["vis_backends"] = [{"type": "LocalVisBackend"}]
    cfg["resume"] = False


_ENDING = ("EarlyStoppingHook",)
"""Hooks that end a training before its time."""


def _refuse_hooks_that_end(cfg: Cfg, base: BaseConfig) -> None:
    hooks = [*(cfg.get("custom_hooks") or []), *(cfg.get("default_hooks") or {}).values()]
    for hook in hooks:
        if isinstance(hook, Mapping) and str(hook.get("type")).rpartition(".")[2] in _ENDING:
            raise InputError(
                f"base config {base.name}: its {hook['type']} ends trainings that would count as complete; take it "
                "out, [study] pruner ends trials that fall behind"
            )
