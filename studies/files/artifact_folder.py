"""Where the bytes of a study's artifacts lie in a folder: under ids only, limited in size, whole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO, Protocol

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import whole_file

FOLDER = "artifacts"
LARGEST = 16 << 20
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CHUNK = 1 << 20


class ArtifactFiles(Protocol):
    """Where the bytes of artifacts lie: in a folder or in S3. Optuna's interface, and whether one is there."""

    def holds(self, artifact_id: str) -> bool:
        """Whether the artifact's bytes are there."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The artifact's bytes; ArtifactNotFound where there are none."""

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keeps the bytes, whole or not at all; InputError beyond the largest size."""

    def remove(self, artifact_id: str) -> None:
        """Deletes the bytes."""


def is_id(text: str) -> bool:
    """Whether `text` can be an artifact's id: no other name is ever looked for."""
    return _ID.fullmatch(text) is not None


class WholeFileStore(FileSystemArtifactStore):
    """Optuna's store in a folder, with files that appear whole, are limited in size, and never lie elsewhere."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder

    def _path(self, artifact_id: str) -> Path:
        if not is_id(artifact_id):
            raise ArtifactNotFound(f"{artifact_id!r} is no artifact id")
        return self.folder / artifact_id

    def holds(self, artifact_id: str) -> bool:
        """Whether the artifact's bytes are here."""
        path = self._path(artifact_id)
        return path.is_file() and not path.is_symlink()

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The artifact's bytes; ArtifactNotFound for any other name, for a link and for what is not there."""
        if not self.holds(artifact_id):
            raise ArtifactNotFound(f"{artifact_id}: no such artifact")
        return self._path(artifact_id).open("rb")

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keeps the bytes under a temporary name until all are there; InputError beyond the largest size."""
        written = 0
        with whole_file(self._path(artifact_id)) as part, part.open("xb") as file:
            while chunk := content_body.read(_CHUNK):
                written += len(chunk)
                if written > LARGEST:
                    raise InputError(f"artifact {artifact_id} is larger than {LARGEST >> 20} MiB; attach less")
                file.write(chunk)

    def remove(self, artifact_id: str) -> None:
        """Deletes the bytes; one that is gone already is no error, or a study with a lost file could not be deleted."""
        self._path(artifact_id).unlink(missing_ok=True)


def artifact_store(folder: Path) -> WholeFileStore:
    """The store of a study's artifacts that lie in `artifacts/` of the study's `folder`."""
    return WholeFileStore(folder / FOLDER)
