"""Files and folders that appear whole or not at all, also where several write the same one."""

from __future__ import annotations

import errno
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import (
    remove_unfinished,
    require_new_folder,
    whole_file,
    whole_folder,
    write_json_whole,
    write_whole,
)


def half_way(path: Path) -> None:
    path.write_text("half")
    raise RuntimeError("half way")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "sub/file.txt", "old\n")
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "sub/file.txt", "new \ud800")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json_whole(tmp_path / "sub/file.txt", float("nan"))
    with pytest.raises(RuntimeError, match="half way"), whole_file(tmp_path / "sub/file.txt") as part:
        half_way(part)
    assert (tmp_path / "sub/file.txt").read_text() == "old\n"
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["file.txt"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half way"), whole_folder(tmp_path / "out") as part:
        half_way(part / "one")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    with whole_folder(tmp_path / "out") as part:
        (part / "one").write_text("1")
        assert not (tmp_path / "out/one").exists()
    assert (tmp_path / "out/one").read_text() == "1"
    with pytest.raises(InputError, match=r"out: exists and is not an empty folder"):
        require_new_folder(tmp_path / "out")
    require_new_folder(tmp_path / "later/out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(InputError, match=r"out: exists and is not an empty folder"), whole_folder(tmp_path / "out"):
        pass


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("sub", "sub: is a folder and should be a file; name a file, such as "),
        ("file/x", "x: cannot be written (TMP/file is a file); name a place in a folder that can be written"),
        ("file/x/y", "y: cannot be written (TMP/file is a file); name a place in a folder that can be written"),
        ("/proc/zz", "/proc/zz: cannot be written (No such file or directory); name a place in a folder"),
        ("/proc/zz/x", "/proc/zz/x: cannot be written (No such file or directory); name a place in a folder"),
        ("n" * 250, "n: cannot be written (File name too long); name a place in a folder"),
        ("n" * 300, "n: cannot be written (File name too long); name a place in a folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, place: str, said: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "file").write_text("")
    said = re.escape(said.replace("TMP", str(tmp_path)))
    with pytest.raises(InputError, match=said):
        write_whole(tmp_path / place, "text")
    with pytest.raises(OSError, match=said):  # for who goes on without the file
        write_whole(tmp_path / place, "text")
    if place != "sub":
        with pytest.raises(InputError, match=said), whole_folder(tmp_path / place):
            pass
        with pytest.raises(InputError, match=said):
            require_new_folder(tmp_path / place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "sub"]


def test_what_else_a_writer_opens_and_a_full_disk_stay_the_systems_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "out"):
        (tmp_path / "another").read_text()
    with pytest.raises(OSError, match="No space left"), whole_file(tmp_path / "out") as part:
        raise OSError(errno.ENOSPC, "No space left", str(part))


def test_a_folder_is_replaced_whole_or_stays(tmp_path: Path) -> None:
    write_whole(tmp_path / "out/old", "old")
    with pytest.raises(RuntimeError, match="half way"), whole_folder(tmp_path / "out", replace=True) as part:
        half_way(part / "new")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "old"]
    with whole_folder(tmp_path / "out", replace=True) as part:
        (part / "new").write_text("new")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "new"]


def test_of_several_that_replace_a_folder_one_comes_last_and_is_whole(tmp_path: Path) -> None:
    names = [f"{number}.txt" for number in range(20)]

    def fill(writer: int) -> None:
        for _ in range(25):
            with whole_folder(tmp_path / "out", replace=True) as part:
                for name in names:
                    (part / name).write_text(str(writer))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, range(4)))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    assert len({(tmp_path / "out" / name).read_text() for name in names}) == 1


def test_a_writer_goes_on_though_what_stood_in_its_way_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_the_way = [OSError(errno.ENOTEMPTY, "Directory not empty")]
    rename = os.rename

    def renamed(source: Path, target: Path) -> None:
        if target == tmp_path / "out" and in_the_way:
            raise in_the_way.pop()
        rename(source, target)

    monkeypatch.setattr(os, "rename", renamed)
    with whole_folder(tmp_path / "out", replace=True) as part:
        (part / "new").write_text("new")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "new"]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "last.pth", "whole")
    write_whole(tmp_path / ".last.pth.0123456789ab", "half")
    write_whole(tmp_path / ".predictions.0123456789ab/a.png", "half")
    (tmp_path / "linked").mkdir()
    (tmp_path / ".link").symlink_to(tmp_path / "linked")
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pth", "linked"]
