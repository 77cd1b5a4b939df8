"""Trials' files in S3 against a real server: whole or not at all, sent once, fetched once."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from mmtuna.studies.files.bucket import Bucket, S3Error, client
from mmtuna.studies.files.trial_store import TrialFiles
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.s3_location import parse_location
from tests.ceph import CephServer
from tests.s3 import S3Server, Wire
from tests.studies.stored_files import FIRST, NAME, SECOND, held, objects, on_machine, write


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


def test_a_forgetting_that_was_cut_short_is_made_good(
    once: None, files: TrialFiles, location: str, tmp_path: Path
) -> None:
    files.push(write(tmp_path / "a" / NAME, SECOND), NAME, 1)
    wire = Wire(client())
    wire.cut(2)  # the list is read and put
    with pytest.raises(S3Error, match="does not answer when"):
        files.forget(NAME, ("last.pth", "best.pth"))
    wire.mend()
    assert len(objects(location)) == len(SECOND)
    files.forget(NAME, ("last.pth", "best.pth"))
    assert len(objects(location)) == len(SECOND) - 2


def unavailable(*_: Any) -> None:
    raise OSError("away")


def test_a_study_begun_anew_finds_nothing_of_the_old_one(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import optuna

    from mmtuna.studies.files.trial_store import begin, trial_files

    text = f'[study]\nname = "s"\nfolder = "{tmp_path}/a"\nartifacts = "{location}"\n'
    text += '[data]\nroot = "."\n[space]\npreset = "paper"\n'
    table = StudySpec.parse(text, tmp_path / "study.toml").study
    studies = [optuna.create_study() for _ in range(2)]
    assert trial_files(table, studies[0]) is None
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

    # Nothing of the old one is found or sent.
    assert new.unsent() == {}
    assert not new.known(NAME)
    assert not new.fetch(NAME, tmp_path / "b" / NAME)
    assert not new.holds(NAME)
    assert (folder / "config.py").is_file()
