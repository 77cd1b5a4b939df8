"""Are iterations a parameter to search, or what is rationed? Simulated studies at equal iterations.

On each set: configs of 200 to 1,600 iterations are proposed, or of 1,200 and more alone, of which a pruner or ASHA
takes what it costs to find that they are no good. All are answered by the same recorded trials, and all studies of a
set have the iterations that the budget's trials of all lengths take without a pruner. What others found on the other
sets is known to none, since most of it was found by other iterations. Those of 1,200 iterations and more stand beside a
plain Optuna that proposes no others: across both, compare what the chosen configs are worth.
Writes benchmarks/results/search-iterations.json and prints a table. Needs what record.py left.

    python benchmarks/search/iterations.py --studies 200
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import contests

from mmtuna.studies.spec import StudySpec

LONG, MOST = 1200, 1600
"""Of the parameter, before it is scaled to a small machine."""
PRUNERS = ("none", "best-third", "median", "asha:2", "asha:3")


def main() -> None:
    """Simulates everything, writes and prints it."""
    sets = contests.Sets.load(contests.parser_of(__doc__, "30", "1", "search-iterations.json").parse_args())
    if sets.options.answers != "alike":
        sys.exit("--answers: a part of the space is answered by what is alike alone")
    sets.run("equal iterations", lambda name, trials: _lines(name, sets, trials))


def _lines(name: str, sets: contests.Sets, trials: int) -> list[dict[str, Any]]:
    spec = StudySpec.load(contests.HERE / f"{name}.toml")
    long = {"iterations": {"low": LONG, "high": MOST, "step": 200}}
    pool = sets.pools[name].proposing(
        spec.model_copy(update={"space": spec.space.model_copy(update={"params": long})}).search_space()
    )
    setting = sets.setting(name, trials, equal=True, portfolio="", warm="")
    settings = {replace(setting, pruner=pruner): pruner for pruner in PRUNERS}
    contest = sets.contest(name)
    found = contests.lines(contest, settings)
    of_long = contests.lines(replace(contest, pool=pool), settings)
    return [*found, *(line | {"what": f"{line['what']}, {LONG} iterations and more"} for line in of_long)]


if __name__ == "__main__":
    main()
