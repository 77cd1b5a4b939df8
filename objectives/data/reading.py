"""Reading one image or mask file strictly: what a forgiving decoder lets pass is a bad file here."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from mmtuna.objectives import predict
from mmtuna.objectives.data.dataset import Code, ImageRule, MaskRule
from mmtuna.objectives.data.thumbnails import packed
from mmtuna.objectives.predict import BadImageError, ChannelsError, NoChannelError, TooDeepError

_PNG = b"\x89PNG\r\n\x1a\n"
_PIXEL_BLOCKS = (b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"cICP", b"eXIf", b"IDAT", b"IEND")
_JPEG = b"\xff\xd8"
_EXIF_ORIENTATION = 274
_TIFF_BITS = 258
_MASK_FORMATS = ("PNG", "BMP", "TIFF", "GIF")
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
_MOST_CODES = 256
_SMOOTHED = "so many come from smoothing or JPEG: write masks as PNG, resized by nearest neighbour only"
_COLOUR_FIX = "save masks of colours as 8-bit RGB or palette PNG"
_MASK_FIX = "save masks as PNG, one 8-bit channel whose value is the class index"


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """A sound file: size in bytes, time of change in ns, content hash, extent in pixels as training sees it.

    `values`, for masks only, maps each value that occurs (0..255), class indices by the mask's rule, to its number of
    pixels. `rule` is the rule that it was read by. For images only: `lowest` and `highest` are its raw values where
    that rule has a range, `bits` those a channel, `orientation` what EXIF says (1: as it lies), `thumbnail` what it
    looks like (mmtuna.objectives.data.thumbnails); `channels` is how many the file has where the rule names some. ""
    and 0 are of images that were read before these were kept.
    """

    size: int
    mtime_ns: int
    sha256: str
    height: int
    width: int
    values: dict[int, int] | None = None
    rule: str = ""
    lowest: int | None = None
    highest: int | None = None
    bits: int = 8
    orientation: int = 1
    thumbnail: str = ""
    channels: int = 0


@dataclass(frozen=True)
class BadFile:
    """Why a file cannot be used, and what would make it usable; `span` is the raw values of one that is too deep."""

    what: str
    fix: str
    span: tuple[int, int] | None = None


def rule_text(rule: ImageRule | MaskRule) -> str:
    """What of a rule a record depends on: the range's figures do not matter to what is read."""
    if isinstance(rule, MaskRule):
        return json.dumps(list(vars(rule).values())) if rule else ""
    return json.dumps([rule.channels, rule.range is not None]) if rule else ""


def read_record(
    path: Path, *, is_mask: bool, known: FileRecord | None = None, rule: ImageRule | MaskRule | None = None
) -> FileRecord | BadFile:
    """The record of `path`; `known` is returned unread while the file's size, its time and the rule are the same.

    The file is read once, hashed and decoded to its last pixel: a mask as a training does, an image both as a training
    and as predict.py does, which must see the same pixels. Never raises for a bad file.
    """
    rule = rule or (MaskRule() if is_mask else ImageRule())
    text = rule_text(rule)
    try:
        status = path.stat()
        same = known and (known.size, known.mtime_ns, known.rule) == (status.st_size, status.st_mtime_ns, text)
        if known and same and _is_whole(known, rule):
            return known
        data = path.read_bytes()
    except FileNotFoundError:
        return _missing(path, is_mask)
    except OSError as error:
        return BadFile(f"cannot be read ({error.strerror})", "check the file's permissions and the disk")
    if not data:
        return BadFile(*predict.EMPTY)
    fault = _container_fault(data)
    if fault:
        return BadFile(fault, "copy or export the file again")
    try:
        found = _read_mask(data, rule) if isinstance(rule, MaskRule) else _read_image(data, rule)
    except BadImageError as error:
        return _bad(error)
    except Exception as error:  # decoders raise nearly anything on damaged bytes (OSError, SyntaxError, struct.error)
        reason = str(error).partition("\n")[0].replace(str(path), "")[:120] or type(error).__name__
        return BadFile(f"cannot be decoded ({reason})", "copy or export the file again")
    digest = hashlib.sha256(data).hexdigest()
    return FileRecord(size=len(data), mtime_ns=status.st_mtime_ns, sha256=digest, rule=text, **found)


@contextmanager
def strict_decoders() -> Iterator[None]:
    """Settings of Pillow that another library may have changed, and that no file may get past or print through."""
    forgiving, largest = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # a cut file must not pass here
    Image.MAX_IMAGE_PIXELS = None  # large images are refused in a line of our own
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")  # of metadata, which is not read
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = forgiving, largest


def _is_whole(known: FileRecord, rule: ImageRule | MaskRule) -> bool:
    """Whether a record holds all that one of today does."""
    if isinstance(rule, MaskRule):
        return known.values is not None
    return bool(known.thumbnail) and (rule.channels is None or known.channels > 0)


def _missing(path: Path, is_mask: bool) -> BadFile:
    if path.is_symlink():
        return BadFile(*predict.LOST)
    if is_mask:
        return BadFile("image without a mask", "add the mask or leave the image out")
    return BadFile("no such image", "add the image or take its name off the list")


