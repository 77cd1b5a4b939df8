"""What mmtuna relies on within Optuna and its dashboard, held against those that are installed; and that nothing else
in the rooms relies on more."""

from __future__ import annotations

import ast
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import optuna_dashboard
import pytest
import sqlalchemy
from optuna.distributions import FloatDistribution
from optuna.pruners import HyperbandPruner
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from plotly import graph_objects

from mmtuna.studies.storage import optuna_insides as insides
from tests.test_layers import ROOT, imports, modules

MODULE = Path("studies/storage/optuna_insides.py")
MOVED = f"Optuna {optuna.__version__} does this otherwise: mend {MODULE}, and what leans on it"
DASHBOARD_MOVED = f"the dashboard does this otherwise: mend {MODULE}, and what leans on it"


@pytest.fixture
def study(tmp_path: Path) -> Iterator[optuna.Study]:
    storage = RDBStorage(f"sqlite:///{tmp_path}/study.db")
    made = optuna.create_study(
        storage=storage, study_name="s", direction="maximize", sampler=RandomSampler(seed=0), load_if_exists=True
    )
    made.set_user_attr("of", "study")
    yield made
    storage.engine.dispose()


def rows(study: optuna.Study, table: sqlalchemy.Table) -> list[dict[str, object]]:
    backend = insides.backend_of(study)
    assert isinstance(backend, RDBStorage), f"Study._storage or _CachedStorage._backend is another thing; {MOVED}"
    with backend.engine.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(sqlalchemy.select(table))]


def test_a_constraint_is_a_system_attribute_of_its_trial(study: optuna.Study) -> None:
    trial = study.ask()
    trial.set_constraint("memory", 0.5)
    kept = {row["key"]: json.loads(str(row["value_json"])) for row in rows(study, insides.SYSTEM_ATTRS)}
    assert kept == {f"{insides.CONSTRAINT}memory": 0.5}, MOVED
    assert study.get_trials()[0].constraints == {"memory": 0.5}, MOVED


def test_tables_hold_what_a_trial_was_told(study: optuna.Study) -> None:
    trial = study.ask({"x": FloatDistribution(0, 1)})
    trial.report(0.25, 50)
    trial.report(math.nan, 60)
    trial.set_user_attr("a", [1])
    study.tell(trial, 0.5)
    (kept,) = rows(study, insides.TRIALS)
    assert (kept["trial_id"], kept["number"], kept["study_id"]) == (1, 0, insides.study_id(study)), MOVED
    assert kept["state"] == TrialState.COMPLETE, MOVED
    ended = kept["datetime_complete"]
    assert isinstance(ended, datetime), MOVED
    assert ended.tzinfo is None, MOVED
    (value,) = rows(study, insides.VALUES)
    assert (value["trial_id"], value["objective"]) == (1, 0), MOVED
    assert (value["value"], value["value_type"]) == insides.stored_value(0.5), MOVED
    reports = {row["step"]: (row["intermediate_value"], row["intermediate_value_type"]) for row in reported(study)}
    assert reports == {50: insides.stored_report(0.25), 60: insides.stored_report(math.nan)}, MOVED
    assert [insides.finite_report(value, kind) for value, kind in reports.values()] == [0.25, None], MOVED  # type: ignore[arg-type]
    (attr,) = rows(study, insides.USER_ATTRS)
    assert (attr["trial_id"], attr["key"], json.loads(str(attr["value_json"]))) == (1, "a", [1]), MOVED
    (named,) = rows(study, insides.STUDIES)
    assert (named["study_id"], named["study_name"]) == (insides.study_id(study), "s"), MOVED


def reported(study: optuna.Study) -> list[dict[str, object]]:
    return rows(study, insides.REPORTS)


def test_rows_written_by_hand_are_read_by_optuna(study: optuna.Study) -> None:
    number = insides.trial_id(study.ask())
    backend = insides.backend_of(study)
    assert isinstance(backend, RDBStorage)
    stored, kind = insides.stored_report(0.25)
    report = {"trial_id": number, "step": 20, "intermediate_value": stored, "intermediate_value_type": kind}
    stored, kind = insides.stored_value(0.5)
    value = {"trial_id": number, "objective": 0, "value": stored, "value_type": kind}
    with backend.engine.begin() as connection:
        connection.execute(sqlalchemy.insert(insides.REPORTS).values(**report))
        connection.execute(sqlalchemy.insert(insides.VALUES).values(**value))
        attr = {"trial_id": number, "key": "a", "value_json": "[1]"}
        connection.execute(sqlalchemy.insert(insides.USER_ATTRS).values(**attr))
        ended = {"state": TrialState.COMPLETE, "datetime_complete": datetime(2026, 1, 2)}
        mine = insides.TRIALS.c.trial_id == number
        connection.execute(sqlalchemy.update(insides.TRIALS).where(mine).values(**ended))
    (trial,) = study.get_trials()
    assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.COMPLETE, 0.5, {20: 0.25}), MOVED
    assert (trial.user_attrs, trial.datetime_complete) == ({"a": [1]}, datetime(2026, 1, 2)), MOVED


