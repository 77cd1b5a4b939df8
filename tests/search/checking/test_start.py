"""What nets start from is said at check, and recorded with the study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmtuna.objectives.weights import file_sha256
from mmtuna.search.checking.preparing import prepare
from mmtuna.search.outputs.baseline import measure
from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec import StudySpec
from tests.search.conftest import mmtuna

BASE = (
    "_base_ = 'mmseg::unet/unet-s5-d16_fcn_4xb4-40k_hrf-256x256.py'\n"
    "model = dict(backbone=dict(base_channels=4, init_cfg=dict(type='Pretrained', checkpoint={file!r})),\n"
    "             decode_head=dict(in_channels=4), auxiliary_head=dict(in_channels=8))\n"
)

SENDING = "visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='WandbVisBackend')])\n"


@pytest.fixture
def write(write_spec: Callable[..., Path], tmp_path: Path) -> Callable[[str, str], StudySpec]:
    """A spec with `pretrained` and a base of one's own whose backbone starts from `file`."""

    def make(pretrained: str, file: str) -> StudySpec:
        (tmp_path / "mine.py").write_text(BASE.format(file=file))
        path = write_spec(model='base = "mine.py"')
        text = path.read_text().replace("base_channels = 4\n", "").replace('decoder = "fcn"\n', "")
        path.write_text(text.replace('pretrained = "none"', f'pretrained = "{pretrained}"'))
        return StudySpec.load(path)

    return make


def started(spec: StudySpec) -> list[str]:
    ready = prepare(spec)
    assert ready.problems == []
    return [note for note in ready.notes if note.startswith("trials start from")]


def test_what_a_net_starts_from_is_said_at_check(
    write_spec: Callable[..., Path], write: Callable[[str, str], StudySpec], tmp_path: Path
) -> None:
    plain = write_spec()
    assert started(StudySpec.load(plain)) == ["trials start from random weights"]
    done = mmtuna("run", plain, "--trials", "1")
    assert done.returncode == 0, done.stderr
    weights = plain.parent / "runs/tiny/trials/00000/best.pth"

    plain.write_text(plain.read_text().replace('pretrained = "none"', f'pretrained = "{weights}"'))
    assert started(StudySpec.load(plain)) == ["trials start from weights best.pth"]
    sampled = plain.read_text().replace("base_channels = 4\n", "")
    for choices, other in (([4, 8], 8), ([8, 4], 8)):
        plain.write_text(f"{sampled}\n[space.params.base_channels]\nchoices = {choices}\n")
        (problem,) = prepare(StudySpec.load(plain)).problems
        assert problem.startswith(f"weights {weights}: do not fit the model of base_channels = {other}, ")
    left_out = "the base's own, open-mmlab://resnet50_v1c, are left out: pretrained = 'backbone' takes them"
    assert started(write("none", "open-mmlab://resnet50_v1c")) == [f"trials start from random weights; {left_out}"]
    import torch

    state = torch.load(weights, weights_only=False)["state_dict"]
    backbone = {name.removeprefix("backbone."): value for name, value in state.items() if "backbone." in name}
    torch.save({"state_dict": backbone | {"fc.weight": torch.rand(9, 3)}}, tmp_path / "backbone.pth")
    file = str(tmp_path / "backbone.pth")
    ready = prepare(write("backbone", file))
    assert ready.problems == []
    (said,) = [note for note in ready.notes if note.startswith("trials start from")]
    taken = int(said.split("(")[1].split()[0])
    assert said == (
        f"trials start from backbone weights backbone.pth ({taken} of its {taken + 1} tensors) and random heads"
    )
    assert ready.fingerprints()["weights"] == {
        "backbone.pth": "backbone.pth",
        "backbone.pth.sha256": file_sha256(tmp_path / "backbone.pth"),
    }


def test_a_bases_own_load_from_is_used_or_said_to_be_left_out(
    write: Callable[[str, str], StudySpec], tmp_path: Path
) -> None:
    weights = tmp_path / "mine.pth"
    spec = write("none", "a.pth")
    (tmp_path / "mine.py").write_text(f"{BASE.format(file='a.pth')}load_from = {str(weights)!r}\n{SENDING}")
    ready = prepare(spec)
    assert ready.problems == []
    sent, said = (note for note in ready.notes if "left out" in note)
    assert sent == "base config mine: WandbVisBackend is left out, nothing leaves the machine"
    assert said.endswith(f"pretrained = 'backbone' takes them; the base's load_from, {weights}, is left out")
    path = tmp_path / "study.toml"
    path.write_text(path.read_text().replace('pretrained = "none"', 'pretrained = "auto"'))
    assert prepare(StudySpec.load(path)).problems == [
        f"weights {weights}: no such file; set [model] pretrained to a local file, another URL, or 'none'"
    ]


def test_backbones_weights_are_no_baseline(write: Callable[[str, str], StudySpec]) -> None:
    from rich.console import Console

    with pytest.raises(InputError, match=r"\[model\] pretrained = 'backbone': a baseline needs weights; name some"):
        measure(write("backbone", "a.pth"), Console())
