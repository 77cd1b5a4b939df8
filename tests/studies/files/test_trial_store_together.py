"""Several processes that send the same trial's files, and what cut ones leave."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from urllib3 import HTTPResponse

from mmtuna.spaces.files import write_whole
from mmtuna.studies.files.bucket import Bucket, S3Error, client
from mmtuna.studies.files.reading import open_files
from mmtuna.studies.files.trial_store import TrialFiles
from mmtuna.studies.spec.s3_location import parse_location
from tests.studies.stored_files import FIRST, NAME, SECOND, held, objects, on_machine, write


def test_a_worker_that_lost_the_trial_is_refused(files: TrialFiles, location: str, tmp_path: Path) -> None:
    late = write(tmp_path / "a" / NAME, FIRST)
    files.push(late, NAME, 1)
    other, there = on_machine(location, tmp_path / "b"), tmp_path / "b" / NAME
    other.fetch(NAME, there)
    assert other.push(write(there, SECOND), NAME, 2)
    (late / "last.pth").write_bytes(b"late")
    assert not files.push(late, NAME, 1)
    reader = tmp_path / "c" / NAME
    on_machine(location, tmp_path / "c").fetch(NAME, reader)
    assert held(reader) == SECOND

    # Its folder is the older one now, and gives way where it takes the trial again.
    assert files.fetch(NAME, late)
    assert held(late) == SECOND


def test_a_list_that_came_between_reading_and_putting_is_not_covered(
    files: TrialFiles, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = write(tmp_path / "a" / NAME, FIRST)
    files.push(late, NAME, 1)
    other = on_machine(location, tmp_path / "b")
    there = write(tmp_path / "b" / NAME, SECOND)
    put = Bucket.put

    def put_then_lose_the_trial(self: Bucket, key: str, body: Any) -> None:
        put(self, key, body)
        monkeypatch.setattr(Bucket, "put", put)
        assert other.push(there, NAME, 2)

    (late / "last.pth").write_bytes(b"late")
    monkeypatch.setattr(Bucket, "put", put_then_lose_the_trial)
    assert not files.push(late, NAME, 1)
    reader = tmp_path / "c" / NAME
    on_machine(location, tmp_path / "c").fetch(NAME, reader)
    assert held(reader) == SECOND


def both_checkpoints(location: str, folder: Path) -> bool:
    """Whether the set can be fetched whole, and holds both checkpoints as `SECOND` has them."""
    on_machine(location, folder).fetch(NAME, folder / NAME)
    return {name: data for name, data in held(folder / NAME).items() if name.endswith(".pth")} == {
        name: data for name, data in SECOND.items() if name.endswith(".pth")
    }


@pytest.mark.parametrize("changed", [{}, {"train.log": b"one\ntwo\nthree\n"}])
def test_what_another_process_has_sent_and_not_listed_yet_is_not_swept(
    files: TrialFiles, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, bytes]
) -> None:
    """Of the same attempt: one worker trained it, another on its machine sends what the first could not."""
    checkpoints = ("last.pth", "best.pth")
    folder, put = write(tmp_path / "a" / NAME, SECOND), Bucket.put_over
    files.push(folder, NAME, 2, hold_back=checkpoints)
    other = on_machine(location, tmp_path / "a")

    def put_after_the_first_has_pushed(self: Bucket, *what: Any) -> bool:
        monkeypatch.setattr(Bucket, "put_over", put)
        write(folder, SECOND | changed)
        assert files.push(folder, NAME, 2, hold_back=checkpoints)
        assert len(objects(location)) == len(SECOND)  # what is no longer named goes, what the other sent stays
        return put(self, *what)

    monkeypatch.setattr(Bucket, "put_over", put_after_the_first_has_pushed)
    assert other.push(folder, NAME, 2)
    assert both_checkpoints(location, tmp_path / "b")
    assert len(objects(location)) == len(SECOND)


def test_what_another_process_has_deleted_is_sent_again(files: TrialFiles, location: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "a" / NAME, SECOND)
    files.push(folder, NAME, 1)
    on_machine(location, tmp_path / "a").forget(NAME, ("last.pth", "best.pth"))
    assert not both_checkpoints(location, tmp_path / "b")
    files.push(folder, NAME, 1)
    assert both_checkpoints(location, tmp_path / "b")


def test_what_cut_pushes_leave_is_deleted(
    files: TrialFiles, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the next push of the same process, and what a killed process left by the next attempt."""
    folder = write(tmp_path / "a" / NAME, FIRST)

    def cut(*_: Any) -> bool:
        raise S3Error("away", passing=True)

    def push_in_vain(line: bytes) -> None:
        write(folder, FIRST | {"train.log": line})
        with monkeypatch.context() as patch:
            patch.setattr(Bucket, "put_over", cut)
            with pytest.raises(S3Error, match="away"):
                files.push(folder, NAME, 1)

    push_in_vain(b"1")
    push_in_vain(b"2")
    assert files.push(write(folder, FIRST), NAME, 1)
    assert len(objects(location)) == len(FIRST)
    push_in_vain(b"3")
    files = on_machine(location, tmp_path / "a")
    assert files.push(write(folder, SECOND), NAME, 1)
    assert len(objects(location)) == len(SECOND) + 1
    assert files.push(folder, NAME, 2)
    assert len(objects(location)) == len(SECOND)