def full_trial(study: optuna.Study) -> int:
    """The id of an ended trial that has some of everything."""
    study.enqueue_trial({"x": 0.25}, user_attrs={"a": [1]})
    trial = study.ask()
    trial.suggest_float("x", 0.1, 1.0, log=True)
    trial.suggest_categorical("c", ("none", 3, 0.5))
    trial.suggest_int("n", 2, 8, step=2)
    trial.report(0.25, 50)
    trial.report(math.nan, 20)
    trial.set_user_attr("b", {"c": None})
    study.tell(trial, math.inf)
    return insides.trial_id(trial)


def backend(study: optuna.Study) -> RDBStorage:
    storage = insides.backend_of(study)
    assert isinstance(storage, RDBStorage)
    return storage


def test_trials_are_read_as_optuna_reads_them(study: optuna.Study) -> None:
    ids = [full_trial(study), full_trial(study), insides.trial_id(study.ask())]
    study.enqueue_trial({"x": 0.5})
    ids.append(insides.trial_id(study.get_trials()[-1]))
    with backend(study).engine.connect() as connection:
        found = insides.read_trials(connection, ids[1:])
    for trial, optunas in zip(found, study.get_trials()[1:], strict=True):
        mine, theirs = dict(vars(trial)), dict(vars(optunas))
        nan = [values.pop("intermediate_values").items() for values in (mine, theirs)]
        assert mine == theirs, MOVED
        assert repr(sorted(nan[0])) == repr(sorted(nan[1])), MOVED
        assert list(trial.params) == list(optunas.params), MOVED


def test_a_trial_that_was_drafted_is_read_by_optuna(study: optuna.Study) -> None:
    before, template = full_trial(study), study.get_trials()[0]
    params = [
        insides.stored_param(name, value, template.distributions[name]) for name, value in template.params.items()
    ]
    trial = {"number": 1, "study_id": insides.study_id(study), "state": TrialState.RUNNING}
    with backend(study).engine.begin() as connection:
        made = connection.scalar(sqlalchemy.insert(insides.TRIALS).values(**trial).returning(insides.TRIALS.c.trial_id))
        connection.execute(sqlalchemy.insert(insides.PARAMS), [{"trial_id": made, **param} for param in params])
        attr = {"trial_id": made, "key": "k", "value_json": "[2]"}
        connection.execute(sqlalchemy.insert(insides.SYSTEM_ATTRS).values(**attr))
    read = study.get_trials()[1]
    assert made == before + 1
    assert (read.params, read.distributions) == (template.params, template.distributions), MOVED
    assert read.system_attrs == {"k": [2]}, MOVED


def test_a_trial_learns_its_place(study: optuna.Study) -> None:
    made, drafted = study.ask(), study.ask()
    insides.give_place(drafted, insides.trial_id(made), 7)
    assert (insides.trial_id(drafted), drafted.number) == (insides.trial_id(made), 7), MOVED
    assert insides.trial_id(insides.as_read(drafted)) == insides.trial_id(made), MOVED
    drafted.report(0.5, 1)
    assert study.get_trials()[0].intermediate_values == {1: 0.5}, MOVED


def test_a_study_takes_a_cache_of_ones_own(study: optuna.Study) -> None:
    own = type("Own", (insides.CachedStorage,), {})(backend(study))
    again = optuna.load_study(study_name="s", storage=own)
    assert insides.storage_of(again) is own, MOVED
    assert insides.backend_of(again) is backend(study), MOVED
    trial = again.ask({"x": FloatDistribution(0, 1)})
    cache = own._studies[insides.study_id(again)]
    assert list(cache.trials) == [trial.number], MOVED
    assert cache.param_distribution == {"x": FloatDistribution(0, 1)}, MOVED
    place = own._trial_id_to_study_id_and_number[insides.trial_id(trial)]
    assert place == (insides.study_id(again), trial.number), MOVED
    own._add_trials_to_cache(insides.study_id(again), again.get_trials())
    with own._lock:
        assert cache.trials[0].params == trial.params, MOVED


def test_a_trial_is_found_by_its_number(study: optuna.Study) -> None:
    full_trial(study)
    assert insides.trial_of_number(study, 0).user_attrs["a"] == [1], MOVED
    with pytest.raises(IndexError):
        insides.trial_of_number(study, 1)


