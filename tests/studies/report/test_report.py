"""The HTML report of a usual study: its text, its charts' data, what it would fetch or run."""

import base64
import hashlib
import re
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

from mmtuna.spaces.portfolio import Earlier, packed
from mmtuna.spaces.presets import extended
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.table2 import TABLE2
from mmtuna.studies.attributes import LOOKS
from mmtuna.studies.report import ReportFacts, methods_markdown, report_html
from mmtuna.studies.report.facts import Reading
from mmtuna.studies.report.notes import study_note, trial_note
from mmtuna.studies.statistics.intervals import How
from tests.studies.counted import IMAGES
from tests.studies.counted import study as counted_study
from tests.studies.reported import FACTS, PNG, SECTIONS, Page, add, new_study, read, searched


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


def test_rows_of_table2_alone_were_neither_proposed_nor_pruned(space: SearchSpace) -> None:
    study = new_study()
    add(study, space, TABLE2[0].params(space), table2=1)
    text = read(study, space, replace(FACTS, collapses_stop=True)).sections["methods"]
    assert "No trial was proposed by a sampler, nor pruned: all were rows of the paper's Table 2." in text
    assert "Trials were " not in text
    add(study, space, TABLE2[0].params(space))
    assert "Trials were proposed by the TPE sampler" in read(study, space).sections["methods"]


def test_what_the_pruner_stopped_is_told_from_collapses_and_nets_over_a_limit(space: SearchSpace) -> None:
    study, lost = new_study(), {"step": 62, "mIoU": 0.49, "IoU.background": 0.98, "IoU.fluid": 0.0}
    dead = [{**lost, "step": 25}, lost]
    found = [{**lost, "step": 25, "IoU.fluid": 0.1}, lost]
    params = TABLE2[0].params(space)
    for curve in (dead, found, dead[:1]):
        add(study, space, params, TrialState.PRUNED, steps=5, cause="collapsed", curve=curve)
    add(study, space, params, TrialState.PRUNED, steps=5)
    page = read(study, space)
    assert "Pruned 4 3 by the pruner and 1 as collapsed Failed" in page.sections["headline"]
    said = "and stopped where at every evaluation up to 60 % of their training they had found none of a class, once"
    assert said in page.sections["methods"]
    assert "Of those stopped early 1 had never found one of the classes." in page.sections["methods"]
    add(study, space, params, TrialState.PRUNED, steps=0, cause="over a limit")
    text = read(study, space).sections["headline"]
    assert "Pruned 5 3 by the pruner, 1 as collapsed and 1 over a limit, not trained Failed" in text
    none = new_study()
    add(none, space, params)
    assert said not in read(none, space).sections["methods"], "nothing says that such trials are stopped"
    assert said in read(none, space, replace(FACTS, collapses_stop=True)).sections["methods"]


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


def test_without_counts_nothing_is_ranked_and_the_report_says_why(space: SearchSpace) -> None:
    study = new_study()
    for final in (0.70, 0.72, 0.77):
        add(study, space, TABLE2[9].params(space), final=final)
    add(study, space, TABLE2[5].params(space), final=0.50)
    add(study, space, TABLE2[7].params(space), final=0.55)
    page = read(study, space)
    text = page.sections["certainty"]
    assert text.index(" - 0, 1, 2 3 0.7300 not testable ") < text.index(" - 4 1 0.5500 ") < text.index(" - 3 1 0.5000 ")
    assert "seeds alone change mIoU by a standard deviation of 0.0361" in text
    assert "Nothing is ranked, since no trial's counts by image are known" in text
    assert re.search(r" 0, 1, 2 0\.7300 .* 4 0\.5500 .* 3 0\.5000 ", page.sections["best"])
    table = page.sections["table2"]
    assert "reproduced (-0.0300; one more of ours: 0.5508 to 0.9092)" in table
    assert "not testable: one seed; nothing tells how seeds differ" in table


