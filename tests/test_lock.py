"""constraints.txt and locks/ pin what pyproject.toml asks for, all of it and nothing else, as it is installed here."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
STANDS_IN = {"opencv-python": "opencv-python-headless"}
"""What is installed in the place of what is asked for; the two would overwrite each other's files."""
INSTALLERS = {"pip", "setuptools"}
OF_TORCH = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
"""Comes with torch, from the index of its build, and stands in no lock."""


def entries(path: Path) -> dict[str, tuple[Requirement, list[str]]]:
    """Name -> (what is pinned, its hashes)."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    found = {}
    for line in text.splitlines():
        pinned, *hashes = line.split(" --hash=")
        requirement = Requirement(pinned)
        found[canonicalize_name(requirement.name)] = requirement, [one.strip() for one in hashes]
    return found


CONSTRAINTS = entries(ROOT / "constraints.txt")
LOCKS = {name: entries(ROOT / "locks" / f"{name}.txt") for name in ("core", *EXTRAS)}


def pinned_version(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    return specifier.version


def applies(requirement: Requirement, extras: Iterable[str] = ("",)) -> bool:
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)


def needed(dependencies: Iterable[str]) -> dict[str, list[Requirement]]:
    """Everything that `dependencies` bring on this machine, by name, with what is asked of it by whom."""
    asked: dict[str, list[Requirement]] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [Requirement(text) for text in dependencies]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        name = STANDS_IN.get(name, name)
        if OF_TORCH.fullmatch(name) and name != "torch":
            continue
        asked.setdefault(name, []).append(requirement)
        key = (name, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        further = [Requirement(text) for text in importlib.metadata.requires(name) or ()]
        todo += [
            one for one in further if applies(one, requirement.extras or ("",)) and not OF_TORCH.fullmatch(one.name)
        ]
    return asked


@pytest.mark.parametrize("extra", LOCKS)
def test_lock_holds_what_is_asked_for_and_nothing_else(extra: str) -> None:
    asked = needed([*PROJECT["dependencies"], *EXTRAS.get(extra, ())])
    locked = LOCKS["core"] | LOCKS[extra]
    asked.pop("torch")
    missing = set(asked) - set(locked)
    assert not missing, f"locks/{extra}.txt lacks {sorted(missing)}; run scripts/lock.py"
    here = {name for name, (requirement, _) in locked.items() if applies(requirement)}
    superfluous = here - set(asked) - INSTALLERS
    assert not superfluous, f"nothing asks for {sorted(superfluous)} of locks/{extra}.txt; run scripts/lock.py"
    for name, requirements in asked.items():
        version = pinned_version(locked[name][0])
        assert all(one.specifier.contains(version) for one in requirements), f"{name}: {version} is not {requirements}"


def test_lock_is_what_these_tests_run_with() -> None:
    pinned = {name: pinned_version(one) for name, (one, _) in CONSTRAINTS.items() if applies(one)}
    found = {name: importlib.metadata.version(name).split("+")[0] for name in pinned if name not in INSTALLERS}
    assert found == {name: version for name, version in pinned.items() if name not in INSTALLERS}


def test_locks_and_constraints_pin_the_same() -> None:
    locked = {name: str(requirement) for lock in LOCKS.values() for name, (requirement, _) in lock.items()}
    constrained = {name: str(requirement) for name, (requirement, _) in CONSTRAINTS.items()}
    assert constrained == locked | {"torch": constrained["torch"]}


def test_everything_that_is_locked_has_hashes() -> None:
    hashes = [(name, one) for lock in LOCKS.values() for name, (_, many) in lock.items() for one in many or ("none",)]
    assert not [entry for entry in hashes if not re.fullmatch("sha256:[0-9a-f]{64}", entry[1])]
    assert "opencv-python" not in CONSTRAINTS
