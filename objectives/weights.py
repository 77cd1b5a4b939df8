"""Weights to start from: found, fetched once, verified, and never run as code."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib.util
import json
import math
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mmtuna.objectives.config.base import BaseConfig, first_line
from mmtuna.objectives.config.initial import initial_files
from mmtuna.objectives.trial.building import class_layers, missing_part, shapes_of, unfilled
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import PlaceError, whole_file

OnProgress = Callable[[str, int, int], None]
"""Called with (file name, bytes so far, bytes in all or 0 if unknown)."""

BACKBONE = "backbone"
"""[model] pretrained for the weights that the base's own model starts from."""
_DIGITS = re.compile(r"-([0-9a-f]{8,64})\.pth$")
_TIMEOUT = 30.0  # seconds without a byte
_WAY_OUT = "set [model] pretrained to a local file, another URL, or 'none'"


def cache_folder() -> Path:
    """Where downloads are kept: MMTUNA_CACHE, else XDG_CACHE_HOME/mmtuna, else ~/.cache/mmtuna."""
    own = os.environ.get("MMTUNA_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmtuna"


def resolve_weights(
    pretrained: str, base: BaseConfig, *, cache: Path | None = None, on_progress: OnProgress | None = None
) -> Path | None:
    """A local checkpoint file for `pretrained`: "auto" (what the model zoo publishes, else what the base's own
    load_from names), a path, a URL, or "none".

    None for "none", and for "backbone", whose files `backbone_files` finds.

    Downloads go to `cache` once; where the file name ends in digits of its sha256 they are checked, also on a file
    that was there before. Raises InputError for weights that are missing, unreachable, cut or changed.
    """
    if pretrained in ("none", BACKBONE):
        return None
    if pretrained == "auto":
        named = base.weights_url or base.load_from
        if named is None:
            raise InputError(
                f"[model] pretrained = 'auto': the model zoo has no weights for {base.name}; {_or_backbone(base)}"
            )
        pretrained = _address(named) or named
    return _file_of(pretrained, cache, on_progress)


def backbone_files(
    base: BaseConfig, *, cache: Path | None = None, on_progress: OnProgress | None = None
) -> dict[str, Path]:
    """The local files of the weights that the base's own model starts from, by what its config calls them.

    These are weights of backbones, made on other data; the heads start from random ones. Fetched and checked as
    `resolve_weights` does. Raises InputError for a base that names none, a name that nobody knows, and as it does.
    """
    found: dict[str, Path] = {}
    for place, source in initial_files(base.cfg["model"]).items():
        address = _address(source)
        if address is None:
            raise InputError(
                f"base config {base.name}: {place} = {source!r} is no name that MMEngine knows; {_WAY_OUT}"
            )
        found[source] = _file_of(address, cache, on_progress)
    if not found:
        raise InputError(f"[model] pretrained = 'backbone': base config {base.name} names no weights; {_WAY_OUT}")
    return found


def _or_backbone(base: BaseConfig) -> str:
    named = initial_files(base.cfg["model"])
    return f"{_WAY_OUT}, or to 'backbone' ({', '.join(named.values())})" if named else _WAY_OUT


def _address(source: str) -> str | None:
    """Where MMEngine would take `source` from: its own short names lead to addresses, all else is one or a path."""
    scheme, is_short, name = source.partition("://")
    tables = {
        "open-mmlab": "openmmlab.json",
        "openmmlab": "openmmlab.json",
        "mmcls": "mmcls.json",
        "torchvision": "torchvision_0.12.json",
        "modelzoo": "torchvision_0.12.json",
    }
    if not is_short or scheme not in tables:
        return source
    spec = importlib.util.find_spec("mmengine")
    assert spec is not None and spec.origin is not None  # noqa: PT018
    hub = Path(spec.origin).parent / "hub"
    renamed = json.loads((hub / "deprecated.json").read_text(encoding="utf-8"))
    addresses: dict[str, str] = json.loads((hub / tables[scheme]).read_text(encoding="utf-8"))
    return addresses.get(renamed.get(name, name))


def _file_of(address: str, cache: Path | None, on_progress: OnProgress | None) -> Path:
    if "://" in address:
        return _fetch(address, cache or cache_folder(), on_progress)
    path = Path(address)
    if not path.is_file():
        raise InputError(f"weights {path}: no such file; {_WAY_OUT}")
    digits = _DIGITS.search(path.name)
    if digits is not None and not digits[1].isdecimal():  # a person's own file may end in a date or a number
        _check_digits(path, str(path))
    return path.resolve()


def _fetch(url: str, cache: Path, on_progress: OnProgress | None) -> Path:
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"weights {url}: only http and https are fetched; {_WAY_OUT}")
    name = Path(urlsplit(url).path).name
    if not name:
        raise InputError(f"weights {url}: names no file; {_WAY_OUT}")
    # Without digits in its name a file says nothing of what it is: the address keeps two of one name apart.
    folder = cache if _DIGITS.search(name) else cache / hashlib.sha256(url.encode()).hexdigest()[:12]
    path = folder / name
    if not path.is_file():
        _download(url, path, on_progress)
    else:
        _check_digits(path, str(path))
    return path.resolve()


