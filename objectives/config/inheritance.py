"""A config file and its bases as plain data, merged as MMEngine merges them, without running any of it."""

from __future__ import annotations

import ast
import json
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmtuna.objectives.config import bounded
from mmtuna.objectives.config.bounded import Budget, RefusedError
from mmtuna.objectives.config.syntax import BASE, REMEDY, BaseValues, base_names, evaluate, parse
from mmtuna.spaces.errors import InputError

SUFFIXES = (".py", ".json", ".yaml", ".yml")
_BYTES = 1 << 20
_FILES = 200  # of one config and all its bases
_LEVELS = 20
_YAML_BYTES = 1 << 18  # its loader is a hundred times slower
_REFERENCES = 1000
_DELETE, _DEPRECATION = "_delete_", "_deprecation_"
_RESERVED = ("filename", "text", "pretty_text", "env_variables")  # MMEngine keeps these names for itself
_LITERALS = (
    *(ast.Module, ast.Assign, ast.Name, ast.Store, ast.Load, ast.Constant, ast.Dict, ast.List, ast.Tuple, ast.Set),
    *(ast.UnaryOp, ast.USub, ast.UAdd),
)
_ENVIRONMENT = re.compile(r"\{\{['\"]?\s*\$(\w+)")
_OWN = re.compile(r"\{\{\s*(fileDirname|fileBasename|fileBasenameNoExtension|fileExtname)\s*\}\}")
_REFERENCE = re.compile(r"\{\{\s*_base_\.([\w.]+)\s*\}\}")


def load_plain(path: Path, zoo: Path) -> dict[str, Any]:
    """What MMEngine's `Config.fromfile(path).to_dict()` is, for a config that holds values and no code.

    Args:
        path: a .py, .json, .yaml or .yml file.
        zoo: the folder of MMSegmentation's own configs. Bases may lie there (`mmseg::...`), in the config's own
            repository, or without one in the folder above it.

    Raises InputError for code, for a base elsewhere, and for what MMEngine could not load either.
    """
    path, zoo = path.resolve(), zoo.resolve()
    reading = _Reading(zoo=zoo, roots=(zoo,) if path.is_relative_to(zoo) else (zoo, _root(path)))
    found = reading.file(path)
    reserved = [key for key in _RESERVED if key in found]
    if reserved:
        raise InputError(f"base config {path}: sets {reserved[0]}, a name that MMEngine keeps for itself; rename it")
    return _settled(found, {}, BaseValues(), f"base config {path}", reading.budget)


def read_plain(path: Path) -> dict[str, Any]:
    """The values of a config that has no bases, such as a trial's; InputError, in one line, for anything else."""
    where = str(path)
    tree = parse(_text(path, where), where)
    if base_names(tree, where) is not None:
        raise InputError(f"{where}: has a _base_; a trial's config holds all of its values itself")
    for node in ast.walk(tree):
        if not isinstance(node, _LITERALS) or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)):
            line = getattr(node, "lineno", "?")
            raise InputError(
                f"{where}, line {line}: holds code ({type(node).__name__}); a trial's config has values only"
            )
    budget = Budget()
    return _settled(evaluate(tree, where, BaseValues(), budget), {}, BaseValues(), where, budget)


