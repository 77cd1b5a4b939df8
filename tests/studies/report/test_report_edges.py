"""Reports of studies that are empty, lopsided, large or hostile."""

import json
import logging
import math
import random
import re
import subprocess
import sys
import time
from typing import Any

import optuna
import pytest
from markupsafe import escape
from optuna.trial import TrialState

from mmtuna.spaces.parameter import Categorical, Float
from mmtuna.spaces.presets import extended, paper
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.table2 import TABLE2
from mmtuna.studies.report import ReportFacts, report_html
from tests.studies.reported import FACTS, PNG, Page, add, draw_params, new_study, read, searched


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return extended()


def test_no_trial_at_all(space: SearchSpace) -> None:
    page = read(new_study(), space)
    assert page.charts == {}
    for section in ("headline", "history", "slices", "best"):
        assert "The study holds no trial yet." in page.sections[section]
    assert "no learning curves" in page.sections["curves"]
    assert "the study holds 0" in page.sections["importances"]
    assert "None of the paper's eleven rows" in page.sections["table2"]
    assert "No trial has recorded what it cost" in page.sections["cost"]
    assert "No trial has ended yet." in page.sections["methods"]


def test_one_trial(space: SearchSpace) -> None:
    study = new_study()
    params = draw_params(space, random.Random(3))
    add(study, space, params, final=0.71)
    page = read(study, space)
    assert {name for name in page.charts if not name.startswith("slice")} == {"history", "curves"}
    assert len([name for name in page.charts if name.startswith("slice")]) == len(params)
    assert "at least 15 complete trials; the study holds 1" in page.sections["importances"]
    absent = next(name for name in space.names if name not in params)
    assert absent in page.sections["slices"].split("In no complete trial:")[1]
    assert "Of 1 ended trial, 1 completed, 0 were stopped early and 0 failed" in page.sections["methods"]
    assert "that of the only complete trial" in page.sections["methods"]


def test_energy_where_cards_told(space: SearchSpace) -> None:
    study, chance = new_study(), random.Random(4)
    for joules in (3.6e6, 1.8e6, None):
        cost = {"seconds": 80.0, "iterations": 400} | ({} if joules is None else {"joules": joules})
        add(study, space, draw_params(space, chance), cost=cost)
    page = read(study, space)
    assert "Energy: 1.5 kWh for 2 trials, by the cards' own count" in page.sections["cost"]
    assert "by their own count the cards took 1.5 kWh for 2 of 3 trials." in page.sections["methods"]


def test_all_pruned(space: SearchSpace) -> None:
    study, chance = new_study(), random.Random(4)
    for _ in range(12):
        add(study, space, draw_params(space, chance), TrialState.PRUNED, 0.6, steps=4, seconds=80.0)
    page = read(study, space)
    assert set(page.charts) == {"curves"}
    assert "None of the 12 trials is complete: 12 pruned." in page.sections["history"]
    assert re.search(r"Saved by pruning 50 % about 0\.13 device-hours", page.sections["headline"])
    assert "No trial failed or diverged." in page.sections["failures"]
    assert "there is no best configuration" in page.sections["methods"]


def test_all_failed(space: SearchSpace) -> None:
    study, chance = new_study(), random.Random(5)
    for _ in range(5):
        add(study, space, draw_params(space, chance), TrialState.FAIL, steps=0, cause="crashed", message="signal 11")
    page = read(study, space)
    assert page.charts == {}
    assert "None of the 5 trials is complete: 5 failed." in page.sections["history"]
    assert "crashed 5 0, 1, 2, 3, 4 signal 11" in page.sections["failures"]
    assert "5 failed (5 crashed)" in page.sections["methods"]


def test_unfinished_trials_are_neither_failed_nor_finished(space: SearchSpace) -> None:
    study, params = new_study(), draw_params(space, random.Random(6))
    add(study, space, params, TrialState.RUNNING, steps=2)
    add(study, space, params, TrialState.WAITING, steps=0)
    page = read(study, space)
    assert "0 complete; 1 running and 1 waiting" in page.sections["headline"]
    assert "1 still running and 1 not begun" in page.sections["history"]
    assert "No trial failed" in page.sections["failures"]


def test_equal_values_have_no_importances(space: SearchSpace) -> None:
    study, chance = new_study(), random.Random(7)
    for _ in range(20):
        add(study, space, draw_params(space, chance), final=0.4963)
    assert "no parameter can be told to matter" in read(study, space).sections["importances"]


def test_the_parameter_that_matters_comes_first() -> None:
    space = SearchSpace([Categorical(name="idle", choices=(1, 2, 3)), Float(name="lr", low=1e-4, high=1.0, log=True)])
    study, chance = new_study(), random.Random(8)
    for _ in range(80):
        params = draw_params(space, chance)
        add(study, space, params, final=0.7 - 0.05 * abs(math.log10(float(params["lr"])) + 2))
    bars = read(study, space).charts["importances"]["data"][0]
    assert bars["y"][-1] == "lr"
    assert bars["x"][-1] > 0.8


