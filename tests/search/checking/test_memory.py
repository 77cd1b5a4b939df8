"""What a command found out is not asked again, until something is another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mmtuna.objectives.devices import may_have_gpu
from mmtuna.objectives.trial.fork_server import ForkServer
from mmtuna.search.checking import memory, preparing
from mmtuna.search.work import beginning
from mmtuna.studies.spec import StudySpec

WriteSpec = Callable[..., Path]


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MMTUNA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def torch_needed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], bool]:
    """Whether checking a spec asks for the process that imports torch, or for a child of it."""
    asked = []

    def noting(method: Callable[..., Any]) -> Callable[..., Any]:
        def note(*arguments: Any) -> Any:
            asked.append(method)
            return method(*arguments)

        return note

    for method in (ForkServer.begin, ForkServer.fork):
        monkeypatch.setattr(ForkServer, method.__name__, noting(method))

    def needed(spec: Path) -> bool:
        asked.clear()
        assert beginning.check_study(StudySpec.load(spec), Console(quiet=True))[0].problems == []
        return bool(asked)

    return needed


def test_a_second_check_needs_no_torch_until_the_net_is_another(
    write_spec: WriteSpec, torch_needed: Callable[[Path], bool]
) -> None:
    assert torch_needed(write_spec())
    assert not torch_needed(write_spec())
    assert torch_needed(write_spec(train="crop = 32"))
    wider = write_spec()
    wider.write_text(wider.read_text().replace("base_channels = 4", "base_channels = 8"))
    assert torch_needed(wider)


@pytest.mark.parametrize(("gpu", "devices", "asked"), [(True, "auto", 2), (True, ["cpu"], 1), (False, "auto", 1)])
def test_where_a_gpu_may_come_and_go_torch_is_asked_each_time(
    write_spec: WriteSpec, monkeypatch: pytest.MonkeyPatch, gpu: bool, devices: object, asked: int
) -> None:
    looks = []

    def look(*_: object) -> dict[str, Any]:
        looks.append(1)
        return {"bytes": 1, "devices": ["cpu"], "replaced": {}, "taken": {}}

    monkeypatch.setattr(preparing.checks, "look_with_torch", look)
    monkeypatch.setattr(preparing, "may_have_gpu", lambda: gpu)
    path = write_spec()
    path.write_text(path.read_text().replace('devices = ["cpu"]', f"devices = {devices!r}"))
    for _ in range(2):
        assert preparing.prepare(StudySpec.load(path)).problems == []
    assert len(looks) == asked


def test_device_files_of_gpus_are_known(tmp_path: Path) -> None:
    for name in ("null", "nvme0n1", "sda", "nvram"):
        (tmp_path / name).touch()
    assert not may_have_gpu(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert may_have_gpu(tmp_path)


def test_an_answer_holds_for_its_question_its_versions_and_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(number: int) -> dict[str, Any]:
        return memory.once("test", ["a", {"b": 1}], lambda: {"number": number})

    assert answer(1) == answer(2) == {"number": 1}
    assert memory.once("test", ["a", {"b": 2}], lambda: {"number": 3}) == {"number": 3}
    monkeypatch.setattr(memory, "versions", lambda: {"torch": "9.9"})
    assert answer(4) == {"number": 4}
    monkeypatch.setattr(memory, "_own_code", lambda: "edited")
    assert answer(5) == {"number": 5}


def test_a_damaged_answer_is_asked_anew() -> None:
    place = memory.place_of("test", "question")
    for text in ("", "{", "[1]"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        assert memory.once("test", "question", lambda: {"asked": True}) == {"asked": True}
