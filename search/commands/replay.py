"""`mmtuna replay --studies N`: whole studies over recorded trials in simulated time, as a table and a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from mmtuna.objectives.devices import cores
from mmtuna.objectives.recorded import Recorded, load_recorded
from mmtuna.search.checking.earlier import find_warmth
from mmtuna.search.simulation.figures import Contest, Line
from mmtuna.search.simulation.picture import regret_png
from mmtuna.search.simulation.pool import Answers, Pool, thinned
from mmtuna.search.simulation.portfolio import choose
from mmtuna.search.simulation.setting import KNOWLEDGE, Knows, Setting
from mmtuna.search.trials.conclude import Scoring
from mmtuna.search.versions import machine, versions
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import whole_file
from mmtuna.spaces.settings import defaults_of
from mmtuna.spaces.trials import LAST_STEP
from mmtuna.studies.report.wording import count
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.strategy.confirming import plan_of
from mmtuna.studies.strategy.pruning import collapse_stops
from mmtuna.studies.strategy.sampling import LEARNING, sampler_name
from mmtuna.studies.strategy.warming import name_of
from mmtuna.studies.study import space_for

MODES = {
    "recorded": "each proposal is moved to the nearest recorded trial that is left; nothing is made up",
    "nearest": "each proposal is told the curve of the nearest recorded trial, and fails where none is near",
    "blend": "each proposal is told a blend of the five nearest recorded trials, and fails where none is near",
    "alike": "each proposal is told the curve of a recorded trial that a tree holds to be alike, another in each study",
}
"""What each mode of answers does, for people."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The settings to simulate: each sampler with each pruner and number of workers, lists by comma, the spec's where
    None; `without` are parts (by comma), each of which is left out once beside studies that have all. The rest is as in
    `Setting`, the spec's where None.
    """

    samplers: str | None
    pruners: str | None
    workers: str
    trials: int | None
    iterations: int | None
    seconds: float | None
    collapse: int | None
    without: str | None
    noise: float

    def settings(self, spec: StudySpec, pool: Pool, knows: Knows) -> list[Setting]:
        """Each setting, behind it the same without each part; InputError for what cannot be simulated."""
        other = "--iterations" if self.iterations is not None else "--seconds" if self.seconds is not None else None
        if self.trials is not None and other is not None:
            raise InputError(f"--trials and {other} are two budgets, one in place of the other; leave one of them out")
        whole = [
            self._setting(sampler, pruner, number, spec, pool, knows)
            for number in _numbers(self.workers)
            for sampler in _names(self.samplers or spec.study.sampler, "sampler")
            for pruner in _names(self.pruners or spec.study.pruner, "pruner")
        ]
        return [one for setting in whole for one in (setting, *_without(setting, self.without))]

    def _setting(self, sampler: str, pruner: str, workers: int, spec: StudySpec, pool: Pool, knows: Knows) -> Setting:
        budget = self.trials or spec.study.trials
        table = spec.study.model_copy(update={"sampler": sampler, "trials": budget})
        means = sampler_name(table, pool.space)
        return Setting(
            sampler=sampler,
            pruner=pruner,
            workers=workers,
            trials=budget,
            iterations=self.iterations,
            seconds=self.seconds,
            collapse=collapse_stops(pruner) if self.collapse is None else self.collapse,
            evaluations=_evaluations(pool.trials),
            portfolio=next(iter(knows.portfolio), "") if means in LEARNING else "",
            warm=next(iter(knows.warm), "") if means == "tpe" else "",
            prior=next(iter(knows.prior), ""),
            confirm=plan_of(table, pool.space).of(budget).confirm,
            stop=spec.study.stop == "auto",
            noise=self.noise,
        )


def simulate(
    path: Path,
    asked: Asked,
    *,
    studies: int,
    recorded: Path | None,
    evaluations: int | None,
    portfolio: str | None,
    warm: str | None,
    answers: str,
    within: float,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Simulates `studies` studies of each setting that is asked for, and plain Optuna's.

    `recorded` is a file of trials, [replay] curves by default. `portfolio` names files of other data sets to make one
    from, whose trials tpe knows too unless `warm` or the spec names earlier studies. The rest is as in `Contest`.
    """
    spec = StudySpec.load(path)
    modes: dict[str, Answers] = {mode: mode for mode in get_args(Answers)}
    if answers not in modes:
        raise InputError(f"--answers {answers} is unknown; use {', '.join(modes)}")
    if answers == "alike" and asked.noise:
        raise InputError(
            "--noise: of what is alike the recorded file tells what seeds change, by configs that it holds more than "
            "once; leave it out, or take other --answers"
        )
    pool = _pool(spec, recorded, evaluations)
    knows = _known(spec, pool, portfolio, warm)
    settings, console = asked.settings(spec, pool, knows), Console(stderr=as_json)
    if warm and not any(setting.warm for setting in settings):
        raise InputError(
            f"--warm {warm}: tpe alone learns of earlier studies; add tpe to --sampler, or leave --warm out"
        )
    contest = Contest(pool, spec.study, modes[answers], within, studies, knows)
    lines = contest.lines(
        settings, processes=cores(), said=lambda setting, left: console.print(f"{setting}; {left} left", style="dim")
    )
    about = _about(contest, spec)
    if picture is not None:
        title = f"{spec.study.name}: {studies} studies each, {len(pool.trials)} recorded trials"
        with whole_file(picture) as part:
            part.write_bytes(regret_png(lines, spec.study.metric, title))
    if as_json:
        print(json.dumps(about | {"lines": [line.plain() for line in lines]}, indent=1, allow_nan=False))
        return
    _print(lines, about, console)
    if picture is not None:
        console.print(f"picture: {picture}", highlight=False)


