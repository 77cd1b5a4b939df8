"""What the commands do, as functions: values back, nothing printed, InputError for what a person can mend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from mmtuna.homes import FOLDER
from mmtuna.search.checking.preparing import reopen
from mmtuna.search.outputs.bundle import export_trial
from mmtuna.search.outputs.comparison import Against
from mmtuna.search.outputs.comparison import against as judge
from mmtuna.search.outputs.comparison import compare as draw
from mmtuna.search.outputs.leak import FOLDS, Leak, chosen_configs, measure_leak
from mmtuna.search.outputs.report import report_file, write_report
from mmtuna.search.trials.files import is_inside
from mmtuna.search.trials.ownership import is_own
from mmtuna.search.work.beginning import open_to_work
from mmtuna.search.work.progress import console_to
from mmtuna.search.work.running import run_study
from mmtuna.spaces.errors import InputError, true_or_false, whole_number, whole_number_or_none
from mmtuna.studies import results
from mmtuna.studies.begun import space_of
from mmtuna.studies.results import TrialRow
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import study_lock
from mmtuna.studies.strategy.beginning import join
from mmtuna.studies.strategy.enqueuing import Top
from mmtuna.studies.study import open_to_read, require_readable
from mmtuna.studies.table2 import Table2Line
from mmtuna.studies.table2 import table2 as table2_lines

if TYPE_CHECKING:
    import pandas

_NESTED = ("params", "metrics", "best_metrics")
SpecOrPath = StudySpec | str | Path


def _to_read(spec: StudySpec, study: optuna.Study | None) -> optuna.Study:
    """The study that a person gives, or the spec's own; InputError where its figures are not what `spec` calls them."""
    if study is None:
        return open_to_read(spec)
    if not isinstance(study, optuna.Study):
        raise InputError(f"study: give a study of Optuna, or none for the spec's own, not {study!r}")
    require_readable(study, spec)
    return study


def _numbers(name: str, given: Sequence[int]) -> list[int]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(f"{name}: give numbers of trials, such as [0, 3], not {given!r}")
    return [whole_number(name, number, 0) for number in given]


def trials(spec: SpecOrPath, study: optuna.Study | None = None) -> list[TrialRow]:
    """All trials of the spec's study, or of another `study` that an Objective trained for, as plain data by number.

    InputError where the study's figures are not what the spec calls them, as for `table2` and `report`.
    """
    return results.rows(_to_read(StudySpec.of(spec), study))


def trials_dataframe(spec: SpecOrPath, study: optuna.Study | None = None) -> pandas.DataFrame:
    """`trials` as a DataFrame, a row a trial by number: state, value, params_NAME, metrics_NAME, seconds, and so on.

    InputError where pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise InputError("trials_dataframe needs pandas; run: pip install pandas") from None
    rows = []
    for row in trials(spec, study):
        nested: dict[str, Mapping[str, Any]] = {name: getattr(row, name) for name in _NESTED}
        flat: dict[str, Any] = {
            name: value for name, value in vars(row).items() if name not in (*_NESTED, "curve", "folds")
        }
        for kind, values in nested.items():
            flat |= {f"{kind}_{name}": value for name, value in values.items()}
        rows.append(flat)
    return pandas.DataFrame(rows).set_index("number") if rows else pandas.DataFrame()


def table2(spec: SpecOrPath, study: optuna.Study | None = None) -> list[Table2Line]:
    """The eleven rows of the paper's Table 2 beside those trials of the study that repeat them."""
    spec = StudySpec.of(spec)
    found = _to_read(spec, study)
    return table2_lines(found, space_of(found, spec))


def leak(
    spec: SpecOrPath,
    *,
    replicates: int = 3,
    folds: int = FOLDS,
    trials: Sequence[int] = (),
    configs: str | Path | None = None,
    metric: str | None = None,
    slots: int | None = None,
    say: Callable[[str], None] | None = None,
) -> Leak:
    """How much of the figures comes from subjects that stand on both sides of the spec's split.

    Trains what is missing by that split and in `folds` by subject, in studies of their own; called again, it goes on.

    Args:
        replicates: trainings of each config by each split.
        trials: numbers of complete trials whose params are trained; the best by default, before any the defaults.
        configs: TOML file with a table [[config]] a config, in their place.
        metric: what is compared; the study's metric by default.
        slots, say: as of `run`.

    Raises what `run` raises, and InputError for a split or a metric by which nothing can be told.
    """
    options: dict[str, Any] = {
        "replicates": whole_number("replicates", replicates, 1),
        "folds": whole_number("folds", folds, 2),
        "metric": metric,
        "slots": whole_number_or_none("slots", slots, 1),
    }
    numbers, spec = _numbers("trials", trials), StudySpec.of(spec)
    chosen = chosen_configs(spec, numbers, None if configs is None else Path(configs))
    return measure_leak(spec, chosen, console_to(say), **options)


