"""Base configs: the UNet family, any config of the model zoo by name, any config file by path."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmtuna.objectives.config.allowed import check_config, foreign_imports, imported
from mmtuna.objectives.config.inheritance import SUFFIXES, load_plain, plain_copy
from mmtuna.objectives.insides import find_mmsegs_bases
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.settings import UNET

UNET_CONFIGS = {head: f"unet-s5-d16_{head}_4xb4-40k_hrf-256x256" for head in ("fcn", "pspnet", "deeplabv3")}


_COMPLETE = ("model", "train_dataloader", "val_dataloader", "train_cfg", "optim_wrapper")


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """A base config as plain data.

    `weights_url` is where the model zoo publishes its weights, if it does; `trusted` the file whose code was run for
    it, and whose custom_imports may be, None where it was only read.
    """

    name: str
    cfg: dict[str, Any]
    weights_url: str | None
    is_unet: bool
    trusted: Path | None = None

    @property
    def imports(self) -> tuple[str, ...]:
        """The modules that its custom_imports name; none where its code is not trusted."""
        return imported(self.cfg)

    @property
    def load_from(self) -> str | None:
        """The checkpoint that the config itself starts from."""
        found = self.cfg.get("load_from")
        return found if isinstance(found, str) else None

    def fingerprint(self) -> str:
        """sha256 (hex) of the config's content."""
        return hashlib.sha256(json.dumps(self.cfg, sort_keys=True, default=str).encode()).hexdigest()


def load_base(base: str, *, decoder: str = "pspnet", trust_code: bool = False) -> BaseConfig:
    """Reads a base config.

    Args:
        base: "unet" (then `decoder` picks the head), a model-zoo name, or a path to a .py, .json or .yaml config.
        decoder: fcn | pspnet | deeplabv3; ignored for any other base.
        trust_code: a config file of your own, and its bases, are run as Python, and may have custom_imports. Without
            it they are evaluated as data (mmtuna.objectives.config.syntax), as those of the model zoo always are.

    Raises InputError for an unknown name, an unreadable file, or code that is not trusted.
    """
    path = _find(UNET_CONFIGS[decoder] if base == UNET else base)
    own_code = trust_code and not path.resolve().is_relative_to(_zoo().resolve())
    cfg = _run(path) if own_code else load_plain(path, _zoo())
    if not own_code and foreign_imports(cfg):
        raise InputError(
            f"base config {path}: imports code (custom_imports); set [model] trust_code = true to allow it"
        )
    check_config(cfg, f"base config {path}", imported(cfg))
    missing = [key for key in _COMPLETE if not isinstance(cfg.get(key), dict)]
    if missing:
        raise InputError(f"base config {path}: has no {', '.join(missing)}; name a complete config, one that trains")
    return BaseConfig(
        name=path.stem,
        cfg=cfg,
        weights_url=_published_weights(path),
        is_unet=base == UNET,
        trusted=path if own_code else None,
    )


def _zoo() -> Path:
    spec = importlib.util.find_spec("mmseg")
    if spec is None or spec.origin is None:
        raise InputError("mmseg is not installed; install onedl-mmsegmentation")
    return Path(spec.origin).parent / ".mim" / "configs"


def _find(base: str) -> Path:
    if base.endswith(SUFFIXES) or "/" in base:
        path = Path(base).resolve()
        if not path.is_file():
            raise InputError(f"base config {path}: no such file; give a path, a model-zoo name, or 'unet'")
        return path
    configs = {path.stem: path for path in _zoo().glob("*/*.py")}
    if base not in configs:
        near = difflib.get_close_matches(base, configs, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else "see MMSegmentation's model zoo"
        raise InputError(f"[model] base = {base!r} is no model-zoo config; {hint}")
    return configs[base]


def _run(path: Path) -> dict[str, Any]:
    """A config that the person trusts, run as MMEngine runs it: its code, and that of its bases."""
    from mmengine.config import Config

    find_mmsegs_bases()
    try:
        # Custom imports run where the model is built, in a child, and only then: importing them is running them.
        found: dict[str, Any] = Config.fromfile(str(path), import_custom_modules=False).to_dict()
    except Exception as error:  # whatever a broken config raises, the person needs the file's name and one line
        raise InputError(f"base config {path}: {first_line(error)}; it must load with mmengine's Config") from error
    return plain_copy(found, f"base config {path}")


def _published_weights(path: Path) -> str | None:
    metafile = path.parent / "metafile.yaml"
    if not metafile.is_file():
        return None
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with it
    models = (yaml.load(metafile.read_text(encoding="utf-8"), loader) or {}).get("Models") or []  # noqa: S506
    return next((model.get("Weights") for model in models if model.get("Name") == path.stem), None)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
