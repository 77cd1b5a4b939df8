"""Bundles of tiny trials: the same masks and metrics from the files alone, and nothing written where a check fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import mmtuna.objectives.deployment as deployment
from mmtuna.objectives import predict
from mmtuna.objectives.config import read_config
from mmtuna.objectives.data.dataset import Dataset, ImageRule
from mmtuna.objectives.data.manifest import inspect
from mmtuna.objectives.data.phantom import write_phantom
from mmtuna.objectives.deployment import build_bundle, build_ensemble, bundle, card, contract, verify
from mmtuna.objectives.deployment.card import card as model_card
from mmtuna.objectives.deployment.verify import check_metrics
from mmtuna.objectives.evaluation.metrics import metrics, total
from mmtuna.objectives.outcome import Ending
from mmtuna.objectives.prepared import with_copies, write_copies
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.metrics import is_pooled
from tests.inputs import builders as b

Train = Callable[..., Any]

CASES: Mapping[str, dict[str, Any]] = {
    "fcn-whole": {"decoder": "fcn"},
    # 64 pixels, windows of 48 every 20: the second is moved back inside.
    # The weights that were evaluated are averaged ones, and these are exported.
    "pspnet-slide": {"decoder": "pspnet", "inference": "slide", "window": 48, "stride": 20, "ema": 0.1},
    "deeplabv3-whole-oblong": {"decoder": "deeplabv3"},
    # The window is higher than the image; the network sees BGR.
    "fcn-slide-oblong": {
        "decoder": "fcn",
        "inference": "slide",
        "window": 64,
        "stride": 32,
        "model.data_preprocessor.bgr_to_rgb": False,
    },
}
LEARNS = {"iterations": 40, "optimizer": "AdamW", "lr_adam": 0.01, "batch_size": 2}
OURS = ("mmtuna",)
ONLY_ONNX = (*OURS, "torch", "mmseg", "mmcv", "mmengine", "cv2", "onnx", "onnxscript", "safetensors", "optuna")
REFUSE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ImportError(name + " is refused")
sys.meta_path.insert(0, Refuse())
"""
RUN_SCRIPT = "import runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
STOCK = """
import pathlib
from mmseg.apis import inference_model, init_model
from PIL import Image
bundle, images, out = (pathlib.Path(argument) for argument in sys.argv[1:])
model = init_model(str(bundle / "config.py"), str(bundle / "weights.pth"), device="cpu")
out.mkdir()
for path in sorted(images.iterdir()):
    mask = inference_model(model, str(path)).pred_sem_seg.data[0].numpy().astype("uint8")
    Image.fromarray(mask).save(out / (path.stem + ".png"))
"""


@dataclass(frozen=True)
class Made:
    """A trained trial and its bundle."""

    trial: TrialFolder
    bundle: Path
    summary: dict[str, Any]
    dataset: Dataset

    @property
    def metrics(self) -> dict[str, float]:
        found: dict[str, float] = self.trial.read_evaluation()["metrics"]
        return found


def write_bright(root: Path, shapes: tuple[tuple[int, int], ...], suffix: str) -> Dataset:
    """Phantom scans, cropped to each shape in turn, whose brighter half is to be found.

    That is learnt in forty iterations, so masks hold both classes; real fluid is not.
    """
    source = write_phantom(root.with_name("phantom"), subjects=3, scans=4, size=96)
    for folder in ("images", "masks", "splits"):
        (root / folder).mkdir(parents=True)
    for index, name in enumerate(source.names):
        height, width = shapes[index % len(shapes)]
        with Image.open(source.image_path(name)) as image:
            scan = image.convert("RGB").crop((0, 16, width, 16 + height))
        grey = np.asarray(scan.convert("L"))
        scan.save(root / f"images/{name}{suffix}")
        Image.fromarray((grey > np.median(grey)).astype(np.uint8)).save(root / f"masks/{name}.png")
    (root / "splits/train.txt").write_text("\n".join(source.names[:8]) + "\n")
    (root / "splits/val.txt").write_text("\n".join(source.names[8:]) + "\n")
    return Dataset.open(root, classes=("background", "fluid"))


