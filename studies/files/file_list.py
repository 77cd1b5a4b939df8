"""What a set of files is: the list that names them, the folder that holds them, and which set a folder holds."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import write_json_whole

MARKS = ".s3"
_PART = re.compile(r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,199}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_PARTS = 8


def is_safe(name: str) -> bool:
    """Whether `name` is relative, stays in its folder on every system, and is not hidden."""
    parts = name.split("/")
    return len(parts) <= _MOST_PARTS and all(_PART.fullmatch(part) and ":" not in part for part in parts)


@dataclass(frozen=True)
class StoredFile:
    """A file of a set: its name relative to the set's folder, its bytes, and the attempt that sent them."""

    name: str
    size: int
    sha256: str
    attempt: int

    @property
    def object(self) -> str:
        """The name of the object that holds the bytes."""
        return f"{self.attempt}-{self.sha256}"


@dataclass(frozen=True)
class FileList:
    """A set of files, by name, as `attempt` at its trial left it. `etag` is S3's mark of the list that was read."""

    attempt: int
    files: tuple[StoredFile, ...]
    etag: str = field(default="", compare=False)

    def text(self) -> bytes:
        """The list as JSON, the same bytes for the same set."""
        return json.dumps({"attempt": self.attempt, "files": [asdict(file) for file in self.files]}, indent=1).encode()

    def digest(self) -> str:
        """Names this very set."""
        return hashlib.sha256(self.text()).hexdigest()

    @classmethod
    def parse(cls, text: bytes, etag: str) -> FileList:
        """The list in `text`; InputError where it is none, or a name in it leads out of the folder."""
        try:
            found: dict[str, Any] = json.loads(text)
            files = tuple(StoredFile(**entry) for entry in found["files"])
            attempt = found["attempt"]
        except (ValueError, KeyError, TypeError):
            raise InputError("is no list of files") from None
        for file in files:
            if not isinstance(file.name, str) or not is_safe(file.name):
                raise InputError(f"names {str(file.name)[:80]!r}, which is no file in the folder")
            if not _DIGEST.fullmatch(str(file.sha256)) or not all(map(_is_count, (file.size, file.attempt))):
                raise InputError(f"has a wrong entry for {file.name}")
        if not _is_count(attempt) or len({file.name for file in files}) < len(files):
            raise InputError("is no list of files")
        return cls(attempt, files, etag)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


class Marks:
    """Which set each folder of a study holds on this machine, in small files in `.s3/` of the study's folder.

    `study` is the study's ID. Marks of another one, from before a folder belonged to one study, tell nothing.
    """

    def __init__(self, folder: Path, study: str) -> None:
        self._folder, self._study = folder / MARKS, study

    def trained(self, name: str, attempt: int) -> None:
        """The folder's files are of `attempt`, which was trained here, and were not sent yet."""
        self._write(name, {"name": name, "trained": attempt, "sent": False})

    def sent(self, name: str, attempt: int) -> None:
        """They were."""
        self._write(name, {"name": name, "trained": attempt, "sent": True})

    def fetched(self, name: str, found: FileList, without: Collection[str]) -> None:
        """The folder's files were fetched, but for those `without`."""
        self._write(name, {"name": name, "fetched": found.digest(), "without": sorted(without)})

    def known(self, name: str) -> bool:
        """Whether the folder's files were trained or fetched here for this very study."""
        return bool(self._mark(self._path(name)))

    def unsent(self) -> dict[str, int]:
        """The sets whose files were trained here and never sent whole, with the attempt that they are of."""
        marks = [self._mark(path) for path in sorted(self._folder.glob("[!.]*.json"))]
        return {mark["name"]: int(mark["trained"]) for mark in marks if not mark.get("sent", True)}

    def holds(self, name: str, folder: Path, found: FileList, without: Collection[str]) -> bool:
        """Whether `folder` holds the set `found` but for the files `without`, or a newer one that was trained here."""
        mark = self._mark(self._path(name))
        if "trained" in mark:
            current = int(mark["trained"]) >= found.attempt
        else:
            # Trained on since it was fetched it is newer than the set, and better kept.
            current = mark.get("fetched") == found.digest() and set(mark.get("without", ())) <= set(without)
        return current and all((folder / file.name).is_file() for file in found.files if file.name not in without)

    def _path(self, name: str) -> Path:
        return self._folder / (name.replace("/", "-") + ".json")

    def _mark(self, path: Path) -> dict[str, Any]:
        mark = _read(path)
        return mark if mark.get("study") == self._study else {}

    def _write(self, name: str, mark: dict[str, Any]) -> None:
        write_json_whole(self._path(name), {"study": self._study, **mark})


def _read(path: Path) -> dict[str, Any]:
    try:
        mark = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return mark if isinstance(mark, dict) else {}
