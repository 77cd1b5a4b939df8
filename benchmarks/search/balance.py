"""Does a foreground's weight mean the same on other data, or is it the balance of classes that carries over?

On each set the configs that did best on the other sets, of those with a foreground weight that means another number by
the balance of classes here, trained once more with that number. Beside it what was recorded with the weight as it is.
Stop it at any time; the same command goes on where it stopped. Writes benchmarks/results/search-balance.json.

    python benchmarks/search/balance.py --data DATA
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from contests import HERE, RESULTS, ROOT, SETS, all_of, command, names_of
from record import record, trained_on

from mmtuna.search.simulation.pool import Pool
from mmtuna.search.simulation.portfolio import choose, means_of
from mmtuna.search.versions import machine, versions
from mmtuna.spaces.files import write_whole
from mmtuna.spaces.parameter import Params
from mmtuna.studies.standing import params_key
from mmtuna.studies.statistics.comparing import signed_rank
from mmtuna.studies.statistics.intervals import bootstrap, mean_features

APART = 1.5
"""The factor by which the weights have to differ at least, that there is something to tell."""
SEED = 3000
"""The first seed: beyond those of record.py."""


def main() -> None:
    """Trains what lacks, set by set, and writes what there is after each."""
    options = _options()
    pools = {name: all_of(name, HERE / "recorded") for name in SETS}
    folder = options.out / "trained"
    folder.mkdir(parents=True, exist_ok=True)
    pairs: dict[str, list[dict[str, Any]]] = {}
    for name in options.only:
        wanted = _wanted(name, pools, options.configs)
        there = trained_on(name, folder)
        record(name, [moved for _, moved in wanted if moved not in there], options, seed=SEED, folder=folder)
        values, before = means_of(all_of(name, folder)), means_of(pools[name])
        pairs[name] = [
            {
                "weight": round(float(config["foreground_weight"]), 3),
                "rebalanced": round(float(moved["foreground_weight"]), 3),
                "as_it_was": round(float(np.nan_to_num(before[params_key(config)])), 4),
                "value": round(float(np.nan_to_num(values[params_key(moved)])), 4),
            }
            for config, moved in wanted
        ]
        _write(pairs, pools, options)


def _wanted(name: str, pools: Mapping[str, Pool], count: int) -> list[tuple[Params, Params]]:
    """So many of the configs that were recorded on all sets, those that did best on one of the others first, as they
    were and with their weight as it has to be here by the balance there."""
    others = {other: pool for other, pool in pools.items() if other != name}
    here = set(means_of(pools[name]))
    found = list[tuple[float, Params, Params]]()
    for one in choose(others, len(here)):
        if "foreground_weight" not in one.params or params_key(one.params) not in here:
            continue
        moved = one.searching(pools[name])
        if abs(math.log(moved["foreground_weight"] / one.params["foreground_weight"])) >= math.log(APART):
            found.append((min(one.regrets.values()), one.params, moved))
    return [(config, moved) for _, config, moved in sorted(found, key=lambda entry: entry[0])[:count]]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="as of record.py")
    parser.add_argument("--only", type=names_of("set", SETS), default=SETS, help="names of the sets by comma")
    parser.add_argument("--configs", type=int, default=16, help="of each set")
    parser.add_argument("--slots", type=int, default=2, help="trials at the same time, a core each")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "balance", help="folder of the studies")
    parser.add_argument("--results", type=Path, default=RESULTS / "search-balance.json")
    return parser.parse_args()


def _write(
    pairs: Mapping[str, Sequence[Mapping[str, Any]]], pools: Mapping[str, Pool], options: argparse.Namespace
) -> None:
    apart = {name: [pair["value"] - pair["as_it_was"] for pair in found] for name, found in pairs.items()}
    document = {
        "what": "mIoU of the others' best configs with the foreground weight as it was, and by the balance of classes",
        "command": command(options.data),
        "background_to_foreground": {name: round(pool.odds, 2) for name, pool in pools.items()},
        "sets": {
            name: {
                "configs": len(found),
                "better": sum(difference > 0 for difference in apart[name]),
                "worse": sum(difference < 0 for difference in apart[name]),
                "as_it_was": round(statistics.fmean(pair["as_it_was"] for pair in found), 4),
                "rebalanced": round(statistics.fmean(pair["value"] for pair in found), 4),
                "best_as_it_was": max(pair["as_it_was"] for pair in found),
                "best_rebalanced": max(pair["value"] for pair in found),
                "interval": None if (between := bootstrap(mean_features([apart[name]]))) is None else asdict(between),
                "p": signed_rank(apart[name]),
                "pairs": found,
            }
            for name, found in pairs.items()
        },
        "machine": machine(),
        "versions": versions(),
    }
    write_whole(options.results, json.dumps(document, indent=1) + "\n")
    print(
        json.dumps({name: {k: v for k, v in found.items() if k != "pairs"} for name, found in document["sets"].items()})
    )


if __name__ == "__main__":
    main()