@pytest.fixture(scope="session")
def square(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """PNG images of 64 x 64 pixels, which are not resized."""
    return write_bright(tmp_path_factory.mktemp("square") / "bright", ((64, 64),), ".png")


@pytest.fixture(scope="session")
def oblong(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """JPEG images of 64 x 96 pixels, and every third of 80 x 54, higher than wide."""
    return write_bright(tmp_path_factory.mktemp("oblong") / "bright", ((64, 96), (64, 96), (80, 54)), ".jpg")


def facts_of(trial: TrialFolder, **more: Any) -> dict[str, Any]:
    found = trial.read_evaluation()["metrics"]
    facts = {"study": "tiny", "trial": 0, "seed": 0, "params": {"lr": 0.05}, "metric": "mIoU", "value": found["mIoU"]}
    facts |= {"value_of": "last", "metrics": found}
    weights = {"fcn": "iter_400.pth", "fcn.sha256": "ab12"}
    facts["fingerprints"] = {"split": {"kind": "lists", "train": 3, "val": 3}, "weights": weights}
    return {**facts, "versions": {"python": "3"}, "retrained": False, **more}


@pytest.fixture(scope="session")
def make(
    train: Train, square: Dataset, oblong: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Made]:
    """Trains and exports a case once."""
    made: dict[str, Made] = {}

    def of(case: str) -> Made:
        if case not in made:
            dataset = oblong if "oblong" in case else square
            folder = tmp_path_factory.mktemp(case)
            lists = dataset.root / "splits/train.txt", dataset.root / "splits/val.txt"
            shapes = {(64, 96), (80, 54)} if "oblong" in case else {(64, 64)}
            outcome = train(folder, fixed=LEARNS | CASES[case], dataset=dataset, lists=lists, shapes=shapes)
            assert outcome.ending is Ending.FINISHED, outcome.message
            assert outcome.folder is not None
            out, trial = folder / "bundle", TrialFolder(outcome.folder)
            made[case] = Made(trial, out, build_bundle(trial, out, facts_of(trial), trial.last), dataset)
        return made[case]

    return of


# Every decoder, both ways of inference; the combination of the rest takes its time.
SLOW = ("fcn-slide-oblong",)


@pytest.fixture(params=[pytest.param(case, marks=pytest.mark.slow if case in SLOW else ()) for case in CASES])
def made(request: pytest.FixtureRequest, make: Callable[[str], Made]) -> Made:
    return make(request.param)


def fresh(code: str, *arguments: object, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-I", "-c", code, *(str(argument) for argument in arguments)],
        capture_output=True,
        text=True,
        timeout=200,
    )


def validation_images(made: Made, folder: Path) -> Path:
    folder.mkdir()
    for entry in contract.labelled_images(made.trial.read_config()):
        shutil.copy(entry.image, folder / entry.name)
    return folder


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


def masks_of(folder: Path) -> dict[str, NDArray[np.uint8]]:
    found = {path.name: read(path) for path in folder.iterdir()}
    assert all(mask.dtype == np.uint8 for mask in found.values())
    return found


def test_the_bundle_is_complete_and_equals_its_trial(made: Made, torch: ModuleType) -> None:
    from safetensors.torch import load_file

    document = json.loads((made.bundle / "bundle.json").read_text())
    assert document == made.summary
    assert set(document["files"]) | {"bundle.json"} == {path.name for path in made.bundle.iterdir()}
    assert {"config.py", "weights.pth", "weights.safetensors", "model.onnx", "README.md"} < set(document["files"])
    assert made.metrics["IoU.fluid"] > 0.3
    assert document["verified"]["metrics"] == {name: made.metrics[name] for name in made.metrics if is_pooled(name)}
    assert document["verified"]["metrics_max_difference"] == 0
    assert document["parity"]["pixels_differing"] == 0
    assert document["parity"]["logits_relative_difference"] < 1e-5
    assert document["latency"]["runs"] > 0

    weights = torch.load(made.bundle / "weights.pth", weights_only=True)
    trained = torch.load(made.trial.last, weights_only=False)["state_dict"]
    assert weights["meta"]["dataset_meta"]["classes"] == ["background", "fluid"]
    tensors = load_file(str(made.bundle / "weights.safetensors"))
    assert list(weights["state_dict"]) == list(trained)
    assert all(torch.equal(tensors[name], value) for name, value in trained.items())
    assert read_config(made.bundle / "config.py") == {**made.trial.read_config(), "load_from": None}
    assert str(made.dataset.root) in (made.bundle / "config.py").read_text().partition("model =")[0]
    assert str(made.dataset.root.parent).encode() not in (made.bundle / "model.onnx").read_bytes()
    assert b"site-packages" not in (made.bundle / "model.onnx").read_bytes()


@pytest.mark.parametrize("case", ["pspnet-slide", pytest.param("deeplabv3-whole-oblong", marks=pytest.mark.slow)])
def test_predict_py_needs_only_onnxruntime_and_agrees_with_mmsegmentation(
    make: Callable[[str], Made], case: str, tmp_path: Path
) -> None:
    made = make(case)
    images = validation_images(made, tmp_path / "images")
    script = made.bundle / "predict.py"

    done = fresh(REFUSE.format(names=ONLY_ONNX) + RUN_SCRIPT, script, images, tmp_path / "onnx")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(list(images.iterdir()))} masks in {tmp_path / 'onnx'}\n"
    stock = fresh(REFUSE.format(names=OURS) + STOCK, made.bundle, images, tmp_path / "torch")
    assert stock.returncode == 0, stock.stderr

    onnx, torch = masks_of(tmp_path / "onnx"), masks_of(tmp_path / "torch")
    assert set(onnx) == set(torch)
    assert all((mask == torch[name]).all() for name, mask in onnx.items())
    entries = contract.labelled_images(made.trial.read_config())
    counts = [verify.count(tmp_path / "onnx" / f"{Path(e.name).stem}.png", e.truth(), 2, 255) for e in entries]
    pooled = {name: value for name, value in made.metrics.items() if is_pooled(name)}
    assert metrics(total(counts), ("background", "fluid")) == pooled


def test_the_refused_packages_are_refused() -> None:
    done = fresh(REFUSE.format(names=ONLY_ONNX) + "import torch")
    assert "ImportError: torch is refused" in done.stderr


@pytest.mark.slow
def test_predict_py_in_an_environment_of_its_own(make: Callable[[str], Made], tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv/bin/python")
    installed = subprocess.run([python, "-m", "pip", "install", "-q", "onnxruntime", "Pillow", "numpy"], timeout=250)
    assert installed.returncode == 0
    made = make("pspnet-slide")
    images = validation_images(made, tmp_path / "images")
    done = fresh("import sys\n" + RUN_SCRIPT, made.bundle / "predict.py", images, tmp_path / "masks", python=python)
    assert done.returncode == 0, done.stderr
    here = predict.Predictor(made.bundle)
    for path in images.iterdir():
        assert (read(tmp_path / "masks" / f"{path.stem}.png") == here.mask(predict.read_image(path))).all()


def test_oblong_images_get_a_model_for_each_input_size(make: Callable[[str], Made]) -> None:
    models = make("deeplabv3-whole-oblong").summary["models"]
    # 64 x 96 fits into 64 pixels as 43 x 64 and is padded to multiples of 16; 80 x 54 as 64 x 43.
    assert [(m["file"], m["height"], m["width"]) for m in models] == [
        ("model.onnx", 48, 64),
        ("model_64x48.onnx", 64, 48),
    ]
    card = (make("deeplabv3-whole-oblong").bundle / "README.md").read_text()
    assert "48 x 64, 64 x 48 (height x width)" in card
    assert "model_HEIGHTxWIDTH.onnx" in card


def test_the_card_says_what_it_must(make: Callable[[str], Made]) -> None:
    made = make("pspnet-slide")
    card = (made.bundle / "README.md").read_text()
    for text in ("Not a medical device", "guided the search", "optimistic", f"| mIoU | {made.metrics['mIoU']:.4f} |"):
        assert text in card
    assert "- Started from iter_400.pth, unless the params say none." in card
    assert "windows of 48 x 48, every 20 x 20 pixels" in card
    assert "\n| metric (0 to 1) | value |\n" in card
    document = json.loads((made.bundle / "bundle.json").read_text())
    document["metrics"]["HD95_per_image"] = 74.052
    assert "\n| metric (0 to 1; HD95_per_image in pixels) | value |\n" in model_card(document)
    document |= {"retrained": True}
    document["fingerprints"]["split"] = {"kind": "subject-kfold", "train": 6, "val": 3, "folds": 3}
    assert "split subject-kfold: 9 images, each of which validates once in 3 folds." in model_card(document)


@pytest.mark.parametrize("rule", [{"channels": None, "range": None}, {"channels": [2, 0, 1], "range": [60, 200]}])
def test_the_cards_lines_for_mmsegmentation_give_predict_pys_masks(
    make: Callable[[str], Made], tmp_path: Path, rule: predict.Rule
) -> None:
    """Of a model that resizes, also of images that are read by a rule, which MMSegmentation's own loader knows not."""
    folder = shutil.copytree(make("deeplabv3-whole-oblong").bundle, tmp_path / "bundle")
    document = json.loads((folder / "bundle.json").read_text())
    document["input"]["rule"] = rule
    (folder / "bundle.json").write_text(json.dumps(document))
    image = tmp_path / "image.png"
    rng = np.random.default_rng(0)
    tinted = np.kron(rng.integers(0, 256, (8, 12, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    Image.fromarray(tinted).save(image)
    lines = card.card(document).partition("In MMSegmentation")[2].partition("## Intended")[0].splitlines()
    code = "\n".join(line.strip() for line in lines if line.startswith("    "))
    code = re.sub(r'"image\.\w+"', repr(str(image)), code)
    code += f"\nimport numpy; numpy.save({str(tmp_path / 'mask.npy')!r}, mask.numpy())"
    # As a person runs it, in the bundle's folder.
    begun = REFUSE.format(names=OURS) + "sys.path.insert(0, '.')\n"
    run = [sys.executable, "-I", "-c", begun + code]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    wanted = predict.Predictor(folder).mask(predict.read_image(image, rule))
    assert len(np.unique(wanted)) == 2
    assert (np.load(tmp_path / "mask.npy") == wanted).all()


# --- a check that fails leaves nothing ---


def left_of(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.slow
def test_retrained_weights_are_not_held_against_the_trials_metrics(make: Callable[[str], Made], tmp_path: Path) -> None:
    trial = make("fcn-whole").trial
    facts = facts_of(trial, retrained=True)
    facts["metrics"] = {"mIoU": 0.123}
    summary = build_bundle(trial, tmp_path / "out", facts, trial.last)
    assert summary["verified"]["metrics"].startswith("not compared: retrained")
    assert "figures of the trial before retraining" in (tmp_path / "out/README.md").read_text()


def test_weights_that_are_not_finite_are_refused(
    make: Callable[[str], Made], tmp_path: Path, torch: ModuleType
) -> None:
    trial = TrialFolder(shutil.copytree(make("fcn-whole").trial.path, tmp_path / "trial"))
    loaded = torch.load(trial.last, weights_only=False)
    next(iter(loaded["state_dict"].values()))[0] = float("nan")
    torch.save(loaded, trial.last)
    with pytest.raises(InputError, match=r"weights and ONNX: .*holds NaN or infinity; export another trial"):
        build_bundle(trial, tmp_path / "out", facts_of(trial), trial.last)
    assert left_of(tmp_path) == ["trial"]


def test_weights_of_another_model_are_refused(make: Callable[[str], Made], tmp_path: Path) -> None:
    trial = TrialFolder(shutil.copytree(make("fcn-whole").trial.path, tmp_path / "trial"))
    shutil.copy(make("pspnet-slide").trial.last, trial.last)
    with pytest.raises(
        InputError, match=r"weights and ONNX: config and weights do not belong together, \d+ of \d+ tensors"
    ):
        build_bundle(trial, tmp_path / "out", facts_of(trial), trial.last)
    assert left_of(tmp_path) == ["trial"]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, torch: ModuleType) -> None:
    """Bundles are built in this process, where parts can be replaced."""
    monkeypatch.setattr("mmtuna.objectives.trial.process.call_in_child", lambda function, *a, timeout: function(*a))


@pytest.fixture
def exported(here: None, make: Callable[[str], Made], monkeypatch: pytest.MonkeyPatch) -> Made:
    """A bundle's trial, whose models need not be exported once more before they are held against something else."""
    made = make("fcn-whole")

    def copy(cfg: Any, checkpoint: Path, part: Path, document: dict[str, Any], *_: Any) -> Any:
        from mmtuna.objectives.deployment import graph

        for name in ("weights.pth", "weights.safetensors", "model.onnx"):
            shutil.copy(made.bundle / name, part / name)
        document["models"] = made.summary["models"]
        return graph.load_segmentor(part)

    monkeypatch.setattr(bundle, "_write_models", copy)
    return made


@pytest.mark.filterwarnings("ignore")
def test_other_metrics_than_the_trials_are_refused(exported: Made, tmp_path: Path) -> None:
    trial = exported.trial
    facts = facts_of(trial)
    facts["metrics"] = {**facts["metrics"], "mIoU": facts["metrics"]["mIoU"] + 0.002}
    with pytest.raises(InputError, match="no bundle was written, metrics from the files: the weights' mIoU is 0"):
        build_bundle(trial, tmp_path / "out", facts, trial.last)
    assert left_of(tmp_path) == []


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_differs_from_torch_is_refused(
    exported: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmseg.models import EncoderDecoder

    trial, encode_decode = exported.trial, EncoderDecoder.encode_decode
    monkeypatch.setattr(EncoderDecoder, "encode_decode", lambda *given: encode_decode(*given) * 1.01)
    with pytest.raises(InputError, match=r"ONNX against torch: ONNX and torch logits differ by 0\.\d+ of their range"):
        build_bundle(trial, tmp_path / "out", facts_of(trial), trial.last)
    monkeypatch.setattr(verify, "LOGITS_TOLERANCE", 10.0)
    monkeypatch.setattr(EncoderDecoder, "encode_decode", lambda *given: -encode_decode(*given))
    with pytest.raises(InputError, match=r"ONNX and torch differ in \d+\.\d+% of the pixels, 0\.010% is allowed"):
        build_bundle(trial, tmp_path / "out", facts_of(trial), trial.last)
    assert left_of(tmp_path) == []


@pytest.mark.usefixtures("here")
@pytest.mark.filterwarnings("ignore")
def test_a_config_that_needs_mmtuna_is_refused(
    make: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = make("fcn-whole").trial
    monkeypatch.setattr(
        bundle, "stand_alone", lambda cfg: {**cfg, "custom_imports": {"imports": ["mmtuna.objectives.trial.training"]}}
    )
    with pytest.raises(InputError, match=r"imports mmtuna\.objectives\.trial\.training \(custom_imports\)"):
        build_bundle(trial, tmp_path / "out", facts_of(trial), trial.last)
    assert left_of(tmp_path) == []


@pytest.mark.usefixtures("here")
@pytest.mark.filterwarnings("ignore")
def test_the_nets_of_several_folds_are_one_bundle(
    make: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"fold-1": make("fcn-whole"), "fold-2": make("pspnet-slide")}
    folds = [TrialFolder(shutil.copytree(one.trial.path, tmp_path / name)) for name, one in made.items()]

    def copied(part: Path, fold: TrialFolder, *_: Any) -> dict[str, Any]:
        shutil.copytree(made[fold.path.name].bundle, part, dirs_exist_ok=True)
        return made[fold.path.name].summary

    monkeypatch.setattr(bundle, "write_bundle", copied)
    facts = facts_of(folds[0])
    given = facts, [{**facts, "fold": 1}, {**facts, "fold": 2}], [fold.last for fold in folds]
    document = build_ensemble(folds, tmp_path / "out", *given)
    assert (document["members"], document["parity"]["pixels_differing"]) == (["fold-1", "fold-2"], 0)
    assert document == json.loads((tmp_path / "out/bundle.json").read_text())
    assert {"predict.py", "README.md", "fold-2/model.onnx"} < {*document["files"]}
    together, alone = predict.Predictor(tmp_path / "out"), [predict.Predictor(one.bundle) for one in made.values()]
    differing = [0, 0]
    for path in validation_images(made["fold-1"], tmp_path / "images").iterdir():
        image = predict.read_image(path)
        found = together.logits(image)
        assert np.allclose(found.sum(axis=0), 1.0, atol=1e-6)
        masks = [one.mask(image) for one in alone]
        differing = [n + int((mask != found.argmax(axis=0)).sum()) for n, mask in zip(differing, masks, strict=True)]
    assert min(differing) > 0, "either net alone says the same"
    card = (tmp_path / "out/README.md").read_text()
    assert "This is one of 2 nets" in card
    assert "all nets but one were trained on each" in card.replace("\n", " ")

    from mmseg.models import EncoderDecoder

    encode_decode = EncoderDecoder.encode_decode
    monkeypatch.setattr(EncoderDecoder, "encode_decode", lambda *given: -encode_decode(*given))
    with pytest.raises(InputError, match=r"the nets together: ONNX and torch differ in \d+\.\d+% of the pixels"):
        build_ensemble(folds, tmp_path / "other", *given)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("here")
@pytest.mark.filterwarnings("ignore")
def test_large_weights_lie_in_a_side_file(
    make: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmtuna.objectives.deployment import graph

    monkeypatch.setattr(graph, "_ONE_FILE_LIMIT", 0)
    trial = make("fcn-whole").trial
    document = build_bundle(trial, tmp_path / "out", facts_of(trial), trial.last)
    (side,) = document["models"][0]["side_files"]
    assert (tmp_path / "out" / side).stat().st_size > 10_000
    assert f"`{side}`: weights of the model; keep beside it" in (tmp_path / "out/README.md").read_text()


def test_missing_parts_are_named(make: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = TrialFolder(shutil.copytree(make("fcn-whole").trial.path, tmp_path / "trial"))
    with pytest.raises(InputError, match=r"best_of_all\.pth: no such file; export needs the config and weights"):
        build_bundle(trial, tmp_path / "out", {}, trial.best.with_name("best_of_all.pth"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        build_bundle(trial, tmp_path / "full", {}, trial.last)
    text = trial.config.read_text()
    trial.config.write_text(text.replace("splits/val.txt", "splits/gone.txt"))
    with pytest.raises(InputError, match=r"the input contract: .*gone\.txt: the list of images cannot be read"):
        build_bundle(trial, tmp_path / "out", facts_of(trial), trial.last)
    monkeypatch.setattr(deployment, "NEEDED", ("onnx", "no_such_package"))
    with pytest.raises(InputError, match=r"export needs no_such_package; run: pip install 'mmtuna\[export\]'"):
        build_bundle(trial, tmp_path / "out", {}, trial.last)


# --- the input contract ---


def test_what_predict_py_cannot_do_is_refused(make: Callable[[str], Made], monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = make("deeplabv3-whole-oblong").trial.read_config()
    given = contract.input_contract(cfg)
    monkeypatch.setattr(contract, "MAX_MODELS", 1)
    with pytest.raises(InputError, match="the images need 2 input sizes and an ONNX model has one, at most 1"):
        contract.model_sizes(cfg, given)
    with pytest.raises(InputError, match=r"test_pipeline has .*'Pad'.*, which predict.py cannot do"):
        contract.input_contract({**cfg, "test_pipeline": [*cfg["test_pipeline"], {"type": "Pad", "size": (9, 9)}]})
    cfg["model"]["decode_head"]["out_channels"] = 1
    with pytest.raises(InputError, match="one sigmoid channel"):
        contract.output_contract(cfg)


def test_mean_and_std_are_told_in_rgb_order_whatever_the_network_sees(make: Callable[[str], Made]) -> None:
    cfg = make("fcn-whole").trial.read_config()
    rgb = contract.input_contract(cfg)
    cfg["model"]["data_preprocessor"] |= {"bgr_to_rgb": False, "rgb_to_bgr": False}
    bgr = contract.input_contract(cfg)
    assert rgb["mean"] == [123.675, 116.28, 103.53]
    assert bgr["mean"] == [103.53, 116.28, 123.675]
    assert rgb["pad"] == bgr["pad"]


# --- predict.py's own arithmetic, against what it stands in for ---


def test_a_bundles_rule_holds_the_kind_of_file_that_it_was_made_for(tmp_path: Path) -> None:
    def kind(rule: predict.Rule, **files: bytes) -> predict.Rule:
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        paths = [tmp_path / name for name in files]
        images = [contract.LabelledImage(name=path.name, image=path, mask=path, source=path) for path in paths]
        return contract.with_kind(rule, images)

    deep, grey, colour = b.png(b.deep("a")), b.png(b.grey("a")), b.png(b.rgb("a"))
    ranged = {"channels": None, "range": [240, 2340]}
    assert kind(ranged, a=deep, b=b.tiff()(b.deep("b"))) == {**ranged, "bits": 16}
    assert kind(ranged, a=grey, b=colour) == {**ranged, "bits": 8}
    picked = {"channels": [0], "range": None}
    assert kind(picked, a=colour, b=b.with_alpha("PNG")(b.rgb("b"))) == {**picked, "bits": 8, "colour": True}
    assert kind(picked, a=grey) == {**picked, "bits": 8, "colour": False}
    assert kind(picked, a=grey, b=colour) == {**picked, "bits": 8, "colour": None}
    plain = {"channels": None, "range": None}
    assert kind(plain, a=grey) == plain


def test_the_resize_is_opencvs_bit_for_bit() -> None:
    import cv2

    cv2.setNumThreads(0)
    draw = np.random.default_rng(0)
    for round_ in range(120):
        height, width, new_height, new_width = (int(v) for v in draw.integers(1, 200, 4))
        if round_ % 6 == 0:
            new_height, new_width = max(1, height // 2), max(1, width // 2)
        if round_ % 7 == 0:
            height, width = 2 * new_height, 2 * new_width
        image = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
        wanted = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
        found = predict.resize_like_opencv(image, new_height, new_width)
        assert (found == wanted).all(), (height, width, new_height, new_width)


def test_the_size_after_the_resize_is_mmcvs() -> None:
    import mmcv

    draw = np.random.default_rng(0)
    for _ in range(300):
        height, width, across, down = (int(v) for v in draw.integers(8, 900, 4))
        wanted = mmcv.rescale_size((width, height), (across, down))
        rule = {"resize": {"scale": [across, down], "keep_ratio": True}}
        assert predict.resized_size(rule, height, width) == wanted[::-1]


@pytest.mark.parametrize("align_corners", [False, True])
def test_logits_are_resized_as_torch_does(align_corners: bool, torch: ModuleType) -> None:
    draw = np.random.default_rng(0)
    for _ in range(40):
        height, width, new_height, new_width = (int(v) for v in draw.integers(1, 120, 4))
        logits = draw.normal(size=(2, height, width)).astype(np.float32)
        wanted = torch.nn.functional.interpolate(
            torch.from_numpy(logits)[None], (new_height, new_width), mode="bilinear", align_corners=align_corners
        )[0].numpy()
        found = predict.resize_logits(logits, new_height, new_width, align_corners)
        assert np.abs(found - wanted).max() < 5e-5


def test_the_last_window_is_moved_back_inside() -> None:
    assert predict.windows(64, 48, 20) == [(0, 48), (16, 64)]
    assert predict.windows(100, 40, 30) == [(0, 40), (30, 70), (60, 100)]
    assert predict.windows(30, 48, 20) == [(0, 30)]


# --- images of other shapes than those trained on ---


def test_a_flat_image_is_padded_to_a_model_and_cut_back(make: Callable[[str], Made]) -> None:
    made = make("fcn-whole")
    predictor = predict.Predictor(made.bundle)
    image = predict.read_image(made.dataset.image_path(made.dataset.names[-1]))[:20]
    padded = np.empty((64, 64, 3), np.float32)
    padded[:] = predictor.input["pad_pixel"]
    padded[:20] = image
    wanted = predictor.forward(padded.transpose(2, 0, 1)[None])[:, :20]
    assert predictor.change(20, 64) == "padded"
    assert predictor.change(64, 64) == ""
    assert predictor.change(128, 128) == ""  # as validation resizes it
    assert (predictor.logits(image) == wanted).all()


def test_windows_of_a_flat_image_are_padded_too(make: Callable[[str], Made]) -> None:
    made = make("pspnet-slide")
    predictor = predict.Predictor(made.bundle)
    image = predict.read_image(made.dataset.image_path(made.dataset.names[-1]))[:30]
    batch = image.astype(np.float32).transpose(2, 0, 1)[None]
    first, last = predictor.forward(batch[..., :48]), predictor.forward(batch[..., 16:])
    found = predictor.logits(image)
    assert predictor.change(30, 64) == "padded"
    assert np.allclose(found[:, :, :16], first[:, :, :16])
    assert np.allclose(found[:, :, 48:], last[:, :, 32:])


def test_an_image_that_no_model_is_large_enough_for_is_still_segmented(make: Callable[[str], Made]) -> None:
    """The brighter half, which the training's images taught, is found at about the same places."""
    made = make("deeplabv3-whole-oblong")
    predictor = predict.Predictor(made.bundle)
    with Image.open(made.dataset.root.with_name("phantom") / f"images/{made.dataset.names[-1]}.png") as scan:
        image = np.asarray(scan.convert("RGB"))
    found = predictor.mask(image)
    assert found.shape == image.shape[:2] == (96, 96)
    assert predictor.change(96, 96) == "made smaller"
    assert ((image[..., 0] > np.median(image[..., 0])) == found).mean() > 0.6


def test_how_much_smaller_an_image_is_made() -> None:
    """By the model that leaves most of it; a model as high as the window takes images of any height."""
    predictor = predict.Predictor.__new__(predict.Predictor)
    whole = {"resize": {"scale": [64, 64], "keep_ratio": True}, "pad": {"size_divisor": 16}, "mode": "whole"}
    predictor.input, predictor.files = {**whole, "window": None}, {(48, 64): "a", (64, 32): "b"}
    assert predictor._fitting(64, 64) == (48, 48)
    assert predictor._fitting(64, 30) == (64, 30)
    assert predictor._fitting(20, 64) == (20, 64)
    predictor.input, predictor.files = {**whole, "mode": "slide", "window": [48, 48]}, {(48, 32): "a"}
    assert predictor._fitting(64, 32) == (64, 32)
    assert predictor._fitting(64, 64) == (32, 32)


# --- predict.py called wrongly ---


def test_predict_py_says_what_is_wrong(
    make: Callable[[str], Made], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make("fcn-whole")
    monkeypatch.setattr(predict, "__file__", str(made.bundle / "predict.py"))
    images = tmp_path / "images"

    def refused(*arguments: object, status: int = 2) -> str:
        assert predict.main([str(argument) for argument in arguments]) == status
        return capsys.readouterr().err

    assert refused() == "use: python predict.py IMAGES_FOLDER OUT_FOLDER\n"
    assert "no such folder; give the folder of the images" in refused(images, tmp_path / "out")
    images.mkdir()
    assert "holds no image (.bmp, " in refused(images, tmp_path / "out")
    Image.new("L", (64, 64)).save(images / "a.png")
    assert "lies in the folder of the images" in refused(images, images / "out")
    Image.new("L", (64, 64)).save(images / "a.bmp")
    assert "both masks would be a.png; rename one" in refused(images, tmp_path / "out")
    (images / "a.bmp").unlink()
    Image.new("L", (64, 20)).save(images / "flat.png")
    (images / "broken.png").write_bytes(b"no image")
    Image.new("I;16", (64, 64)).save(images / "deep.png")
    (images / "dead.png").symlink_to("nowhere.png")
    for name in ("scan.gif", "scan"):
        (images / name).write_bytes(b"")
    linked = tmp_path / "linked"
    linked.mkdir()
    Image.new("L", (64, 64)).save(linked / "a.png")
    (images / "linked").symlink_to(linked)
    assert "lies in the folder of the images" in refused(images, linked / "out")
    out = tmp_path / "out"
    said = refused(images, out, status=1)
    assert f"note: left out: 2 files that are no images by suffix, such as {images}/scan\n" in said
    assert "dead.png: is a link to a file that is not there; put that file back" in said
    assert "note: 1 of 6 images have a shape that none of the training's had, such as " in said
    assert "flat.png: padded to fit a model, expect less" in said
    assert "broken.png: not an image file; export it as 8-bit PNG or JPEG" in said
    assert "deep.png: 16 bits a channel; save it with the 8 bits that the training's images had" in said
    assert sorted(os.listdir(out)) == ["a.png", "flat.png", "linked"]
    assert os.listdir(out / "linked") == ["a.png"]
    assert read(out / "flat.png").shape == (20, 64)
    Image.new("1", (9600, 9600)).save(images / "large.png", compress_level=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "large.png: has 9600 x 9600 = 92 million pixels, more than 89; cut" in refused(images, out, status=1)


@pytest.mark.slow  # how such images are read: tests/inputs, tests/search/checking/test_data.py
def test_images_of_16_bits_are_read_as_training_read_them(train: Train, square: Dataset, tmp_path: Path) -> None:
    root = Path(shutil.copytree(square.root, tmp_path / "deep", ignore=shutil.ignore_patterns("*.png")))
    shutil.copytree(square.root / "masks", root / "masks", dirs_exist_ok=True)
    for name in square.names:
        with Image.open(square.image_path(name)) as image:
            values = np.asarray(image.convert("L")).astype(np.uint16) * 8 + 240
        Image.fromarray(values).save(root / f"images/{name}.tif")
    dataset = Dataset.open(root, classes=square.classes, rule=ImageRule(range=(300, 2000)))
    inspection = inspect(dataset)
    assert inspection.problems == []
    write_copies(dataset, dataset.names, inspection.manifest, tmp_path / "copies")

    lists = root / "splits/train.txt", root / "splits/val.txt"
    copied = with_copies(dataset, tmp_path / "copies")
    outcome = train(tmp_path, fixed=LEARNS | CASES["fcn-whole"], dataset=copied, lists=lists)
    (tmp_path / f"copies/{dataset.names[-1]}.png").unlink()  # as on a machine that did not train
    trial = TrialFolder(outcome.folder)
    found = build_bundle(trial, tmp_path / "bundle", facts_of(trial), trial.last)
    # Both were compared by the export itself, from the 16-bit files on.
    assert found["parity"]["pixels_differing"] == 0
    assert found["verified"]["metrics_max_difference"] == 0
    assert found["input"]["rule"] == {"channels": None, "range": [300, 2000], "bits": 16}
    assert "300 and below become 0, 2000 and above 255" in (tmp_path / "bundle/README.md").read_text()
    rule = predict.Predictor(tmp_path / "bundle").rule
    for name in dataset.names:
        copy = predict.read_image(tmp_path / f"copies/{name}.png")
        assert (predict.read_image(dataset.image_path(name), rule) == copy).all()
        assert len(np.unique(copy)) > 32
    with pytest.raises(predict.BadImageError, match="has 8 bits a channel, and the training's images had 16; give"):
        predict.read_image(square.image_path(square.names[0]), rule)


def test_a_bundle_is_held_to_the_pooled_metrics() -> None:
    found = {"mIoU": 0.7, "Dice.fluid": 0.5}
    assert check_metrics(found, {"mIoU": 0.7, "Dice.fluid": 0.5005, "specificity_per_image": 1.0}) == pytest.approx(
        5e-4
    )
    with pytest.raises(InputError, match=r"Dice\.fluid is 0\.50000 and the trial's 0\.60000"):
        check_metrics(found, {"mIoU": 0.7, "Dice.fluid": 0.6})