def _bad(error: BadImageError) -> BadFile:
    if isinstance(error, TooDeepError):
        return BadFile(error.what, error.fix, (error.lowest, error.highest))
    if isinstance(error, ChannelsError):
        return BadFile(error.what, "say in [data] channels which one or three to take, such as channels = [0, 1, 2]")
    if isinstance(error, NoChannelError):
        return BadFile(error.what, "name in [data] channels those that every image has, or save it with that one too")
    return BadFile(error.what, error.fix)


def _read_image(data: bytes, rule: ImageRule) -> dict[str, Any]:
    if rule:
        bands = predict.raw_bands(data, rule.channels, deep=rule.range is not None)
    else:
        bands = predict.decode(data)
        _refuse_other_pixels(data, bands)
    found: dict[str, Any] = {"height": bands.shape[0], "width": bands.shape[1], "thumbnail": packed(bands)}
    found["orientation"] = predict.orientation(data)
    if rule.channels is not None:
        found["channels"] = predict.stored(data)[1]
    if rule.range is not None:
        bits = 8 if bands.dtype == np.uint8 else 16
        found |= {"bits": bits, "lowest": int(bands.min()), "highest": int(bands.max())}
    return found


def _refuse_other_pixels(data: bytes, ours: predict.Pixels) -> None:
    """Refuses a file that a training's decoder and predict.py's read differently, for whatever reason."""
    cv2 = _opencv()
    if cv2 is None:
        return
    theirs = cv2.imdecode(np.frombuffer(_without_remarks(data), np.uint8), cv2.IMREAD_COLOR)
    if theirs is None:
        raise BadImageError("OpenCV, which loads images for training, cannot decode it")
    if theirs.shape != ours.shape:
        raise BadImageError(
            f"training's decoder turns it to {theirs.shape[0]} x {theirs.shape[1]}, predict.py's to {ours.shape[0]} x "
            f"{ours.shape[1]} (height x width)"
        )
    if not np.array_equal(theirs[..., ::-1], ours):
        apart = int(np.abs(theirs[..., ::-1].astype(np.int16) - ours).max())
        raise BadImageError(f"training's decoder (OpenCV) and predict.py's (Pillow) read values up to {apart} apart")


def _without_remarks(data: bytes) -> bytes:
    """A PNG without the blocks that say nothing of its pixels: on many of them libpng remarks straight to stderr."""
    if not data.startswith(_PNG):
        return data
    kept = (data[at:end] for at, end in _png_blocks(data) if data[at + 4 : at + 8] in _PIXEL_BLOCKS)
    return _PNG + b"".join(kept)


@lru_cache(maxsize=1)
def _opencv() -> Any:
    """The module cv2, told to print nothing; None where it does not import, which whoever builds the model says."""
    try:
        import cv2
    except ImportError:
        return None
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def _read_mask(data: bytes, rule: MaskRule) -> dict[str, Any]:
    classes = read_classes(data, rule)
    counts = np.bincount(classes.ravel())
    values = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    return {"height": classes.shape[0], "width": classes.shape[1], "values": values}


def read_classes(data: bytes, rule: MaskRule) -> NDArray[np.uint8]:
    """A mask's class indices, height x width, as MMSegmentation's LoadAnnotations sees them or its copy.

    Raises BadImageError for what cannot be read without changing values, and for a value or colour that `rule` names
    for nothing.
    """
    with _opened(data) as image:
        if image.format not in _MASK_FORMATS:
            raise BadImageError(f"is {image.format}, whose compression changes values", _MASK_FIX)
        predict.refuse_size(image)
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            raise BadImageError(f"holds {frames} pages or frames", "save each as a file of its own")
        image.load()
        if image.info.get("compression") in _LOSSY_TIFF:
            raise BadImageError(f"is TIFF compressed as {image.info['compression']}, which changes values", _MASK_FIX)
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
        if orientation != 1:
            fix = "turn its pixels and take the tag away"
            raise BadImageError(f"EXIF turns it (orientation {orientation}) and training does not", fix)
        if rule.has_colours:
            return _classes_of(_colours(image), rule)
        _refuse_mask_mode(image, data)
        values = np.asarray(image).astype(np.uint8)
        return _classes_of(values, rule) if rule.values is not None else reduced(values, rule.reduce_zero_label)


def held_codes(data: bytes, *, in_colour: bool = False) -> tuple[dict[Code, int], dict[int, str]]:
    """What a mask's pixels hold, values or, of an RGB file, colours, with the number of pixels of each; and the colours
    of the values where the file has a palette. `in_colour` takes the colours of every file, as `values` of these do.

    Raises BadImageError as `read_classes` does.
    """
    found, in_colour = pixel_codes(data, in_colour=in_colour)
    with _opened(data) as image:
        palette = image.getpalette("RGB") or [] if image.mode == "P" else []
    held, counts = np.unique(found, return_counts=True)
    if len(held) > _MOST_CODES:
        raise BadImageError(f"holds {len(held)} {'colours' if in_colour else 'values'}", _SMOOTHED)
    codes: list[Code] = [f"#{value:06x}" if in_colour else int(value) for value in held]
    # As Python's numbers: 3 * 86 is too much for eight bits.
    shown = {value: bytes(palette[3 * value : 3 * value + 3]).hex() for value in held.tolist() if palette}
    colours = {value: f"#{colour}" for value, colour in shown.items() if colour}
    return dict(zip(codes, map(int, counts), strict=True)), colours


