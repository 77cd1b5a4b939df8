"""Weights: fetched once, verified, refused with the way out, and never run as code."""

from __future__ import annotations

import hashlib
import pickle
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mmtuna.objectives.config import load_base
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import Cause, Ending, Outcome
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.objectives.weights import cache_folder, compare_with_models, file_sha256, model_bytes, resolve_weights
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Value
from tests.objectives.configs import build
from tests.waiting import free_port

BASE = load_base("unet", decoder="fcn")
BODY = b"weights" * 300_000  # more than one block of the download
DIGITS = hashlib.sha256(BODY).hexdigest()
GOOD = f"unet-{DIGITS[:8]}.pth"
WAY_OUT = r"set \[model\] pretrained to a local file, another URL, or 'none'"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        name = Path(self.path).name
        if name == "missing.pth":
            self.send_error(404)
            return
        self.send_response(200)
        if name.startswith("chunked"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"1000\r\nonly a few bytes")
        elif name.startswith("cut"):
            self.send_header("Content-Length", str(2 * len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)
        else:
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """Address of a server on this machine, and the paths it was asked for."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", httpd.asked  # type: ignore[attr-defined]
        httpd.shutdown()
        thread.join()


def test_a_download_is_made_once_and_kept(server: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = server
    told: list[tuple[str, int, int]] = []
    url = f"{address}/v1/{GOOD}"
    first = resolve_weights(url, BASE, cache=tmp_path, on_progress=lambda *now: told.append(now))
    assert first == (tmp_path / GOOD).resolve()
    assert first.read_bytes() == BODY
    assert told[-1] == (GOOD, len(BODY), len(BODY))
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})
    assert resolve_weights(url, BASE, cache=tmp_path) == first
    assert asked == [f"/v1/{GOOD}"]
    assert list(tmp_path.iterdir()) == [first]


def test_auto_is_the_model_zoos_address(server: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = server
    base = replace(BASE, weights_url=f"{address}/{GOOD}")
    assert resolve_weights("auto", base, cache=tmp_path) == tmp_path / GOOD
    assert asked == [f"/{GOOD}"]


def test_files_of_one_name_without_digits_are_kept_apart(server: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = server
    one, other = (resolve_weights(f"{address}/{who}/best.pth", BASE, cache=tmp_path) for who in ("a", "b"))
    assert one is not None
    assert other is not None
    assert one != other
    assert one.name == other.name == "best.pth"
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("unet-00000000.pth", rf"sha256 begins {DIGITS[:8]} and the name says 00000000, the file was cut or changed"),
        (f"cut-{DIGITS[:8]}.pth", rf"{len(BODY)} of {2 * len(BODY)} bytes came, the download was cut; try again"),
        ("cut.pth", r"bytes came, the download was cut; try again, or " + WAY_OUT),
        ("chunked.pth", r"cannot be fetched \(IncompleteRead.*\); " + WAY_OUT),
        ("missing.pth", r"missing.pth: cannot be fetched \(Not Found\); " + WAY_OUT),
    ],
)
def test_a_download_that_fails_says_why_and_leaves_nothing(
    server: tuple[str, list[str]], tmp_path: Path, path: str, message: str
) -> None:
    cache = tmp_path / "deep/cache"
    with pytest.raises(InputError, match=message):
        resolve_weights(f"{server[0]}/{path}", BASE, cache=cache)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_leaves_what_was_in_the_cache(server: tuple[str, list[str]], tmp_path: Path) -> None:
    kept = resolve_weights(f"{server[0]}/{GOOD}", BASE, cache=tmp_path)
    with pytest.raises(InputError, match="cannot be fetched"):
        resolve_weights(f"{server[0]}/missing.pth", BASE, cache=tmp_path)
    assert list(tmp_path.iterdir()) == [kept]


def test_a_cache_that_cannot_be_written_is_named(server: tuple[str, list[str]], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    said = (
        rf"^weights cache {tmp_path}/file/{GOOD}: cannot be written \({tmp_path}/file is a file\); set MMTUNA_CACHE to"
    )
    with pytest.raises(InputError, match=said):
        resolve_weights(f"{server[0]}/{GOOD}", BASE, cache=tmp_path / "file")
    assert server[1] == []


def test_a_server_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    port = free_port()
    with pytest.raises(InputError, match=rf"127.0.0.1:{port}/w.pth: cannot be fetched \(.*refused\); {WAY_OUT}"):
        resolve_weights(f"http://127.0.0.1:{port}/w.pth", BASE, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///etc/passwd", r"weights file:///etc/passwd: only http and https are fetched; " + WAY_OUT),
        ("ftp://host/w.pth", r"only http and https are fetched"),
        ("http://127.0.0.1", r"weights http://127.0.0.1: names no file; "),
    ],
)
def test_an_address_of_another_kind_is_refused(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve_weights(url, BASE, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_changed_in_the_cache_is_refused_by_its_path(server: tuple[str, list[str]], tmp_path: Path) -> None:
    kept = resolve_weights(f"{server[0]}/{GOOD}", BASE, cache=tmp_path)
    assert kept is not None
    kept.write_bytes(b"x" + BODY[1:])
    message = rf"weights {kept}: sha256 begins {file_sha256(kept)[:8]} and the name says {DIGITS[:8]}.*; delete it"
    with pytest.raises(InputError, match=message):
        resolve_weights(f"{server[0]}/{GOOD}", BASE, cache=tmp_path)
    assert len(server[1]) == 1


def test_a_local_file_is_taken_as_it_is_unless_its_name_says_otherwise(tmp_path: Path) -> None:
    for name in ("mine.pth", GOOD):
        (tmp_path / name).write_bytes(BODY)
        assert resolve_weights(str(tmp_path / name), BASE) == (tmp_path / name).resolve()
    (tmp_path / "w-1234567f.pth").write_bytes(BODY)
    with pytest.raises(InputError, match=r"the name says 1234567f"):
        resolve_weights(str(tmp_path / "w-1234567f.pth"), BASE)


def test_none_means_none_and_a_missing_path_is_named(tmp_path: Path) -> None:
    assert resolve_weights("none", BASE) is None
    with pytest.raises(InputError, match=rf"weights {tmp_path}/no.pth: no such file; {WAY_OUT}"):
        resolve_weights(str(tmp_path / "no.pth"), BASE)


def test_auto_without_published_weights_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"pretrained = 'auto': the model zoo has no weights for unet-s5.*; " + WAY_OUT
    ):
        resolve_weights("auto", replace(BASE, weights_url=None))


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.delenv("MMTUNA_CACHE", raising=False)
    assert cache_folder() == Path("/xdg/mmtuna")
    monkeypatch.setenv("MMTUNA_CACHE", "/mine")
    assert cache_folder() == Path("/mine")
    monkeypatch.delenv("MMTUNA_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache/mmtuna"


Save = Callable[..., Path]


@pytest.fixture(scope="module")
def save(
    tmp_path_factory: pytest.TempPathFactory,
    torch: ModuleType,
    fresh_weights: Callable[[dict[str, Any]], dict[str, Any]],
    objective: Callable[..., SegmentationObjective],
) -> Save:
    """Writes random weights of the tiny model with some settings as a checkpoint file."""
    folder = tmp_path_factory.mktemp("weights")

    def make(**settings: Value) -> Path:
        path = folder / f"{'_'.join(map(str, settings.values())) or 'tiny'}.pth"
        if path.exists():
            return path
        state = fresh_weights(objective(folder).config(settings, seed=0))
        torch.save({"meta": {}, "state_dict": state}, path)
        return path

    return make


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        import os

        return os.mkdir, (str(self.canary),)


def test_weights_of_the_same_model_fit(
    save: Save, objective: Callable[..., SegmentationObjective], tmp_path: Path
) -> None:
    assert call_in_child(compare_with_models, save(), {"": objective(tmp_path).config({}, seed=0)}) == []


def test_other_classes_replace_only_the_last_layers_and_name_them(
    save: Save, objective: Callable[..., SegmentationObjective], tmp_path: Path, phantom: Dataset
) -> None:
    three = objective(tmp_path, dataset=replace(phantom, classes=("background", "fluid", "other"))).config({}, seed=0)
    assert call_in_child(compare_with_models, save(), {"": three}) == [
        "decode_head.conv_seg.weight",
        "decode_head.conv_seg.bias",
        "auxiliary_head.conv_seg.weight",
        "auxiliary_head.conv_seg.bias",
    ]


@pytest.mark.parametrize("settings", [{"decoder": "pspnet"}, {"base_channels": 8}])
def test_weights_of_another_architecture_are_refused(
    save: Save, objective: Callable[..., SegmentationObjective], tmp_path: Path, settings: dict[str, Value]
) -> None:
    message = (
        r"do not fit the model, \d+ of \d+ tensors are missing or of another shape \(.*\); use weights of the same"
    )
    with pytest.raises(InputError, match=message):
        call_in_child(compare_with_models, save(**settings), {"": objective(tmp_path).config({}, seed=0)})


def test_a_trial_does_not_start_from_weights_of_another_architecture(
    train: Callable[..., Outcome], save: Save, tmp_path: Path
) -> None:
    outcome = train(tmp_path, {"base_channels": 8, "iterations": 1, "evaluations": 1}, weights={"fcn": save()})
    assert outcome.cause is Cause.MISMATCH
    assert re.fullmatch(
        r"initial_weights: \d+ of \d+ tensors are missing in the weights or of another shape \(backbone.*\); use "
        r"weights of the same decoder and base_channels, or \[model\] pretrained = 'none'",
        outcome.message,
    )


@pytest.mark.parametrize("content", ["cut", "text", "empty", "list"])
def test_a_file_that_holds_no_weights_is_refused(
    save: Save,
    objective: Callable[..., SegmentationObjective],
    tmp_path: Path,
    content: str,
    torch: ModuleType,
) -> None:
    path = tmp_path / "w.pth"
    if content == "list":
        torch.save([1, 2], path)
    else:
        whole = save().read_bytes()
        path.write_bytes({"cut": whole[: len(whole) // 2], "text": b"<html>not found</html>", "empty": b""}[content])
    message = "do not fit the model" if content == "list" else r"w.pth: cannot be loaded as plain weights \(.*\); set"
    with pytest.raises(InputError, match=message):
        call_in_child(compare_with_models, path, {"": objective(tmp_path).config({}, seed=0)})


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(
    objective: Callable[..., SegmentationObjective], tmp_path: Path, form: str, torch: ModuleType
) -> None:
    path, canary = tmp_path / "bomb.pth", tmp_path / "canary"
    if form == "torch":
        torch.save({"state_dict": Bomb(canary)}, path)
    else:
        path.write_bytes(pickle.dumps({"state_dict": Bomb(canary)}))
    with pytest.raises(
        InputError, match=r"bomb.pth: cannot be loaded as plain weights \(.*\); set \[model\] pretrained"
    ):
        call_in_child(compare_with_models, path, {"": objective(tmp_path).config({}, seed=0)})
    assert not canary.exists()


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_bomb_put_in_place_after_the_check_does_not_run_in_training(
    train: Callable[..., Outcome], tmp_path: Path, form: str, torch: ModuleType
) -> None:
    path, canary = tmp_path / "w.pth", tmp_path / "canary"
    if form == "torch":
        torch.save({"state_dict": Bomb(canary)}, path)
    else:
        path.write_bytes(pickle.dumps({"state_dict": Bomb(canary)}))
    outcome = train(tmp_path / "study", weights={"fcn": path})
    assert outcome.ending is Ending.FAILED
    assert "Weights only load failed" in outcome.message
    assert not canary.exists()


def test_training_starts_from_the_weights_and_new_last_layers(
    save: Save, train: Callable[..., Outcome], tmp_path: Path, phantom: Dataset, torch: ModuleType
) -> None:
    three = replace(phantom, classes=("background", "fluid", "other"))
    settings = {"iterations": 1, "evaluations": 1, "lr_sgd": 0.0, "weight_decay": 0.0}
    outcome = train(tmp_path, settings, weights={"fcn": save()}, dataset=three)
    assert outcome.ending is Ending.FINISHED, outcome.message
    before = torch.load(save(), weights_only=True)["state_dict"]
    after = torch.load(tmp_path / "trials/00000/best.pth", weights_only=False)["state_dict"]
    learned = [name for name in before if name.endswith(("weight", "bias"))]
    differing = [name for name in learned if not torch.equal(before[name], after[name].cpu())]
    assert {name.split(".")[1] for name in differing} == {"conv_seg"}
    assert after["decode_head.conv_seg.weight"].shape[0] == 3


def test_a_persons_own_file_may_end_in_a_date(tmp_path: Path) -> None:
    for name in ("unet-20240115.pth", "iter-00040000.pth"):
        (tmp_path / name).write_bytes(BODY)
        assert resolve_weights(str(tmp_path / name), BASE) == (tmp_path / name).resolve()
    (tmp_path / "unet-abcdef12.pth").write_bytes(BODY)
    with pytest.raises(InputError, match="the name says abcdef12, the file was cut or changed"):
        resolve_weights(str(tmp_path / "unet-abcdef12.pth"), BASE)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("pidnet-s_2xb6-120k_1024x1024-cityscapes", {"conv_seg", "p_cls_seg"}),
        ("ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024", {"conv_seg", "aux_cls_seg"}),
        ("segmenter_vit-t_mask_8xb1-160k_ade20k-512x512", {"cls_emb", "mask_norm"}),
        ("danet_r50-d8_4xb2-40k_cityscapes-512x1024", {"conv_seg", "pam_conv_seg", "cam_conv_seg"}),
    ],
)
def test_published_weights_of_another_number_of_classes_fit_any_head(
    name: str,
    layers: set[str],
    tmp_path: Path,
    phantom: Dataset,
    torch: ModuleType,
    fresh_weights: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    """Which layers hang on the classes is asked of the model, not of a layer's name."""
    base = load_base(name)
    made_for_nineteen = replace(phantom, classes=tuple(f"class {number}" for number in range(19)))
    path = tmp_path / "published.pth"
    torch.save({"state_dict": fresh_weights(build(made_for_nineteen, {"iterations": 1}, base, weights=None))}, path)
    started_anew = call_in_child(compare_with_models, path, {"": build(phantom, {"iterations": 1}, base, weights=None)})
    assert {name.split(".")[1] for name in started_anew} == layers


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "ccnet_r50-d8_4xb2-40k_cityscapes-512x1024",
            "it needs mmcv's compiled operator CrissCrossAttention, and onedl-mmcv is installed without operators",
        ),
        (
            "mask2former_r50_8xb2-90k_cityscapes-512x1024",
            "needs the package onedl-mmdetection, which is not installed; pip install",
        ),
        (
            "maskformer_r50-d32_8xb2-160k_ade20k-512x512",
            "needs the package onedl-mmdetection, which is not installed",
        ),
    ],
)
def test_what_a_model_needs_and_is_not_installed_is_named(name: str, message: str, phantom: Dataset) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        call_in_child(model_bytes, build(phantom, {"iterations": 1}, load_base(name), weights=None))
