"""How many trials share a device is measured; and fewer do once memory ran out beside others."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from rich.console import Console

from benchmarks.faults.training import BASE, memory_cgroup
from mmtuna.objectives.devices import cores, mps_runs
from mmtuna.objectives.outcome import Ending, Evaluation, Outcome, TrialOrder, Watch
from mmtuna.objectives.trial.causes import name_cause
from mmtuna.search.checking.preparing import prepare
from mmtuna.search.work import beginning, packing, running
from mmtuna.search.work.places import Places
from mmtuna.search.work.progress import console_to
from mmtuna.search.work.worker import Slot
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Int
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.study import open_existing

WriteSpec = Callable[..., Path]
AUTO = 'trials_per_device = "auto"'


@pytest.fixture
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MMTUNA_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("_own_cache")
def test_the_number_that_is_worth_it_is_found_told_and_remembered(
    write_spec: WriteSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_spec(resources=AUTO)
    path.write_text(path.read_text().replace("threads = 1\n", ""))
    ready = prepare(StudySpec.load(path))
    slots = beginning.slots_of(ready)
    assert 1 <= len(slots) <= cores()
    assert all(slot.threads == max(1, cores() // len(slots)) for slot in slots)
    note = ready.notes[-1]
    assert note.startswith(f'[resources] trials_per_device = "auto": {len(slots)} at a time on cpu; with 1'), note
    assert " trials an hour, a trial takes up to " in note
    monkeypatch.setattr(packing, "measure", None)  # is not asked again
    again = prepare(StudySpec.load(path))
    assert beginning.slots_of(again) == slots
    assert again.notes[-1] == note


@pytest.mark.usefixtures("_own_cache")
def test_no_more_trials_are_packed_than_memory_holds(write_spec: WriteSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "free_memory", lambda _: 1 << 20)
    monkeypatch.setattr(packing, "cores", lambda: 64)
    ready = prepare(StudySpec.load(write_spec(resources=AUTO)))
    assert packing.slots_per_device(ready) == 1
    assert ready.notes[-1].endswith("of 1 MiB that are free; of 2 trials the memory does not hold the largest")


@pytest.mark.parametrize("wrong", ["0", "true", "1.5", '"all"'])
def test_other_words_than_auto_are_refused(write_spec: WriteSpec, wrong: str) -> None:
    said = rf'\[resources\] trials_per_device = {wrong} is wrong: give a whole number from 1, or "auto"'
    with pytest.raises(InputError, match=said):
        StudySpec.load(write_spec(resources=f"trials_per_device = {wrong}"))


def test_more_loaders_than_cores_are_told() -> None:
    space = SearchSpace([])
    assert packing.loaders_note(space, {}, 1000) == []
    assert packing.loaders_note(space, {"loader_workers": 1}, cores()) == []
    each = cores() + 1
    (note,) = packing.loaders_note(space, {"loader_workers": each}, 2)
    assert note == (
        f"loader_workers = {each}: {2 * each} processes load images for 2 trials at a time on {cores()} cores, beside "
        "the trainings; fewer are faster"
    )
    sampled = SearchSpace([Int(name="loader_workers", low=0, high=each)])
    assert "for one trial on" in packing.loaders_note(sampled, {}, 1)[0]


def test_whether_mps_runs_is_seen_and_it_is_never_started(tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path), "CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / "mps")}
    assert mps_runs(environment) is None
    daemon = tmp_path / "nvidia-cuda-mps-control"
    daemon.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    daemon.chmod(0o755)
    assert mps_runs(environment) is False
    (tmp_path / "mps").mkdir()
    (tmp_path / "mps" / "control").touch()
    assert mps_runs(environment) is True
    assert not (tmp_path / "started").exists()


def test_places_become_fewer_on_the_device_that_ran_out_and_no_other() -> None:
    places = Places(["cuda:0", "cuda:0", "cuda:1", "cuda:1"])
    with places.training(0, "cuda:0"), places.training(1, "cuda:0"), places.training(2, "cuda:1"):
        for slot in (0, 1, 2):
            places.began(slot)
        assert places.lower(2, of_gpu=True) is None  # alone on its GPU
        said = places.lower(0, of_gpu=True)
        assert said == "out of memory beside others; from now on 1 at a time on cuda:0"
        with places.training(3, "cuda:1") as room:
            assert room
    with places.training(0, "cuda:0") as first, places.training(1, "cuda:0") as second:
        assert (first, second) == (True, False)
        places.began(0)
        assert places.lower(0, of_gpu=True) is None
    with places.training(0, "cuda:0"), places.training(2, "cuda:1"):
        places.began(0)
        places.began(2)
        said = places.lower(2, of_gpu=False)  # the machine's memory is that of all
        assert said == "out of memory beside others; from now on 3 at a time, 2 times by now"


def test_who_only_asks_takes_no_memory() -> None:
    places = Places(["cpu", "cpu"])
    with places.training(0, "cpu"), places.training(1, "cpu"):
        places.began(0)
        assert places.lower(0, of_gpu=False) is None


@dataclass
class Crowded:
    """Trains for a moment; runs out of memory where more than `room` trials do so at the same time."""

    room: int
    seconds: float = 0.3
    most: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, order: TrialOrder, watch: Watch) -> Outcome:
        with self._lock:
            self._now += 1
            crowded = self._now > self.room
            self.most = max(self.most, self._now)
        try:
            time.sleep(self.seconds)
            if crowded:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            point = Evaluation(step=100, iteration=1, seconds=self.seconds, metrics={"mIoU": 0.5})
            watch.evaluated(point)
            return Outcome(ending=Ending.FINISHED, curve=(point,), seconds=self.seconds, iterations=1)
        except torch.OutOfMemoryError as error:
            cause, message = name_cause(error)
            return Outcome(ending=Ending.FAILED, cause=cause, message=message, seconds=self.seconds)
        finally:
            with self._lock:
                self._now -= 1


SPEC = """
[study]
name = "s"
sampler = "random"
[data]
root = "."
[space.params.lr_sgd]
low = 1e-3
high = 1e-1
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudySpec:
    monkeypatch.delenv("MMTUNA_STORAGE", raising=False)
    path = tmp_path / "study.toml"
    path.write_text(SPEC)
    return StudySpec.load(path)