def test_an_evaluation_that_comes_while_files_are_sent_leaves_them_of_one_evaluation(
    files: TrialFiles, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, put = (
        write(tmp_path / "a" / NAME, {"best.pth": b"best 1", "config.py": b"", "last.pth": b"last 1"}),
        Bucket.put,
    )

    def put_while_training(self: Bucket, key: str, body: Any) -> None:
        monkeypatch.setattr(Bucket, "put", put)
        put(self, key, body)
        for name in ("best.pth", "last.pth"):
            write_whole(folder / name, f"{name[:4]} 2")

    monkeypatch.setattr(Bucket, "put", put_while_training)
    assert files.push(folder, NAME, 1, first=("last.pth", "best.pth"))
    reader = tmp_path / "b" / NAME
    on_machine(location, tmp_path / "b").fetch(NAME, reader)
    assert held(reader) == {"best.pth": b"best 1", "config.py": b"", "last.pth": b"last 1"}
    assert files.push(folder, NAME, 1, first=("last.pth", "best.pth"))
    on_machine(location, tmp_path / "b").fetch(NAME, reader)
    assert held(reader) == {"best.pth": b"best 2", "config.py": b"", "last.pth": b"last 2"}


def test_a_file_that_is_opened_first_is_not_newer_than_the_next(tmp_path: Path) -> None:
    for name in ("best.pth", "config.py", "last.pth"):
        (tmp_path / name).write_text(f"{name[:4]} 1")
    (tmp_path / "link.pth").symlink_to(tmp_path / "best.pth")
    first = ("last.pth", "no.pth", "link.pth", "config.py")
    assert [name for name, _ in open_files(tmp_path, first, ())] == ["last.pth", "config.py", "best.pth"]
    found = {}
    for name, file in open_files(tmp_path, ("last.pth",), ("config.py",)):
        found[name] = file.read()
        for written in ("best.pth", "last.pth"):
            write_whole(tmp_path / written, f"{written[:4]} 2")
    assert found == {"last.pth": b"last 1", "best.pth": b"best 2"}


def test_a_server_that_compares_etags_without_their_quotes(files: TrialFiles, location: str, tmp_path: Path) -> None:
    """As Ceph 16 does."""

    def compare(request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        etag = request.headers.get("If-Match", b"").decode()
        if not etag.startswith('"'):
            return None
        body = io.BytesIO(b"<Error><Code>PreconditionFailed</Code></Error>")
        return AWSResponse(request.url, 412, {}, HTTPResponse(body, preload_content=False))

    client().meta.events.register("before-send.s3", compare)
    bucket, key = Bucket(parse_location(location)), "some/where/key"
    assert bucket.put_over(key, b"1", None)
    _, first = bucket.get(key, 10) or (b"", "")
    assert bucket.put_over(key, b"2", first)
    assert not bucket.put_over(key, b"3", first)
    assert not bucket.put_over("some/where/none", b"3", first)
    assert (bucket.get(key, 10) or (b"", ""))[0] == b"2"

    folder = write(tmp_path / "a" / NAME, FIRST)
    assert files.push(folder, NAME, 1)
    assert files.push(write(folder, SECOND), NAME, 1)
    assert on_machine(location, tmp_path / "b").fetch(NAME, tmp_path / "b" / NAME)
    assert held(tmp_path / "b" / NAME) == SECOND
