"""Makes the portfolio that studies begin with from the recorded trials, and tries it on sets that it was not made from.

Writes spaces/portfolio.toml with the configs and spaces/portfolio.json with trials that the sampler knows, and to
benchmarks/results/search-portfolio.json what came of leaving out a set at a time. The same recordings give the same
files.

    python benchmarks/search/portfolio.py
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from contests import HERE, RESULTS, SETS, all_of, command, earlier_of, names_of
from scipy.stats import spearmanr

from mmtuna.search.simulation.pool import Pool
from mmtuna.search.simulation.portfolio import SIZE, Chosen, choose, means_of
from mmtuna.spaces.files import write_whole
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.portfolio import EARLIER, FILE, ODDS, Earlier, Portfolio, packed, rebalanced, unpacked
from mmtuna.studies.standing import params_key
from mmtuna.studies.strategy.foretelling import expected

PARTS = 10
"""Of a set's params, each of which is foretold by what was not tried with it; and forests that foretell it."""
HEAD = """\
# Configs that did well together on several data sets: the first trials of a study whose space holds them. Beside them,
# in portfolio.json, all that was recorded there, with ranks: what the sampler of such a study knows. Foreground weights
# are for data of 100 background pixels for one of all other classes; a study takes those that mean the same there.
# Made by benchmarks/search/portfolio.py from recorded trials; not to be edited.
"""


def main() -> None:
    """Chooses, tries and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=names_of("set", SETS), default=SETS, help="names of the sets by comma")
    parser.add_argument("--recorded", type=Path, default=HERE / "recorded", help="folder of the recorded trials")
    parser.add_argument("--size", type=int, default=SIZE, help="configs in the portfolio")
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--results", type=Path, default=RESULTS / "search-portfolio.json")
    options = parser.parse_args()
    pools = {name: all_of(name, options.recorded) for name in options.only}
    chosen = choose(pools, options.size)
    earlier = [
        Earlier(_short(rebalanced(one.params, pool.odds, ODDS)), round(one.rank, 4))
        for pool in pools.values()
        for one in earlier_of(pool, pool.odds)
    ]
    table = packed(earlier)
    rows = ",\n".join(json.dumps(row) for row in table["rows"])
    text = f'{{"names": {json.dumps(table["names"])},\n"rows": [\n{rows}\n]}}\n'
    write_whole(options.out.with_suffix(EARLIER), text)
    whole = Portfolio(tuple(one.at(ODDS) for one in chosen), tuple(unpacked(table)))
    write_whole(options.out, _toml(whole.version, chosen, {name: _about(name, options.recorded) for name in pools}))
    tried = {name: _left_out(name, pools, options.size) for name in pools} if len(pools) > 1 else {}
    document = {
        "what": f"{options.size} configs chosen on the other sets, as they are there, on a set not among these",
        "command": command(),
        "sets": tried,
    }
    write_whole(options.results, json.dumps(document, indent=1) + "\n")
    for name, found in tried.items():
        print(f"{name}: {json.dumps(found)}")
    print(options.out)


def _short(params: Params) -> Params:
    """Numbers that nobody rounded, to six digits: every study keeps a copy of these trials."""
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in params.items()}


def _about(name: str, folder: Path) -> dict[str, Any]:
    lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    on = json.loads(lines[0])["on"]
    return {"name": name, "trials": len(lines), "data": on["fingerprints"]["data"]["sha256"]}


def _left_out(name: str, pools: Mapping[str, Pool], size: int) -> dict[str, Any]:
    """What the others' configs that were recorded here too reach, beside as many random ones, on average, and all."""
    pool = pools[name]
    means = means_of(pool)
    everything = choose({other: pools[other] for other in pools if other != name}, len(pool.trials))
    chosen = [one for one in everything if params_key(one.params) in means][:size]
    places = [next(p for p, t in enumerate(pool.trials) if t.params == one.params) for one in chosen]
    values = np.nan_to_num(np.array(list(means.values())), nan=0.0)
    own = np.nan_to_num([means[params_key(one.params)] for one in chosen], nan=0.0)
    random_best = [values[np.random.default_rng(seed).permutation(len(values))[:size]].max() for seed in range(2000)]
    return {
        "recorded": len(values),
        "best_recorded": round(float(values.max()), 4),
        "first": round(float(own[0]), 4),
        "best_of_portfolio": round(float(own.max()), 4),
        "best_of_as_many_random": round(float(np.mean(random_best)), 4),
        "share_of_random_that_beat_it": round(float(np.mean(np.array(random_best) > own.max())), 3),
        "iterations_of_portfolio": int(sum(pool.trials[place].iterations for place in places)),
        "foretold": round(_foretold(name, pools), 3),
        "iterations_of_as_many_random": round(size * float(np.mean([trial.iterations for trial in pool.trials]))),
    }


def _foretold(name: str, pools: Mapping[str, Pool]) -> float:
    """Spearman's rank correlation of what a sampler's forest expects here by the other sets alone, and what came; of a
    tenth of the params at a time, which the others have not seen either."""
    trials, space = pools[name].trials, pools[name].space
    keys = sorted({params_key(trial.params) for trial in trials})
    order = np.random.default_rng(0).permutation(len(keys))
    part_of = {key: int(place) % PARTS for key, place in zip(keys, order, strict=True)}
    others = [
        (part_of.get(params_key(one.params)), replace(one, params=rebalanced(one.params, pool.odds, pools[name].odds)))
        for other, pool in pools.items()
        if other != name
        for one in earlier_of(pool, pool.odds)
    ]
    ranks = np.zeros(len(trials))
    for part in range(PARTS):
        own = [place for place, trial in enumerate(trials) if part_of[params_key(trial.params)] == part]
        seen = [one for place, one in others if place != part and space.contains(one.params)]
        wanted = [trials[place].params for place in own]
        ranks[own] = np.mean([expected(space, seen, (), wanted, seed) for seed in range(PARTS)], axis=0)
    return float(spearmanr(ranks, np.nan_to_num(pools[name].values)).statistic)


def _toml(version: str, chosen: Sequence[Chosen], sets: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [f"{HEAD}# Version {version}."]
    for about in sets.values():
        lines += ["", "[[sets]]", *(f"{key} = {json.dumps(value)}" for key, value in about.items())]
    for one in chosen:
        lines += ["", "[[configs]]"]
        lines += [f"values.{name} = {round(value, 4) if value == value else 0.0}" for name, value in one.values.items()]
        lines += [f"regrets.{name} = {round(regret, 4)}" for name, regret in one.regrets.items()]
        lines += ["[configs.params]", *(f"{key} = {json.dumps(value)}" for key, value in one.at(ODDS).items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
