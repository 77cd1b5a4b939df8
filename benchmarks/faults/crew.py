"""Real workers on replayed curves: started, killed, stopped, counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SPEC = """\
[study]
name = "f"
trials = {trials}
sampler = "random"
pruner = "{pruner}"
seed = {seed}
[data]
root = "."
[replay]
pause = {pause}
[space.params.crop]
choices = [64, 96, 128]
[space.params.lr_sgd]
low = 1e-3
high = 1e-1
log = true
[resources]
lease = {lease}
retries = {retries}
"""
STEPS = 5
"""Evaluations of a replayed trial."""


@dataclass
class Site:
    """A study in a folder of its own, in one storage, and the workers started on it."""

    folder: Path
    url: str | None
    environment: dict[str, str] = field(default_factory=dict)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def spec(self) -> Path:
        """The study.toml."""
        return self.folder / "study.toml"

    def write(self, *, trials: int, seed: int = 0, pause: float = 0.05, lease: float = 3.0, **more: Any) -> None:
        """Writes the spec."""
        values = {"pruner": "none", "retries": 3} | more
        self.folder.mkdir(parents=True, exist_ok=True)
        self.spec.write_text(SPEC.format(trials=trials, seed=seed, pause=pause, lease=lease, **values))

    def env(self, **more: str) -> dict[str, str]:
        """The environment of a worker: the storage's URL stands nowhere else."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MMTUNA_", "PG"))}
        storage = {"MMTUNA_STORAGE": self.url} if self.url else {}
        return kept | {"PYTHONPATH": str(ROOT)} | storage | self.environment | more

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
        """Starts one more `mmtuna replay`; its output goes to a file of the folder."""
        return self.launch("replay", *arguments, **env)

    def launch(self, command: str, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
        """Starts a command on the spec, in a process group of its own; its output goes to a file of the folder."""
        out = (self.folder / f"out{len(self.workers)}.txt").open("wb")
        words = [sys.executable, "-m", "mmtuna", command, str(self.spec), *arguments]
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, env=self.env(**env), process_group=0)
        out.close()
        self.workers.append(process)
        return process

    def outputs(self) -> str:
        """Everything that the workers printed."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("out*.txt")))

    def wait(self, seconds: float, *, but: tuple[subprocess.Popen[bytes], ...] = ()) -> bool:
        """Waits for all workers to end; False where some had to be killed."""
        end = time.monotonic() + seconds
        for worker in self.workers:
            if worker in but:
                worker.wait()
                continue
            try:
                worker.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.kill()
                return False
        return True

    def kill(self) -> None:
        """Ends every worker that is left."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
            worker.wait()

    def status(self) -> dict[str, Any]:
        """What `mmtuna status --json` tells."""
        command = [sys.executable, "-m", "mmtuna", "status", str(self.spec), "--json"]
        done = subprocess.run(command, env=self.env(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@contextmanager
def opened(site: Site) -> Iterator[Any]:
    """The study of `site` in this process, as the workers open it."""
    from mmtuna.studies.study import create_or_open, open_existing

    with spec_of(site) as spec:
        yield create_or_open(spec, {"replay": {"curves": "generated"}}) if spec.replay else open_existing(spec.study)


@contextmanager
def spec_of(site: Site) -> Iterator[Any]:
    """The spec of `site` in this process, with its storage in the environment."""
    from mmtuna.studies.spec import StudySpec

    before = os.environ.get("MMTUNA_STORAGE")
    if site.url:
        os.environ["MMTUNA_STORAGE"] = site.url
    try:
        yield StudySpec.load(site.spec)
    finally:
        os.environ.pop("MMTUNA_STORAGE", None)
        if before is not None:
            os.environ["MMTUNA_STORAGE"] = before


def enqueue(site: Site, count: int) -> None:
    """Puts `count` different configs in the queue."""
    with opened(site) as study:
        for index in range(count):
            study.enqueue_trial({"crop": (64, 96, 128)[index % 3], "lr_sgd": round(0.001 + 0.0001 * index, 6)})


def account(site: Site, asked: int, enqueued: int) -> dict[str, int]:
    """What must be right after every fault: counts of trials, of runs, and of reports."""
    with opened(site) as study:
        trials = study.get_trials(deepcopy=False)
    states = Counter(trial.state.name for trial in trials)
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    ends = [sum(e["ended"] not in ("lost", "interrupted") for e in t.user_attrs.get("history", [])) for t in trials]
    lost = [sum(entry["ended"] == "lost" for entry in t.user_attrs.get("history", [])) for t in trials]
    queued = [t for t in trials if t.number < enqueued]
    return {
        "finished": len(done) + states["PRUNED"],
        "missing": max(0, asked - len(done) - states["PRUNED"]),
        "surplus": max(0, len(done) + states["PRUNED"] - asked),
        "doubled": sum(count > 1 for count in ends) + len(done) - len({repr(sorted(t.params.items())) for t in done}),
        "running": states["RUNNING"],
        "waiting": states["WAITING"],
        "failed": states["FAIL"],
        "retries": sum(lost),
        "queued_not_done": sum(trial.state.name != "COMPLETE" for trial in queued),
        "lost_reports": sum(len(trial.intermediate_values) != STEPS for trial in done),
    }
