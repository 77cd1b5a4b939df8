"""What a person who may write into a study's folder or bucket cannot do: run anything on a machine that reads it."""

from __future__ import annotations

import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from mmtuna.search.outputs.bundle import export_trial
from mmtuna.search.outputs.comparison import compare
from mmtuna.search.outputs.paper import write_paper
from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec import StudySpec
from tests.search.conftest import mmtuna, write_study

ZOO = "mmseg::unet/unet-s5-d16_fcn_4xb4-40k_hrf-256x256.py"


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        import os

        return os.mkdir, (str(self.canary),)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A folder that is there after a test only where something was run."""
    yield tmp_path / "canary"
    assert not (tmp_path / "canary").exists()


@pytest.fixture
def address(canary: Path) -> Iterator[str]:
    """An address with weights that make the canary when they are unpickled; nobody may ask for it."""
    bomb, asked = pickle.dumps(Bomb(canary)), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(bomb)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/weights.pth"
        server.shutdown()
        thread.join()
    assert asked == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, phantom: Path) -> Path:
    """A study with one complete trial."""
    path = write_study(tmp_path_factory.mktemp("foreign"), phantom)
    done = mmtuna("run", path, "--trials", "1")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def spec(finished: Path, tmp_path: Path) -> StudySpec:
    """A copy of the study that a test may change."""
    return StudySpec.load(Path(shutil.copytree(finished.parent, tmp_path / "copy")) / "study.toml")


CHANGES = {
    "code": (lambda text, canary: f"import os\nos.mkdir({canary!r})\n{text}", r"no config of plain values|holds code"),
    "a call": (lambda text, canary: text + f"x = open({canary!r}, 'w')\n", r"no config of plain values|holds code"),
    "a function as a loss": (
        lambda text, canary: text.replace("'type': 'CrossEntropyLoss'", f"'type': 'os.mkdir', 'path': {canary!r}", 1),
        r"loss_decode.type = 'os.mkdir' is no name of a registry",
    ),
    "a module to import": (
        lambda text, canary: text + "custom_imports = {'imports': ['canary_module']}\n",
        r"imports canary_module \(custom_imports\), which the study's base config does not",
    ),
    "code in a hook": (
        lambda text, canary: text + "custom_hooks = [{'type': 'RFSearchHook', 'mode': 'search'}]\n",
        r"'RFSearchHook' runs text of the config as code",
    ),
}


@pytest.mark.parametrize("command", ["export", "compare"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_config_of_a_trial_is_refused_and_runs_nothing(
    change: str, command: str, spec: StudySpec, canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = spec.study.folder / "trials/00000"
    shutil.rmtree(trial / "predictions")  # so that compare builds the model, too
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/canary_module.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"), prepend=":")
    edit, message = CHANGES[change]
    text = edit((trial / "config.py").read_text(), str(canary))
    assert text != (trial / "config.py").read_text()
    (trial / "config.py").write_text(text)
    calls: dict[str, Callable[[], object]] = {
        "export": lambda: export_trial(spec, tmp_path / "bundle", 0),
        "compare": lambda: compare(spec, 0, 0, tmp_path / "compare.png", other=spec),
    }
    with pytest.raises(InputError, match=message):
        calls[command]()
    assert not (tmp_path / "bundle").exists()


def test_weights_that_a_changed_config_names_are_not_fetched(
    spec: StudySpec, canary: Path, address: str, tmp_path: Path
) -> None:
    config = spec.study.folder / "trials/00000/config.py"
    text = config.read_text()
    init = f"'init_cfg': {{'type': 'Pretrained', 'checkpoint': '{address}'}}, 'type': 'FCNHead'"
    config.write_text(text.replace("'type': 'FCNHead'", init))
    assert address in config.read_text()
    shutil.rmtree(config.parent / "predictions")
    assert compare(spec, 0, 0, tmp_path / "compare.png", other=spec).images  # the trial's own weights are all it loads


@pytest.mark.parametrize("name", ["last.pth"])
def test_a_changed_checkpoint_runs_nothing(spec: StudySpec, canary: Path, name: str, tmp_path: Path) -> None:
    trial = spec.study.folder / "trials/00000"
    shutil.rmtree(trial / "predictions")
    (trial / name).write_bytes(pickle.dumps(Bomb(canary)))
    with pytest.raises(InputError):
        export_trial(spec, tmp_path / "bundle", 0)
    with pytest.raises(InputError):
        compare(spec, 0, 0, tmp_path / "compare.png", other=spec)


def test_the_papers_figures_read_a_changed_config_as_values(spec: StudySpec, canary: Path, tmp_path: Path) -> None:
    config = spec.study.folder / "trials/00000/config.py"
    config.write_text(f"import os\nos.mkdir({str(canary)!r})\n{config.read_text()}")
    with pytest.raises(InputError):
        write_paper(spec, tmp_path / "paper", Console())


def of_ones_own(write_spec: Callable[..., Path], more: str = "") -> Path:
    """A spec whose base config is mine.py beside it."""
    path = write_spec(model=f'base = "mine.py"\n{more}')
    path.write_text(path.read_text().replace("base_channels = 4\n", "").replace('decoder = "fcn"\n', ""))
    return path


BASES = {
    "a builtin as a value": "x = max([\"__import__('os').mkdir('{canary}')\"], key=eval)",
    "a builtin bound anew": "len = eval\nx = len(\"__import__('os').mkdir('{canary}')\")",
    "a base by an absolute path": "_base_ = 'mmseg::{folder}/evil.py'",
    "a function as a loss": (
        "_base_ = '{zoo}'\nmodel = dict(decode_head=dict(loss_decode=dict(_delete_=True, type='os.mkdir', "
        "path='{canary}')))"
    ),
}


def test_a_base_config_runs_nothing_at_check(write_spec: Callable[..., Path], canary: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    spec = of_ones_own(write_spec)
    for text in BASES.values():
        (tmp_path / "mine.py").write_text(text.format(canary=canary, folder=tmp_path, zoo=ZOO))
        done = mmtuna("check", spec)
        assert done.returncode == 2
        assert done.stderr.startswith("mmtuna: base config ")
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_weights_anywhere_in_a_base_are_not_fetched_by_trials(
    write_spec: Callable[..., Path], canary: Path, address: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        f"_base_ = '{ZOO}'\n"
        f"model = dict(decode_head=dict(init_cfg=dict(type='Pretrained', checkpoint='{address}'), in_channels=4),\n"
        f"             backbone=dict(base_channels=4, init_cfg=[dict(type='Pretrained', checkpoint='{address}')]),\n"
        "             auxiliary_head=dict(in_channels=8))\n"
    )
    done = mmtuna("run", of_ones_own(write_spec), "--trials", "1")
    assert done.returncode == 0, done.stderr


def test_whose_code_is_trusted_is_said_at_check(write_spec: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        f"import math\n_base_ = '{ZOO}'\n"
        "model = dict(backbone=dict(base_channels=4), decode_head=dict(in_channels=4),\n"
        "             auxiliary_head=dict(in_channels=math.gcd(8, 16)))\ncustom_imports = dict(imports=['this'])\n"
        "del math\n"
    )
    done = mmtuna("check", of_ones_own(write_spec, "trust_code = true"))
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert (
        f"[model] trust_code: runs {tmp_path / 'mine.py'} and its bases as Python, and imports this in every trial; "
        "who may write there runs code here"
    ) in " ".join(said.split())
