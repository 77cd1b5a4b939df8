"""Configs changed at random: each is a config or is refused in one line, and reading it touches nothing but its files.

Another interpreter reads them, with a hook that hears of every file, import, process, connection, and piece of code.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SECONDS = 5
SCRIPT = r"""
import json, random, re, sys, time
from pathlib import Path
from mmtuna.objectives.config import load_base, read_config
from mmtuna.objectives.config.base import _zoo
from mmtuna.objectives.config.inheritance import load_plain
from mmtuna.spaces.errors import InputError

seconds, folder, seed = float(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
random.seed(seed)
zoo = _zoo()
for kind, text in (("py", "x = 1\n"), ("yaml", "x: 1\n"), ("json", '{"x": 1}')):  # what reading needs is imported now
    (folder / f"first.{kind}").write_text(text)
    try:
        load_base(str(folder / f"first.{kind}"))
    except InputError:
        pass
load_base("unet")

EVIL = [
    "__import__('os').mkdir(%r)" % str(folder / "canary"), "eval", "exec", "open", "print", "getattr", "globals()",
    "().__class__.__base__.__subclasses__()", "type('X', (), {})", "lambda: 1", "_base_.__class__", "__builtins__",
    "'{0.__class__}'.format(1)", "f'{open}'", "(x := 1)", "[y for y in _base_]", "[0] * 10 ** 9", "10 ** 10 ** 10",
    "'os.system'", "dict(type='os.mkdir', path='x')", "dict(type='mmdet.X')", "dict(_scope_='evil')", "_base_",
    "{{_base_.model}}", "{{$HOME:x}}", "'{{ fileBasename }}'", "{{_base_.model.backbone}}", "-" * 300 + "1",
    "'mmseg::../../../../etc/x.py'", "'/etc/passwd'", "'https://example.org/a.pth'", "'\\ud800'", "float('nan')",
    "max([1], key=eval)", "dict(**{'a': 1}, **{'a': 2})", "len", "*[1]", "**_base_.model", "list(range(10 ** 9))",
    "...", "b'x'", "1j", "set()", "{1, 2}", "x.y.z", "yield", "await x", "'%1000000000d' % 1", "f'{1:999999999}'",
]
LINES = [
    "import os", "from os import system", "len = eval", "dict = list", "_base_ = './first.py'", "del model",
    "_base_ = ['mmseg::unet/unet-s5-d16_fcn_4xb4-40k_hrf-256x256.py']", "x = [1]\nx.append(x)", "global x",
    "for x in range(3):\n    pass", "with open('x') as f:\n    pass", "def f():\n    return 1", "class A: pass",
    "try:\n    x = 1\nexcept Exception:\n    pass", "while True: pass", "assert False", "x: int = 1",
    "x = y = z = {}\nx['a'] = y", "a, *b = [1, 2, 3]", "model['backbone']['depth'] = 1", "model = dict(_delete_=True)",
    "custom_imports = dict(imports=['this'])", "model.update(dict(a=1))", "x = 1 if True else eval",
]
def source(path):
    text = re.sub(r"'\.\./([\w./-]+\.py)'", r"'mmseg::\1'", path.read_text())
    return re.sub(r"'\./([\w./-]+\.py)'", rf"'mmseg::{path.parent.name}/\1'", text)


SOURCES = [source(path) for path in [*sorted(zoo.glob("*/*.py"))[::40], *sorted(zoo.glob("_base_/models/*.py"))[::6]]]
PLAIN = {"yaml": "a: {b: [1, 2, {c: x}]}\nmodel: {type: X}\n", "json": '{"a": [1, {"b": null}], "model": {}}'}
MARKS = list("()[]{}=,.:'\"#\n *-+%") + ["{{", "}}", "&a ", "*a", "!!python/name:os.system ", "<<: ", "\x00", "\ud7ff"]


def mutated(text, kind):
    for _ in range(random.choice([1, 1, 2, 4])):
        place = random.randrange(len(text) + 1)
        match random.randrange(6):
            case 0:
                text = text[:place] + random.choice(MARKS) + text[place:]
            case 1:
                text = text[:place] + text[place + random.randint(1, 30):]
            case 2 if kind == "py":
                lines = text.split("\n")
                lines.insert(random.randrange(len(lines) + 1), random.choice(LINES))
                text = "\n".join(lines)
            case 3:
                words = [w for w in ("1", "True", "'BN'", "dict(", "None", "2") if w in text]
                word = random.choice(words or [","])
                new = random.choice(EVIL)
                parts = text.split(word)
                cut = random.randrange(len(parts))
                text = word.join(parts[:cut + 1]) + (new if cut + 1 < len(parts) else "") + word.join(parts[cut + 1:])
            case 4 if kind == "py":
                text += f"\n{random.choice('abcx')} = {random.choice(EVIL)}\n"
            case _:
                other = random.randrange(len(text) + 1)
                text = text[:place] + text[other:other + 40] + text[place:]
    return text


heard, reading = [], False
def hear(event, arguments):
    if reading:
        heard.append((event, arguments))
sys.addaudithook(hear)

outcomes = {"config": 0, "refused": 0}
strange, slowest = [], 0.0
began = time.monotonic()
while time.monotonic() - began < seconds:
    kind = random.choice(["py"] * 8 + ["yaml", "json"])
    text = mutated(random.choice(SOURCES) if kind == "py" else PLAIN[kind], kind)
    path = folder / f"mine.{kind}"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    read = random.choice([lambda: load_base(str(path)), lambda: load_plain(path, zoo), lambda: read_config(path)])
    heard.clear()
    cpu = time.process_time()
    reading = True
    try:
        read()
        outcome = "config"
    except InputError as error:
        outcome = "refused"
        if "\n" in str(error):
            strange.append(("more than one line", str(error)))
    except BaseException as error:
        outcome = "refused"
        strange.append((f"{type(error).__name__}: {error}"[:300], text[-2000:]))
    reading = False
    slowest = max(slowest, time.process_time() - cpu)
    outcomes[outcome] += 1
    for event, arguments in heard:
        place = str(arguments[0]) if arguments else ""
        fine = (
            event in ("os.scandir", "os.listdir")  # the zoo is looked through
            or (event == "open" and arguments[1] in ("r", "rb") and place.startswith((str(folder), str(zoo))))
            or (event == "open" and place == "<unknown>")  # Python looks for the line of a wrong text
            or (event == "compile" and arguments[1] == "<unknown>")  # into a tree of syntax: what is run is an "exec"
        )
        if not fine:
            strange.append((event, repr(arguments)[:300]))
strange = [list(pair) for pair in dict.fromkeys(map(tuple, strange))][:20]
print(json.dumps({"outcomes": outcomes, "strange": strange, "slowest": slowest}))
"""


def test_configs_changed_at_random_are_configs_or_refused_and_touch_nothing(tmp_path: Path) -> None:
    # Python warns of odd texts as it parses them.
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(SECONDS), str(tmp_path), "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["strange"] == []
    assert found["outcomes"]["config"] > 10
    assert found["outcomes"]["refused"] > 50
    assert found["slowest"] < 3
    assert not (tmp_path / "canary").exists()
