"""Does a setting pay? The same configs with it and without it, by the same seed, on three sets: differences in pairs.

The configs are random ones of the untouched extended preset: those of the recorded trials of a set that found every
class (with --best the best of these), else fresh draws. Each is trained as it is, and once for each candidate, at the
scale of the set's spec. Writes benchmarks/results/pays.json, with all that was trained. Stop it at any time; the same
command goes on with what is not in there, on any machine, and more --configs or other candidates by --only are added.

    python benchmarks/search/pays.py --data DATA --configs 12

The sets' specs train a fifth of the iterations, in which nets have hardly begun to swing. As long as users train, the
best of the recorded configs:

    python benchmarks/search/pays.py --data DATA --best --iteration-scale 1 --only ema --configs 6 --out OUT
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from contests import HERE, ROOT, SETS, command, names_of

import mmtuna
from mmtuna.objectives.recorded import load_recorded
from mmtuna.search.quiet import quiet_optuna
from mmtuna.search.trials.conclude import has_collapsed
from mmtuna.search.versions import machine, versions
from mmtuna.spaces.effects import why_idle
from mmtuna.spaces.files import write_whole
from mmtuna.spaces.parameter import Params, Value
from mmtuna.spaces.settings import DEFAULTS
from mmtuna.spaces.trials import Cause
from mmtuna.studies.standing import params_key
from mmtuna.studies.statistics.comparing import ALPHA, holm, signed_rank
from mmtuna.studies.statistics.intervals import bootstrap, mean_features

CANDIDATES: Mapping[str, tuple[Value, ...]] = {
    "ema": (0.05,),
    "clip_norm": (1.0,),
    "warmup": (0.1,),
    "dropout": (0.0, 0.3),
    "cat_max_ratio": (0.99,),
    "gamma": (0.5,),
    "scale_jitter": (0.5,),
}
"""What is tried of each setting in place of the paper's value."""
ROUND = 2
"""Configs of a set before it is the next one's turn: stopped half-way, all sets have about as many."""
WORTH = 0.005
"""mIoU: what a setting has to gain on average to be worth a parameter."""
LEAST = 6
"""Pairs below which Wilcoxon's test can tell nothing at 5 %."""
EVERYWHERE = "all sets"
Trained = dict[str, dict[str, Any]]
"""By params (`params_key`) the value and the cause that came of them."""


def main() -> None:
    """Trains what is missing, in rounds through the sets, and writes the result anew after each study."""
    options = _options()
    pairs: dict[str, list[dict[str, Any]]] = {}
    trained = _known(options.out)
    for count in (*range(ROUND, options.configs, ROUND), options.configs):
        for name in options.sets:
            spec, configs = _study(name, count, options)
            known = trained.setdefault(name, {})
            known |= _trained(spec, known, options.slots)
            pairs[name] = list(_pairs(known, configs, options.only))
            _write(pairs, trained, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path(), help="holds duke-dme-256/ and drive/, see benchmarks/README"
    )
    parser.add_argument("--sets", type=names_of("set", SETS), default=SETS, help="by comma; all by default")
    parser.add_argument("--only", type=names_of("setting", CANDIDATES), default=tuple(CANDIDATES), help="settings")
    parser.add_argument("--configs", type=int, default=12, help="of each set")
    parser.add_argument("--best", action="store_true", help="the best recorded configs, not the first ones")
    parser.add_argument("--slots", type=int, default=2, help="trials at the same time, a core each")
    parser.add_argument("--iteration-scale", type=float, help="in place of the set's own")
    parser.add_argument("--device", help="in place of the sets' own")
    parser.add_argument("--studies", type=Path, default=ROOT / "runs" / "pays", help="folder of the studies")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "pays.json")
    return parser.parse_args()


def _study(name: str, count: int, options: argparse.Namespace) -> tuple[mmtuna.StudySpec, list[Params]]:
    """The spec of a set's study, whose start is all that is to be trained, and so many configs."""
    text = (HERE / f"{name}.toml").read_text(encoding="utf-8").replace("DATA", options.data.resolve().as_posix())
    tables: dict[str, Any] = tomllib.loads(text)
    if name == "phantom":
        eyes = options.studies / "phantom-eyes"
        if not eyes.exists():
            eyes.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run([sys.executable, "-m", "mmtuna", "data", "phantom", str(eyes)], check=True)
        tables["data"]["root"] = str(eyes)
    tables["study"] |= {"name": f"pays-{name}", "folder": str(options.studies / name), "pruner": "none"}
    tables["train"]["evaluations"] = 1  # the last one is compared; none is pruned
    if options.device is not None:
        tables["resources"]["devices"] = [options.device]
    if options.iteration_scale is not None:
        tables["train"]["iteration_scale"] = options.iteration_scale
    plain = mmtuna.StudySpec(**tables)
    configs = _configs(name, plain, count, options.best)
    tables["space"]["params"] = {
        setting: {"choices": [DEFAULTS[setting], *tried]} for setting, tried in CANDIDATES.items()
    }
    variants = [(None, None), *((setting, value) for setting in options.only for value in CANDIDATES[setting])]
    start = [_with(config, setting, value) for config in configs for setting, value in variants]
    tables["space"]["start"] = [params for params in start if params is not None]
    return mmtuna.StudySpec(**tables), configs


