"""The paper's claims re-examined: does crop 320 help, is Dice like cross entropy, is Adam bad, does L2 matter.

A row is a config of the paper, or one that it did not try; a claim sets two rows beside each other, which are trained
with the same seeds on the same images. Leaves benchmarks/results/claims.json and docs/claims.md. Stop it at any time;
the same command goes on where it stopped.

    python benchmarks/claims/claims.py --data DATA --replicates 3
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import page
import small
from rich.console import Console

from mmtuna.search.trials.files import StudyFiles
from mmtuna.search.versions import machine, versions
from mmtuna.search.work.running import run_study
from mmtuna.spaces.parameter import Categorical, Params
from mmtuna.spaces.settings import DEFAULTS
from mmtuna.spaces.table2 import TABLE2, Row
from mmtuna.studies import results
from mmtuna.studies.results import TrialRow
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.standing import params_key
from mmtuna.studies.statistics.comparing import compare
from mmtuna.studies.statistics.intervals import bootstrap
from mmtuna.studies.statistics.measures import Measured, counts_table, measured
from mmtuna.studies.statistics.seeds import NoiseFloor, noise_floor
from mmtuna.studies.strategy.enqueuing import Replicates
from mmtuna.studies.study import open_existing

METRIC = "mIoU"
BASE: Params = {"crop": 320, "flip": "none", "loss": "cross_entropy", "optimizer": "SGD", "weight_decay": 5e-4}
SHORT = "no crop, half the iterations"
"""The one row that has fewer iterations than all others."""
ROWS: Mapping[str, Params] = {
    "crop 320, CE, SGD, L2 5e-4": {},
    SHORT: {"crop": "none"},
    "no crop": {"crop": "none"},
    "no crop, flip": {"crop": "none", "flip": "horizontal"},
    "crop 192": {"crop": 192},
    "crop 224": {"crop": 224},
    "Dice": {"loss": "dice"},
    "focal": {"loss": "focal"},
    "CE + Dice per class": {"loss": "ce_tversky"},
    "Adam 0.01": {"optimizer": "Adam", "lr_adam": 1e-2},
    "Adam 0.003": {"optimizer": "Adam", "lr_adam": 3e-3},
    "Adam 0.001": {"optimizer": "Adam", "lr_adam": 1e-3},
    "Adam 0.0003": {"optimizer": "Adam", "lr_adam": 3e-4},
    "no L2": {"weight_decay": 0.0},
    "L2 1e-4": {"weight_decay": 1e-4},
    "L2 1e-3": {"weight_decay": 1e-3},
}
"""Each by what sets it apart from the first."""
FIRST = next(iter(ROWS))
CLAIMS: Sequence[tuple[str, Sequence[tuple[str, str]]]] = (
    ("Does crop 320 help?", ((FIRST, "no crop"), (FIRST, "crop 224"), (FIRST, "crop 192"))),
    (
        "Is Dice like cross entropy, and why?",
        (("Dice", FIRST), ("focal", FIRST), ("CE + Dice per class", FIRST), ("CE + Dice per class", "Dice")),
    ),
    (
        "Is Adam bad, or only its rate?",
        (("Adam 0.01", FIRST), ("Adam 0.003", FIRST), ("Adam 0.001", FIRST), ("Adam 0.0003", FIRST)),
    ),
    ("Does L2 matter within the noise?", (("L2 1e-4", FIRST), ("L2 1e-3", FIRST), ("no L2", FIRST))),
)


def main() -> None:
    """Trains what is missing of the rows, compares them, and writes both files."""
    told = small.options(__doc__ or "")
    small.vessels(told)
    spec = StudySpec.load(small.spec("claims", told))
    space, train = spec.search_space(), spec.train
    (iterations,) = (known.choices for known in space if isinstance(known, Categorical) and known.name == "iterations")
    many = max(int(choice) for choice in iterations)
    sets = {
        name: space.project({**DEFAULTS, **train, **BASE, "iterations": many // (2 if name == SHORT else 1), **own})
        for name, own in ROWS.items()
    }
    wanted = Replicates(count=told.replicates, sets=tuple(sets.values()))
    run_study(spec, Console(), slots=told.slots, replicates=wanted, heed_signals=True)
    document = examined(spec, sets, told.replicates) | {
        "what": "the claims, rehearsed small; the figures mean nothing" if told.rehearse else "the paper's claims",
        "command": f"python benchmarks/claims/claims.py --data DATA --replicates {told.replicates}",
        "machine": machine(),
        "versions": versions(),
        "fixed": {**train, "iterations": many},
        "blind": blind_losses(),
    }
    results_folder = told.out if told.rehearse else small.ROOT / "benchmarks" / "results"
    pages = told.out if told.rehearse else small.ROOT / "docs"
    (results_folder / "claims.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (pages / "claims.md").write_text(page.page(document), encoding="utf-8")
    print(pages / "claims.md")


def examined(spec: StudySpec, sets: Mapping[str, Params], replicates: int) -> dict[str, Any]:
    """The rows with their figures, and the claims with their verdicts, all of which are corrected together."""
    study = open_existing(spec.study)
    files, entries = StudyFiles(spec.study, spec.data.root, study), results.sound_rows(study)
    found: dict[str, Measured] = {}
    rows = []
    for name, params in sets.items():
        own = [entry for entry in entries if params_key(entry.params) == params_key(params)]
        complete = sorted((e for e in own if _counts(e, replicates)), key=lambda entry: entry.replicate)
        if complete:
            found[name] = _measured(spec, files, complete)
        rows.append(_row(name, params, own, complete, found.get(name)))
    # What finds no fluid with any seed is equal to its like, which says nothing, and nothing of what seeds change.
    blind = {row["name"] for row in rows if row["seeds"] and row["collapsed"] >= row["seeds"]}
    floor = noise_floor(side.by_seed for name, side in found.items() if name not in blind)
    pairs = [pair for _, listed in CLAIMS for pair in listed]
    tested = [pair for pair in pairs if set(pair) <= set(found)]
    told = compare([(found[ours].values, found[theirs].values) for ours, theirs in tested], floor)
    verdicts = dict(zip(tested, told, strict=True))
    for pair in [pair for pair in verdicts if blind.issuperset(pair)]:
        del verdicts[pair]
    return {
        "metric": METRIC,
        "replicates": replicates,
        "images": next((side.features.shape[1] for side in found.values()), 0),
        "noise": None if floor is None else _floor(floor),
        "rows": rows,
        "claims": [
            {"claim": claim, "pairs": [_pair(pair, verdicts.get(pair)) for pair in listed]} for claim, listed in CLAIMS
        ],
    }


def _counts(entry: TrialRow, replicates: int) -> bool:
    return entry.state == "COMPLETE" and entry.replicate < replicates


def _measured(spec: StudySpec, files: StudyFiles, entries: Sequence[TrialRow]) -> Measured:
    """Units are images: of the split's subjects nearly all train too, and the paper's question is of its images."""
    evaluations = [files.trained(entry).read_evaluation()["images"] for entry in entries]
    found = measured(METRIC, counts_table(evaluations, sorted(evaluations[0])), spec.data.classes)
    assert found is not None
    return found


def _row(
    name: str, params: Params, own: Sequence[TrialRow], complete: Sequence[TrialRow], side: Measured | None
) -> dict[str, Any]:
    interval = None if side is None else bootstrap(side.features, side.statistic)
    fluid = [entry.metrics.get("IoU.fluid", 0.0) for entry in complete]
    published = next((row for row in TABLE2 if _is_row(row, name, params)), None)
    return {
        "name": name,
        "table2": published.number if published else None,
        "published": published.miou if published else None,
        "params": params,
        "seeds": len(complete),
        "by_seed": [] if side is None else [round(value, 4) for value in side.by_seed],
        "interval": None if interval is None else [interval.mean, interval.low, interval.high],
        "fluid": statistics.fmean(fluid) if fluid else None,
        "collapsed": sum(entry.cause == "collapsed" for entry in own),
        "diverged": sum(entry.cause == "diverged" for entry in own),
        "seconds": statistics.median(entry.seconds or 0.0 for entry in complete) if complete else None,
    }


def _is_row(row: Row, name: str, params: Params) -> bool:
    """Whether the params are a row's of Table 2, but for their scale."""
    said = ("crop", "flip", "loss", "optimizer", "weight_decay", "lr_adam")
    same = all(params[one] == row.settings[one] for one in said if one in params and one in row.settings)
    return same and (row.iterations == min(row.iterations for row in TABLE2)) == (name == SHORT)