@pytest.mark.parametrize("device", ["cuda:0", "cpu"])
@pytest.mark.parametrize("room", [1, 2])
def test_a_trial_that_ran_out_beside_others_is_trained_again_with_fewer(
    spec: StudySpec, room: int, device: str
) -> None:
    study, lines = beginning.open_to_work(spec, {}), list[str]()
    objective = Crowded(room)
    slots = [Slot(index, device, 1) for index in range(3)]
    running.work(spec, study, objective, slots, console_to(lines.append), 6)
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    assert objective.most == 3
    told = [line for line in lines if "out of memory beside others" in line]
    assert 1 <= len(told) <= 5
    assert any(f"from now on {room} at a time" in line for line in told)
    again = [trial for trial in study.trials if len(trial.user_attrs["history"]) > 1]
    assert again
    assert all(entry["ended"] == "interrupted" for trial in again for entry in trial.user_attrs["history"][:-1])
    assert len({trial.params["lr_sgd"] for trial in study.trials}) == 6


def test_a_trial_that_runs_out_alone_fails(spec: StudySpec) -> None:
    study = beginning.open_to_work(spec, {})
    with pytest.raises(Exception, match="the last three trials all failed by the same cause, out of memory"):
        running.work(spec, study, Crowded(0, 0.1), [Slot(0, "cpu", 1)], Console(quiet=True), 6)
    assert {trial.state.name for trial in study.trials} == {"FAIL"}


@pytest.fixture
def memory_for_one() -> Iterator[Path]:
    with memory_cgroup(64 << 20) as group:
        if group is None:
            pytest.skip("a memory cgroup of one's own needs root")
        yield group


@pytest.mark.slow
def test_trials_that_the_kernel_kills_beside_others_are_trained_again(
    write_spec: WriteSpec, memory_for_one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[3]), *os.sys.path]))  # type: ignore[attr-defined]
    path = write_spec(model='base = "base.py"\ntrust_code = true', resources="trials_per_device = 2")
    text = path.read_text().replace('decoder = "fcn"\n', "").replace("base_channels = 4\n", "")
    path.write_text(text.replace("iterations = 8", "iterations = 60"))
    base = BASE.replace(
        "type='FaultsFaulty', kind='none'", f"type='FaultsFaulty', kind='large', cgroup={str(memory_for_one)!r}", 1
    )
    (path.parent / "base.py").write_text(base)
    spec = StudySpec.load(path)
    ready = prepare(spec)
    assert ready.problems == []
    study, lines = beginning.begin(spec, ready), list[str]()
    running.work(spec, study, ready.objective(), beginning.slots_of(ready), console_to(lines.append), 2)
    assert [line for line in lines if "out of memory beside others; from now on 1 at a time" in line]
    assert {trial.state.name for trial in open_existing(spec.study).trials} == {"COMPLETE"}
