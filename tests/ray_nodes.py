"""A real Ray cluster of several nodes on 127.0.0.1, in a process of its own; nodes can be taken away and added.

As a program (`python ray_nodes.py FOLDER CPUS CPUS ...`) it is that process: the head and one node for every further
number, each with so many CPU cores to offer. It prints the address and then takes `remove I` and `add CPUS` on stdin.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

# Ray takes the machine's own address for 127.0.0.1, unless it believes to be on a system without clusters.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
_STORE = 80 << 20  # bytes of shared memory a node, near the least that Ray accepts


class RayNodes:
    """A head and nodes; started on entering, gone on leaving. `environment` is what the nodes' processes inherit."""

    def __init__(self, *cpus: int, environment: Mapping[str, str] | None = None, client_port: int = 0) -> None:
        # Ray's sockets lie in it, and their paths must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
        self._environment = {**(environment if environment is not None else os.environ), **LOOPBACK}
        self._arguments = [str(self.folder), str(client_port), *map(str, cpus)]
        self.address = ""

    def __enter__(self) -> RayNodes:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self._environment,
        )
        self.address = self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate("quit\n", timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove(self, node: int) -> None:
        """Kills node number `node` (0 is the first after the head) with all its processes, as a power cut does."""
        self._tell(f"remove {node}")

    def add(self, cpus: int) -> None:
        """Adds a node."""
        self._tell(f"add {cpus}")

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # Ray prints what it likes in between
            if line.startswith("> "):
                return line[2:].strip()
        raise RuntimeError("the Ray cluster ended")


def _serve(folder: str, client_port: int, cpus: list[int]) -> None:
    from ray.cluster_utils import Cluster

    each = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": _STORE}
    Path("/tmp/ray").mkdir(exist_ok=True)  # Ray notes an address there, and makes the folder in other cases only
    client = {"ray_client_server_port": client_port} if client_port else {}
    cluster = Cluster()
    cluster.add_node(num_cpus=cpus[0], temp_dir=folder, **client, **each)  # the first one is the head
    nodes = [cluster.add_node(num_cpus=count, **each) for count in cpus[1:]]
    print(f"> {cluster.address}", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["remove", index]:
                cluster.remove_node(nodes[int(index)], allow_graceful=False)
            case ["add", count]:
                nodes.append(cluster.add_node(num_cpus=int(count), **each))
            case _:
                break
        print("> done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), [int(text) for text in sys.argv[3:]])
