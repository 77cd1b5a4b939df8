"""Files in S3 against a real server: whole or not at all, sent once, and every error by its cause."""

from __future__ import annotations

import builtins
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from optuna.artifacts.exceptions import ArtifactNotFound
from urllib3 import HTTPResponse

from spaces.errors import InputError
from spaces.files import write_whole
from studies import artifacts, object_store
from studies.file_list import FileList, StoredFile, is_safe
from studies.file_reading import open_files
from studies.object_store import Bucket, S3Error, client, patiently, prove
from studies.s3_artifacts import S3ArtifactStore
from studies.s3_location import parse_location
from studies.spec import StudySpec
from studies.trial_store import TrialFiles
from tests.ceph import CephServer
from tests.conftest import forget_client
from tests.s3 import KEY, SECRET, S3Server, Wire

NAME = "trials/00007"
FIRST = {"config.py": b"a = 1\n", "last.pth": b"weights 1" * 1000, "predictions/x.png": b"mask", "train.log": b"one\n"}
SECOND = FIRST | {"last.pth": b"weights 2" * 1000, "best.pth": b"best", "train.log": b"one\ntwo\n"}


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are not repeated by boto3, so that a cut connection is told at once. Comes before `location`."""
    monkeypatch.setattr(object_store, "_TRIES", 1)


@pytest.fixture
def files(location: str, tmp_path: Path) -> TrialFiles:
    return on_machine(location, tmp_path / "a")


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


# Sets of files


def test_what_one_machine_sends_another_fetches(files: TrialFiles, location: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "a" / NAME, FIRST | {".last.pth.123": b"half", ".hidden/x": b"no"})
    (folder / "link").symlink_to("/etc/passwd")
    other, there = on_machine(location, tmp_path / "b"), tmp_path / "b" / NAME
    assert not other.fetch(NAME, there)
    assert not there.exists()
    assert files.push(folder, NAME, 1)
    assert other.fetch(NAME, there)
    assert held(there) == FIRST

    write(folder, SECOND)
    assert files.push(folder, NAME, 1)
    assert other.fetch(NAME, there)
    assert held(there) == SECOND
    assert len(objects(location)) == len(SECOND)
    assert [path.name for path in there.parent.iterdir()] == [there.name]


def test_unchanged_files_are_sent_and_fetched_once(
    files: TrialFiles, location: str, tmp_path: Path, s3_server: S3Server
) -> None:
    lists = 2 if isinstance(s3_server, CephServer) else 1  # Ceph refuses the first
    wire, folder = Wire(client()), write(tmp_path / "a" / NAME, FIRST)
    files.push(folder, NAME, 1)
    assert len(wire.sent("PUT", "/objects/")) == len(FIRST)
    wire.mend()
    files.push(folder, NAME, 1)
    assert wire.sent("PUT") == []
    (folder / "last.pth").write_bytes(SECOND["last.pth"])
    files.push(folder, NAME, 1)
    assert (len(wire.sent("PUT", "/objects/")), len(wire.sent("PUT", "FILES.json"))) == (1, lists)
    wire.mend()

    # Another process, which remembers nothing, at the next attempt.
    other, there = on_machine(location, tmp_path / "b"), tmp_path / "b" / NAME
    other.fetch(NAME, there)
    (there / "train.log").write_bytes(b"one\ntwo\n")
    wire.mend()
    other.push(there, NAME, 2)
    assert (len(wire.sent("PUT", "/objects/")), len(wire.sent("PUT", "FILES.json"))) == (1, lists)
    wire.mend()
    assert other.fetch(NAME, there)
    assert wire.sent("GET", "/objects/") == []


def cut_short(files: TrialFiles, folder: Path, wire: Wire, after: int) -> bool:
    """Pushes over a connection that is cut after so many requests; whether that failed, as a passing error."""
    wire.cut(after)
    try:
        files.push(folder, NAME, 1)
    except S3Error as error:
        return error.passing and "does not answer when" in str(error)
    finally:
        wire.mend()
    return False


def test_a_push_cut_at_any_request_leaves_the_set_as_it_was(
    once: None, files: TrialFiles, location: str, tmp_path: Path
) -> None:
    wire, folder = Wire(client()), write(tmp_path / "a" / NAME, FIRST)
    files.push(folder, NAME, 1)
    write(folder, SECOND)
    cut = 0
    while cut_short(files, folder, wire, cut):
        there = tmp_path / f"reader-{cut}" / NAME
        on_machine(location, there.parents[1]).fetch(NAME, there)
        assert held(there) == FIRST
        assert files.unsent() == {NAME: 1}
        cut += 1
    assert cut == 4  # the list that was, three objects (what came through once is not sent again), the new list
    there = tmp_path / "reader" / NAME
    on_machine(location, there.parents[1]).fetch(NAME, there)
    assert held(there) == SECOND
    files.push(folder, NAME, 1)
    assert len(objects(location)) == len(SECOND)
    assert files.unsent() == {}


def test_a_fetch_cut_at_any_request_leaves_the_folder_as_it_was(
    once: None, files: TrialFiles, location: str, tmp_path: Path
) -> None:
    files.push(write(tmp_path / "a" / NAME, FIRST), NAME, 1)
    other, there, wire = on_machine(location, tmp_path / "b"), tmp_path / "b" / NAME, Wire(client())
    write(there, {"old": b"old"})
    for cut in range(1 + len(FIRST)):
        wire.cut(after=cut)
        with pytest.raises(S3Error, match="does not answer when reading"):
            other.fetch(NAME, there)
        assert held(there) == {"old": b"old"}
        assert [path.name for path in there.parent.iterdir()] == [there.name]
    wire.mend()
    assert other.fetch(NAME, there)
    assert held(there) == FIRST


def test_what_was_changed_in_the_bucket_is_not_used(files: TrialFiles, location: str, tmp_path: Path) -> None:
    files.push(write(tmp_path / "a" / NAME, FIRST), NAME, 1)
    other, there = on_machine(location, tmp_path / "b"), tmp_path / "b" / NAME
    write(there, {"old": b"old"})
    bucket = Bucket(parse_location(location))
    for key in objects(location):
        kept = bucket.get(key, 1 << 20)
        assert kept is not None
        for wrong in (kept[0][:-1] + b"!", kept[0][:-1], kept[0] + b"!"):
            bucket.put(key, io.BytesIO(wrong))
            with pytest.raises(S3Error, match="is not what was stored"):
                other.fetch(NAME, there)
        bucket.delete(key)
        with pytest.raises(S3Error, match="is not there though the list names it"):
            other.fetch(NAME, there)
        assert held(there) == {"old": b"old"}
        bucket.put(key, io.BytesIO(kept[0]))
    assert other.fetch(NAME, there)


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


def test_what_was_trained_here_since_stays(files: TrialFiles, location: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "a" / NAME, FIRST)
    files.push(folder, NAME, 1)
    (folder / "last.pth").write_bytes(b"newer")
    assert files.fetch(NAME, folder)
    assert (folder / "last.pth").read_bytes() == b"newer"

    other, there = on_machine(location, tmp_path / "b"), tmp_path / "b" / NAME
    other.fetch(NAME, there)
    (there / "last.pth").write_bytes(b"newer")
    assert other.fetch(NAME, there)
    assert (there / "last.pth").read_bytes() == b"newer"
    (there / "config.py").unlink()
    assert other.fetch(NAME, there)
    assert held(there) == FIRST


def test_checkpoints_are_forgotten_and_held_back(files: TrialFiles, location: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "a" / NAME, SECOND)
    files.push(folder, NAME, 1)
    (folder / "last.pth").write_bytes(b"never sent")
    (folder / "overlays").mkdir()
    (folder / "overlays" / "0.png").write_bytes(b"picture")
    files.push(folder, NAME, 1, hold_back=("last.pth", "best.pth"))
    reader = tmp_path / "b" / NAME
    other = on_machine(location, tmp_path / "b")
    other.fetch(NAME, reader, without=("last.pth", "best.pth"))
    assert held(reader) == {name: data for name, data in SECOND.items() if not name.endswith(".pth")} | {
        "overlays/0.png": b"picture"
    }
    other.fetch(NAME, reader)
    assert held(reader) == SECOND | {"overlays/0.png": b"picture"}

    files.forget(NAME, ("last.pth", "best.pth"))
    files.forget(NAME, ("last.pth",))
    files.forget("trials/00099", ("last.pth",))
    assert len(objects(location)) == len(SECOND) - 2 + 1
    other.fetch(NAME, reader)
    assert not (reader / "last.pth").exists()
    files.push(folder, NAME, 1, hold_back=("last.pth", "best.pth"))
    assert len(objects(location)) == len(SECOND) - 2 + 1


def unavailable(*_: Any) -> None:
    raise OSError("away")


def test_a_study_begun_anew_finds_nothing_of_the_old_one(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import optuna

    from studies.trial_store import begin, trial_files, trial_marks

    text = f'[study]\nname = "s"\nfolder = "{tmp_path}/a"\nartifacts = "{location}"\n'
    text += '[data]\nroot = "."\n[space]\npreset = "paper"\n'
    table = StudySpec.parse(text, tmp_path / "study.toml").study
    studies = [optuna.create_study() for _ in range(2)]
    assert trial_files(table, studies[0]) is None
    assert trial_marks(table, studies[0]) is None
    for study in studies:
        begin(study)
    begin(studies[0])
    old, new = (trial_files(table, study) for study in studies)
    assert old is not None
    assert new is not None
    folder, unsent = table.folder / NAME, "trials/00008"
    old.push(write(folder, FIRST), NAME, 3)
    write(table.folder / unsent, FIRST)
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "put", unavailable)
        with pytest.raises(OSError, match="away"):
            old.push(table.folder / unsent, unsent, 3)
    assert trial_files(table, studies[0]).holds(NAME)  # type: ignore[union-attr]
    assert old.unsent() == {unsent: 3}

    # Where the old one was trained nothing of it is sent, kept or gone on from.
    assert new.unsent() == {}
    assert not new.known(NAME)
    assert trial_marks(table, studies[1]).left_over(NAME)  # type: ignore[union-attr]
    assert not new.fetch(NAME, folder)
    assert not folder.exists()
    elsewhere = trial_files(table.model_copy(update={"folder": tmp_path / "b"}), studies[1])
    assert elsewhere is not None
    for name in (NAME, unsent):
        assert elsewhere.push(write(tmp_path / "b" / name, SECOND | {"config.py": b"new"}), name, 1)
        assert new.fetch(name, table.folder / name)
        assert held(table.folder / name) == SECOND | {"config.py": b"new"}
        assert new.known(name)
    assert old.unsent() == {}


def test_what_an_earlier_study_left_goes_even_where_s3_is_away(
    files: TrialFiles, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, place = write(tmp_path / "a" / NAME, FIRST), parse_location(location)
    files.push(folder, NAME, 1)
    new = TrialFiles(Bucket(place), place.key("s", "new"), tmp_path / "a")
    other = write(tmp_path / "a" / "trials/00008", FIRST)
    monkeypatch.setattr(Bucket, "get", unavailable)
    for name, kept in ((NAME, False), ("trials/00008", True)):  # nothing tells whose the second is
        with pytest.raises(OSError, match="away"):
            new.fetch(name, tmp_path / "a" / name)
        assert (tmp_path / "a" / name).exists() == kept
    assert held(other) == FIRST


def test_names_that_leave_the_folder_are_refused(files: TrialFiles, location: str, tmp_path: Path) -> None:
    found = parse_location(location)
    bucket, key = Bucket(found), found.key("s", "id", NAME, "FILES.json")
    for name in ("../x", "/etc/passwd", "a/../../x", "a//b", "", ".", "a/.b", "a\\b", "C:x", "a\x00b", "a/" * 9 + "b"):
        assert not is_safe(name)
        bucket.put(key, io.BytesIO(FileList(1, (StoredFile(name, 4, "0" * 64, 1),)).text()))
        with pytest.raises(S3Error, match="which is no file in the folder"):
            files.fetch(NAME, tmp_path / "a" / NAME)
        with pytest.raises(InputError, match="is no folder of a study"):
            files.fetch(name, tmp_path / "a" / NAME)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"attempt": 1, "files": [{}]}',
        '{"attempt": -1, "files": []}',
        '{"attempt": true, "files": []}',
        json.dumps({"attempt": 1, "files": [{"name": "a", "size": 1, "sha256": "../..", "attempt": 1}]}),
        json.dumps({"attempt": 1, "files": [{"name": "a", "size": 1.5, "sha256": "0" * 64, "attempt": 1}]}),
        json.dumps({"attempt": 1, "files": [{"name": "a", "size": 1, "sha256": "0" * 64, "attempt": "../1"}]}),
        json.dumps({"attempt": 1, "files": 2 * [{"name": "a", "size": 1, "sha256": "0" * 64, "attempt": 1}]}),
    ],
)
def test_a_damaged_list_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        FileList.parse(text.encode(), "")


def test_a_server_without_conditional_writes_serves_too(
    files: TrialFiles, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ClientError

    real = client().put_object

    def put_object(**what: Any) -> Any:
        if {"IfMatch", "IfNoneMatch"} & what.keys():
            raise ClientError({"Error": {"Code": "NotImplemented"}}, "PutObject")
        return real(**what)

    monkeypatch.setattr(client(), "put_object", put_object)
    folder = write(tmp_path / "a" / NAME, FIRST)
    assert files.push(folder, NAME, 1)
    assert files.push(write(folder, SECOND), NAME, 1)
    assert on_machine(location, tmp_path / "b").fetch(NAME, tmp_path / "b" / NAME)


def test_a_large_file_goes_in_parts(files: TrialFiles, location: str, tmp_path: Path) -> None:
    content = {"last.pth": os.urandom(9 << 20)}
    files.push(write(tmp_path / "a" / NAME, content), NAME, 1)
    on_machine(location, tmp_path / "b").fetch(NAME, tmp_path / "b" / NAME)
    assert held(tmp_path / "b" / NAME) == content


# The dashboard's artifacts

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
    monkeypatch.setattr(artifacts, "LARGEST", 4)
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


# Causes


def check_fails(location: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        prove(parse_location(location), "s")
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert SECRET not in message
    assert KEY not in message


def test_what_can_be_written_is_told_and_left_empty(location: str) -> None:
    prove(parse_location(location), "s")
    assert Bucket(parse_location(location)).keys("") == []


def test_a_bucket_that_is_not_there(location: str, s3_server: S3Server) -> None:
    check_fails("s3://no-such-bucket/x", f"there is no such bucket at {s3_server.url}; create it, or name another")
    with pytest.raises(S3Error, match="there is no such bucket"):
        list(Bucket(parse_location("s3://no-such-bucket")).chunks("x") or ())


def test_a_server_that_is_not_there(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "_TRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://user:{SECRET.replace('/', '')}@127.0.0.1:9")
    forget_client()
    with pytest.raises(S3Error) as caught:
        prove(parse_location(location), "s")
    assert "http://127.0.0.1:9 does not answer when writing (EndpointConnectionError); start it" in str(caught.value)
    assert caught.value.passing
    assert SECRET.replace("/", "") not in str(caught.value)


def test_no_credentials(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    forget_client()
    check_fails(location, "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use ~/.aws")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    forget_client()
    check_fails(location, "S3 is set up wrongly (PartialCredentialsError); check AWS_ACCESS_KEY_ID, AWS_PROFILE")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    forget_client()
    check_fails(location, "S3 is set up wrongly (ProfileNotFound); check AWS_ACCESS_KEY_ID, AWS_PROFILE and ~/.aws")


REFUSALS = [
    ("PutObject", "AccessDenied", "access denied when writing; the credentials in use need s3:GetObject, "),
    ("GetObject", "AccessDenied", "access denied when reading"),
    ("ListObjectsV2", "AccessDenied", "access denied when listing"),
    ("DeleteObject", "AccessDenied", "access denied when deleting"),
    ("PutObject", "InvalidAccessKeyId", "does not accept the credentials (InvalidAccessKeyId); renew them"),
    ("PutObject", "SignatureDoesNotMatch", "does not accept the credentials (SignatureDoesNotMatch)"),
    ("PutObject", "InternalError", "answers InternalError when writing"),
    ("PutObject", f"Odd {SECRET}", "ClientError when writing"),
]


def test_what_the_server_refuses(location: str) -> None:
    from botocore.exceptions import ClientError

    refused = ("", "")

    def refuse(model: Any, **_: Any) -> None:
        operation, code = refused
        error = {"Code": code, "Message": f"{KEY} {SECRET}", "AWSAccessKeyId": KEY, "StringToSign": SECRET}
        if model.name == operation:
            raise ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": 500}}, operation)

    client().meta.events.register("before-call.s3", refuse)
    for operation, code, expected in REFUSALS:
        refused = (operation, code)
        check_fails(location, expected)


def test_boto3_is_missing(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_boto3(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "boto3":
            raise ImportError(name)
        return real(name, *rest)

    forget_client()
    monkeypatch.setattr(builtins, "__import__", without_boto3)
    check_fails(location, "[study] artifacts: boto3 is not installed: pip install 'mmtuna[s3]'")


def test_no_url(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "localhost")
    forget_client()
    check_fails(location, "AWS_ENDPOINT_URL_S3 (or AWS_ENDPOINT_URL) is no URL; give one such as https://HOST")


def test_an_s3_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(object_store, "_FIRST_PAUSE", 0.01)
    answers: list[Any] = [S3Error("away", passing=True), S3Error("away", passing=True), "there"]

    def call() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert patiently(call, 60, threading.Event()) == "there"
    answers = [S3Error("denied"), "there"]
    with pytest.raises(S3Error, match="denied"):
        patiently(call, 60, threading.Event())
    answers = 100 * [S3Error("away", passing=True)]
    with pytest.raises(S3Error, match="away"):
        patiently(call, 0.05, threading.Event())
    monkeypatch.setattr(object_store, "STOPPING_SECONDS", 0.05)
    stop = threading.Event()
    stop.set()
    with pytest.raises(S3Error, match="away"):
        patiently(call, 60, stop)


# The spec


@pytest.mark.parametrize("text", ["s3://abc", "s3://a.b-c/x/y", "s3://abc/x/"])
def test_locations(spec_of: Callable[..., StudySpec], text: str) -> None:
    spec = spec_of(f'artifacts = "{text}"')
    assert spec.study.artifacts == text.rstrip("/")
    assert "artifacts" not in json.dumps(spec.describe())
    assert spec_of().study.artifacts is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bucket/prefix", "[study] artifacts is wrong: give s3://BUCKET or s3://BUCKET/PREFIX"),
        ("https://bucket.s3.amazonaws.com", "give s3://BUCKET"),
        ("s3://ab", "no bucket can be called 'ab': 3 to 63 lower-case letters"),
        ("s3://Upper", "no bucket can be called"),
        ("s3://a..b", "no bucket can be called"),
        ("s3://-abc", "no bucket can be called"),
        ("s3://192.168.0.1/x", "no bucket can be called"),
        ("s3://" + "a" * 64, "no bucket can be called"),
        ("s3://bucket/a//b", "the prefix 'a//b' is none"),
        ("s3://bucket/../b", "the prefix '../b' is none"),
        ("s3://bucket/a b", "the prefix 'a b' is none"),
        ("s3://bucket/" + "a" * 201, "up to 200 characters"),
        (f"s3://{KEY}:{SECRET}@bucket/x", "give s3://BUCKET or s3://BUCKET/PREFIX without host or credentials"),
        ("s3://host:9000/bucket", "AWS_ENDPOINT_URL_S3 names a server"),
    ],
)
def test_wrong_locations(spec_of: Callable[..., StudySpec], text: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        spec_of(f'artifacts = "{text}"')
    assert expected in str(caught.value)
    assert SECRET not in str(caught.value)
    assert KEY not in str(caught.value)