def _pool(spec: StudySpec, recorded: Path | None, evaluations: int | None) -> Pool:
    """The recorded trials, as if each was evaluated `evaluations` times; InputError where it was less often."""
    found, space = _load(spec, recorded), space_for(spec)[0]
    whole = [trial for trial in found if trial.cause is None and space.contains(trial.params)]
    if evaluations is not None and whole and evaluations > (most := _evaluations(whole)):
        raise InputError(
            f"--evaluations {evaluations}: the recorded trials were evaluated {count(most, 'time')}; give that many "
            "or fewer, or leave --evaluations out"
        )
    shown = found if evaluations is None else tuple(thinned(trial, evaluations) for trial in found)
    return Pool(space, shown, Scoring.of(spec.study))


def _load(spec: StudySpec, recorded: Path | None) -> tuple[Recorded, ...]:
    if recorded is None and (spec.replay is None or spec.replay.curves == "generated"):
        raise InputError(
            "--studies needs recorded trials; give --recorded FILE, or [replay] curves, of `mmtuna run --record`"
        )
    return load_recorded(recorded or Path(spec.replay.curves if spec.replay else ""))


def _known(spec: StudySpec, pool: Pool, portfolio: str | None, warm: str | None) -> Knows:
    """What the studies know before trial 1: of files by comma, and of the spec."""
    space, scoring = pool.space, pool.scoring
    others = {path: Pool(space, load_recorded(Path(path)), scoring) for path in (portfolio or "").split(",") if path}
    chosen = choose(others) if others else []
    paths = list(spec.study.warm) if warm is None else [Path(path) for path in warm.split(",") if path]
    warmth = find_warmth(spec, space, paths, pool.odds)
    if not paths and warm is None:  # as a study knows the trials of its portfolio
        settings = {**defaults_of(spec.model.base), **spec.train}
        warmth = [other.warmth(name_of(Path(path)), settings, pool.odds) for path, other in others.items()]
    earlier = [one for study in warmth for one in study.earlier]
    return Knows(
        portfolio={_named(others): [one.searching(pool) for one in chosen]} if chosen else {},
        warm={" + ".join(study.name for study in warmth): earlier} if earlier else {},
        prior={"of the spec": spec.priors()} if spec.priors() else {},
    )


def _named(paths: Iterable[str | Path]) -> str:
    return " + ".join(name_of(Path(path)) for path in paths)


def _without(setting: Setting, parts: str | None) -> list[Setting]:
    """The setting with each of these parts left out, one at a time."""
    off: dict[str, dict[str, Any]] = {
        "sampler": {"sampler": "random", "warm": ""},
        "pruner": {"pruner": "none"},
        "collapse": {"collapse": LAST_STEP},
        **{part: {part: ""} for part in KNOWLEDGE},
        "confirm": {"confirm": 0.0},
        "stop": {"stop": False},
    }
    found = []
    for part in parts.split(",") if parts else ():
        if part not in off:
            raise InputError(f"--without {part}: there is no such part; take {', '.join(off)}, several by comma")
        found.append(replace(setting, **off[part]))
    return [one for one in found if one != setting]


def _evaluations(trials: Sequence[Recorded]) -> int:
    """How often the recorded trials were evaluated, those that reached their end."""
    return min(len(trial.curve) for trial in trials if trial.cause is None)


def _names(text: str, field: str) -> list[str]:
    # The cells of a grid are in the queue, and not the sampler's to propose; recorded trials have no folds.
    known = [name for name in get_args(StudyTable.model_fields[field].annotation) if name not in ("grid", "wilcoxon")]
    names = text.split(",")
    for name in names:
        if name not in known:
            raise InputError(f"--{field} {name}: cannot be simulated; take {', '.join(known)}, several by comma")
    return names


