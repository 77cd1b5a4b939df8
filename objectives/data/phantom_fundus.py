"""Synthetic fundus photographs with vessels: what the paper's weights were trained on before, in small."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.split import by_image, write_classes, write_lists
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import whole_folder

CLASSES = ("background", "vessel")
_FINE = 2  # vessels are drawn at twice the size and scaled down, so that their edges are soft


def write_fundus(folder: Path, *, images: int = 32, size: int = 256, seed: int = 0) -> Dataset:
    """Draws `images` fundus photographs of `size` x `size` pixels with their vessel masks into `folder`.

    The layout is `Dataset`'s, RGB images, masks 0 background and 1 vessel (8 to 20 % of the pixels at 256 pixels,
    fewer at smaller sizes), a quarter for validation. The same arguments give the same bytes. Raises InputError for
    fewer than 4 images, a size under 64, a negative seed, or a folder that is not empty.
    """
    for name, value, least in (("images", images, 4), ("size", size, 64), ("seed", seed, 0)):
        if value < least:
            raise InputError(f"fundus phantom: {name} is {value}; it must be at least {least}")
    with whole_folder(Path(folder)) as part:
        for sub in ("images", "masks"):
            (part / sub).mkdir()
        for index, seeds in enumerate(np.random.SeedSequence(seed).spawn(images)):
            picture, vessels = draw_fundus(size, np.random.default_rng(seeds))
            Image.fromarray(picture).save(part / "images" / f"fundus_{index}.png")
            Image.fromarray(vessels).save(part / "masks" / f"fundus_{index}.png")
        dataset = Dataset.open(part, classes=CLASSES)
        write_classes(CLASSES, part)
        write_lists(by_image(dataset, val_share=0.25, seed=seed), part / "splits")
    return Dataset.open(folder, classes=CLASSES)


def draw_fundus(size: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One photograph (size, size, 3) and its vessel mask (size, size) of 0 and 1."""
    row, column = np.mgrid[:size, :size] / size - 0.5
    radius = np.hypot(row, column)
    side = rng.choice((-1.0, 1.0))
    disc = (rng.uniform(-0.05, 0.05), side * rng.uniform(0.17, 0.24))
    field = radius < 0.47
    tree = _draw_tree(size, disc, -side, rng)
    shade = 0.75 - 0.7 * radius**1.5 + 0.06 * _smooth(rng, size, 16)
    shade += 0.45 * np.exp(-(((row - disc[0]) ** 2 + (column - disc[1]) ** 2) / 0.0022))
    shade -= 0.14 * np.exp(-((row**2 + (column + 0.02 * side) ** 2) / 0.006))  # the macula is darker
    shade = shade * (1 - rng.uniform(0.3, 0.45) * tree) + rng.normal(0, 0.02, (size, size))
    tint = np.array([0.95, 0.48, 0.26]) + rng.uniform(-0.06, 0.06, 3)
    picture = np.clip(shade[..., None] * tint * 255, 0, 255) * field[..., None]
    return picture.astype(np.uint8), ((tree > 0.4) & field).astype(np.uint8)


def _draw_tree(size: int, disc: tuple[float, float], away: float, rng: np.random.Generator) -> NDArray[np.float64]:
    canvas = Image.new("L", (size * _FINE, size * _FINE))
    draw = ImageDraw.Draw(canvas)
    for vertical in (-1.0, 1.0):
        for bend in (0.5, 1.1, 2.2):
            angle = math.atan2(vertical, away * math.cos(bend))
            _grow(draw, size * _FINE, disc, angle, rng.uniform(3.2, 5.0) * size / 256, away, rng, depth=0)
    soft = canvas.filter(ImageFilter.GaussianBlur(1)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(soft) / 255.0


def _grow(
    draw: ImageDraw.ImageDraw,
    side: int,
    start: tuple[float, float],
    angle: float,
    width: float,
    away: float,
    rng: np.random.Generator,
    depth: int,
) -> None:
    row, column = start
    for _ in range(int(rng.uniform(9, 16))):
        if math.hypot(row, column) > 0.5 or width < 0.7:
            return
        # Arcades bend around the macula: the direction drifts towards "away from the disc".
        angle += rng.normal(0, 0.16) + 0.05 * math.sin((0.0 if away > 0 else math.pi) - angle)
        new = row + 0.026 * math.sin(angle), column + 0.026 * math.cos(angle)
        ends = [((c + 0.5) * side, (r + 0.5) * side) for r, c in ((row, column), new)]
        draw.line(ends, fill=255, width=max(1, round(width * _FINE)))
        (row, column), width = new, width * 0.975
        if depth < 3 and rng.random() < 0.2:
            fork = angle + rng.choice((-1.0, 1.0)) * rng.uniform(0.4, 0.9)
            _grow(draw, side, (row, column), fork, width * 0.72, away, rng, depth + 1)


def _smooth(rng: np.random.Generator, size: int, grid: int) -> NDArray[np.float64]:
    noise = Image.fromarray(rng.normal(0, 1, (grid, grid)).astype(np.float32))
    return np.asarray(noise.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64)
