"""How much of a figure comes from known subjects: configs, folds, the statistics, and one small run of the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.split import subject_folds
from mmtuna.search.commands.leak import print_leak
from mmtuna.search.outputs.leak import (
    _DRAWS_NOTHING,
    Config,
    Leak,
    LeakLine,
    _derived,
    _difference,
    _Sides,
    _verdict,
    chosen_configs,
    measure_leak,
)
from mmtuna.search.work.progress import console_to
from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.tables import Table
from mmtuna.studies.statistics.measures import Measured, counts_table, measured
from tests.search.conftest import mmtuna

WriteSpec = Callable[..., Path]
DATA = 'subjects = "subjects.csv"\nsplit = "random"\nval_share = 0.4'


def test_folds_hold_whole_subjects_and_every_image_validates_once() -> None:
    owners = {
        f"{subject}{image}": subject
        for subject, count in {"a": 4, "b": 1, "c": 3, "d": 2}.items()
        for image in range(count)
    }
    dataset = Dataset(root=Path(), classes=("background", "fluid"), names=tuple(owners), subjects=owners)
    folds = subject_folds(dataset, dataset.names, folds=3, seed=1)
    assert sorted(name for fold in folds for name in fold.val) == sorted(dataset.names)
    assert [sorted({owners[name] for name in fold.val}) for fold in folds] == [["a"], ["c"], ["b", "d"]]
    assert all(not fold.shared_subjects(dataset) and len(fold.train) + len(fold.val) == 10 for fold in folds)
    assert len(subject_folds(dataset, dataset.names, folds=9, seed=1)) == 4
    with pytest.raises(InputError, match="all images are of one subject"):
        subject_folds(dataset, ("a0", "a1"), folds=2, seed=1)


def side(rate: float, seed: int, seeds: int = 3, images: int = 40) -> Measured:
    """Trainings that find about this share of 100 pixels of fluid in images of 10 subjects."""
    rng = np.random.default_rng(seed)

    def counts() -> dict[str, list[int]]:
        right = int(rng.binomial(100, rate))
        return {"intersect": [9890, right], "predicted": [9900 + 90 - right, 10 + right], "labelled": [9900, 100]}

    names = [str(image) for image in range(images)]
    table = counts_table([{name: counts() for name in names} for _ in range(seeds)], names)
    found = measured("IoU.fluid", table, ("background", "fluid"), subjects=[str(int(name) % 10) for name in names])
    assert found is not None
    return found


def test_a_leak_is_found_and_none_is_made_up() -> None:
    leak = _difference([(side(0.8, 1), side(0.6, 2))], 0.95)
    assert leak is not None
    assert leak.low < 0.8 / 1.1 - 0.6 / 1.1 < leak.high
    assert leak.units == 10
    assert _verdict(leak, 3) == f"leak: {leak.mean:.4f} of it comes from known subjects"
    assert _verdict(leak, 1) == "not testable: one seed; nothing tells how seeds differ"
    assert _verdict(None, 3) == "not testable: too few subjects stand on both sides"
    told = [_verdict(_difference([(side(0.7, 10 + at), side(0.7, 90 + at))], 0.95), 3) for at in range(20)]
    assert told.count("no leak can be told from chance") >= 17
    both = _difference([(side(0.8, 1), side(0.6, 2)), (side(0.7, 3), side(0.7, 4))], 0.95)
    assert both is not None
    assert both.mean == pytest.approx(leak.mean / 2, abs=0.02)


def counts_of(right: int) -> dict[str, list[int]]:
    """An image of 100 pixels, ten of them fluid, of which so many were found and no others."""
    return {"intersect": [90, right], "predicted": [100 - right, right], "labelled": [90, 10]}


def test_images_whose_subjects_never_train_are_not_compared(
    write_spec: WriteSpec, phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = Dataset.open(phantom, classes=("background", "fluid"), subjects="subjects.csv").subjects
    apart, *others = sorted(set(owners.values()))
    val = [name for name in owners if owners[name] == apart]
    both = [next(name for name in owners if owners[name] == subject) for subject in others]
    for side, names in (("val", val + both), ("train", set(owners) - {*val, *both})):
        (tmp_path / f"{side}.txt").write_text("".join(f"{Path(name).stem}\n" for name in names))
    lists = f'split = "lists"\ntrain = "{tmp_path}/train.txt"\nval = "{tmp_path}/val.txt"'
    spec = StudySpec.load(write_spec(data=f'subjects = "subjects.csv"\n{lists}'))
    sides = _Sides.of(spec, 2)
    assert sorted(sides.shared) == sorted(both)

    def trained(_: _Sides, own: StudySpec, *others: object) -> dict[int, dict[str, dict[str, list[int]]]]:
        knew = own is next(iter(sides.specs.values()))
        right = {name: 10 if knew and name in both else 5 for name in sides.names}
        return {seed: {sides.names[name]: counts_of(right[name]) for name in right} for seed in range(3)}

    monkeypatch.setattr(_Sides, "_evaluations", trained)
    line, pair = sides.compared(Config(name="one", params={}), "Dice.fluid", 3, 2)
    assert pair is not None
    assert line.known is not None
    assert line.leak is not None
    assert (line.known.mean, line.leak.mean) == pytest.approx((1.0, 1 / 3))  # of the images of the other three alone
    assert line.leak.units == 3


def test_the_levels_are_those_of_the_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    def said(configs: int) -> str:
        leak = _difference([(side(0.8, 1), side(0.6, 2))], 1 - 0.05 / configs)
        known, unseen = side(0.8, 1).interval(), side(0.6, 2).interval()
        line = LeakLine(
            name="one", params={}, seeds=3, known=known, unseen=unseen, everything=unseen, leak=leak, verdict="leak"
        )
        print_leak(
            Leak(
                metric="mIoU",
                split="random",
                images=20,
                shared=16,
                folds=5,
                replicates=3,
                lines=(line,) * configs,
                together=None,
                folder="runs/one-leak",
            )
        )
        return capsys.readouterr().out

    assert "mIoU on the 16 of 20 validation images (random) that are of subjects that train; 3 seeds" in said(1)
    assert "in brackets: 95 %, over subjects and seeds; the studies lie in" in said(1)
    wider = "in brackets: 95 %, of each difference {} %, so that all hold together with 95 %, over subjects and seeds;"
    assert wider.format("97.5") in said(2)
    assert wider.format("99") in said(5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 1", r"^configs.toml: it names no config; write a table \[\[config\]\]"),
        ("[[config]]\nlr_adam = 1.0", r"\[\[config\]\] config 1: space: lr_adam = 1.0 is outside its range"),
        ("[[config]]\nlr_adam = 1e-3\ncrop = 32", r"config 1: crop = 32 is not searched, or changes no trial beside"),
        ("[[config]]\nlr_adam = 1e-3\n" * 2, r"\[\[config\]\] config 2 is the same as config 1; remove one of them"),
        ("[[config", "^configs.toml: not TOML: "),
    ],
)
def test_a_bad_file_of_configs_is_refused(write_spec: WriteSpec, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "configs.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        chosen_configs(StudySpec.load(write_spec()), file=tmp_path / "configs.toml")


def test_what_a_config_leaves_out_is_the_papers(write_spec: WriteSpec, tmp_path: Path) -> None:
    spec = StudySpec.load(write_spec(space="[space.params.flip]\nchoices = ['none', 'both']"))
    (tmp_path / "configs.toml").write_text("[[config]]\nname = 'flips'\nflip = 'both'\nlr_adam = 1e-3\n")
    (flips,) = chosen_configs(spec, file=tmp_path / "configs.toml")
    assert (flips.name, flips.params) == ("flips", {"flip": "both", "lr_adam": 1e-3})
    (default,) = chosen_configs(spec)
    assert default.params == {"flip": "none", "lr_adam": 0.01}
    with pytest.raises(InputError, match="does not exist yet"):
        chosen_configs(spec, trials=[0])


@pytest.mark.parametrize(
    ("data", "metric", "message"),
    [
        ("split = 'random'\nval_share = 0.4", None, r"^\[data\] subjects: whose the images are is not known"),
        ("split = 'subject'\nsubjects = 'subjects.csv'", None, "no subject stands on both sides, so there is no leak"),
        (
            DATA,
            "NSD_per_image",
            "^metric NSD_per_image: pixel counts, which are what is compared, do not give it; take mI",
        ),
    ],
)
def test_a_split_without_a_leak_is_refused(write_spec: WriteSpec, data: str, metric: str | None, message: str) -> None:
    spec = StudySpec.load(write_spec(data=data))
    with pytest.raises(InputError, match=message):
        measure_leak(spec, chosen_configs(spec), console_to(None), replicates=1, metric=metric)


def test_the_specs_of_both_sides_are_ones_that_a_person_could_write(write_spec: WriteSpec, tmp_path: Path) -> None:
    study = "pruner_warmup = 0.5\nhours = 2.0\nenqueue = ['table2']\nconfirm = 0.2"
    spec = StudySpec.load(write_spec(study=study, data=f"{DATA}\nsplit_seed = 3\ntest = 0.1"))
    spec = spec.model_copy(update={"study": spec.study.model_copy(update={"name": "n" * 95})})
    lists = {"split": "lists", "train": "../a.txt", "val": "../b.txt", "test": None}
    own = _derived(spec, tmp_path / "leak", "fold-1-of-5", lists | _DRAWS_NOTHING)
    assert (own.study.name, own.study.pruner) == ("n" * 83 + "-leak-fold-1-of-5", "none")
    assert own.study.storage == f"sqlite:///{tmp_path}/leak/fold-1-of-5/study.db"
    assert own.describe()["split"] == {"kind": "lists", "train": "../a.txt", "val": "../b.txt"}
    assert StudySpec(**{name: dict(table) for name, table in own if isinstance(table, Table)}, train=own.train) == own
    assert _derived(spec, tmp_path / "leak", "split", {}).data == spec.data


def test_the_command_trains_both_sides_once(write_spec: WriteSpec) -> None:
    spec = write_spec(data=DATA)
    command = ("leak", spec, "--replicates", 1, "--folds", 2, "--metric", "Dice_per_image", "--json")
    done = mmtuna(*command, timeout=280)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (line,) = found["lines"]
    assert (line["name"], line["seeds"], found["folds"]) == ("defaults", 1, 2)
    assert line["verdict"].startswith("not testable: ")
    assert done.stderr.count(" complete mIoU ") == 3
    assert Path(found["folder"]).name == "tiny-leak"
    again = mmtuna(*command, timeout=280)
    assert json.loads(again.stdout) == found
    assert " complete mIoU " not in again.stderr