def _floor(floor: NoiseFloor) -> dict[str, float]:
    return {"sd": floor.sd, "low": floor.low, "high": floor.high, "groups": floor.groups}


def _pair(pair: tuple[str, str], told: Any) -> dict[str, Any]:
    found = {"ours": pair[0], "theirs": pair[1], "verdict": "not testable"}
    if told is None:
        return found
    figures = {"difference": told.difference, "by_images": told.by_units, "by_seeds": told.by_seeds}
    return found | figures | {"verdict": str(told.verdict)}


def blind_losses() -> dict[str, float]:
    """What MMSegmentation's losses say of a net that finds no fluid, where 1 % of the pixels is fluid.

    Dice flattens all classes together and is nearly content; taken a class at a time (Tversky, 0.5 and 0.5) it is not.
    """
    import torch
    from mmseg.models.losses import DiceLoss, TverskyLoss

    truth = torch.zeros(1, 100, 100, dtype=torch.long)
    truth[:, :10, :10] = 1
    nothing = torch.full((1, 2, 100, 100), -8.0)
    nothing[:, 0] = 8.0
    losses = {"dice": DiceLoss(use_sigmoid=False), "dice_per_class": TverskyLoss(alpha=0.5, beta=0.5)}
    return {name: float(loss(nothing, truth)) for name, loss in losses.items()}


if __name__ == "__main__":
    small.told_in_one_line(main)
