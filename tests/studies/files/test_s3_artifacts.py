"""The dashboard's artifacts in S3 keep the rules of those in a folder."""

from __future__ import annotations

import io

import pytest
from optuna.artifacts.exceptions import ArtifactNotFound

from mmtuna.spaces.errors import InputError
from mmtuna.studies.files import artifact_folder
from mmtuna.studies.files.bucket import client
from mmtuna.studies.files.s3_artifacts import S3ArtifactStore
from mmtuna.studies.spec.s3_location import parse_location
from tests.s3 import Wire

ID = "3f6c1c1e-0000-4000-8000-00000000000{}"


def test_artifacts_keep_the_rules_of_the_folder(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = S3ArtifactStore(parse_location(location), "s")
    assert not store.holds(ID.format(0))
    store.write(ID.format(0), io.BytesIO(b"bytes"))
    assert store.holds(ID.format(0))
    assert store.open_reader(ID.format(0)).read() == b"bytes"
    for wrong in ("../x", "", "FILES.json", ID):
        for use in (store.holds, store.open_reader, store.remove):
            with pytest.raises(ArtifactNotFound):
                use(wrong)
    monkeypatch.setattr(artifact_folder, "LARGEST", 4)
    with pytest.raises(InputError, match="larger than"):
        store.write(ID.format(1), io.BytesIO(b"bytes"))
    assert not store.holds(ID.format(1))
    with pytest.raises(ArtifactNotFound):
        store.open_reader(ID.format(0))
    store.remove(ID.format(0))
    store.remove(ID.format(0))
    with pytest.raises(ArtifactNotFound):
        store.open_reader(ID.format(0))
    assert not store.holds(ID.format(0))


def test_many_artifacts_are_looked_for_in_few_requests(location: str) -> None:
    store, name = S3ArtifactStore(parse_location(location), "s"), "3f6c1c1e-0000-4000-8000-{:012d}"
    for number in range(60):
        store.write(name.format(number), io.BytesIO(b"x"))
    fresh, wire = S3ArtifactStore(parse_location(location), "s"), Wire(client())
    for _ in range(2):
        assert all(fresh.holds(name.format(number)) for number in range(60))
    assert len(wire.requests) <= 20