@quiet_optuna()
def _configs(name: str, spec: mmtuna.StudySpec, count: int, best: bool) -> list[Params]:
    """So many random configs: of the recorded trials of the set those that found every class, else fresh draws."""
    recorded = HERE / "recorded" / f"{name}.jsonl"
    trials = load_recorded(recorded) if recorded.exists() else ()
    whole = [trial for trial in trials if trial.cause is None and not has_collapsed(trial.curve[-1])]
    found = [
        trial.params for trial in (sorted(whole, key=lambda trial: -trial.curve[-1].metrics["mIoU"]) if best else whole)
    ]
    if len(found) < count:
        print(f"{name}: {len(found)} recorded trials are of use, and {count - len(found)} configs are drawn")
    space = spec.search_space()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=spec.study.seed + 1))
    while len(found) < count:
        found.append(space.suggest(study.ask()))
    return found[:count]


def _with(config: Params, setting: str | None, value: Value | None) -> Params | None:
    """The config with one candidate, all others at the paper's value; None where it would change nothing."""
    off = {name: DEFAULTS[name] for name in CANDIDATES}
    wanted: Params = {**off, **config} if setting is None or value is None else {**off, **config, setting: value}
    possible = {name: (known,) for name, known in {**DEFAULTS, **wanted}.items()}
    # A cosine has a warm-up of its own, of a tenth.
    if setting is not None and (why_idle(setting, possible) or (setting, wanted["schedule"]) == ("warmup", "cosine")):
        return None
    return {name: known for name, known in wanted.items() if not why_idle(name, possible)}


def _known(path: Path) -> dict[str, Trained]:
    """What was trained before, by set."""
    known: dict[str, Trained] = json.loads(path.read_text(encoding="utf-8")).get("trained", {}) if path.exists() else {}
    return known


def _trained(spec: mmtuna.StudySpec, known: Trained, slots: int) -> Trained:
    """What came of all in the start that is not known yet, in a study of its own; what diverged counts 0, and what
    fails is let be."""
    missing = {key: params for params in spec.space.start if (key := params_key(params)) not in known}
    if not missing:
        return {}
    shutil.rmtree(spec.study.folder, ignore_errors=True)
    spec = spec.model_copy(update={"space": spec.space.model_copy(update={"start": list(missing.values())})})
    mmtuna.run(spec, trials=len(missing), slots=slots, say=print)
    rows = [row for row in mmtuna.trials(spec) if row.state in ("COMPLETE", "PRUNED")]
    return {params_key(row.params): {"value": row.value, "cause": row.cause} for row in rows}


def _pairs(ended: Trained, configs: Sequence[Params], only: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The value of each config with each candidate beside that without; of what failed there is none.

    Two that found nothing of a class are equal whatever the setting does: such a pair has no difference.
    """
    for number, config in enumerate(configs):
        theirs = ended.get(params_key(_with(config, None, None) or {}))
        for setting in only:
            for value in CANDIDATES[setting]:
                ours = ended.get(params_key(_with(config, setting, value) or {}))
                if ours is None or theirs is None or ours["value"] is None or theirs["value"] is None:
                    continue
                dead = {ours["cause"], theirs["cause"]} <= {Cause.COLLAPSED, Cause.DIVERGED}
                named = {"candidate": f"{setting} = {value}", "config": number, "with": ours["value"]}
                difference = None if dead else ours["value"] - theirs["value"]
                yield {**named, "without": theirs["value"], "difference": difference}


def _write(
    pairs: Mapping[str, Sequence[dict[str, Any]]], trained: Mapping[str, Trained], options: argparse.Namespace
) -> None:
    scopes = {**pairs, EVERYWHERE: [pair for several in pairs.values() for pair in several]}
    judged = {scope: _judged(several) for scope, several in scopes.items()}
    document = {
        "what": "mIoU of the last evaluation, the same config and seed with a setting and without it, in pairs",
        "command": command(options.data),
        "machine": machine(),
        "versions": versions(),
        "verdicts": f"pays: the mean's 95 % interval lies above 0 and Wilcoxon's p, by Holm over the candidates, below "
        f"{ALPHA}; does not: the interval ends below {WORTH}; not known: all else, and "
        f"fewer than {LEAST} pairs of which one side at least found every class",
        "candidates": judged,
        "pairs": pairs,
        "trained": trained,
    }
    write_whole(options.out, json.dumps(document, indent=1) + "\n")
    for candidate, said in judged[EVERYWHERE].items():
        median = "-" if said["median"] is None else f"{said['median']:+.4f}"
        print(f"{candidate}: {said['verdict']} (median {median}, {said['pairs']} pairs, p {said['p']:.3f})")
    print(options.out)


def _judged(pairs: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is known of each candidate from its pairs."""
    by_candidate: dict[str, list[float]] = {}
    for pair in pairs:
        found = by_candidate.setdefault(pair["candidate"], [])
        if pair["difference"] is not None:
            found.append(pair["difference"])
    adjusted = holm([signed_rank(found) for found in by_candidate.values()])
    judged = {}
    for (candidate, found), p in zip(by_candidate.items(), adjusted, strict=True):
        interval = bootstrap(mean_features([found])) if len(found) >= LEAST else None
        low, high = (interval.low, interval.high) if interval else (None, None)
        judged[candidate] = {
            "pairs": len(found),
            "better": sum(difference > 0 for difference in found),
            "worse": sum(difference < 0 for difference in found),
            "median": statistics.median(found) if found else None,
            "mean": statistics.mean(found) if found else None,
            "low": low,
            "high": high,
            "p": p,
            "verdict": _verdict(low, high, p),
        }
    return judged


def _verdict(low: float | None, high: float | None, p: float) -> str:
    if low is None or high is None:
        return "not known"
    if low > 0 and p < ALPHA:
        return "pays"
    return "does not" if high < WORTH else "not known"


if __name__ == "__main__":
    main()
