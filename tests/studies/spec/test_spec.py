import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.presets import extended, paper
from mmtuna.spaces.prior import Prior
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.tables import DataTable, LimitsTable, ModelTable, ResourcesTable, SpaceTable, StudyTable
from mmtuna.studies.spec.template import meanings, write_commented

Make = Callable[..., StudySpec]


def test_defaults_and_paths_start_at_the_spec(spec_of: Make, tmp_path: Path) -> None:
    spec = spec_of()
    assert spec.study.folder == tmp_path / "runs" / "s"
    assert spec.study.storage == f"sqlite:///{tmp_path}/runs/s/study.db"
    assert spec.data.root == tmp_path / "data"
    assert (spec.data.images, spec.data.train) == ("images", "splits/train.txt")
    assert spec.model.base == "unet"
    assert spec.data.classes == ("background", "fluid")
    assert spec.search_space().fingerprint() == paper().fingerprint()


def test_storage_follows_the_folder_and_relative_files_the_spec(spec_of: Make, tmp_path: Path) -> None:
    assert spec_of('folder = "out"').study.storage == f"sqlite:///{tmp_path}/out/study.db"
    assert spec_of('storage = "sqlite:///x/y.db"').study.storage == f"sqlite:///{tmp_path}/x/y.db"
    assert spec_of('storage = "sqlite:////x/y.db"').study.storage == "sqlite:////x/y.db"


