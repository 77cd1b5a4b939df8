"""What a validation side can show at all, whatever is trained: said before the first trial."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.manifest import Manifest
from mmtuna.objectives.data.sides import side_pixels

ALPHA, POWER = 0.05, 0.8
EFFICIENCY = 3 / math.pi
LEAST = 6
"""Fewest differences with which the signed-rank test can come to p < 0.05: with n its least p is 2 / 2**n."""


def smallest_difference(units: int) -> float:
    """The mean difference that a signed-rank test over `units` pairs finds four times in five, in deviations of a pair.

    (t(1 - alpha / 2) + t(power)) / sqrt(n 3 / pi), t with n - 1 degrees of freedom, alpha 0.05 two-sided, power 0.8:
    the sample size of a paired t test (Cohen 1988, chapter 2) solved for the difference, with n times Wilcoxon's
    asymptotic relative efficiency for normal differences, 3 / pi (Hodges and Lehmann 1956). Infinite below 6 pairs.
    """
    from scipy.special import stdtrit  # scipy.stats, which names it t.ppf, takes a second to import

    if units < LEAST:
        return math.inf
    t = float(stdtrit(units - 1, 1 - ALPHA / 2) + stdtrit(units - 1, POWER))
    return t / math.sqrt(units * EFFICIENCY)


def effective_number(amounts: Sequence[int]) -> float:
    """How many equal amounts would make a sum as uncertain as these do: (sum)^2 / sum of squares (Kish 1965)."""
    return sum(amounts) ** 2 / sum(amount**2 for amount in amounts)


def what_val_shows(dataset: Dataset, val: Sequence[str], manifest: Manifest) -> list[str]:
    """A note on the validation images `val`: those with foreground, the largest's share, what a test can tell apart.

    Pairs are of images with foreground, or of their subjects where all of these are known. Nothing where no mask holds
    any.
    """
    areas = {name: _foreground(dataset, name, manifest) for name in val}
    shown = {name: area for name, area in areas.items() if area}
    if not shown:
        return []
    largest = 100 * max(shown.values()) / sum(shown.values())
    alike = effective_number(list(shown.values()))
    known = all(name in dataset.subjects for name in shown)
    units = len({dataset.subjects[name] for name in shown}) if known else len(shown)
    what = "subjects" if known else "images"
    difference = smallest_difference(units)
    tells = (
        f"no paired test over {units} {what} can tell two configs apart; {LEAST} are needed at least"
        if math.isinf(difference)
        else f"a paired test over {units} {what} tells two configs apart whose mean difference is {difference:.2f} "
        f"deviations of the differences or more: {0.1 * difference:.3f} Dice where these deviate by 0.1"
    )
    held = f"{len(shown)} of {len(val)} images hold foreground, one of them {largest:.0f} % of it"
    return [f"val: {held}: pooled figures weigh as {alike:.1f} equal images would; {tells}"]


def _foreground(dataset: Dataset, name: str, manifest: Manifest) -> int:
    pixels = side_pixels(manifest, dataset, [name])
    return sum(count for value, count in pixels.items() if 0 < value < len(dataset.classes))
