"""The four rooms import in one direction, and heavy libraries stay in theirs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "spaces": set[str](),
    "objectives": {"spaces"},
    "studies": {"spaces"},
    "search": {"spaces", "objectives", "studies"},
}
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
TORCH_AT_THE_TOP = {"training.py", "trial_child.py", "focal.py", "resuming.py", "counting.py", "graph.py"}


def imports(tree: ast.Module, *, top_only: bool) -> Iterator[tuple[int, str]]:
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.split(".")[0]


def modules() -> list[tuple[str, Path]]:
    return [(room, path) for room in MAY_IMPORT for path in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize(("room", "path"), modules(), ids=lambda value: str(value).removeprefix(str(ROOT) + "/"))
def test_imports_go_one_way_and_heavy_libraries_stay_at_home(room: str, path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for line, name in imports(tree, top_only=False):
        assert name not in MAY_IMPORT or name == room or name in MAY_IMPORT[room], f"{path}:{line} imports {name}"
        assert HOME.get(name, room) == room, f"{path}:{line} imports {name}, which lives in {HOME[name]}"


@pytest.mark.parametrize(("room", "path"), modules(), ids=lambda value: str(value).removeprefix(str(ROOT) + "/"))
def test_torch_is_imported_at_the_top_only_inside_the_trial_process(room: str, path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    heavy = {name for _, name in imports(tree, top_only=True)} & {"torch", "mmseg", "mmcv"}
    assert not heavy or path.name in TORCH_AT_THE_TOP


def test_the_rule_would_catch_a_breach() -> None:
    tree = ast.parse("def f():\n    from search import cli\n")
    assert list(imports(tree, top_only=False)) == [(2, "search")]


@pytest.mark.parametrize(("room", "path"), modules(), ids=lambda value: str(value).removeprefix(str(ROOT) + "/"))
def test_modules_stay_small(room: str, path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
