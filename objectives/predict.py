"""Masks for a folder of images, by the model beside this file.

    python predict.py IMAGES_FOLDER OUT_FOLDER

Needs onnxruntime, Pillow and numpy, nothing else. For every image under IMAGES_FOLDER, in linked folders too, an 8-bit
PNG of the same name and size is written under OUT_FOLDER; a pixel's value is the index of its class in bundle.json.
What is no image by its suffix is left out, and said to be; hidden files are not met. Images are read and prepared as
they were for the training: bundle.json says how, and this file does it, or says that it cannot. An image of a shape
that the training's had not is padded to the input of a model, or made smaller, which is said. Not a medical device.

Exit status 0: all done; 1: some images could not be used (named on stderr); 2: wrong call.
"""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".jp2"})
FORMATS = ("PNG", "JPEG", "MPO", "BMP", "TIFF", "WEBP", "JPEG2000")
"""As Pillow names them; MPO is a JPEG that a phone put a second picture behind."""
MAX_PIXELS = 89_478_485
"""Of one image. Beyond it Pillow, which reads masks for MMSegmentation, warns of an attack, and soon refuses."""
Pixels = NDArray[np.uint8]
"""Height x width x 3, RGB, 0 to 255."""
Logits = NDArray[np.float32]
"""Classes x height x width, before softmax."""
Rule = dict[str, Any]
"""How a file becomes pixels: `channels` (which to take, from 0; None: all) and `range` (the two raw values that become
0 and 255; None: 8-bit values as they are). And what a file must be for that to mean what it meant in training: `bits`
(8 or 16 a channel) and `colour` (whether it has three channels or more); None, and of older bundles lacking: either."""

COLOUR = 3
"""Channels from which on the first is red and not grey."""
EMPTY = "is empty (zero bytes)", "copy the file again"
"""What is wrong with a file of no bytes, and what would be right."""
LOST = "is a link to a file that is not there", "put that file back"
"""The same of a dead link."""
_MODES = ("1", "L", "P", "RGB", "LA", "RGBA", "I", "I;16", "I;16B", "I;16L")
_PHOTOMETRIC, _SAMPLES, _BITS, _EXTRA, _SAMPLE_FORMAT = 262, 277, 258, 338, 339  # tags of TIFF
_ORIENTATION = 274  # of EXIF


class BadImageError(ValueError):
    """An image that cannot be read as it must be, or segmented; the message says why, and what would do."""

    def __init__(self, what: str, fix: str = "save it as 8-bit grey or RGB PNG") -> None:
        super().__init__(f"{what}; {fix}")
        self.what, self.fix = what, fix


class TooDeepError(BadImageError):
    """Grey of more than 8 bits where no range says which values become 0 and 255; holds `lowest` and `highest`."""

    def __init__(self, bits: int, lowest: int, highest: int) -> None:
        super().__init__(f"{bits} bits a channel", "save it with the 8 bits that the training's images had")
        self.lowest, self.highest = lowest, highest


class ChannelsError(BadImageError):
    """Other channels than grey or RGB where nothing says which to take."""


class NoChannelError(BadImageError):
    """No channel of a number that is to be taken."""

    def __init__(self, count: int, asked: int) -> None:
        held = f"channels 0 to {count - 1}" if count > 1 else "channel 0 alone"
        fix = f"save it with the {asked + 1} channels or more that the training's images had"
        super().__init__(f"has {held}, and {asked} is asked for", fix)


