"""A spec's tables from an MMSegmentation config of a person's own: its data, and the config as the base."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmtuna.objectives.config import BaseConfig, load_base
from mmtuna.objectives.config.classes import heads
from mmtuna.objectives.config.inheritance import SUFFIXES
from mmtuna.objectives.config.initial import initial_files
from mmtuna.objectives.declared import SIDES, TEST, Declared, read_declared, read_test
from mmtuna.objectives.weights import BACKBONE
from mmtuna.search.proposals.held_out import held_out
from mmtuna.search.proposals.layout import Folders, common_folders, relative_names
from mmtuna.search.proposals.proposal import Proposal
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.settings import OPTIMIZERS

_LEFT_OUT = "the config's test_dataloader is left out"
_AROUND = 10.0
"""How far the proposed space goes above and below the config's own learning rate and weight decay, as a factor."""


def propose_from_config(
    config: Path,
    folder: Path,
    *,
    root: Path | None = None,
    classes: Sequence[str] = (),
    trust_code: bool = False,
    given: Mapping[str, Any] | None = None,
) -> Proposal:
    """The tables for a study whose base is `config`, a file or a name of the model zoo, on the data that it declares.

    Args:
        folder: where the spec will lie; lists of names that no file of the data holds are written there.
        root: of the data, in the place of the config's data_root.
        classes: names, where neither the config nor its data set class names any.
        trust_code: whether the config may be run as Python.
        given: fields of `[data]` that a person has settled.

    Raises InputError, in one line, for a config or data that a spec cannot say, with the way out.
    """
    named = str(config) if _is_name(config) else str(config.resolve())
    try:
        base = load_base(named, trust_code=trust_code)
    except InputError as error:  # which names the spec's way, and there is no spec yet
        raise InputError(str(error).replace("set [model] trust_code = true", "give --trust-code")) from None
    sides = read_declared(base, config, root)
    proposal = Proposal()
    test = None if "test" in (given or {}) else _declared_test(base, config, root, proposal)
    data = {
        **_places(config, sides, test, folder, proposal),
        **_classes(config, sides["train"], classes, given or {}, proposal),
    }
    _say_other_ignored(base, sides["train"], data["classes"], proposal)
    tables = proposal.tables
    tables["data"] = data
    tables["model"] = {"base": named, "pretrained": _start(base)}
    tables["model"] |= {"trust_code": True} if trust_code else {}
    tables["train"] = _iterations(base, len(sides["train"].pairs), proposal)
    tables["space"] = _space(config, base, proposal)
    if _metric(base) is not None:
        tables["study"] = {"metric": _metric(base)}
    return proposal


def _is_name(config: Path) -> bool:
    """Whether this is no file, but the name of a config of the model zoo."""
    return len(config.parts) == 1 and config.suffix not in SUFFIXES


def _declared_test(base: BaseConfig, config: Path, root: Path | None, proposal: Proposal) -> Declared | None:
    """The config's own test data, which no study needs: what is wrong with them is told."""
    try:
        return read_test(base, config, root)
    except InputError as error:
        proposal.said.append(f"test: {_LEFT_OUT}, {error}")
        return None


def _places(
    config: Path, sides: Mapping[str, Declared], test: Declared | None, folder: Path, proposal: Proposal
) -> dict[str, Any]:
    """Root, folders, suffixes and split."""
    train, val = (sides[side] for side in SIDES)
    suffix, mask_suffix = train.image_suffix, train.mask_suffix
    if (suffix, mask_suffix) != (val.image_suffix, val.mask_suffix):
        raise InputError(
            f"{config}: images and masks end in {suffix} and {mask_suffix} for training, in {val.image_suffix} and "
            f"{val.mask_suffix} for validation; a study has one suffix of each, rename the files of one side"
        )
    listed = [place for side in sides.values() for place in (side.image_folder, side.mask_folder)]
    if not all(listed):
        raise InputError(f"{config}: data_prefix lacks img_path or seg_map_path; name both")
    root = Path(os.path.commonpath(listed))
    if len(set(listed)) == 1 or str(root) in listed:
        root = root.parent
    relative = [os.path.relpath(place, root) for place in listed]
    folders = common_folders((relative[0], relative[1]), (relative[2], relative[3]))
    if folders is None:
        raise InputError(
            f"{config}: a study cannot say the folders of its two sides, {', '.join(relative)} (in {root}); "
            "lay them out as images/train, images/val, masks/train, masks/val (links do)"
        )
    names = {side: _names(config, sides[side], root / folders.top, (suffix, mask_suffix)) for side in SIDES}
    both = set(names["train"]) & set(names["val"])
    if both:
        raise InputError(
            f"{config}: {len(both)} images stand in training and in validation; give the two sides lists (ann_file) "
            "or folders that share none"
        )
    data = {"root": str(root), "images": folders.images, "masks": folders.masks}
    data |= {"image_suffix": suffix, "mask_suffix": mask_suffix}
    kind = train.kind if train.kind == val.kind else f"{train.kind} and {val.kind}"
    proposal.said.append(
        f"data: {len(names['train'])} training and {len(names['val'])} validation images of {kind} in {root}, images "
        f"in {folders.images} (*{suffix}), masks in {folders.masks} (*{mask_suffix})"
    )
    test_names = _set_aside(test, sides, root, folders, names, proposal) if test is not None else ()
    if test is not None and test_names:
        sides, names = {**sides, TEST: test}, {**names, TEST: test_names}
    return {**data, **_split(sides, folders, root, folder, names, proposal)}


