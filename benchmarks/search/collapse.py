"""From when on is a trial dead that finds none of a class? Recorded trials that came back, and simulated studies.

Of each set and evaluation how many recorded trials had found none of a class so far, and how many of these did in the
end. Then studies that stop such trials from some evaluation on, by a study's sampler and pruner, at the same trials.
Writes benchmarks/results/search-collapse.json and prints a table. Needs what record.py left.

    python benchmarks/search/collapse.py --studies 200
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import contests

from mmtuna.spaces.trials import LAST_STEP


def main() -> None:
    """Counts, simulates, writes and prints."""
    parser = contests.parser_of(__doc__, "30", "1", "search-collapse.json")
    parser.set_defaults(evaluations=10)
    sets = contests.Sets.load(parser.parse_args())
    back = {name: [asdict(entry) for entry in pool.collapses()] for name, pool in sets.pools.items()}
    for name, entries in back.items():
        counted = ", ".join(f"{entry['trials']} at {entry['step']} % ({entry['came_back']})" for entry in entries)
        print(f"{name}: nothing so far (and came to something): {counted}", flush=True)
    sets.run(
        "of_plain is the cost until plain Optuna's end score",
        lambda name, trials: _lines(name, sets, trials),
        {"collapses": back},
    )


def _lines(name: str, sets: contests.Sets, trials: int) -> list[dict[str, Any]]:
    whole = sets.setting(name, trials, collapse=LAST_STEP)
    steps = sorted({point.step for trial in sets.pools[name].trials for point in trial.curve})
    names = {
        replace(whole, collapse=step, workers=workers): "never" if step >= LAST_STEP else f"from {step} %"
        for workers in sets.workers
        for step in steps
    }
    return contests.lines(sets.contest(name), names)


if __name__ == "__main__":
    main()
