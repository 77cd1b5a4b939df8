"""What is built and installed: one package, mmtuna, whole, beside whatever else is called as its rooms are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("spaces", "objectives", "studies", "search")
# Python's own settings, PYTHONPATH among them, must not lead to the code that is not installed.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind: str, tree: Path, out: Path) -> Path:
    """Builds a wheel or an sdist as pip does, without the network."""
    code = f"from setuptools import build_meta as b; print(b.build_{kind}({str(out)!r}))"
    return out / run(sys.executable, "-c", code, cwd=tree).splitlines()[-1]


def installed_environment(folder: Path) -> Path:
    """An environment that has nothing of its own and finds what mmtuna needs where these tests run; its Python."""
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "needed.pth").write_text(sysconfig.get_path("purelib"))
    return python


def install(python: Path, *what: object) -> None:
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "-qq", "--no-deps", "--no-index"),
        *("--force-reinstall", "--no-build-isolation", *what),
    )


def ignored(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__" or Path(folder, name).is_symlink()]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the packaging reads, copied: a build leaves files behind."""
    copied = tmp_path_factory.mktemp("tree")
    for name in ("mmtuna", *ROOMS):
        shutil.copytree(ROOT / name, copied / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copied)
    return copied


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist, so that either is looked at."""
    out = tmp_path_factory.mktemp("built")
    safely: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # not before Python 3.11.4
    with tarfile.open(build("sdist", tree, out)) as archive:
        archive.extractall(out, **safely)
    (unpacked,) = (path for path in out.iterdir() if path.is_dir())
    return build("wheel", unpacked, out)


def test_wheel_holds_every_file_of_the_rooms_under_one_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (top_level,) = (name for name in names if name.endswith("/top_level.txt"))
        assert archive.read(top_level).decode().split() == ["mmtuna"]
    assert {name.split("/")[0] for name in names} == {"mmtuna", top_level.split("/")[0]}
    files = {path for name in ("mmtuna", *ROOMS) for path in (ROOT / name).rglob("*") if path.is_file()}
    relative = (path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts)
    wanted = {name if name.startswith("mmtuna/") else f"mmtuna/{name}" for name in relative}
    assert {name for name in names if name.startswith("mmtuna/")} == wanted


def everyday_names(out: Path) -> Path:
    """A distribution that installs packages called like our rooms, as Hugging Face's `spaces` does; they do not run."""
    path = out / "everyday-1.0-py3-none-any.whl"
    about = "everyday-1.0.dist-info"
    files = {f"{name}/__init__.py": "raise RuntimeError('somebody else is at home here')\n" for name in ROOMS}
    files[f"{about}/METADATA"] = "Metadata-Version: 2.1\nName: everyday\nVersion: 1.0\n"
    files[f"{about}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{about}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{about}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize("first", ["mmtuna", "the other"])
def test_command_works_beside_packages_called_like_its_rooms(first: str, wheel: Path, tmp_path: Path) -> None:
    python = installed_environment(tmp_path / "environment")
    both = [wheel, everyday_names(tmp_path)]
    for distribution in both if first == "mmtuna" else reversed(both):
        install(python, distribution)
    assert "Usage: mmtuna" in run(python.with_name("mmtuna"), "--help", cwd=tmp_path)
    where = run(python, "-c", "import mmtuna.search.cli as cli; print(cli.__file__)", cwd=tmp_path)
    assert Path(where).is_relative_to(tmp_path / "environment")


def test_new_module_is_found_without_a_new_installation(tree: Path, tmp_path: Path) -> None:
    python = installed_environment(tmp_path / "environment")
    install(python, "-e", tree)
    new = tree / "studies" / "report" / "made_later.py"
    new.write_text("FOUND = True\n")
    try:
        run(python, "-c", "from mmtuna.studies.report.made_later import FOUND", cwd=tmp_path)
    finally:
        new.unlink()
