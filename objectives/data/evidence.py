"""What a validation side can show at all, whatever is trained: said before the first trial."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.manifest import Manifest
from mmtuna.objectives.data.sides import side_pixels
from mmtuna.spaces.metrics import is_pooled

ALPHA, POWER = 0.05, 0.8
EFFICIENCY = 3 / math.pi
LEAST = 6
"""Fewest differences with which the signed-rank test can come to p < 0.05: with n its least p is 2 / 2**n."""
SIMULATED = (
    *(1.793, 1.331, 1.250, 1.149, 1.020, 0.988, 0.935, 0.871, 0.827, 0.800),
    *(0.780, 0.753, 0.720, 0.696, 0.678, 0.666, 0.648, 0.629, 0.612, 0.600),
)
"""`smallest_difference` of 6 to 25 pairs, by bisection on 400,000 sets of normal differences each (default_rng(n)).

Of the exact test (`scipy.stats.wilcoxon`, p < 0.05), whose p comes in steps: of 6 pairs all must have one sign, which
is found with a probability of Phi(difference) ** 6. Beyond these the formula errs by less than half a percent.
"""


def smallest_difference(units: int) -> float:
    """The mean difference that a signed-rank test over `units` pairs finds four times in five, in deviations of a pair.

    Of 6 to 25 pairs as simulated, infinite below. Beyond, (t(1 - alpha / 2) + t(power)) / sqrt(n 3 / pi), t with n - 1
    degrees of freedom, alpha 0.05 two-sided, power 0.8: the sample size of a paired t test (Cohen 1988, chapter 2)
    solved for the difference, with n times Wilcoxon's asymptotic relative efficiency for normal differences, 3 / pi
    (Hodges and Lehmann 1956).
    """
    from scipy.special import stdtrit  # scipy.stats, which names it t.ppf, takes a second to import

    if units < LEAST:
        return math.inf
    if units - LEAST < len(SIMULATED):
        return SIMULATED[units - LEAST]
    t = float(stdtrit(units - 1, 1 - ALPHA / 2) + stdtrit(units - 1, POWER))
    return t / math.sqrt(units * EFFICIENCY)


def effective_number(amounts: Sequence[int]) -> float:
    """How many equal amounts would make a sum as uncertain as these do: (sum)^2 / sum of squares (Kish 1965)."""
    return sum(amounts) ** 2 / sum(amount**2 for amount in amounts)


def what_val_shows(dataset: Dataset, val: Sequence[str], manifest: Manifest, metric: str) -> list[str]:
    """A note on the validation images `val`: those with foreground, the largest's share, what a test can tell apart.

    Pairs are those that `mmtuna compare` makes: of the images that hold what the `metric` counts, where nothing else is
    predicted there, or of their subjects where all of these are known. Nothing where no mask holds any foreground.
    """
    foreground = range(1, len(dataset.classes))
    areas = {name: _pixels(dataset, name, manifest, foreground) for name in val}
    shown = {name: area for name, area in areas.items() if area}
    if not shown:
        return []
    largest = 100 * max(shown.values()) / sum(shown.values())
    alike = effective_number(list(shown.values()))
    counted = _counted(metric, dataset.classes)
    paired = [name for name in val if _pixels(dataset, name, manifest, counted)]
    known = all(name in dataset.subjects for name in paired)
    units = len({dataset.subjects[name] for name in paired}) if known else len(paired)
    what = "subjects" if known else "images"
    difference = smallest_difference(units)
    tells = (
        f"no paired test over {units} {what} can tell two configs apart; {LEAST} are needed at least"
        if math.isinf(difference)
        else f"a paired test over {units} {what} tells two configs apart four times in five whose mean difference is "
        f"{difference:.2f} deviations of the differences: {0.1 * difference:.3f} Dice where these deviate by 0.1; a "
        "verdict also needs more than seeds change"
    )
    held = f"{len(shown)} of {len(val)} images hold foreground, one of them {largest:.0f} % of it"
    return [f"val: {held}: pooled figures weigh as {alike:.1f} equal images would; {tells}"]


def _counted(metric: str, classes: Sequence[str]) -> Sequence[int]:
    """The classes whose pixels make an image's part in a metric: all, one, or the foreground where each has a value."""
    everything = range(len(classes))
    if not is_pooled(metric):
        return everything[1:]
    _, _, name = metric.partition(".")
    return [classes.index(name)] if name else everything


def _pixels(dataset: Dataset, name: str, manifest: Manifest, classes: Sequence[int]) -> int:
    pixels = side_pixels(manifest, dataset, [name])
    return sum(count for value, count in pixels.items() if value in classes)
