"""A config's Python, evaluated from its syntax tree: nothing in it is run, so nothing in it can do anything."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmtuna.objectives.config import bounded
from mmtuna.objectives.config.bounded import Budget, RefusedError, as_key, kind
from mmtuna.spaces.errors import InputError

BASE = "_base_"
REMEDY = "write plain values, or set [model] trust_code = true"


class BaseValues(dict[Any, Any]):
    """A dict of the config's bases: `_base_.model.backbone` reads it, as MMEngine's own dicts can be read."""

    @classmethod
    def of(cls, value: Any, budget: Budget) -> Any:
        """`value` with every dict in it as BaseValues: a copy, as MMEngine makes one."""
        budget.spend()
        if isinstance(value, dict):
            return cls({key: cls.of(part, budget) for key, part in value.items()})
        if isinstance(value, list | tuple):
            return type(value)(cls.of(part, budget) for part in value)
        return value


def parse(text: str, where: str) -> ast.Module:
    """The syntax tree of a config; InputError where it is none."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last two for what is nested too deep
        line = getattr(error, "lineno", None)
        raise InputError(
            f"{where}{f', line {line}' if line else ''}: {getattr(error, 'msg', None) or 'cannot be parsed'}; it must "
            "be a config file"
        ) from None


def base_names(tree: ast.Module, where: str) -> Any:
    """What `_base_ = ...` says, None where the config has no base."""
    found: Any = None
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(_is_base(target) for target in node.targets):
            if found is not None or len(node.targets) > 1:
                raise InputError(f"{where}, line {node.lineno}: sets _base_ twice; name all bases in one list")
            try:
                found = ast.literal_eval(node.value)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                raise InputError(
                    f"{where}, line {node.lineno}: _base_ is computed, so the files it names are unknown; {REMEDY}"
                ) from None
    return found


