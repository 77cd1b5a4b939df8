"""docs/claims.md: the paper's claims re-examined, as a page."""

from __future__ import annotations

from typing import Any

_HEAD = """\
# The paper's claims, re-examined

The paper ranks eleven configs after one training each. Here rows of its Table 2, and some that it did not try, are
trained {replicates} times each with the same seeds, on its own images and split, at the scale of a small machine
({channels} channels in place of 64, sides of {scale:g} of the paper's, {iterations} iterations in place of 400,
from nets that found vessels on DRIVE). What holds at this scale need not hold at the paper's.

A verdict needs both: the {images} validation images agree (Wilcoxon), and the difference is more than seeds and the
choice of images make; all {pairs} comparisons are corrected together (Holm). Every figure is from one command, which
goes on where it stopped: `{command}`.

Trainings that differ in their seed alone differ by {noise}.
"""


def page(document: dict[str, Any]) -> str:
    """The page as Markdown."""
    pairs = sum(len(claim["pairs"]) for claim in document["claims"])
    fixed, noise = document["fixed"], document["noise"]
    spread = "an amount that is not known" if noise is None else f"a standard deviation of {noise['sd']:.4f} in mIoU"
    if noise is not None:
        spread += f" (95 %: {noise['low']:.4f} to {noise['high']:.4f}; {noise['groups']} rows)"
    head = _HEAD.format(
        replicates=document["replicates"],
        channels=fixed["base_channels"],
        scale=fixed["size_scale"],
        iterations=fixed["iterations"],
        images=document["images"],
        pairs=pairs,
        command=document["command"],
        noise=spread,
    )
    parts = [head, *(_claim(claim, document) for claim in document["claims"]), _rows(document)]
    packages = ", ".join(f"{name} {version}" for name, version in document["versions"].items() if name != "mmtuna")
    return "\n".join([*parts, f"Measured with {packages}.\n"])


def _claim(claim: dict[str, Any], document: dict[str, Any]) -> str:
    lines = [f"## {claim['claim']}\n", _line(("row", "beside", "difference", "p, images", "p, seeds", "verdict"))]
    lines.append(_line(["---"] * 6))
    for pair in claim["pairs"]:
        figures = [_signed(pair.get("difference")), *(_p(pair.get(name)) for name in ("by_images", "by_seeds"))]
        lines.append(_line((pair["ours"], pair["theirs"], *figures, pair["verdict"])))
    if "Dice" in claim["claim"]:
        blind = document["blind"]
        lines.append(
            f"\nA net that finds no fluid where 1 % of the pixels is fluid has a Dice loss of {blind['dice']:.3f}: "
            "MMSegmentation's DiceLoss flattens all classes together, and the background is right. Taken a class at a "
            f"time the loss of the same net is {blind['dice_per_class']:.3f}."
        )
    return "\n".join(lines) + "\n"


def _rows(document: dict[str, Any]) -> str:
    names = ("row", "Table 2", "published mIoU", "seeds", "mIoU [95 %]", "IoU.fluid", "collapsed", "diverged")
    lines = ["## The rows\n", _line(names), _line(["---"] * len(names))]
    for row in document["rows"]:
        found = row["interval"]
        figure = "-" if found is None else f"{found[0]:.4f} [{found[1]:.4f}, {found[2]:.4f}]"
        fluid = "-" if row["fluid"] is None else f"{row['fluid']:.4f}"
        of_paper = ("", "") if row["table2"] is None else (f"row {row['table2']}", f"{row['published']:.4f}")
        lines.append(_line((row["name"], *of_paper, row["seeds"], figure, fluid, row["collapsed"], row["diverged"])))
    lines.append("\nCollapsed: not one pixel was found of a class that the truth has, which makes 0.4963 mIoU here.")
    return "\n".join(lines) + "\n"


def _line(cells: Any) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"


def _p(value: float | None) -> str:
    return "-" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
