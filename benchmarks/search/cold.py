"""A cold start for real: a spec as it is, searched by mmtuna, and by plain Optuna at the same cost, on trained nets.

Plain Optuna is `study.optimize` of the same objective with TPESampler() and MedianPruner(), and stops when it has used
as many iterations as mmtuna's search has. On a set of the recorded trials mmtuna begins with what was made from the
other sets alone. The config that each has chosen, and the defaults of the preset, are trained to their end with seeds
that no search has seen. Stop it at any time; the same command goes on where it stopped. Writes
benchmarks/results/cold-NAME.json, NAME being the study's, and a picture of both searches beside it, with what there is
of them as each side is done: mmtuna's, plain Optuna's, the defaults.

    python benchmarks/search/cold.py benchmarks/duke-cold/study.toml --data DATA
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from contests import HERE, SETS, all_of, command
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from rich.console import Console

import mmtuna
from mmtuna.search.simulation.portfolio import choose
from mmtuna.search.versions import machine, versions
from mmtuna.search.work.running import run_study
from mmtuna.spaces.files import write_whole
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.portfolio import adapted
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import DEFAULTS
from mmtuna.studies.configs import chosen, values_of
from mmtuna.studies.results import TrialRow
from mmtuna.studies.standing import params_key
from mmtuna.studies.strategy.enqueuing import Replicates

ROOT = Path(__file__).resolve().parents[2]
FRESH = 10_000
"""The first seed of the final trainings."""


def main() -> None:
    """Searches twice, trains what was chosen with fresh seeds, and writes what came of it, each side as it is there."""
    options = _options()
    spec = knowing_the_others(spec_of(options, "mmtuna"))
    run_study(spec, Console(), slots=options.slots)
    searches, found = {"mmtuna": mmtuna.trials(spec)}, dict[str, Params]()
    found["mmtuna"] = params_of(chosen(searches["mmtuna"]))
    _compare(spec, searches, found, options)
    budget = iterations_of(searches["mmtuna"])
    searches["optuna"] = search_plainly(spec_of(options, "optuna", portfolio=False, confirm=0.0), budget, options)
    found["optuna"] = params_of(chosen(searches["optuna"]))
    _compare(spec, searches, found, options)
    found["defaults"] = _defaults(spec)
    _compare(spec, searches, found, options)


def _compare(
    spec: mmtuna.StudySpec,
    searches: Mapping[str, Sequence[TrialRow]],
    found: Mapping[str, Params],
    options: argparse.Namespace,
) -> None:
    """Trains each config that was found with seeds that no search has seen, and writes what there is."""
    final = trained_again(spec_of(options, "final", seed=FRESH, pruner="none"), found.values(), options)
    _write(spec, searches, found, final, options)


def trained_again(
    final: mmtuna.StudySpec, configs: Iterable[Params], options: argparse.Namespace
) -> Sequence[TrialRow]:
    """What comes of each of the configs with `final`'s own seeds, --seeds of each; what there is already stays."""
    sets = tuple({params_key(params): params for params in configs}.values())
    run_study(final, Console(), slots=options.slots, replicates=Replicates(count=options.seeds, sets=sets))
    return mmtuna.trials(final)


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__, "cold", seeds=5)
    parser.add_argument("spec", type=Path, help="a study.toml, with DATA for the place of the data")
    return parser.parse_args()


def parser_of(description: str | None, folder: str, *, seeds: int) -> argparse.ArgumentParser:
    """The options of searches that are trained for real."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="what is put for DATA")
    parser.add_argument("--trials", type=int, help="of each of mmtuna's searches; the spec's by default")
    parser.add_argument("--seeds", type=int, default=seeds, help="trainings of each config that is compared in the end")
    parser.add_argument("--slots", type=int, default=2, help="trials at the same time")
    parser.add_argument("--device", help="in place of the spec's")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / folder, help="of the studies")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    return parser


def spec_of(options: argparse.Namespace, side: str, **study: Any) -> mmtuna.StudySpec:
    """The spec's study of one side, in a folder of its own."""
    tables: dict[str, Any] = tomllib.loads(
        options.spec.read_text(encoding="utf-8").replace("DATA", options.data.resolve().as_posix())
    )
    name = tables["study"]["name"]
    if options.trials is not None:
        tables["study"]["trials"] = options.trials
    if options.device is not None:
        tables["resources"]["devices"] = [options.device]
    tables["study"] |= {"name": f"{name}-{side}", "folder": str(options.folder.resolve() / name / side), **study}
    return mmtuna.StudySpec(**tables)


def knowing_the_others(spec: mmtuna.StudySpec) -> mmtuna.StudySpec:
    """Where trials of the study's own data were recorded, what mmtuna begins with was made from these too; then it is
    given what is made in the same way from all other sets, as `start` and `warm`."""
    own = spec.study.name.partition("-")[0]
    if own not in SETS:
        return spec
    recorded, space, settings = HERE / "recorded", spec.search_space(), {**DEFAULTS, **spec.train}
    others = {name: all_of(name, recorded) for name in SETS if name != own}
    odds = all_of(own, recorded).odds
    configs = [adapted(one.at(odds), space, settings) for one in choose(others)]
    start = tuple(params for params in configs if params is not None)
    warm = tuple(recorded / f"{name}.jsonl" for name in others)
    return spec.model_copy(
        update={
            "space": spec.space.model_copy(update={"start": start}),
            "study": spec.study.model_copy(update={"portfolio": False, "warm": warm}),
        }
    )