def _is_base(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == BASE


def evaluate(tree: ast.Module, where: str, bases: BaseValues, budget: Budget) -> dict[str, Any]:
    """The names that a config sets, with their values.

    Args:
        where: the file, for messages.
        bases: what its bases set; names and values that `_base_` stands for.

    Raises InputError, with the line, for everything that is no plain value and no sum of such.
    """
    return _Evaluator(where, bases, budget).run(tree)


class _Evaluator:
    def __init__(self, where: str, bases: BaseValues, budget: Budget) -> None:
        self.where, self.budget = where, budget
        self.bases = bases
        self.scopes: list[dict[str, Any]] = [{}]
        self.depth = 0
        self.line: int | str = "?"

    def run(self, tree: ast.Module) -> dict[str, Any]:
        for node in tree.body:
            try:
                self.statement(node)
            except RefusedError as error:
                raise InputError(f"{self.where}, line {self.line}: {error}; {REMEDY}") from None
            except (ArithmeticError, LookupError, TypeError, ValueError, MemoryError, RecursionError) as error:
                reason = f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
                raise InputError(
                    f"{self.where}, line {self.line}: {reason[:200]}; it must load with mmengine's Config"
                ) from None
        return self.scopes[0]

    # --- statements

    def statement(self, node: ast.stmt) -> None:
        self.line = node.lineno
        self.budget.spend()
        match node:
            case ast.Assign(targets=[target]) if _is_base(target):
                return  # read before, see base_names
            case ast.Assign():
                value = self.value(node.value)
                for target in node.targets:
                    self.store(target, value)
            case ast.AugAssign():
                before, more = self.value(node.target), self.value(node.value)
                self.store(node.target, bounded.binary(node.op, before, more, self.budget, in_place=True))
            case ast.Delete():
                for target in node.targets:
                    self.delete(target)
            case ast.Expr():
                self.value(node.value)
            case ast.Pass():
                pass
            case ast.With() | ast.ImportFrom() if _reads_bases(node):
                raise RefusedError("is in MMEngine's import style (with read_base()); name its bases in _base_")
            case _:
                raise _code(node)

    def store(self, target: ast.expr, value: Any) -> None:
        match target:
            case ast.Name():
                self.scopes[-1][_own_name(target.id)] = value
            case ast.Subscript():
                holder = self.value(target.value)
                place = self.place(holder, target.slice)
                holder[place] = BaseValues.of(value, self.budget) if isinstance(holder, BaseValues) else value
            case ast.Tuple() | ast.List():
                self.unpack(target.elts, bounded.items(value, self.budget))
            case _:
                raise _code(target)

    def unpack(self, targets: list[ast.expr], values: list[Any]) -> None:
        starred = [place for place, target in enumerate(targets) if isinstance(target, ast.Starred)]
        spare = len(values) - len(targets) + len(starred)
        if len(starred) > 1 or spare < 0 or (spare and not starred):
            raise ValueError(f"{len(values)} values for {len(targets)} names")
        if starred:
            place = starred[0]
            values = [*values[:place], values[place : place + spare], *values[place + spare :]]
        for target, value in zip(targets, values, strict=True):
            self.store(target.value if isinstance(target, ast.Starred) else target, value)

    def delete(self, target: ast.expr) -> None:
        match target:
            case ast.Name():
                self.value(target)  # it must be there
                del self.scopes[-1][target.id]
            case ast.Subscript():
                holder = self.value(target.value)
                place = self.place(holder, target.slice)
                del holder[place]
            case _:
                raise _code(target)

    def place(self, holder: Any, node: ast.expr) -> Any:
        """The key, index or slice of a subscript, fit to change `holder` with."""
        if not isinstance(holder, dict | list):
            raise RefusedError(f"changes an item of a {kind(holder)}")
        place = self.value(node)
        if isinstance(place, slice):
            raise RefusedError("changes a slice of a list")
        return as_key(place)

    # --- expressions

    def value(self, node: ast.expr) -> Any:
        self.budget.spend()
        self.depth += 1
        if self.depth > bounded.DEPTH:
            raise RefusedError(f"is nested more than {bounded.DEPTH} deep")
        self.line = node.lineno
        evaluate_node = _EXPRESSIONS.get(type(node))
        if evaluate_node is None:
            raise _code(node)
        found = evaluate_node(self, node)
        self.depth -= 1
        self.line = node.lineno
        return found

    def constant(self, node: ast.Constant) -> Any:
        if not bounded.is_scalar(node.value):
            raise RefusedError(f"holds a value of type {kind(node.value)}")
        return bounded.checked(node.value, self.budget)

    def name(self, node: ast.Name) -> Any:
        if node.id == BASE:
            return self.bases
        for scope in reversed(self.scopes):
            if node.id in scope:
                return scope[node.id]
        if node.id in bounded.FUNCTIONS:
            raise RefusedError(f"holds code ({node.id} is a function, which may be called and not handed on)")
        if node.id.startswith("__"):
            raise _code(node)
        raise LookupError(f"name {node.id!r} is not defined")

    def attribute(self, node: ast.Attribute) -> Any:
        holder = self.value(node.value)
        if not isinstance(holder, BaseValues) or node.attr.startswith("__"):
            raise _code(node)
        return holder[node.attr]

    def subscript(self, node: ast.Subscript) -> Any:
        holder, place = self.value(node.value), self.value(node.slice)
        if isinstance(holder, dict):
            return holder[as_key(place)]
        if not isinstance(holder, list | tuple | str | range):
            raise RefusedError(f"takes an item of a {kind(holder)}")
        return bounded.checked(holder[place], self.budget) if isinstance(place, slice) else holder[place]

    def part(self, node: ast.Slice) -> Any:
        return slice(*(None if part is None else self.value(part) for part in (node.lower, node.upper, node.step)))

    def table(self, node: ast.Dict) -> Any:
        found: dict[Any, Any] = {}
        for key, part in zip(node.keys, node.values, strict=True):
            if key is None:
                found.update(self.mapping(part))
            else:
                name = as_key(self.value(key))
                found[name] = self.value(part)
        return found

    def mapping(self, node: ast.expr) -> dict[Any, Any]:
        """What stands behind `**`."""
        found = self.value(node)
        if not isinstance(found, dict):
            raise RefusedError(f"unpacks a {kind(found)} with **; only a dict can be")
        self.budget.spend(len(found))
        return found

    def several(self, nodes: list[ast.expr]) -> list[Any]:
        found: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                found += bounded.items(self.value(node.value), self.budget)
            elif isinstance(node, ast.GeneratorExp):
                raise _code(node)
            else:
                found.append(self.value(node))
        return found

    def call(self, node: ast.Call) -> Any:
        if len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp):
            arguments = [self.comprehension(node.args[0])]
        else:
            arguments = self.several(node.args)
        named: dict[str, Any] = {}
        for keyword in node.keywords:
            more = self.mapping(keyword.value) if keyword.arg is None else {keyword.arg: self.value(keyword.value)}
            twice = set(more) & set(named)
            if twice or not all(isinstance(key, str) for key in more):
                raise RefusedError(f"names {next(iter(twice or more))!r} twice in one call, or by what is no text")
            named |= more
        if isinstance(node.func, ast.Name) and node.func.id in bounded.FUNCTIONS:
            return bounded.call(node.func.id, arguments, named, self.budget)
        if isinstance(node.func, ast.Attribute) and not named:
            holder = self.value(node.func.value)
            if type(holder) in (dict, list):
                return bounded.method(holder, node.func.attr, arguments, self.budget)
        raise RefusedError(f"holds code (a call of {ast.unparse(node.func)[:40]})")

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> list[Any]:
        return [self.value(node.elt) for _ in self.rounds(node.generators)]

    def set_of(self, node: ast.SetComp) -> set[Any]:
        return {as_key(value) for value in self.comprehension(node)}

    def table_of(self, node: ast.DictComp) -> dict[Any, Any]:
        return {as_key(self.value(node.key)): self.value(node.value) for _ in self.rounds(node.generators)}

    def rounds(self, generators: list[ast.comprehension]) -> Iterator[None]:
        """Goes through the loops of a comprehension with their names bound, in a scope that ends with it."""
        if not generators:
            yield
            return
        first, *rest = generators
        if first.is_async:
            raise RefusedError("holds code (async)")
        values = bounded.items(self.value(first.iter), self.budget)
        self.scopes.append({})
        for value in values:
            self.store(first.target, value)
            if all(self.value(test) for test in first.ifs):
                yield from self.rounds(rest)
        self.scopes.pop()

    def boolean(self, node: ast.BoolOp) -> Any:
        found: Any = None
        for part in node.values:
            found = self.value(part)
            if bool(found) is isinstance(node.op, ast.Or):
                break
        return found

    def comparison(self, node: ast.Compare) -> bool:
        left = self.value(node.left)
        for operation, part in zip(node.ops, node.comparators, strict=True):
            right = self.value(part)
            if not bounded.compare(operation, left, right, self.budget):
                return False
            left = right
        return True

    def joined(self, node: ast.JoinedStr) -> str:
        parts = []
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                form = self.value(part.format_spec) if part.format_spec is not None else ""
                parts.append(bounded.formatted(self.value(part.value), form, part.conversion, self.budget))
            else:
                parts.append(str(self.value(part)))
        return str(bounded.checked("".join(parts), self.budget))


