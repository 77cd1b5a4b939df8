"""In a trial's process no door of MMEngine, mmseg or torch opens to the network, to pickles or to any function."""

from __future__ import annotations

import http.server
import json
import pickle
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mmtuna.objectives.config import write_config
from mmtuna.objectives.config.settings import TrialSettings
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import Cause, Ending
from mmtuna.objectives.trial.plan import TrialPlan
from mmtuna.objectives.trial.process import TrialProcess
from mmtuna.objectives.trial.training import load_strictly
from mmtuna.objectives.trial_files import TrialFolder


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        import os

        return os.mkdir, (str(self.canary),)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """An address on this machine that has a bomb under every name, and what was asked of it."""
    asked: list[str] = []
    bomb = pickle.dumps(Bomb(tmp_path / "canary"))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(bomb)))
            self.end_headers()
            self.wfile.write(bomb)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}", asked
        httpd.shutdown()
        thread.join()


DOORS = {
    "torch.load, as it is": "torch.load(bomb)",
    "torch.load without weights_only": "torch.load(bomb, weights_only=False)",
    "torch.load with a pickle module": "torch.load(bomb, pickle_module=pickle)",
    "MMEngine's loader of files": "checkpoint._load_checkpoint(bomb)",
    "MMEngine's loader of addresses": "checkpoint._load_checkpoint(url + '/a.pth')",
    "MMEngine's loader of short names": "checkpoint._load_checkpoint('open-mmlab://resnet50_v1c')",
    "torchvision's names": "checkpoint._load_checkpoint('torchvision://resnet50')",
    "mmpretrain's names": "checkpoint._load_checkpoint('mmcls://mobilenet_v2')",
    "S3's names": "checkpoint._load_checkpoint('s3://bucket/a.pth')",
    "pavi's names": "checkpoint._load_checkpoint('pavi://a')",
    "torch.hub": "torch.hub.load_state_dict_from_url(url + '/b.pth')",
    "torch.hub's repositories": "torch.hub.load('a/b', 'c')",
    "torch.hub's download": "torch.hub.download_url_to_file(url + '/c.pth', canary)",
    "torch's model zoo": "torch.utils.model_zoo.load_url(url + '/d.pth')",
    "MMEngine's download": "mmengine.utils.dl_utils.load_url(url + '/e.pth')",
    "MMEngine's pickles": "mmengine.load(bomb, file_format='pkl')",
    "MMEngine's YAML": "mmengine.load(yaml_file)",
    "MMEngine's files by address": "mmengine.fileio.get(url + '/f')",
    "MMEngine's HTTP backend": "mmengine.fileio.get('f', backend_args={'backend': 'http'})",
    "MMEngine's older file client": "mmengine.fileio.FileClient('http').get(url + '/g')",
    "mmseg's pickles": "mmseg.utils.io.datafrombytes(open(bomb, 'rb').read(), backend='pickle')",
    "a dotted type": "MODELS.build({'type': 'os.mkdir', 'path': canary})",
    "a dotted type of MMEngine": "TRANSFORMS.build({'type': 'mmengine.utils.path.mkdir_or_exist', 'dir_name': canary})",
    "an unknown scope": "MODELS.build({'type': 'ReLU', '_scope_': 'canary_module'})",
    "an unknown scope's class": "MODELS.build({'type': 'canary_module.A'})",
    "mmcv's search": "HOOKS.get('RFSearchHook').wrap_model(hook, torch.nn.Sequential(torch.nn.ReLU()), evil)",
    "a connection": "socket.socket().connect(('127.0.0.1', int(url.rsplit(':')[-1])))",
    "a name's address": "socket.getaddrinfo('example.org', 80)",
    "urllib": "urllib.request.urlopen(url + '/h')",
}
SCRIPT = """
import json, pickle, socket, sys, types, urllib.request
from mmtuna.objectives.trial.training import prepare_process
from mmengine.registry import HOOKS
from mmseg.registry import MODELS, TRANSFORMS
import mmengine, mmengine.runner.checkpoint as checkpoint, mmengine.utils.dl_utils, mmseg.utils.io
import torch, torch.utils.model_zoo
prepare_process(1, "")
bomb, yaml_file, url, canary, doors = json.loads(sys.argv[1])
evil = "ReLU if __import__('os').mkdir(" + repr(canary) + ") else object"
hook = types.SimpleNamespace(config={"search": {"skip_layer": None}})
found = {}
for name, text in doors.items():
    try:
        found[name] = f"open: {eval(text)}"
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"
here, there = socket.socketpair()
listener = socket.socket(socket.AF_UNIX)
listener.bind(canary + ".socket")
listener.listen()
socket.socket(socket.AF_UNIX).connect(canary + ".socket")  # which loaders' shared tensors need
print(json.dumps(found))
"""


