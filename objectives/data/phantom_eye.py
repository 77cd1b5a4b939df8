"""One synthetic eye and the drawing of its B-scans.

Lengths are in units of 1/256 of the image's side, x to the right and y downwards; z in -1..1 runs through the volume,
0 at the fovea. Grey levels are 0..255.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MARGIN_TOP, _MARGIN_BOTTOM = 7.0, 10.0  # fluid keeps this far from the inner surface and from the RPE
_SEPTUM = 2.2  # tissue left between neighbouring pockets
_LEAST_RADIUS = 3.0  # a pocket's cross-section smaller than this is left out: no grader would draw it


@dataclass(frozen=True, kw_only=True)
class Pocket:
    """A fluid pocket: an ellipsoid with a wavy outline; `depth` 0..1 from the inner surface to the RPE."""

    x: float
    z: float
    depth: float
    rx: float
    ry: float
    rz: float
    waves: tuple[tuple[float, float], ...]  # amplitude and phase of the outline's 2nd, 3rd, ... harmonic

    def slice_scale(self, z: float) -> float:
        """The cross-section at `z` relative to the largest, 0..1."""
        return float(np.sqrt(max(0.0, 1 - ((z - self.z) / self.rz) ** 2)))


@dataclass(frozen=True, kw_only=True)
class Eye:
    """What all B-scans of one subject share."""

    gain: float
    vitreous: float
    grain: float
    thickness: float
    height: float
    tilt: float
    bend: float
    fovea: float
    pit: float
    nasal: float  # -1: the nerve fibre layer is thick to the left, 1: to the right
    ripples: tuple[tuple[float, float, float], ...]  # amplitude, waves per image, phase
    wedge: float  # how far registration moved and turned the scans, so that white shows at top or bottom
    pockets: tuple[Pocket, ...]
    subretinal: tuple[float, float]  # half width, height; 0 where there is none
    shadows: tuple[tuple[float, float, float], ...]  # x, width, depth 0..1 of vessel shadows
    exudates: tuple[tuple[float, float, float, float], ...]  # x, z, depth, radius

    @classmethod
    def grow(cls, rng: np.random.Generator) -> "Eye":
        """Draw an eye at random."""
        fovea = rng.uniform(108, 148)
        pockets = _grow_pockets(rng, fovea)
        sites = [(p.x + rng.normal(0, p.rx + 5), p.z + rng.normal(0, 0.2)) for p in pockets for _ in range(4)]
        return cls(
            gain=rng.uniform(0.85, 1.15),
            vitreous=rng.uniform(18, 46),
            grain=rng.uniform(0.09, 0.15),
            thickness=rng.uniform(40, 52),
            height=rng.uniform(122, 150),
            tilt=rng.uniform(-0.16, 0.16),
            bend=rng.uniform(-12, 34),
            fovea=fovea,
            pit=rng.uniform(6, 16),
            nasal=rng.choice([-1.0, 1.0]),
            ripples=tuple(
                (rng.uniform(0.3, 1.6), k * rng.uniform(0.8, 1.2), rng.uniform(0, 6.3)) for k in (1, 2, 4, 7)
            ),
            wedge=rng.choice([0.0, 1.0, 1.0]) * rng.uniform(8, 22),
            pockets=pockets,
            subretinal=(rng.uniform(15, 26), rng.uniform(4, 7)) if rng.random() < 0.3 else (0.0, 0.0),
            shadows=tuple(
                (rng.uniform(5, 251), rng.uniform(0.6, 2.4), rng.beta(1.3, 3) * 0.9) for _ in range(rng.integers(8, 20))
            ),
            exudates=tuple((x, z, rng.uniform(0.4, 0.68), rng.uniform(0.7, 1.9)) for x, z in sites),
        )


def _grow_pockets(rng: np.random.Generator, fovea: float) -> tuple[Pocket, ...]:
    """A cluster of upright pockets at the fovea, flatter ones beside it, scaled to the eye's share of fluid."""

    def pocket(x: float, z: float, depth: float, rx: float, ry: float, reach: float) -> Pocket:
        rz = max(0.25, reach - abs(z))  # ends before the outermost scans, which stay free of fluid
        waves = tuple((rng.uniform(0.05, 0.42) / k, rng.uniform(0, 6.3)) for k in (2, 3, 4, 5))
        return Pocket(x=x, z=z, depth=depth, rx=rx, ry=ry, rz=rz, waves=waves)

    main = pocket(fovea, rng.uniform(-0.06, 0.06), 0.5, rng.uniform(9, 14), rng.uniform(13, 23), 0.64)
    pockets = [main]
    for side in (-1.0, 1.0):
        x = fovea
        for _ in range(rng.integers(1, 4)):
            rx, ry = rng.uniform(6.5, 13), rng.uniform(6, 13)
            x += side * (rx + rng.uniform(8, 14))
            pockets.append(pocket(x, rng.uniform(-0.2, 0.2), rng.uniform(0.48, 0.62), rx, ry, rng.uniform(0.45, 0.64)))
    for _ in range(rng.integers(0, 3)):
        x = fovea + rng.choice([-1.0, 1.0]) * rng.uniform(45, 85)
        rx, ry = rng.uniform(7, 14), rng.uniform(4.5, 8)
        pockets.append(pocket(x, rng.uniform(-0.3, 0.3), rng.uniform(0.42, 0.6), rx, ry, rng.uniform(0.45, 0.64)))
    # The mean of an ellipsoid's cross-section over z in -1..1 is pi rx ry (4 rz / 3) / 2.
    share = sum(np.pi * p.rx * p.ry * p.rz * 2 / 3 for p in pockets) / 256**2
    wanted = rng.uniform(0.0085, 0.0205)
    while len(pockets) > 1 and share > 1.5 * wanted:  # fewer pockets rather than many tiny ones
        lost = pockets.pop()
        share -= np.pi * lost.rx * lost.ry * lost.rz * 2 / 3 / 256**2
    scale = float(np.clip(np.sqrt(wanted / share), 0.75, 1.35))
    return tuple(
        Pocket(x=p.x + (p.x - fovea) * (scale - 1), z=p.z, depth=p.depth, rx=p.rx * scale, ry=p.ry * scale, rz=p.rz,
               waves=p.waves)
        for p in pockets
    )  # fmt: skip