def test_the_version_check_is_left_out_and_alembic_with_it(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = insides.backend_of(study)
    assert isinstance(backend, RDBStorage)
    with backend.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v0'")
    url = f"sqlite:///{tmp_path}/study.db"
    with pytest.raises(RuntimeError, match="no longer compatible"):
        RDBStorage(url)
    for name in [name for name in sys.modules if name.startswith("alembic")]:
        monkeypatch.delitem(sys.modules, name)
    with insides.without_version_check():
        looked = RDBStorage(url)
    assert [entry.study_name for entry in looked.get_all_studies()] == ["s"], MOVED
    assert "alembic" not in sys.modules, MOVED
    looked.engine.dispose()
    with pytest.raises(RuntimeError, match="no longer compatible"):
        RDBStorage(url)


def test_ids_and_storage_are_those_that_the_storage_is_asked_with(study: optuna.Study) -> None:
    trial = study.ask()
    storage = insides.storage_of(study)
    assert storage.get_study_name_from_id(insides.study_id(study)) == "s", MOVED
    assert storage.get_trial(insides.trial_id(trial)).number == trial.number, MOVED
    assert insides.trial_id(study.get_trials()[0]) == insides.trial_id(trial), MOVED


def test_what_a_running_trial_has_read_is_changed_with_it(study: optuna.Study) -> None:
    trial = study.ask()
    trial.report(0.25, 20)
    insides.note_report(trial, 40, 0.5)
    assert insides.as_read(trial).intermediate_values == {20: 0.25, 40: 0.5}, MOVED
    with pytest.warns(UserWarning, match="already reported"):
        trial.report(0.75, 40)  # Optuna knows of the report that it was only told of
    assert study.get_trials()[0].intermediate_values == {20: 0.25}, MOVED


def test_trials_are_read_again(study: optuna.Study) -> None:
    study.ask()
    assert len(study._get_trials(deepcopy=False, use_cache=True)) == 1, MOVED
    insides.storage_of(study).create_new_trial(insides.study_id(study))
    assert len(study._get_trials(deepcopy=False, use_cache=True)) == 1, MOVED  # as a sampler sees them
    insides.read_trials_again(study)
    assert len(study._get_trials(deepcopy=False, use_cache=True)) == 2, MOVED


def test_a_sampler_sees_one_bracket_and_the_whole_study_behind_it(study: optuna.Study) -> None:
    trial = study.get_trials()[0] if study.get_trials() else insides.as_read(study.ask())
    assert insides.view_of_sampler(study, trial) is study, MOVED
    assert insides.whole_study(study) is study, MOVED
    study.pruner = HyperbandPruner(min_resource=1, max_resource=100)
    view = insides.view_of_sampler(study, trial)
    assert view is not study, MOVED
    assert insides.whole_study(view) is study, MOVED


def test_params_of_the_queue_are_known_before_and_after_they_are_taken(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 0.5})
    assert insides.enqueued_params(study.get_trials()[0]) == {"x": 0.5}, MOVED
    study.tell(study.ask({"x": FloatDistribution(0, 1)}), 1.0)
    study.ask({"x": FloatDistribution(0, 1)})
    taken, sampled = study.get_trials()
    assert (insides.enqueued_params(taken), insides.enqueued_params(sampled)) == ({"x": 0.5}, None), MOVED


def test_system_attributes_are_written_and_read(study: optuna.Study) -> None:
    trial = study.ask()
    insides.set_study_system_attr(study, "k", [1])
    insides.set_trial_system_attr(study, study.get_trials()[0], "k", [2])
    insides.set_study_system_attr(study, "other", 1)
    assert insides.study_system_attrs(study)["k"] == [1], MOVED
    assert insides.study_system_attrs(study, ["k", "none"]) == {"k": [1]}, MOVED
    (first, _) = rows(study, insides.STUDY_SYSTEM_ATTRS)
    assert (first["study_id"], first["key"], first["value_json"]) == (insides.study_id(study), "k", "[1]"), MOVED
    assert study.get_trials()[0].system_attrs["k"] == [2], MOVED
    study.tell(trial, 0.5)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        insides.set_trial_system_attr(study, study.get_trials()[0], "k", [3])


def test_the_dashboard_reads_notes_and_plots_where_we_put_them(study: optuna.Study) -> None:
    trial = study.ask()
    for about, number in ((study, None), (trial, insides.trial_id(trial))):
        text, version = insides.note_keys(number)
        insides.set_study_system_attr(study, text, "ours")
        insides.set_study_system_attr(study, version, 1000)
        assert optuna_dashboard.get_note(about) == "ours", DASHBOARD_MOVED
        optuna_dashboard.save_note(about, "a person's")
        assert insides.study_system_attrs(study)[version] == 1001, DASHBOARD_MOVED
        assert insides.study_system_attrs(study)[text] == "a person's", DASHBOARD_MOVED
    optuna_dashboard.save_plotly_graph_object(study, graph_objects.Figure(), graph_object_id="history")
    assert insides.PLOT.format(name="history") in insides.study_system_attrs(study), DASHBOARD_MOVED


