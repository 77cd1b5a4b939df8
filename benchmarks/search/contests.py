"""What the simulations over recorded trials share: their options, the recorded trials, the table and the document."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from mmtuna.objectives.devices import cores
from mmtuna.objectives.recorded import Recorded, load_recorded
from mmtuna.search.simulation.figures import Contest, Line
from mmtuna.search.simulation.pool import Pool, thinned
from mmtuna.search.simulation.portfolio import SIZE, choose
from mmtuna.search.simulation.setting import Knows, Setting
from mmtuna.search.trials.conclude import Scoring
from mmtuna.search.versions import machine, versions
from mmtuna.spaces.files import write_whole
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.portfolio import Earlier
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.standing import params_key
from mmtuna.studies.strategy.confirming import plan_of

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
RESULTS = ROOT / "benchmarks" / "results"
SETS = ("duke", "drive", "phantom")
"""Of the recorded trials: each has a spec, NAME.toml, beside this file."""
OTHERS = "of the others"
"""As a portfolio: made from all other sets, which has to be two at least with the one that is searched."""
FIGURES = ("of_plain", "reached", "worth", "regret", "regret_95", "iterations")


def command(data: Path | None = None) -> str:
    """How this script was called, with DATA for the place of the `data`."""
    called = " ".join(["python", f"benchmarks/search/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    return called if data is None else called.replace(str(data), "DATA")


def parser_of(description: str | None, trials: str, workers: str, out: str) -> argparse.ArgumentParser:
    """The options of a simulation, with budgets and workers by default, and the name of its result."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200, help="of each setting")
    parser.add_argument("--trials", default=trials, help="budgets by comma")
    parser.add_argument("--workers", default=workers, help="by comma")
    parser.add_argument("--only", type=names_of("set", SETS), default=SETS, help="names of the sets by comma")
    parser.add_argument("--evaluations", type=int, default=5, help="of each training: what a study has by default")
    parser.add_argument("--answers", default="alike", help="recorded, blend or alike, as of mmtuna replay")
    parser.add_argument("--recorded", type=Path, default=HERE / "recorded", help="folder of the recorded trials")
    parser.add_argument("--out", type=Path, default=RESULTS / out)
    return parser