def _download(url: str, path: Path, on_progress: OnProgress | None) -> None:
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    try:
        with whole_file(path) as part:
            _receive(url, part, path.name, on_progress)
            _check_digits(part, path.name)
    except PlaceError as error:
        place = str(error).rpartition(";")[0]
        raise InputError(f"weights cache {place}; set MMTUNA_CACHE to a folder to write in") from error
    except InputError:
        raise
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"weights {url}: cannot be fetched ({reason}); {_WAY_OUT}") from error
    finally:
        for folder in made:  # a failure leaves no empty folders; a full one refuses to go
            with contextlib.suppress(OSError):
                folder.rmdir()


def _receive(url: str, part: Path, name: str, on_progress: OnProgress | None) -> None:
    with part.open("xb") as file, urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310
        wanted, done = int(answer.headers.get("Content-Length") or 0), 0
        while block := answer.read(1 << 20):
            file.write(block)
            done += len(block)
            if on_progress:
                on_progress(name, done, wanted)
    if wanted and done != wanted:
        raise InputError(
            f"weights {url}: {done} of {wanted} bytes came, the download was cut; try again, or {_WAY_OUT}"
        )


def _check_digits(path: Path, name: str) -> None:
    digits = _DIGITS.search(name)
    if digits is None:
        return
    found = file_sha256(path)
    if not found.startswith(digits[1]):
        raise InputError(
            f"weights {name}: sha256 begins {found[:8]} and the name says {digits[1]}, the file was cut or changed; "
            f"delete it and fetch it again, or {_WAY_OUT}"
        )


