"""What of Ray is needed here: to connect, to know the nodes, to place tasks on them, to hear how they ended."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmtuna.search.cluster import tasks
from mmtuna.spaces.errors import InputError

RETRIES = 3
"""How often Ray repeats a task whose node or process was lost."""
_CONNECT_SECONDS = 5.0
_NODE_ID = "ray.io/node-id"
_TASKS = {task.__name__: task for task in (tasks.look, tasks.prepare_study, tasks.train_one)}


@dataclass(frozen=True)
class Node:
    """A living node: CPU cores and GPUs that it offers in all, used or not."""

    node_id: str
    name: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Share:
    """What one trial takes of a node: CPU cores, which are its threads, and GPUs, less than one where it shares."""

    cpus: int
    gpus: float

    @property
    def device(self) -> str:
        """The device as the trial names it: the first that Ray leaves visible."""
        return "cuda:0" if self.gpus else "cpu"

    def fits(self, node: Node) -> bool:
        """Whether the node could ever hold such a trial."""
        return node.cpus >= self.cpus and node.gpus >= self.gpus


@dataclass(frozen=True)
class Answer:
    """How a task ended: what it returned, or in `error` why Ray has nothing."""

    found: dict[str, Any]
    error: str = ""


def on_node(task: str, text: str) -> str:
    """Runs one of the tasks, on whichever node this is, and adds the node's id to its answer."""
    import ray

    answer = json.loads(_TASKS[task](text))
    return json.dumps({"node_id": ray.get_runtime_context().get_node_id(), **answer})


class Cluster:
    """A Ray cluster that this process is connected to."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._remote = ray.remote(on_node)

    def nodes(self) -> list[Node]:
        """The nodes that are alive, by name."""
        found = []
        for node in self._ray.nodes():
            if node["Alive"]:
                offered = node["Resources"]
                name = f"{node['NodeManagerHostname']} ({node['NodeID'][:6]})"
                found.append(Node(node["NodeID"], name, offered.get("CPU", 0.0), offered.get("GPU", 0.0)))
        return sorted(found, key=lambda node: node.name)

    def own_node(self) -> str:
        """The id of the node that this process is connected through."""
        return str(self._ray.get_runtime_context().get_node_id())

    def submit(
        self, task: str, text: str, share: Share | None = None, *, node: str = "", avoid: Collection[str] = ()
    ) -> Any:
        """Places a task with its `share` (none: it takes nothing), on one `node` or on any but those to `avoid`.

        Ray keeps it in its queue while no node has room, and repeats it where its node goes.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        options: dict[str, Any] = {"name": f"mmtuna {task}", "max_retries": RETRIES}
        options |= {"num_cpus": share.cpus if share else 0, "num_gpus": share.gpus if share else 0}
        if node:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        elif avoid:
            options["label_selector"] = {_NODE_ID: f"!in({','.join(sorted(avoid))})"}
        return self._remote.options(**options).remote(task, text)

    def ended(self, tasks: Collection[Any], seconds: float) -> list[Any]:
        """Those of the tasks that have ended, after at most `seconds`; at once where one has."""
        if not tasks:
            return []
        first, _ = self._ray.wait(list(tasks), num_returns=1, timeout=seconds)
        if not first:
            return []
        done, _ = self._ray.wait(list(tasks), num_returns=len(tasks), timeout=0)
        return list(done)

    def answer(self, task: Any) -> Answer:
        """How `task` ended; waits for it."""
        from ray.exceptions import RayError

        try:
            return Answer(json.loads(self._ray.get(task)))
        except RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            # A traceback's last line is its error; all others begin with what happened.
            line = lines[-1 if "Traceback" in str(error) else 0] if lines else ""
            return Answer({}, f"{type(error).__name__}: {line}")

    def cancel(self, tasks: Collection[Any]) -> None:
        """Takes tasks out of the queue; in those that run KeyboardInterrupt is raised."""
        for task in tasks:
            with contextlib.suppress(Exception):  # it ended meanwhile
                self._ray.cancel(task)


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """The cluster at `address`: auto, HOST:PORT or ray://HOST[:PORT]. InputError where there is none, or no ray."""
    try:
        import ray
    except ImportError:
        raise InputError("ray is not installed here; pip install 'mmtuna[ray]', on every node") from None
    _check_reachable(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, ImportError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"--address {address}: no connection ({line}); start a cluster with `ray start --head`, or name one that "
            "runs"
        ) from None
    try:
        # Of a node that goes Ray prints dozens of lines of its raylet's log, on stdout.
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield Cluster(ray)
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Refuses an address that nobody listens at: Ray itself would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").partition(":")
    if not host or (port and not port.isdecimal()) or (not port and not address.startswith("ray://")):
        raise InputError(f"--address {address}: not understood; give auto, HOST:PORT or ray://HOST:10001")
    try:
        socket.create_connection((host, int(port or 10001)), _CONNECT_SECONDS).close()  # Ray Client's own port
    except OSError as error:
        raise InputError(
            f"--address {address}: nobody answers ({error.strerror or error}); start a cluster with "
            "`ray start --head`, or name one that runs"
        ) from None
