"""`launch`: a study on a Ray cluster, one Ray task a trial.

Ray places the tasks, gives each its share of a GPU, and repeats those whose node goes away; the study's own budget,
leases and records hold as with `run`, since every task is a worker of one slot that trains one trial.
"""

from __future__ import annotations

import secrets
import threading
import time
import tomllib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console

from mmtuna.search.cluster import tasks
from mmtuna.search.cluster.nodes import Answer, Cluster, Node, Share
from mmtuna.search.cluster.tasks import Order
from mmtuna.search.errors import NotReadyError, StoppedError
from mmtuna.search.quiet import quiet_optuna
from mmtuna.search.work.hours import ending_lines
from mmtuna.search.work.signals import on_signals
from mmtuna.spaces.errors import InputError
from mmtuna.studies import study as study_room
from mmtuna.studies.asking import Budget
from mmtuna.studies.begun import space_of
from mmtuna.studies.spec.study_spec import StudySpec, read_text
from mmtuna.studies.spec.tables import SQLITE
from mmtuna.studies.standing import repeated_cause
from mmtuna.studies.storage.outages import DiskFullError, StorageLostError, through_outages
from mmtuna.studies.storage.postgres import holds_password, without_password
from mmtuna.studies.strategy.beginning import asked_for

_QUEUE = 100  # tasks that wait in Ray's queue at most: enough for it to ask for more nodes
_LISTEN = 2.0  # seconds between looks at the cluster
_REST = 2.0  # seconds before another task is sent where the last found nothing to train
_LAST_WORDS = 15.0  # seconds for running trials to be put back
_LOST_TASKS = 3