def draw_scan(eye: Eye, z: float, size: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The B-scan of `eye` at `z` (-1..1): image (0..255) and mask (0/1), both (size, size)."""
    unit = 256 / size
    x: Floats = np.linspace(0.5 * unit, 256 - 0.5 * unit, size)
    y = x[:, None]
    top, middle, rpe = _surfaces(eye, z, x)
    lift = _subretinal_lift(eye, z, x)
    tissue = _layers(eye, x, y, top, middle, rpe, lift)
    fluid, soft = _fluid(eye, z, x, y, top, rpe, lift, unit)
    tissue *= 1 - (0.5 + 0.08 * np.sin(y / 7 + 9 * z) * np.sin(x / 9)) * soft
    inside = y > top
    tissue *= _choroid(rng, y, rpe, size)
    tissue *= 1 - (1 - _shadows(eye, z, x)) * np.clip((y - top - 2) / 14, 0, 1)
    tissue += _exudates(eye, z, x, y, top, rpe) * (1 - soft)
    image = _speckle(eye, tissue * inside, inside, rng, size)
    image = np.clip(image * eye.gain, 0, 250)
    white = _unregistered(eye, z, x, y)
    fluid &= ~white
    image[white] = 255
    return np.rint(image).astype(np.uint8), fluid.astype(np.uint8)


def _bell(x: Floats, centre: float, width: float) -> Floats:
    return np.exp(-0.5 * ((x - centre) / width) ** 2)


def _surfaces(eye: Eye, z: float, x: Floats) -> tuple[Floats, Floats, Floats]:
    """y of the inner surface, of the border between inner and outer retina, and of the RPE, along x."""
    off = (x - 128) / 128
    rpe = eye.height + eye.tilt * (x - 128) + 5 * eye.tilt * z * off * 20 - eye.bend * (off**2 + 0.3 * z * z)
    swelling = np.zeros_like(x)
    for p in eye.pockets:
        scale = p.slice_scale(z)
        swelling = np.maximum(swelling, 1.45 * p.ry * scale * _bell(x, p.x, 1.5 * p.rx + 10))
    pit = eye.pit * _bell(x, eye.fovea, 15) * float(np.exp(-0.5 * (z / 0.35) ** 2))
    rim = 5 * _bell(x, eye.fovea, 48) + 4 * eye.nasal * off
    thickness = eye.thickness + rim - pit * np.exp(-swelling / 8) + swelling
    for amplitude, waves, phase in eye.ripples:
        wave = amplitude * np.sin(2 * np.pi * waves * x / 256 + phase + 1.5 * z)
        thickness += 0.7 * wave
        rpe += 0.35 * wave
    inner = 0.52 * (thickness - swelling) + 0.25 * swelling
    top = rpe - thickness
    return top, top + inner * np.clip(1 - 0.7 * pit / 14, 0.25, 1), rpe


def _subretinal_lift(eye: Eye, z: float, x: Floats) -> Floats:
    width, height = eye.subretinal
    scale = float(np.sqrt(max(0.0, 1 - (z / 0.5) ** 2)))
    if height * scale < _LEAST_RADIUS:
        return np.zeros_like(x)
    return height * scale * np.clip(1 - ((x - eye.fovea) / (width * scale)) ** 2, 0, None)


_INNER = ([0.0, 0.06, 0.2, 0.32, 0.5, 0.62, 0.78, 0.88, 1.0], [84, 148, 134, 102, 108, 78, 74, 108, 100])
_OUTER = ([0.0, 0.12, 0.25, 0.8, 1.0], [100, 84, 58, 58, 70])
_BANDS = (  # y - RPE against grey level: ELM, IS/OS, a gap, RPE, the bright and then fading choroid
    [-12, -10.6, -9.4, -8.4, -7.0, -5.4, -4.0, -2.6, -0.8, 1.0, 2.4, 4.2, 9, 16, 28, 45, 75, 120],
    [70, 84, 74, 92, 190, 182, 124, 132, 232, 228, 150, 92, 76, 58, 34, 19, 9, 4],
)


def _layers(eye: Eye, x: Floats, y: Floats, top: Floats, middle: Floats, rpe: Floats, lift: Floats) -> Floats:
    """Grey level of the tissue without noise, (height, width)."""
    depth = y - rpe
    above = depth + lift * (depth < -3)  # the receptor bands ride on subretinal fluid, the RPE stays
    nerve = 1 + 0.14 * eye.nasal * (x - 128) / 128
    inner = np.interp((y - top) / np.maximum(middle - top, 4), *_INNER) * nerve
    outer = np.interp((y - middle) / np.maximum(rpe - 12 - middle, 4), *_OUTER)
    bands = np.interp(above, *_BANDS)
    return np.where(y < middle, inner, np.where(above < -12, outer, bands))


def _fluid(
    eye: Eye, z: float, x: Floats, y: Floats, top: Floats, rpe: Floats, lift: Floats, unit: float
) -> tuple[NDArray[np.bool_], Floats]:
    """The fluid as a mask and as a coverage 0..1 with soft edges, both (height, width)."""
    shape = (len(y), len(x))
    mask, taken = np.zeros(shape, bool), np.zeros(shape, bool)
    soft = np.zeros(shape)
    room = np.minimum(y - top - _MARGIN_TOP, rpe - lift - _MARGIN_BOTTOM - y)
    for p in eye.pockets:
        scale = p.slice_scale(z)
        rx, ry = p.rx * (0.35 + 0.65 * scale), p.ry * (0.35 + 0.65 * scale)
        at = int(np.clip(p.x / unit, 0, len(x) - 1))
        if scale == 0 or min(rx, ry) * scale < _LEAST_RADIUS:
            continue
        centre = top[at] + p.depth * (rpe[at] - top[at])
        dx, dy = (x - p.x) / rx, (y - centre) / ry
        angle = np.arctan2(dy, dx)
        radius = 1 + sum(a * np.cos(k * angle + phase + z) for k, (a, phase) in enumerate(p.waves, start=2))
        edge = np.minimum((radius - np.hypot(dx, dy)) * min(rx, ry), room)  # distance inside the outline
        edge = np.where(taken, -9, edge)
        mask |= edge > 0
        taken |= edge > -_SEPTUM
        soft = np.maximum(soft, np.clip(0.5 + edge / 1.6, 0, 1))
    if lift.max() > 0:
        edge = np.minimum(y - (rpe - 4.5 - lift), rpe - 3.2 - y)
        edge = np.where(lift > 1, edge, -9)
        mask |= edge > 0
        soft = np.maximum(soft, np.clip(0.5 + edge / 1.6, 0, 1))
    return mask, soft


def _smooth_noise(rng: np.random.Generator, rows: int, columns: int, shape: tuple[int, int]) -> Floats:
    """Noise of about unit variance from a coarse grid, interpolated to `shape`."""
    grid = rng.standard_normal((rows, columns))
    at_y, at_x = np.linspace(0, rows - 1.001, shape[0]), np.linspace(0, columns - 1.001, shape[1])
    y0, x0 = at_y.astype(int), at_x.astype(int)
    wy, wx = (at_y - y0)[:, None], (at_x - x0)
    lines: Floats = grid[y0] * (1 - wy) + grid[y0 + 1] * wy
    noise: Floats = lines[:, x0] * (1 - wx) + lines[:, x0 + 1] * wx
    return noise


def _choroid(rng: np.random.Generator, y: Floats, rpe: Floats, size: int) -> Floats:
    """Factor that mottles what lies below the RPE: dark vessel lumens, and streaks that run downwards."""
    blobs = _smooth_noise(rng, 34, 40, (size, size))
    streaks = _smooth_noise(rng, 4, 64, (size, size))
    below = np.clip((y - rpe - 4) / 5, 0, 1)
    return 1 + below * np.clip(0.24 * blobs + 0.13 * streaks, -0.65, 0.5)


def _shadows(eye: Eye, z: float, x: Floats) -> Floats:
    factor = np.ones_like(x)
    for at, width, depth in eye.shadows:
        factor *= 1 - depth * _bell(x, at + 4 * z, width)
    return factor


def _exudates(eye: Eye, z: float, x: Floats, y: Floats, top: Floats, rpe: Floats) -> Floats:
    bright = np.zeros((len(y), len(x)))
    for at, level, depth, radius in eye.exudates:
        strength = 150 * float(np.exp(-0.5 * ((z - level) / 0.15) ** 2))
        if strength < 15:
            continue
        centre = np.interp(at, x, top + depth * (rpe - top))
        bright += strength * _bell(y, float(centre), radius) * _bell(x, at, 1.2 * radius)
    return bright


def _speckle(eye: Eye, tissue: Floats, inside: NDArray[np.bool_], rng: np.random.Generator, size: int) -> Floats:
    """Multiplicative speckle in the tissue, and the scanner's floor everywhere, cut off at black."""
    shape = (size, size)
    fine, coarse = rng.standard_normal(shape), rng.standard_normal(shape)
    # Speckle is a little wider than a pixel: neighbours share part of it.
    coarse = (coarse + np.roll(coarse, 1, axis=1) + np.roll(coarse, 1, axis=0)) / 1.75
    grains = np.exp(eye.grain * (0.7 * fine + 0.8 * coarse))
    floor = np.linspace(1.0, 0.35, size)[:, None] * eye.vitreous
    noise = floor * (1 + 0.36 * rng.standard_normal(shape))
    black = (rng.random(shape) < 0.1) & ~inside
    noise[black] *= 0.2
    return tissue * grains + np.clip(noise, 0, None) * (1 - 0.6 * inside)


def _unregistered(eye: Eye, z: float, x: Floats, y: Floats) -> NDArray[np.bool_]:
    """Where registration turned and moved the scan off its frame: white wedges at top or bottom."""
    if eye.wedge == 0:
        return np.zeros((len(y), len(x)), bool)
    phase = 10 * eye.tilt + 1.2 * z
    edge = eye.wedge * np.sin(3 * phase) + (eye.tilt * 0.6 + 0.03 * np.sin(phase)) * (x - 128)
    white: NDArray[np.bool_] = (y < edge) | (y > 256 + edge)
    return white
