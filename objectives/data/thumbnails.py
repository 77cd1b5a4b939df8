"""A thumbnail of every image, small enough to be remembered with its record and large enough to know it again by."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16
"""Pixels a side, whatever the image's shape: 256 bytes an image, 3.5 MB in the manifest of 10,000."""


def packed(bands: NDArray[Any]) -> str:
    """The thumbnail of an image's pixels (height x width x channels, of any depth), as text.

    Channels are averaged, pixels too, and the darkest to the brightest of the thumbnail become 0 to 255: copies that
    differ in brightness, contrast, size or compression have about the same one.
    """
    # As they lie where Pillow can: averaging the channels of a whole image takes longer than decoding it.
    picture = bands if bands.dtype == np.uint8 and bands.shape[2] == 3 else bands.mean(axis=2, dtype=np.float32)
    small = np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)
    small = small.mean(axis=2) if small.ndim == 3 else small
    low, high = float(small.min()), float(small.max())
    scaled = (small - low) * (255 / (high - low)) if high > low else np.zeros_like(small)
    return base64.b64encode(scaled.round().astype(np.uint8).tobytes()).decode("ascii")


def unpacked(texts: Sequence[str]) -> NDArray[np.float32]:
    """The thumbnails that `packed` made: (images, SIDE, SIDE), 0 to 255. ValueError for a text that is none."""
    pixels = np.frombuffer(b"".join(base64.b64decode(text, validate=True) for text in texts), np.uint8)
    return pixels.reshape(len(texts), SIDE, SIDE).astype(np.float32)