@pytest.mark.parametrize(
    ("searched", "said"),
    [
        ([["tpe", "best-third"]], "by the tpe sampler and pruned where they were not among the best third of all"),
        (
            [["tpe", "median"], ["random", "median"], ["random", "none"]],
            (
                "by the tpe sampler, later by the random sampler and pruned where they were below the median of "
                "complete trials at the same share of training, later not pruned."
            ),
        ),
        (
            [[None, None], ["tpe", "none"]],
            "by one that was not kept, later by the tpe sampler and pruned by what was not kept, later not pruned.",
        ),
        ([["RandomSampler", "none"]], "by RandomSampler and not pruned."),
        (
            [["tpe", "wilcoxon"], ["QMCSampler", "wilcoxon and MedianPruner"], ["Mine", "StopsAt"]],
            (
                "by the tpe sampler, later by QMCSampler, later by the Mine sampler and pruned by the wilcoxon pruner, "
                "later pruned by wilcoxon and MedianPruner, later pruned by the StopsAt pruner."
            ),
        ),
    ],
)
def test_methods_say_by_what_was_searched_and_not_what_the_spec_says_now(
    space: SearchSpace, searched: list[list[str | None]], said: str
) -> None:
    study = new_study()
    add(study, space, TABLE2[9].params(space), final=0.7)
    study.set_user_attr("mmtuna:searched", searched)
    page = read(study, space, ReportFacts(searched=[("gp", "wilcoxon")]))
    assert f"Trials were proposed {said}" in page.sections["methods"]
    assert "gp" not in page.sections["space"].split()


@pytest.mark.parametrize("kept", ["list", "table"])
def test_methods_say_what_the_search_did_not_find_by_itself(space: SearchSpace, kept: str) -> None:
    study = new_study()
    for mark in ({"start": "a"}, {"portfolio": "b"}, {"portfolio": "c"}, {}):
        add(study, space, TABLE2[9].params(space), final=0.7, **mark)
    for mark in ({"start": "d"}, {"portfolio": "e"}):  # the study may end before they have their turn
        study.enqueue_trial(TABLE2[9].params(space), user_attrs=mark)
    alone = read(study, space).sections["methods"]
    assert "It began with 1 configuration given by hand and 2 configurations that had done well on other data" in alone
    assert "The sampler knew" not in alone
    others = [{"params": {}, "rank": 0.5}] * 40 if kept == "list" else packed([Earlier({"lr": 0.1}, 0.5)] * 40)
    known = {"version": "12ed3b27", "others": others, "warm": [{"name": "vessels"}]}
    study.set_user_attr("mmtuna:begun_with", known)
    text = read(study, space).sections["methods"]
    assert "2 configurations that had done well on other data sets (portfolio 12ed3b27 of mmtuna)." in text
    assert (
        "The sampler knew 40 trials recorded on other data sets (portfolio 12ed3b27) and the trials of vessels" in text
    )
    weighed = (
        "weights found on other data were taken for the training pixels here, 10.5 of background to one of all other"
    )
    assert weighed not in text
    study.set_user_attr("mmtuna:begun_with", known | {"odds": 10.54})
    assert weighed in read(study, space).sections["methods"]


def test_scaled_sides_and_iterations_are_said_to_be_and_what_was_trained(space: SearchSpace) -> None:
    study = new_study()
    add(study, space, TABLE2[0].params(space), cost={"seconds": 8.0, "iterations": 10}, table2=1)
    scales = {"size_scale": 0.125, "iteration_scale": 0.05}
    said = (
        "Sides and iterations are named as they were before size_scale = 0.125, iteration_scale = 0.05; 10 iterations"
    )
    text = methods_markdown(study, space, replace(FACTS, fixed=scales))
    assert text.count(f"{said} were trained.") == 2, "in the methods and in item 25"
    page = read(study, space, replace(FACTS, fixed=scales))
    assert page.sections["table2"].count("Trained with size_scale = 0.125, iteration_scale = 0.05: sides and") == 1
    plain = read(study, space)
    assert "scale = " not in plain.sections["methods"] + plain.sections["table2"]


