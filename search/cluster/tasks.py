"""What runs on the nodes of a Ray cluster: a look at the node, the begin of a study, one trial.

Each takes and returns JSON text: Ray pickles what passes between its processes, and text is all there is to pickle.
Nothing here imports ray. An `Order` holds no password: a node takes that from its own environment.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cache, lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import optuna
from rich.console import Console

from mmtuna.objectives.outcome import Objective
from mmtuna.objectives.trial.fork_server import SERVER
from mmtuna.search.checking import checks
from mmtuna.search.checking.costs import recalled_costs
from mmtuna.search.checking.data import open_dataset
from mmtuna.search.checking.preparing import prepare, reopen
from mmtuna.search.errors import StoppedError
from mmtuna.search.quiet import quiet_optuna
from mmtuna.search.versions import versions
from mmtuna.search.work.beginning import begin, foresee, open_to_work
from mmtuna.search.work.hours import hours_of
from mmtuna.search.work.pace import at_speed
from mmtuna.search.work.progress import Board
from mmtuna.search.work.running import make_worker
from mmtuna.search.work.worker import Slot
from mmtuna.spaces.errors import InputError
from mmtuna.studies.asking import Hours
from mmtuna.studies.begun import space_of
from mmtuna.studies.spec.study_spec import STORAGE_VARIABLE, StudySpec
from mmtuna.studies.storage.opening import study_lock
from mmtuna.studies.storage.outages import DiskFullError, StorageLostError, through_outages
from mmtuna.studies.storage.postgres import without_password
from mmtuna.studies.strategy.beginning import asked_for

Result = TypeVar("Result")
PACKAGES = ("mmtuna.spaces", "mmtuna.objectives", "mmtuna.studies", "mmtuna.search")


@dataclass(frozen=True, kw_only=True)
class Order:
    """A study, for a process on any node. `spec` is the text of the file `path`, which need not exist on the node.

    Args:
        storage: the database's URL without its password.
        code: `code_digest()` of the machine that launched.
        mark: name of a file in the study's folder that is there only while nodes are looked at; "" where the folder
            need not be shared.
        device: "cpu" or "cuda:0", which is then the GPU, or the share of one, that Ray gave to the task.
        threads: CPU threads of a trial.
        trials: finished trials that the study is to hold.
        patient: whether a database that is away is waited for, as by a worker of a study that runs.
    """

    spec: str
    path: str
    storage: str
    code: str
    device: str
    threads: int
    trials: int
    mark: str = ""
    patient: bool = False

    def text(self) -> str:
        """The order as JSON."""
        return json.dumps(asdict(self))

    def patiently(self, call: Callable[[], Result]) -> Result:
        """`call()`; repeated for ten minutes while the database is away, where there is patience. StorageLostError."""
        return through_outages(call) if self.patient else call()

    def study_spec(self) -> StudySpec:
        """The spec as of `trials`, with this node's own password where its MMTUNA_STORAGE names the same database."""
        own = os.environ.get(STORAGE_VARIABLE, "")
        storage = own if without_password(own) == self.storage else self.storage
        return asked_for(StudySpec.parse(self.spec, Path(self.path), storage), self.trials)


@cache
def code_digest() -> str:
    """Hash of mmtuna's own modules, the same wherever the same code is installed."""
    # Where they lie differs between a wheel and a checkout.
    tops = {name: Path(import_module(name).__path__[0]) for name in PACKAGES}
    files = [(name, top, file) for name, top in tops.items() for file in sorted(top.rglob("*.py"))]
    return _digest(
        f"{name}/{file.relative_to(top).as_posix()} {hashlib.sha256(file.read_bytes()).hexdigest()}"
        for name, top, file in files
    )


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def own_versions() -> dict[str, str]:
    """Versions that must agree among nodes: what is installed, without the build of torch (+cpu, +cu128)."""
    found = {name: version.partition("+")[0] for name, version in versions().items()}
    return found | {"python": ".".join(platform.python_version_tuple()[:2])}


def look(order_text: str) -> str:
    """Looks at the node that this runs on, changing nothing: code, versions, folder, data, weights, storage.

    Returns JSON: problems (texts), versions, data (hash of the files' names and sizes), code.
    """
    order = Order(**json.loads(order_text))
    problems: list[str] = []
    data = ""
    try:
        spec = order.study_spec()
        if order.mark and not (spec.study.folder / order.mark).is_file():
            problems.append(
                f"{spec.study.folder} is not the launching machine's folder; put [study] folder on a shared file "
                "system, or set [study] artifacts to S3"
            )
        for step in (_check_storage, _check_data):
            try:
                data = order.patiently(partial(step, spec))
            except (InputError, StorageLostError) as error:
                problems.append(str(error))
    except InputError as error:
        problems.append(str(error))
    found = {"problems": problems, "versions": own_versions(), "data": data, "code": code_digest()}
    return json.dumps(found)