def _numbers(text: str) -> list[int]:
    if not all(number.isdecimal() and int(number) > 0 for number in text.split(",")):
        raise InputError(f"--workers {text}: give whole numbers from 1 on, several by comma, such as 1,8")
    return [int(number) for number in text.split(",")]


def _about(contest: Contest, spec: StudySpec) -> dict[str, Any]:
    pool, within = contest.pool, contest.within
    # At any distance too: it says what answers would be worth that a wider `within` allows.
    foretold = {"alike": _finite(asdict(pool.held_out("alike", 1.0)))} | {
        f"{mode}, within {limit:g}": _finite(asdict(pool.held_out(mode, limit)))
        for mode in get_args(Answers)
        if mode not in ("recorded", "alike")
        for limit in sorted({within, 1.0})
    }
    return {
        "study": spec.study.name,
        "metric": spec.study.metric,
        "value": spec.study.value,
        "recorded": len(pool.trials),
        "left_out": pool.left_out,
        "best_recorded": pool.best,
        "answers": contest.answers,
        "meaning": MODES[contest.answers],
        "within": within,
        "held_out": foretold,
        "seeds": None if (seeds := pool.repeats()) is None else asdict(seeds),
        "collapses": [asdict(entry) for entry in pool.collapses()],
        "machine": machine(),
        "versions": versions(),
    }


def _finite(figures: dict[str, float]) -> dict[str, float | None]:
    """JSON knows no NaN."""
    return {name: figure if math.isfinite(figure) else None for name, figure in figures.items()}


def _print(lines: Sequence[Line], about: dict[str, Any], console: Console) -> None:
    table = Table(box=None)
    table.add_column("setting")
    heads = ("target", "iterations to it", "of plain", "reached", "seconds to it", "worth", "regret", "95 %")
    for head in (*heads, "iterations", "seconds", "pruned", "collapsed", "no answer"):
        table.add_column(head, justify="right")
    for line in lines:
        table.add_row(
            str(line.setting),
            f"{line.target:.4f}",
            _count(line.iterations_to),
            _share(line.of_plain),
            f"{line.reached:.0%}",
            _count(line.seconds_to),
            f"{line.worth:.4f}",
            f"{line.regret:.4f}",
            f"{line.regret_95:.4f}",
            _count(line.iterations),
            _count(line.seconds),
            f"{line.pruned:.0%}",
            f"{line.collapsed:.0%}",
            f"{line.unanswered:.0%}",
        )
    wide = Console(width=None if console.is_terminal else 180)
    wide.print(table)
    for text in _notes(lines, about):
        wide.print(text, highlight=False, markup=False, soft_wrap=True)


def _notes(lines: Sequence[Line], about: dict[str, Any]) -> list[str]:
    best = f"{about['metric']} {about['best_recorded']:.4f}"
    said = [f"{about['recorded']} recorded trials, the best {best}; {about['answers']}: {about['meaning']}"]
    if about["left_out"]:
        said.append(f"{about['left_out']} recorded trials lie outside [space] and were left out")
    for mode, held in about["held_out"].items():
        if held["answered"]:
            said.append(
                f"held out, {mode}: a recorded trial is foretold by the others with an error of {held['error']:.4f} "
                f"on average (the mean of all: {held['guess']:.4f}), rank correlation {_share(held['ranks'])}; "
                f"{held['answered']:.0%} have such another"
            )
        else:
            said.append(f"held out, {mode}: no recorded trial has another so near")
    if about["seeds"] is not None:
        seeds = about["seeds"]
        said.append(
            f"seeds: {seeds['configs']} configs were recorded more than once; their values differ by a standard "
            f"deviation of {seeds['sd']:.4f}, those of the best third by {seeds['sd_best']:.4f}"
        )
    elif about["answers"] == "alike":
        said.append("seeds: too few configs were recorded twice; what is alike is told as if seeds changed nothing")
    if about["collapses"]:
        back = [f"{entry['trials']} at {entry['step']} % ({entry['came_back']})" for entry in about["collapses"]]
        said.append(f"recorded trials that had found nothing so far (and came to something): {', '.join(back)}")
    moved = [line.moved for line in lines if line.moved is not None]
    if moved:
        said.append(f"proposals were moved by a distance of {max(moved):.2f} (median; 0 is none, 1 every parameter)")
    starved = [f"{line.starved} of {line.setting}" for line in lines if line.starved]
    if starved:
        said.append(f"studies that ended early, with no recorded trial left or near: {', '.join(starved)}")
    return said


def _share(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.2f}"


def _count(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:,.0f}"
