"""Configs evaluated as data are what MMEngine makes of them by running them, and no text makes long work."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from mmtuna.objectives.config.base import _zoo
from mmtuna.objectives.config.inheritance import load_plain
from mmtuna.spaces.errors import InputError
from tests.objectives.config.test_base_config import write

ZOO = sorted(_zoo().glob("*/*.py"))
SAMPLE = [path for place, path in enumerate(ZOO) if place % 35 == 0 or "mask2former_swin-t" in path.name]


def by_mmengine(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setitem(MODULE2PACKAGE, "mmseg", "mmseg")
    found: dict[str, object] = Config.fromfile(str(path), import_custom_modules=False).to_dict()
    return found


@pytest.mark.parametrize("path", SAMPLE, ids=lambda path: path.stem)
def test_a_config_of_the_zoo_is_what_mmengine_makes_of_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # repr: the order of keys too, which a config's file shows.
    assert repr(load_plain(path, _zoo())) == repr(by_mmengine(path, monkeypatch))


@pytest.mark.slow
def test_all_configs_of_the_zoo_are_what_mmengine_makes_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(ZOO) > 680
    differing = [path.stem for path in ZOO if repr(load_plain(path, _zoo())) != repr(by_mmengine(path, monkeypatch))]
    assert differing == []


BASE = """
width, depth = 4, [1, 2]
model = dict(type='A', backbone=dict(type='B', depth=18, norm=dict(type='BN')), head=[dict(type='H', n=1), 3])
pipeline = [dict(type='Load'), dict(type='Crop', size=(8, 8))]
loader = dict(dataset=dict(pipeline=pipeline), batch=2)
"""
SPOKEN = {
    "values": "a = 1; b = -2.5; c = 'x' 'y'; d = None; e = (1, [2, {'k': True}], {3, 4}); f = 1e-3",
    "operators": "a = 3 * 4 + 2 ** 5 - 7 // 2; b = 7 % 4 / 2; c = [1] * 3 + [2]; d = 'ab' * 2; e = {'a': 1} | {'b': 2}",
    "comparisons": "a = 1 < 2 <= 2 != 3; b = 'x' in ['x']; c = 1 if 2 > 3 else 'no'; d = not a or None; e = 5 and 6",
    "texts": "n = 3; a = f'{n:02d}-{n!r}-{2.5:.1f}'; b = 'k%d_%s' % (n, 'x'); c = '%5.2f%%' % 1.5",
    "calls": "a = dict(x=1, **dict(y=2)); b = list(range(3)); c = tuple([1, 2]); d = len(b); e = int('7')",
    "more calls": "a = max(1, 3, 2); b = min([4, 2]); c = round(2.567, 1); d = sum([1, 2], 3); e = str(1)",
    "dict of pairs": "a = dict([('x', 1), ('y', 2)]); b = dict(zip(['u', 'v'], [1, 2])); c = dict(enumerate('ab'))",
    "unpacking": "a, (b, *c), d = 1, (2, 3, 4), 5; e = [*c, 6]; f = {**{'x': 1}, 'x': 2}; g = h = [1]; g += [2]",
    "comprehensions": "a = [x * y for x in range(3) if x for y in (1, 2)]; b = {k: 1 for k in 'a'}; c = {1 for x in a}",
    "generators": "a = sum(x for x in range(4)); b = tuple(x for x in 'ab'); c = list(x for x in b if x != 'a')",
    "methods": "a = dict(x=1); a.update(dict(y=2)); a.update({'z': 3}); b = [1]; b.append(2); b.extend([3])",
    "items": "a = dict(x=1, y=2); b = [k + str(v) for k, v in a.items()]; c = a.get('z', 5); d = a.copy(); d['x'] = 9",
    "subscripts": "a = [1, 2, 3, 4][1:3]; b = 'abc'[-1]; c = {'x': [5]}['x'][0]; d = list(range(9))[::2]",
    "changes": "a = dict(b=dict(c=[1, 2])); a['b']['c'][0] = 9; a['b']['d'] = a['b']['c']; a['n'] = 1; a['n'] += 1",
    "deletions": "a = dict(b=1, c=2); del a['b']; d = 1; del d; e = [1, 2]; del e[0]",
    "shared parts": "a = [1]; b = dict(x=a, y=a); a.append(2); c = b; c['z'] = 3",
    "own names of the file": "a = '{{ fileBasenameNoExtension }}/x'; b = '{{fileBasename}}'; c = '{{ fileExtname }}'",
}  # fmt: skip
OVER_A_BASE = {
    "merged": "model = dict(backbone=dict(depth=50, norm=dict(eps=1)), extra=1)",
    "deleted": "model = dict(backbone=dict(_delete_=True, type='C'), new=dict(_delete_=True, a=1))",
    "lists are replaced": "pipeline = [dict(type='Only')]\nmodel = dict(head=dict(_delete_=True, n=2))",
    "read from the base": "w = _base_.width * 2; p = _base_.pipeline[1]['size']; d = _base_['depth']",
    "references": "w = {{_base_.width}}; d = dict(x=[{{ _base_.model.backbone.norm }}, {{_base_.depth}}])",
    "a base's value changed": "x = _base_.model\nx['backbone']['depth'] = 101\nx['t'] = dict(u=1)",
    "a base's list changed": "p = _base_.pipeline\np[1]['size'] = (4, 4)\np.append(dict(type='P'))",
    "copied from the base": "x = dict(_base_.model, extra=1)\ny = {**_base_.loader}\ny['batch'] = 3",
}  # fmt: skip
OVER_BASES = {
    "whole parts of the base": "_base_ = ['./base.py']\nb = dict(x=_base_.model.backbone); q = [*_base_.pipeline, 1]",
    "two bases": "_base_ = ['./base.py', './other.py']\nmodel = dict(more=_base_.other.a)",
    "the zoo's base": "_base_ = ['mmseg::_base_/models/fcn_unet_s5-d16.py', './other.py']\nmodel = dict(x=8)",
    "a base's base": "_base_ = './middle.py'\nmodel = dict(backbone=dict(depth=7)); w = _base_.width + _base_.m",
}  # fmt: skip


SAID = SPOKEN | {case: f"_base_ = './base.py'\n{text}" for case, text in OVER_A_BASE.items()} | OVER_BASES


@pytest.mark.parametrize("case", SAID)
def test_what_a_config_may_say_means_what_python_and_mmengine_mean_by_it(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "base.py", BASE)
    write(tmp_path / "other.py", "other = dict(a=1)\n")
    write(tmp_path / "middle.py", "_base_ = ['base.py', 'other.py']\nm = 5\nmodel = dict(extra={{_base_.other}})\n")
    path = Path(write(tmp_path / "mine.py", SAID[case] + "\n"))
    found = load_plain(path, _zoo())
    assert found
    assert repr(found) == repr(by_mmengine(path, monkeypatch))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "_base_: ./base.py\nmodel: {backbone: {r: 1e-3}}\nx: &x [1]\ny: *x\nz: {{_base_.width}}\n"),
        ("b.json", '{"_base_": ["./base.py"], "model": {"head": 4}, "lr": 1e-4, "d": {{ _base_.depth }}}'),
    ],
)  # fmt: skip
def test_yaml_and_json_mean_what_mmengine_means_by_them(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "base.py", BASE)
    path = Path(write(tmp_path / name, text))
    assert repr(load_plain(path, _zoo())) == repr(by_mmengine(path, monkeypatch))


REFUSED_ALIKE = {
    "two bases with one name": ("_base_ = ['./base.py', './base.py']\n", "two of its bases set depth, loader, model"),
    "a dict over a number": ("_base_ = './base.py'\nwidth = dict(a=1)\n", "width is a dict here and a int in a base"),
    "a name of MMEngine's own": ("filename = 'x'\n", "sets filename, a name that MMEngine keeps for itself; rename"),
    "a missing name": ("x = y\n", "line 1: name 'y' is not defined"),
    "a missing key": ("_base_ = './base.py'\nx = _base_.model.neck\n", "line 2: no 'neck'; it must load"),
    "a missing reference": (
        "_base_ = './base.py'\nx = {{_base_.model.neck}}\n",
        r"refers to {{_base_.model.neck}}, and",
    ),
    "a sum of two kinds": ("x = 'a' + 1\n", r"line 1: can only concatenate str"),
    "a division by zero": ("a = 1\nx = 1 / 0\n", "line 2: division by zero"),
    "one value too many": ("a, b = 1, 2, 3\n", "line 1: 3 values for 2 names"),
}


@pytest.mark.parametrize("case", REFUSED_ALIKE)
def test_what_mmengine_cannot_load_is_refused_in_one_line(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, message = REFUSED_ALIKE[case]
    write(tmp_path / "base.py", BASE)
    path = Path(write(tmp_path / "mine.py", text))
    with pytest.raises(InputError, match=message):
        load_plain(path, _zoo())
    with pytest.raises((KeyError, TypeError, NameError, AttributeError, ArithmeticError, ValueError)):
        by_mmengine(path, monkeypatch)


ENDLESS = {
    "a power": ("x = 10 ** 10 ** 10\n", "makes an integer of more than 1024 bits"),
    "a shift": ("x = 1 << 10 ** 9\n", "makes an integer of more than 1024 bits"),
    "powers of powers": ("x = 2\n" + "x = x * x\n" * 40, "makes an integer of more than 1024 bits"),
    "a long list": ("x = [0] * 10 ** 12\n", "makes more than 200,000 values, which no config needs"),
    "a list that doubles": ("x = [0]\n" + "x = x + x\n" * 40, "makes more than 200,000 values"),
    "a list that grows in place": ("x = [0]\n" + "x += x\n" * 40, "makes more than 200,000 values"),
    "a long range": ("x = list(range(10 ** 12))\n", "makes more than 200,000 values"),
    "a range in place": ("x = []\nx += range(10 ** 12)\n", "makes more than 200,000 values"),
    "loops in loops": (
        "x = [1 for a in range(999) for b in range(999) for c in range(999)]\n",
        "makes more than 200,000 values",
    ),
    "a long text": ("x = 'a' * 10 ** 10\n", "makes more than 200,000 values"),
    "a wide number": ("x = '%999999999d' % 1\n", "fills in a text with % in a way that is not plain"),
    "a wide format": ("n = 999999999\nx = f'{1:{n}}'\n", "has the format '999999999'; use a plain one such as .2f"),
    "lists in lists": ("x = []\n" + "x = [x, x]\n" * 60, "makes more than 200,000 values"),
    "lists in lists, compared": ("x = []; y = []\n" + "x = [x, x]; y = [y, y]\n" * 60 + "z = x == y\n", "200,000"),
    "a list in itself": ("x = [1]\nx.append(x)\n", "is nested more than 120 deep"),
    "brackets": ("x = " + "[" * 150 + "]" * 150 + "\n", "is nested more than 120 deep"),
    "very many brackets": ("x = " + "[" * 90_000 + "]" * 90_000 + "\n", "too many nested parentheses"),
    "very many signs": ("x = " + "-" * 90_000 + "1\n", "mine.py.*; it must be a config file|120 deep"),
    "a long sum": ("x = " + "1 + " * 5_000 + "1\n", "is nested more than 120 deep|it must be a config file"),
    "attributes": ("x = _base_" + ".a" * 5_000 + "\n", "is nested more than 120 deep|it must be a config file"),
    "a large file": ("x = 1  # " + "a" * (1 << 20), "is larger than 1024 KiB; it must be a config file"),
    "infinity": ("x = float('inf')\n", "holds float 'inf', which is no plain value"),
    "too large a number": ("x = 1e308 * 1e308\n", "holds float 'inf'"),
    "half a letter": ("x = '\\ud800'\n", r"holds str '.ud800', which is no plain value"),
    "an empty set": ("x = set()\n", r"holds set 'set\(\)', which is no plain value"),
    "bytes": ("x = b'a'\n", "holds a value of type bytes"),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_no_config_makes_long_work(case: str, tmp_path: Path) -> None:
    text, message = ENDLESS[case]
    began = time.process_time()
    with pytest.raises(InputError, match=message):
        load_plain(Path(write(tmp_path / "mine.py", text)), _zoo())
    assert time.process_time() - began < 4


def test_anchors_and_bases_that_multiply_are_refused(tmp_path: Path) -> None:
    anchors = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    with pytest.raises(InputError, match="makes more than 200,000 values"):
        load_plain(Path(write(tmp_path / "a.yaml", anchors)), _zoo())
    merged = "a0: &a0 {x: 1}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)
    )
    with pytest.raises(InputError, match="<< takes in another table; write its values out"):
        load_plain(Path(write(tmp_path / "b.yaml", merged)), _zoo())
    for n in range(20):
        names = f"['./c{n + 1}.py']" if n < 19 else "[]"
        values = f"x{n} = [{', '.join([f'{{{{_base_.x{n + 1}}}}}'] * 9)}]\n" if n < 19 else "x19 = [1]\n"
        write(tmp_path / f"c{n}.py", f"_base_ = {names}\n{values}")
    with pytest.raises(InputError, match="makes more than 200,000 values"):
        load_plain(tmp_path / "c0.py", _zoo())
    for n in range(12):
        write(tmp_path / f"d{n}.py", f"_base_ = ['./d{n + 1}.py'{f', {chr(39)}./d{n + 1}.py{chr(39)}' if n else ''}]\n")
    write(tmp_path / "d12.py", "")
    with pytest.raises(InputError, match="has more than 200 bases"):
        load_plain(tmp_path / "d0.py", _zoo())


def test_bases_may_lie_in_the_repository_of_the_config(tmp_path: Path) -> None:
    write(tmp_path / "configs/_base_/x.py", "x = 1\n")
    mine = Path(write(tmp_path / "configs/nets/deep/mine.py", "_base_ = '../../_base_/x.py'\n"))
    with pytest.raises(InputError, match=r"_base_ ../../_base_/x.py lies outside .*/nets; move it there, or set"):
        load_plain(mine, _zoo())
    (tmp_path / ".git").mkdir()
    assert load_plain(mine, _zoo()) == {"x": 1}
