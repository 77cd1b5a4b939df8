"""Everything that can be known to fail before trial 1: named in one line each, and the disk as it was."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmtuna.search.checking.preparing import reopen
from mmtuna.studies.fingerprints import as_kept, difference
from mmtuna.studies.spec import StudySpec
from tests.folders import tree
from tests.search.conftest import ENVIRONMENT, mmtuna, write_study

WriteSpec = Callable[..., Path]


@pytest.fixture
def data(tmp_path: Path, phantom: Path) -> Path:
    """A copy of the phantom to spoil."""
    return Path(shutil.copytree(phantom, tmp_path / "data"))


def refused(spec: Path, *, command: str = "run") -> list[str]:
    """Runs the command on a spec, which must be refused with status 2 and change nothing; returns its lines."""
    before = tree(spec.parent)
    done = mmtuna(command, spec)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert tree(spec.parent) == before
    lines = done.stderr.splitlines()
    assert lines
    assert all(line.startswith("mmtuna: ") for line in lines)
    return [line.removeprefix("mmtuna: ") for line in lines]


def test_opencv_that_does_not_load_is_told_with_the_way_out(write_spec: WriteSpec, tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "cv2.py"  # what opencv-python is where libGL is missing
    broken.parent.mkdir()
    broken.write_text("raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')\n")
    path = os.pathsep.join(filter(None, (str(broken.parent), os.environ.get("PYTHONPATH"))))
    # What another test has found out about the same nets is not known here.
    own = {"PYTHONPATH": path, "MMTUNA_CACHE": str(tmp_path / "cache")}
    done = mmtuna("check", write_spec(), env=ENVIRONMENT | own)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert "libGL.so.1: cannot open shared object file" in line
    assert "pip install --force-reinstall --no-deps opencv-python-headless" in line


def spoil_missing_mask(data: Path) -> None:
    (data / "masks" / "img_3.png").unlink()


def spoil_cut_image(data: Path) -> None:
    path = data / "images" / "img_3.png"
    path.write_bytes(path.read_bytes()[:-100])


def spoil_empty_file(data: Path) -> None:
    (data / "images" / "img_3.png").write_bytes(b"")


def spoil_mask_value(data: Path) -> None:
    mask = np.array(Image.open(data / "masks" / "img_3.png"))
    mask[0, 0] = 7
    Image.fromarray(mask).save(data / "masks" / "img_3.png")


def spoil_size(data: Path) -> None:
    Image.new("L", (32, 64)).save(data / "masks" / "img_3.png")


def spoil_stray_mask(data: Path) -> None:
    shutil.copy(data / "masks" / "img_3.png", data / "masks" / "img_99.png")


def spoil_empty_class(data: Path) -> None:
    for path in (data / "masks").iterdir():
        Image.new("L", (64, 64)).save(path)


def spoil_overlap(data: Path) -> None:
    train = (data / "splits" / "train.txt").read_text().split()
    with (data / "splits" / "val.txt").open("a") as file:
        file.write(train[0] + "\n")


def spoil_list(data: Path) -> None:
    with (data / "splits" / "val.txt").open("a") as file:
        file.write("img_77\n")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_missing_mask, "masks/img_3.png: "),
        (spoil_cut_image, "images/img_3.png: "),
        (spoil_empty_file, "images/img_3.png: "),
        (spoil_mask_value, "masks/img_3.png: holds 7, but only 0 to 1 and 255 (ignored) mean something"),
        (spoil_size, "masks/img_3.png: "),
        (spoil_stray_mask, "masks/img_99.png: mask without an image"),
        (spoil_empty_class, "class 1 (fluid)"),
        (spoil_overlap, "both"),
        (spoil_list, "img_77"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_bad_data_is_named(write_spec: WriteSpec, data: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(data)
    lines = refused(write_spec(root=data))
    assert any(said in line for line in lines), lines


def test_everything_wrong_is_listed_at_once(write_spec: WriteSpec, data: Path) -> None:
    spoil_missing_mask(data)
    (data / "images" / "img_5.png").write_bytes(b"not an image")
    spoil_overlap(data)
    spec = write_spec(root=data, train="crop = 40", model='base = "unet"')
    lines = refused(spec, command="check")
    for said in ("img_3.png", "img_5.png", "both", "crop = 40: the UNet halves"):
        assert any(said in line for line in lines), (said, lines)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"train": "crop = 40"}, "crop = 40: the UNet halves its input four times and takes multiples of 16; take 32"),
        ({"train": "rotaton = 5"}, "study.toml: [train]: rotaton is no setting; did you mean rotation?"),
        ({"train": "rotation = 500"}, "rotation = 500 is not allowed; it takes a whole number from 0 to 180"),
        ({"train": '"model.backbone.chanels" = 5'}, "no key model.backbone.chanels"),
        ({"train": '"model.decode_head.num_classes" = 5'}, "num_classes is set by mmtuna; use [data] classes in"),
        ({"study": 'sampler = "magic"'}, "sampler"),
        ({"study": 'metric = "IoU.vessel"'}, '[study] metric = "IoU.vessel" is unknown'),
        ({"study": 'storage = "mysql://u:secret@h/d"'}, "storage mysql://u:***@h/d is no database mmtuna knows"),
        ({"space": "drop = ['crop']"}, "without a preset"),
        (
            {"study": 'sampler = "grid"'},
            '[study] sampler = "grid": the space is continuous or beyond 100,000 cells; take',
        ),
        (
            {"train": 'precision = "fp16"'},
            '[train] precision = "fp16": mixed precision needs a GPU and trials would train on the CPU; set [train]',
        ),
        (
            {"space": '[space.params.precision]\nchoices = ["fp32", "bf16"]'},
            "[space.params.precision]: mixed precision needs a GPU",
        ),
        ({"train": "amp = true"}, "[train] amp = true: mixed precision needs a GPU and trials would train on the CPU"),
        ({"space": "[space.params.amp]\nchoices = [false, true]"}, "[space.params.amp]: mixed precision needs a GPU"),
        ({"resources": "deadline = 0.0"}, "[resources] deadline = 0.0"),
        (
            {"train": "lr_sgd = 0.1"},
            "[train] lr_sgd = 0.1 changes no trial: it needs optimizer = SGD, and optimizer is",
        ),
        (
            {"train": 'initial_weights = "pretrained"'},
            "[train] initial_weights = 'pretrained' and [model] pretrained = 'none' contradict each other",
        ),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) else "",
)
def test_bad_specs_are_named(write_spec: WriteSpec, tables: dict[str, str], said: str) -> None:
    (line,) = refused(write_spec(**tables))
    assert said in line


@pytest.mark.parametrize(
    ("pretrained", "said"),
    [
        ("./missing.pth", "missing.pth: no such file; set [model] pretrained to a local file, another URL, or 'none'"),
        ("./cut-0123abcd.pth", "the file was cut or changed"),
        ("./text.pth", "cannot be loaded as plain weights"),
        ("http://127.0.0.1:9/w.pth", "cannot be fetched"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(write_spec: WriteSpec, pretrained: str, said: str) -> None:
    spec = write_spec()
    spec.write_text(spec.read_text().replace('pretrained = "none"', f'pretrained = "{pretrained}"'))
    for name in ("cut-0123abcd.pth", "text.pth"):
        (spec.parent / name).write_bytes(b"these are no weights")
    (line,) = refused(spec)
    assert said in line


def test_weights_that_no_trial_starts_from_are_refused(write_spec: WriteSpec) -> None:
    spec = write_spec(train='initial_weights = "none"')
    spec.write_text(spec.read_text().replace('pretrained = "none"', 'pretrained = "./w.pth"'))
    (line,) = refused(spec)
    assert "w.pth' starts no trial: initial_weights is 'none' in all; remove one of the two" in line


def test_start_weights_are_known_by_their_bytes(write_spec: WriteSpec, tmp_path: Path) -> None:
    def fingerprints(folder: str, content: bytes) -> dict[str, str]:
        file = tmp_path / folder / "iter_400.pth"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        spec = write_spec()
        spec.write_text(spec.read_text().replace('pretrained = "none"', f'pretrained = "{file}"'))
        found: dict[str, str] = reopen(StudySpec.load(spec)).fingerprints()["weights"]
        return found

    first = fingerprints("here", b"one")
    assert first == {"fcn": "iter_400.pth", "fcn.sha256": hashlib.sha256(b"one").hexdigest()}
    assert fingerprints("there", b"one") == first
    assert fingerprints("here", b"two") != first


def test_whose_images_are_whose_is_part_of_a_study_that_is_told_apart_by_it(write_spec: WriteSpec, data: Path) -> None:
    def fingerprints(metric: str) -> dict[str, Any]:
        spec = write_spec(root=data, data='subjects = "subjects.csv"', study=f'metric = "{metric}"')
        found: dict[str, Any] = reopen(StudySpec.load(spec)).fingerprints()
        return found

    by_subject, pooled = fingerprints("IoU_per_subject"), fingerprints("mIoU")
    head, *rows = (data / "subjects.csv").read_text().splitlines()
    names = [row.split(",")[0] for row in rows]
    (data / "subjects.csv").write_text("\n".join([head, *(f"{name},{at % 3},0" for at, name in enumerate(names))]))
    now = fingerprints("IoU_per_subject")
    said = difference(by_subject, now)
    assert said is not None
    assert said.startswith("data.subjects.sha256 was ")
    assert fingerprints("mIoU") == pooled
    assert difference(pooled, as_kept(pooled, now)) is None  # as of a study that was begun before this was kept


def test_a_replay_is_refused_before_its_study_is_made(write_spec: WriteSpec) -> None:
    (line,) = refused(write_spec(study='sampler = "grid"', resources="[replay]"), command="replay")
    assert line.startswith('[study] sampler = "grid": the space is continuous')


def test_a_study_among_the_images_is_refused_before_it_is_begun(data: Path) -> None:
    for mask in (data / "masks").iterdir():
        shutil.move(mask, data / "images" / f"{mask.stem}_mask.png")
    spec = write_study(data / "images", data, data='images = "images"\nmasks = "images"\nmask_suffix = "_mask.png"')
    spec.write_text(spec.read_text().replace('name = "tiny"', 'name = "tiny"\nfolder = "runs/tiny"'))
    (line,) = refused(spec)
    assert line == (
        f"[study] folder {data / 'images/runs/tiny'} lies in {data / 'images'}, where [data] images are, and what "
        f"trials write would count as data; set [study] folder elsewhere, such as {data / 'runs/tiny'}"
    )


def test_a_missing_device_is_named(write_spec: WriteSpec) -> None:
    spec = write_spec()
    spec.write_text(spec.read_text().replace('devices = ["cpu"]', 'devices = ["cuda:7"]'))
    (line,) = refused(spec)
    assert line.startswith("[resources] devices: cuda:7 is not there; this machine has ")


def test_a_storage_that_is_no_database_is_refused_and_left_alone(write_spec: WriteSpec) -> None:
    spec = write_spec(study='storage = "sqlite:///notes.txt"')
    (spec.parent / "notes.txt").write_text("a person's notes, longer than an empty file\n" * 40)
    (line,) = refused(spec)
    assert "notes.txt does not open: file is not a database" in line


def test_a_folder_that_is_a_file_is_refused(write_spec: WriteSpec) -> None:
    spec = write_spec(study='folder = "taken/here"')
    (spec.parent / "taken").write_text("")
    lines = refused(spec)
    assert any("taken: is a file and should be a folder" in line for line in lines)


def test_a_place_that_takes_no_database_is_refused(write_spec: WriteSpec) -> None:
    (line,) = refused(write_spec(study='storage = "sqlite:////proc/study.db"'))
    assert line.startswith("/proc: cannot be written (")
    assert line.endswith("); make it writable, or set [study] storage to another place")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_named_before_trial_1(write_spec: WriteSpec, small_disk: Path) -> None:
    (line,) = refused(write_spec(study=f'folder = "{small_disk}/study"'))
    assert line.startswith(f"{small_disk}: 0.0 GiB free and about 0.1 GiB needed for checkpoints; free some, ")


def test_a_missing_spec_and_a_missing_study_are_named(write_spec: WriteSpec, tmp_path: Path) -> None:
    missing = mmtuna("run", tmp_path / "none.toml")
    assert missing.returncode == 2
    assert "none.toml: no such file; `mmtuna init DIR --data ROOT` writes one" in missing.stderr
    for command in ("worker", "status", "report", "table2"):
        done = mmtuna(command, write_spec())
        assert done.returncode == 2
        assert done.stderr == "mmtuna: study tiny does not exist yet; `mmtuna run SPEC` begins it\n"


def test_problems_come_as_json_too(write_spec: WriteSpec) -> None:
    done = mmtuna("check", write_spec(train="crop = 40"), "--json")
    assert done.returncode == 2
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert document["ready"] is False
    assert len(document["problems"]) == 1