def plain_copy(cfg: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A copy of a config that was run; InputError where a value in it could not stand in a trial's file."""
    return _settled(cfg, {}, BaseValues(), where, Budget(), "a trial's config holds texts, numbers, lists and dicts")


def _root(path: Path) -> Path:
    """The folder that a config of one's own may take bases from: its repository, else the folder above it."""
    above = list(path.parents)
    return next((folder for folder in above if (folder / ".git").exists()), above[min(1, len(above) - 1)])


def _text(path: Path, where: str) -> str:
    limit = _BYTES if path.suffix in (".py", ".json") else _YAML_BYTES
    try:
        if not path.is_file():  # a pipe or device would be read for ever
            raise InputError(f"{where}: no such file")
        if path.stat().st_size > limit:
            raise InputError(f"{where}: is larger than {limit >> 10} KiB; it must be a config file")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: {error.reason} in byte {error.start}; it must be a config file") from None
    except OSError as error:
        raise InputError(f"{where}: {error.strerror}; make it readable") from None


@dataclass
class _Reading:
    zoo: Path
    roots: tuple[Path, ...]
    budget: Budget = field(default_factory=Budget)
    files: int = 0

    def file(self, path: Path, chain: tuple[Path, ...] = ()) -> dict[str, Any]:
        """One file, merged over its bases; `chain` are the files that led to it."""
        where = f"base config {path}"
        self.files += 1
        if path in chain:
            raise InputError(f"{where}: is a base of itself; take it out of _base_")
        if self.files > _FILES or len(chain) > _LEVELS:
            raise InputError(f"{where}: has more than {_FILES} bases, or {_LEVELS} above each other; join some")
        text, references = _fill_in(_text(path, where), path, where)
        try:
            if path.suffix == ".py":
                tree = parse(text, where)
                bases = self.bases(base_names(tree, where), path, chain)
                own = evaluate(tree, where, bases, self.budget)
            else:
                own = _parse_plain(text, path, where)
                bases = self.bases(own.get(BASE), path, chain)
            own = _settled(own, references, bases, where, self.budget)
            own.pop(BASE, None)
            merged = self.merge(own, bases)
        except RefusedError as error:
            raise InputError(f"{where}: {error}; {REMEDY}") from None
        return {key: value for key, value in merged.items() if not key.startswith("__")}

    def bases(self, named: Any, path: Path, chain: tuple[Path, ...]) -> BaseValues:
        """What the bases of `path` set together."""
        names = named if isinstance(named, list) else [] if named is None else [named]
        found = BaseValues()
        for name in names:
            if not isinstance(name, str):
                raise InputError(f"base config {path}: _base_ holds {name!r}; name files, in a text or a list of texts")
            target, scope = self.find(name, path)
            values = self.file(target, (*chain, path))
            twice = sorted(set(found) & set(values))
            if twice:
                raise InputError(f"base config {path}: two of its bases set {', '.join(twice)}; only one may")
            found.update({key: _scoped(value, scope, self.budget) for key, value in values.items()})
        return found

    def find(self, name: str, path: Path) -> tuple[Path, str | None]:
        """The file that `name` in the `_base_` of `path` stands for, and its scope where it is a package's."""
        where = f"base config {path}: its _base_ {name[:200]}"
        package, of_package, rest = name.partition("::")
        if of_package and package != "mmseg":
            raise InputError(f"{where} is of another package; only mmseg's own configs are read")
        try:
            target = ((self.zoo / rest) if of_package else (path.parent / name)).resolve()
            is_file = target.is_file()
        except (OSError, ValueError, RuntimeError):  # too long, a zero byte, links in a circle
            raise InputError(f"{where} is no file name") from None
        if of_package and not target.is_relative_to(self.zoo):
            raise InputError(f"{where} leaves the package; name a file inside it")
        if not any(target.is_relative_to(root) for root in self.roots):
            raise InputError(f"{where} lies outside {self.roots[-1]}; move it there, or set [model] trust_code = true")
        if target.suffix not in SUFFIXES:
            raise InputError(f"{where} is no config; name a file that ends in {', '.join(SUFFIXES)}")
        if not is_file:
            raise InputError(f"{where} does not exist")
        return target, package if of_package else None

    def merge(self, own: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
        """`own` over `base`, as MMEngine's Config does it: dicts key by key, all else replaced."""
        merged = dict(base)
        for key, value in own.items():
            self.budget.spend()
            if not isinstance(value, dict):
                merged[key] = value
            elif key not in merged:
                merged[key] = value  # with its _delete_ where it has one, as MMEngine leaves it
            elif value.pop(_DELETE, False):
                merged[key] = value
            elif not isinstance(merged[key], dict):
                raise RefusedError(
                    f"{key} is a dict here and a {bounded.kind(merged[key])} in a base: it does not load with "
                    f"mmengine's Config, which asks for {_DELETE}=True in it"
                )
            else:
                merged[key] = self.merge(value, merged[key])
        return merged


def _fill_in(text: str, path: Path, where: str) -> tuple[str, dict[str, str]]:
    """The text with MMEngine's templates filled in, and for each that names a base's value the text that stands for it.

    As MMEngine does it, before the text is parsed; it may turn a text into something else, but never into code that is
    run.
    """
    asked = _ENVIRONMENT.search(text)
    if asked:
        raise InputError(
            f"{where}: holds a template ({{{{${asked[1]}}}}}) that takes a value from the environment, which a config "
            f"may hold secrets of; {REMEDY}"
        )
    own = {
        "fileDirname": str(path.parent),
        "fileBasename": path.name,
        "fileBasenameNoExtension": path.stem,
        "fileExtname": path.suffix,
    }
    text = _OWN.sub(lambda match: own[match[1]], text)
    references: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
        token = f"_{uuid.uuid4().hex}_"
        references[token] = match[1]
        return f'"{token}"'

    text = _REFERENCE.sub(stand_in, text)
    if len(references) > _REFERENCES:
        raise InputError(f"{where}: refers to its bases more than {_REFERENCES} times; {REMEDY}")
    return text, references


def _parse_plain(text: str, path: Path, where: str) -> dict[str, Any]:
    import yaml

    try:
        # The loader that MMEngine takes runs Python's tags; this one refuses them.
        found = json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=_loader())  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{where}: is not plain data ({reason}); {REMEDY}") from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise InputError(f"{where}: is not plain data (not a table of names); {REMEDY}")
    found.pop(_DEPRECATION, None)
    return found


def _loader() -> Any:
    """YAML's safe loader without `<<`, ten lines of which can ask for more than any memory holds."""
    import yaml

    class Loader(yaml.SafeLoader):
        def flatten_mapping(self, node: Any) -> None:
            if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
                raise yaml.YAMLError("<< takes in another table; write its values out")

    return Loader


def _settled(
    own: Mapping[str, Any],
    references: Mapping[str, str],
    bases: BaseValues,
    where: str,
    budget: Budget,
    remedy: str = REMEDY,
) -> dict[str, Any]:
    """A copy in which no two places share a dict or list, references are what they stand for, and all is plain."""

    def settle(value: Any, depth: int = 0) -> Any:
        if depth > bounded.DEPTH:
            raise RefusedError(f"is nested more than {bounded.DEPTH} deep")
        budget.spend()
        if isinstance(value, dict):
            return {bounded.as_key(key): settle(part, depth + 1) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(settle(part, depth + 1) for part in value)
        if isinstance(value, set) and value:
            return {bounded.as_key(part) for part in value}
        if isinstance(value, str) and value in references:
            return settle(_referred(bases, references[value]), depth)
        budget.spend(len(references))
        if isinstance(value, str) and any(token in value for token in references):
            raise RefusedError("holds a template ({{_base_...}}) within a text; write it without quotes around it")
        if isinstance(value, range):
            raise RefusedError("holds a range; write list(range(...))")
        if not bounded.is_scalar(value) or (isinstance(value, float) and not math.isfinite(value)) or _is_broken(value):
            raise RefusedError(f"holds {bounded.kind(value)} {str(value)[:40]!a}, which is no plain value")
        return bounded.checked(value, budget)

    try:
        return {key: settle(value) for key, value in own.items() if key != _DEPRECATION}
    except RefusedError as error:
        raise InputError(f"{where}: {error}; {remedy}") from None


def _is_broken(value: Any) -> bool:
    """Whether this is a text that no file can hold: half of a pair of UTF-16."""
    return isinstance(value, str) and any("\ud800" <= sign <= "\udfff" for sign in value)


def _referred(bases: BaseValues, key: str) -> Any:
    found: Any = bases
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            raise RefusedError(f"refers to {{{{_base_.{key}}}}}, and its bases have no {part} there")
        found = found[part]
    return found


def _scoped(value: Any, scope: str | None, budget: Budget, outermost: bool = True) -> Any:
    """A base's value as the config sees it; MMEngine notes in its outermost dicts which package they are of."""
    budget.spend()
    if isinstance(value, dict):
        marks = scope is not None and outermost and "type" in value
        outermost = outermost and "type" not in value
        found = BaseValues({key: _scoped(part, scope, budget, outermost) for key, part in value.items()})
        if marks and found.get("_scope_") is None:
            found["_scope_"] = scope
        return found
    if isinstance(value, list | tuple):
        return type(value)(_scoped(part, scope, budget, outermost) for part in value)
    return value
