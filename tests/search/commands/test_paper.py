"""Tables 1 and 2 and figures 5 and 6 by one command, from a real small study that starts from weights."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.search.conftest import mmtuna, status

WriteSpec = Callable[..., Path]


@pytest.fixture
def from_weights(write_spec: WriteSpec) -> Path:
    """A study whose trials start from the weights of an earlier one."""
    first = write_spec()
    assert mmtuna("run", first, "--trials", "1").returncode == 0
    folder = first.parent / "runs" / "tiny"
    shutil.copy(folder / "trials" / "00000" / "best.pth", first.parent / "fcn.pth")
    second = write_spec(study='folder = "second"')
    second.write_text(second.read_text().replace('pretrained = "none"', 'pretrained = "./{decoder}.pth"'))
    assert mmtuna("run", second, "--trials", "1").returncode == 0
    return second


def test_the_papers_tables_and_figures_come_from_a_study(from_weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "paper"
    done = mmtuna("paper", from_weights, "-o", out)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in out.iterdir()}
    assert {f"table{n}.{s}" for n in (1, 2) for s in ("md", "csv", "tex")} | {"figure5.png", "figure6.png"} <= names

    (line,) = json.loads((out / "table1.json").read_text())
    assert line["decoder"] == "fcn"
    assert line["published"] == 0.0008
    assert line["images"] == 12
    assert 0 <= line["per_image"] <= 1
    (row,) = list(csv.reader((out / "table1.csv").read_text().splitlines()))[1:]
    assert row[:2] == ["fcn", "0.0008"]
    assert row[3] == f"{line['metrics']['mIoU']:.4f}"
    for figure in ("figure5.png", "figure6.png"):
        with Image.open(out / figure) as picture:
            assert picture.width > picture.height > 100

    alone = mmtuna("baseline", from_weights, "--json")
    assert json.loads(alone.stdout) == [line]
    trials = status(from_weights)["trials"]
    assert len(trials) == 1  # measuring adds none


def test_without_weights_there_is_no_baseline(write_spec: WriteSpec) -> None:
    done = mmtuna("baseline", write_spec())
    assert done.returncode == 2
    assert "[model] pretrained = 'none': a baseline needs weights; name some, or 'auto'" in done.stderr
