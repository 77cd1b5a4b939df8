"""Sets of files for the tests of what is kept in S3."""

from __future__ import annotations

from pathlib import Path

from mmtuna.studies.files.bucket import Bucket
from mmtuna.studies.files.trial_store import TrialFiles
from mmtuna.studies.spec.s3_location import parse_location

NAME = "trials/00007"
FIRST = {"config.py": b"a = 1\n", "last.pth": b"weights 1" * 1000, "predictions/x.png": b"mask", "train.log": b"one\n"}
SECOND = FIRST | {"last.pth": b"weights 2" * 1000, "best.pth": b"best", "train.log": b"one\ntwo\n"}


def on_machine(location: str, folder: Path) -> TrialFiles:
    """The trials' files as a process on a machine with the study's folder `folder` has them."""
    found = parse_location(location)
    return TrialFiles(Bucket(found), found.key("s", "id"), folder)


def write(folder: Path, content: dict[str, bytes]) -> Path:
    """Makes `folder` hold exactly `content`."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        path.unlink()
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def held(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def objects(location: str) -> list[str]:
    found = parse_location(location)
    return Bucket(found).keys(found.key("s", "id", NAME, "objects", ""))
