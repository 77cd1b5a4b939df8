"""The HTML report, read as a browser would: its text, its charts' data, what it would fetch or run."""

import base64
import hashlib
import html
import json
import math
import random
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from spaces.parameter import Categorical, Float, Int, Parameter, Params, Value
from spaces.presets import extended, paper
from spaces.search_space import SearchSpace
from spaces.table2 import TABLE2
from studies.report import ReportFacts, report_html

SECTIONS = (
    *("headline", "space", "history", "curves", "importances", "slices", "table2", "best", "overlays", "failures"),
    *("cost", "methods", "provenance"),
)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
EVALUATIONS = 8
VOID = {"meta", "br", "img"}


def draw(parameter: Parameter, chance: random.Random) -> Value:
    if isinstance(parameter, Categorical):
        return chance.choice(parameter.choices)
    assert isinstance(parameter, Int | Float)
    if isinstance(parameter, Int):
        return chance.randrange(parameter.low, parameter.high + 1, parameter.step)
    if parameter.log:
        return math.exp(chance.uniform(math.log(parameter.low), math.log(parameter.high)))
    return chance.uniform(parameter.low, parameter.high)


def draw_params(space: SearchSpace, chance: random.Random) -> Params:
    params: Params = {}
    for parameter in space:
        if parameter.exists(params):
            params[parameter.name] = draw(parameter, chance)
    return params


def new_study(name: str = "fluid") -> optuna.Study:
    return optuna.create_study(study_name=name, direction="maximize")


def add(
    study: optuna.Study,
    space: SearchSpace,
    params: Params,
    state: TrialState = TrialState.COMPLETE,
    final: float = 0.7,
    steps: int = EVALUATIONS,
    seconds: float = 80.0,
    **attrs: Any,
) -> None:
    """A trial whose mIoU climbs to `final` over eight evaluations, of which it reached `steps`."""
    curve = []
    for index in range(1, steps + 1):
        miou = final - (final - 0.49) * math.exp(-0.6 * (index - 1)) if index < EVALUATIONS else final
        part = {
            "mIoU": miou,
            "mDice": min(0.99, miou + 0.08),
            "IoU.background": 0.99,
            "IoU.fluid": max(0.0, 2 * miou - 0.99),
        }
        share = round(100 * index / EVALUATIONS)
        curve.append({"step": share, "iteration": 4 * share, "seconds": seconds * index / EVALUATIONS, **part})
    metrics = {name: value for name, value in (curve[-1] if curve else {}).items() if "I" in name or "D" in name}
    user_attrs: dict[str, Any] = {
        "seed": 0,
        "replicate": 0,
        "curve": curve,
        "metrics": metrics,
        "best_metrics": metrics,
    }
    user_attrs["cost"] = {"seconds": seconds * max(steps, 0.1) / EVALUATIONS, "iterations": 50 * steps}
    finished = state in (TrialState.COMPLETE, TrialState.PRUNED) and curve
    study.add_trial(
        create_trial(
            state=state,
            value=curve[-1]["mIoU"] if finished else None,
            params=dict(params),
            distributions=space.distributions(params),
            intermediate_values={int(point["step"]): point["mIoU"] for point in curve},
            user_attrs=user_attrs | attrs,
        )
    )


def quality(params: Params, chance: random.Random) -> float:
    """A made-up mIoU with a plausible shape: some choices matter, most hardly do."""
    value = 0.70 + chance.gauss(0, 0.015)
    value += {"ce_tversky": 0.06, "ce_lovasz": 0.045, "ce_dice": 0.03, "dice": -0.12}.get(str(params.get("loss")), 0.0)
    value += 0.03 if params.get("optimizer") == "AdamW" else 0.0
    if "lr_adam" in params:
        value -= 0.03 * (math.log10(float(params["lr_adam"])) + 3) ** 2
    return max(0.4963, min(0.80, value + 0.015 * (float(params.get("iterations", 400)) - 800) / 800))