def test_the_dashboard_reads_artifacts_where_we_put_them(study: optuna.Study, tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "a.txt").write_text("a")
    store = optuna.artifacts.FileSystemArtifactStore(tmp_path / "artifacts")
    trial = study.ask()
    made = optuna.artifacts.upload_artifact(
        artifact_store=store, file_path=str(tmp_path / "a.txt"), study_or_trial=trial
    )
    meta = study.get_trials()[0].system_attrs[insides.ARTIFACT_OF_TRIAL + made]
    study.tell(trial, 0.5)
    ended = study.get_trials()[0]
    key = insides.ARTIFACT_OF_ENDED_TRIAL.format(trial_id=insides.trial_id(ended)) + "other"
    insides.set_study_system_attr(study, key, meta)
    assert insides.artifact_of_ended_trial(key) == (insides.trial_id(ended), "other")
    assert insides.artifact_of_ended_trial(insides.note_keys(1)[0]) is None
    app = optuna_dashboard.wsgi(insides.storage_of(study), artifact_store=store)
    shown = json.loads(reply(app, f"/api/studies/{insides.study_id(study)}"))["trials"][0]["artifacts"]
    assert len(shown) == 2, DASHBOARD_MOVED
    assert reply(app, insides.artifact_address(study, ended, made)) == b"a", DASHBOARD_MOVED


def reply(app: Callable[..., Iterable[bytes]], path: str) -> bytes:
    environ: dict[str, Any] = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    return b"".join(app(environ, lambda *_: None))


def test_every_name_here_has_its_test() -> None:
    tree = ast.parse((ROOT / MODULE).read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    names = functions | {
        node.targets[0].id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    here = Path(__file__).read_text(encoding="utf-8")
    assert not [name for name in names if not name.startswith("_") and f"insides.{name}" not in here]


PRIVATE = re.compile(r"_[a-z]\w*")
KEYS = re.compile(r"fixed_params$|artifacts:$|dashboard:(?=[\w{]|$)")


def optunas_own(study: optuna.Study) -> set[str]:
    """Names that begin with an underscore of what Optuna hands out: studies, trials and storages."""
    trial = study.ask()
    storage = insides.storage_of(study)
    things = (study, trial, study.get_trials()[0], storage, insides.backend_of(study), study.sampler, study.pruner)
    names = {name for thing in things for name in (*dir(thing), *vars(thing)) if PRIVATE.fullmatch(name)}
    return names | {name for name in vars(optuna.pruners) if PRIVATE.fullmatch(name)}


def uses(tree: ast.Module, own: set[str]) -> list[str]:
    """Where a module reaches into Optuna: private modules and names, attribute keys that are Optuna's."""
    found = [name for _, name in imports(tree) if re.match(r"optuna\w*\..*\b_", name)]
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in own:
            # A class of ours may have a name of its own that is Optuna's, too.
            ours = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            found += [] if ours else [f"line {node.lineno}: .{node.attr}"]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            named = node.value in own or KEYS.match(node.value)
            found += [f"line {node.lineno}: {node.value!r}"] if named else []
    return found


def test_nothing_else_reaches_into_optuna(study: optuna.Study) -> None:
    own = optunas_own(study)
    paths = [path for _, path in modules()] + sorted((ROOT / "benchmarks").rglob("*.py"))
    found = {}
    for path in paths:
        if path != ROOT / MODULE and (reached := uses(ast.parse(path.read_text(encoding="utf-8")), own)):
            found[str(path.relative_to(ROOT))] = reached
    assert not found, f"private names of Optuna belong into {MODULE}, with a contract test each"


@pytest.mark.parametrize(
    "text",
    [
        "from optuna.storages._rdb import models",
        "from optuna.pruners import _filter_study",
        "study._storage.get_trial(3)",
        "self.study._study_id",
        'getattr(view, "_study_id", view)',
        'trial.system_attrs.get("fixed_params")',
        'f"dashboard:{number}:note_ver"',
        'key = "dashboard:note_str:0"',
    ],
)
def test_the_rule_would_catch_a_use(study: optuna.Study, text: str) -> None:
    assert uses(ast.parse(text), optunas_own(study))


@pytest.mark.parametrize("text", ["self._storage = 1", 'print(f"dashboard: {address}")', "study.storage"])
def test_the_rule_leaves_other_names_alone(study: optuna.Study, text: str) -> None:
    assert not uses(ast.parse(text), optunas_own(study))