class Predictor:
    """The models of a bundle, opened as they are needed; of several nets what they say together.

    Args:
        bundle: folder of bundle.json and the ONNX models.
        threads: CPU threads of onnxruntime; 0 leaves the choice to it.
    """

    def __init__(self, bundle: Path, threads: int = 0) -> None:
        document = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
        self.bundle, self.threads = bundle, threads
        self.input: dict[str, Any] = document["input"]
        self.rule: Rule = self.input.get("rule", {})
        self.output: dict[str, Any] = document["output"]
        self.files = {(model["height"], model["width"]): model["file"] for model in document["models"]}
        self.members = [Predictor(bundle / name, threads) for name in document.get("members", ())]
        self._sessions: dict[tuple[int, int], Any] = {}

    def mask(self, image: Pixels) -> NDArray[np.uint8]:
        """Class indices, height x width, of an image at its own size."""
        return np.asarray(self.logits(image).argmax(axis=0), np.uint8)

    def logits(self, image: Pixels) -> Logits:
        """Logits at the image's own size; where no model has the size that it needs, by the nearest (`change`).

        Of several nets the mean of their probabilities, 0 to 1, as nnU-Net joins its folds.
        """
        if self.members:
            return np.asarray(np.mean([softmax(net.logits(image)) for net in self.members], axis=0), np.float32)
        height, width = image.shape[:2]
        resized = resize_like_opencv(image, *self._fitting(*resized_size(self.input, height, width)))
        padded = pad(self.input, resized.astype(np.float32))
        batch = np.ascontiguousarray(padded.transpose(2, 0, 1)[None])
        found = self._slide(batch) if self.input["mode"] == "slide" else self.forward(batch)
        # Padding stands to the right and below.
        found = found[:, : resized.shape[0], : resized.shape[1]]
        return resize_logits(found, height, width, bool(self.output["align_corners"]))

    def change(self, height: int, width: int) -> str:
        """What is done to an image of this size that was to none of the training's: "", "padded" or "made smaller"."""
        resized = resized_size(self.input, height, width)
        if self._fitting(*resized) != resized:
            return "made smaller"
        return "" if input_size(self.input, *resized) in self.files else "padded"

    def forward(self, batch: NDArray[np.float32]) -> Logits:
        """Logits of one prepared input, 1 x 3 x height x width, by the smallest model that it fits into."""
        height, width = batch.shape[2:]
        size = min((s for s in self.files if s[0] >= height and s[1] >= width), key=lambda s: (s[0] * s[1], s))
        if size != (height, width):
            whole = np.empty((1, 3, *size), np.float32)
            whole[:] = np.asarray(self.input["pad_pixel"], np.float32)[:, None, None]
            whole[:, :, :height, :width] = batch
            batch = whole
        found: NDArray[np.float32] = self._session(size).run([self.output["name"]], {self.input["name"]: batch})[0]
        first: Logits = found[0, :, :height, :width]
        return first

    def _fitting(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) to resize to: those of the contract, or less where no model is large enough for them."""
        needed = input_size(self.input, height, width)
        if any(size[0] >= needed[0] and size[1] >= needed[1] for size in self.files):
            return height, width
        window = self.input["window"] if self.input["mode"] == "slide" else (np.inf, np.inf)
        # A model as large as the window takes any length, window by window.
        rooms = (
            [np.inf if side >= most else side for side, most in zip(size, window, strict=True)] for size in self.files
        )
        share = max(min(down / height, across / width) for down, across in rooms)
        return max(1, int(height * share)), max(1, int(width * share))

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

    def _session(self, size: tuple[int, int]) -> Any:
        if size not in self._sessions:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self.threads
            options.log_severity_level = 3
            path = str(self.bundle / self.files[size])
            self._sessions[size] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return self._sessions[size]


def read_image(path: Path, rule: Rule | None = None) -> Pixels:
    """The image as training sees it; BadImageError where that cannot be had bit for bit."""
    if path.is_symlink() and not path.exists():
        raise BadImageError(*LOST)
    return decode(path.read_bytes(), rule)


def decode(data: bytes, rule: Rule | None = None) -> Pixels:
    """`read_image` of a file's bytes."""
    rule = rule or {}
    span = rule.get("range")
    bands = raw_bands(data, rule.get("channels"), deep=span is not None, like=rule)
    if span is not None:
        bands = stretch(bands, *span)
    return np.asarray(np.repeat(bands, 3, axis=2) if bands.shape[2] == 1 else bands, np.uint8)


def _refuse_unlike(count: int, held: int, rule: Rule) -> None:
    """BadImageError for channels or bits that do not mean what they do in the images that the rule was made for."""
    bits, colour = rule.get("bits"), rule.get("colour")
    if bits not in (None, 8 if held <= 8 else 16):
        fix = f"save it with {bits} bits as those were" if bits < held else f"give the original, which has {bits}"
        raise BadImageError(f"has {held} bits a channel, and the training's images had {bits}", fix)
    if colour not in (None, count >= COLOUR):
        channels = "channel" if count == 1 else "channels"
        had = "were in colour" if colour else "were grey"
        raise BadImageError(f"has {count} {channels}, and the training's images {had}", "give it as those were")


