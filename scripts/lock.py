"""Writes constraints.txt and locks/ anew from pyproject.toml: what is pinned stays pinned, what is new is resolved.

Usage: python scripts/lock.py [--upgrade | --upgrade-package NAME ...]; the options are those of `uv pip compile`, which
has to be installed (`pip install uv`). Run the tests before you commit what it wrote.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
# In the place of opencv-python, which [tool.uv] in pyproject.toml leaves out: its windows need libraries servers lack.
OPENCV = "opencv-python-headless"
INSTALLERS = ("pip",)
# Each build of torch brings its own; pip takes them when it installs torch, from the index that TORCH_INDEX names.
OF_TORCH = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
PINS = "# Known to work together, Python 3.11 to 3.13; locks/ has the same with hashes. Written by scripts/lock.py.\n"
LOCK = "# {what}, with the hashes of every file that the index has of it. Written by scripts/lock.py.\n"


def main(options: list[str]) -> None:
    extras = list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    pins = compiled([f"--extra={extra}" for extra in extras] + options, constraints=not options)
    own = [entry for name, entry in pins.items() if name == "torch" or not OF_TORCH.fullmatch(name)]
    (ROOT / "constraints.txt").write_text(PINS + "\n".join(own) + "\n")
    core = compiled(["--generate-hashes"])
    write_lock("core", "What mmtuna itself needs, but for torch", core)
    for extra in extras:
        closure = compiled(["--generate-hashes", f"--extra={extra}"])
        only = {name: entry for name, entry in closure.items() if name not in core}
        write_lock(extra, f"What mmtuna[{extra}] needs beside core.txt", only)


def compiled(options: list[str], constraints: bool = True) -> dict[str, str]:
    """Entries of a requirements file by name, one or several lines each, for every platform and Python >= 3.11."""
    wanted = "\n".join((OPENCV, *INSTALLERS))
    held = ["--constraints=constraints.txt"] if constraints else []
    command = ["uv", "pip", "compile", "pyproject.toml", "-", "--universal", "--python-version=3.11", "--no-header"]
    found = subprocess.run(
        [*command, "--no-annotate", "--quiet", *held, *options],
        cwd=ROOT, input=wanted, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if found.returncode:
        sys.exit(f"lock: {found.stderr.strip()}")
    entries = re.split(r"\n(?=\S)", found.stdout.strip())
    return {entry.split("==")[0]: entry for entry in entries}


def write_lock(name: str, what: str, entries: dict[str, str]) -> None:
    chosen = [entry for package, entry in entries.items() if not OF_TORCH.fullmatch(package)]
    (ROOT / "locks" / f"{name}.txt").write_text(LOCK.format(what=what) + "\n".join(chosen) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
