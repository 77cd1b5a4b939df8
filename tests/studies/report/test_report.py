"""The HTML report of a usual study: its text, its charts' data, what it would fetch or run."""

import base64
import hashlib
import re

import optuna
import pytest
from optuna.trial import TrialState

from mmtuna.spaces.presets import extended
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.table2 import TABLE2
from mmtuna.studies.report import ReportFacts, report_html
from tests.studies.reported import PNG, SECTIONS, Page, add, new_study, read, searched


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


def test_what_is_tied_stands_in_the_order_of_its_numbers(space: SearchSpace) -> None:
    study = new_study()
    for final in (0.70, 0.72, 0.77):  # trials 0 to 2: seeds alone make 0.155 between single trainings
        add(study, space, TABLE2[9].params(space), final=final)
    add(study, space, TABLE2[5].params(space), final=0.50)
    add(study, space, TABLE2[7].params(space), final=0.55)
    page = read(study, space)
    text = page.sections["best"]
    places = [text.index(f" {number} {value:.4f} ") for number, value in enumerate((0.70, 0.72, 0.77))]
    assert places == sorted(places)
    assert places[-1] < text.index(" 4 0.5500 ") < text.index(" 3 0.5000 ")
    assert "by a standard deviation of 0.0361" in text
    assert "tied: 3 trials with the best one" in text
    table = page.sections["table2"]
    assert "reproduced (-0.0300; one more of ours: 0.5508 to 0.9092)" in table
    assert "not testable: one seed; nothing tells how seeds differ" in table


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