def searched(n: int, space: SearchSpace, seed: int = 0, table2: bool = True) -> optuna.Study:
    """A study of `n` trials as a search leaves them: the paper's rows first, a quarter pruned, some failed."""
    study, chance = new_study(), random.Random(seed)
    for entry in TABLE2 if table2 else ():
        add(study, space, entry.params(space), final=entry.miou - 0.01 + chance.gauss(0, 0.01), table2=entry.number)
    while len(study.get_trials(deepcopy=False)) < n:
        params, lot = draw_params(space, chance), chance.random()
        final, seconds = quality(params, chance), chance.uniform(40, 160)
        if lot < 0.04:
            add(study, space, params, TrialState.FAIL, steps=0, cause="out of memory", message="CUDA out of memory")
        elif lot < 0.08:
            words = "loss is nan at iteration 61"
            add(study, space, params, TrialState.PRUNED, 0.5, 1, seconds, cause="diverged", message=words)
        elif lot < 0.35:
            add(study, space, params, TrialState.PRUNED, final - 0.05, chance.choice((3, 4, 5)), seconds)
        else:
            add(study, space, params, final=final, seconds=seconds)
    return study


FACTS = ReportFacts(
    spec="study.toml",
    metric="mIoU",
    value="last",
    asked=60,
    dataset="duke-dme-256",
    classes=("background", "fluid"),
    train_images=88,
    val_images=22,
    train_subjects=10,
    val_subjects=9,
    shared_subjects=9,
    split="published lists, by image",
    pixels={"background": 7149127, "fluid": 59833},
    base="unet",
    pretrained="none",
    fixed={"base_channels": 16, "resize": False},
    sampler="TPE",
    pruner="median",
    seed=0,
    versions={"mmtuna": "0.1.0", "optuna": "5.0.0", "torch": "2.9.1"},
    machine={"device": "cpu", "cores": "2"},
    fingerprints={"data": {"sha256": "ab12", "files": 220}, "split": {"sha256": "cd34"}},
)


