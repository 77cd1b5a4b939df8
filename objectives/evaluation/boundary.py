"""Distances between the outlines of what was found and what is there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def boundary_distances(truth: NDArray[Any], found: NDArray[Any], tolerance: float) -> tuple[float, float] | None:
    """Normalised surface Dice (0 to 1) at `tolerance` pixels, and the 95th percentile Hausdorff distance in pixels.

    `truth` and `found` are masks of (height, width); what is not 0 is foreground. The outline of an area is its
    pixels with one of four neighbours outside the area or the image. NSD is the share of both outlines' pixels that lie
    no further than `tolerance` from the other outline; HD95 the larger of the two directed 95th percentiles, as
    Metrics Reloaded has them. None where both masks are empty; where one is, the worst: 0 and the image's diagonal.
    """
    from scipy import ndimage  # slow to import, needed only where distances are asked for

    areas = [np.asarray(mask) != 0 for mask in (truth, found)]
    if not all(area.any() for area in areas):
        return (0.0, math.hypot(*areas[0].shape)) if any(area.any() for area in areas) else None
    outlines = [area & ~ndimage.binary_erosion(area) for area in areas]
    there, back = (ndimage.distance_transform_edt(~other)[own] for own, other in (outlines, reversed(outlines)))
    near = np.count_nonzero(there <= tolerance) + np.count_nonzero(back <= tolerance)
    return near / (there.size + back.size), float(max(np.percentile(there, 95), np.percentile(back, 95)))
