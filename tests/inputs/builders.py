"""A good data set of a few small files, ways to spoil it, and encoders of what Pillow does not write."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]
Encode = Callable[[Array], bytes]

NAMES = ("a", "b", "c", "d", "e", "f")
TRAIN, VAL = NAMES[:4], NAMES[4:]
HEIGHT, WIDTH = 20, 28


class InputSet:
    """Six grey PNG images of 20 x 28 pixels, masks of 0 and 1, and lists of four and two; all of it may be replaced."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("images", "masks", "splits"):
            (root / folder).mkdir(parents=True)
        self.images(png)
        self.masks(png)
        self.lists()

    def images(self, encode: Encode, suffix: str = ".png", of: Callable[[str], Array] | None = None) -> None:
        """Every image anew, from the array `of` its name (grey by default)."""
        for path in (self.root / "images").iterdir():
            path.unlink()
        for name in NAMES:
            self.image(name, encode((of or grey)(name)), suffix)

    def masks(
        self,
        encode: Encode,
        suffix: str = ".png",
        of: Callable[[str], Array] | None = None,
        only: Iterable[str] = NAMES,
    ) -> None:
        """Masks anew, from the array `of` their name (0 and 1 by default)."""
        for name in only:
            for path in (self.root / "masks").glob(f"{name}.*"):
                path.unlink()
            self.mask(name, encode((of or truth)(name)), suffix)

    def folders(self, train: str, val: str) -> None:
        """Images and masks in these folders of their side in the place of lists."""
        for kind in ("images", "masks"):
            for name in NAMES:
                target = self.root / kind / (train if name in TRAIN else val) / f"{name}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                (self.root / kind / f"{name}.png").rename(target)

    def image(self, name: str, data: bytes, suffix: str = ".png") -> None:
        path = self.root / f"images/{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def mask(self, name: str, data: bytes, suffix: str = ".png") -> None:
        (self.root / f"masks/{name}{suffix}").write_bytes(data)

    def lists(self, train: str | bytes = "\n".join(TRAIN), val: str | bytes = "\n".join(VAL)) -> None:
        for side, text in (("train", train), ("val", val)):
            data = text if isinstance(text, bytes) else text.encode()
            (self.root / f"splits/{side}.txt").write_bytes(data)

    def subjects(self, data: bytes) -> None:
        (self.root / "subjects.csv").write_bytes(data)

    def rename(self, old: str, new: str, *, image: bool = True, mask: bool = True) -> None:
        """An image, its mask or both under another name, in the lists too where it is the image's."""
        if image:
            (self.root / f"images/{old}.png").rename(self.root / f"images/{new}.png")
            for side in ("train", "val"):
                path = self.root / f"splits/{side}.txt"
                names = path.read_text(encoding="utf-8").splitlines()
                path.write_text("\n".join(new if name == old else name for name in names), encoding="utf-8")
        if mask:
            (self.root / f"masks/{old}.png").rename(self.root / f"masks/{new}.png")


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(sum(name.encode()))


def grey(name: str) -> Array:
    """8-bit grey."""
    return _rng(name).integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)


def rgb(name: str) -> Array:
    """Colours that change slowly, so that JPEG keeps about what they are."""
    across, down = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    shift = sum(name.encode()) % 50
    return np.stack([across * 8, down * 11, (across + down) * 3 + shift], axis=2).astype(np.uint8)


def bands(count: int) -> Callable[[str], Array]:
    """`count` channels of noise."""
    return lambda name: _rng(name).integers(0, 256, (HEIGHT, WIDTH, count)).astype(np.uint8)


def deep(name: str) -> Array:
    """16-bit grey with the values 240 to 2340 of a field report, both in every image."""
    values = _rng(name).integers(240, 2341, (HEIGHT, WIDTH)).astype(np.uint16)
    values[0, :2] = 240, 2340
    return values


def hounsfield(name: str) -> Array:
    """Signed values as of CT."""
    return (deep(name).astype(np.int32) - 1240).astype(np.int16)


def truth(name: str) -> Array:
    """0, and 1 in a corner."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:8, : 6 + sum(name.encode()) % 5] = 1
    return mask


def recoded(*values: int) -> Callable[[str], Array]:
    """The masks with these values in the place of 0, 1, ..."""
    return lambda name: np.array(values, np.uint8)[truth(name)]


def three_classes(name: str) -> Array:
    """0, 1 and 2."""
    mask = truth(name)
    mask[-5:] = 2
    return mask


def with_ignored(name: str) -> Array:
    """0, 1 and a border of 255."""
    mask = truth(name)
    mask[:, -2:] = 255
    return mask


def with_rest(name: str) -> Array:
    """0 and 1, and in the last rows 2 and 3."""
    mask = truth(name)
    mask[-3:] = 2
    mask[-3:, -4:] = 3
    return mask


def constant(value: int) -> Callable[[str], Array]:
    """Masks of one value."""
    return lambda name: np.full((HEIGHT, WIDTH), value, np.uint8)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a file of Pillow's format `kind`."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def encoder(kind: str, mode: str | None = None, **options: Any) -> Encode:
    """Writes arrays as Pillow's format `kind`, converted to `mode` first."""

    def encode(array: Array) -> bytes:
        image = Image.fromarray(array)
        return saved(image.convert(mode) if mode else image, kind, **options)

    return encode


