"""What is checked of a bundle before it exists: torch against ONNX, files against the trial. For a child process."""

from __future__ import annotations

import hashlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmtuna.objectives.deployment.contract import LabelledImage
from mmtuna.objectives.devices import cores
from mmtuna.objectives.evaluation.metrics import Counts, metrics, total
from mmtuna.objectives.predict import Predictor, read_image
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.metrics import is_pooled

LOGITS_TOLERANCE = 1e-4
"""Largest |ONNX - torch| over all logits of all validation images, as a share of torch's range of logits."""
PIXELS_TOLERANCE = 1e-4
"""Largest share of all validation pixels whose class may differ between ONNX and torch."""
METRICS_TOLERANCE = 1e-3
"""Largest difference of any metric (0 to 1) between the exported files and the trial.

A trial evaluated on the CPU is met exactly. On a GPU it was evaluated with TF32 convolutions, whose rounding moved an
IoU by 2e-4 when emulated.
"""
_TIMED_SECONDS = 10.0

# Refuses our own package to an interpreter in which they are installed.
_WITHOUT_US = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "mmtuna":
            raise ImportError(name + " is refused here")
sys.meta_path.insert(0, Refuse())
"""
_STOCK = """
import contextlib, hashlib, io, os, warnings
os.environ["CUDA_VISIBLE_DEVICES"] = ""
warnings.simplefilter("ignore")
with contextlib.redirect_stdout(io.StringIO()):
    import torch
    from mmseg.apis import inference_model, init_model
    torch.set_num_threads(1)
    torch.load(sys.argv[2], weights_only=True)
    model = init_model(sys.argv[1], sys.argv[2], device="cpu")
    mask = inference_model(model, sys.argv[3]).pred_sem_seg.data[0].numpy().astype("uint8")
print(hashlib.sha256(mask.tobytes()).hexdigest())
"""


def compare_with_torch(segmentor: Any, bundle: Path, images: Sequence[LabelledImage]) -> dict[str, Any]:
    """ONNX by predict.py's functions against MMSegmentation's inference_model, from the image files on.

    Returns `parity` of bundle.json. InputError where logits or pixels differ beyond their tolerance.
    """
    from mmseg.apis import inference_model

    predictor = Predictor(bundle)
    lowest, highest, apart, differing, pixels, sha = np.inf, -np.inf, 0.0, 0, 0, ""
    for entry in images:
        found = inference_model(segmentor, str(entry.image))
        logits, mask = found.seg_logits.data.numpy(), found.pred_sem_seg.data[0].numpy().astype(np.uint8)
        ours = predictor.logits(read_image(entry.source, predictor.rule))
        if ours.shape != logits.shape:
            raise InputError(f"{entry.name}: ONNX gives {ours.shape} and torch {logits.shape}")
        lowest, highest = min(lowest, float(logits.min())), max(highest, float(logits.max()))
        apart = max(apart, float(np.abs(ours - logits).max()))
        differing += int((ours.argmax(axis=0) != mask).sum())
        pixels += mask.size
        sha = sha or hashlib.sha256(mask.tobytes()).hexdigest()
    share, relative = differing / pixels, apart / max(highest - lowest, 1e-12)
    # Written so that NaN fails.
    if not relative <= LOGITS_TOLERANCE:
        raise InputError(
            f"ONNX and torch logits differ by {relative:.2g} of their range, {LOGITS_TOLERANCE:g} is allowed"
        )
    _check_pixels(share)
    check_stock(bundle, images[0], sha)
    return {
        "images": len(images),
        "pixels": pixels,
        "logits_max_difference": apart,
        "logits_range": [lowest, highest],
        "logits_relative_difference": relative,
        "logits_tolerance": LOGITS_TOLERANCE,
        "pixels_differing": differing,
        "pixels_tolerance": PIXELS_TOLERANCE,
        "loads_without_mmtuna": True,
    }


def _check_pixels(share: float) -> None:
    if not share <= PIXELS_TOLERANCE:
        raise InputError(f"ONNX and torch differ in {share:.3%} of the pixels, {PIXELS_TOLERANCE:.3%} is allowed")


def check_stock(bundle: Path, image: LabelledImage, sha256: str) -> None:
    """config.py and weights.pth in a fresh interpreter that refuses our package: the same mask, or InputError."""
    paths = [str(bundle / "config.py"), str(bundle / "weights.pth"), str(image.image)]
    try:
        done = _fresh([sys.executable, "-I", "-c", _WITHOUT_US + _STOCK, *paths])
    except InputError as error:
        raise InputError(f"config.py and weights.pth do not load in MMSegmentation without mmtuna: {error}") from None
    if done.stdout.split()[-1:] != [sha256]:
        raise InputError(f"{image.name}: MMSegmentation without mmtuna gives another mask than with it")


def mask_together(segmentors: Sequence[Any], image: Path, classes: int) -> Any:
    """What several nets say of an image: a tensor, height x width, of the classes with the highest mean probability.

    The mean is of their softmax, as nnU-Net joins its folds. InputError for nets of a single sigmoid channel.
    """
    import torch
    from mmseg.apis import inference_model

    logits = [inference_model(segmentor, str(image)).seg_logits.data for segmentor in segmentors]
    if len(logits[0]) < classes:
        raise InputError("the decode head has one sigmoid channel; folds are joined by one probability a class")
    return torch.stack([one.softmax(dim=0) for one in logits]).mean(dim=0).argmax(dim=0)


def compare_together(
    segmentors: Sequence[Any], bundle: Path, images: Sequence[LabelledImage], classes: int
) -> dict[str, Any]:
    """The masks of several nets by predict.py in a fresh interpreter against torch's mean of their probabilities.

    Returns `images`, `pixels` and `pixels_differing` of bundle.json's `parity`; InputError beyond the tolerance.
    """
    differing, pixels = 0, 0
    with _predicted(bundle, images) as masks:
        for entry in images:
            wanted = mask_together(segmentors, entry.image, classes).numpy()
            found = _values(masks / Path(entry.name).with_suffix(".png"))
            if found.shape != wanted.shape:
                raise InputError(f"{entry.name}: predict.py gives {found.shape} and torch {wanted.shape} pixels")
            differing, pixels = differing + int((found != wanted).sum()), pixels + wanted.size
    _check_pixels(differing / pixels)
    return {"images": len(images), "pixels": pixels, "pixels_differing": differing}


def measure_files(
    bundle: Path, images: Sequence[LabelledImage], classes: Sequence[str], ignore: int
) -> dict[str, float]:
    """Metrics (fractions) of the bundle as a person uses it: masks that predict.py writes in a fresh interpreter."""
    with _predicted(bundle, images) as masks:
        names = {entry: masks / Path(entry.name).with_suffix(".png") for entry in images}
        counts = [count(path, entry.truth(), len(classes), ignore) for entry, path in names.items()]
    return metrics(total(counts), classes)


@contextmanager
def _predicted(bundle: Path, images: Sequence[LabelledImage]) -> Iterator[Path]:
    """The folder of the masks that the bundle's predict.py writes of these images in a fresh interpreter."""
    # Within the bundle: where this process is killed, it goes with the bundle that never was.
    with tempfile.TemporaryDirectory(prefix=".measured-", dir=bundle) as name:
        source, out = Path(name) / "images", Path(name) / "masks"
        for entry in images:
            link = (source / entry.name).with_suffix(entry.source.suffix)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(entry.source.resolve())
        _fresh([sys.executable, "-I", str(bundle / "predict.py"), str(source), str(out)])
        yield out


