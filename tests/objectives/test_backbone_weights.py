"""[model] pretrained = "backbone": the base's own weights, fetched once, verified, and what the model starts with."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mmtuna.objectives.config import BaseConfig, load_base
from mmtuna.objectives.config.base import _zoo
from mmtuna.objectives.config.inheritance import load_plain
from mmtuna.objectives.config.initial import initial_files
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import Ending, TrialOrder
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.objectives.weights import _address, backbone_files, count_taken, resolve_weights
from mmtuna.spaces.errors import InputError
from tests.objectives.config.test_base_config import ZOO_BASE, write
from tests.objectives.configs import build

MODEL = (
    "model = dict(backbone=dict(base_channels=4{init}), decode_head=dict(in_channels=4),\n"
    "             auxiliary_head=dict(in_channels=8){more})\n"
)
FIRST = "encoder.0.0.convs.0.conv.weight"


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path, list[str]]]:
    """Address of a server on this machine, the folder that it serves, and what it was asked for."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served = tmp_path / "served"
    served.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(served))) as httpd:
        httpd.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", served, httpd.asked  # type: ignore[attr-defined]
        httpd.shutdown()
        thread.join()


def base_of(tmp_path: Path, init: str = "", more: str = "") -> BaseConfig:
    text = f"_base_ = '{ZOO_BASE}'\n" + MODEL.format(init=init, more=more)
    return load_base(write(tmp_path / "mine.py", text))