_EXPRESSIONS: Mapping[type[ast.expr], Callable[[_Evaluator, Any], Any]] = {
    ast.Constant: _Evaluator.constant,
    ast.Name: _Evaluator.name,
    ast.Attribute: _Evaluator.attribute,
    ast.Subscript: _Evaluator.subscript,
    ast.Slice: _Evaluator.part,
    ast.Dict: _Evaluator.table,
    ast.List: lambda self, node: self.several(node.elts),
    ast.Tuple: lambda self, node: tuple(self.several(node.elts)),
    ast.Set: lambda self, node: {as_key(value) for value in self.several(node.elts)},
    ast.Call: _Evaluator.call,
    ast.ListComp: _Evaluator.comprehension,
    ast.SetComp: _Evaluator.set_of,
    ast.DictComp: _Evaluator.table_of,
    ast.BinOp: lambda self, node: bounded.binary(node.op, self.value(node.left), self.value(node.right), self.budget),
    ast.UnaryOp: lambda self, node: bounded.unary(node.op, self.value(node.operand), self.budget),
    ast.BoolOp: _Evaluator.boolean,
    ast.Compare: _Evaluator.comparison,
    ast.IfExp: lambda self, node: self.value(node.body if self.value(node.test) else node.orelse),
    ast.JoinedStr: _Evaluator.joined,
}


def _own_name(name: str) -> str:
    if name in bounded.FUNCTIONS or name == BASE or name.startswith("__"):
        raise RefusedError(f"sets {name}, which has a meaning of its own here; take another name")
    return name


def _reads_bases(node: ast.With | ast.ImportFrom) -> bool:
    return "read_base" in ast.unparse(node)


def _code(node: ast.AST) -> RefusedError:
    return RefusedError(f"holds code ({type(node).__name__})")