@dataclass(frozen=True)
class Sets:
    """The recorded trials of each set, and how they are to be searched.

    Where proposals are moved to recorded trials, half of the params that were recorded on several sets are searched
    (`pools`), and the other half is what is known of a set while others are searched (`known`): whoever knows what is
    best elsewhere would name the answers otherwise. What was recorded on one set alone is in both.
    """

    options: argparse.Namespace
    pools: Mapping[str, Pool]
    known: Mapping[str, Pool]

    @classmethod
    def load(cls, options: argparse.Namespace) -> Sets:
        """Those of --only, which know of all sets, of as many evaluations as --evaluations."""
        files = {name: options.recorded / f"{name}.jsonl" for name in SETS}
        recorded = {name: load_recorded(file) for name, file in files.items() if name in options.only or file.exists()}
        counts = Counter(key for trials in recorded.values() for key in {params_key(one.params) for one in trials})
        moved = options.answers == "recorded"
        shared = sorted(key for key, count in counts.items() if count > 1 and moved)

        def pools(half: Sequence[str]) -> dict[str, Pool]:
            elsewhere = set(half)
            kept = {
                name: [one for one in trials if params_key(one.params) not in elsewhere]
                for name, trials in recorded.items()
            }
            return {name: pool_of(name, trials, options.evaluations) for name, trials in kept.items()}

        searched, known = pools(shared[1::2]), pools(shared[::2])
        return cls(options, {name: searched[name] for name in options.only}, known)

    def contest(self, name: str, knows: Knows | None = None) -> Contest:
        """Studies of one set, which know what others found on the other sets, or what is given."""
        table, options = StudySpec.load(HERE / f"{name}.toml").study, self.options
        return Contest(self.pools[name], table, options.answers, 1.0, options.studies, knows or self.knows(name))

    def knows(self, name: str) -> Knows:
        """What a portfolio holds that is made from the other sets: configs to begin with, and trials."""
        odds = self.pools[name].odds
        earlier = [one for other, pool in self.known.items() if other != name for one in earlier_of(pool, odds)]
        return Knows(portfolio={OTHERS: self.by_the_others(name, SIZE)}, warm={OTHERS: earlier})

    def by_the_others(self, name: str, size: int) -> list[Params]:
        """So many of the params that were recorded on all other sets, in the order in which a portfolio takes them."""
        others = {other: pool for other, pool in self.known.items() if other != name}
        return [one.searching(self.pools[name]) for one in choose(others, size)]

    def setting(self, name: str, trials: int, *, equal: bool = False, **how: Any) -> Setting:
        """A study's own search of a set, which begins with what others found; `equal`: by the iterations that so many
        trials take without any pruner."""
        iterations = round(trials * fmean(trial.iterations for trial in self.pools[name].trials)) if equal else None
        table = StudySpec.load(HERE / f"{name}.toml").study.model_copy(update={"sampler": "tpe"})
        common = {
            "sampler": table.sampler,
            "pruner": table.pruner,
            "workers": self.workers[0],
            "trials": trials,
            "portfolio": OTHERS,
            "warm": OTHERS,
            "confirm": plan_of(table, self.pools[name].space).of(trials).confirm,
        }
        return Setting(**{**common, "iterations": iterations, "evaluations": self.options.evaluations, **how})

    @property
    def workers(self) -> list[int]:
        """The numbers of workers that are asked for."""
        return [int(count) for count in self.options.workers.split(",")]

    def run(
        self,
        what: str,
        lines_of: Callable[[str, int], Sequence[Mapping[str, Any]]],
        beside: Mapping[str, Any] | None = None,
    ) -> None:
        """Prints and writes the lines of each set and budget, and what else was found."""
        options, began, found = self.options, time.monotonic(), {}
        for name, pool in self.pools.items():
            for trials in map(int, options.trials.split(",")):
                place = f"{name}, {trials} trials"
                found[place] = lines = lines_of(name, trials)
                print(f"{place}, of {len(pool.trials)} recorded, the best {pool.best:.4f}", flush=True)
                for line in lines:
                    figures = ", ".join(f"{figure} {shown(line[figure])}" for figure in FIGURES)
                    print(f"  {line['what']}, {line['workers']} workers: {figures}", flush=True)
        self.write(
            f"{options.studies} simulated studies a setting; {what}",
            time.monotonic() - began,
            {**(beside or {}), "sets": found},
        )

    def write(self, what: str, seconds: float, found: Mapping[str, Any]) -> None:
        """Writes what was found, with the command, the machine and the versions that made it."""
        document = {
            "what": what,
            "command": command(),
            "wall_seconds": round(seconds, 1),
            "answers": self.options.answers,
            "recorded": {name: len(pool.trials) for name, pool in self.pools.items()},
            "known": {name: len(pool.trials) for name, pool in self.known.items()},
            "seeds": {name: asdict(seeds) for name, pool in self.pools.items() if (seeds := pool.repeats())},
            "machine": machine(),
            "versions": versions(),
            **found,
        }
        write_whole(self.options.out, json.dumps(document, indent=1) + "\n")
        print(self.options.out)


def names_of(kind: str, known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """Reads an option's names by comma, all of which have to be `known`."""

    def read(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        strange = [name for name in names if name not in known]
        if strange:
            raise argparse.ArgumentTypeError(f"there is no {kind} {strange[0]}; take {', '.join(known)}")
        return names

    return read


def all_of(name: str, folder: Path) -> Pool:
    """All recorded trials of a set, of as many evaluations as were recorded."""
    return pool_of(name, load_recorded(folder / f"{name}.jsonl"))


def pool_of(name: str, recorded: Sequence[Recorded], evaluations: int | None = None) -> Pool:
    """Recorded trials of a set as a pool, of so many evaluations, or of all that were recorded."""
    spec = StudySpec.load(HERE / f"{name}.toml")
    thin = recorded if evaluations is None else [thinned(trial, evaluations) for trial in recorded]
    return Pool(spec.search_space(), thin, Scoring.of(spec.study))


def earlier_of(pool: Pool, odds: float) -> tuple[Earlier, ...]:
    """The trials of a set that a portfolio holds, as on data of these odds."""
    return pool.warmth("", {}, odds).earlier


def lines(contest: Contest, names: Mapping[Setting, str]) -> list[dict[str, Any]]:
    """What came of each setting, by its name, and of plain Optuna beside it."""
    wanted = [one for one in names if one != one.plain()]
    found = contest.lines(wanted, processes=cores())
    return [told(line, names.get(line.setting, "plain Optuna")) for line in found]


def told(line: Line, what: str) -> dict[str, Any]:
    """What is written of a line."""
    plain = line.plain()
    return {"what": what, "workers": line.setting.workers, **{name: plain[name] for name in FIGURES}}


def shown(figure: float | None) -> str:
    """A figure of a line as a person reads it."""
    return "-" if figure is None else f"{figure:,.0f}" if figure >= 100 else f"{figure:.4f}"