@pytest.fixture
def backbone(
    tmp_path: Path, phantom: Dataset, fresh_weights: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """Random weights of the backbone of `base_of`."""
    state = fresh_weights(build(phantom, {"iterations": 1}, base_of(tmp_path), weights=None))
    return {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}


def save(torch: ModuleType, state: Any, folder: Path) -> str:
    """Saves weights under a name that ends in digits of their sha256, and returns the name."""
    torch.save(state, folder / "new")
    name = f"net-{hashlib.sha256((folder / 'new').read_bytes()).hexdigest()[:8]}.pth"
    (folder / "new").rename(folder / name)
    return name


def test_a_base_starts_from_its_own_weights_fetched_once(
    tmp_path: Path,
    server: tuple[str, Path, list[str]],
    torch: ModuleType,
    backbone: dict[str, Any],
    objective: Callable[..., SegmentationObjective],
    listening: Any,
    phantom: Dataset,
) -> None:
    address, served, asked = server
    name = save(torch, {"state_dict": backbone}, served)
    url = f"{address}/{name}"
    base = base_of(tmp_path, init=f", init_cfg=dict(type='Pretrained', checkpoint='{url}')")
    assert resolve_weights("backbone", base) is None
    found = backbone_files(base, cache=tmp_path / "cache")
    assert found == {url: (tmp_path / "cache" / name).resolve()}
    assert backbone_files(base, cache=tmp_path / "cache") == found
    assert asked == [f"/{name}"]

    settings = {"iterations": 1, "lr_sgd": 1e-12, "evaluations": 1, "input_size": 64, "crop": "none"}
    cfg = build(phantom, {**settings, "inference": "whole"}, base, weights=None)
    assert "Pretrained" not in str(cfg)
    fixed = {**settings, "inference": "whole"}
    ours = replace(objective(tmp_path, base=str(tmp_path / "mine.py")), fixed=fixed, backbones=found)
    cfg = ours.config({}, seed=0)
    assert cfg["load_from"] is None
    assert cfg["model"]["backbone"]["init_cfg"] == {"type": "Pretrained", "checkpoint": str(found[url])}
    taken, there = call_in_child(count_taken, [cfg], found)[url]
    assert taken == there > 10
    outcome = ours.run(TrialOrder(number=0, params={}, seed=0), listening())
    assert (outcome.ending, outcome.message) == (Ending.FINISHED, "")
    assert outcome.folder is not None
    trained = torch.load(outcome.folder / "best.pth", weights_only=False)["state_dict"]
    assert torch.allclose(trained[f"backbone.{FIRST}"], backbone[FIRST], atol=1e-6)
    assert asked == [f"/{name}"]

    none = ours.config({"initial_weights": "none"}, seed=0)
    assert "Pretrained" not in str(none)


def test_a_file_of_mmpretrain_gives_its_backbone(
    tmp_path: Path, torch: ModuleType, backbone: dict[str, Any], phantom: Dataset
) -> None:
    whole = {f"backbone.{name}": value for name, value in backbone.items()} | {"head.fc.weight": torch.rand(9, 3)}
    torch.save({"state_dict": whole}, tmp_path / "classifier.pth")
    base = base_of(tmp_path, more=", pretrained='mmcls://mobilenet_v2'")
    files = {"mmcls://mobilenet_v2": tmp_path / "classifier.pth"}
    cfg = build(phantom, {"iterations": 1}, base, weights=None, backbones=files)
    assert cfg["model"]["pretrained"] is None
    taken, there = call_in_child(count_taken, [cfg], files)["mmcls://mobilenet_v2"]
    assert taken == there - 1


def test_weights_of_which_a_model_takes_nothing_are_refused(
    tmp_path: Path, torch: ModuleType, phantom: Dataset
) -> None:
    torch.save({"state_dict": {"conv1.weight": torch.rand(8, 3, 7, 7)}}, tmp_path / "other.pth")
    source = "open-mmlab://resnet50_v1c"
    base = base_of(tmp_path, init=f", init_cfg=dict(type='Pretrained', checkpoint='{source}')")
    files = {source: tmp_path / "other.pth"}
    cfg = build(phantom, {"iterations": 1}, base, weights=None, backbones=files)
    with pytest.raises(InputError, match=r"weights .*other.pth: the model takes none of its 1 tensors; set \[model\]"):
        call_in_child(count_taken, [cfg], files)


def test_a_changed_file_is_refused(tmp_path: Path, server: tuple[str, Path, list[str]], torch: ModuleType) -> None:
    address, served, _ = server
    (served / "net-00000000.pth").write_bytes(b"something else")
    url = f"{address}/net-00000000.pth"
    base = base_of(tmp_path, init=f", init_cfg=[dict(type='Pretrained', checkpoint='{url}')]")
    with pytest.raises(InputError, match=r"weights net-00000000.pth: sha256 begins .* and the name says 00000000"):
        backbone_files(base, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("", r"^\[model\] pretrained = 'backbone': base config mine names no weights; set \[model\] pretrained to"),
        (
            ", init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://nobody')",
            r"model.backbone.init_cfg.checkpoint = 'open-mmlab://nobody' is no name that MMEngine knows; set",
        ),
        (", init_cfg=dict(type='Pretrained', checkpoint='pretrain/a.pth')", r"weights pretrain/a.pth: no such file"),
        (", init_cfg=dict(type='Pretrained', checkpoint='s3://b/a.pth')", r"only http and https are fetched; set"),
    ],
)
def test_a_base_without_weights_that_can_be_had_is_refused(init: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        backbone_files(base_of(tmp_path, init))


def test_auto_points_to_the_backbones_weights_where_the_zoo_has_no_others(tmp_path: Path) -> None:
    base = base_of(tmp_path, more=", pretrained='open-mmlab://resnet50_v1c'")
    with pytest.raises(InputError, match=r"or 'none', or to 'backbone' \(open-mmlab://resnet50_v1c\)$"):
        resolve_weights("auto", base)


def test_every_short_name_in_the_zoo_leads_to_an_address_with_digits() -> None:
    sources = {
        source
        for path in _zoo().glob("_base_/models/*.py")
        for source in initial_files(load_plain(path, _zoo())["model"]).values()
    }
    assert len(sources) > 5
    short = {source for source in sources if not source.startswith(("http", "pretrain/"))}
    addresses = {source: _address(source) for source in short | {"torchvision://resnet50", "mmcls://mobilenet_v2"}}
    assert all(address and address.startswith("https://") for address in addresses.values())
    assert addresses["open-mmlab://resnet50_v1c"].endswith("/resnet50_v1c-2cccc1ad.pth")  # type: ignore[union-attr]