def test_a_thousand_trials_are_light_and_quick(space: SearchSpace) -> None:
    study = searched(1000, space, seed=9)
    began = time.perf_counter()
    text = report_html(study, space, FACTS)
    took = time.perf_counter() - began
    assert took < 10, "5 s on an idle machine, and this one may be busy"
    assert len(text.encode()) < 8_000_000
    page = Page(text)
    gaps = sum(trace["x"].count(None) for trace in page.charts["curves"]["data"])
    assert gaps == 100
    assert "Drawn are 100 of" in page.sections["curves"]
    assert sum(len(trace["x"]) for trace in page.charts["history"]["data"] if trace["mode"] == "markers") == 1000
    assert all(
        len(trace["x"]) <= 400
        for name, figure in page.charts.items()
        if name.startswith("slice")
        for trace in figure["data"]
    )


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'</style>"


def test_stored_html_comes_out_as_text() -> None:
    space = SearchSpace([Categorical(name=HOSTILE, choices=(HOSTILE, "b"))])
    study = new_study(HOSTILE)
    for index in range(16):
        add(study, space, {HOSTILE: HOSTILE if index % 3 else "b"}, final=0.6 + 0.01 * (index % 3), steps=8)
    add(study, space, {HOSTILE: "b"}, TrialState.FAIL, steps=0, cause=HOSTILE, message=HOSTILE)
    names: dict[str, Any] = dict.fromkeys(("spec", "dataset", "split", "base", "pretrained"), HOSTILE)
    mappings: dict[str, Any] = {name: {HOSTILE: HOSTILE} for name in ("fixed", "versions", "machine", "fingerprints")}
    facts = ReportFacts(
        **names,
        **mappings,
        searched=[(HOSTILE, HOSTILE)],
        classes=(HOSTILE, "x"),
        overlays=[(HOSTILE, HOSTILE, PNG)],
        train_images=1,
        val_images=1,
    )
    text = report_html(study, space, facts)
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert str(escape(HOSTILE)) in text
    page = Page(text)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert len(page.scripts) == 2
    assert HOSTILE in page.sections["failures"]
    assert {"history", "curves", "importances", "slice-0"} <= set(page.charts)
    # plotly renders some tags and every link in its strings, so there they must be escaped once more.
    drawn = json.dumps(page.charts)
    assert "<" not in drawn
    assert "&lt;script&gt;" in drawn


def test_facts_come_from_the_study_where_nobody_gave_them() -> None:
    study, space = new_study(), paper()
    study.set_user_attr(
        "mmtuna:spec",
        {
            "metric": {"name": "IoU.cyst", "value": "best"},
            "model": {"base": "segformer", "pretrained": "w.pth"},
            "data": {"classes": ["background", "cyst"]},
            "train": {"batch_size": 4},
        },
    )
    study.set_user_attr("mmtuna:fingerprints", {"data": {"sha256": "beef"}, "space": {"crop": "long"}})
    add(study, space, TABLE2[0].params(space))
    page = read(study, space, ReportFacts())
    assert "IoU.cyst, of the best evaluation" in page.sections["space"]
    assert "batch_size 4" in page.sections["space"]
    assert "segformer" in page.sections["space"]
    assert "1,080 combinations" in page.sections["space"]
    assert "data.sha256 beef" in page.sections["provenance"]
    assert "long" not in page.sections["provenance"]


def test_all_figures_are_of_one_moment(space: SearchSpace) -> None:
    calls = 0

    class Growing(optuna.Study):
        """A study that a worker adds a trial to whenever somebody looks."""

        def get_trials(self, *args: Any, **options: Any) -> list[optuna.trial.FrozenTrial]:
            nonlocal calls
            calls += 1
            add(still, space, draw_params(space, random.Random(calls)))
            return still.get_trials(*args, **options)

    still = searched(20, space, seed=11)
    study = Growing.__new__(Growing)
    study.__dict__.update(still.__dict__)
    page = read(study, space)
    assert calls == 1
    assert sum(len(trace["x"]) for trace in page.charts["history"]["data"] if trace["mode"] == "markers") == 21
    assert "21 ended trials" in page.sections["methods"]


def test_a_report_leaves_optunas_log_as_it_was_and_writes_nothing_there(space: SearchSpace) -> None:
    said: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = said.append  # type: ignore[method-assign]
    study, before = searched(30, space), optuna.logging.get_verbosity()
    logging.getLogger("optuna").addHandler(handler)
    optuna.logging.set_verbosity(optuna.logging.INFO)
    try:
        assert "importances" in read(study, space).charts
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
        assert said == []
        new_study()
        assert len(said) == 1, "what would be seen"
    finally:
        optuna.logging.set_verbosity(before)
        logging.getLogger("optuna").removeHandler(handler)


def test_importing_the_report_loads_neither_plotly_nor_jinja() -> None:
    code = "import sys, mmtuna.studies.report; print({'plotly', 'jinja2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
