"""docs/python.md and the notebook in examples run as they stand."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import mmtuna
from tests.python.conftest import TRAIN
from tests.search.conftest import ENVIRONMENT

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```\nmmtuna (.*?)\n```", re.MULTILINE)
NOTEBOOK = ROOT / "examples" / "search.ipynb"


def test_every_line_of_the_page_runs(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    for words in SHELL.findall(PAGE):
        subprocess.run([sys.executable, "-m", "mmtuna", *shlex.split(words)], check=True, cwd=tmp_path, env=ENVIRONMENT)
    # As a reader would put it together: one script, without a guard.
    (tmp_path / "page.py").write_text("\n".join(PYTHON.findall(PAGE)))
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", "page.py"],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=tmp_path,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    for said in ("FAIL deadline", "0.76", str(tmp_path / "runs" / "python" / "report.html"), "input_size = 72"):
        assert said in done.stdout, said
    assert (tmp_path / "compare.png").is_file()
    assert (tmp_path / "bundle" / "predict.py").is_file()


def test_what_the_readme_shows_runs(tmp_path: Path, eyes: Path) -> None:
    (tmp_path / "my-study").mkdir()
    lines = [f"{name} = {json.dumps(value)}" for name, value in TRAIN.items()]
    (tmp_path / "my-study" / "study.toml").write_text(
        f'[study]\nname = "mine"\n[data]\nroot = "{eyes}"\nsubjects = "subjects.csv"\n[model]\npretrained = "none"\n'
        '[space.params.lr_adam]\nlow = 1e-4\nhigh = 1e-2\n[resources]\ndevices = ["cpu"]\nthreads = 1\n'
        "[train]\n" + "\n".join(lines) + "\n"
    )
    (script,) = PYTHON.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert "n_trials=20" in script
    (tmp_path / "readme.py").write_text(script.replace("n_trials=20", "n_trials=1") + "print(study.best_value)\n")
    done = subprocess.run(
        [sys.executable, "readme.py"], capture_output=True, text=True, timeout=200, cwd=tmp_path, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout) <= 1


def test_every_public_name_stands_on_the_page() -> None:
    missing = [name for name in mmtuna.__all__ if f"mmtuna.{name}" not in PAGE]
    assert not missing


def test_the_page_is_python() -> None:
    for block in PYTHON.findall(PAGE):
        ast.parse(block)


def test_the_notebook_runs(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs mmtuna[test]")
    nbclient = pytest.importorskip("nbclient", reason="needs mmtuna[test]")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear the outputs before you commit it"
    client = nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    kinds = [kind for cell in notebook.cells for output in cell.get("outputs", ()) for kind in output.get("data", ())]
    assert {"image/png", "application/vnd.plotly.v1+json"} <= {*kinds}