def pixel_codes(data: bytes, *, in_colour: bool = False) -> tuple[NDArray[Any], bool]:
    """A mask's values, height x width; True beside its colours as numbers, red the highest byte, where it is RGB, or
    by `in_colour` whatever it is.

    Raises BadImageError as `read_classes` does.
    """
    with _opened(data) as image:
        if image.format in _MASK_FORMATS and (in_colour or image.mode in ("RGB", "RGBA")):
            return _colours(image), True
    return read_classes(data, MaskRule()), False


def _opened(data: bytes) -> Image.Image:
    """A mask file's header; BadImageError for bytes of no image, of which Pillow's own words name a place in memory."""
    if not data:
        raise BadImageError(*predict.EMPTY)
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise BadImageError("not an image file", _MASK_FIX) from None


def reduced(values: NDArray[np.uint8], reduce_zero_label: bool) -> NDArray[np.uint8]:
    """Values as MMSegmentation's LoadAnnotations has them after its reduce_zero_label, if that is set."""
    if not reduce_zero_label:
        return values
    return np.where((values == 0) | (values == 255), 255, values - np.uint8(1)).astype(np.uint8)


def _colours(image: Image.Image) -> NDArray[np.int64]:
    """Each pixel's colour as one number, red the highest byte."""
    if image.mode not in ("L", "P", "1", "RGB", "RGBA", "LA"):
        raise BadImageError(f"mask is {image.mode}, and [data] values names colours", _COLOUR_FIX)
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise BadImageError("mask has transparent pixels", _COLOUR_FIX)
    bands = np.asarray(image.convert("RGB")).astype(np.int64)
    return bands[..., 0] << 16 | bands[..., 1] << 8 | bands[..., 2]


def _classes_of(found: NDArray[Any], rule: MaskRule) -> NDArray[np.uint8]:
    """Class indices of values or colours by the rule's `values`."""
    means = {_number(code): rule.ignore_index for code in rule.ignored}
    if not rule.has_colours:
        means[rule.ignore_index] = rule.ignore_index
    means |= {_number(code): index for index, codes in enumerate(rule.values or ()) for code in codes}
    held, places = np.unique(found, return_inverse=True)
    strange = [int(value) for value in held if int(value) not in means]
    if strange:
        shown = ", ".join(f"#{value:06x}" if rule.has_colours else str(value) for value in strange[:5])
        more = f", ... ({len(strange)} in all)" if len(strange) > 5 else ""
        raise BadImageError(
            f"holds {shown}{more}, which [data] values names for no class", "add it to a class there, or to ignored"
        )
    lookup = np.array([means[int(value)] for value in held], np.uint8)
    return lookup[places].reshape(found.shape)


def _number(code: Code) -> int:
    return int(code[1:], 16) if isinstance(code, str) else code


def _refuse_mask_mode(image: Image.Image, data: bytes) -> None:
    if image.mode.startswith("I") or image.mode == "F":
        raise BadImageError(f"more than 8 bits a channel (mode {image.mode})", _MASK_FIX)
    # Palette masks are read by their index, which is the class.
    if image.mode not in ("L", "P", "1"):
        fix = f"{_MASK_FIX}; or name the colours in [data] values" if image.mode in ("RGB", "RGBA") else _MASK_FIX
        raise BadImageError(f"mask has {len(image.getbands())} channels ({image.mode})", fix)
    bits = {"PNG": data[24], "TIFF": max(getattr(image, "tag_v2", {}).get(_TIFF_BITS, (8,)))}.get(image.format or "", 8)
    if image.mode == "L" and bits in (2, 4):
        step = 255 // (2**bits - 1)
        raise BadImageError(f"{bits} bits a pixel, which decoders multiply by {step}", _MASK_FIX)


def _container_fault(data: bytes) -> str | None:
    """What the bytes of a PNG or JPEG tell before any decoding; other formats are left to the decoder."""
    if data.startswith(_PNG):
        return _png_fault(data)
    # libjpeg fills a cut file with grey. In a whole one the end marker follows the last start of scan; that order
    # keeps a thumbnail's own end marker, in the header, from counting.
    if data.startswith(_JPEG) and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        return "cut off (JPEG without its end marker)"
    return None


def _png_fault(data: bytes) -> str | None:
    for at, end in _png_blocks(data):
        kind = data[at + 4 : at + 8]
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return f"damaged (PNG block {kind.decode('latin-1')!r} fails its checksum)"
        if kind == b"IEND":
            return None
    return "cut off (PNG without its end block)"


def _png_blocks(data: bytes) -> Iterator[tuple[int, int]]:
    """[start, end) of each whole block of a PNG."""
    at = len(_PNG)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            return
        yield at, end
        at = end
