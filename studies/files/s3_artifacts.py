"""The artifacts of a study in S3, with the rules of the store in a folder: ids only, limited in size, whole."""

from __future__ import annotations

import io
import threading
from typing import BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound

from mmtuna.spaces.errors import InputError
from mmtuna.studies.files import artifact_folder
from mmtuna.studies.files.bucket import Bucket
from mmtuna.studies.spec.s3_location import Location

_ASKED_SINGLY = 16
"""So many unknown artifacts are asked for one by one before all are listed, 1,000 a request."""


class S3ArtifactStore:
    """Optuna's artifact store at `PREFIX/NAME/artifacts/ID`; S3Error where S3 cannot be reached or refuses."""

    def __init__(self, location: Location, name: str) -> None:
        self._bucket = Bucket(location)
        self._folder = location.key(name, artifact_folder.FOLDER)
        self._mutex = threading.Lock()
        self._known: set[str] = set()
        self._asked = 0

    def _key(self, artifact_id: str) -> str:
        if not artifact_folder.is_id(artifact_id):
            raise ArtifactNotFound(f"{artifact_id!r} is no artifact id")
        return f"{self._folder}/{artifact_id}"

    def holds(self, artifact_id: str) -> bool:
        """Whether the artifact's bytes are there, or were when this process last saw them."""
        key = self._key(artifact_id)
        with self._mutex:
            if key in self._known:
                return True
            self._asked += 1
            if self._asked == _ASKED_SINGLY:
                self._known |= set(self._bucket.keys(f"{self._folder}/"))
        if key in self._known or self._bucket.holds(key):
            self._known.add(key)
            return True
        return False

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The artifact's bytes; ArtifactNotFound for any other name, and for what is not there or is too large."""
        # Read whole before the first byte is passed on: whoever asked gets all of it, or an error.
        found = self._bucket.get(self._key(artifact_id), artifact_folder.LARGEST)
        if found is None:
            raise ArtifactNotFound(f"{artifact_id}: no such artifact")
        return io.BytesIO(found[0])

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keeps the bytes; InputError beyond the largest size, and then nothing is sent."""
        key, content = self._key(artifact_id), content_body.read(artifact_folder.LARGEST + 1)
        if len(content) > artifact_folder.LARGEST:
            raise InputError(f"artifact {artifact_id} is larger than {artifact_folder.LARGEST >> 20} MiB; attach less")
        self._bucket.put(key, io.BytesIO(content))
        self._known.add(key)

    def remove(self, artifact_id: str) -> None:
        """Deletes the bytes; one that is gone already is no error."""
        key = self._key(artifact_id)
        self._bucket.delete(key)
        self._known.discard(key)
