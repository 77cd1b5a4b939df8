"""What each part of the search is worth: simulated studies with all parts, with one left out, and with one more known.

On each set over its recorded trials. What a study knows of others, the portfolio's configs and trials, is made from the
other sets alone; also turned upside down, where others' worst trials pass for good. A right belief (prior) is
optimizer, rate and loss of this set's best recorded trial, a wrong one those of its worst.
Writes benchmarks/results/search-parts.json and prints a table. Needs what record.py left.

    python benchmarks/search/parts.py --studies 200
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import contests
import numpy as np

from mmtuna.search.simulation.portfolio import SIZE
from mmtuna.search.simulation.setting import Knows, Setting
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.portfolio import Earlier
from mmtuna.spaces.prior import Prior
from mmtuna.spaces.trials import LAST_STEP

UPSIDE_DOWN = "upside down"
BELIEVED = ("optimizer", "lr_sgd", "lr_adam", "loss")


def main() -> None:
    """Simulates everything, writes and prints it."""
    parser = contests.parser_of(__doc__, "30", "1", "search-parts.json")
    sets = contests.Sets.load(parser.parse_args())
    sets.run("of_plain is the cost until plain Optuna's end score", lambda name, trials: _lines(name, sets, trials))


def _lines(name: str, sets: contests.Sets, trials: int) -> list[dict[str, Any]]:
    settings: dict[Setting, str] = {}
    for workers in sets.workers:
        whole = sets.setting(name, trials, workers=workers)
        for what, setting in _variants(whole).items():
            settings.setdefault(setting, what)  # a part that does nothing by default is no line of its own
    return contests.lines(sets.contest(name, _knows(name, sets)), settings)


def _variants(whole: Setting) -> dict[str, Setting]:
    nothing = replace(whole, portfolio="", warm="")
    return {
        "all parts": whole,
        "without what others found": nothing,
        "without the portfolio's configs": replace(whole, portfolio=""),
        "without the others' trials": replace(whole, warm=""),
        "without TPE": replace(whole, sampler="random"),
        "without the pruner": replace(whole, pruner="none"),
        "without stopping collapses": replace(whole, collapse=LAST_STEP),
        "without confirming the best": replace(whole, confirm=0.0),
        "what others found, upside down": replace(whole, portfolio=UPSIDE_DOWN, warm=UPSIDE_DOWN),
        "a right prior, nothing of others": replace(nothing, prior="right"),
        "a wrong prior, nothing of others": replace(nothing, prior="wrong"),
    }


def _knows(name: str, sets: contests.Sets) -> Knows:
    pool, known = sets.pools[name], sets.knows(name)
    values = np.nan_to_num(pool.values, nan=-1.0)
    worst = sets.by_the_others(name, len(pool.trials))[::-1][:SIZE]
    earlier = known.warm[contests.OTHERS]
    return Knows(
        portfolio={**known.portfolio, UPSIDE_DOWN: worst},
        warm={**known.warm, UPSIDE_DOWN: [Earlier(one.params, 1 - one.rank) for one in earlier[::-1]]},
        prior={
            "right": _priors(pool.trials[int(values.argmax())].params),
            "wrong": _priors(pool.trials[int(values.argmin())].params),
        },
    )


def _priors(params: Params) -> dict[str, Prior]:
    return {name: Prior(params[name]) for name in BELIEVED if name in params}


if __name__ == "__main__":
    main()