def _check_storage(spec: StudySpec) -> str:
    checks.check_storage(spec.study.storage, spec.study.folder)
    checks.check_artifacts(spec.study)
    return ""


def _check_data(spec: StudySpec) -> str:
    dataset = open_dataset(spec.data)
    paths = [path for name in dataset.names for path in (dataset.image_path(name), dataset.mask_path(name))]
    lines = [f"{path.relative_to(dataset.root)} {path.stat().st_size if path.exists() else None}" for path in paths]
    for file in (spec.model.base, spec.model.pretrained.replace("{decoder}", "fcn")):
        if file.startswith("/") and not Path(file).exists():
            raise InputError(f"{file}: no such file here; put it where every node finds it")
    return _digest(lines)


@quiet_optuna()
def prepare_study(order_text: str) -> str:
    """Checks all that can be known to fail before trial 1, as `check` does, and begins the study if nothing does.

    Returns JSON: problems, notes.
    """
    order = Order(**json.loads(order_text))
    spec = order.study_spec()
    SERVER.begin()  # imports torch while the data are read
    ready = prepare(spec, slots=1, probe=True)
    problems = ready.problems
    if not problems and spec.study.hours is not None:
        foresee(ready, [Slot(0, order.device, order.threads)])
    if not problems:
        try:
            begin(spec, ready)
        except InputError as error:
            problems = [str(error)]
    return json.dumps({"problems": problems, "notes": ready.notes})


@quiet_optuna()
def train_one(order_text: str) -> str:
    """Trains one trial of the study.

    Returns JSON: node (its host name), lines (what there is to say), and one of: trained (true), budget (done or wait:
    there was none to train), stopped (why the search must end), unfit (why this node cannot train).
    """
    said = io.StringIO()
    try:
        place = _open(order_text)
    except (InputError, StorageLostError) as error:
        found: dict[str, Any] = {"unfit": str(error)}
    else:
        found = _train_one(place, Console(file=said, width=1000, force_terminal=False))
    return json.dumps({"node": platform.node(), "lines": said.getvalue().splitlines(), **found})


@dataclass(frozen=True)
class _Place:
    """What one process keeps from one trial to the next."""

    order: Order
    spec: StudySpec
    study: optuna.Study
    objective: Objective
    hours: Hours | None


@lru_cache(maxsize=1)
def _open(order_text: str) -> _Place:
    """Opens the study once a process; InputError where this node's code or data are not the study's."""
    order = Order(**json.loads(order_text))
    if order.code != code_digest():
        raise InputError("it holds another version of mmtuna; install the launching machine's")
    spec = order.study_spec()
    ready = reopen(spec)
    study = order.patiently(lambda: open_to_work(spec, ready.fingerprints(), ready.odds))
    slot = Slot(0, order.device, order.threads)
    lock, space = study_lock(spec.study.storage, spec.study.name), space_of(study, spec)
    objective = order.patiently(lambda: at_speed(ready.objective(), study, lock, space, [slot], lambda _: None))
    ready.devices = (order.device,)
    assert ready.split is not None
    costs = recalled_costs(ready, threads=order.threads, beside=1)
    hours = hours_of(spec.study, study, objective, len(ready.split.val), costs, spec.folds)
    return _Place(order, spec, study, ready.whole(objective), hours)


def _train_one(place: _Place, console: Console) -> dict[str, Any]:
    order, spec, study = place.order, place.spec, place.study
    board = Board(console, [order.device], spec.study.metric, order.trials)
    try:
        slots = [Slot(0, order.device, order.threads)]
        worker = make_worker(spec, study, place.objective, slots, board, hours=place.hours)
        # Twice the time in which a lost trial comes back: a worker that only asked would be gone before it could tell.
        budget = worker.work_once(order.trials, patience=2 * spec.resources.lease)
    except KeyboardInterrupt:  # how Ray cancels a task; the trial has been put back
        return {"stopped": "interrupted"}
    except (InputError, StoppedError, StorageLostError, DiskFullError) as error:
        return {"stopped": str(error)}
    return {"budget": budget.value} if budget is not None else {"trained": True}