def stored(data: bytes) -> tuple[int, int]:
    """(bits a channel, 8 or 16; channels, an opaque alpha channel among them) of an image that `raw_bands` reads."""
    with Image.open(io.BytesIO(_without_alpha(data))) as image:
        count, bits = _stored(image, data)
    return 8 if bits <= 8 else 16, count


def orientation(data: bytes) -> int:
    """How EXIF asks to turn an image that `raw_bands` reads: 1 leaves it, 2 to 8 are its mirrored and turned forms."""
    with Image.open(io.BytesIO(_without_alpha(data))) as image:
        found = image.getexif().get(_ORIENTATION, 1)
    return found if found in range(2, 9) else 1  # cameras write 0, too


def stretch(bands: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Raw values to 0..255: `low` and below to 0, `high` and above to 255, between them linearly, halves upwards."""
    inside = np.clip(bands.astype(np.float64), low, high) - low
    return np.floor(inside * 255.0 / (high - low) + 0.5).astype(np.uint8)


def raw_bands(
    data: bytes, channels: Sequence[int] | None = None, *, deep: bool = False, like: Rule | None = None
) -> NDArray[Any]:
    """Values as the file holds them, height x width x 1 or 3, turned as EXIF asks.

    Args:
        data: the whole file.
        channels: which of its channels to take, one or three, from 0; None: it must have one or three. An alpha
            channel that is opaque throughout does not count.
        deep: whether grey of 9 to 16 bits, signed or not, is taken; else TooDeepError.
        like: a rule whose `bits` and `colour` the file must have.

    Raises BadImageError for whatever cannot be read without changing values.
    """
    try:
        with Image.open(io.BytesIO(data if channels is None else _without_alpha(data))) as image:
            _refuse_container(image)
            count, bits = _stored(image, data)
            _refuse_unlike(count, bits, like or {})
            image.load()
            if bits > 8 and not deep:
                values = np.asarray(image)
                raise TooDeepError(bits, int(values.min()), int(values.max()))
            bands = _bands(image)
            return _chosen(bands, count, channels, opaque=_is_opaque(image))
    except BadImageError:
        raise
    except UnidentifiedImageError:
        raise BadImageError(*_unknown(data)) from None
    except Exception as error:  # decoders raise nearly anything on damaged bytes (OSError, SyntaxError, struct.error)
        reason = str(error).partition("\n")[0][:120] or type(error).__name__
        raise BadImageError(f"cannot be decoded ({reason})", "copy or export the file again") from error


def _refuse_container(image: Image.Image) -> None:
    """What the header tells before any decoding."""
    if image.format not in FORMATS:
        raise BadImageError(f"is {image.format}, of which nothing is known", "export it as 8-bit PNG or JPEG")
    refuse_size(image)
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise BadImageError(f"holds {frames} pages or frames", "save each as a file of its own")


def refuse_size(image: Image.Image) -> None:
    """BadImageError for more than MAX_PIXELS, and for a side of a single pixel."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadImageError(
            f"has {height} x {width} = {width * height / 1e6:.0f} million pixels, more than {MAX_PIXELS / 1e6:.0f}",
            "cut it and its mask into tiles",
        )
    if min(width, height) < 2:
        raise BadImageError(f"is {height} x {width} pixels (height x width)", "take the strip out of the set")