def test_distances_are_said_to_be_in_pixels_and_what_outlines_were_measured_with(space: SearchSpace) -> None:
    study, metrics = new_study(), {"mIoU": 0.7, "NSD_per_image": 0.8, "HD95_per_image": 74.052}
    add(study, space, TABLE2[0].params(space), metrics=metrics, best_metrics=metrics)
    study.set_user_attr("mmtuna:spec", {"metric": {"name": "mIoU", "value": "last", "nsd_tolerance": 2.0}})
    text = methods_markdown(study, space, FACTS)
    assert "(HD95_per_image 74.0520 pixels, NSD_per_image 0.8000)" in text
    assert text.count("NSD_per_image has a tolerance of 2 pixels; HD95_per_image is in pixels.") == 2
    reading = Reading(study, space, FACTS)
    assert ", HD95\\_per\\_image 74.0520 pixels" in study_note(reading)
    note = trial_note(reading.rows[0])
    assert "Metrics of the last evaluation, fractions 0 to 1; HD95\\_per\\_image in pixels:" in note
    footer = "All metrics are fractions, 0 to 1; HD95_per_image in pixels, on validation images"
    assert f"{footer}.</footer>" in report_html(study, space, FACTS)
    look = {"trial": 0, "value": 0.7, "at": "2026-01-01T10:00:00", "finished": 1, "images": 3, "subjects": None}
    study.set_user_attr("mmtuna:looks", [{**look, "figures": {"mIoU": 0.6}, "intervals": {}}])
    assert f"{footer}, but what looks at the test set measured.</footer>" in report_html(study, space, FACTS)
    assert "pixels;" not in methods_markdown(new_study(), space, FACTS)


def test_the_surest_config_is_named_where_the_best_trial_is_anothers(space: SearchSpace) -> None:
    study = new_study()
    for row, finals in ((9, (0.80, 0.60, 0.61)), (5, (0.78, 0.79, 0.77))):
        for place, final in enumerate(finals):
            add(study, space, TABLE2[row].params(space), final=final, **({"again": True} if place else {}))
    page = read(study, space)
    assert "Best mIoU 0.8000 trial 0, on validation images" in page.sections["headline"]
    assert "The config of trial 4 (0.7900) is surest over its seeds" in page.sections["headline"]
    note = study_note(Reading(study, space, ReportFacts()))
    assert "**Best so far: trial 0, mIoU 0.8000**" in note
    assert "The config of trial 4 (0.7900) is surest over its seeds: `mmtuna export` takes it." in note
    methods = page.sections["methods"]
    assert "4 of them trained one of the best configurations once more, to confirm it." in methods
    assert "Chosen was the one whose mean over its seeds is surest (trial 4, mIoU 0.7900)." in methods


def test_a_config_of_one_training_is_never_called_the_surest_over_its_seeds(space: SearchSpace) -> None:
    study = new_study()
    add(study, space, TABLE2[9].params(space), final=0.80)
    add(study, space, TABLE2[5].params(space), final=0.79)
    again = {"again": True, "cause": "diverged"}
    add(study, space, TABLE2[9].params(space), final=0.0, state=TrialState.PRUNED, **again)
    page, note = read(study, space), study_note(Reading(study, space, ReportFacts()))
    why = "The config of trial 1 (0.7900) was trained once, and that of the best trial is lower over its seeds: "
    assert why in page.sections["headline"]
    assert why in note
    methods = page.sections["methods"]
    assert "Chosen was one that was trained once (trial 1, mIoU 0.7900), since the mean of the best trial's" in methods
    assert "is surest" not in page.sections["headline"] + note + methods


def test_seeds_that_diverged_are_told_beside_the_means(space: SearchSpace) -> None:
    rows, counted = counted_study([[0.1, 0.12]])
    study = new_study()
    for row in rows:
        add(study, space, row.params, final=row.value or 0, metrics=row.metrics)
    add(study, space, rows[0].params, final=0.0, state=TrialState.PRUNED, again=True, cause="diverged")
    page = read(study, space, replace(FACTS, counted=counted))
    mean = sum(row.value or 0 for row in rows) / 3
    said = f"{mean:.4f}, without what diverged 0."
    assert f" 3 (1 diverged, counting 0) {said}" in page.sections["certainty"]
    assert f"has mIoU {said}" in page.sections["methods"]
    assert "over 3 seeds (1 diverged, counting 0) (95 % interval" in page.sections["methods"]
    assert "0, 1 (1 diverged, not in these means)" in page.sections["best"]


@pytest.fixture(scope="module")
def sure(space: SearchSpace) -> tuple[optuna.Study, ReportFacts]:
    """Four configs with counts by image: two that are tied, and two that are worse."""
    rows, counted = counted_study([[0.5, 0.51, 0.49], [0.1, 0.11, 0.12], [0.115], [0.3, 0.29]])
    study = new_study()
    for row in rows:
        add(study, space, row.params, final=row.value or 0, metrics=row.metrics)
    return study, replace(FACTS, counted=counted)