def _set_aside(
    test: Declared,
    sides: Mapping[str, Declared],
    root: Path,
    folders: Folders,
    names: Mapping[str, Sequence[str]],
    proposal: Proposal,
) -> tuple[str, ...]:
    """Names of the test images; () where they are those that validate, or cannot be set aside, which is told."""
    try:
        return held_out(test, sides, root, folders, names)
    except InputError as error:
        proposal.said.append(f"test: {_LEFT_OUT}, {error}; [data] test takes other images with masks beside these")
        return ()


def _names(config: Path, side: Declared, top: Path, suffixes: tuple[str, str]) -> tuple[str, ...]:
    """Names of a side's images relative to `top`; each must be its mask's too."""
    images = relative_names([image for image, _ in side.pairs], top, suffixes[0])
    own = relative_names([image for image, _ in side.pairs], Path(side.image_folder), suffixes[0])
    masks = relative_names([mask for _, mask in side.pairs], Path(side.mask_folder), suffixes[1])
    if images is None or own is None or own != masks:
        raise InputError(
            f"{config}: {side.kind} pairs images and masks by other than their names; name each mask as its image, "
            "with another suffix"
        )
    if not images:
        raise InputError(
            f"{config}: no image in {side.image_folder} ends in {suffixes[0]}; mend data_prefix or img_suffix"
        )
    return images


def _split(
    sides: Mapping[str, Declared],
    folders: Folders,
    root: Path,
    folder: Path,
    names: dict[str, tuple[str, ...]],
    proposal: Proposal,
) -> dict[str, Any]:
    """Folders where each side is all of its own, the config's own lists where they do, else lists beside the spec."""
    places = {"train": folders.train, "val": folders.val}
    if TEST in names:
        places[TEST] = _folder_of(sides[TEST], folders, root)
        said = f"{len(names[TEST])} images of the config's test_dataloader, which no trial sees ([data] test)"
        proposal.said.append(f"test: {said}")
    listed = [sides[side].ann_file for side in names]
    if all(places.values()) and not any(listed) and all(_is_whole(sides[side]) for side in names):
        proposal.said.append(f"split: folders {folders.train} and {folders.val}")
        return {"split": "folders", **places}
    files = {side: Path(sides[side].ann_file) for side in names}
    if not folders.train and all(_lists(files[side], names[side]) for side in names):
        proposal.said.append(f"split: lists {', '.join(listed)}")
        return {"split": "lists", **{side: os.path.relpath(files[side], root) for side in names}}
    proposal.said.append("split: lists, written beside the spec, since images of one side share a folder with others")
    return proposal.write_lists(folder, root, names)


def _folder_of(side: Declared, folders: Folders, root: Path) -> str:
    """A side's folder within that of all images, "" where it has none of its own."""
    inner = os.path.relpath(side.image_folder, root / folders.top)
    return inner.partition("/")[0] if "*" in folders.images else inner.removeprefix(".")


def _is_whole(side: Declared) -> bool:
    """Whether a side is every image of its folder."""
    there = [path for path in Path(side.image_folder).rglob(f"*{side.image_suffix}") if not path.name.startswith(".")]
    return len(there) == len(side.pairs)


def _lists(file: Path, names: tuple[str, ...]) -> bool:
    """Whether a file lists these names."""
    if not file.is_file():
        return False
    return tuple(line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()) == names


