"""What each part of the search is worth: simulated studies with all parts, with one left out, and with one more known.

On each set over its recorded trials. The portfolio is made from the other sets alone, and so is what earlier studies
found (warm); both also turned upside down, where others' worst trials pass for good. A right belief (prior) is
optimizer, rate and loss of this set's best recorded trial, a wrong one those of its worst.
Writes benchmarks/results/search-parts.json and prints a table. Needs what record.py left.

    python benchmarks/search/parts.py --studies 200
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import contests
import numpy as np

from mmtuna.search.simulation.pool import Pool
from mmtuna.search.simulation.portfolio import SIZE
from mmtuna.search.simulation.setting import Knows, Setting
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.prior import Prior
from mmtuna.spaces.trials import LAST_STEP
from mmtuna.studies.warming import Drawn, Earlier, warmth_of

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
    nothing = replace(whole, portfolio="")
    return {
        "all parts": whole,
        "without the portfolio": nothing,
        "without TPE": replace(whole, sampler="random"),
        "without the pruner": replace(whole, pruner="none"),
        "without stopping collapses": replace(whole, collapse=LAST_STEP),
        "a portfolio of the others' worst": replace(whole, portfolio="upside down"),
        "warm, without the portfolio": replace(nothing, warm=contests.OTHERS),
        "warm and the portfolio": replace(whole, warm=contests.OTHERS),
        "warm upside down, without the portfolio": replace(nothing, warm="upside down"),
        "a right prior, without the portfolio": replace(nothing, prior="right"),
        "a wrong prior, without the portfolio": replace(nothing, prior="wrong"),
    }


def _knows(name: str, sets: contests.Sets) -> Knows:
    pool, others = sets.pools[name], [found for other, found in sets.pools.items() if other != name]
    values = np.nan_to_num(pool.values, nan=-1.0)
    earlier = [one for found in others for one in _earlier(found)]
    everything = sets.by_the_others(name, len(pool.trials))
    return Knows(
        portfolio={contests.OTHERS: everything[:SIZE], "upside down": everything[::-1][:SIZE]},
        warm={contests.OTHERS: earlier, "upside down": [Earlier(one.params, 1 - one.rank) for one in earlier[::-1]]},
        prior={
            "right": _priors(pool.trials[int(values.argmax())].params),
            "wrong": _priors(pool.trials[int(values.argmin())].params),
        },
    )


def _earlier(pool: Pool) -> tuple[Earlier, ...]:
    drawn = [Drawn(trial.params, pool.value(trial)) for trial in pool.trials]
    return warmth_of("", drawn, pool.space, {}).earlier


def _priors(params: Params) -> dict[str, Prior]:
    return {name: Prior(params[name]) for name in BELIEVED if name in params}


if __name__ == "__main__":
    main()