def _stored(image: Image.Image, data: bytes) -> tuple[int, int]:
    """(channels, bits a channel) as the file stores them, which Pillow's mode hides; refuses what it alters."""
    count, bits, numbers = (3 if image.mode == "P" else len(image.getbands())), 8, 1
    if image.format == "PNG":
        bits = data[24]
    elif image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits, numbers = max(tags.get(_BITS, (1,))), max(tags.get(_SAMPLE_FORMAT, (1,)))
        count = count if image.mode == "P" else tags.get(_SAMPLES, 1)
        if bits > 8 and tags.get(_PHOTOMETRIC) == 0:
            raise BadImageError(f"{bits} bits a channel, and white is 0", "save it so that black is 0")
    elif image.format == "JPEG2000":
        at = data.find(b"\xff\x4f\xff\x51")  # begin of the code stream, and its size block
        depths = data[at + 42 : at + 42 + 3 * count : 3]
        bits, numbers = max(depth & 0x7F for depth in depths) + 1, 2 if max(depths) & 0x80 else 1
        if 8 < bits < 16:
            raise BadImageError(f"{bits} bits a channel in JPEG 2000", "save it as 16-bit PNG or TIFF")
    if numbers == 3 or image.mode == "F":
        raise BadImageError("holds floating-point values", "save it as 16-bit grey PNG or TIFF, or with 8 bits")
    if numbers not in (1, 4) and (bits != 16 or image.format != "TIFF"):
        raise BadImageError(f"holds signed values of {bits} bits", "save it as 16-bit grey TIFF, or with 8 bits")
    if bits > 16 or (bits > 8 and count > 1):
        raise BadImageError(f"{count} x {bits} bits a pixel", "save colour with 8 bits a channel, grey with 8 or 16")
    if image.mode not in _MODES:
        raise BadImageError(f"colours are {image.mode}, which decoders turn into RGB each in its own way")
    return count, bits


def _bands(image: Image.Image) -> NDArray[Any]:
    """Height x width x channels, the palette looked up, turned as EXIF asks."""
    turned = ImageOps.exif_transpose(image)
    if turned.mode in ("1", "P"):
        # By way of RGBA a palette with transparency keeps its colours; decoders for training drop the transparency.
        turned = turned.convert("L") if turned.mode == "1" else turned.convert("RGBA").convert("RGB")
    array = np.asarray(turned)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return array if array.ndim == 3 else array[..., None]


def _is_opaque(image: Image.Image) -> bool:
    """Whether no pixel is transparent: then dropping what says so changes nothing."""
    if not image.has_transparency_data:
        return True
    return bool(image.convert("RGBA").getchannel("A").getextrema() == (255, 255))


def _chosen(bands: NDArray[Any], count: int, channels: Sequence[int] | None, *, opaque: bool) -> NDArray[Any]:
    if channels is not None:
        if max(channels) >= count:
            raise NoChannelError(count, max(channels))
        if max(channels) >= bands.shape[2]:
            raise BadImageError(f"channel {max(channels)} of {count} cannot be read", "save it among the first three")
        return bands[..., list(channels)]
    alpha = bands.shape[2] in (2, 4)
    if alpha and opaque:
        return bands[..., :-1]
    if alpha or count not in (1, 3):
        raise ChannelsError(f"has {count} channels")
    if not opaque:
        raise ChannelsError("has transparent pixels")
    return bands


def _without_alpha(data: bytes) -> bytes:
    """A TIFF whose extra channel says that it is plain: Pillow hides one of unknown meaning and divides by another."""
    changed = bytearray(data)
    order, entries = _tiff_entries(data)
    samples = next((value for _, tag, value in entries if tag == _SAMPLES), 0)
    for at, tag, _ in entries if samples in (2, 4) else []:
        if tag in (_EXTRA, _PHOTOMETRIC):
            value = 2 if tag == _EXTRA or samples == 4 else 1  # unassociated; RGB, or black is 0
            short, one = (3).to_bytes(2, order), (1).to_bytes(4, order)
            changed[at + 2 : at + 12] = short + one + value.to_bytes(2, order) + bytes(2)
    return bytes(changed)


def _tiff_entries(data: bytes) -> tuple[Any, list[tuple[int, int, int]]]:
    """Byte order of a TIFF and, of each entry of its first page: place in the file, tag, value if that is one short."""
    order: Any = {b"II*\0": "little", b"MM\0*": "big"}.get(data[:4])
    if order is None:
        return None, []

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    first = number(4, 4)
    places = [first + 2 + 12 * index for index in range(number(first, 2))]
    return order, [(at, number(at, 2), number(at + 8, 2)) for at in places]


def _unknown(data: bytes) -> tuple[str, str]:
    """Why Pillow knows no such file, and what would do."""
    if not data:
        return EMPTY
    samples = next((value for _, tag, value in _tiff_entries(data)[1] if tag == _SAMPLES), 1)
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return f"a TIFF of a kind that is not read ({samples} channels)", "save grey or RGB with 8 bits a channel"
    return "not an image file", "export it as 8-bit PNG or JPEG"


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
    return input_size(contract, *resized_size(contract, height, width))