def _classes(
    config: Path, side: Declared, named: Sequence[str], given: Mapping[str, Any], proposal: Proposal
) -> dict[str, Any]:
    """Names, colours, and how the masks' values become class indices."""
    settled = given.get("classes", ())
    classes = list(side.classes or named or settled)
    if not classes:
        raise InputError(
            f"{config}: neither its metainfo nor {side.kind} names classes; add metainfo = dict(classes=(...)) to its "
            "data sets, or give --classes a,b,..."
        )
    if named and tuple(named) != tuple(classes):
        raise InputError(f"--classes: {config} names {len(classes)} classes itself; leave the option out")
    if settled and len(settled) != len(classes) and "values" not in given:
        raise InputError(
            f"{config}: it has {len(classes)} classes, and --set data.classes names {len(settled)}; name "
            f"{len(classes)}, or say what each is in the masks with --set data.values=[...]"
        )
    data: dict[str, Any] = {"classes": classes}
    if len(side.palette) == len(classes):
        data["palette"] = [list(colour) for colour in side.palette]
    if side.label_map is not None:
        data |= _values(side, len(classes))
        said = f"values of {len(side.label_map)} classes of {side.kind} mapped to these, the others ignored"
    elif side.reduce_zero_label:
        data["reduce_zero_label"] = True
        said = "0 in the masks is ignored (reduce_zero_label)"
    else:
        said = f"masks hold 0 to {len(classes) - 1}"
    if side.ignore_index != 255:
        data["ignore_index"] = side.ignore_index
    proposal.said.append(f"classes: {len(classes)}, {', '.join(classes[:4])}{', ...' if classes[4:] else ''}; {said}")
    return data


def _values(side: Declared, classes: int) -> dict[str, Any]:
    """What stands in the masks for each class, and what is ignored, by the map of the data set class."""
    assert side.label_map is not None
    first = 1 if side.reduce_zero_label else 0
    values: list[list[int]] = [[] for _ in range(classes)]
    ignored = [0] if side.reduce_zero_label else []
    for old, new in side.label_map.items():
        (values[new] if new < classes else ignored).append(old + first)
    return {"values": values, "ignored": ignored}


def _say_other_ignored(base: BaseConfig, side: Declared, classes: Sequence[str], proposal: Proposal) -> None:
    """A head that ignores a class is none that a study has: its losses count what [data] says."""
    for _, head in heads(base.cfg["model"]):
        value = head.get("ignore_index", 255)
        if value != side.ignore_index and isinstance(value, int):
            named = f" ({classes[value]})" if 0 <= value < len(classes) else ""
            proposal.said.append(
                f"note: the config's {head.get('type')} ignores {value}{named}, and the study {side.ignore_index} "
                "everywhere: losses count what the metric counts; [data] values and ignored take a class away"
            )
            return


def _start(base: BaseConfig) -> str:
    if base.load_from or base.weights_url:
        return "auto"
    return BACKBONE if initial_files(base.cfg["model"]) else "none"


def _iterations(base: BaseConfig, images: int, proposal: Proposal) -> dict[str, Any]:
    """Iterations in the place of a config's epochs."""
    loop = base.cfg["train_cfg"]
    epochs = loop.get("max_epochs")
    if loop.get("max_iters") or not isinstance(epochs, int):
        return {}
    batch = int(base.cfg["train_dataloader"].get("batch_size") or 1)
    iterations = max(1, epochs * -(-images // batch))
    proposal.said.append(f"train: {epochs} epochs of {images} images, {batch} a batch, are {iterations} iterations")
    return {"iterations": iterations}


def _space(config: Path, base: BaseConfig, proposal: Proposal) -> dict[str, Any]:
    """The learning rate and the weight decay around the config's own."""
    optimizer = base.cfg["optim_wrapper"].get("optimizer") or {}
    rate, decay, kind = optimizer.get("lr"), optimizer.get("weight_decay"), optimizer.get("type")
    if not isinstance(rate, int | float) or rate <= 0:
        raise InputError(f"{config}: its optimizer names no learning rate (lr); name one")
    name = "optim_wrapper.optimizer.lr"
    if kind in OPTIMIZERS:
        name = "lr_sgd" if kind == "SGD" else "lr_adam"
    params = {name: _around(float(rate))}
    if isinstance(decay, int | float) and decay > 0:
        params["weight_decay" if kind in OPTIMIZERS else "optim_wrapper.optimizer.weight_decay"] = _around(float(decay))
    shown = ", ".join(f"{key} {fields['low']:g} to {fields['high']:g}" for key, fields in params.items())
    proposal.said.append(f"space: {shown}; everything else is the config's")
    return {"preset": None, "params": params}


def _around(value: float) -> dict[str, Any]:
    # Rounded, or 0.01 would become 0.09999999999999999.
    return {"low": float(f"{value / _AROUND:.6g}"), "high": float(f"{value * _AROUND:.6g}"), "log": True}


def _metric(base: BaseConfig) -> str | None:
    """The config's own metric where that is not mIoU, which is the default."""
    evaluator = base.cfg.get("val_evaluator") or {}
    asked = evaluator.get("iou_metrics") if isinstance(evaluator, dict) else None
    return "mDice" if list(asked or ()) == ["mDice"] else None
