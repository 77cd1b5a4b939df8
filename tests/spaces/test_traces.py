"""What a killed process left is cleared by the next; a living one's is not, nor anything without its mark."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mmtuna.spaces.files import remove_unfinished, whole_folder, write_whole
from mmtuna.spaces.traces import clear_dead, marked, scratch_folder

HOLDS = """
import sys, tempfile, time
from pathlib import Path
from mmtuna.spaces.files import whole_file, whole_folder
from mmtuna.spaces.traces import scratch_folder
tempfile.tempdir = here = sys.argv[1]
file, folder = whole_file(Path(here, "report.html")), whole_folder(Path(here, "bundle"))
with scratch_folder() as scratch, file as one, folder as two:
    for path in (scratch / "socket", one, two / "part"):
        path.write_text("")
    print("ready", flush=True)
    time.sleep(60)
"""
OTHERS = ("mmtuna-notes", "mmtuna-1a2b3c-12345-ff.aabbcc", ".report.html.swp", ".hidden-1-2.3")


@pytest.fixture
def holding(tmp_path: Path) -> subprocess.Popen[str]:
    """A process in the middle of its writing, in a folder in which other people's files lie."""
    for name in OTHERS:
        (tmp_path / name).write_text("")
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_what_is_left_goes_once_its_process_is_dead(
    holding: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    inside = set(os.listdir(tmp_path))
    with scratch_folder():
        clear_dead(tmp_path)
        remove_unfinished(tmp_path, older_than=1e-9)
    hidden = {".report.html.swp", ".hidden-1-2.3"}  # without a mark their age alone counts
    assert set(os.listdir(tmp_path)) == inside - hidden
    assert len(inside) == len(OTHERS) + 3

    holding.send_signal(signal.SIGKILL)  # a zombie is dead too
    assert os.waitid(os.P_PID, holding.pid, os.WEXITED | os.WNOWAIT) is not None
    with scratch_folder():
        pass
    clear_dead(tmp_path)
    assert set(os.listdir(tmp_path)) == set(OTHERS) - hidden
    holding.communicate()


def test_whoever_writes_in_a_folder_clears_it(holding: subprocess.Popen[str], tmp_path: Path) -> None:
    holding.kill()
    holding.communicate()
    write_whole(tmp_path / "report.html", "")
    with whole_folder(tmp_path / "bundle"):
        pass
    assert {name for name in os.listdir(tmp_path) if name.startswith(".")} == {".report.html.swp", ".hidden-1-2.3"}


def test_a_name_whose_number_another_process_has_by_now_is_of_the_dead(tmp_path: Path) -> None:
    machine, pid, _ = marked("").split("-")
    (tmp_path / f".x.{machine}-{pid}-1.abcdef").mkdir()
    (tmp_path / marked(".x.")).mkdir()
    clear_dead(tmp_path)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(f".x.{machine}-{pid}-")
    assert not left.name.endswith("-1.abcdef")


def test_scratch_folders_go_at_the_end_of_the_process_and_have_room_for_sockets(tmp_path: Path) -> None:
    far = tmp_path / ("deep" * 30)
    far.mkdir()
    code = "from mmtuna.spaces.traces import scratch_folder\n"
    code += "one, two = scratch_folder(), scratch_folder(for_sockets=True)\n"
    code += "print(one.__enter__(), two.__enter__(), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(far)}, capture_output=True, text=True, check=True
    )
    one, two = map(Path, done.stdout.split())
    assert one.parent == far
    assert len(os.fsencode(two)) + 32 < 104
    assert not one.exists()
    assert not two.exists()
