"""deploy/worker.sbatch on a real Slurm of one node on this machine: warned, requeued, and all trials done once.

    python benchmarks/slurm.py       # as root, with Debian's slurm-wlm and munge

Starts munged, slurmctld and slurmd on 127.0.0.1 in a folder of their own. Two workers train a small study; both get
SIGUSR1, as Slurm sends it before the time limit; submitted again, one is requeued in mid-training as by a preemption.
Prints what was counted and writes benchmarks/results/slurm.json. Exit status 1 where a trial was lost or done twice.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmtuna.objectives.data.phantom import write_phantom  # noqa: E402
from mmtuna.search.versions import machine, versions  # noqa: E402
from tests.waiting import free_port, until  # noqa: E402

SBATCH = ROOT / "deploy" / "worker.sbatch"
TRIALS = 8
CONF = """\
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=30
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=2000 Gres=gpu:2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
# Stand-ins: Slurm wants a device file for each GPU that it deals out. The trials train on the CPU.
GRES = "NodeName={host} Name=gpu File=/dev/null\nNodeName={host} Name=gpu File=/dev/zero\n"
SPEC = """\
[study]
name = "slurm"
trials = {trials}
sampler = "random"
pruner = "none"
[data]
root = "eyes"
[model]
pretrained = "none"
[space.params.lr_adam]
low = 1e-4
high = 1e-2
log = true
[train]
base_channels = 4
input_size = 64
batch_size = 2
evaluations = 4
iterations = 120
decoder = "fcn"
optimizer = "AdamW"
inference = "whole"
[resources]
devices = ["cpu"]
threads = 1
"""


def main() -> None:
    """Runs it."""
    with tempfile.TemporaryDirectory(prefix="slurm", dir="/tmp") as folder, _slurm(Path(folder)) as environment:
        found = _search(Path(folder), environment)
    found["passed"] = found["states"] == {"COMPLETE": TRIALS} and found["ended_twice"] == 0 and found["put_back"] >= 2
    document = {"command": " ".join(["python", *sys.argv]), "machine": machine(), "versions": versions(), **found}
    print(json.dumps(found, indent=1))
    (ROOT / "benchmarks" / "results" / "slurm.json").write_text(json.dumps(document, indent=1) + "\n")
    sys.exit(0 if found["passed"] else 1)


def _search(folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    write_phantom(folder / "eyes", subjects=4, scans=3, size=64)
    spec = folder / "study.toml"
    spec.write_text(SPEC.format(trials=TRIALS))

    def call(*command: object) -> str:
        return subprocess.run(
            [*map(str, command)], env=environment, cwd=folder, check=True, capture_output=True, text=True
        ).stdout.strip()

    def trials() -> list[dict[str, Any]]:
        try:
            return list(json.loads(call("mmtuna", "status", spec, "--json"))["trials"])
        except subprocess.CalledProcessError:  # no worker has begun the study yet
            return []

    def running() -> int:
        return sum(trial["state"] == "RUNNING" for trial in trials())

    def submit() -> str:
        options = ("--array=1-2", "--cpus-per-task=1", "--time=10", "--output=worker-%a.txt", "--mem=900")
        return call("sbatch", "--parsable", *options, SBATCH, spec)

    def gone(array: str) -> bool:
        return not call("squeue", "--noheader", f"--jobs={array}", "--states=all", "--format=%T").count("RUNNING")

    first = submit()
    _until(lambda: running() == 2, 120, "two trials that train")
    warned = time.monotonic()
    call("scancel", "--signal=USR1", first)
    _until(lambda: gone(first), 60, "the end of the workers that were warned")
    seconds = time.monotonic() - warned
    put_back = sum(trial["state"] == "WAITING" for trial in trials())
    second = submit()
    _until(lambda: running() == 2, 120, "two trials that train again")
    call("scontrol", "requeue", f"{second}_1")
    _until(lambda: sum(trial["state"] == "COMPLETE" for trial in trials()) >= TRIALS, 400, "all trials")
    _until(lambda: gone(second), 60, "the end of the workers")
    ended = trials()
    steps = [[point["step"] for point in trial["curve"]] for trial in ended]
    return {
        "states": dict(Counter(trial["state"] for trial in ended)),
        "put_back": put_back,
        "seconds_to_put_back": round(seconds, 1),
        "ended_twice": sum(step != [25, 50, 75, 100] for step in steps),
        "visible_gpus": sorted(set(call("srun", "--gres=gpu:1", "printenv", "CUDA_VISIBLE_DEVICES").split())),
        "slurm": call("sinfo", "--version"),
    }


@contextmanager
def _slurm(folder: Path) -> Iterator[dict[str, str]]:
    """The daemons, and the environment in which Slurm's commands and `mmtuna` are found."""
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    values = {"host": host, "folder": folder, "ports": [free_port(), free_port()], "cores": os.cpu_count()}
    (folder / "slurm.conf").write_text(CONF.format(**values))
    (folder / "gres.conf").write_text(GRES.format(**values))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    folder.chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MMTUNA_")},
        "SLURM_CONF": str(folder / "slurm.conf"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
    }
    files = [f"--{name}={folder}/munge.{end}" for name, end in (("socket", "sock"), ("pid-file", "pid"))]
    files += [f"--{name}={folder}/munge.{end}" for name, end in (("log-file", "log"), ("seed-file", "seed"))]
    daemons = (
        ["munged", "--foreground", "--force", f"--key-file={key}", *files],
        ["slurmctld", "-D"],
        ["slurmd", "-D", "-N", host],
    )
    missing = [command[0] for command in daemons if shutil.which(command[0], path="/usr/sbin:/usr/bin") is None]
    if missing:
        sys.exit(f"slurm.py: {', '.join(missing)} not found; apt-get install slurm-wlm munge")
    running: list[subprocess.Popen[bytes]] = []
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        for name, *arguments in daemons:
            running.append(subprocess.Popen([f"/usr/sbin/{name}", *arguments], env=environment, **quiet))
            time.sleep(2)
        yield environment
    finally:
        for process in reversed(running):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    if not until(condition, seconds, pause=0.5):
        sys.exit(f"slurm.py: not within {seconds:.0f} s: {what}")


if __name__ == "__main__":
    main()