class Page(HTMLParser):
    """A parsed report: text by section, chart data by name, attributes and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.sections: dict[str, str] = {}
        self.charts: dict[str, Any] = {}
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self._section = ""
        self._script: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.attributes += [(tag, name, value) for name, value in found.items()]
        if tag == "section":
            self._section = found["id"]
            self.sections[self._section] = ""
        if tag == "script":
            self._script = found.get("data-chart", "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"<{self.open[-1:]}> is closed by </{tag}>"
        if tag == "section":
            self.sections[self._section] = " ".join(self.sections[self._section].split())
            self._section = ""
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            if self._script:
                self.charts[self._script] = json.loads(data)
            else:
                self.scripts.append(data)
        elif self._section:
            self.sections[self._section] += data + " "


def read(study: optuna.Study, space: SearchSpace, facts: ReportFacts = FACTS) -> Page:
    page = Page(report_html(study, space, facts))
    assert page.open == []
    assert list(page.sections) == list(SECTIONS)
    return page


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return extended()


@pytest.fixture(scope="module")
def sixty(space: SearchSpace) -> optuna.Study:
    return searched(60, space)


@pytest.fixture(scope="module")
def page(sixty: optuna.Study, space: SearchSpace) -> Page:
    return read(sixty, space)


def states(study: optuna.Study) -> dict[str, int]:
    trials = study.get_trials(deepcopy=False)
    return {
        "complete": sum(trial.state == TrialState.COMPLETE for trial in trials),
        "pruned": sum(trial.state == TrialState.PRUNED and "cause" not in trial.user_attrs for trial in trials),
        "diverged": sum(trial.user_attrs.get("cause") == "diverged" for trial in trials),
        "failed": sum(trial.state == TrialState.FAIL for trial in trials),
    }


def test_a_usual_study_has_every_chart_and_nothing_missing(page: Page, space: SearchSpace) -> None:
    slices = {f"slice-{index}" for index in range(len(space.names))}
    assert set(page.charts) == {"history", "curves", "importances", "table2"} | slices
    said = [tag for tag, name, value in page.attributes if (name, value) == ("class", "missing")]
    assert len(said) == 2, "overlays, and what stands for charts without JavaScript"
    assert "No overlays were kept" in page.sections["overlays"]


def test_every_chart_is_one_that_plotly_accepts(page: Page) -> None:
    import plotly.graph_objects as go

    for name, figure in page.charts.items():
        checked = go.Figure(figure)  # raises on a property or a value it does not know
        assert len(checked.data) > 0, name
        assert all(len(trace.y) > 0 for trace in checked.data), name


def test_headline_figures_are_the_studys(page: Page, sixty: optuna.Study) -> None:
    n = states(sixty)
    text = page.sections["headline"]
    assert f"{sixty.best_value:.4f}" in text
    assert f"trial {sixty.best_trial.number}," in text
    assert (
        f"Finished trials {n['complete'] + n['pruned'] + n['diverged']} of 60 asked for; {n['complete']} complete"
        in text
    )
    assert f"Pruned {n['pruned']}" in text
    assert f"Failed {n['failed']} and {n['diverged']} diverged" in text


def test_history_holds_every_ended_trial_once_and_the_best_so_far(page: Page, sixty: optuna.Study) -> None:
    traces = {trace["name"]: trace for trace in page.charts["history"]["data"]}
    n = states(sixty)
    shown = {name.split(",")[0]: len(trace["x"]) for name, trace in traces.items()}
    del shown["best so far"]
    assert shown == n
    best = traces["best so far"]["y"]
    assert best == sorted(best)
    assert best[-1] == sixty.best_value


def test_the_papers_best_is_a_labelled_line_for_miou_only(page: Page, sixty: optuna.Study, space: SearchSpace) -> None:
    look = page.charts["history"]["layout"]
    assert [shape["y0"] for shape in look["shapes"]] == [0.76]
    assert [label["text"] for label in look["annotations"]] == ["paper's best 0.7600"]
    low, high = look["yaxis"]["range"]
    assert low < 0.76 < high
    other = read(sixty, space, ReportFacts(metric="IoU.fluid")).charts["history"]["layout"]
    assert "shapes" not in other
    assert "annotations" not in other


def test_learning_curves_tell_pruned_ones_by_dash_and_mark(page: Page) -> None:
    traces = {trace["name"]: trace for trace in page.charts["curves"]["data"]}
    assert traces["pruned"]["line"]["dash"] == "dash"
    assert "dash" not in traces["complete"]["line"]
    assert traces["pruned"]["marker"]["symbol"] != traces["complete"]["marker"]["symbol"]


def test_table2_stands_beside_ours_with_n_and_spread(space: SearchSpace) -> None:
    study = new_study()
    for final in (0.70, 0.72, 0.77):
        add(study, space, TABLE2[9].params(space), final=final, table2=10)
    add(study, space, TABLE2[5].params(space), final=0.74, table2=6)
    text = read(study, space).sections["table2"]
    assert re.search(r" 10 400 it, crop 320, CE, SGD, 0\.0001 3 ", text)
    assert re.search(r"0\.7600 0\.7300 ± 0\.0361", text)
    assert re.search(r"0\.7567 0\.7400 0\.5182", text), "one trial has no standard deviation"
    assert "never predicts fluid" in text
    assert "nine of the ten subjects stand on both sides" in text


def test_best_trials_are_ten_by_value_with_classes_and_params(page: Page, sixty: optuna.Study) -> None:
    text = page.sections["best"]
    complete = [trial for trial in sixty.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    top = sorted(complete, key=lambda trial: -trial.values[0])[:10]
    places = [text.index(f" {trial.number} {trial.value:.4f} ") for trial in top]
    assert places == sorted(places)
    assert f"{top[0].user_attrs['metrics']['IoU.fluid']:.4f}" in text
    assert "mIoU mDice IoU.background IoU.fluid iterations time" in text
    assert all(name in text for name in top[0].params)


def test_failures_are_counted_by_cause_with_their_messages(page: Page, sixty: optuna.Study) -> None:
    text, n = page.sections["failures"], states(sixty)
    assert n["failed"] > 0
    assert n["diverged"] > 0
    assert f"out of memory {n['failed']} " in text
    assert f"diverged {n['diverged']} " in text
    assert text.count("CUDA out of memory") == 1, "equal messages stand once"


def test_methods_paragraph_says_the_studys_figures(page: Page, sixty: optuna.Study) -> None:
    text, n = page.sections["methods"], states(sixty)
    assert f"Of 60 ended trials, {n['complete']} completed, {n['pruned']} were stopped early, " in text
    assert f"{n['diverged']} diverged and {n['failed']} failed ({n['failed']} out of memory)" in text
    assert "11 of them were rows of the paper's Table 2, enqueued and not proposed." in text
    assert "17 parameters, 5 of them continuous" in text
    assert "proposed by the TPE sampler and pruned by the median pruner" in text
    assert "88 training" not in text
    assert "Training used 88 and validation 22 images of duke-dme-256 (10 and 9 subjects)" in text
    assert "9 subjects have images on both sides" in text
    assert "fluid (0.83 % of labelled pixels)" in text
    best = sixty.best_trial
    assert f"The best configuration (trial {best.number}) reached mIoU {best.value:.4f}" in text
    assert all(f"{name} = " in text for name in best.params)
    spent = sum(trial.user_attrs["cost"]["seconds"] for trial in sixty.get_trials(deepcopy=False)) / 3600
    assert f"took {spent:.2f} device-hours" in text
    assert f"the highest of {n['complete']} complete trials and therefore optimistic" in text


def test_methods_paragraph_leaves_out_what_nobody_said(sixty: optuna.Study, space: SearchSpace) -> None:
    text = read(sixty, space, ReportFacts()).sections["methods"]
    assert "None" not in text
    assert "sampler" not in text
    assert "subject" not in text


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
    names: dict[str, Any] = dict.fromkeys(
        ("spec", "dataset", "split", "base", "pretrained", "sampler", "pruner"), HOSTILE
    )
    mappings: dict[str, Any] = {name: {HOSTILE: HOSTILE} for name in ("fixed", "versions", "machine", "fingerprints")}
    facts = ReportFacts(
        **names, **mappings, classes=(HOSTILE, "x"), overlays=[(HOSTILE, HOSTILE, PNG)], train_images=1, val_images=1
    )
    text = report_html(study, space, facts)
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert html.escape(HOSTILE) in text
    page = Page(text)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert len(page.scripts) == 2
    assert HOSTILE in page.sections["failures"]
    assert {"history", "curves", "importances", "slice-0"} <= set(page.charts)
    # plotly renders some tags and every link in its strings, so there they must be escaped once more.
    drawn = json.dumps(page.charts)
    assert "<" not in drawn
    assert "&lt;script&gt;" in drawn


def test_nothing_is_fetched_and_only_its_own_scripts_may_run(sixty: optuna.Study, space: SearchSpace) -> None:
    facts = ReportFacts(overlays=[("Worst", "missed in blue", PNG), ("Best", "no error", PNG)])
    text = report_html(sixty, space, facts)
    page = Page(text)
    targets = [value for _, name, value in page.attributes if name in ("src", "href", "action", "srcset", "data")]
    assert len(targets) >= len(SECTIONS) + 2
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in targets)
    outside = text
    for script in page.scripts:
        outside = outside.replace(script, "")
    assert "http://" not in outside
    assert "https://" not in outside
    assert "@import" not in outside
    assert "url(" not in outside
    policy = next(value for tag, name, value in page.attributes if (tag, name) == ("meta", "content"))
    assert "default-src 'none'" in policy
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in page.scripts]
    assert re.findall(r"sha256-([^']+)'", policy) == hashes
    assert "script-src 'unsafe-inline'" not in policy


def test_overlays_are_inside_the_file_with_their_captions(sixty: optuna.Study, space: SearchSpace) -> None:
    page = read(sixty, space, ReportFacts(overlays=[("Worst image", "missed in blue", PNG)]))
    images = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert [base64.b64decode(image.split(",")[1]) for image in images] == [PNG]
    assert "Worst image" in page.sections["overlays"]
    assert "missed in blue" in page.sections["overlays"]


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


def test_importing_the_report_loads_no_plotly() -> None:
    code = "import sys, studies.report; print([name for name in sys.modules if name.split('.')[0] == 'plotly'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
