"""Reading one image or mask file strictly: what a forgiving decoder lets pass is a bad file here."""

import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_EXIF_ORIENTATION = 274


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """A sound file: size in bytes, time of change in ns, content hash, extent in pixels as training sees it.

    `values`, for masks only, maps each value that occurs (0..255) to its number of pixels.
    """

    size: int
    mtime_ns: int
    sha256: str
    height: int
    width: int
    values: dict[int, int] | None = None


@dataclass(frozen=True)
class BadFile:
    """Why a file cannot be used, and what would make it usable."""

    what: str
    fix: str


def read_record(path: Path, *, is_mask: bool, known: FileRecord | None = None) -> FileRecord | BadFile:
    """The record of `path`; `known` is returned unread while the file's size and time are the same.

    The file is read once, hashed and decoded to its last pixel. Never raises for a bad file.
    """
    try:
        status = path.stat()
        same = known and (known.size, known.mtime_ns) == (status.st_size, status.st_mtime_ns)
        if known and same and (known.values is not None) == is_mask:
            return known
        data = path.read_bytes()
    except FileNotFoundError:
        return _missing(is_mask)
    except OSError as error:
        return BadFile(f"cannot be read ({error.strerror})", "check the file's permissions and the disk")
    if not data:
        return BadFile("zero bytes", "copy the file again")
    fault = _container_fault(data)
    if fault:
        return BadFile(fault, "copy or export the file again")
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            bad = _mode_fault(image, data, is_mask)
            if bad:
                return bad
            height, width = _extent(image)
            values = _count(image) if is_mask else None
    except Exception as error:  # decoders raise nearly anything on damaged bytes (OSError, SyntaxError, struct.error)
        reason = str(error).partition("\n")[0].replace(str(path), "")[:120] or type(error).__name__
        if "cannot identify image file" in reason:
            return BadFile("not an image file", "export it as 8-bit PNG or JPEG")
        return BadFile(f"cannot be decoded ({reason})", "copy or export the file again")
    return FileRecord(
        size=len(data),
        mtime_ns=status.st_mtime_ns,
        sha256=hashlib.sha256(data).hexdigest(),
        height=height,
        width=width,
        values=values,
    )


def _missing(is_mask: bool) -> BadFile:
    if is_mask:
        return BadFile("image without a mask", "add the mask or leave the image out")
    return BadFile("no such image", "add the image or take its name off the list")


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
    at = len(_PNG)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return f"damaged (PNG block {kind.decode('latin-1')!r} fails its checksum)"
        if kind == b"IEND":
            return None
        at = end
    return "cut off (PNG without its end block)"


def _mode_fault(image: Image.Image, data: bytes, is_mask: bool) -> BadFile | None:
    deep = data.startswith(_PNG) and data[24] == 16  # the decoder turns 16-bit colour into 8 without a word
    if deep or image.mode.startswith("I") or image.mode == "F":
        return BadFile(f"more than 8 bits a channel (mode {image.mode})", "save it with 8 bits a channel")
    # Palette masks are read by their index, which is the class.
    if is_mask and image.mode not in ("L", "P", "1"):
        bands = len(image.getbands())
        return BadFile(
            f"mask has {bands} channels ({image.mode})", "save one 8-bit channel whose value is the class index"
        )
    return None


def _extent(image: Image.Image) -> tuple[int, int]:
    """(height, width) after the turn that EXIF asks for: OpenCV, which loads images for training, obeys it."""
    if image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8):
        return image.width, image.height
    return image.height, image.width


def _count(image: Image.Image) -> dict[int, int]:
    counts = np.bincount(np.asarray(image).astype(np.uint8).ravel())
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
