"""Real trainings for the faults that replayed curves cannot have: tiny nets on phantom images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.faults.crew import ROOT, Site, opened
from mmtuna.objectives.data.phantom import write_phantom
from tests.waiting import until

KIND = "train_dataloader.dataset.pipeline.2.kind"
"""The param that names a trial's fault (benchmarks/faults/faulty.py)."""
VAL_KIND = "val_dataloader.dataset.pipeline.1.kind"  # before the Resize that input_size puts in its place
BASE = """\
_base_ = 'mmseg::unet/unet-s5-d16_fcn_4xb4-40k_hrf-256x256.py'
custom_imports = dict(imports=['benchmarks.faults.faulty'])
model = dict(backbone=dict(base_channels=4), decode_head=dict(in_channels=4), auxiliary_head=dict(in_channels=8))
train_dataloader = dict(_delete_=True, batch_size=2, dataset=dict(pipeline=[
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='FaultsFaulty', kind='none'),
    dict(type='PackSegInputs'),
]))
val_dataloader = dict(_delete_=True, dataset=dict(pipeline=[
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='FaultsFaulty', kind='none'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]))
"""
SPEC = """\
[study]
name = "{name}"
trials = {trials}
seed = {seed}
sampler = "random"
pruner = "none"
{study}
[data]
root = "{root}"
{data}
[model]
base = "base.py"
pretrained = "none"
trust_code = true
[space]
{space}
[space.params.lr_adam]
low = 1e-4
high = 1e-2
log = true
[train]
input_size = 64
crop = 48
flip = "both"
rotation = 20
photometric = true
optimizer = "AdamW"
schedule = "cosine"
inference = "whole"
{train}
[resources]
devices = ["cpu"]
threads = 1
{resources}
"""


class TrainingSite(Site):
    """A study of real trainings in a folder of its own; `mmtuna run` and the like are started with `launch`."""

    def lay_out(self, *, trials: int, seed: int = 0, subjects: int = 4, faults: bool = True, **tables: str) -> None:
        """Writes images, base config and spec; keywords add lines to a table. The study is named like the folder.

        `faults`: with the transform of benchmarks/faults/faulty.py, which an exported bundle cannot have.
        """
        lines = dict.fromkeys(("study", "data", "space", "train", "resources"), "") | tables
        root = self.folder / "images"
        write_phantom(root, subjects=subjects, scans=3, size=64)
        base = [line for line in BASE.splitlines() if faults or "aulty" not in line]
        (self.folder / "base.py").write_text("\n".join(base))
        self.spec.write_text(SPEC.format(name=self.folder.name, trials=trials, seed=seed, root=root, **lines))

    @property
    def runs(self) -> Path:
        """The study's folder."""
        return self.folder / "runs" / self.folder.name

    def trial(self, number: int) -> Path:
        """The folder of a trial."""
        return self.runs / "trials" / f"{number:05d}"

    def trials(self) -> list[Any]:
        """The study's trials as Optuna knows them; none while there is no study."""
        from mmtuna.spaces.errors import InputError

        try:
            with opened(self) as study:
                found: list[Any] = study.get_trials(deepcopy=False)
        except InputError:
            return []
        return found

    def reported(self) -> int:
        """How many evaluations the study has of all trials."""
        return sum(len(trial.intermediate_values) for trial in self.trials())

    def states(self) -> list[str]:
        """The states of all trials, in order."""
        return [trial.state.name for trial in self.trials()]

    def causes(self) -> list[str]:
        """The causes of the trials that have one, in order."""
        return [trial.user_attrs["cause"] for trial in self.trials() if "cause" in trial.user_attrs]


@contextmanager
def training_site(folder: Path, url: str | None, **environment: str) -> Iterator[TrainingSite]:
    """A site in a new folder; whatever it started is ended at the end."""
    folder.mkdir(parents=True)
    site = TrainingSite(folder, url, environment)
    try:
        yield site
    finally:
        site.kill()


def differences(one: Path, other: Path) -> dict[str, Any]:
    """Two checkpoints compared bit by bit in a process with torch: `tensors` compared, names of those `different`."""
    command = [sys.executable, "-c", _COMPARE, str(one), str(other)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


_COMPARE = """
import json, sys
from mmtuna.objectives.trial.training import load_strictly
import torch

def leaves(value, name=""):
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from leaves(value[key], f"{name}.{key}")
    elif isinstance(value, (list, tuple)):
        for key, item in enumerate(value):
            yield from leaves(item, f"{name}.{key}")
    else:
        yield name, value

def whole(path):
    found = load_strictly(path, map_location="cpu")
    kept = {key: found[key] for key in ("state_dict", "optimizer", "param_schedulers")}
    return dict(leaves(kept | {"iter": found["meta"]["iter"], "random": found["meta"]["mmtuna"]["random"]}))

def same(a, b):
    return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b

one, other = whole(sys.argv[1]), whole(sys.argv[2])
different = [name for name in one.keys() | other.keys() if name not in one or name not in other]
different += [name for name in one.keys() & other.keys() if not same(one[name], other[name])]
print(json.dumps({"tensors": sum(isinstance(v, torch.Tensor) for v in one.values()), "different": different}))
"""


def _is_cleared(group: Path) -> bool:
    with suppress(FileNotFoundError):
        try:
            group.rmdir()
        except OSError:
            return False
    return True


@contextmanager
def memory_cgroup(limit: int) -> Iterator[Path | None]:
    """The folder of a memory cgroup that allows `limit` bytes, in which a process sleeps: some systems clear away
    groups that stand empty, and what they counted with them. None where the system does not let us make one."""
    parents = [Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")]  # version 1, version 2
    for parent in parents:
        group = parent / f"mmtuna-faults-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        names = [name for name in ("memory.limit_in_bytes", "memory.max") if (group / name).exists()]
        try:
            for name in names:
                (group / name).write_text(str(limit))
            if names:
                sleeper = subprocess.Popen(["sleep", "600"])
                try:
                    (group / "cgroup.procs").write_text(str(sleeper.pid))
                    yield group
                finally:
                    sleeper.kill()
                    sleeper.wait()
                return
        finally:
            # What was killed in it is busy there until the system is through with it.
            until(partial(_is_cleared, group), 10)
    yield None
