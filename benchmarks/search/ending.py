"""How much of a budget belongs to its end: simulated studies in which seeds change as much as was recorded.

A share of the iterations trains the best configs once more, and the one wins whose mean is surest; it is worth the
mean of all its trainings. What seeds decide on each set is what record.py recorded with two of them.
Writes benchmarks/results/search-ending.json and prints a table. Needs what record.py left.

    python benchmarks/search/ending.py --studies 200
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import contests

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4)


def main() -> None:
    """Simulates everything, writes and prints it."""
    sets = contests.Sets.load(contests.parser_of(__doc__, "30,100", "1", "search-ending.json").parse_args())
    sets.run("equal iterations", lambda name, trials: _lines(name, sets, trials))


def _lines(name: str, sets: contests.Sets, trials: int) -> list[dict[str, Any]]:
    whole = sets.setting(name, trials, equal=True)
    names = {
        replace(whole, confirm=share, workers=workers): f"{share:.0%} for the end"
        for workers in sets.workers
        for share in SHARES
    }
    return contests.lines(sets.contest(name), names)


if __name__ == "__main__":
    main()