@dataclass
class Launch:
    """One study on one cluster, until it holds `trials` finished trials."""

    spec: StudySpec
    path: Path
    cluster: Cluster
    console: Console
    trials: int | None = None
    _share: Share = field(init=False)
    _stop: threading.Event = field(default_factory=threading.Event)
    _flying: dict[Any, None] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)
    _looks: dict[Any, Node] = field(default_factory=dict)
    _unfit: set[str] = field(default_factory=set)
    _lost: int = 0
    _rest_until: float = 0.0
    _ended: Budget | None = None

    @quiet_optuna()
    def run(self) -> optuna.Study:
        """Checks nodes and study, then trains.

        Raises InputError and NotReadyError before anything is written, StoppedError afterwards.
        """
        self.spec = asked_for(self.spec, self.trials)
        nodes = self.cluster.nodes()
        share = self._share = share_of(self.spec, nodes)
        fit = [node for node in nodes if share.fits(node)]
        _refuse_one_machine_storage(self.spec, {node.node_id for node in fit} | {self.cluster.own_node()})
        order = self._order(share)
        self._say(f"{len(fit)} of {len(nodes)} nodes can train; a trial takes {_share_text(share)}")
        self._look_at_all(order, fit)
        self._known = {node.node_id: node.name for node in nodes}
        order = self._prepare(order)
        study = study_room.open_existing(self.spec.study)
        with on_signals(self._stop.set, self._say):
            self._train(study, order)
        for line in ending_lines(self.spec.study, space_of(study, self.spec), study, self._ended, order.trials):
            self._say(line)
        return study

    def _order(self, share: Share) -> Order:
        text = read_text(self.path)
        # Its own, which MMTUNA_STORAGE may hide.
        if holds_password(str(tomllib.loads(text).get("study", {}).get("storage", ""))):
            raise InputError(
                f"{self.path.name}: the password in [study] storage would travel through Ray; take it out, and set "
                "PGPASSWORD or ~/.pgpass on the nodes"
            )
        trials = self.trials or self.spec.study.trials
        return Order(
            spec=text,
            path=str(self.path.resolve()),
            storage=without_password(self.spec.study.storage),
            code=tasks.code_digest(),
            device=share.device,
            threads=share.cpus,
            trials=trials,
        )

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _look_at_all(self, order: Order, nodes: list[Node]) -> None:
        with _marked(self.spec) as mark:
            looks = {self.cluster.submit("look", replace(order, mark=mark).text(), node=n.node_id): n for n in nodes}
            answers = {node: self.cluster.answer(task) for task, node in looks.items()}
        problems = [f"{node.name}: {line}" for node, answer in answers.items() for line in misfits(answer)]
        data = {answer.found.get("data") for answer in answers.values()}
        if len(data) > 1 and not problems:
            problems.append(f"{self.spec.data.root}: names or sizes of the files differ among the nodes; copy it anew")
        if problems:
            raise NotReadyError(problems)

    def _prepare(self, order: Order) -> Order:
        answer = self.cluster.answer(self.cluster.submit("prepare_study", order.text(), self._share))
        problems = [answer.error] if answer.error else answer.found["problems"]
        if problems:
            raise NotReadyError(problems)
        for note in answer.found["notes"]:
            self.console.print(f"note: {note}", highlight=False, markup=False, style="dim", soft_wrap=True)
        return replace(order, patient=True)

    def _train(self, study: optuna.Study, order: Order) -> None:
        try:
            while not self._stop.is_set():
                left = order.trials - through_outages(
                    lambda: study_room.finished(study), stop=self._stop, say=self._say
                )
                if left <= 0 or (self._ended is not None and not self._flying):
                    return
                if self._ended is None:
                    self._send(order, left)
                self._watch_nodes(order)
                tasks = [*self._flying, *self._looks]
                for task in self.cluster.ended(tasks, _LISTEN):
                    self._take(task, study)
                if not tasks:  # all that is left trains elsewhere
                    self._stop.wait(_LISTEN)
        except (DiskFullError, StorageLostError) as error:
            raise StoppedError(str(error)) from None
        finally:
            self._call_back()
        raise StoppedError("stopped; run the same command again to go on")

    def _send(self, order: Order, left: int) -> None:
        if time.monotonic() < self._rest_until:
            return
        for _ in range(min(left, _QUEUE) - len(self._flying)):
            self._flying[self.cluster.submit("train_one", order.text(), self._share, avoid=self._unfit)] = None

    def _watch_nodes(self, order: Order) -> None:
        """Looks at nodes that have joined; they get trials meanwhile, each of which looks for itself."""
        nodes = self.cluster.nodes()
        for node_id in self._known.keys() - {node.node_id for node in nodes}:
            self._say(f"{self._known.pop(node_id)} has gone; its trials are trained elsewhere")
        for node in nodes:
            if node.node_id in self._known:
                continue
            self._known[node.node_id] = node.name
            if not self._share.fits(node):
                continue
            self._say(f"{node.name} has joined")
            if self.spec.study.storage.startswith(SQLITE):
                self._shun(node.node_id, "a SQLite file serves one machine only")
            else:
                self._looks[self.cluster.submit("look", order.text(), node=node.node_id)] = node

    def _shun(self, node_id: str, why: str) -> None:
        if node_id in self._unfit:
            return
        self._unfit.add(node_id)
        self._say(f"{self._known.get(node_id, node_id)} gets no more trials: {why}")
        if not any(self._share.fits(node) for node in self.cluster.nodes() if node.node_id not in self._unfit):
            raise StoppedError(f"no node is left that can train: {why}")

    def _take(self, task: Any, study: optuna.Study) -> None:
        answer = self.cluster.answer(task)
        if task in self._looks:
            node = self._looks.pop(task)
            for line in misfits(answer):
                self._shun(node.node_id, line)
            return
        self._flying.pop(task)
        found = answer.found
        self._repeat(answer)
        if answer.error:
            self._count_lost(answer.error, study)
        elif "unfit" in found:
            self._shun(found["node_id"], found["unfit"])
        elif "stopped" in found:
            raise StoppedError(found["stopped"])
        elif found.get("budget") in (Budget.OVER.value, Budget.SETTLED.value):
            self._ended = Budget(found["budget"])
        elif "budget" in found:
            self._rest_until = time.monotonic() + _REST
        else:
            self._lost = 0

    def _repeat(self, answer: Answer) -> None:
        """Says what the worker on the node had to say."""
        for line in answer.found.get("lines", ()):
            self._say(f"{line}  on {answer.found['node']}")

    def _count_lost(self, error: str, study: optuna.Study) -> None:
        self._lost += 1
        self._say(f"a task was lost and is sent anew: {error}")
        if self._lost >= _LOST_TASKS:
            raise StoppedError(f"{_LOST_TASKS} tasks in a row were lost, the last by {error}")
        cause = through_outages(lambda: repeated_cause(study), stop=self._stop, say=self._say)
        if cause:
            raise StoppedError(f"the last three trials all failed by the same cause, {cause}")

    def _call_back(self) -> None:
        """Ends what still flies: queued tasks vanish, running trials are put back."""
        self.cluster.cancel(self._flying)
        end = time.monotonic() + _LAST_WORDS
        while self._flying and time.monotonic() < end:
            for task in self.cluster.ended(self._flying, 0.5):
                self._flying.pop(task)
                self._repeat(self.cluster.answer(task))


