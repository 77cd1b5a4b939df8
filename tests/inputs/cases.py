"""The table: inputs as people have them, each with what is right. To add one, add a line to a list of `CASES`.

A case writes its files with `build` (tests/inputs/builders.py), adds lines to `[data]` or other tables of the spec, and
says either what `mmtuna check` must refuse it with, or, where it is right, what training must see and what is noted.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from tests.inputs import builders as b
from tests.inputs.builders import Array, InputSet


def _nothing(_: InputSet) -> None:
    """The good set as it is."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One input. `refused` is a part of a problem's line; None where it is right.

    `image` and `mask` give what training must see of a name: height x width x 3 (RGB), and class values. `note` is a
    part of a line that `check` notes, `shows` what holds of what was read (search.checking.data.Data).
    """

    name: str
    build: Callable[[InputSet], Any] = _nothing
    data: str = ""
    tables: Mapping[str, str] = field(default_factory=dict)
    refused: str | None = None
    note: str | None = None
    image: Callable[[str], Array] | None = None
    mask: Callable[[str], Array] = b.truth
    shows: Callable[[Any], bool] = lambda _: True


def grey3(of: Callable[[str], Array]) -> Callable[[str], Array]:
    """Grey as the three equal channels that training sees."""
    return lambda name: np.repeat(of(name)[..., None], 3, axis=2)


def mapped(of: Callable[[str], Array], low: float, high: float) -> Callable[[str], Array]:
    """Raw values `low` to `high` as 0 to 255."""

    def see(name: str) -> Array:
        share = (of(name).astype(float) - low) / (high - low)
        return np.floor(np.clip(share, 0, 1) * 255 + 0.5).astype(np.uint8)

    return grey3(see)


def percentile(of: Callable[[str], Array], percent: float) -> int:
    """Of all values of the training images, by numpy."""
    return int(np.percentile(np.stack([of(name) for name in b.TRAIN]), percent, method="inverted_cdf"))


def taken(of: Callable[[str], Array], *channels: int) -> Callable[[str], Array]:
    """These channels of an image."""
    return lambda name: of(name)[..., list(channels)]


THREE = 'classes = ["background", "fluid", "drusen"]'

SIDES = [
    Case(name="a good set", image=grey3(b.grey)),
    Case(
        name="validation masks 0/255 where training masks are 0/1",
        build=lambda s: s.masks(b.png, of=b.recoded(0, 255), only=b.VAL),
        refused="masks/e.png, masks/f.png: 2 of 6 masks hold 0 and 255 alone where 4 hold classes and no 255; divide",
    ),
    Case(
        name="half of each side 0/255",
        build=lambda s: s.masks(b.png, of=b.recoded(0, 255), only=("a", "b", "e")),
        refused="3 of 6 masks hold 0 and 255 alone where 3 hold classes and no 255; divide these by 255",
    ),
    Case(
        name="all masks 0/255",
        build=lambda s: s.masks(b.png, of=b.recoded(0, 255)),
        refused="class 1 (fluid) is in none of the 6 readable masks; 384 pixels hold 255 (ignored): if these are 0/255",
    ),
    Case(
        name="0/255 masks where 254 is ignored",
        build=lambda s: s.masks(b.png, of=b.recoded(0, 255)),
        data="ignore_index = 254",
        refused="masks/a.png: holds 255, but only 0 to 1 and 254 (ignored) mean something; a 0/255 mask: set [data] v",
    ),
    Case(
        name="0/255 masks in a set of three classes",
        build=lambda s: (s.masks(b.png, of=b.three_classes), s.masks(b.png, of=b.recoded(0, 255), only="ae")),
        data=THREE,
        refused="masks/a.png, masks/e.png: 2 of 6 masks hold 0 and 255 alone",
    ),
    Case(
        name="255 that does mean ignored, beside masks without any class",
        build=lambda s: (s.masks(b.png, of=b.with_ignored), s.masks(b.png, of=b.recoded(0, 255), only="a")),
        mask=lambda name: b.recoded(0, 255)(name) if name == "a" else b.with_ignored(name),
        shows=lambda found: found.manifest.records["masks/b.png"].values[255] == 40,
    ),
    Case(
        name="validation ignored throughout",
        build=lambda s: (s.masks(b.png, of=b.with_ignored), s.masks(b.png, of=b.constant(255), only=b.VAL)),
        refused="val: every pixel of the 2 validation masks is ignored, so there is nothing to measure (1120 pixels",
    ),
    Case(
        name="training ignored throughout",
        build=lambda s: (s.masks(b.png, of=b.with_ignored), s.masks(b.png, of=b.constant(255), only=b.TRAIN)),
        refused="train: every pixel of the 4 training masks is ignored, so there is nothing to learn",
    ),
    Case(
        name="validation of background alone",
        build=lambda s: s.masks(b.png, of=b.constant(0), only=b.VAL),
        refused="val: background is all that the 2 validation masks hold, so finding nothing measures 1; move images",
    ),
    Case(
        name="training of background alone",
        build=lambda s: s.masks(b.png, of=b.constant(0), only=b.TRAIN),
        refused="train: class 1 (fluid) is in none of the 4 training masks, so it cannot be learnt; move images that",
    ),
    Case(
        name="a class that validation lacks, which the metric needs",
        build=lambda s: s.masks(b.png, of=b.three_classes, only=b.TRAIN),
        data=THREE,
        tables={"study": 'metric = "IoU.drusen"'},
        refused='[study] metric = "IoU.drusen": class 2 (drusen) is in none of the 2 validation masks; move images',
    ),
    Case(
        name="a class that validation lacks, under mIoU",
        build=lambda s: s.masks(b.png, of=b.three_classes, only=b.TRAIN),
        data=THREE,
        note="val: none of the 2 validation masks holds drusen: mIoU is the mean over the other classes, and takes 0",
        mask=lambda name: b.three_classes(name) if name in b.TRAIN else b.truth(name),
    ),
    Case(
        name="a class that training lacks",
        build=lambda s: s.masks(b.png, of=b.three_classes, only=b.VAL),
        data=THREE,
        refused="train: class 2 (drusen) is in none of the 4 training masks, so it cannot be learnt; move images",
    ),
    Case(
        name="a class that no mask holds",
        data=THREE,
        refused="masks/: class 2 (drusen) is in none of the 6 readable masks; mend the masks or take the class away",
    ),
    Case(name="one class", data='classes = ["fluid"]', refused="give a list of at least 2 names, the background first"),
    Case(name="an empty class", data='classes = ["background", ""]', refused="each class needs a name of its own"),
    Case(
        name="the ignored value is a class",
        data="ignore_index = 0",
        refused="ignore_index = 0 is wrong: it is the mask value of class background; use 2 to 255",
    ),
]

MASKS = [
    Case(
        name="JPEG masks",
        build=lambda s: s.masks(b.encoder("JPEG"), ".jpg"),
        refused="masks/a.jpg: is JPEG, whose compression changes values; save masks as PNG",
    ),
    Case(
        name="JPEG masks that are called PNG",
        build=lambda s: s.masks(b.encoder("JPEG")),
        refused="masks/a.png: is JPEG, whose compression changes values; save masks as PNG",
    ),
    Case(
        name="lossy WebP masks",
        build=lambda s: s.masks(b.encoder("WEBP", "RGB", quality=60), ".webp"),
        refused="masks/a.webp: is WEBP, whose compression changes values",
    ),
    Case(
        name="JPEG 2000 masks",
        build=lambda s: s.masks(b.encoder("JPEG2000"), ".jp2"),
        refused="masks/a.jp2: is JPEG2000, whose compression changes values",
    ),
    Case(
        name="TIFF masks compressed as JPEG",
        build=lambda s: s.masks(b.encoder("TIFF", compression="jpeg"), ".tif"),
        refused="masks/a.tif: is TIFF compressed as jpeg, which changes values",
    ),
    Case(name="TIFF masks", build=lambda s: s.masks(b.encoder("TIFF", compression="tiff_lzw"), ".tif")),
    Case(name="BMP masks", build=lambda s: s.masks(b.encoder("BMP"), ".bmp")),
    Case(name="GIF masks", build=lambda s: s.masks(b.encoder("GIF"), ".gif")),
    Case(name="palette masks", build=lambda s: s.masks(b.with_palette())),
    Case(name="palette masks of 1 bit", build=lambda s: s.masks(b.with_palette(1))),
    Case(name="palette masks of 4 bits", build=lambda s: s.masks(b.with_palette(4))),
    Case(name="palette masks with transparency", build=lambda s: s.masks(b.with_palette(transparency=0))),
    Case(name="1-bit masks", build=lambda s: s.masks(lambda m: b.saved(Image.fromarray(m > 0), "PNG"))),
    Case(name="interlaced masks", build=lambda s: s.masks(lambda m: b.raw_png(m, interlaced=True))),
    Case(
        name="grey masks of 2 bits",
        build=lambda s: s.masks(lambda m: b.raw_png(m, 2)),
        refused="masks/a.png: 2 bits a pixel, which decoders multiply by 85; save masks as PNG, one 8-bit channel",
    ),
    Case(
        name="TIFF masks of 4 bits",
        build=lambda s: s.masks(b.tiff(bits=4), ".tif"),
        refused="masks/a.tif: 4 bits a pixel, which decoders multiply by 17",
    ),
    Case(
        name="16-bit masks",
        build=lambda s: s.masks(lambda m: b.png(m.astype(np.uint16))),
        refused="masks/a.png: more than 8 bits a channel (mode I;16); save masks as PNG, one 8-bit channel",
    ),
    Case(
        name="floating-point masks",
        build=lambda s: s.masks(lambda m: b.tiff()(m.astype(np.float32)), ".tif"),
        refused="masks/a.tif: more than 8 bits a channel (mode F)",
    ),
    Case(
        name="coloured masks",
        build=lambda s: s.masks(b.encoder("PNG", "RGB")),
        refused="masks/a.png: mask has 3 channels (RGB); save masks as PNG, one 8-bit channel whose value is the class",
    ),
    Case(
        name="masks with alpha",
        build=lambda s: s.masks(b.with_alpha("PNG")),
        refused="masks/a.png: mask has 2 channels (LA)",
    ),
    Case(
        name="masks that begin at 1",
        build=lambda s: s.masks(b.png, of=b.recoded(1, 2)),
        refused="holds 2, but only 0 to 1 and 255 (ignored) mean something; name 3 classes, or where 0 means "
        "unlabelled, set [data] reduce_zero_label = true",
    ),
    Case(
        name="masks of 10 and 20",
        build=lambda s: s.masks(b.png, of=b.recoded(10, 20)),
        refused="masks/a.png: holds 10, 20, but only 0 to 1 and 255 (ignored) mean something; name its 2 values",
    ),
    Case(
        name="masks of 10 and 20, named",
        build=lambda s: s.masks(b.png, of=b.recoded(10, 20)),
        data="values = [10, 20]",
    ),
    Case(
        name="0/255 masks, named",
        build=lambda s: s.masks(b.png, of=b.recoded(0, 255)),
        data="values = [0, 255]",
        shows=lambda found: found.manifest.records["masks/a.png"].values[1] == 8 * (6 + ord("a") % 5),
    ),
    Case(
        name="0/255 masks among 0/1 masks, named",
        build=lambda s: s.masks(b.png, of=b.recoded(0, 255), only="ae"),
        data="values = [0, [1, 255]]",
    ),
    Case(
        name="masks of four values, of which two count nowhere",
        build=lambda s: s.masks(b.png, of=lambda name: np.array([7, 9, 33, 255], np.uint8)[b.with_rest(name)]),
        data="values = [7, 9]\nignored = [33]",
        mask=lambda name: np.array([0, 1, 255, 255], np.uint8)[b.with_rest(name)],
    ),
    Case(
        name="masks of a value that is not named",
        build=lambda s: s.masks(b.png, of=b.recoded(10, 30)),
        data="values = [10, 20]",
        refused="masks/a.png: holds 30, which [data] values names for no class; add it to a class there, or to ignored",
    ),
    Case(
        name="colour masks",
        build=lambda s: s.masks(b.png, of=lambda name: np.array([[0, 0, 0], [230, 159, 0]], np.uint8)[b.truth(name)]),
        data='values = ["#000000", "#E69F00"]',
    ),
    Case(
        name="palette masks read by their colours",
        build=lambda s: s.masks(b.with_palette()),
        data='values = ["#000b16", "#25303b"]',
    ),
    Case(
        name="a colour that is not named",
        build=lambda s: s.masks(b.png, of=lambda name: np.array([[0, 0, 0], [230, 159, 0]], np.uint8)[b.truth(name)]),
        data='values = ["#000000", "#ff0000"]',
        refused="masks/a.png: holds #e69f00, which [data] values names for no class",
    ),
    Case(
        name="0 means unlabelled, as reduce_zero_label has it",
        build=lambda s: s.masks(b.png, of=lambda name: np.array([1, 2, 0, 255], np.uint8)[b.with_rest(name)]),
        data="reduce_zero_label = true",
        mask=lambda name: np.array([0, 1, 255, 255], np.uint8)[b.with_rest(name)],
        shows=lambda found: set(found.manifest.records["masks/a.png"].values) == {0, 1, 255},
    ),
    Case(
        name="a class too many under reduce_zero_label",
        build=lambda s: s.masks(b.png, of=lambda name: np.array([1, 2, 3, 0], np.uint8)[b.with_rest(name)]),
        data="reduce_zero_label = true",
        refused="holds 3, but only 1 to 2 and, ignored, 0 and 255 mean something (reduce_zero_label)",
    ),
    Case(
        name="reduce_zero_label where 254 is ignored",
        data="ignore_index = 254\nreduce_zero_label = true",
        refused="[data] reduce_zero_label = true is wrong: it writes 255 for what counts nowhere",
    ),
    Case(
        name="a value that stands for two classes",
        data="values = [0, [255, 0]]",
        refused="[data] values = [0, [255, 0]] is wrong: 0 stands twice; what a mask holds has one meaning",
    ),
    Case(
        name="a value that stands for a class and is ignored",
        data="values = [0, 1]\nignored = [1]",
        refused="[data] ignored = [1] is wrong: 1 stands twice; what a mask holds has one meaning",
    ),
    Case(
        name="a value that stands for a class and that ignore_index says counts nowhere",
        data="ignore_index = 128\nvalues = [0, 128]",
        refused="values = [0, 128] is wrong: 128 is class fluid and ignore_index too; take it out of one of them",
    ),
    Case(
        name="colours among numbers",
        data='values = [0, "#ffffff"]',
        refused="is wrong: there are numbers beside colours; give one kind",
    ),
    Case(
        name="fewer values than classes",
        data="values = [0]",
        refused="[data] values = [0] is wrong: it names 1 and there are 2 classes; give a value, a colour or a list",
    ),
    Case(
        name="values ignored without values",
        data="ignored = [3]",
        refused="[data] ignored = [3] is wrong: it needs values beside it",
    ),
    Case(
        name="smoothed masks",
        build=lambda s: s.masks(
            b.png, of=lambda n: np.linspace(0, 255, b.HEIGHT * b.WIDTH).reshape(b.HEIGHT, b.WIDTH).astype(np.uint8)
        ),
        refused="masks/a.png: holds 2, 3, 4, 5, 6, ... (253 values), but only 0 to 1 and 255 (ignored) mean something; "
        "so many values come from smoothing or JPEG",
    ),
    Case(
        name="masks of two frames",
        build=lambda s: s.masks(b.several("TIFF"), ".tif"),
        refused="masks/a.tif: holds 2 pages or frames; save each as a file of its own",
    ),
    Case(
        name="masks that EXIF turns",
        build=lambda s: s.masks(b.turned("PNG", 3)),
        refused="masks/a.png: EXIF turns it (orientation 3) and training does not; turn its pixels and take",
    ),
    Case(
        name="a mask of another size",
        build=lambda s: s.mask("b", b.png(b.truth("b").T)),
        refused="masks/b.png: mask is 28 x 20, its image 20 x 28 (height x width); make both the same size",
    ),
]

IMAGES = [
    Case(name="RGB", build=lambda s: s.images(b.png, of=b.rgb), image=b.rgb),
    Case(name="JPEG", build=lambda s: s.images(b.encoder("JPEG", quality=75), ".jpg", b.rgb)),
    Case(name="JPEG of 4:4:4", build=lambda s: s.images(b.encoder("JPEG", subsampling=0, quality=95), ".jpg", b.rgb)),
    Case(name="grey JPEG", build=lambda s: s.images(b.encoder("JPEG"), ".jpeg")),
    Case(name="progressive JPEG", build=lambda s: s.images(b.encoder("JPEG", progressive=True), ".jpg", b.bands(3))),
    Case(name="JPEG with a second picture", build=lambda s: s.images(b.several("MPO"), ".jpg", b.rgb)),
    Case(
        name="CMYK JPEG",
        build=lambda s: s.images(b.encoder("JPEG", "CMYK"), ".jpg", b.rgb),
        refused="images/a.jpg: colours are CMYK, which decoders turn into RGB each in its own way; save it as 8-bit",
    ),
    Case(name="lossless WebP", build=lambda s: s.images(b.encoder("WEBP", lossless=True), ".webp", b.rgb), image=b.rgb),
    Case(name="lossy WebP", build=lambda s: s.images(b.encoder("WEBP", quality=70), ".webp", b.rgb)),
    Case(
        name="WebP with alpha",
        build=lambda s: s.images(b.with_alpha("WEBP", lossless=True), ".webp", b.bands(3)),
        refused="images/a.webp: has 4 channels; say in [data] channels which one or three to take",
    ),
    Case(
        name="WebP that moves",
        build=lambda s: s.images(b.several("WEBP"), ".webp", b.rgb),
        refused="images/a.webp: holds 2 pages or frames; save each as a file of its own",
    ),
    Case(name="JPEG 2000", build=lambda s: s.images(b.encoder("JPEG2000"), ".jp2", b.rgb), image=b.rgb),
    Case(
        name="GIF images",
        build=lambda s: s.images(b.encoder("GIF")),
        refused="images/a.png: is GIF, of which nothing is known; export it as 8-bit PNG or JPEG",
    ),
    Case(
        name="images that are no images",
        build=lambda s: s.images(lambda _: b"DICM, or some text"),
        refused="images/a.png: not an image file; export it as 8-bit PNG or JPEG",
    ),
    Case(name="BMP", build=lambda s: s.images(b.encoder("BMP"), ".bmp", b.rgb), image=b.rgb),
    Case(name="8-bit TIFF", build=lambda s: s.images(b.tiff(photometric=2), ".tif", b.bands(3)), image=b.bands(3)),
    Case(
        name="big-endian TIFF of 8 bits",
        build=lambda s: s.images(b.tiff(big_endian=True), ".tiff"),
        image=grey3(b.grey),
    ),
    Case(
        name="TIFF in which white is 0",
        build=lambda s: s.images(b.tiff(photometric=0), ".tif"),
        image=grey3(lambda name: 255 - b.grey(name)),
    ),
    Case(
        name="TIFF of two pages",
        build=lambda s: s.images(b.several("TIFF"), ".tif"),
        refused="images/a.tif: holds 2 pages or frames; save each as a file of its own",
    ),
    Case(
        name="PNG that moves",
        build=lambda s: s.images(b.several("PNG")),
        refused="images/a.png: holds 2 pages or frames",
    ),
    Case(
        name="LAB TIFF",
        build=lambda s: s.images(b.encoder("TIFF", "LAB"), ".tif", b.rgb),
        refused="images/a.tif: colours are LAB, which decoders turn into RGB each in its own way",
    ),
    Case(
        name="YCbCr TIFF",
        build=lambda s: s.images(b.encoder("TIFF", "YCbCr"), ".tif", b.rgb),
        refused="images/a.tif: colours are YCbCr",
    ),
    Case(
        name="grey with a palette",
        build=lambda s: s.images(b.with_palette()),
        image=lambda name: np.stack([(37 * b.grey(name).astype(int) + 11 * band) % 256 for band in range(3)], axis=2),
    ),
    Case(name="interlaced PNG", build=lambda s: s.images(lambda a: b.raw_png(a, interlaced=True)), image=grey3(b.grey)),
    Case(
        name="grey PNG of 4 bits",
        build=lambda s: s.images(lambda a: b.raw_png(a // 16, 4)),
        image=grey3(lambda name: b.grey(name) // 16 * 17),
    ),
    Case(
        name="1-bit images",
        build=lambda s: s.images(lambda a: b.saved(Image.fromarray(a > 99), "PNG")),
        image=grey3(lambda name: np.where(b.grey(name) > 99, 255, 0).astype(np.uint8)),
    ),
    Case(
        name="PNG with a gamma",
        build=lambda s: s.images(b.png_chunks((b"gAMA", (100000).to_bytes(4, "big"))), of=b.rgb),
        image=b.rgb,
    ),
    Case(
        name="PNG with a background",
        build=lambda s: s.images(b.png_chunks((b"bKGD", bytes(6))), of=b.rgb),
        image=b.rgb,
    ),
    Case(
        name="PNG with a broken colour profile",
        build=lambda s: s.images(b.png_chunks((b"iCCP", b"ICC\0\0" + zlib.compress(b"none"))), of=b.rgb),
        image=b.rgb,
    ),
    Case(
        name="PNG with a broken EXIF block",
        build=lambda s: s.images(b.png_chunks((b"eXIf", b"MM\0*junk"))),
        image=grey3(b.grey),
    ),
    Case(
        name="a camera's turn of 0",
        build=lambda s: s.images(b.turned("PNG", 0)),
        image=grey3(b.grey),
    ),
    Case(
        name="a palette that is too short",
        build=lambda s: s.images(b.with_palette(2), of=lambda name: b.grey(name) % 8),
    ),
    Case(
        name="an image without pixels",
        build=lambda s: s.image("a", b.raw_png(np.zeros((4, 0), np.uint8))),
        refused="images/a.png: not an image file; export it as 8-bit PNG or JPEG",
    ),
    Case(
        name="an image of a single row",
        build=lambda s: (s.image("a", b.png(b.grey("a")[:1])), s.mask("a", b.png(b.truth("a")[:1]))),
        refused="images/a.png: is 1 x 28 pixels (height x width); take the strip out of the set",
    ),
    Case(
        name="an image of 92 million pixels",
        build=lambda s: s.image("a", b.saved(Image.new("1", (9600, 9600)), "PNG", compress_level=1)),
        refused="images/a.png: has 9600 x 9600 = 92 million pixels, more than 89; cut it and its mask into tiles",
    ),
    Case(
        name="a mask of 182 million pixels",
        build=lambda s: s.mask("a", b.saved(Image.new("1", (13500, 13500)), "PNG", compress_level=1)),
        refused="masks/a.png: has 13500 x 13500 = 182 million pixels, more than 89; cut it and its mask into tiles",
    ),
    Case(
        name="an upright mask of an image that EXIF turns",
        build=lambda s: (s.images(b.turned("JPEG", 6), ".jpg"), s.masks(b.png, of=lambda name: b.truth(name).T)),
        mask=lambda name: b.truth(name).T,
    ),
    Case(
        name="a mask as the pixels of an image lie that EXIF turns",
        build=lambda s: s.images(b.turned("JPEG", 6), ".jpg"),
        refused="images/a.jpg: EXIF turns the image (orientation 6) and nothing turns its mask; save the turned pixels",
    ),
    Case(
        name="an image that EXIF turns upside down",
        build=lambda s: s.images(b.turned("PNG", 3)),
        refused="images/a.png: EXIF turns the image (orientation 3) and nothing turns its mask",
    ),
    Case(
        name="a square image that EXIF turns",
        build=lambda s: (
            s.images(b.turned("TIFF", 8), ".tif", lambda name: b.grey(name)[:, :20]),
            s.masks(b.png, of=lambda name: b.truth(name)[:, :20]),
        ),
        refused="images/a.tif: EXIF turns the image (orientation 8) and nothing turns its mask",
    ),
    Case(
        name="a turn that only XMP asks for",
        build=lambda s: s.images(b.encoder("JPEG", xmp=b.XMP_TURN), ".jpg", b.rgb),
        refused="images/a.jpg: training's decoder turns it to 20 x 28, predict.py's to 28 x 20 (height x width)",
    ),
]

CHANNELS = [
    Case(
        name="RGBA",
        build=lambda s: s.images(b.with_alpha("PNG"), of=b.bands(3)),
        refused="images/a.png: has 4 channels; say in [data] channels which one or three to take, such as channels =",
    ),
    Case(
        name="RGBA that is opaque",
        build=lambda s: s.images(b.with_alpha("PNG", opaque=True), of=b.bands(3)),
        image=b.bands(3),
    ),
    Case(
        name="RGBA of which three are taken",
        build=lambda s: s.images(b.with_alpha("PNG"), of=b.bands(3)),
        data="channels = [0, 1, 2]",
        image=b.bands(3),
    ),
    Case(
        name="grey with alpha",
        build=lambda s: s.images(b.with_alpha("PNG")),
        refused="images/a.png: has 2 channels; say in [data] channels",
    ),
    Case(
        name="grey with alpha of which grey is taken",
        build=lambda s: s.images(b.with_alpha("PNG")),
        data="channels = [0]",
        image=grey3(b.grey),
    ),
    Case(
        name="a transparent palette",
        build=lambda s: s.images(b.with_palette(transparency=bytes(range(256)))),
        refused="images/a.png: has transparent pixels; say in [data] channels",
    ),
    Case(
        name="a transparent colour",
        build=lambda s: s.images(b.encoder("PNG", transparency=tuple(b.rgb("a")[3, 3].tolist())), of=b.rgb),
        refused="images/a.png: has transparent pixels; say in [data] channels",
    ),
    Case(
        name="RGBN, near infrared in a channel of unknown meaning",
        build=lambda s: s.images(b.tiff(photometric=2, extra=(0,)), ".tif", b.bands(4)),
        refused="images/a.tif: has 4 channels; say in [data] channels",
    ),
    Case(
        name="RGBN that calls itself alpha",
        build=lambda s: s.images(b.tiff(photometric=2, extra=(2,)), ".tif", b.bands(4)),
        refused="images/a.tif: has 4 channels; say in [data] channels",
    ),
    Case(
        name="RGBN as false colours",
        build=lambda s: s.images(b.tiff(photometric=2, extra=(0,)), ".tif", b.bands(4)),
        data="channels = [3, 0, 1]",
        image=taken(b.bands(4), 3, 0, 1),
    ),
    Case(
        name="four channels that are no colours",
        build=lambda s: s.images(b.tiff(extra=(0, 0, 0)), ".tif", b.bands(4)),
        data="channels = [3]",
        image=taken(b.bands(4), 3, 3, 3),
    ),
    Case(
        name="channels multiplied by alpha",
        build=lambda s: s.images(b.tiff(photometric=2, extra=(1,), big_endian=True), ".tif", b.bands(4)),
        data="channels = [0, 1, 2]",
        image=taken(b.bands(4), 0, 1, 2),
    ),
    Case(
        name="two channels",
        build=lambda s: s.images(b.tiff(extra=(0,)), ".tif", b.bands(2)),
        refused="images/a.tif: has 2 channels; say in [data] channels",
    ),
    Case(
        name="the second of two channels",
        build=lambda s: s.images(b.tiff(extra=(0,)), ".tif", b.bands(2)),
        data="channels = [1]",
        image=taken(b.bands(2), 1, 1, 1),
    ),
    Case(
        name="five channels",
        build=lambda s: s.images(b.tiff(photometric=2, extra=(0, 0)), ".tif", b.bands(5)),
        refused="images/a.tif: has 5 channels; say in [data] channels",
    ),
    Case(
        name="the fifth of five channels",
        build=lambda s: s.images(b.tiff(photometric=2, extra=(0, 0)), ".tif", b.bands(5)),
        data="channels = [4]",
        refused="images/a.tif: channel 4 of 5 cannot be read; save it among the first three",
    ),
    Case(
        name="eight channels",
        build=lambda s: s.images(b.tiff(extra=(0,) * 7), ".tif", b.bands(8)),
        refused="images/a.tif: a TIFF of a kind that is not read (8 channels); save grey or RGB with 8 bits a channel",
    ),
    Case(
        name="a channel that is not there",
        build=lambda s: s.images(b.png, of=b.rgb),
        data="channels = [3]",
        refused="images/a.png: has channels 0 to 2, and 3 is asked for; name in [data] channels those that every image",
    ),
    Case(
        name="grey among colours where a channel is picked",
        build=lambda s: (s.images(b.with_alpha("PNG"), of=b.rgb), s.image("c", b.png(b.grey("c")))),
        data="channels = [0]",
        refused="images/: 1 of 6 images are grey and the others in colour (images/c.png); bring all to grey or all to "
        "colour, since [data] channels is one for all, or leave channels out: grey and RGB mix",
    ),
    Case(
        name="colours among grey where a channel is picked",
        build=lambda s: (s.images(b.with_alpha("PNG")), s.image("c", b.png(b.rgb("c")))),
        data="channels = [0]",
        refused="images/: 1 of 6 images are in colour and the others grey (images/c.png); bring all to grey or all to ",
    ),
    Case(
        name="RGB among RGBA of which three are taken",
        build=lambda s: (s.images(b.with_alpha("PNG"), of=b.rgb), s.image("c", b.png(b.rgb("c")))),
        data="channels = [0, 1, 2]",
        image=b.rgb,
    ),
    Case(
        name="two channels asked for",
        data="channels = [0, 1]",
        refused="give the one or three channels to take, from 0",
    ),
]

DEPTH = [
    Case(
        name="16-bit PNG",
        build=lambda s: s.images(b.png, of=b.deep),
        refused="images/a.png: 16 bits a channel; values are 240 to 2340 in all: say in [data] which become 0 and 255, "
        'range = [240, 2340], or range = "p0.5-p99.5" for percentiles of the training images',
    ),
    Case(
        name="16-bit TIFF",
        build=lambda s: s.images(b.tiff(), ".tif", b.deep),
        refused="images/a.tif: 16 bits a channel; values are 240 to 2340 in all: say in [data]",
    ),
    Case(
        name="16-bit PNG with a range",
        build=lambda s: s.images(b.png, of=b.deep),
        data="range = [240, 2340]",
        image=mapped(b.deep, 240, 2340),
        note="[data] range: 240 becomes 0 and 2340 255; the images hold 240 to 2340",
    ),
    Case(
        name="16-bit TIFF with a range that cuts",
        build=lambda s: s.images(b.tiff(), ".tif", b.deep),
        data="range = [500, 2000.5]",
        image=mapped(b.deep, 500, 2000.5),
    ),
    Case(
        name="big-endian 16-bit TIFF",
        build=lambda s: s.images(b.tiff(big_endian=True), ".tif", b.deep),
        data="range = [240, 2340]",
        image=mapped(b.deep, 240, 2340),
    ),
    Case(
        name="12 bits in 16, by percentiles",
        build=lambda s: s.images(b.encoder("TIFF", compression="tiff_lzw"), ".tif", b.deep),
        data='range = "p0.5-p99.5"',
        image=lambda name: mapped(b.deep, percentile(b.deep, 0.5), percentile(b.deep, 99.5))(name),
        note="(p0.5-p99.5 of the training images); the images hold 240 to 2340",
    ),
    Case(
        name="16 bits from the least to the greatest value",
        build=lambda s: s.images(b.png, of=b.deep),
        data='range = "p0-p100"',
        image=mapped(b.deep, 240, 2340),
    ),
    Case(
        name="12-bit TIFF",
        build=lambda s: s.images(b.tiff(bits=12), ".tif", b.deep),
        data="range = [0, 4095]",
        image=mapped(b.deep, 0, 4095),
    ),
    Case(
        name="signed 16 bits, as of CT",
        build=lambda s: s.images(b.tiff(), ".tif", b.hounsfield),
        data="range = [-160, 240]",
        image=mapped(b.hounsfield, -160, 240),
    ),
    Case(
        name="signed 16 bits by percentiles, big-endian",
        build=lambda s: s.images(b.tiff(big_endian=True), ".tif", b.hounsfield),
        data='range = "p5-p95"',
        image=lambda name: mapped(b.hounsfield, percentile(b.hounsfield, 5), percentile(b.hounsfield, 95))(name),
    ),
    Case(
        name="16-bit JPEG 2000",
        build=lambda s: s.images(b.encoder("JPEG2000"), ".jp2", b.deep),
        data="range = [240, 2340]",
        image=mapped(b.deep, 240, 2340),
    ),
    Case(
        name="16 bits that EXIF turns",
        build=lambda s: (s.images(b.turned("PNG", 6), of=b.deep), s.masks(b.png, of=lambda name: b.truth(name).T)),
        data="range = [240, 2340]",
        image=lambda name: np.rot90(mapped(b.deep, 240, 2340)(name), -1),
        mask=lambda name: b.truth(name).T,
    ),
    Case(
        name="8 bits with a range",
        build=lambda s: s.images(b.png, of=b.rgb),
        data="range = [20, 180]",
        image=lambda name: np.floor(np.clip((b.rgb(name) - 20.0) / 160, 0, 1) * 255 + 0.5).astype(np.uint8),
    ),
    Case(
        name="16-bit images among others",
        build=lambda s: s.image("b", b.png(b.deep("b"))),
        data="range = [0, 4095]",
        refused="images/: 1 of 6 images hold 16 bits a channel and the others do not (images/b.png); bring all to one",
    ),
    Case(
        name="a range beside the values",
        build=lambda s: s.images(b.png, of=b.deep),
        data="range = [3000, 4095]",
        refused="[data] range = [3000, 4095]: the values are outside, 240 to 2340",
    ),
    Case(
        name="a range that leaves few greys",
        build=lambda s: s.images(b.png, of=b.deep),
        data="range = [0, 65535]",
        image=mapped(b.deep, 0, 65535),
        note="the images hold 240 to 2340, which use 9 of 256 levels only",
    ),
    Case(
        name="images of one value by percentiles",
        build=lambda s: s.images(b.png, of=lambda name: np.full((b.HEIGHT, b.WIDTH), 700, np.uint16)),
        data='range = "p1-p99"',
        refused='[data] range = "p1-p99": both percentiles of the training images are 700; name other ones',
    ),
    Case(
        name="a range of one value", data="range = [5, 5]", refused="give the raw values that become 0 and 255, such as"
    ),
    Case(
        name="percentiles upside down",
        data='range = "p99-p1"',
        refused="or percentiles of the training images, such as",
    ),
    Case(name="percentiles that are none", data='range = "0.5-99.5"', refused='such as "p0.5-p99.5"'),
    Case(
        name="16-bit colour PNG",
        build=lambda s: s.images(lambda a: b.raw_png(a, 16), of=lambda name: b.bands(3)(name).astype(np.uint16) * 200),
        data="range = [0, 65535]",
        refused="images/a.png: 3 x 16 bits a pixel; save colour with 8 bits a channel, grey with 8 or 16",
    ),
    Case(
        name="16-bit colour TIFF",
        build=lambda s: s.images(b.tiff(photometric=2), ".tif", lambda name: b.bands(3)(name).astype(np.uint16)),
        refused="images/a.tif: 3 x 16 bits a pixel; save colour with 8 bits a channel",
    ),
    Case(
        name="32-bit whole numbers",
        build=lambda s: s.images(b.tiff(), ".tif", lambda name: b.deep(name).astype(np.uint32)),
        data="range = [0, 4095]",
        refused="images/a.tif: 1 x 32 bits a pixel; save colour with 8 bits a channel, grey with 8 or 16",
    ),
    Case(
        name="floating point",
        build=lambda s: s.images(b.tiff(), ".tif", lambda name: b.deep(name).astype(np.float32)),
        data="range = [0, 4095]",
        refused="images/a.tif: holds floating-point values; save it as 16-bit grey PNG or TIFF, or with 8 bits",
    ),
    Case(
        name="double precision",
        build=lambda s: s.images(b.tiff(), ".tif", lambda name: b.deep(name).astype(np.float64)),
        refused="images/a.tif: a TIFF of a kind that is not read (1 channels)",
    ),
    Case(
        name="signed 8 bits",
        build=lambda s: s.images(b.tiff(), ".tif", lambda name: b.grey(name).astype(np.int8)),
        refused="images/a.tif: holds signed values of 8 bits; save it as 16-bit grey TIFF, or with 8 bits",
    ),
    Case(
        name="16 bits in which white is 0",
        build=lambda s: s.images(b.tiff(photometric=0), ".tif", b.deep),
        data="range = [240, 2340]",
        refused="images/a.tif: 16 bits a channel, and white is 0; save it so that black is 0",
    ),
]

NFC, NFD = "caf\u00e9", "cafe\u0301"


def _link_images(files: InputSet) -> None:
    for name in b.NAMES:
        moved = (files.root / f"images/{name}.png").rename(files.root / f"{name}.png")
        (files.root / f"images/{name}.png").symlink_to(moved)


NAMES = [
    Case(
        name="an image without a mask that no list names",
        build=lambda s: s.image("z", b.png(b.grey("z"))),
        note="1 of 7 images have no mask and stand in no list: left out",
    ),
    Case(
        name="a folder a side",
        build=lambda s: (s.folders("train/left", "val"), s.image("test/z", b.png(b.grey("z")))),
        data='split = "folders"\ntrain = "train"\nval = "val"',
        shows=lambda found: found.split.train == ("train/left/a", "train/left/b", "train/left/c", "train/left/d"),
    ),
    Case(
        name="a folder that is not there",
        build=lambda s: s.folders("train", "val"),
        data='split = "folders"\ntrain = "train"\nval = "valid"',
        refused="/data/images/valid: no image ends in '.png' there; set [data] val to the folder",
    ),
    Case(
        name="names with spaces and other signs",
        build=lambda s: (s.rename("a", "scan 1 (left) #2%"), s.rename("e", NFC)),
    ),
    Case(
        name="image and mask in two forms of Unicode",
        build=lambda s: (s.rename("a", NFC, mask=False), s.rename("a", NFD, image=False)),
        refused=f"masks/{NFC}.png: image without a mask; 'masks/{NFD}.png' is there: write both names the same, letter "
        "for letter and in the same form of Unicode",
    ),
    Case(
        name="image and mask in upper and lower case",
        build=lambda s: s.rename("a", "A", mask=False),
        refused="masks/A.png: image without a mask; 'masks/a.png' is there: write both names the same, letter",
    ),
    Case(name="names that differ in case alone", build=lambda s: s.rename("b", "A")),
    Case(
        name="suffixes in upper and lower case",
        build=lambda s: (s.root / "images/b.png").rename(s.root / "images/b.PNG"),
        refused="images: several suffixes, .PNG (1), .png (5); rename the files so that all end in one",
    ),
    Case(
        name="a suffix in another case than the spec says",
        build=lambda s: (s.root / "masks/b.png").rename(s.root / "masks/b.PNG"),
        data='mask_suffix = ".png"',
        refused="masks: 1 files end in '.png' but for upper and lower case (b.PNG); rename them so that all end in one",
    ),
    Case(name="upper case throughout", build=lambda s: (s.images(b.png, ".PNG"), s.masks(b.png, ".PNG"))),
    Case(
        name="an image in two formats",
        build=lambda s: s.image("a", b.encoder("JPEG")(b.grey("a")), ".jpg"),
        refused="images: several suffixes, .jpg (1), .png (6); set image_suffix to the one to use",
    ),
    Case(
        name="images that the suffix leaves out",
        build=lambda s: s.image("x", b.encoder("JPEG")(b.grey("x")), ".jpg"),
        data='image_suffix = ".png"',
        note="images/: images that do not end in .png are left out: x.jpg",
    ),
    Case(
        name="a suffix of no image that is read",
        build=lambda s: s.images(b.png, ".dcm"),
        data='image_suffix = ".dcm"',
        refused="image_suffix: '.dcm' is none of an image that is read (.bmp, .jp2, .jpeg, .jpg, .png, .tif, .tiff",
    ),
    Case(
        name="a name that ends in a space",
        build=lambda s: s.rename("a", "a "),
        refused="images: the name 'a ' begins or ends with a space or holds signs that no list of names can; rename",
    ),
    Case(
        name="linked images",
        build=_link_images,
        image=grey3(b.grey),
    ),
    Case(
        name="a link to nothing",
        build=lambda s: (s.root / "images/z.png").symlink_to("gone.png"),
        refused="images/z.png: is a link to a file that is not there; put that file back",
    ),
    Case(name="lists of Windows", build=lambda s: s.lists(b"\xef\xbb\xbfa\r\nb\r\nc\r\nd\r\n", "e  \r\n\r\n f\t\r\n")),
    Case(
        name="lists with suffixes",
        build=lambda s: s.lists(val="e.png\nf.png"),
        refused="val.txt: e.png, f.png not in",
    ),
    Case(
        name="lists of pairs, as of VOC",
        build=lambda s: s.lists(val="images/e.png masks/e.png"),
        refused="use names relative to it, without .png, such as e for images/e.png masks/e.png",
    ),
    Case(
        name="lists with paths of Windows",
        build=lambda s: s.lists(val="data\\images\\e.png"),
        refused="without .png, such as e for data\\images\\e.png",
    ),
    Case(
        name="lists in another case",
        build=lambda s: s.lists(val="E\nf"),
        refused="val.txt: E not in",
    ),
    Case(
        name="lists in UTF-16",
        build=lambda s: s.lists(val="e\nf".encode("utf-16")),
        refused="val.txt: is not UTF-8 text; save it as UTF-8, one image name a line",
    ),
    Case(name="a name on both sides", build=lambda s: s.lists(val="e\na"), refused="a in both train and val"),
    Case(
        name="a name twice", build=lambda s: s.lists(val="e\nf\ne"), refused="val holds e twice; list each image once"
    ),
]


def table(text: str, encoding: str = "utf-8") -> Callable[[InputSet], None]:
    """A subjects file in which every image has a subject; `text` has a place for the separator and the rows."""
    return lambda s: s.subjects(text.encode(encoding))


def rows(separator: str, names: tuple[str, ...] = b.NAMES) -> str:
    """image and subject, a line each."""
    return "".join(f"{name}{separator}eye {place % 3}\n" for place, name in enumerate(names))


BY_SUBJECT = 'subjects = "subjects.csv"\nsplit = "subject"\nval_share = 0.3'


def _three_eyes(found: Any) -> bool:
    eyes = set(found.dataset.subjects.values())
    return len(eyes) == 3 and found.dataset.subjects["a"] in ("eye 0", "eye, 0")


SUBJECTS = [
    Case(name="subjects", build=table("image,subject\n" + rows(",")), data=BY_SUBJECT, shows=_three_eyes),
    Case(name="of Excel, semicolons", build=table("Image;Subject\n" + rows(";")), data=BY_SUBJECT, shows=_three_eyes),
    Case(
        name="of Excel, UTF-16 and tabs",
        build=table("image\tsubject\n" + rows("\t"), "utf-16"),
        data=BY_SUBJECT,
        shows=_three_eyes,
    ),
    Case(
        name="of Excel, with its separator's line",
        build=table("sep=;\r\nimage;subject\r\n" + rows(";"), "utf-8-sig"),
        data=BY_SUBJECT,
        shows=_three_eyes,
    ),
    Case(
        name="quoted",
        build=table('"image","subject"\n' + rows(",").replace("eye 0", '"eye, 0"')),
        data=BY_SUBJECT,
        shows=_three_eyes,
    ),
    Case(
        name="subjects by file names",
        build=table("image,subject\n" + rows(",", tuple(f"{name}.png" for name in b.NAMES))),
        data=BY_SUBJECT,
        refused="no subject for 6 of 6 images (a, b, c); add a row for each, with names as in the image folder without",
    ),
    Case(
        name="subjects in an encoding of Windows",
        build=table("image,subject\na,M\u00fcller\n", "cp1252"),
        data=BY_SUBJECT,
        refused="subjects.csv: cannot be read ('utf-8' codec can't decode byte 0xfc",
    ),
    Case(
        name="subjects with other columns",
        build=table("file;patient\n" + rows(";")),
        data=BY_SUBJECT,
        refused="subjects.csv: header is 'file,patient'; it must name the columns image,subject",
    ),
    Case(
        name="one subject",
        build=table("image,subject\n" + "".join(f"{name},1\n" for name in b.NAMES)),
        data=BY_SUBJECT,
        refused="all images are of one subject, those of [data] test aside; at least 2 are needed, or split by image",
    ),
]

CASES = [*SIDES, *MASKS, *IMAGES, *CHANNELS, *DEPTH, *NAMES, *SUBJECTS]
