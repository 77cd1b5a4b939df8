"""How much of a budget belongs to its end: simulated studies whose trials are told to be what seeds make of them.

On each set over its recorded trials, each of which is taken for the mean of its config; seeds change it by what they
change on the paper's images (benchmarks/results/claims.json). A share of the iterations trains the best configs once
more, and the one wins whose mean is surest; regret is that of the config that is chosen.
Writes benchmarks/results/search-ending.json and prints a table. Needs what record.py left.

    python benchmarks/search/ending.py --studies 200
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import contests

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4)


def main() -> None:
    """Simulates everything, writes and prints it."""
    parser = contests.parser_of(__doc__, "30,100", "1", "search-ending.json")
    parser.add_argument("--noise", type=float, default=_measured(), help="standard deviation of seeds")
    sets = contests.Sets.load(parser.parse_args())
    what = f"seeds change the metric by a standard deviation of {sets.options.noise:.4f}"
    sets.run(what, lambda name, trials: _lines(name, sets, trials))


def _measured() -> float:
    claims = json.loads((contests.RESULTS / "claims.json").read_text(encoding="utf-8"))
    return float(claims["noise"]["sd"])


def _lines(name: str, sets: contests.Sets, trials: int) -> list[dict[str, Any]]:
    whole = sets.setting(name, trials, equal=True, noise=sets.options.noise)
    names = {
        replace(whole, confirm=share, workers=workers): f"{share:.0%} for the end"
        for workers in sets.workers
        for share in SHARES
    }
    return contests.lines(sets.contest(name), names)


if __name__ == "__main__":
    main()
