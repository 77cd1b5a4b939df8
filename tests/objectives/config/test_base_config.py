"""Base configs: found by name or path, complete, and no code of theirs runs unless it is trusted."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mmtuna.objectives.config import build_config, load_base, merge_settings
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.table2 import PRETRAINED_FILES

FCN = "unet-s5-d16_fcn_4xb4-40k_hrf-256x256"
ZOO_BASE = "mmseg::unet/unet-s5-d16_fcn_4xb4-40k_hrf-256x256.py"


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("decoder", ["fcn", "pspnet", "deeplabv3"])
def test_unet_picks_the_decoders_config_and_its_published_weights(decoder: str) -> None:
    base = load_base("unet", decoder=decoder)
    assert base.is_unet
    assert base.name == f"unet-s5-d16_{decoder}_4xb4-40k_hrf-256x256"
    assert base.weights_url is not None
    assert base.weights_url.startswith("https://")
    assert base.weights_url.endswith(f"/{PRETRAINED_FILES[decoder]}")


def test_a_zoo_name_is_found_and_is_no_unet_of_ours() -> None:
    base = load_base(FCN)
    assert not base.is_unet
    assert base.cfg == load_base("unet", decoder="fcn").cfg
    assert (
        load_base("segformer_mit-b0_8xb2-160k_ade20k-512x512").cfg["model"]["backbone"]["type"]
        == "MixVisionTransformer"
    )


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    one, same, other = (
        load_base(
            write(tmp_path / f"{name}.py", f"_base_ = '{ZOO_BASE}'\nmodel = dict(decode_head=dict(channels={n}))\n")
        )
        for name, n in (("a", 8), ("b", 8), ("c", 9))
    )
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("unet-s5-d16_fcn_4xb4-40k_hrf-256x265", rf"is no model-zoo config; did you mean {FCN}\?"),
        ("§§§", r"base = '§§§' is no model-zoo config; see MMSegmentation's model zoo"),
        ("no/such.py", r"base config .*no/such.py: no such file; give a path, a model-zoo name, or 'unet'"),
        ("such.py", r"base config .*such.py: no such file"),
    ],
)
def test_an_unknown_base_is_named_with_the_way_out(base: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_base(base)


def test_a_file_of_ones_own_inherits_from_the_zoo_and_from_its_neighbours(tmp_path: Path, phantom: Dataset) -> None:
    write(
        tmp_path / "common/head.py", "_base_ = ['mmseg::unet/unet-s5-d16_fcn_4xb4-40k_hrf-256x256.py']\nwidth = 4 * 2\n"
    )
    mine = write(
        tmp_path / "mine.py",
        "_base_ = './common/head.py'\n"
        "model = dict(decode_head=dict(channels=_base_.width), backbone=dict(base_channels={{_base_.width}}))\n",
    )
    base = load_base(mine)
    assert base.name == "mine"
    assert base.weights_url is None
    assert base.cfg["model"]["decode_head"]["channels"] == 8
    assert base.cfg["model"]["backbone"]["base_channels"] == 8
    lists = (tmp_path / "train.txt", tmp_path / "val.txt")
    settings = merge_settings({"iterations": 3}, {}, is_unet=False, has_weights=False)
    cfg = build_config(base, settings, dataset=phantom, lists=lists, shapes={(64, 64)}, weights=None, seed=0)
    assert cfg["model"]["decode_head"]["channels"] == 8
    assert "width" not in cfg


def test_plain_yaml_and_json_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", f"_base_: '{ZOO_BASE}'\nmodel:\n  decode_head:\n    channels: 8\n")
    write(tmp_path / "a.json", f'{{"_base_": ["{ZOO_BASE}"], "model": {{"decode_head": {{"channels": 8}}}}}}')
    yaml, json = (load_base(str(tmp_path / f"a.{kind}")).cfg for kind in ("yaml", "json"))
    assert yaml["model"]["decode_head"]["channels"] == 8
    assert yaml == json


ATTACKS = {
    "import": ("import os\nos.mkdir({canary!r})\n", "holds code"),
    "from import": ("from os import mkdir\nmkdir({canary!r})\n", "holds code"),
    "open": (
        "x = open({canary!r}, 'w')\n",
        r"line 1: holds code \(a call of open\); write plain values, or set \[model\] trust_code",
    ),
    "dunder": ("x = __import__('os').mkdir({canary!r})\n", "holds code"),
    "builtins": ("x = __builtins__['open']({canary!r}, 'w')\n", "holds code"),
    "lambda": ("x = (lambda: open({canary!r}, 'w'))()\n", "holds code"),
    "function": ("def f():\n    open({canary!r}, 'w')\nf()\n", "holds code"),
    "comprehension": ("x = [y for y in (1,) if open({canary!r}, 'w')]\n", "holds code"),
    "a builtin as a value": (
        "x = max([\"__import__('os').mkdir('{canary}')\"], key=eval)\n",
        r"line 1: name 'eval' is not defined",
    ),
    "an allowed builtin as a value": ("x = dict(key=len)\n", r"holds code \(len is a function, which may be called"),
    "a key function": ("x = max([1, 2], key=1)\n", r"gives max\(\) a named argument \(key\)"),
    "a builtin bound anew": (
        "len = eval\nx = len(\"__import__('os').mkdir('{canary}')\")\n",
        "line 1: name 'eval' is not defined",
    ),
    "a builtin bound to another": ("len = 3\n", "line 1: sets len, which has a meaning of its own here"),
    "a builtin bound in a loop": ("x = [1 for (dict, y) in [(1, 2)]]\n", "sets dict, which has a meaning of its own"),
    "a text's method": ("x = '{{0.__class__}}'.format(dict)\n", r"holds code|a call of"),
    "walrus": ("x = (y := open)\n", r"holds code \(NamedExpr\)"),
    "if": ("if True:\n    import os\n", r"line 1: holds code \(If\)"),
    "new style": (
        "from mmengine.config import read_base\nwith read_base():\n    from .evil import *\n",
        r"line 1: is in MMEngine's import style \(with read_base\(\)\); name its bases in _base_; write plain values",
    ),
    "in an f-string": ("x = f\"{{open({canary!r}, 'w')}}\"\n", "holds code|template"),
    "method": ("x = 'a'.join(open({canary!r}, 'w'))\n", "holds code"),
    "attributes of _base_": ("x = _base_.__class__.__init__.__globals__\n", "holds code"),
    "decorator": ("@open\nclass A: pass\n", "holds code"),
    "custom imports": ("custom_imports = dict(imports=['canary_module'])\n", r"imports code \(custom_imports\)"),
    "a base": ("_base_ = './evil.py'\n", r"evil.py, line 1: holds code"),
    "a list of bases": ("_base_ = ['mmseg::unet/" + FCN + ".py', 'sub/../evil.py']\n", "evil.py, line 1: holds code"),
    "a base of a base": ("_base_ = './middle.py'\n", "evil.py, line 1: holds code"),
    "a computed base": ("_base_ = ['./' + 'evil.py']\n", "_base_ is computed, so the files it names are unknown"),
    "a base by name": ("where = './evil.py'\n_base_ = where\n", "_base_ is computed"),
    "two bases, one hidden": (
        "x = _base_ = 'mmseg::unet/" + FCN + ".py'\n_base_ = './evil.py'\n",
        "line 1: sets _base_ twice; name all bases in one list",
    ),
    "_base_ set in a loop": ("x = [1 for _base_ in ['./evil.py']]\n", "sets _base_, which has a meaning of its own"),
    "an absolute base in the zoo's name": ("_base_ = 'mmseg::{folder}/evil.py'\n", "leaves the package; name a file"),
    "an absolute base": ("_base_ = '/etc/evil.py'\n", "_base_ /etc/evil.py lies outside"),
    "another package's base": ("_base_ = 'mmdet::{folder}/evil.py'\n", "of another package; only mmseg's own"),
    "a link out of the folder": ("_base_ = './link.py'\n", "_base_ ./link.py lies outside"),
    "a base that is no config": ("_base_ = './evil.txt'\n", r"evil.txt is no config; name a file that ends in \.py"),
    "a circle": ("_base_ = './mine.py'\n", "mine.py: is a base of itself; take it out"),
    "an environment template": ("x = {{{{'$NOPE:1'}}}}\n", r"holds a template \(\{\{\$NOPE\}\}\) that takes a value"),
    "a template that ends its string": (
        "_base_ = 'mmseg::unet/"
        + FCN
        + ".py'\ny = \"\\{{{{_base_.log_level}}}};__import__('os').mkdir({canary!r})#\"\n",
        r"line 2: holds code \(a call of __import__\)",
    ),
    "a way out of a package": (
        "_base_ = 'mmseg::unet/" + "../" * 40 + "{outside}/evil.py'\n",
        r"_base_ mmseg::.* leaves the package",
    ),
    "a missing base": ("_base_ = './nowhere.py'\n", r"its _base_ ./nowhere.py does not exist"),
}


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@pytest.mark.parametrize("attack", ATTACKS)
def test_code_in_a_base_config_is_refused_and_does_not_run(
    tmp_path: Path, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    run = f"import os; os.mkdir({str(canary)!r})\n"
    here = tmp_path / "mine/deep"
    for name in (tmp_path / "evil.py", here / "evil.py", here / "evil.txt", tmp_path / "modules/canary_module.py"):
        write(name, run)
    write(here / "middle.py", "_base_ = './evil.py'\n")
    (here / "sub").mkdir()
    (here / "link.py").symlink_to(tmp_path / "evil.py")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    text, message = ATTACKS[attack]
    filled = text.format(canary=str(canary), outside=str(tmp_path).lstrip("/"), folder=tmp_path)
    path = write(here / "mine.py", filled)
    with pytest.raises(InputError, match=message):
        load_base(path)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.yaml",
            "x: !!python/object/apply:os.mkdir [{canary!r}]\n",
            r"a.yaml: is not plain data \(could not determine",
        ),
        ("b.yml", "_base_: ./evil.py\n", r"evil.py, line 1: holds code"),
        ("c.json", '{{"_base_": "evil.py"}}', r"evil.py, line 1: holds code"),
        ("d.json", '{{"_base_": ["evil.yaml"]}}', r"evil.yaml: is not plain data"),
        ("e.yaml", "custom_imports:\n  imports: [canary_module]\n", r"imports code \(custom_imports\)"),
        ("f.yaml", "x: '{{{{$HOME:x}}}}'\n", r"holds a template"),
        ("g.yaml", "_base_: {{a: 1}}\nmodel: 1\n", r"_base_ holds {'a': 1}; name files"),
        ("h.json", '{{"_base_": [3]}}', r"_base_ holds 3; name files, in a text or a list of texts"),
        ("i.yaml", "x: 2020-01-01\n", r"holds date '2020-01-01', which is no plain value"),
        ("j.json", "[1]", r"is not plain data \(not a table of names\)"),
    ],
)
def test_code_behind_yaml_and_json_is_refused_and_does_not_run(
    tmp_path: Path, name: str, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    write(tmp_path / "evil.py", f"import os; os.mkdir({str(canary)!r})\n")
    write(tmp_path / "evil.yaml", f"x: !!python/object/apply:os.mkdir [{str(canary)!r}]\n")
    write(tmp_path / "modules/canary_module.py", f"import os; os.mkdir({str(canary)!r})\n")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    path = write(tmp_path / name, text.format(canary=str(canary)))
    with pytest.raises(InputError, match=message):
        load_base(path)
    assert not canary.exists()


def test_trusted_code_is_read_and_its_imports_wait_for_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "modules/waiting_module.py", "")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    text = f"import math\n_base_ = '{ZOO_BASE}'\nmodel = dict(decode_head=dict(channels=math.gcd(8, 12)))\n"
    path = write(tmp_path / "mine.py", text + "custom_imports = dict(imports=['waiting_module'])\ndel math\n")
    with pytest.raises(InputError, match=r"line 1: holds code \(Import\); write plain"):
        load_base(path)
    base = load_base(path, trust_code=True)
    assert base.cfg["model"]["decode_head"]["channels"] == 4
    assert base.cfg["custom_imports"] == {"imports": ["waiting_module"]}
    assert "waiting_module" not in sys.modules


@pytest.mark.parametrize("trust_code", [False, True])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "x = 1\n",
            r"has no model, train_dataloader, val_dataloader, train_cfg, optim_wrapper; name a complete config",
        ),
        (f"_base_ = '{ZOO_BASE}'\nmodel = 3\n", r"mine.py: .*has no model;|mine.py: .*must load with mmengine"),
        (f"_base_ = '{ZOO_BASE}'\nval_dataloader = None\n", r"has no val_dataloader;|must load with mmengine"),
        ("model = dict(\n", r"mine.py[:,].*; it must"),
        (
            "x = undefined_name\n",
            r"mine.py.*: name 'undefined_name' is not defined; it must load with mmengine's Config",
        ),
    ],
)
def test_a_base_that_is_broken_or_incomplete_is_named(
    tmp_path: Path, text: str, message: str, trust_code: bool
) -> None:
    with pytest.raises(InputError, match=message):
        load_base(write(tmp_path / "mine.py", text), trust_code=trust_code)


def test_a_binary_file_is_no_config(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_bytes(os.urandom(64) + b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"mine.py: .*; it must be a config file"):
        load_base(str(tmp_path / "mine.py"))
