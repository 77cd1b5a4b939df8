"""What the documentation shows is run, and what it lists is complete."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mmtuna.spaces.settings import SETTINGS
from tests.search.conftest import ENVIRONMENT, mmtuna

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
INLINE = re.compile(r"`mmtuna ([a-z][^`\n]*)`")
FENCED = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^\s*mmtuna ([a-z][^#\n]*)", re.MULTILINE)


def commands_in(text: str) -> list[str]:
    """What follows `mmtuna` in the code of a page, in order of blocks, then of inline code."""
    return [words.strip() for block in FENCED.findall(text) for words in LINE.findall(block)] + INLINE.findall(text)


def settings_table() -> str:
    """The table of docs/spec.md as it should be."""

    def shown(value: object) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return f"{value:g}" if isinstance(value, float) else str(value)

    rows = (f"| `{name}` | {shown(setting.default)} | {setting.meaning} |" for name, setting in SETTINGS.items())
    return "\n".join(rows)


def test_the_spec_page_lists_every_setting_with_its_default() -> None:
    page = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
    assert settings_table() in page, f"docs/spec.md should hold:\n{settings_table()}"


def test_every_command_stands_in_the_readme_or_the_docs() -> None:
    helped = mmtuna("--help").stdout
    commands = set(re.findall(r"^  ([a-z0-9]+) ", helped.split("Commands:")[1], re.MULTILINE))
    assert {"run", "check", "init"} <= commands
    shown = {words.split()[0] for document in DOCUMENTS for words in commands_in(document.read_text("utf-8"))}
    assert commands <= shown, f"nowhere shown: {sorted(commands - shown)}"


def test_every_command_shown_exists_with_its_options() -> None:
    helped = functools.cache(lambda *command: mmtuna(*command, "--help"))
    for document in DOCUMENTS:
        for words in commands_in(document.read_text(encoding="utf-8")):
            parts = shlex.split(words)
            depth = 2 if parts[0] == "data" and len(parts) > 1 else 1
            done = helped(*parts[:depth])
            assert done.returncode == 0, f"{document.name}: mmtuna {words}"
            for option in (part for part in parts if part.startswith("-")):
                assert re.search(rf"(^|\W){option}\b", done.stdout), f"{document.name}: mmtuna {words}: no {option}"


@pytest.mark.timeout(900)
def test_the_commands_of_the_readme_do_the_job_in_order(tmp_path: Path) -> None:
    """The README's page of use on phantom data, with the net made small and the study short by the spec alone."""
    commands = commands_in(README)
    assert [words.split()[0] for words in commands[:3]] == ["init", "check", "run"]
    made = mmtuna("data", "phantom", "path/to/data", "--subjects", 4, "--scans", 3, "--size", 64, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    for words in commands:
        if words.split()[0] in ("dashboard",) or "chiu2015" in words:
            continue  # serves until it is stopped, needs the Duke volumes: tests of their own do these
        done = mmtuna(*shlex.split(words), cwd=tmp_path, timeout=300)
        assert done.returncode == 0, f"mmtuna {words}\n{done.stdout}{done.stderr}"
        assert "Warning" not in done.stderr, f"mmtuna {words}\n{done.stderr}"
        if words.startswith("init"):
            spec = tmp_path / "my-study" / "study.toml"
            text = spec.read_text().replace('pretrained = "auto"', 'pretrained = "none"')
            text = text.replace("trials = 50", "trials = 2")
            small = "[train]\nbase_channels = 4\nsize_scale = 0.125\niteration_scale = 0.02\n"
            text = text.replace("trials_per_device = 1", "trials_per_device = 1\nthreads = 1")
            # Fewer combinations to try before trial 1: all are tried in tests/search/checking/test_probing.py.
            text = text.replace("drop = []", 'drop = ["decoder", "loss", "flip"]')
            spec.write_text(text.replace("[train]\n", small))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_exist(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (document.parent / target).exists(), f"{document.name}: {target}"


def test_makefile_targets_of_the_readme_exist() -> None:
    targets = re.findall(r"^make (\w+)", README, re.MULTILINE)
    assert targets == ["demo", "test"]
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True, env=ENVIRONMENT)
    assert sys.version_info >= (3, 11)
