"""When does a search end by itself: odds that the rest of a budget finds better, fitted to simulated studies.

On each set over its recorded trials, by the sampler and pruner of a study. At every trial's end it is known of a
simulated study whether a better one followed. A logistic regression is fitted to all sets but one, tried on that one,
and then fitted to all: these coefficients belong into studies/strategy/stopping.py. At last studies stop by what stands
there.
Writes benchmarks/results/search-stopping.json and prints a table. Needs what record.py left.

    python benchmarks/search/stopping.py --studies 200
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import contests
import numpy as np
from scipy.optimize import minimize

from mmtuna.objectives.devices import cores
from mmtuna.search.simulation.course import Course
from mmtuna.studies.strategy.stopping import LEAST, ODDS, WORTH, features

BINS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
"""Between these odds it is counted how often a better trial did follow."""
RIDGE = 1e-3


def main() -> None:
    """Simulates, fits, tries, writes and prints."""
    parser = contests.parser_of(__doc__, "30,60,100", "1", "search-stopping.json")
    sets = contests.Sets.load(parser.parse_args())
    began = time.monotonic()
    rows = {name: np.concatenate([_rows(sets, name, trials) for trials in _budgets(sets)]) for name in sets.pools}
    tried = {}
    for name in rows:
        others = [found for other, found in rows.items() if other != name] or [rows[name]]
        tried[name] = _tried(rows[name], _fitted(np.concatenate(others)))
        print(f"{name}, by the others: {tried[name]}", flush=True)
    coefficients = [round(float(one), 3) for one in _fitted(np.concatenate(list(rows.values())))]
    print(f"coefficients: {coefficients}", flush=True)
    stopped = {f"{name}, {trials} trials": _stopped(sets, name, trials) for name in rows for trials in _budgets(sets)}
    for place, found in stopped.items():
        print(f"{place}: {found}", flush=True)
    sets.write(
        f"{sets.options.studies} simulated studies; better is by {WORTH} or more; a study stops below odds of {ODDS}",
        time.monotonic() - began,
        {"coefficients": coefficients, "left_out": tried, "stopped": stopped},
    )


def _budgets(sets: contests.Sets) -> list[int]:
    return [int(count) for count in sets.options.trials.split(",")]


def _rows(sets: contests.Sets, name: str, trials: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Of each trial's end from the `LEAST`th on: both features, and 1 where a better one followed."""
    courses = sets.contest(name).courses([sets.setting(name, trials, confirm=0.0)], processes=cores())
    found = [row for course in next(iter(courses.values())) for row in _of_course(course)]
    return np.array(found).reshape(-1, 3)


def _of_course(course: Course) -> list[tuple[float, float, float]]:
    told = np.nan_to_num(np.array(course.told), nan=-1.0)
    rows, best, since = [], -1.0, 0
    for place, value in enumerate(told[:-1]):
        since = 0 if value > best else since + 1
        best = max(best, value)
        if place + 1 >= LEAST:
            left, of_since = features(place + 1, since, len(told) - place - 1)
            rows.append((left, of_since, float(told[place + 1 :].max() >= best + WORTH)))
    return rows


def _fitted(rows: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Constant and a coefficient for each feature, of most likelihood."""

    def cost(by: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        score = by[0] + rows[:, :2] @ by[1:]
        return float(np.mean(np.logaddexp(0.0, score) - rows[:, 2] * score) + RIDGE * (by**2).sum())

    found: np.ndarray[Any, np.dtype[np.float64]] = minimize(cost, np.zeros(3)).x
    return found


def _tried(rows: np.ndarray[Any, np.dtype[np.float64]], by: Sequence[float] | np.ndarray[Any, Any]) -> dict[str, Any]:
    """How often better did follow where the odds were said to lie between two of `BINS`."""
    said = 1 / (1 + np.exp(-(by[0] + rows[:, :2] @ np.asarray(by[1:]))))
    found = {}
    for low, high in pairwise(BINS):
        within = (said >= low) & (said < high)
        if within.any():
            times, mean, true = int(within.sum()), float(said[within].mean()), float(rows[within, 2].mean())
            found[f"{low:g} to {high:g}"] = {"times": times, "said": round(mean, 3), "came": round(true, 3)}
    return {"brier": round(float(np.mean((said - rows[:, 2]) ** 2)), 4), "by_odds": found}


def _stopped(sets: contests.Sets, name: str, trials: int) -> dict[str, Any]:
    """What stopping saves of the iterations, and costs of what the chosen config is worth, in pairs of studies of the
    same seed."""
    whole = sets.setting(name, trials, confirm=0.0)
    stops = replace(whole, stop=True)
    courses = sets.contest(name).courses([whole, stops], processes=cores())
    lost = np.array([a.final - b.final for a, b in zip(courses[whole], courses[stops], strict=True)])
    cost = [b.iterations / a.iterations for a, b in zip(courses[whole], courses[stops], strict=True)]
    return {
        "stopped": round(float(np.mean([course.settled for course in courses[stops]])), 3),
        "iterations_used": round(float(np.mean(cost)), 3),
        "lost_mean": round(float(lost.mean()), 5),
        "lost_by_more_than_worth": round(float((lost >= WORTH).mean()), 3),
    }


if __name__ == "__main__":
    main()
