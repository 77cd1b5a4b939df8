"""Which pruner serves: simulated studies with those that there are, with other settings, and with others.

On each set over its recorded trials, by the sampler of a study, beside no pruner and plain Optuna; also ASHA whose
trials wait and go on. Without what others found, which leaves little to be found on one of the sets, unless
--portfolio. All have the iterations that the budget's trials would take without any pruner.
Writes benchmarks/results/search-pruners.json and prints a table. Needs what record.py left.

    python benchmarks/search/pruners.py --studies 200 --workers 1,8
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import contests

PRUNERS = (
    *("none", "best-third", "median"),
    *(f"median:{startup}:{warmup}" for startup in (4, 8) for warmup in (0, 0.2, 0.4)),
    *(f"percentile:{best}:{startup}:0.2" for best in (25, 75) for startup in (4, 8)),
    "percentile:75:4:0.4",
    *(f"started:{best}:4:0.2" for best in (25, 50)),
    *(f"patient:{patience}:4:0.2" for patience in (1, 2)),
    *("asha:2", "asha:3", "asha:4"),
    *(f"extrapolate:4:{odds}" for odds in (0.05, 0.1, 0.2)),
)


def main() -> None:
    """Simulates everything, writes and prints it."""
    parser = contests.parser_of(__doc__, "30,100", "1,8", "search-pruners.json")
    parser.add_argument("--portfolio", action="store_true", help="begin with what was found on the other sets")
    parser.add_argument("--pruners", default=",".join(PRUNERS), help="by comma")
    sets = contests.Sets.load(parser.parse_args())
    sets.run("of_plain is the cost until plain Optuna's end score", lambda name, trials: _lines(name, sets, trials))


def _lines(name: str, sets: contests.Sets, trials: int) -> list[dict[str, Any]]:
    known = contests.OTHERS if sets.options.portfolio else ""
    whole = sets.setting(name, trials, equal=True, portfolio=known, warm=known)
    pruners = sets.options.pruners.split(",")
    names = {replace(whole, pruner=pruner, workers=workers): pruner for workers in sets.workers for pruner in pruners}
    return contests.lines(sets.contest(name), names)


if __name__ == "__main__":
    main()