png = encoder("PNG")


def with_palette(bits: int = 8, **options: Any) -> Encode:
    """Values as indices of a palette in which none has the colour of its index."""

    def encode(array: Array) -> bytes:
        image = Image.fromarray(array).convert("P")
        image.putpalette([(37 * value + 11 * band) % 256 for value in range(2**bits) for band in range(3)])
        return saved(image, "PNG", bits=bits, **options)

    return encode


def with_alpha(kind: str, opaque: bool = False, **options: Any) -> Encode:
    """Grey or RGB with an alpha channel of noise, or of 255 throughout."""

    def encode(array: Array) -> bytes:
        alpha = np.full(array.shape[:2], 255, np.uint8) if opaque else array.reshape(*array.shape[:2], -1)[..., 0]
        image = Image.fromarray(array)
        image.putalpha(Image.fromarray(np.ascontiguousarray(alpha)))
        return saved(image, kind, **options)

    return encode


def turned(kind: str, orientation: int, **options: Any) -> Encode:
    """With an EXIF tag that asks for a turn."""
    exif = Image.Exif()
    exif[274] = orientation
    return encoder(kind, exif=exif, **options)


XMP_TURN = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def several(kind: str, **options: Any) -> Encode:
    """Two pages or frames in one file."""

    def encode(array: Array) -> bytes:
        more = [Image.fromarray(255 - array)]
        return saved(Image.fromarray(array), kind, save_all=True, append_images=more, **options)

    return encode


def png_chunks(*chunks: tuple[bytes, bytes]) -> Encode:
    """PNG with more chunks before its pixels."""

    def encode(array: Array) -> bytes:
        plain = png(array)
        at = plain.index(b"IDAT") - 4
        return plain[:at] + b"".join(_chunk(kind, data) for kind, data in chunks) + plain[at:]

    return encode


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(array: Array, bits: int = 8, *, interlaced: bool = False) -> bytes:
    """Grey PNG, or RGB with 8 or 16 bits, of any depth and of any size, zero too; interlaced by Adam7 if asked."""
    height, width = array.shape[:2]
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b""
    for top, left, down, across in passes:
        part = array[top::down, left::across]
        rows += b"".join(b"\0" + _packed(row, bits) for row in part if part.size)
    head = struct.pack(">IIBBBBB", width, height, bits, 2 if array.ndim == 3 else 0, 0, 0, int(interlaced))
    body = _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _packed(row: Array, bits: int) -> bytes:
    if bits >= 8:
        return row.astype(">u2" if bits == 16 else np.uint8).tobytes()
    signs = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :]
    return np.packbits(signs.ravel()).tobytes()


def tiff(
    *,
    photometric: int = 1,
    extra: tuple[int, ...] = (),
    big_endian: bool = False,
    bits: int | None = None,
) -> Encode:
    """Uncompressed TIFF of arrays of any type and number of channels; `bits` packs grey values of fewer bits."""

    def encode(array: Array) -> bytes:
        order = ">" if big_endian else "<"
        height, width = array.shape[:2]
        count = array.shape[2] if array.ndim == 3 else 1
        depth = bits or array.dtype.itemsize * 8
        data = _bit_rows(array, bits) if bits else array.astype(array.dtype.newbyteorder(order)).tobytes()
        numbers = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
        short, long = "H", "I"
        entries: list[tuple[int, str, list[int]]] = [(256, long, [width]), (257, long, [height])]
        entries += [(258, short, [depth] * count), (259, short, [1]), (262, short, [photometric]), (273, long, [0])]
        entries += [(277, short, [count]), (278, long, [height]), (279, long, [len(data)])]
        entries += [(338, short, list(extra))] if extra else []
        entries += [(339, short, [numbers] * count)]
        return _tiff_file(order, entries, data)

    return encode


def _bit_rows(array: Array, bits: int) -> bytes:
    """Rows of `bits` a value, the highest first, each row filled up to whole bytes."""
    rows = []
    for row in array.astype(">u2"):
        signs = np.unpackbits(row.view(np.uint8).reshape(-1, 2), axis=1)[:, 16 - bits :]
        rows.append(np.packbits(signs.ravel()).tobytes())
    return b"".join(rows)


def _tiff_file(order: str, entries: list[tuple[int, str, list[int]]], data: bytes) -> bytes:
    kinds = {"H": 3, "I": 4}
    after = 8 + 2 + 12 * len(entries) + 4
    outside = b""
    packed: list[tuple[int, str, int, bytes]] = []
    for tag, kind, values in entries:
        value = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(value) > 4:
            place = struct.pack(f"{order}I", after + len(outside))
            outside, value = outside + value, place
        packed.append((tag, kind, len(values), value.ljust(4, b"\0")))
    start = struct.pack(f"{order}I", after + len(outside))
    body = b"".join(
        struct.pack(f"{order}HHI", tag, kinds[kind], count) + (start if tag == 273 else value)
        for tag, kind, count, value in packed
    )
    head = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, 8)
    return head + struct.pack(f"{order}H", len(entries)) + body + bytes(4) + outside + data
