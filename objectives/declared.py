"""The data that an MMSegmentation config declares, as its own data set class reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmtuna.objectives.config import BaseConfig
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.spaces.errors import InputError

Cfg = dict[str, Any]
SIDES = ("train", "val")
TEST = "test"


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One side of a config's data.

    `kind` is the data set class, `classes` the names that count (empty where neither the config nor the class names
    any), `palette` a colour a class or empty. Folders and `ann_file` are absolute, the latter "" for none. `pairs` are
    the paths of every image and its mask, in MMSegmentation's order. `label_map` maps the class's own indices to those
    of `classes`, or to 255 for what counts nowhere; None for the same.
    """

    kind: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    image_folder: str
    mask_folder: str
    image_suffix: str
    mask_suffix: str
    ann_file: str
    reduce_zero_label: bool
    ignore_index: int
    label_map: dict[int, int] | None
    pairs: tuple[tuple[str, str], ...]


def read_declared(base: BaseConfig, where: Path, root: Path | None = None) -> dict[str, Declared]:
    """What the config's data sets for training and validation ("train", "val") read.

    Args:
        where: the config's file; a relative data_root starts here, or in the current folder, whichever has it.
        root: in the place of data_root, if given.

    The data sets are built in a child, whose doors are closed as a trial's, and open no image. Raises InputError where
    folders are not there, a list names a file that is not, or the data are mixed from several sets.
    """
    return _asked(base, where, {side: _plain_dataset(base, side, where, root) for side in SIDES})


def read_test(base: BaseConfig, where: Path, root: Path | None = None) -> Declared | None:
    """What the config's data set for testing reads; None where it has none, or that of validation.

    Arguments and errors are those of `read_declared`.
    """
    loader = base.cfg.get("test_dataloader")
    if not isinstance(loader, dict) or not loader.get("dataset"):
        return None
    test, val = (_plain_dataset(base, side, where, root) for side in (TEST, "val"))
    if {**test, "test_mode": True} == {**val, "test_mode": True}:
        return None
    return _asked(base, where, {TEST: test})[TEST]


def _asked(base: BaseConfig, where: Path, sides: dict[str, Cfg]) -> dict[str, Declared]:
    custom = {key: base.cfg[key] for key in ("custom_imports",) if key in base.cfg}
    found = call_in_child(_read, sides, custom, str(where))
    return {side: _declared(found[side]) for side in sides}


def _plain_dataset(base: BaseConfig, side: str, where: Path, root: Path | None) -> Cfg:
    """The config of one side's data set, out of its wrappers, with an absolute data_root and no pipeline."""
    found: Cfg = base.cfg[f"{side}_dataloader"].get("dataset") or {}
    while "dataset" in found or "datasets" in found:
        several = found.get("datasets") or [found["dataset"]]
        if len(several) != 1:
            raise InputError(
                f"{where}: {side}_dataloader joins {len(several)} data sets, and a study has one; bring "
                "them under one data_root, a folder each"
            )
        found = several[0]
    kept = {key: value for key, value in found.items() if key not in ("pipeline", "lazy_init", "serialize_data")}
    if root is not None:
        return {**kept, "data_root": str(root.resolve())}
    if kept.get("data_root") is None:
        return kept
    return {**kept, "data_root": str(_data_root(Path(str(kept["data_root"])), where))}


def _data_root(named: Path, where: Path) -> Path:
    # MMSegmentation starts a relative one in the current folder, by custom the repository's; an absolute one stays.
    places = (folder / named for folder in (Path.cwd(), *where.resolve().parents))
    there = next((place for place in places if place.is_dir()), None)
    if there is None:
        raise InputError(
            f"{where}: data_root = {str(named)!r} is no folder, seen from here, from the config's folder or one above; "
            "name it with --data ROOT"
        )
    return there.resolve()


def _read(asked: dict[str, Cfg], custom: Cfg, where: str) -> dict[str, Any]:
    # In the child, which has torch and mmseg.
    from mmseg.registry import DATASETS

    from mmtuna.objectives.config.allowed import imported
    from mmtuna.objectives.trial.closing import close_process
    from mmtuna.objectives.trial.registered import admit

    close_process()
    loaders = {f"{side}_dataloader": {"dataset": cfg} for side, cfg in asked.items()}
    try:
        admit({**loaders, **custom}, where, imported(custom))
    except ImportError as error:
        raise InputError(f"{where}: custom_imports: {error}; put their folder on PYTHONPATH") from None
    found = {}
    for side, cfg in asked.items():
        try:
            dataset = DATASETS.build({**cfg, "pipeline": [], "serialize_data": False, "lazy_init": True})
            dataset.full_init()
            infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        except Exception as error:  # data set classes raise anything where their folders are not as they expect
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"{where}: {side}_dataloader: {cfg['type']} cannot read its data: {reason}") from None
        found[side] = _told(dataset, cfg, infos)
    return found


def _told(dataset: Any, cfg: Mapping[str, Any], infos: list[dict[str, Any]]) -> dict[str, Any]:
    """What a data set says of itself, as JSON."""
    meta, own = dataset.metainfo, type(dataset).METAINFO
    # Where neither has one, MMSegmentation draws colours at random.
    has_palette = bool((cfg.get("metainfo") or {}).get("palette") or own.get("palette"))
    return {
        "kind": cfg["type"],
        "classes": list(meta.get("classes") or ()),
        "palette": [list(map(int, colour)) for colour in meta["palette"]] if has_palette else [],
        "image_folder": str(dataset.data_prefix.get("img_path") or ""),
        "mask_folder": str(dataset.data_prefix.get("seg_map_path") or ""),
        "image_suffix": dataset.img_suffix,
        "mask_suffix": dataset.seg_map_suffix,
        "ann_file": str(dataset.ann_file or ""),
        "reduce_zero_label": bool(dataset.reduce_zero_label),
        "ignore_index": int(dataset.ignore_index),
        "label_map": None if dataset.label_map is None else [[int(a), int(b)] for a, b in dataset.label_map.items()],
        "pairs": [[str(info["img_path"]), str(info.get("seg_map_path") or "")] for info in infos],
    }


def _declared(row: Mapping[str, Any]) -> Declared:
    table = row["label_map"]
    return Declared(
        **{
            **row,
            "classes": tuple(row["classes"]),
            "palette": tuple(tuple(colour) for colour in row["palette"]),
            "label_map": None if table is None else dict(table),
            "pairs": tuple((image, mask) for image, mask in row["pairs"]),
        }
    )
