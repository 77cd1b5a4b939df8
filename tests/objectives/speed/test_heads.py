"""What the heads of the pipelines share gives the batches that stock loading gives, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmtuna.objectives.data.dataset import Dataset, ImageRule, MaskRule
from mmtuna.objectives.data.manifest import inspect
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.prepared import with_copies, write_copies
from mmtuna.objectives.speed import heads
from mmtuna.objectives.speed.heads import SharedHead, shared_folder
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.spaces.parameter import Params
from tests.objectives.configs import SEGFORMER
from tests.objectives.trial.batches import COUNT, batches

MakeObjective = Callable[..., SegmentationObjective]
RANDOM: Params = {"crop": 48, "flip": "both", "rotation": 20, "photometric": True, "input_size": 80, "batch_size": 3}
RANDOM |= {"gamma": 0.5, "cat_max_ratio": 0.99}
OWN: Params = {"iterations": 4, "evaluations": 1, "crop": 64, "input_size": 64}
CASES: dict[str, tuple[str, Params, list[int]]] = {
    "everything random": ("unet", RANDOM, [3, 3]),
    "two loaders": ("unet", {**RANDOM, "loader_workers": 2, "scale_jitter": 0.5}, [2, 3]),
    "no random step": ("unet", {"input_size": 96}, [3, 3]),
    "a random scale": (SEGFORMER, {**OWN, "crop": 48}, [2, 3]),
}


def compared(cfg: dict[str, Any], folder: Path) -> list[int]:
    """Compares three processes, without the folder, filling it and reading from it; how many steps it stands for."""
    shared = folder / "heads"
    shared.mkdir()
    stock, first, second = (
        call_in_child(batches, cfg, where, str(folder / f"work{number}"))
        for number, where in enumerate(("", str(shared), str(shared)))
    )
    assert len(stock["train"]) == COUNT + 1
    assert len(set(stock["train"])) == COUNT + 1
    for side in ("train", "val"):
        assert first[side] == stock[side]
        assert second[side] == stock[side]
    assert (stock["shared"], first["shared"]) == ([], second["shared"])
    found: list[int] = second["shared"]
    return found


@pytest.mark.parametrize("name", CASES)
def test_batches_are_stocks_own_bit_for_bit(objective: MakeObjective, tmp_path: Path, name: str) -> None:
    base, params, steps = CASES[name]
    ours = objective(tmp_path, base=base)
    ours = ours if base == "unet" else replace(ours, fixed={})
    assert compared(ours.config(params, seed=3), tmp_path) == steps
    assert any((tmp_path / "heads").iterdir())


def test_so_they_are_of_copies_of_deep_images_and_of_palette_masks(objective: MakeObjective, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "abcdef":
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 4096, (70, 90)).astype(np.uint16)).save(tmp_path / f"images/{name}.tif")
        mask = Image.fromarray(rng.integers(0, 2, (70, 90)).astype(np.uint8), "P")
        mask.putpalette([0, 0, 0, 230, 159, 0])
        mask.save(tmp_path / f"masks/{name}.png")
    rule = MaskRule(values=(("#000000",), ("#e69f00",)))
    deep = Dataset.open(tmp_path, classes=("background", "fluid"), rule=ImageRule(range=(0, 4095)), mask_rule=rule)
    copies, lists = tmp_path / "study" / "images", (tmp_path / "train.txt", tmp_path / "val.txt")
    write_copies(deep, deep.names, inspect(deep).manifest, copies)
    lists[0].write_text("a\nb\nc\nd\n")
    lists[1].write_text("e\nf\n")
    ours = objective(tmp_path, dataset=with_copies(deep, copies), lists=lists, shapes={(70, 90)})
    assert compared(ours.config({**RANDOM, "photometric": False}, seed=3), tmp_path) == [3, 3]


class Load:
    """A step that says what a file holds, and counts how often it was asked."""

    def __init__(self) -> None:
        self.scale = 1
        self.asked = 0

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        self.asked += 1
        content = np.frombuffer(Path(results["img_path"]).read_bytes(), np.uint8) * self.scale
        return results | {"img": content, "img_shape": content.shape, "ratio": (0.1 + 0.2, 1)}


def head_of(step: Load, folder: Path) -> SharedHead:
    """As another process makes it, before any step has run."""
    asked, step.asked = step.asked, 0
    made = SharedHead([step], folder)
    step.asked = asked
    return made


def test_a_file_is_read_once_and_anew_where_it_or_the_steps_changed(tmp_path: Path) -> None:
    file, folder, step = tmp_path / "a.bin", tmp_path / "heads", Load()
    folder.mkdir()
    file.write_bytes(b"\1\2\3")
    entry = {"img_path": str(file)}
    first, second = head_of(step, folder)(dict(entry)), head_of(step, folder)(dict(entry))
    assert first is not None
    assert second is not None
    assert step.asked == 1
    assert second.pop("img").tolist() == first.pop("img").tolist() == [1, 2, 3]
    assert second == first == {**entry, "img_shape": (3,), "ratio": (0.30000000000000004, 1)}

    file.write_bytes(b"\4\5\6")
    os.utime(file, ns=(1, 1))
    changed = head_of(step, folder)(dict(entry))
    assert changed is not None
    assert (changed["img"].tolist(), step.asked) == ([4, 5, 6], 2)
    step.scale = 2
    scaled = head_of(step, folder)(dict(entry))
    assert scaled is not None
    assert (scaled["img"].tolist(), step.asked) == ([8, 10, 12], 3)


def test_what_one_does_to_its_image_another_does_not_see(tmp_path: Path) -> None:
    file, step = tmp_path / "a.bin", Load()
    file.write_bytes(b"\1\2\3")
    for _ in range(3):
        found = head_of(step, tmp_path)({"img_path": str(file)})
        assert found is not None
        assert found["img"].tolist() == [1, 2, 3]
        found["img"] += 1


def test_without_room_or_folder_images_are_read_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, step = tmp_path / "a.bin", Load()
    file.write_bytes(b"\1\2\3")
    for folder in (tmp_path / "heads", tmp_path / "not there"):
        (tmp_path / "heads").mkdir(exist_ok=True)
        with monkeypatch.context() as patch:
            patch.setattr(heads, "_MOST", 0)
            for _ in range(2):
                found = head_of(step, folder)({"img_path": str(file)})
                assert found is not None
                assert found["img"].tolist() == [1, 2, 3]
    assert step.asked == 4
    assert list((tmp_path / "heads").iterdir()) == []
    assert not (tmp_path / "not there").exists()


def test_what_is_more_than_bytes_and_plain_values_is_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"\1")

    def odd(results: dict[str, Any]) -> dict[str, Any]:
        return results | {"img": np.zeros((2, 2), np.float32), "more": object()}

    folder = tmp_path / "heads"
    folder.mkdir()
    found = SharedHead([odd], folder)({"img_path": str(file)})
    assert found is not None
    assert found["img"].dtype == np.float32
    assert list(folder.iterdir()) == []


def test_the_trials_of_a_process_share_one_folder() -> None:
    folder = shared_folder()
    assert folder is not None
    assert folder.is_dir()
    assert shared_folder() == folder