def share_of(spec: StudySpec, nodes: Collection[Node]) -> Share:
    """What a trial takes of a node: GPUs where [resources] and the cluster have them, CPU cores as [resources] threads.

    Without `threads` the cores of the smallest node are shared out evenly. InputError where no node could hold a trial.
    """
    resources = spec.resources
    gpu_nodes = [node for node in nodes if node.gpus >= 1]
    on_gpu = bool(gpu_nodes) if resources.devices == "auto" else any(d.startswith("cuda") for d in resources.devices)
    if on_gpu and not gpu_nodes:
        raise InputError('[resources] devices: no node of the cluster has a GPU; start one, or set devices = ["cpu"]')
    places = gpu_nodes if on_gpu else [node for node in nodes if node.cpus >= 1]
    if not places:
        raise InputError("the cluster has no node with a CPU core to offer; start one with `ray start --num-cpus N`")
    each = resources.trials_per_device
    if each == "auto":
        raise InputError(
            '[resources] trials_per_device = "auto": Ray places trials before any node is measured; set the number '
            "that `mmtuna check SPEC` finds on a node"
        )
    gpus = 1 / each if on_gpu else 0.0
    smallest = min(int(node.cpus / ((node.gpus if on_gpu else 1) * each)) for node in places)
    share = Share(resources.threads or max(1, smallest), gpus)
    if not any(share.fits(node) for node in places):
        most = max(int(node.cpus) for node in places)
        raise InputError(f"[resources] threads = {share.cpus}: no node has more than {most} cores; set {most} or fewer")
    return share


def misfits(answer: Answer) -> list[str]:
    """Why the node that gave `answer` to a look cannot train; empty where it can."""
    if answer.error:
        return [f"mmtuna does not run there ({answer.error}); install the same on every node"]
    found, own = answer.found, tasks.own_versions()
    differing = [
        f"{name} is {found['versions'].get(name, 'missing')} and {version} where the launch was typed"
        for name, version in own.items()
        if found["versions"].get(name) != version
    ]
    if differing:
        return [f"{'; '.join(differing)}; install the same on every node", *found["problems"]]
    if found["code"] != tasks.code_digest():
        return ["mmtuna's code is another one; install the same on every node", *found["problems"]]
    return list(found["problems"])


def _refuse_one_machine_storage(spec: StudySpec, nodes: Collection[str]) -> None:
    if spec.study.storage.startswith(SQLITE) and len(nodes) > 1:
        raise InputError(
            f"[study] storage is a SQLite file, which serves one machine, and the cluster has {len(nodes)} nodes; set "
            "MMTUNA_STORAGE=postgresql+psycopg://USER@HOST/NAME (`mmtuna copy` moves a study that has begun)"
        )


@contextmanager
def _marked(spec: StudySpec) -> Iterator[str]:
    """Lays a file into the study's folder by which other nodes see that it is the same; "" where it need not be."""
    if spec.study.artifacts:
        yield ""
        return
    folder = spec.study.folder
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    mark = folder / f".launch-{secrets.token_hex(8)}"
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            mark.touch()
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror}); set [study] folder") from None
        yield mark.name
    finally:
        mark.unlink(missing_ok=True)
        for place in made:
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()


def _share_text(share: Share) -> str:
    cores = f"{share.cpus} core" + ("s" if share.cpus > 1 else "")
    return f"{share.gpus:g} GPU and {cores}" if share.gpus else cores