def test_every_door_is_closed(tmp_path: Path, server: tuple[str, list[str]]) -> None:
    url, asked = server
    bomb, yaml_file, canary = tmp_path / "bomb.pth", tmp_path / "bomb.yaml", tmp_path / "canary"
    bomb.write_bytes(pickle.dumps(Bomb(canary)))
    yaml_file.write_text(f"a: !!python/object/apply:os.mkdir [{str(canary)!r}]\n")
    (tmp_path / "canary_module").mkdir()
    for name in ("__init__.py", "registry.py"):
        (tmp_path / "canary_module" / name).write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    given = json.dumps([str(bomb), str(yaml_file), url, str(canary), DOORS])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, given],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: what for name, what in found.items() if what.startswith("open")} == {
        "an unknown scope": "open: ReLU()",  # found in MMEngine's own registry, and nothing imported for it
    }
    assert asked == []
    assert not canary.exists()
    words = {
        "torch.load without weights_only": "ClosedError: torch.load without weights_only runs what the file holds",
        "MMEngine's loader of addresses": "ClosedError: weights are fetched by mmtuna and not by MMEngine",
        "mmcv's search": "ClosedError: RFSearchHook runs text of the config as code",
        "a connection": "ClosedError: a trial's process does not use the network (socket.connect)",
    }
    assert {name: found[name] for name in words} == words


def _crafted(path: Path, program: bytes) -> Path:
    """A checkpoint of torch's format whose pickle is `program`."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", program)
        file.writestr("archive/version", "3\n")
        file.writestr("archive/byteorder", "little")
    return path


def test_a_checkpoint_reaches_no_function_through_getattr(tmp_path: Path) -> None:
    """MMEngine's list of what may be loaded holds getattr, whose own module is all of Python's builtins."""
    canary = tmp_path / "canary"

    def text(value: str) -> bytes:
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    take = b"cbuiltins\ngetattr\n"
    builtins = take + take + text("__self__") + b"\x86R"
    evaluate = take + builtins + text("eval") + b"\x86R"
    history = b"cmmengine.logging.history_buffer\nHistoryBuffer\n)R"
    setting = b"}" + text("__setstate__") + evaluate + b"sb"
    program = b"\x80\x02" + history + setting + text(f"__import__('os').mkdir({str(canary)!r})") + b"b."
    with pytest.raises(Exception, match=r"__self__ of .*, which is no part of weights"):
        load_strictly(_crafted(tmp_path / "evil.pth", program))
    assert not canary.exists()


def test_a_trial_whose_config_was_changed_fails_and_runs_nothing(
    objective: Callable[..., SegmentationObjective], tmp_path: Path, listening: Any
) -> None:
    canary = tmp_path / "canary"
    cfg = objective(tmp_path, {"lr_sgd": 0.01}).config({}, seed=0)
    settings = TrialSettings(written={}, effective={})
    plan = TrialPlan(folder=TrialFolder(tmp_path), settings=settings, metric="mIoU", visible="", threads=1)
    for name, message in (
        ("os.mkdir", r"config.py: custom_hooks.0.type = 'os.mkdir' is no name of a registry"),
        ("mkdir", r"config.py: custom_hooks.0.type = 'mkdir' is no class that mmengine, mmcv, mmseg registers"),
    ):
        write_config({**cfg, "custom_hooks": [{"type": name, "path": str(canary)}]}, tmp_path / "config.py")
        outcome = TrialProcess(plan, listening()).run()
        assert (outcome.ending, outcome.cause) == (Ending.FAILED, Cause.ERROR)
        assert re.search(message, outcome.message)
    assert not canary.exists()