def test_environment_replaces_storage_which_is_never_shown(spec_of: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql+psycopg://u:s3cret@host/db"
    monkeypatch.setenv("MMTUNA_STORAGE", url)
    spec = spec_of('storage = "sqlite:///x.db"')
    assert spec.study.storage == url
    assert "s3cret" not in repr(spec) + spec.model_dump_json() + json.dumps(spec.describe())


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////x/y.db",
        "sqlite:////x/y:z@w.db",
        "postgresql+psycopg://me@host.org:5432/db",
        "postgresql+psycopg:///db",
    ],
)
def test_a_spec_of_what_was_dumped_is_the_same_storage_included(spec_of: Make, url: str) -> None:
    spec = spec_of(f'storage = "{url}"', train="evaluations = 4")
    assert StudySpec(**spec.model_dump()) == spec
    assert StudySpec(**spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://u:s3cret@host/db",
        "postgresql+psycopg://u:12/s3cret@host/db",
        "postgresql+psycopg://u:12#s3cret@host/db",
        "postgresql+psycopg://u:1@s3cret@host/db",
        "postgresql+psycopg://host:s3cret/db",
        "postgresql+psycopg://u@host/db?password=s3cret",
        "u:s3cret@host/db",
    ],
)
def test_a_password_is_not_dumped_and_a_spec_of_the_rest_is_refused(
    spec_of: Make, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    spec = spec_of(f'storage = "{url}"')
    tables = spec.model_dump()
    assert "s3cret" not in f"{spec!r} {spec} {tables} {spec.model_dump_json()} {json.dumps(spec.describe())}"
    with pytest.raises(InputError) as caught:
        StudySpec(**tables)
    assert str(caught.value) == (
        "[study] storage is wrong: its URL may hold a password and was not written down; give it in MMTUNA_STORAGE"
    )
    monkeypatch.setenv("MMTUNA_STORAGE", url)
    assert StudySpec(**tables) == spec


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ("trials = 0", "study.toml: [study] trials = 0 is wrong: Input should be greater than or equal to 1"),
        ('trials = "5"', 'study.toml: [study] trials = "5" is wrong: Input should be a valid integer'),
        ("trials = true", "study.toml: [study] trials = true is wrong: Input should be a valid integer"),
        ("trails = 5", "study.toml: [study] trails is unknown; did you mean trials?"),
        ("zzzz = 5", "study.toml: [study] zzzz is unknown; known: name, folder, storage"),
        ('storrage = "postgresql://u:secret@h/d"', "study.toml: [study] storrage is unknown; did you mean storage?"),
        ('sampler = "cma"', "study.toml: [study] sampler = \"cma\" is wrong: Input should be 'auto', 'tpe'"),
        ("pruner_warmup = 2.0", "study.toml: [study] pruner_warmup = 2.0 is wrong: Input should be less than"),
        ('metric = "IoU.cyst"', 'study.toml: [study] metric = "IoU.cyst" is unknown; use mIoU, mDice, IoU.background,'),
        (
            'pruner = "none"\npruner_startup = 9',
            '[study] pruner_startup = 9 changes nothing by pruner = "none"; rem',
        ),
        ('pruner = "none"\npruner_warmup = 0.5', '[study] pruner_warmup = 0.5 changes nothing by pruner = "none"'),
        ('pruner = "wilcoxon"\npruner_warmup = 0.5', '[study] pruner_warmup = 0.5 changes nothing by pruner = "wilc'),
        (
            'metric = "HD95_per_image"',
            'metric = "HD95_per_image": less of it is better, and a study maximises; take NSD',
        ),
        (
            'metric = "NSD_per_image"',
            'metric = "NSD_per_image" needs a tolerance; give [study] nsd_tolerance, in pixels',
        ),
        ('metric = "Dice_per_subject"', 'metric = "Dice_per_subject" needs to know whose the images are; give [data]'),
        ('enqueue = ["table1"]', "study.toml: [study] enqueue.0 = \"table1\" is wrong: Input should be 'table2'"),
        ('enqueue = "table2"', 'study.toml: [study] enqueue = "table2" is wrong: give a list: ["table2"]'),
        ("folder = 3", "study.toml: [study] folder = 3 is wrong: give text: a path, such as"),
        ("storage = 3", "study.toml: [study] storage is wrong: Input should be a valid string"),
    ],
)
def test_wrong_study(spec_of: Make, study: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        spec_of(study)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            'classes = ["one"]',
            '[data] classes = ["one"] is wrong: give a list of at least 2 names, the background first',
        ),
        (
            'classes = "fluid"',
            '[data] classes = "fluid" is wrong: give a list of at least 2 names, the background first',
        ),
        ('classes = ["a", "a"]', '[data] classes = ["a", "a"] is wrong: each class needs a name of its own'),
        ("ignore_index = 1", "[data] ignore_index = 1 is wrong: it is the mask value of class fluid; use 2 to 255"),
        ("val_share = 1.0", "[data] val_share = 1.0 is wrong"),
        (
            "test = 1.5",
            '[data] test = 1.5 is wrong: give a file that lists images, such as "splits/test.txt", subjects,',
        ),
        ('test = ["3"]', '[data] test = ["3"] is wrong: it names subjects; give [data] subjects, a file that says'),
        (
            'split = "random"\ntrain = "train.txt"',
            '[data] split = "random" reads no list, and [data] train names one; take split = "lists"',
        ),
        (
            'split = "subject"\nfolds = 3',
            '[data] split = "subject" has no folds, and [data] folds = 3; take split = "sub',
        ),
        (
            'split = "folders"\ntrain = "a"\nval = "b"\nval_share = 0.3',
            '[data] split = "folders" takes no share, and [data] val_share = 0.3; take split = "random"',
        ),
        ("split_seed = 3", '[data] split = "lists" draws nothing, and [data] split_seed = 3; take split = "random"'),
    ],
)
def test_wrong_data(spec_of: Make, data: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        spec_of(data=data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[study]\nname = \n", r"study.toml: not TOML: Invalid value \(at line 2"),
        ('[study]\nname = "a"\n', r"study.toml: \[data\] is missing; add it"),
        ('[study]\n[data]\nroot = "d"\n[space]\npreset = "paper"', r"study.toml: \[study\] name is missing; add it$"),
        ('[study]\nname = "a/b"\n[data]\nroot = "d"\n[space]\npreset = "paper"', r"\[study\] name = .a/b. is wrong"),
        (
            '[study]\nname = "my study"\n[data]\nroot = "d"\n[space]\npreset = "paper"',
            r'\[study\] name = "my study" is wrong: use letters, digits, dot, hyphen, underscore, and begin with no',
        ),
        ("data = \"eyes\"\n[study]\nname = 's'", r'\[data\] = "eyes" is wrong: it is a table; write .* root = "eyes"$'),
        ("[study]\nname = 's'\n[data]\nroot = 3", r"\[data\] root = 3 is wrong: give text: a path, such as "),
        (
            "[study]\nname = 's'\n[data]\nroot = 'd'\n[space.params]\ncrop = [1]",
            r"\[space.params.crop\] = \[1\] is wrong: it is a table; give choices",
        ),
        (
            "[study]\nname = 's'\n[data]\nroot = 'd'\n[model]\nbase = 'unett'\n[space]\npreset = 'paper'",
            r'\[model\] base = "unett" is wrong: did you mean unet\?$',
        ),
        ('[stduy]\nname = "a"\n', r"study.toml: \[stduy\] is unknown; did you mean study\?"),
        ("study = 3\n", r"study.toml: \[study\] = 3 is wrong"),
    ],
)
def test_wrong_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        StudySpec.load(path)


def test_a_file_of_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(b'\xef\xbb\xbf[study]\r\nname = "w"\r\n[data]\r\nroot = "."\r\n')
    assert StudySpec.load(path).study.name == "w"


def test_missing_file_names_init(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; `mmtuna init"):
        StudySpec.load(tmp_path / "no.toml")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        StudySpec.load(tmp_path)


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ('["cuda0"]', 'is wrong: give "auto" or a list such as'),
        ('["cpu", "cpu"]', "is wrong: a device stands twice; use trials_per_device"),
        ("[]", 'is wrong: give "auto"'),
        ('"cuda:0"', 'is wrong: give "auto"'),
    ],
)
def test_wrong_devices(spec_of: Make, devices: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        spec_of(train=f"[resources]\ndevices = {devices}")


@pytest.mark.parametrize("share", ["0.7", "-0.1", "true", '"some"'])
def test_wrong_shares_for_the_end(spec_of: Make, share: str) -> None:
    with pytest.raises(InputError, match=r'\[study\] confirm = .* is wrong: give a share from 0 to 0\.5, or "auto"$'):
        spec_of(study=f"confirm = {share}")
    assert spec_of(study="confirm = 0").study.confirm == 0


@pytest.mark.parametrize("seconds", ["0.0", "-1.0", '"long"'])
def test_a_trial_must_have_time_to_give_a_sign_of_life(spec_of: Make, seconds: str) -> None:
    with pytest.raises(InputError, match=r"\[resources\] hung = "):
        spec_of(train=f"[resources]\nhung = {seconds}")
    with pytest.raises(
        InputError, match=r"\[resources\] hung = 0\.5 is wrong: a trial gives signs of life half a second"
    ):
        spec_of(train="[resources]\nhung = 0.5")
    assert spec_of(train="[resources]\nhung = 1.0").resources.hung == 1
    assert spec_of().resources.hung == 600


def test_devices(spec_of: Make) -> None:
    assert spec_of(train='[resources]\ndevices = ["cuda:0", "cuda:11"]').resources.devices == ("cuda:0", "cuda:11")
    assert spec_of().resources.devices == "auto"


def test_own_parameters_override_and_add(spec_of: Make) -> None:
    space = spec_of(
        space='preset = "paper"\ndrop = ["flip"]\n[space.params.crop]\nchoices = [64, "none"]\n'
        '[space.params."model.backbone.base_channels"]\nchoices = [8, 16]'
    ).search_space()
    assert space.parameter("crop").values() == [64, "none"]
    assert "flip" not in space
    assert space.parameter("model.backbone.base_channels").values() == [8, 16]
    assert len(space.names) == len(paper().names)


@pytest.mark.parametrize(
    ("space", "train", "message"),
    [
        ('preset = "papre"', "", "[space] preset = \"papre\" is wrong: Input should be 'paper' or 'extended'"),
        ('drop = ["crop"]', "", "[space] drop = ['crop'] without a preset"),
        (
            '[space.params."train_dataloader.dataset.ann_file"]\nchoices = ["a.txt", "b.txt"]',
            "",
            "[space.params.train_dataloader.dataset.ann_file]: train_dataloader.dataset.ann_file is set by mmtuna; use",
        ),
        ("", '"randomness.seed" = 3', "[train]: randomness.seed is set by mmtuna; use [study] seed in its place"),
        (
            '[space.params.speed]\nchoices = ["exact", "auto"]',
            "",
            "[space.params.speed]: speed is the same in all trials of a study; set it in [train]",
        ),
        ('preset = "paper"\ndrop = ["corp"]', "", "[space] drop: preset paper has no corp; did you mean crop?"),
        ('preset = "paper"', "crop = 192", '[train] crop is fixed and [space] samples it too; add drop = ["crop"]'),
        ("[space.params.crop]\nchoices = [64]", "crop = 64", "remove [space.params.crop], or remove it from [train]"),
        (
            "[space.params.lr_sgd]\nlow = 0\nhigh = 1",
            "",
            "[space.params.lr_sgd]: lr_sgd takes real numbers; write low = 0.0, high = 1.0, or add type =",
        ),
        ("[space.params.corp]\nchoices = [64]", "", "[space.params.corp]: corp is no setting; did you mean crop?"),
        ("[space.params.crop]\nchoices = [1]", "", "[space.params.crop]: crop = 1 is not allowed; it takes"),
        ("[space.params.lr_sgd]\nlow = 0.1\nhigh = 100.0", "", "lr_sgd = 100.0 is not allowed"),
        (
            "[space.params.batch_size]\nlow = 2.0\nhigh = 8.0",
            "",
            "[space.params.batch_size]: batch_size takes whole numbers; write low = 2, high = 8, and no type, or type",
        ),
        (
            '[space.params.rotation]\nlow = 0\nhigh = 30\ntype = "float"',
            "",
            "[space.params.rotation]: rotation takes whole numbers; write low = 0, high = 30, and no type, or type =",
        ),
        ('[space.params.crop]\nlow = 64\nhigh = 96\ntype = "float"', "", "crop takes whole numbers; write low = 64"),
        ("[space.params.model.backbone]\nx = {low = 1}", "", "write a dotted config key in quotes"),
        ("[space.params.lr_sgd]\nlow=1e-3\nhigh=0.1\nwhen=3", "", "when = 3 is wrong; write when ="),
        ('preset = "paper"', "evaluation = 3", "[train]: evaluation is no setting; did you mean evaluations?"),
        ('preset = "paper"', "evaluations = 0", "[train]: evaluations = 0 is not allowed; it takes a whole number"),
        ('preset = "paper"', "model.a = 3", "[train] model is a table; write a dotted config key in quotes"),
        ('preset = "paper"', '"a.b" = inf', "[train] a.b is inf; use text, a finite number"),
        ('preset = "paper"', '[model]\nbase = "x.py"', 'decoder belongs to unet alone; add drop = ["decoder"]'),
    ],
)
def test_space_and_train_that_do_not_agree(spec_of: Make, space: str, train: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        spec_of(space=space, train=train)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("drop", "train", "gone", "when"),
    [
        (["optimizer"], "", {"lr_adam"}, {"lr_sgd": {}}),  # the paper's default is SGD
        (["optimizer"], 'optimizer = "AdamW"', {"lr_sgd"}, {"lr_adam": {}}),
        (["loss"], 'loss = "dice"', {"mix_weight", "foreground_weight"}, {}),
        (["loss"], 'loss = "ce_dice"', set(), {"mix_weight": {}, "foreground_weight": {}}),
    ],
)
def test_children_of_dropped_parents(
    spec_of: Make, drop: list[str], train: str, gone: set[str], when: dict[str, dict[str, object]]
) -> None:
    space = spec_of(space=f'preset = "extended"\ndrop = {json.dumps(drop)}', train=train).search_space()
    assert set(extended().names) - set(space.names) == gone | set(drop)
    assert {name: dict(space.parameter(name).when) for name in when} == when


def test_children_of_narrowed_parents(spec_of: Make) -> None:
    space = spec_of(space='preset = "extended"\n[space.params.optimizer]\nchoices = ["SGD", "Adam"]').search_space()
    assert space.parameter("lr_adam").when == {"optimizer": ("Adam",)}
    space = spec_of(space='preset = "extended"\n[space.params.optimizer]\nchoices = ["SGD"]').search_space()
    assert "lr_adam" not in space


def test_whole_numbers_alone_are_tried_where_that_is_said(spec_of: Make) -> None:
    space = spec_of(space='[space.params.foreground_weight]\ntype = "int"\nlow = 1\nhigh = 3').search_space()
    assert space.parameter("foreground_weight").values() == [1, 2, 3]


def test_describe_is_plain_and_free_of_machine_paths(spec_of: Make, tmp_path: Path) -> None:
    one = spec_of(train='evaluations = 4\n[model]\npretrained = "https://user:tok@h/w.pth?key=abc"').describe()
    assert json.loads(json.dumps(one)) == one
    assert one["model"] == {"base": "unet", "pretrained": "w.pth"}
    assert one["train"] == {"evaluations": 4}
    assert str(tmp_path) not in json.dumps(one)
    assert one != spec_of(train="evaluations = 5").describe()
    assert spec_of("trials = 7\nseed = 3").describe() == spec_of().describe()


def test_template_loads_back_to_the_defaults(spec_of: Make, tmp_path: Path) -> None:
    path = tmp_path / "fresh" / "study.toml"
    write_commented(path, data_root="../data", name="s")
    folder = tmp_path / "fresh"
    expected = spec_of().model_dump() | {}
    expected["study"] |= {"folder": folder / "runs" / "s", "storage": f"sqlite:///{folder}/runs/s/study.db"}
    assert StudySpec.load(path).model_dump() == expected
    text = path.read_text()
    assert "# Name of the study: letters, digits, dot, hyphen, underscore.\nname = " in text
    for table in (StudyTable, DataTable, ModelTable, SpaceTable, LimitsTable, ResourcesTable):
        said = meanings(table)
        assert said.keys() >= table.model_fields.keys() - {"params"}
        assert all(f"# {said[name]}\n" in text for name in table.model_fields if name != "params")
    with pytest.raises(InputError, match="exists already; remove it, or give another folder"):
        write_commented(path, data_root="../data")


def test_template_holds_what_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "été 1" / "study.toml"
    write_commented(
        path,
        data_root='C:\\data "x"',
        classes=["bg", "cyst"],
        preset="extended",
        values={
            "study": {"trials": 3, "enqueue": ["table2"]},
            "space": {"drop": ["crop"], "params": {"a.b": {"low": 1e-5, "high": 2, "when": {"loss": ["dice"]}}}},
            "train": {"size_scale": 0.25, "a.c": True},
            "resources": {"threads": 2},
        },
    )
    spec = StudySpec.load(path)
    assert spec.study.name == "t--1"
    assert spec.data.root == (path.parent / 'C:\\data "x"')
    assert spec.data.classes == ("bg", "cyst")
    assert (spec.study.trials, spec.study.enqueue, spec.resources.threads) == (3, ("table2",), 2)
    assert spec.train == {"size_scale": 0.25, "a.c": True}
    assert spec.search_space().parameter("a.b").when == {"loss": ("dice",)}
    assert list(path.parent.iterdir()) == [path]


def test_a_spec_is_frozen(spec_of: Make) -> None:
    with pytest.raises(ValueError, match="frozen"):
        spec_of().study.trials = 3  # type: ignore[misc]


def test_replay(spec_of: Make, tmp_path: Path) -> None:
    assert spec_of().replay is None
    replay = spec_of(train='[replay]\ncurves = "old/trials.json"').replay
    assert replay is not None
    assert (replay.curves, replay.pause) == (str(tmp_path / "old" / "trials.json"), 0.0)
    with pytest.raises(InputError, match=r"\[replay\] paus is unknown; did you mean pause\?"):
        spec_of(train="[replay]\npaus = 1.0")


@pytest.mark.parametrize("base", ["unet.py", "configs/unett", "my/unet.py"])
def test_a_base_config_may_be_a_file_of_nearly_that_name(tmp_path: Path, base: str) -> None:
    text = f"[study]\nname = 's'\n[data]\nroot = 'd'\n[model]\nbase = '{base}'\n"
    (tmp_path / "study.toml").write_text(text + "[space.params.lr_sgd]\nlow = 0.1\nhigh = 1.0\n")
    assert StudySpec.load(tmp_path / "study.toml").model.base.endswith(base)


def test_a_spec_is_built_in_code_from_the_same_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MMTUNA_STORAGE", raising=False)
    spec = StudySpec(study={"name": "mine"}, data={"root": "eyes"}, space={"preset": "paper"})
    assert (spec.data.root, spec.study.folder) == (tmp_path / "eyes", tmp_path / "runs" / "mine")
    monkeypatch.setenv("MMTUNA_STORAGE", "postgresql+psycopg://me@there/db")
    spec = StudySpec(study={"name": "mine"}, data={"root": "eyes"}, space={"preset": "paper"})
    assert spec.study.storage == "postgresql+psycopg://me@there/db"


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"study": {"nam": "a"}, "data": {"root": "x"}}, "[study] nam is unknown; did you mean name? (and 1 more)"),
        ({"stdy": {}, "data": {"root": "x"}}, "[stdy] is unknown; did you mean study? (and 1 more)"),
        (
            {"study": {"name": "a", "trials": 0}, "data": {"root": "x"}},
            "[study] trials = 0 is wrong: Input should be greater than or equal to 1",
        ),
    ],
)
def test_what_is_wrong_in_code_is_told_in_one_line(tables: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        StudySpec(**tables)
    assert str(caught.value) == words


def test_a_prior_stands_beside_a_range_or_on_a_parameter_of_the_preset(spec_of: Make) -> None:
    space = (
        'preset = "extended"\n[space.params.lr_adam]\nprior = 1e-3\n'
        "[space.params.rotation]\nlow = 0\nhigh = 20\nstep = 10\nprior = 10\nprior_spread = 0.3\n"
    )
    spec = spec_of(space=space)
    assert spec.priors() == {"lr_adam": Prior(1e-3), "rotation": Prior(10, 0.3)}
    found = spec.search_space()
    assert found.parameter("lr_adam") == extended().parameter("lr_adam")
    assert found.parameter("rotation").values() == [0, 10, 20]
    without = spec_of(space=space.replace("prior = 1e-3", "").replace("[space.params.lr_adam]\n", ""))
    assert without.search_space().fingerprint() == found.fingerprint()  # a belief changes no space


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("[space.params.lr_adam]\nprior = 1.0", "study.toml: [space.params.lr_adam] prior = 1.0 is none of its values"),
        (
            "[space.params.momentum]\nprior = 0.9",
            "[space.params.momentum] prior: momentum is not searched, it is none of",
        ),
        (
            "[space.params.crop]\nchoices = [64]\nprior = 96",
            "[space.params.crop] prior = 96 is none of its values; take 64",
        ),
    ],
)
def test_a_wrong_prior(spec_of: Make, space: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        spec_of(space=f'preset = "extended"\n{space}')


@pytest.mark.parametrize(
    ("table", "update", "message"),
    [
        (
            "study",
            {"sampler": "cmaes"},
            "[study] sampler = \"cmaes\" is wrong: Input should be 'auto', 'tpe', 'random'",
        ),
        ("study", {"pruner": "medain"}, "[study] pruner = \"medain\" is wrong: Input should be 'best-third', 'median'"),
        ("study", {"value": "Best"}, "[study] value = \"Best\" is wrong: Input should be 'last' or 'best'"),
        ("study", {"trails": 1}, "[study] trails is unknown; did you mean trials?"),
        ("study", {"zzzz": 1}, "[study] zzzz is unknown; known: name, folder, storage"),
        ("study", {"storage": ["sqlite:///s3cret"]}, "[study] storage is wrong: Input should be a valid string"),
        (
            "data",
            {"ignore_index": 1},
            "[data] ignore_index = 1 is wrong: it is the mask value of class fluid; use 2 to",
        ),
        ("resources", {"devices": "gpu"}, '[resources] devices = "gpu" is wrong: give "auto" or a list such as'),
    ],
)
def test_a_changed_copy_of_a_table_is_checked_as_a_file_is(
    spec_of: Make, table: str, update: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        getattr(spec_of(), table).model_copy(update=update)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"studdy": {}}, "[studdy] is unknown; did you mean study?"),
        ({"study": {"name": "s", "trials": 0}}, "[study] trials = 0 is wrong: Input should be greater than or equal"),
        ({"train": {"input_size": 5}}, "[train]: input_size = 5 is not allowed; it takes a whole number from 32"),
        ({"train": {"lr_adam": 0.1}}, "[train] lr_adam = 0.1 changes no trial: "),
    ],
)
def test_a_changed_copy_of_a_spec_is_checked_as_a_file_is(spec_of: Make, update: dict[str, Any], message: str) -> None:
    spec = spec_of(space="[space.params.optimizer]\nchoices = ['SGD']")
    with pytest.raises(InputError) as caught:
        spec.model_copy(update=update)
    assert str(caught.value).startswith(message)


def test_tables_of_a_changed_copy_must_agree(spec_of: Make) -> None:
    spec = spec_of()
    with pytest.raises(InputError, match=r'^\[study\] metric = "IoU.cyst" is unknown; use mIoU, mDice, IoU.background'):
        spec.model_copy(update={"study": spec.study.model_copy(update={"metric": "IoU.cyst"})})


def test_a_copy_holds_what_the_first_one_does(spec_of: Make, tmp_path: Path) -> None:
    spec = spec_of(
        'storage = "postgresql+psycopg://u:s3cret@host/db"\nartifacts = "s3://bucket/here/"\nwarm = ["old"]',
        data='subjects = "s.csv"\ntest = ["3"]\nvalues = [0, [1, 255]]\nrange = [0, 4095]\nchannels = [0]\n'
        "palette = [[0, 0, 0], [1, 2, 3]]",
        train="evaluations = 4",
    )
    assert spec.model_copy() == spec
    for table in (spec.study, spec.data, spec.model, spec.space, spec.resources, spec.limits, spec):
        assert table.model_copy(update=dict(table)) == table
    other = spec.model_copy(update={"study": {"name": "other", "trials": 7}, "train": {"evaluations": 5}})
    assert (other.study.name, other.study.trials, other.study.folder) == ("other", 7, Path("runs/other").resolve())
    assert (other.data, other.train, spec.train) == (spec.data, {"evaluations": 5}, {"evaluations": 4})
    assert spec.study.model_copy(update={"folder": "x"}).folder == Path("x").resolve()
    assert (spec.study.name, spec.study.folder) == ("s", tmp_path / "runs" / "s")


def test_what_is_searched_by_a_spec_is_not_changed_through_another(spec_of: Make, tmp_path: Path) -> None:
    spec = spec_of(space="[space.params.lr_sgd]\nlow = 1e-3\nhigh = 1e-2", train='evaluations = 4\n"a.b" = [1, 2]')
    taken = StudySpec.of(spec)
    assert taken == spec == StudySpec.of(str(tmp_path / "study.toml"))
    copy = spec.model_copy()
    copy.train["evaluations"] = 2
    copy.train["a.b"].append(3)
    copy.space.params["lr_sgd"]["high"] = 0.1
    assert (taken.train, taken.space.params["lr_sgd"]["high"]) == ({"evaluations": 4, "a.b": [1, 2]}, 1e-2)


def test_what_is_no_spec_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        StudySpec.of(5)  # type: ignore[arg-type]
    assert str(caught.value) == "spec: give a StudySpec, or the path of a study.toml, not 5"