def search_plainly(spec: mmtuna.StudySpec, budget: int, options: argparse.Namespace) -> list[TrialRow]:
    """Trials of plain Optuna until they have used so many iterations."""
    spec.study.folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=spec.study.name,
        storage=f"sqlite:///{spec.study.folder / 'plain.db'}",
        direction="maximize",
        sampler=TPESampler(seed=spec.study.seed),
        pruner=MedianPruner(),
        load_if_exists=True,
    )

    def over(study: optuna.Study, _: optuna.trial.FrozenTrial) -> None:
        if iterations_of(mmtuna.trials(spec, study)) >= budget:
            study.stop()

    if iterations_of(mmtuna.trials(spec, study)) < budget:
        objective = mmtuna.Objective(spec, slots=options.slots, stop_collapses=False)
        study.optimize(objective, n_jobs=options.slots, callbacks=[over], catch=(mmtuna.TrialFailedError,))
    return mmtuna.trials(spec, study)


def iterations_of(trials: Sequence[TrialRow]) -> int:
    return sum(trial.iterations or 0 for trial in trials)


def params_of(trial: TrialRow | None) -> Params:
    if trial is None:
        sys.exit("no trial was complete")
    return trial.params


def _defaults(spec: mmtuna.StudySpec) -> Params:
    """What a trial of the space's has where nobody says anything, but for the iterations: as many as may be."""
    space: SearchSpace = spec.search_space()
    found: Params = {}
    for parameter in space:
        if parameter.exists(found):
            wanted = max(parameter.values() or [0]) if parameter.name == "iterations" else DEFAULTS[parameter.name]
            found[parameter.name] = wanted
    return found


def _write(
    spec: mmtuna.StudySpec,
    searches: Mapping[str, Sequence[TrialRow]],
    found: Mapping[str, Params],
    final: Sequence[TrialRow],
    options: argparse.Namespace,
) -> None:
    name, metric = spec.study.name.removesuffix("-mmtuna"), spec.study.metric
    values = {side: values_with(final, params) for side, params in found.items()}
    document = {
        "what": f"{metric} of the config that each search chose, and of the defaults, with {options.seeds} fresh seeds",
        "command": command(options.data),
        "searches": {
            side: {
                "trials": len(rows),
                "complete": sum(row.state == "COMPLETE" for row in rows),
                "iterations": iterations_of(rows),
                "seconds": round(sum(row.seconds or 0.0 for row in rows), 1),
                "pruner": spec.study.pruner if side == "mmtuna" else "MedianPruner()",
                "best": max((row.value for row in rows if row.value is not None), default=None),
                "chosen": found[side],
            }
            for side, rows in searches.items()
        },
        "defaults": found.get("defaults"),
        "final": {
            side: {
                "values": [round(value, 4) for value in own],
                "mean": round(statistics.fmean(own), 4),
                "sd": round(statistics.stdev(own), 4) if len(own) > 1 else None,
            }
            for side, own in values.items()
        },
        "machine": machine(),
        "versions": versions(),
    }
    out = options.results / f"cold-{name}.json"
    write_whole(out, json.dumps(document, indent=1) + "\n")
    _draw(searches, values, metric, name, out.with_suffix(".svg"))
    print(json.dumps(document["final"], indent=1))
    print(out)


def values_with(rows: Sequence[TrialRow], params: Params) -> list[float]:
    """The values of the rows that have these params."""
    return values_of([row for row in rows if params_key(row.params) == params_key(params)])


def _draw(
    searches: Mapping[str, Sequence[TrialRow]], values: Mapping[str, Sequence[float]], metric: str, name: str, out: Path
) -> None:
    """The best so far over the iterations of each search, and beside it what fresh seeds made of what it chose."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3), width_ratios=(3, 1), sharey=True)
    colours = {"mmtuna": "#0072B2", "optuna": "#D55E00", "defaults": "#999999"}
    for side, rows in searches.items():
        points = list[tuple[int, float]]()
        for row in sorted(rows, key=lambda row: row.ended or ""):
            at, best = points[-1] if points else (0, 0.0)
            value = row.value if row.state == "COMPLETE" and row.value is not None else 0.0
            points.append((at + (row.iterations or 0), max(best, value)))
        points = [point for point in points if point[1]]
        left.step(*zip(*points, strict=True), where="post", color=colours[side], label=side)
    for place, (side, own) in enumerate(values.items()):
        right.plot([place] * len(own), own, "o", color=colours[side], alpha=0.6)
        right.plot([place - 0.25, place + 0.25], [statistics.fmean(own)] * 2, color=colours[side], linewidth=2)
    left.set_xlabel("iterations of the search")
    left.set_ylabel(metric)
    left.legend(frameon=False)
    left.set_title(f"{name}: best so far", fontsize=10)
    right.set_xticks(range(len(values)), list(values), rotation=30)
    right.set_title("chosen, fresh seeds", fontsize=10)
    figure.tight_layout()
    figure.savefig(out)


if __name__ == "__main__":
    main()
