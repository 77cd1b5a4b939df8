"""Base configs: the UNet family, any config of the model zoo by name, any config file by path."""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmtuna.spaces.errors import InputError

UNET = "unet"
UNET_CONFIGS = {head: f"unet-s5-d16_{head}_4xb4-40k_hrf-256x256" for head in ("fcn", "pspnet", "deeplabv3")}


_COMPLETE = ("model", "train_dataloader", "val_dataloader", "train_cfg", "optim_wrapper")


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """A base config as plain data. `weights_url` is where the model zoo publishes its weights, if it does."""

    name: str
    cfg: dict[str, Any]
    weights_url: str | None
    is_unet: bool

    def fingerprint(self) -> str:
        """sha256 (hex) of the config's content."""
        return hashlib.sha256(json.dumps(self.cfg, sort_keys=True, default=str).encode()).hexdigest()


def load_base(base: str, *, decoder: str = "pspnet", trust_code: bool = False) -> BaseConfig:
    """Reads a base config.

    Args:
        base: "unet" (then `decoder` picks the head), a model-zoo name, or a path to a .py, .json or .yaml config.
        decoder: fcn | pspnet | deeplabv3; ignored for any other base.
        trust_code: a config file of your own may hold arbitrary Python and custom_imports only where this is True.

    Raises InputError for an unknown name, an unreadable file, or code that is not trusted.
    """
    from mmengine.config import Config
    from mmengine.config.utils import MODULE2PACKAGE

    # For `_base_ = "mmseg::..."` it looks for a distribution called mmsegmentation, and ours has another name.
    MODULE2PACKAGE["mmseg"] = "mmseg"
    path = _find(UNET_CONFIGS[decoder] if base == UNET else base)
    if not trust_code and not path.is_relative_to(_zoo()):
        _refuse_code(path)
    try:
        # Custom imports run where the model is built, in a child, and only then: importing them is running them.
        cfg: dict[str, Any] = Config.fromfile(str(path), import_custom_modules=False).to_dict()
    except Exception as error:  # whatever a broken config raises, the person needs the file's name and one line
        raise InputError(f"base config {path}: {first_line(error)}; it must load with mmengine's Config") from error
    if not trust_code and cfg.get("custom_imports"):
        raise InputError(
            f"base config {path}: imports code (custom_imports); set [model] trust_code = true to allow it"
        )
    missing = [key for key in _COMPLETE if not isinstance(cfg.get(key), dict)]
    if missing:
        raise InputError(f"base config {path}: has no {', '.join(missing)}; name a complete config, one that trains")
    return BaseConfig(name=path.stem, cfg=cfg, weights_url=_published_weights(path), is_unet=base == UNET)


def _zoo() -> Path:
    spec = importlib.util.find_spec("mmseg")
    if spec is None or spec.origin is None:
        raise InputError("mmseg is not installed; install onedl-mmsegmentation")
    return Path(spec.origin).parent / ".mim" / "configs"


def _find(base: str) -> Path:
    if base.endswith((".py", ".json", ".yaml", ".yml")) or "/" in base:
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


_DATA_NODES = (
    *(ast.Module, ast.Assign, ast.AugAssign, ast.Expr, ast.Constant, ast.Dict, ast.List, ast.Tuple, ast.Set, ast.Name),
    *(ast.Load, ast.Store, ast.Del, ast.Delete, ast.Starred, ast.keyword, ast.Subscript, ast.Slice, ast.JoinedStr),
    *(ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.IfExp, ast.Compare, ast.cmpop, ast.FormattedValue),
)
_DATA_CALLS = ("dict", "list", "tuple", "set", "range", "len", "int", "float", "str", "min", "max", "round")


_REMEDY = "write plain values, or set [model] trust_code = true"


def _refuse_code(path: Path, seen: frozenset[Path] = frozenset()) -> None:
    """Reads a config and its bases as text: MMEngine runs them, so only plain data may stand there."""
    try:
        text = path.read_text(encoding="utf-8")
        bases = _python_bases(path, text) if path.suffix == ".py" else _plain_bases(path, text)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise InputError(f"base config {path}: {first_line(error)}; it must be a config file") from error
    for base in bases:
        if "::" in base:  # a file of an installed package
            if ".." in base:
                raise InputError(f"base config {path}: its _base_ {base} leaves the package; name a file inside it")
            continue
        target = (path.parent / base).resolve()
        if not target.is_file():
            raise InputError(f"base config {path}: its _base_ {base} does not exist")
        if target not in seen and not target.is_relative_to(_zoo()):
            _refuse_code(target, seen | {path})


def _python_bases(path: Path, text: str) -> list[str]:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if not _is_data(node):
            raise InputError(
                f"base config {path}, line {getattr(node, 'lineno', '?')}: holds code ({type(node).__name__}), which "
                f"reading it would run; {_REMEDY}"
            )
    # MMEngine fills in {{...}} as text before it runs the file, so inside a string it can become code.
    if text.count("{{") != sum(_is_reference(node) for node in ast.walk(tree)):
        raise InputError(f"base config {path}: holds a template ({{{{...}}}}), which can become code; {_REMEDY}")
    bases: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "_base_" for t in node.targets):
            try:
                bases += _as_names(ast.literal_eval(node.value))
            except (ValueError, TypeError):
                raise InputError(
                    f"base config {path}, line {node.lineno}: _base_ is computed, so the files it names are unknown; "
                    f"{_REMEDY}"
                ) from None
    return bases


def _plain_bases(path: Path, text: str) -> list[str]:
    import yaml

    if "{{" in text:
        raise InputError(f"base config {path}: holds a template ({{{{...}}}}), which can become code; {_REMEDY}")
    try:
        # JSON is YAML. MMEngine's own loader runs Python tags, the safe one refuses them.
        found = yaml.safe_load(text)
        return _as_names(found.get("_base_", [])) if isinstance(found, dict) else []
    except (yaml.YAMLError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"base config {path}: is not plain data ({reason}); {_REMEDY}") from None


def _as_names(value: Any) -> list[str]:
    names = [value] if isinstance(value, str) else list(value)
    if not all(isinstance(name, str) for name in names):
        raise TypeError("_base_ is no file name or list of file names")
    return names


def _is_reference(node: ast.AST) -> bool:
    """Whether this is `{{_base_.name}}` outside a string, which to Python is a set in a set."""
    inner = node.elts[0] if isinstance(node, ast.Set) and len(node.elts) == 1 else None
    return isinstance(inner, ast.Set) and len(inner.elts) == 1 and isinstance(inner.elts[0], ast.Attribute)


def _is_data(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _DATA_CALLS
    if isinstance(node, ast.Attribute):  # `_base_.model`: MMEngine's own way to refer to a base's values
        root: ast.AST = node
        while isinstance(root, ast.Attribute):
            root = root.value
        return isinstance(root, ast.Name) and root.id == "_base_" and not node.attr.startswith("__")
    if isinstance(node, ast.Name):
        return not node.id.startswith("__")
    return isinstance(node, _DATA_NODES)


def _published_weights(path: Path) -> str | None:
    metafile = path.parent / "metafile.yaml"
    if not metafile.is_file():
        return None
    import yaml

    models = (yaml.safe_load(metafile.read_text(encoding="utf-8")) or {}).get("Models") or []
    return next((model.get("Weights") for model in models if model.get("Name") == path.stem), None)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
