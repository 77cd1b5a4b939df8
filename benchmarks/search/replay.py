"""Simulated studies over the recorded trials: those that `mmtuna run` makes, beside plain Optuna's, on each set.

Of a set nothing is known before trial 1 but the portfolio, configs and trials, which is made from the others alone.
Writes benchmarks/results/search-replay.json, a picture for each set and budget beside it, and prints a table. Needs
what record.py left.

    python benchmarks/search/replay.py --studies 200
"""

from __future__ import annotations

from typing import Any

import contests

from mmtuna.objectives.devices import cores
from mmtuna.search.simulation.picture import regret_png
from mmtuna.spaces.files import whole_file


def main() -> None:
    """Simulates everything, writes and prints it."""
    parser = contests.parser_of(__doc__, "30,100", "1,8", "search-replay.json")
    sets = contests.Sets.load(parser.parse_args())
    sets.run("of_plain is the cost until plain Optuna's end score", lambda name, trials: _lines(name, sets, trials))


def _lines(name: str, sets: contests.Sets, trials: int) -> list[dict[str, Any]]:
    contest = sets.contest(name)
    found = contest.lines([sets.setting(name, trials, workers=workers) for workers in sets.workers], processes=cores())
    title = f"{name}: {sets.options.studies} studies each, {len(contest.pool.trials)} recorded trials"
    with whole_file(sets.options.out.with_name(f"{sets.options.out.stem}-{name}-{trials}.png")) as part:
        part.write_bytes(regret_png(found, contest.table.metric, title))
    return [contests.told(line, "plain Optuna" if line.setting == line.setting.plain() else "mmtuna") for line in found]


if __name__ == "__main__":
    main()
