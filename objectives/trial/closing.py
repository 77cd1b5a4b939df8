"""Doors of MMEngine, mmcv, mmseg and torch that a config or a checkpoint could open, closed for a trial's process.

What a config says is checked before (mmtuna.objectives.config.allowed); this holds where that check has a gap. Their
private names stand here, each with a test (tests/objectives/trial/test_closing.py) that notices when one is gone.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import mmcv.cnn.rfsearch.search
import mmengine.fileio.backends.registry_utils as backends
import mmengine.fileio.file_client as file_client
import mmengine.fileio.handlers.registry_utils as handlers
import mmengine.fileio.handlers.yaml_handler as yaml_handler
import mmengine.registry.registry as registry
import mmengine.runner.checkpoint as checkpoint
import mmengine.utils.dl_utils
import mmseg.utils.io
import numpy as np
import torch
import torch.utils.model_zoo
import yaml
from mmengine.logging.history_buffer import HistoryBuffer

from mmtuna.objectives.config.allowed import PACKAGES, SCOPES

_LOCAL = ("", "local", "disk")
_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request")
_load = torch.load
_import_module = registry.import_module


class ClosedError(RuntimeError):
    """Something that a trial's process does not do."""


class _State:
    closed = False
    own_code = False  # the person's own modules were imported: what they do is theirs


def close_process() -> None:
    """Closes the doors, for good: for processes that train, evaluate or export, and end with that."""
    if _State.closed:
        return
    _State.closed = True
    checkpoint._safe_torch_load = load_strictly
    for prefix in list(checkpoint.CheckpointLoader._schemes):
        if prefix:
            checkpoint.CheckpointLoader._schemes[prefix] = _refuse("weights are fetched by mmtuna and not by MMEngine")
    for module, name in (
        (torch.hub, "load_state_dict_from_url"),
        (torch.hub, "download_url_to_file"),
        (torch.hub, "load"),
        (torch.utils.model_zoo, "load_url"),
        (checkpoint, "load_url"),
        (mmengine.utils.dl_utils, "load_url"),
    ):
        setattr(module, name, _refuse(f"{name} fetches files, and weights are fetched before the trial"))
    torch.load = _load_without_code
    for table in (backends.backends, backends.prefix_to_backends, *_client_tables()):
        for name in [name for name in table if name not in _LOCAL]:
            table[name] = _refuse(f"files are read from disks, not by {name}")
    for kind in ("pickle", "pkl"):
        handlers.file_handlers[kind] = _NoHandler()
    yaml_handler.Loader = yaml.SafeLoader
    mmseg.utils.io.pickle = _NoHandler()
    registry.get_object_from_string = _no_object
    registry.import_module = _import_known
    mmcv.cnn.rfsearch.search.eval = _refuse("RFSearchHook runs text of the config as code")
    sys.addaudithook(_hear)


def open_for_own_code() -> None:
    """Lets the process use the network and torch.load as it likes: code that the person trusts was imported."""
    _State.own_code = True


def import_registry(scope: str) -> None:
    """Imports the registry of one of OpenMMLab's packages where it is installed."""
    if importlib.util.find_spec(scope) is not None:
        _import_module(f"{scope}.registry")


def load_strictly(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:  # noqa: ARG001
    """torch.load of plain weights and of what MMEngine keeps beside them; nothing in the file is run.

    MMEngine's own loader falls back to running the pickle; and what it allows without that holds `getattr`, from which
    every function of Python can be reached.
    """
    numpy: Any = np
    core = (numpy._core if hasattr(numpy, "_core") else numpy.core).multiarray
    numbers = [type(np.dtype(code)) for code in "?bBhHiIlLqQefd"]
    allowed: list[Any] = [np.ndarray, np.dtype, core._reconstruct, core.scalar, *numbers, slice, HistoryBuffer]
    with torch.serialization.safe_globals([*allowed, (_statistic, "builtins.getattr")]):
        return _load(file, map_location=map_location, weights_only=True)


def _statistic(owner: Any, name: Any) -> Any:
    """What MMEngine's history buffers ask `getattr` for: their own four statistics."""
    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        raise ClosedError(f"the checkpoint asks for {name} of {owner!r}, which is no part of weights")
    return getattr(HistoryBuffer, name)


def _load_without_code(*arguments: Any, **named: Any) -> Any:
    if not _State.own_code and (named.get("weights_only") is False or named.get("pickle_module") is not None):
        raise ClosedError("torch.load without weights_only runs what the file holds")
    if not _State.own_code:
        named["weights_only"] = True
    return _load(*arguments, **named)


def _client_tables() -> tuple[dict[str, Any], dict[str, Any]]:
    return file_client.FileClient._backends, file_client.FileClient._prefix_to_backends


def _refuse(why: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise ClosedError(why)

    return refuse


class _NoHandler:
    """In the place of pickle, and of MMEngine's handler of it."""

    str_like = False

    def __getattr__(self, name: str) -> Any:
        return _refuse(f"pickle.{name}: a pickled file runs what it holds")


def _no_object(name: str) -> None:
    """In the place of MMEngine's import of dotted `type` names: none of them names anything."""


def _import_known(name: str, package: str | None = None) -> Any:
    if not _State.own_code and name.split(".")[0] not in (*SCOPES, *PACKAGES):
        raise ImportError(f"{name} is of no package whose registry is used")
    return _import_module(name, package)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    """Python tells of each connection before it is made; what is within the machine's own file system may be."""
    if event in _NETWORK and not _State.own_code:
        address = arguments[1] if event in ("socket.connect", "socket.sendto") and len(arguments) > 1 else None
        if not isinstance(address, str | bytes):  # a name in the file system
            raise ClosedError(f"a trial's process does not use the network ({event})")