def count(predicted: Path, truth: NDArray[np.uint8], classes: int, ignore: int) -> Counts:
    """Counts of one image from the file of its predicted mask; pixels whose truth is `ignore` are left out."""
    found, wanted = _values(predicted), truth
    if found.shape != wanted.shape:
        raise InputError(f"{predicted.name}: the mask is {found.shape} and the truth {wanted.shape} pixels")
    valid = wanted != ignore
    found, wanted = found[valid], wanted[valid]

    def histogram(values: NDArray[np.uint8]) -> tuple[int, ...]:
        return tuple(int(v) for v in np.bincount(values, minlength=256)[:classes])

    return Counts(intersect=histogram(found[found == wanted]), predicted=histogram(found), labelled=histogram(wanted))


def check_metrics(found: Mapping[str, float], trial: Mapping[str, float]) -> float:
    """The largest difference between the files' metrics and the trial's; InputError beyond METRICS_TOLERANCE.

    Of the pooled ones: a single pixel may move what is averaged over few images by more than that.
    """
    differences = {name: abs(found.get(name, np.inf) - value) for name, value in trial.items() if is_pooled(name)}
    worst = max(differences, key=lambda name: differences[name])
    if not differences[worst] <= METRICS_TOLERANCE:
        raise InputError(
            f"the weights' {worst} is {found.get(worst, float('nan')):.5f} and the trial's {trial[worst]:.5f}, "
            f"{METRICS_TOLERANCE:g} apart is allowed; data, checkpoint or versions changed since the trial"
        )
    return float(differences[worst])


def measure_latency(bundle: Path, image: LabelledImage, runs: int = 20) -> dict[str, Any]:
    """Milliseconds on this machine, medians of up to `runs` runs after two to warm up, at most some ten seconds each.

    `model_ms` is one pass of model.onnx, or of that of each net; `image_ms` is one image in memory to its mask.
    """
    predictor = Predictor(bundle)
    pixels = read_image(image.source, predictor.rule)
    nets = [(net, np.full((1, 3, *next(iter(net.files))), 127, np.float32)) for net in predictor.members or [predictor]]
    model, model_runs = _median_ms(lambda: [net.forward(batch) for net, batch in nets], runs)
    whole, whole_runs = _median_ms(lambda: predictor.mask(pixels), runs)
    return {
        "model_ms": round(model, 3),
        "image_ms": round(whole, 3),
        "runs": min(model_runs, whole_runs),
        "image_size": list(pixels.shape[:2]),
        "provider": "CPUExecutionProvider",
        "processor": platform.machine(),
        "cores": cores(),
    }


def _median_ms(call: Any, runs: int) -> tuple[float, int]:
    call(), call()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < runs and (not times or time.perf_counter() - began < _TIMED_SECONDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times), len(times)


def _values(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image).astype(np.uint8)


def _fresh(command: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise InputError(lines[-1] if lines else f"{Path(command[0]).name} ended with status {done.returncode}")
    return done