def file_sha256(path: Path) -> str:
    """sha256 (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compare_with_models(path: Path, cfgs: Mapping[str, dict[str, Any]]) -> list[str]:
    """Loads a checkpoint with weights_only and holds it against the models of `cfgs`. Imports torch.

    Returns the names of the parameters whose shape depends on the classes and differs: these last layers start anew.
    Raises InputError where the file cannot be loaded safely or belongs to another architecture than one of `cfgs`,
    which is named by its key: settings in words, or nothing where there is one alone.
    """
    loaded = _load(path)
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    state = {name.removeprefix("module."): value for name, value in state.items() if hasattr(value, "shape")}
    anew = (_anew(path, state, cfg, label) for label, cfg in cfgs.items())
    return list(dict.fromkeys(name for names in anew for name in names))


def _anew(path: Path, state: Mapping[str, Any], cfg: dict[str, Any], label: str) -> list[str]:
    wanted = _shapes(cfg)  # which says in a line why a model does not build
    last = class_layers(cfg["model"], wanted)
    differing = [name for name in wanted if name in state and tuple(state[name].shape) != wanted[name]]
    missing = [name for name in wanted if name not in state]
    strange = [name for name in (*missing, *differing) if name not in last]
    if strange:
        raise InputError(
            f"weights {path}: do not fit the model{f' of {label}' if label else ''}, {len(strange)} of {len(wanted)} "
            f"tensors are missing or of another shape ({strange[0]}); use weights of the same decoder and "
            f"base_channels, or {_WAY_OUT}"
        )
    return [name for name in last if name in (*missing, *differing)]


def _load(path: Path) -> Any:
    from mmtuna.objectives.trial.training import load_strictly

    try:
        return load_strictly(path, map_location="cpu")
    except Exception as error:  # torch raises half a dozen kinds for a broken file
        reason = first_line(error)[:120]
        raise InputError(f"weights {path}: cannot be loaded as plain weights ({reason}); {_WAY_OUT}") from error


def count_taken(cfgs: Sequence[dict[str, Any]], files: Mapping[str, Path]) -> dict[str, tuple[int, int]]:
    """Of each file's tensors how many the models of `cfgs` start with at least, and how many it has. Imports torch.

    Those that are one number throughout are left out: a fresh model has them, too. InputError for a file that cannot be
    loaded safely, and for one of which a model takes nothing: MMEngine would only log that.
    """
    started = [_started(cfg) for cfg in cfgs]
    counts: dict[str, tuple[int, int]] = {}
    for source, path in files.items():
        theirs = {mark for value in _tensors(_load(path)) if (mark := _signature(value)) is not None}
        least = min(len(theirs & ours) for ours in started)
        counts[source] = (least, len(theirs))
        if not least:
            raise InputError(f"weights {path}: the model takes none of its {len(theirs)} tensors; {_WAY_OUT}")
    return counts


def _started(cfg: dict[str, Any]) -> set[Any]:
    """What tells the tensors apart that the model of `cfg` starts with."""
    with unfilled():
        model = build_model(cfg)
        model.init_weights()
    return {_signature(value) for value in model.state_dict().values()}


def _tensors(node: Any) -> Iterator[Any]:
    if isinstance(node, Mapping):
        for value in node.values():
            yield from _tensors(value)
    elif hasattr(node, "shape"):
        yield node


def _signature(value: Any) -> tuple[Any, ...] | None:
    """What tells a tensor from others; None for one that is a single number throughout."""
    flat = value.detach().flatten().double()
    if flat.numel() < 2 or bool((flat == flat[0]).all()):
        return None
    return tuple(value.shape), float(flat.sum()), float(flat.abs().max())


def model_bytes(cfg: dict[str, Any]) -> int:
    """Bytes of the weights of the model in `cfg`, as float32. InputError where it does not build. Imports torch."""
    return sum(math.prod(shape) for shape in _shapes(cfg).values()) * 4  # bytes of a float32


def present_devices(devices: tuple[str, ...] | list[str] | str) -> list[str]:
    """The devices to train on: "auto" is every GPU, else the CPU. InputError for one that is of no use."""
    import torch

    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    auto = gpus or ["cpu"]
    named = auto if devices == "auto" else ["cuda:0" if device == "cuda" else device for device in devices]
    for device in named:
        if device not in (*gpus, "cpu"):
            raise InputError(
                f"[resources] devices: {device} is not there; this machine has {', '.join([*gpus, 'cpu'])}"
            )
        try:
            # A GPU that the driver counts may still be of no use, with an old driver or in exclusive use.
            torch.zeros(1, device=device)
        except Exception as error:  # torch has no error of its own for it
            raise InputError(
                f"[resources] devices: torch {torch.__version__} cannot use {device} ({first_line(error)}); install "
                'a newer driver, free the GPU, or set devices = ["cpu"]'
            ) from error
    return named


def _shapes(cfg: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of the model in `cfg`, by name."""
    with unfilled():
        return shapes_of(build_model(cfg))


def build_model(cfg: dict[str, Any]) -> Any:
    """The model in `cfg`, untrained. InputError where it does not build. Imports torch."""
    from mmengine.config import ConfigDict
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    import mmtuna.objectives.trial.training  # noqa: F401  # registers mmseg's models
    from mmtuna.objectives.config.allowed import imported
    from mmtuna.objectives.trial.registered import admit

    init_default_scope("mmseg")
    try:
        admit(cfg, "the model", imported(cfg))  # as the base config says, which made it just now
        return MODELS.build(ConfigDict(cfg["model"]))
    except InputError:
        raise
    except Exception as error:  # whatever a model's constructor raises
        reason = missing_part(cfg["model"], first_line(error))
        if reason is not None:
            raise InputError(f"the model does not build: {reason}, or take another [model] base") from error
        reason = first_line(error)
        raise InputError(f"the model does not build: {reason}; mend the base config or the dotted keys") from error
