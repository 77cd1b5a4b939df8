"""The four rooms import in one direction, nothing imports in a circle, and heavy libraries stay in their room."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "spaces": set[str](),
    "objectives": {"spaces"},
    "studies": {"spaces"},
    "search": {"spaces", "objectives", "studies"},
}
FACE = "mmtuna"
"""The package itself: what Python code outside imports, from any room."""
HOME = {
    "torch": "objectives",
    "mmseg": "objectives",
    "mmcv": "objectives",
    "mmengine": "objectives",
    "sqlalchemy": "studies",
    "boto3": "studies",
    "botocore": "studies",
    "plotly": "studies",
    "typer": "search",
    "rich": "search",
    "ray": "search",
}
# These may import torch when they are imported: they are loaded in the trial's process only.
TORCH_AT_THE_TOP = {
    *(
        "training.py",
        "child.py",
        "preload.py",
        "closing.py",
        "registered.py",
        "replacements.py",
        "kernels.py",
        "resuming.py",
    ),
    *("counting.py", "graph.py"),
}

Names = list[tuple[int, str]]


def modules() -> list[tuple[str, Path]]:
    return [(room, path) for room in (*MAY_IMPORT, FACE) for path in sorted((ROOT / room).rglob("*.py"))]


def name_of(path: Path) -> str:
    """A file's module as it is installed: search/cli.py is mmtuna.search.cli, a folder's __init__ the folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    full = parts if parts[0] == FACE else (FACE, *parts)
    return ".".join(full[:-1] if full[-1] == "__init__" else full)


MODULES = {name_of(path): path for _, path in modules()}


def imports(tree: ast.Module, *, top_only: bool = False) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that is imported; of `from a import b` both a and a.b."""
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def room_of(name: str) -> str | None:
    """The room that a dotted name of ours lies in; None for others'."""
    parts = name.split(".")
    if parts[0] != FACE:
        return None
    return parts[1] if len(parts) > 1 and parts[1] in MAY_IMPORT else FACE


def breaches(room: str, tree: ast.Module) -> list[tuple[int, str]]:
    found = []
    for line, name in imports(tree):
        other = room_of(name)
        allowed = {room, *(MAY_IMPORT.get(room, MAY_IMPORT))}
        if (other is not None and other not in allowed) or HOME.get(name.split(".")[0], room) != room:
            found.append((line, name))
    return found


def ours(name: str) -> str | None:
    """The module that `name`, or the thing of that name, comes from."""
    parts = name.split(".")
    return next((".".join(parts[:end]) for end in range(len(parts), 0, -1) if ".".join(parts[:end]) in MODULES), None)


def edges() -> dict[str, set[str]]:
    """Which module imports which, anywhere in its text."""
    found: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        targets = {target for _, imported in imports(tree) if (target := ours(imported)) is not None}
        found[name] = targets - {name, FACE}
    return found


def folder_of(name: str) -> str:
    """The folder of a module: of mmtuna.studies.spec.tables mmtuna.studies.spec, of mmtuna.studies.study itself."""
    parts = name.split(".")
    return ".".join(parts[:3]) if len(parts) > 2 else name


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """One circle, as the names along it; empty where there is none."""
    done: set[str] = set()

    def visit(node: str, way: list[str]) -> list[str]:
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return []
        for target in sorted(graph.get(node, ())):
            if found := visit(target, [*way, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := visit(node, []))), [])


@pytest.mark.parametrize(("room", "path"), modules(), ids=lambda value: str(value).removeprefix(str(ROOT) + "/"))
def test_imports_go_one_way_and_heavy_libraries_stay_at_home(room: str, path: Path) -> None:
    assert not breaches(room, ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(("room", "path"), modules(), ids=lambda value: str(value).removeprefix(str(ROOT) + "/"))
def test_torch_is_imported_at_the_top_only_inside_the_trial_process(room: str, path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    heavy = {name.split(".")[0] for _, name in imports(tree, top_only=True)} & {"torch", "mmseg", "mmcv"}
    assert not heavy or path.name in TORCH_AT_THE_TOP


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert not circle(edges())


def test_no_folder_imports_itself_by_way_of_others() -> None:
    folders: dict[str, set[str]] = {}
    for name, targets in edges().items():
        here = folder_of(name)
        folders.setdefault(here, set()).update({folder_of(target) for target in targets} - {here})
    assert not circle(folders)


def test_every_folder_says_what_lives_there() -> None:
    folders = {path.parent for _, path in modules()}
    for folder in sorted(folders):
        tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{folder} has no docstring"


def test_every_module_here_is_one_of_the_installed_package() -> None:
    # In a room of a checkout no name is importable but through the package: whoever adds a module finds it at once.
    for name in MODULES:
        found = importlib.util.find_spec(name)
        assert found is not None, f"{name} is not found; is a room or folder missing in setup.py?"


@pytest.mark.parametrize(
    ("room", "text"),
    [
        ("studies", "def f():\n    from mmtuna.search import cli\n"),
        ("studies", "import mmtuna.objectives.outcome\n"),
        ("spaces", "from mmtuna import Objective\n"),
        ("search", "import torch.nn\n"),
    ],
)
def test_the_rules_would_catch_a_breach(room: str, text: str) -> None:
    assert breaches(room, ast.parse(text))


def test_a_circle_would_be_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert not circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})
