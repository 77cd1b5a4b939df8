"""Recorded trials: their params and whole learning curves, a line of JSON each, in a file that several workers fill."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from mmtuna.objectives.evaluation.metrics import Counts
from mmtuna.objectives.outcome import Ending, Evaluation, Outcome, TrialOrder
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import PlaceError, write_whole
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.portfolio import odds_of
from mmtuna.spaces.trials import LAST_STEP, Cause

_FLAT = ("step", "iteration", "seconds")
_COUNTED = ("intersect", "predicted")


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The params of a trial and its learning curve (fractions), whole, or cut short by `cause`: a loss of NaN.

    `seconds` and `iterations` are all that it took, which may be more than its last evaluation tells.
    """

    params: Params
    curve: tuple[Evaluation, ...]
    cause: Cause | None = None
    seconds: float = 0.0
    iterations: int = 0


@dataclass(frozen=True)
class RecordFile:
    """A file that the ended trials of studies are appended to, each once, whole or not at all.

    Args:
        path: JSON lines.
        study: the id of the study whose trials are appended.
        about: what they were trained on, as plain data; stands in each line, which so speaks for itself.
    """

    path: Path
    study: str
    about: Mapping[str, Any]

    def begin(self) -> int:
        """Makes the file where there is none; how many trials of the study it holds.

        InputError for a place that cannot be written and for a file that holds something else.
        """
        with self._alone():
            text = self._text()
            if not self.path.exists():
                write_whole(self.path, "")
            return len(self._held(text))

    def append(self, order: TrialOrder, outcome: Outcome) -> None:
        """Adds a trial that ended, unless it is there: one whose worker died before the study knew ends twice."""
        with self._alone():
            text = self._text()
            if order.number not in self._held(text):
                # In one step with all that was there: a reader and a kill at any moment find whole lines alone.
                write_whole(self.path, text + json.dumps(self._line(order, outcome), allow_nan=False) + "\n")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.path.with_name(f".{self.path.name}.lock")):
                yield
        except PlaceError:
            raise
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror or error}); give another file") from None

    def _text(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.path}: cannot be read ({error}); give another file") from None

    def _held(self, text: str) -> set[int]:
        """The numbers of the study's trials that the file holds."""
        held = set()
        for place, line in enumerate(text.splitlines(), start=1):
            try:
                row = json.loads(line)
                if row["study"] == self.study:
                    held.add(int(row["number"]))
            except (KeyError, TypeError, ValueError):
                raise InputError(
                    f"{self.path}: line {place} is no recorded trial; remove the line, or give another file"
                ) from None
        return held

    def _line(self, order: TrialOrder, outcome: Outcome) -> dict[str, Any]:
        # The message is left out: it may name paths.
        diverged = outcome.cause is Cause.DIVERGED
        failed = outcome.ending is Ending.FAILED
        line = {
            "study": self.study,
            "number": order.number,
            "state": "PRUNED" if diverged else "FAIL" if failed else "COMPLETE",
            "cause": None if outcome.cause is None else str(outcome.cause),
            "params": order.params,
            "seed": order.seed,
            "threads": order.threads,
            "seconds": round(outcome.seconds, 3),
            "iterations": outcome.iterations,
            "curve": [{name: _rounded(v) for name, v in point.as_point().items()} for point in outcome.curve],
        }
        sums = [[point.counts] for point in outcome.curve if point.counts is not None]
        if sums and len(sums) == len(outcome.curve):
            line["counts"] = _columns(sums)
        images = [point.images for point in outcome.curve]
        if images and all(images):
            line["images"] = _columns(images)
        return line | {"on": dict(self.about)}


def _rounded(figure: float) -> float:
    return round(figure, 6)


def _columns(evaluations: Sequence[Sequence[Counts]]) -> dict[str, Any]:
    """Counts by kind, evaluation, image and class; `labelled`, the truth's own, once for all evaluations."""
    found: dict[str, Any] = {"labelled": [list(image.labelled) for image in evaluations[-1]]}
    return found | {name: [[list(getattr(one, name)) for one in images] for images in evaluations] for name in _COUNTED}


def _counts(columns: Mapping[str, Any] | None, place: int) -> tuple[Counts, ...]:
    """The counts of the evaluation at `place`, of what `_columns` made; none where none were kept."""
    if columns is None:
        return ()
    rows = zip(columns["intersect"][place], columns["predicted"][place], columns["labelled"], strict=True)
    return tuple(map(Counts.of, rows))


def load_recorded(path: Path) -> tuple[Recorded, ...]:
    """Trials of a JSON document with `trials` (as `mmtuna status --json` prints) or of JSON lines (`run --record`).

    Only trials that reached their end, or diverged, are of use: a pruned one's curve is not known beyond its stop.
    InputError for a file that holds none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give what `mmtuna status SPEC --json` prints") from None
    try:
        whole = json.loads(text)
        rows: list[dict[str, Any]] = whole["trials"] if isinstance(whole, dict) and "trials" in whole else [whole]
    except ValueError:
        try:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise InputError(f"{path}: is neither JSON nor JSON lines ({error})") from None
    try:
        found = [trial for row in rows if (trial := _recorded(row)) is not None]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is not what `mmtuna status SPEC --json` prints ({error!r})") from None
    if not found:
        raise InputError(
            f"{path}: holds no finished trial with a curve; record some with `mmtuna status SPEC --json`, or with "
            "`mmtuna run SPEC --record FILE`"
        )
    return tuple(found)


def odds_of_recorded(trials: Iterable[Recorded]) -> float:
    """The odds (`mmtuna.spaces.portfolio.odds_of`) of what trials were evaluated on, by the first that tells; 1 where
    none does."""
    counts = (trial.curve[-1].counts for trial in trials if trial.curve)
    told = next((one for one in counts if one is not None), None)
    return 1.0 if told is None else odds_of(told.labelled)


def digest(trials: Sequence[Recorded]) -> str:
    """SHA-256 of what a replay plays of the trials, in their order: params, how they ended, and curves."""
    played = [
        [one.params, one.cause, one.iterations, [[at.step, at.iteration, at.seconds, at.metrics] for at in one.curve]]
        for one in trials
    ]
    return hashlib.sha256(json.dumps(played, sort_keys=True).encode()).hexdigest()


def _recorded(row: Mapping[str, Any]) -> Recorded | None:
    points = row.get("curve") or []
    diverged = row.get("cause") == Cause.DIVERGED
    if not diverged and (not points or points[-1].get("step") != LAST_STEP):
        return None
    curve = tuple(
        Evaluation(
            step=int(point["step"]),
            iteration=int(point["iteration"]),
            seconds=float(point["seconds"]),
            metrics={name: float(value) for name, value in point.items() if name not in _FLAT},
            counts=next(iter(_counts(row.get("counts"), place)), None),
            images=_counts(row.get("images"), place),
        )
        for place, point in enumerate(points)
    )
    last = curve[-1] if curve else Evaluation(step=1, iteration=0, seconds=0.0, metrics={})
    return Recorded(
        params=dict(row["params"]),
        curve=curve,
        cause=Cause.DIVERGED if diverged else None,
        seconds=float(row.get("seconds") or last.seconds),
        iterations=int(row.get("iterations") or last.iteration),
    )
