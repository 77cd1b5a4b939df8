"""Masks for a folder of images, by the model beside this file.

    python predict.py IMAGES_FOLDER OUT_FOLDER

Needs onnxruntime, Pillow and numpy, nothing else. For every image under IMAGES_FOLDER an 8-bit PNG of the same name
and size is written under OUT_FOLDER; a pixel's value is the index of its class in bundle.json. Images are prepared as
MMSegmentation prepares them: bundle.json says how, and this file does it. Not a medical device.

Exit status 0: all done; 1: some images could not be used (named on stderr); 2: wrong call.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
Pixels = NDArray[np.uint8]
"""Height x width x 3, RGB, 0 to 255."""
Logits = NDArray[np.float32]
"""Classes x height x width, before softmax."""


class BadImageError(ValueError):
    """An image that this bundle cannot segment; the message says why."""


class Predictor:
    """The models of a bundle, opened as they are needed.

    Args:
        bundle: folder of bundle.json and the ONNX models.
        threads: CPU threads of onnxruntime; 0 leaves the choice to it.
    """

    def __init__(self, bundle: Path, threads: int = 0) -> None:
        document = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
        self.bundle, self.threads = bundle, threads
        self.input: dict[str, Any] = document["input"]
        self.output: dict[str, Any] = document["output"]
        self.files = {(model["height"], model["width"]): model["file"] for model in document["models"]}
        self._sessions: dict[tuple[int, int], Any] = {}

    def mask(self, image: Pixels) -> NDArray[np.uint8]:
        """Class indices, height x width, of an image at its own size."""
        return np.asarray(self.logits(image).argmax(axis=0), np.uint8)

    def logits(self, image: Pixels) -> Logits:
        """Logits at the image's own size; BadImageError where no model has the size that this image needs."""
        height, width = image.shape[:2]
        resized = resize_like_opencv(image, *resized_size(self.input, height, width))
        padded = pad(self.input, resized.astype(np.float32))
        batch = np.ascontiguousarray(padded.transpose(2, 0, 1)[None])
        found = self._slide(batch) if self.input["mode"] == "slide" else self.forward(batch)
        # Padding stands to the right and below.
        found = found[:, : resized.shape[0], : resized.shape[1]]
        return resize_logits(found, height, width, bool(self.output["align_corners"]))

    def forward(self, batch: NDArray[np.float32]) -> Logits:
        """Logits of one prepared input, 1 x 3 x height x width."""
        session = self._session(batch.shape[2], batch.shape[3])
        found: NDArray[np.float32] = session.run([self.output["name"]], {self.input["name"]: batch})[0]
        first: Logits = found[0]
        return first

    def _slide(self, batch: NDArray[np.float32]) -> Logits:
        """Mean over overlapping windows, the last ones moved back inside: EncoderDecoder.slide_inference of mmseg."""
        height, width = batch.shape[2:]
        total: Logits | None = None
        count = np.zeros((1, height, width), np.float32)
        for top, bottom in windows(height, self.input["window"][0], self.input["stride"][0]):
            for left, right in windows(width, self.input["window"][1], self.input["stride"][1]):
                found = self.forward(np.ascontiguousarray(batch[:, :, top:bottom, left:right]))
                if total is None:
                    total = np.zeros((found.shape[0], height, width), np.float32)
                total[:, top:bottom, left:right] += found
                count[:, top:bottom, left:right] += 1
        assert total is not None
        return total / count

    def _session(self, height: int, width: int) -> Any:
        if (height, width) not in self._sessions:
            if (height, width) not in self.files:
                known = ", ".join(f"{h} x {w}" for h, w in sorted(self.files))
                raise BadImageError(
                    f"needs a model of {height} x {width} pixels, this bundle has {known}; crop it to a shape the "
                    "training data had"
                )
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self.threads
            options.log_severity_level = 3
            path = str(self.bundle / self.files[height, width])
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            self._sessions[height, width] = session
        return self._sessions[height, width]


def read_image(path: Path) -> Pixels:
    """The image as training read it: turned as EXIF asks, RGB, transparency dropped."""
    with Image.open(path) as image:
        if image.mode.startswith("I") or image.mode == "F":
            raise BadImageError(f"more than 8 bits a channel (mode {image.mode}); save it with 8 bits")
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def resized_size(contract: dict[str, Any], height: int, width: int) -> tuple[int, int]:
    """(height, width) after the resize of `contract`: mmcv.rescale_size with keep_ratio, else the scale itself."""
    rule = contract["resize"]
    if rule is None:
        return height, width
    across, down = rule["scale"]
    if not rule["keep_ratio"]:
        return int(down), int(across)
    factor = min(max(across, down) / max(height, width), min(across, down) / min(height, width))
    return int(height * float(factor) + 0.5), int(width * float(factor) + 0.5)


