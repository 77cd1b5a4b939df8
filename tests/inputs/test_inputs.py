"""Every input of the table in cases.py: refused in one line, or seen as it is by training and predict.py."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmtuna.objectives import predict
from mmtuna.objectives.config import build_config, load_base
from mmtuna.objectives.config.settings import merge_settings
from mmtuna.objectives.data.manifest import shapes
from mmtuna.objectives.data.reading import strict_decoders
from mmtuna.objectives.data.split import write_lists
from mmtuna.objectives.prepared import rule_of, with_copies, write_copies
from mmtuna.search.checking.data import Data, read_data
from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec import StudySpec
from tests.inputs.builders import NAMES, InputSet
from tests.inputs.cases import CASES, Case

SPEC = """\
[study]
name = "s"
{study}
[data]
root = "data"
{data}
[space]
preset = "paper"
"""
UNET = load_base("unet")


def read(case: Case, folder: Path) -> Data:
    """The case's data set as `mmtuna check` reads it; a spec that is refused is a problem as well."""
    case.build(InputSet(folder / "data"))
    text = SPEC.format(data=case.data, study=case.tables.get("study", ""))
    try:
        spec = StudySpec.parse(text, folder / "study.toml")
        return read_data(spec.data, metric=spec.study.metric, known=folder / "none.json")
    except InputError as error:
        return Data(problems=[str(error)])


@pytest.fixture(scope="module")
def load() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Image (RGB) and mask of each name, as MMSegmentation's own data set and transforms load them for training."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what mmcv says at import
        from mmseg.datasets import BaseSegDataset
        from mmseg.datasets.transforms import LoadAnnotations
        from mmseg.registry import TRANSFORMS

    def all_of(cfg: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for loader in ("train_dataloader", "val_dataloader"):
            options = {key: value for key, value in cfg[loader]["dataset"].items() if key != "type"}
            steps = [step for step in options.pop("pipeline") if step["type"].startswith("Load")]
            assert [step["type"] for step in steps] == ["LoadImageFromFile", "LoadAnnotations"]
            transforms = [TRANSFORMS.build(step) for step in steps]
            assert isinstance(transforms[1], LoadAnnotations)
            for index in range(len(dataset := BaseSegDataset(**options, pipeline=[], serialize_data=False))):
                sample = dataset.get_data_info(index)
                for transform in transforms:
                    sample = transform(sample)
                inside = Path(sample["seg_map_path"]).relative_to(dataset.data_prefix["seg_map_path"])
                name = inside.with_suffix("").as_posix()
                found[name] = np.ascontiguousarray(sample["img"][..., ::-1]), sample["gt_seg_map"]
        return found

    return all_of


@pytest.mark.parametrize("case", [case for case in CASES if case.refused is not None], ids=lambda case: case.name)
def test_what_cannot_be_done_is_refused_in_one_line(
    case: Case, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = read(case, tmp_path)
    assert any(case.refused in problem for problem in found.problems), found.problems
    assert all("\n" not in problem for problem in found.problems)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("case", [case for case in CASES if case.refused is None], ids=lambda case: case.name)
def test_training_and_predict_py_see_the_right_pixels(
    case: Case, load: Callable[[dict[str, Any]], dict[str, Any]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = read(case, tmp_path)
    assert found.problems == []
    assert capfd.readouterr() == ("", "")
    assert case.note is None or any(case.note in note for note in found.notes), found.notes
    assert case.shows(found)
    dataset, split = found.dataset, found.split
    assert dataset is not None
    assert split is not None
    write_copies(dataset, dataset.names, found.manifest, tmp_path / "copies")
    lists = write_lists(split, tmp_path / "lists")
    cfg = build_config(
        UNET,
        merge_settings({}, {}, is_unet=True, has_weights=False),
        dataset=with_copies(dataset, tmp_path / "copies"),
        lists=lists,
        shapes=shapes(found.manifest, dataset),
        weights=None,
        seed=0,
    )
    seen = load(cfg)
    assert set(seen) == {*split.train, *split.val}
    for name, (image, mask) in seen.items():
        assert image.dtype == mask.dtype == np.uint8
        with strict_decoders():
            np.testing.assert_array_equal(image, predict.read_image(dataset.image_path(name), rule_of(dataset)))
        if case.image is not None:
            np.testing.assert_array_equal(image, case.image(name))
        if Path(name).name in NAMES:
            np.testing.assert_array_equal(mask, case.mask(Path(name).name))


def test_the_table_is_long_enough_and_names_are_unique() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


def test_pillow_is_left_as_it_was(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    read(CASES[0], tmp_path)
    assert before == Image.MAX_IMAGE_PIXELS