def input_size(contract: dict[str, Any], height: int, width: int) -> tuple[int, int]:
    """`model_size` of an image that has been resized."""
    height, width = padded_size(contract, height, width)
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


def softmax(logits: Logits) -> NDArray[np.float32]:
    """The probability of each class, classes x height x width."""
    powers = np.exp(logits - logits.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0), np.float32)


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


@dataclass(frozen=True)
class Found:
    """What lies under a folder: images by the name of their mask, "/" between folders; files that are none by their
    suffix; and every folder, links resolved."""

    images: dict[str, Path]
    others: list[Path]
    folders: set[Path]


def find_images(top: Path) -> Found:
    """What lies under `top`, hidden files and folders left out, links followed; a dead link counts as what it is named.

    ValueError for a folder that cannot be read, and where two images' masks would share a name.
    """
    paths: list[Path] = []
    folders: set[Path] = set()
    for name, inner, files in os.walk(top, onerror=_refuse_folder, followlinks=True):
        here = Path(name)
        if _is_ring(here, top):
            inner.clear()
            continue
        inner[:] = [folder for folder in inner if not folder.startswith(".")]
        folders.add(here.resolve())
        paths += [here / file for file in files if not file.startswith(".")]
    images: dict[str, Path] = {}
    for path in sorted(filter(_is_image, paths)):
        name = path.relative_to(top).with_suffix(".png").as_posix()
        if name in images:
            raise ValueError(f"{images[name]} and {path}: both masks would be {name}; rename one")
        images[name] = path
    return Found(images, sorted(path for path in paths if not _is_image(path)), folders)


def _is_image(path: Path) -> bool:
    """By its name; what is there and no file, such as a pipe, is none."""
    return path.suffix.lower() in SUFFIXES and (path.is_file() or not path.exists())


def _refuse_folder(error: OSError) -> None:
    raise ValueError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions and the disk")


def _is_ring(here: Path, top: Path) -> bool:
    """Whether a link led back to a folder that `here` lies in: from there it would go on without end."""
    above = [here.parents[step] for step in range(len(here.relative_to(top).parts))]
    return os.path.realpath(here) in map(os.path.realpath, above)


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
    try:
        found = _what_to_segment(source, out)
    except ValueError as error:
        _say(error)
        return 2
    failed = _segment(found.images, out)
    if found.others:
        files = "file that is no image" if len(found.others) == 1 else "files that are no images"
        _say(f"note: left out: {len(found.others)} {files} by suffix, such as {found.others[0]}")
    print(f"{len(found.images) - failed} masks in {out}")
    return 1 if failed else 0


def _what_to_segment(source: Path, out: Path) -> Found:
    """What `find_images` finds; ValueError for folders that cannot be used, and where there is no image."""
    if not source.is_dir():
        raise ValueError(f"{source}: no such folder; give the folder of the images")
    found = find_images(source)
    if not found.images:
        raise ValueError(f"{source}: holds no image ({', '.join(sorted(SUFFIXES))}); give the folder of the images")
    if not found.folders.isdisjoint([out.resolve(), *out.resolve().parents]):
        raise ValueError(
            f"{out}: lies in the folder of the images, where masks would be taken for images; name another"
        )
    return found


def _segment(images: dict[str, Path], out: Path) -> int:
    """Writes the mask of each image by its name, and says which could not be used; returns how many."""
    Image.MAX_IMAGE_PIXELS = None  # read_image refuses large images itself, in one line
    warnings.filterwarnings("ignore", module="PIL")  # of metadata, which is not read
    predictor, failed = Predictor(Path(__file__).resolve().parent), 0
    changed: dict[str, list[Path]] = {}
    for name, path in images.items():
        try:
            image = read_image(path, predictor.rule)
            save_mask(predictor.mask(image), out / name)
            changed.setdefault(predictor.change(*image.shape[:2]), []).append(path)
        except (BadImageError, OSError) as error:
            failed += 1
            _say(f"{path}: {error}")
    for change in sorted(filter(None, changed)):
        paths = changed[change]
        said = f"{len(paths)} of {len(images)} images have a shape that none of the training's had, such as {paths[0]}"
        _say(f"note: {said}: {change} to fit a model, expect less of their masks")
    return failed


def _say(line: object) -> None:
    print(f"predict.py: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