def padded_size(contract: dict[str, Any], height: int, width: int) -> tuple[int, int]:
    """(height, width) after padding to the network's stride or to a fixed size."""
    rule = contract["pad"]
    if rule is None:
        return height, width
    if "size_divisor" in rule:
        step = rule["size_divisor"]
        return -(-height // step) * step, -(-width // step) * step
    return max(height, rule["size"][0]), max(width, rule["size"][1])


def model_size(contract: dict[str, Any], height: int, width: int) -> tuple[int, int]:
    """(height, width) of the model's input for an image of this size; a window is cut to the image."""
    height, width = padded_size(contract, *resized_size(contract, height, width))
    if contract["mode"] == "slide":
        return min(height, contract["window"][0]), min(width, contract["window"][1])
    return height, width


def pad(contract: dict[str, Any], image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pads height x width x 3 to the right and below, with the pixel that normalisation turns into the pad value."""
    height, width = padded_size(contract, *image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    padded = np.empty((height, width, 3), np.float32)
    padded[:] = np.asarray(contract["pad_pixel"], np.float32)
    padded[: image.shape[0], : image.shape[1]] = image
    return padded


def windows(length: int, window: int, stride: int) -> list[tuple[int, int]]:
    """[start, end) of each window along one side."""
    ends = [min(i * stride + window, length) for i in range(max(length - window + stride - 1, 0) // stride + 1)]
    return [(max(end - window, 0), end) for end in ends]


def resize_like_opencv(image: Pixels, height: int, width: int) -> Pixels:
    """cv2.resize with INTER_LINEAR, bit for bit: 11-bit weights at half-pixel centres, no smoothing when shrinking.

    Pillow's own bilinear smooths when it shrinks, and the network was not trained on that.
    """
    if image.shape[:2] == (height, width):
        return image
    wide = image.astype(np.int64)
    if image.shape[:2] == (2 * height, 2 * width):  # OpenCV takes the mean of four here
        quarter = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
        return np.asarray((quarter + 2) >> 2, np.uint8)
    left, right, a, b = _weights_11_bit(image.shape[1], width)
    inside = (left >= 0) & (left < image.shape[1] - 1)  # across, the edge pixel stands alone; down, it is met twice
    a, b = np.where(inside, a, 2048), np.where(inside, b, 0)
    rows = wide[:, np.clip(left, 0, None)] * a[:, None] + wide[:, right] * b[:, None]
    above, below, a, b = _weights_11_bit(image.shape[0], height)
    first, second = rows[np.clip(above, 0, None)] >> 4, rows[below] >> 4
    mixed = ((a[:, None, None] * first) >> 16) + ((b[:, None, None] * second) >> 16)
    return np.asarray(np.clip((mixed + 2) >> 2, 0, 255), np.uint8)


def _weights_11_bit(
    old: int, new: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Index before (-1 before the first pixel) and after each new pixel, and their weights in 1/2048."""
    at = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    before = np.minimum(np.floor(at).astype(np.int64), old - 1)
    share = at - np.floor(at)
    a, b = np.rint((1 - share) * np.float32(2048)), np.rint(share * np.float32(2048))
    return before, np.clip(before + 1, 0, old - 1), a.astype(np.int64), b.astype(np.int64)


def resize_logits(logits: Logits, height: int, width: int, align_corners: bool) -> Logits:
    """torch.nn.functional.interpolate(mode="bilinear") of classes x height x width."""
    if logits.shape[1:] == (height, width):
        return logits
    above, below, down = _neighbours(logits.shape[1], height, align_corners)
    left, right, across = _neighbours(logits.shape[2], width, align_corners)
    one = np.float32(1)
    rows = logits[:, :, left] * (one - across) + logits[:, :, right] * across
    down = down[:, None]
    found: Logits = rows[:, above] * (one - down) + rows[:, below] * down
    return found


def _neighbours(
    old: int, new: int, align_corners: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Index before and after each new place, and the share of the one after."""
    place = np.arange(new, dtype=np.float32)
    if align_corners:
        at = place * np.float32((old - 1) / (new - 1) if new > 1 else 0.0)
    else:
        half = np.float32(0.5)
        at = np.maximum((place + half) * np.float32(old / new) - half, np.float32(0))
    before = np.minimum(at.astype(np.int64), old - 1)
    return before, np.minimum(before + 1, old - 1), (at - before.astype(np.float32)).astype(np.float32)


def find_images(folder: Path) -> dict[str, Path]:
    """Images under `folder` by the name of their mask, "/" between folders; ValueError where two would share one."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix.lower() in SUFFIXES and path.is_file() and not any(p.startswith(".") for p in inside.parts):
            name = inside.with_suffix(".png").as_posix()
            if name in found:
                raise ValueError(f"{found[name]} and {path}: both masks would be {name}; rename one")
            found[name] = path
    return found


def save_mask(mask: NDArray[np.uint8], path: Path) -> None:
    """Writes an 8-bit PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        Image.fromarray(mask).save(part, format="PNG")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def main(arguments: list[str]) -> int:
    """Segments a folder; returns the exit status."""
    if len(arguments) != 2:
        print("use: python predict.py IMAGES_FOLDER OUT_FOLDER", file=sys.stderr)
        return 2
    source, out = Path(arguments[0]), Path(arguments[1])
    problem = _problem(source, out)
    if problem:
        print(f"predict.py: {problem}", file=sys.stderr)
        return 2
    try:
        images = find_images(source)
    except ValueError as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return 2
    predictor, failed = Predictor(Path(__file__).resolve().parent), 0
    for name, path in images.items():
        try:
            save_mask(predictor.mask(read_image(path)), out / name)
        except (BadImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            failed += 1
            print(f"predict.py: {path}: {error}", file=sys.stderr)
    print(f"{len(images) - failed} masks in {out}")
    return 1 if failed else 0


def _problem(source: Path, out: Path) -> str | None:
    if not source.is_dir():
        return f"{source}: no such folder; give the folder of the images"
    if out.resolve() == source.resolve() or source.resolve() in out.resolve().parents:
        return f"{out}: lies in the folder of the images, where masks would be taken for images; name another"
    if not any(path.suffix.lower() in SUFFIXES for path in source.rglob("*")):
        return f"{source}: holds no image ({', '.join(sorted(SUFFIXES))}); give the folder of the images"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