def open_study(spec: SpecOrPath) -> optuna.Study:
    """The spec's study with its sampler and pruner set, created where it does not exist.

    Reads the data's files that changed since. InputError where they, or the spec, are not what the study was begun on.
    """
    spec = StudySpec.of(spec)
    ready = reopen(spec)
    study = open_to_work(spec, ready.fingerprints(), ready.odds)
    ready.save()
    with study_lock(spec.study.storage, spec.study.name):
        join(study, spec.study, ready.space, spec.priors())
    return study


def run(
    spec: SpecOrPath,
    *,
    trials: int | None = None,
    slots: int | None = None,
    replicates: int | None = None,
    top: int | None = None,
    say: Callable[[str], None] | None = None,
) -> optuna.Study:
    """Searches until the spec's study holds `trials` finished trials, those it has included; called again, it goes on.

    Args:
        trials: [study] trials by default.
        slots: trials that train at the same time on this machine; from [resources] by default.
        replicates: afterwards, train the best configs until each has so many seeds, 2 or more.
        top: how many of those with the highest means `replicates` trains, 1 or more; 5 by default.
        say: takes the lines that the command would print; nobody hears them where not given.

    Raises NotReadyError with all problems, InputError for a study that cannot be gone on with, StoppedError where the
    search stopped before the study was full. However it ends, by Ctrl-C too, running trials are put back.
    """
    trials, slots = whole_number_or_none("trials", trials, 1), whole_number_or_none("slots", slots, 1)
    again = Top.of(replicates, top)
    return run_study(StudySpec.of(spec), console_to(say), trials=trials, slots=slots, top=again)


def report(
    spec: SpecOrPath,
    out: str | Path | None = None,
    study: optuna.Study | None = None,
    *,
    methods: str | Path | None = None,
) -> Path:
    """Writes the report, one HTML file that needs no network, by default into the study's folder; returns its path.

    `methods` is a Markdown file for the methods section and the checklist, written where it is named. InputError where
    the two are one file, and without `out` for a `study` that has no folder here.
    """
    spec = StudySpec.of(spec)
    found = _to_read(spec, study)
    markdown = None if methods is None else Path(methods)
    return write_report(spec, found, Path(out) if out is not None else _report_file(spec, found), markdown)


def _report_file(spec: StudySpec, study: optuna.Study) -> Path:
    """Where the study's report lies, which never takes the place of another study's."""
    within = study.user_attrs.get(FOLDER)
    if within is None and not is_own(study, spec.study):
        raise InputError(f"study {study.study_name}: no folder of it is known here; give out, the file to write")
    found = report_file(spec, "" if within is None else str(within))
    if not is_inside(found, spec.study.folder):
        raise InputError(
            f"study {study.study_name}: its folder {within} lies outside {spec.study.folder}; its storage was changed"
        )
    return found


def export(
    spec: SpecOrPath,
    out: str | Path,
    *,
    trial: int | None = None,
    retrain: bool = False,
    ensemble: bool = False,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Writes a trial's bundle, verified, to the new or empty folder `out` and returns what its bundle.json holds.

    Args:
        trial: number of a complete trial; the best by default.
        retrain: train its params on training and validation images together and export these weights.
        ensemble: export the nets of a trial's folds together: the mean of their probabilities.
        say: takes a line now and then while it trains again.

    InputError where there is no such trial, its weights are gone, a package is missing or the verification fails; then
    nothing is written.
    """
    trial = whole_number_or_none("trial", trial, 0)
    kind = {"retrain": true_or_false("retrain", retrain), "ensemble": true_or_false("ensemble", ensemble)}
    return export_trial(StudySpec.of(spec), Path(out), trial, **kind, say=say or (lambda _line: None)).document


def against(spec: SpecOrPath, a: int, b: int, other: SpecOrPath | None = None) -> Against:
    """Whether the config of trial `b` is better or worse than that of trial `a`, over all their seeds, or tied with it.

    `other` is the study that trial `b` is of, where it is another one on the same images. `beside.verdict` is the
    answer, `beside.difference` that of their means, `beside.comparison` what it rests on, and `beside.why` says why
    nothing can be told where that is so. InputError for a trial that is not there or not complete.
    """
    a, b = whole_number("a", a, 0), whole_number("b", b, 0)
    return judge(StudySpec.of(spec), a, b, None if other is None else StudySpec.of(other))


def compare(spec: SpecOrPath, a: int, b: int, out: str | Path, image: str | None = None) -> Path:
    """Draws trials `a` and `b` beside the truth into the PNG file `out` and returns its path.

    `image` names a validation image, with suffix; by default the worst, the median and the best of trial `b`.
    """
    a, b = whole_number("a", a, 0), whole_number("b", b, 0)
    return draw(StudySpec.of(spec), a, b, Path(out), image).path
