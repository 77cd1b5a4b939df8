"""Whether every `type` in a config is the name of something registered. Imports mmseg: for a child process."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import mmengine.registry
from mmengine.registry import Registry
from mmengine.utils import import_modules_from_strings

from mmtuna.objectives.config.allowed import PACKAGES, SCOPES, check_trial_config, foreign_imports, imported
from mmtuna.objectives.trial import closing
from mmtuna.spaces.errors import InputError


def admit(cfg: Mapping[str, Any], where: str, imports: Sequence[str]) -> None:
    """Checks a config that is about to be built, and imports the modules of the person's own that it names.

    Args:
        where: the file, for messages.
        imports: the modules that the study's base config may import, empty where its code is not trusted.

    Raises InputError for a name that no package registers, and for all that `check_trial_config` refuses.
    """
    check_trial_config(cfg, where, imports)
    if imported(cfg):
        if foreign_imports(cfg):
            closing.open_for_own_code()
        import_modules_from_strings(**cfg["custom_imports"])
        _names.cache_clear()
    known = _names()
    for path, value in (found for key in cfg for found in _types(cfg[key], key)):
        if value not in known:
            scope = value.rpartition(".")[0]
            near = difflib.get_close_matches(value, known, n=1) if not scope else []
            hint = f"did you mean {near[0]}?" if near else "see the names in MMSegmentation's documentation"
            by = scope or ", ".join(SCOPES)
            raise InputError(f"{where}: {path} = {value!r} is no class that {by} registers; {hint}")


@cache
def _names() -> frozenset[str]:
    """Every registered name, alone and behind its package's, of the packages that mmtuna knows."""
    found: set[str] = set()
    for scope in PACKAGES:
        closing.import_registry(scope)
    for root in vars(mmengine.registry).values():
        if isinstance(root, Registry):
            found |= set(_registered(root))
    return frozenset(found)


def _registered(registry: Registry) -> Iterator[str]:
    registry.import_from_location()
    for name in registry.module_dict:
        # What mmcv registers stands in MMEngine's own registries.
        scopes = ("mmengine", "mmcv") if registry.scope == "mmengine" else (registry.scope,)
        yield from (f"{scope}.{name}" for scope in scopes)
        if registry.scope not in PACKAGES:  # these are found by their package's name only
            yield name
    for child in registry.children.values():
        yield from _registered(child)


def _types(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        if value.get("type") == "Albu":
            _check_albumentations(value, path)
            return
        for key, part in value.items():
            if key in ("type", "constructor") and isinstance(part, str):
                yield f"{path}.{key}", part
            elif key != "clip_grad":  # whose type is a way to clip
                yield from _types(part, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for place, part in enumerate(value):
            yield from _types(part, f"{path}.{place}")


def _check_albumentations(step: Mapping[str, Any], path: str) -> None:
    """The names within `Albu` are albumentations' own."""
    try:
        import albumentations
    except ImportError:
        raise InputError(f"{path}: Albu needs the package albumentations; pip install albumentations") from None
    kinds = (albumentations.BasicTransform, albumentations.BaseCompose)
    for place, value in _types(list(step.get("transforms", [])), f"{path}.transforms"):
        found = getattr(albumentations, value, None)
        if not (isinstance(found, type) and issubclass(found, kinds)):
            raise InputError(f"{place} = {value!r}: albumentations has no transform of that name")