def test_tied_configs_share_a_rank_with_intervals_beside(
    sure: tuple[optuna.Study, ReportFacts], space: SearchSpace
) -> None:
    text = read(sure[0], space, sure[1]).sections["certainty"]
    assert re.search(
        r" 1-2, tied 3, 4, 5 3 0\.\d{4} \(0\.\d{4} to 0\.\d{4}\) .* 1-2, tied 6 1 .* 3 7, 8 2 .* 4 0, 1, 2 3 ", text
    )
    assert text.count(" 4 tied ") == 2, "with the number of images that are empty in truth and prediction"
    assert text.count(" 4 worse ") == 2
    assert "16 validation images; intervals by bootstrap over images and seeds, with one seed over images alone" in text
    assert "they are left out of these means" in text
    assert "Rows that share a rank are tied with the highest of it" in text


def test_intervals_are_named_by_what_made_them(sure: tuple[optuna.Study, ReportFacts], space: SearchSpace) -> None:
    study, facts = sure
    text = methods_markdown(study, space, facts)
    assert "(95 % interval, bootstrap over images alone, with one seed each)" in text
    assert "95 % intervals by bootstrap over images and seeds, with one seed over images alone; configs" in text
    of_four = {f"{place:02d}.png": str(place // 4) for place in range(16)}
    facts = replace(facts, counted=replace(facts.counted, subjects=of_four))
    text = methods_markdown(study, space, facts)
    way = "mean ± Student's t times the jackknife's standard error"
    assert f"(95 % interval, {way} over subjects alone, with one seed each)" in text
    assert f"95 % intervals by {way} over subjects and seeds, with one seed over subjects alone; configs" in text
    assert f"of 4 subjects; intervals by {way} over" in read(study, space, facts).sections["certainty"]
    one = replace(facts, counted=replace(facts.counted, subjects=dict.fromkeys(of_four, "a")))
    assert "16 validation images of 1 subject; no intervals" in read(study, space, one).sections["certainty"]
    look = {"trial": 6, "value": 0.7, "at": "2026-01-01", "finished": 9, "images": 9, "subjects": 3}
    seen = new_study()
    seen.add_trials(study.get_trials())
    kept = {"figures": {"mIoU": 0.7}, "intervals": {"mIoU": [0.5, 0.9]}, "methods": {"mIoU": How.ERROR}}
    seen.set_user_attr(LOOKS, [look | kept])
    text = methods_markdown(seen, space, facts)
    assert f"mIoU 0.7000 (0.5000 to 0.9000), in brackets the 95 % interval ({way} over subjects)." in text


def test_methods_and_checklist_are_filled_and_say_what_is_missing(
    sure: tuple[optuna.Study, ReportFacts], space: SearchSpace
) -> None:
    study, facts = sure
    text = methods_markdown(study, space, facts)
    assert "the 4 highest could not be told from it" in text
    assert (
        "| 20 | - | level at which partitions are disjoint | Image: 9 subjects stand on both sides. | **ADD**" in text
    )
    assert "| 37 | 23a | performance | Trial 3, 4, 5: mIoU 0." in text or "Trial 6: mIoU 0." in text
    assert "| 33 | - | external data | - | **ADD**: figures on data from elsewhere" in text
    assert {line.count(" | ") for line in text.splitlines() if line.startswith("| ")} == {4}
    page = read(study, space, facts)
    assert "level at which partitions are disjoint" in page.sections["methods"]
    assert methods_markdown(new_study(), space).count("**ADD**") > 10, "of a study that holds nothing yet"


def test_a_study_of_folds_says_what_it_was_measured_on_alike_everywhere(
    sure: tuple[optuna.Study, ReportFacts], space: SearchSpace
) -> None:
    more = {"train_images": 10, "val_images": 6, "train_subjects": 5, "val_subjects": 3, "shared_subjects": 0}
    facts = replace(sure[1], folds=4, split="by subject, in folds", **more)
    text = methods_markdown(sure[0], space, facts)
    said = "16 images of 8 subjects, each of which validates once in 4 folds"
    assert f"Trainings used {said} (duke-dme-256); split: by subject, in folds." in text
    assert [line.split(" | ")[0] for line in text.splitlines() if f"{said}." in line[:200]] == ["| 19", "| 21", "| 35"]
    assert "; 16 images, each of which validates once in 4 folds; intervals by bootstrap" in text
    page = read(sure[0], space, facts)
    assert f"training and validation {said}" in page.sections["space"]
    assert "16 images, each of which validates once in 4 folds; intervals" in page.sections["certainty"]
    assert "10 training" not in text + page.sections["space"]


def test_where_nothing_was_compared_neither_methods_nor_checklist_say_how(
    sure: tuple[optuna.Study, ReportFacts], space: SearchSpace
) -> None:
    subjects = {name: str(place % 3) for place, name in enumerate(IMAGES)}
    counted = replace(sure[1].counted, subjects=subjects)
    text = methods_markdown(sure[0], space, replace(sure[1], counted=counted))
    assert text.count("onfigs were not compared, since 3 subjects are too few") == 2
    assert "Wilcoxon" not in text


def test_where_values_are_of_best_evaluations_what_is_of_the_last_ones_says_so(
    sure: tuple[optuna.Study, ReportFacts], space: SearchSpace
) -> None:
    study, facts = new_study(), replace(sure[1], value="best")
    for trial in sure[0].trials:
        add(study, space, trial.params, final=1 - trial.values[0], metrics=trial.user_attrs["metrics"])
    text = methods_markdown(study, space, facts)
    interval = r"0\.\d{4} \(0\.\d{4} to 0\.\d{4}\)"
    assert re.search(rf"\(trial 0, 1, 2\) has mIoU 0\.\d{{4}}, and {interval} at the last evaluation", text)
    assert "together, of the last evaluations, with Holm's correction, it was worse than trial 3, 4, 5." in text
    assert re.search(rf"Trial 0, 1, 2: mIoU 0\.\d{{4}}, at the last evaluation {interval}", text)
    assert "at 5 %, of the last evaluation of each training." in text
    section = read(study, space, facts).sections["certainty"]
    assert "mIoU, the value mIoU at the last evaluation (95 % interval)" in section


def test_best_configs_are_ten_by_value_with_classes_and_params(page: Page, sixty: optuna.Study) -> None:
    complete = [trial for trial in sixty.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    top = sorted(complete, key=lambda trial: -trial.values[0])[:10]
    for text in (page.sections["certainty"], page.sections["best"]):
        places = [re.search(rf" {trial.number} (1 )?{trial.value:.4f} ", text) for trial in top]
        found = [place.start() for place in places if place]
        assert len(found) == 10
        assert found == sorted(found)
    assert f"{top[0].user_attrs['metrics']['IoU.fluid']:.4f}" in page.sections["best"]
    assert "mIoU mDice IoU.background IoU.fluid iterations time" in page.sections["best"]
    assert all(name in page.sections["certainty"] for name in top[0].params)
    assert "mmtuna run SPEC --replicates 3 trains" in page.sections["certainty"], "the way to a noise floor"


def test_failures_are_counted_by_cause_with_their_messages(page: Page, sixty: optuna.Study) -> None:
    text, n = page.sections["failures"], states(sixty)
    assert n["failed"] > 0
    assert n["diverged"] > 0
    assert f"out of memory {n['failed']} " in text
    assert f"diverged {n['diverged']} " in text
    assert text.count("CUDA out of memory") == 1, "equal messages stand once"


def test_methods_paragraph_says_the_studys_figures(page: Page, sixty: optuna.Study) -> None:
    text, n = page.sections["methods"].split("One click")[0], states(sixty)
    assert f"Of 60 ended trials, {n['complete']} completed, {n['pruned']} were stopped early, " in text
    assert f"{n['diverged']} diverged and {n['failed']} failed ({n['failed']} out of memory)" in text
    assert "11 of them were rows of the paper's Table 2, enqueued and not proposed." in text
    assert "17 parameters, 5 of them continuous" in text
    assert "proposed by the TPE sampler and pruned where they were below the median of complete trials" in text
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
    text = read(sixty, space, ReportFacts()).sections["methods"].split("One click")[0]
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
