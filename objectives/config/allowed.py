"""What a config may name: registered classes, and nothing that runs code, fetches files or writes outside the trial.

MMEngine imports whatever a dotted `type` names, so a config of plain values can still run any function. What can be
known without torch is checked here; whether a name is registered, in the child (mmtuna.objectives.trial.registered).
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmtuna.objectives.data.dataset import IMAGE_SOURCE, MASK_SOURCE
from mmtuna.spaces.errors import InputError

RUNNER_KEYS = (
    *("model", "train_dataloader", "val_dataloader", "test_dataloader", "train_cfg", "val_cfg", "test_cfg"),
    *("optim_wrapper", "param_scheduler", "val_evaluator", "test_evaluator", "default_hooks", "custom_hooks"),
    *("custom_imports", "env_cfg", "log_processor", "log_level", "visualizer", "default_scope", "test_pipeline"),
)
"""What Runner.from_cfg reads, and test_pipeline, which mmseg's inference API reads."""
TRIAL_KEYS = (*RUNNER_KEYS, "load_from", "resume", "randomness", "compile", IMAGE_SOURCE, MASK_SOURCE)
"""The names that a trial's config may set; the last two are nothing of MMEngine's."""
SCOPES = ("mmengine", "mmcv", "mmseg")
PACKAGES: Mapping[str, str] = {
    "mmdet": "onedl-mmdetection",
    "mmpretrain": "onedl-mmpretrain",
}
"""Other packages whose names MMSegmentation's own configs use, and what installs each."""
_NAME = re.compile(r"\w+")
_SCOPED = re.compile(r"(\w+)\.(\w+)")
_NAMING = ("type", "constructor")  # the second: of an optimizer's wrapper
_REFUSED: Mapping[str, str] = {
    "RFSearchHook": "runs text of the config as code",
    "VPD": "imports what its config names as target",
    "DumpResults": "writes pickled files where the config says",
    "ProfilerHook": "writes files where the config says",
    "NPUProfilerHook": "writes files where the config says",
    "FlexibleRunner": "is another runner than the one that trials are trained by",
}
SENDING = (
    *("AimVisBackend", "ClearMLVisBackend", "DVCLiveVisBackend", "MLflowVisBackend", "NeptuneVisBackend"),
    "WandbVisBackend",
)
"""Backends that send what they see to a server."""


def sending(cfg: Mapping[str, Any]) -> list[str]:
    """The backends of a base's visualizer that would send what they see."""
    entries = _entries(cfg.get("visualizer"), "visualizer")
    return [str(value) for _, key, value in entries if key == "type" and str(value).rpartition(".")[2] in SENDING]


_WRITING = ("out_dir", "output_dir", "save_dir", "out_file_path", "json_trace_path", "rfstructure_file", "work_dir")
_READING = ("backend_args", "file_client_args")


def check_config(cfg: Mapping[str, Any], where: str, imports: Sequence[str] = ()) -> None:
    """Raises InputError for what in a base config or a trial's config names something that it may not.

    Args:
        where: the file, for the message.
        imports: modules of the person's own code whose names count as well ([model] trust_code and custom_imports).
    """
    packages = {name.split(".")[0] for name in imports}
    for package in sorted(packages & set(PACKAGES)):
        if _missing(package):
            raise InputError(f"{where}: custom_imports {_missing(package)}")
    for key in RUNNER_KEYS:
        for path, name, value in _entries(cfg.get(key), key):
            fault = _fault(name, value, packages)
            if fault:
                raise InputError(f"{where}: {path} = {_short(value)} {fault}")


def check_trial_config(cfg: Mapping[str, Any], where: str, imports: Sequence[str] = ()) -> None:
    """`check_config`, and that a trial's config holds no more than what mmtuna writes into one."""
    strange = [key for key in cfg if key not in TRIAL_KEYS]
    if strange:
        raise InputError(f"{where}: sets {strange[0]}, which no trial's config does; it was changed from outside")
    asked = imported(cfg)
    foreign = [name for name in asked if name not in imports]
    if foreign:
        raise InputError(
            f"{where}: imports {foreign[0]} (custom_imports), which the study's base config does not; only what a base "
            "with [model] trust_code = true names is imported"
        )
    check_config(cfg, where, imports)
    if sending(cfg):
        raise InputError(
            f"{where}: the visualizer's {sending(cfg)[0]} sends what it sees to a server; nothing leaves the machine"
        )
    for path, _, value in (*_entries(cfg.get("model"), "model"), ("load_from", "", cfg.get("load_from"))):
        if isinstance(value, str) and "://" in value:
            raise InputError(f"{where}: {path} = {_short(value)} is an address; a trial loads files of its own machine")


def foreign_imports(cfg: Mapping[str, Any]) -> list[str]:
    """The modules of custom_imports that are of no package of OpenMMLab: code of somebody's own."""
    return [name for name in imported(cfg) if name.split(".")[0] not in (*SCOPES, *PACKAGES)]


def imported(cfg: Mapping[str, Any]) -> tuple[str, ...]:
    """The modules that a config's custom_imports name."""
    found = (cfg.get("custom_imports") or {}).get("imports") or []
    return tuple([found] if isinstance(found, str) else found)


def _entries(value: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """(dotted path, last key, value) of everything in a tree."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield f"{path}.{key}", str(key), part
            yield from _entries(part, f"{path}.{key}")
    elif isinstance(value, list | tuple | set):
        for place, part in enumerate(value):
            yield from _entries(part, f"{path}.{place}")
    elif path == "default_scope":
        yield path, path, value


def _fault(key: str, value: Any, packages: set[str]) -> str:
    """Why `key = value` may not stand in a config, "" where it may."""
    if key in _NAMING and (key == "type" or isinstance(value, str)):
        return _name_fault(value, packages)
    if key in ("_scope_", "default_scope"):
        known = value is None or value in (*SCOPES, *packages) or (isinstance(value, str) and _installed(value))
        return "" if known else f"is no package whose registry is used; take one of {', '.join(SCOPES)}"
    if key in _WRITING and value is not None:
        return "writes where the config says, and a trial writes into its own folder only; take it out"
    if key in _READING and not _reads_files(value):
        return "reads through a server, and mmtuna reads files; take it out"
    if key == "decode_backend" and value == "pickle":
        return "unpickles files, which runs what they hold; save them as NumPy arrays"
    return ""


def _name_fault(value: Any, packages: set[str]) -> str:
    if not isinstance(value, str):
        return "must be the name of a registered class, as a text"
    scoped = _SCOPED.fullmatch(value)
    scope, name = scoped.groups() if scoped else ("", value)
    if name in _REFUSED:
        return f"{_REFUSED[name]}; take it out"
    if scope in PACKAGES:
        return _missing(scope)
    if _NAME.fullmatch(value) or scope in (*SCOPES, *packages):
        return ""
    return "is no name of a registry; write the name alone that its package registers, without dots"


def _missing(package: str) -> str:
    name = PACKAGES[package]
    return "" if _installed(package) else f"needs the package {name}, which is not installed; pip install {name}"


def _installed(scope: str) -> bool:
    return scope in PACKAGES and importlib.util.find_spec(scope) is not None


def _reads_files(value: Any) -> bool:
    """Whether `backend_args` mean the disk, which is also what they mean where they are absent."""
    if value is None:
        return True
    return isinstance(value, Mapping) and set(value) <= {"backend"} and value.get("backend") in (None, "local", "disk")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
