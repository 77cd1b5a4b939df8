"""Learning curves in place of training: recorded ones, or ones made from the params by a formula.

Storage, sampler, pruner, budget and recovery can be tried with thousands of trials in minutes, and a recorded study
can be searched again with another sampler or pruner.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mmtuna.objectives.outcome import Ending, Evaluation, Outcome, TrialOrder, Watch
from mmtuna.objectives.recorded import Recorded
from mmtuna.spaces.parameter import Value, is_number

STEPS = (20, 40, 60, 80, 100)


@dataclass(frozen=True, kw_only=True)
class ReplayObjective:
    """Plays curves. With `recorded` the trial with the nearest params is played, otherwise a generated curve.

    `metric` is the one that generated curves hold; `pause` is in seconds before every evaluation.
    """

    metric: str = "mIoU"
    recorded: Sequence[Recorded] = ()
    pause: float = 0.0
    played: list[int] = field(default_factory=list)

    def run(self, order: TrialOrder, watch: Watch) -> Outcome:
        """Plays one trial to its end, or to a stop."""
        began = time.monotonic()
        found = nearest(self.recorded, order.params) if self.recorded else None
        curve = generate(order, self.metric) if found is None else found.curve
        seen: list[Evaluation] = []
        ending = Ending.FINISHED
        for evaluation in curve:
            if self.pause:
                time.sleep(self.pause)
            if watch.interrupted() or watch.lost():
                ending = Ending.INTERRUPTED
                break
            watch.progressed(evaluation.iteration, curve[-1].iteration, evaluation.seconds)
            seen.append(evaluation)
            if watch.evaluated(evaluation):
                ending = Ending.STOPPED
                break
        cause = found.cause if found is not None and ending is Ending.FINISHED else None
        self.played.append(order.number)
        return Outcome(
            ending=ending if cause is None else Ending.FAILED,
            cause=cause,
            message="" if cause is None else "its loss became NaN when it was recorded",
            curve=tuple(seen),
            seconds=max(time.monotonic() - began, seen[-1].seconds if seen else 0.0),
            iterations=found.iterations
            if found is not None and cause is not None
            else seen[-1].iteration
            if seen
            else 0,
        )


def generate(order: TrialOrder, metric: str) -> tuple[Evaluation, ...]:
    """A saturating curve whose plateau depends on the params, with noise from the seed.

    plateau = 0.5 + 0.4 * mean over params of an optimum term in 0..1; value(t) = plateau * (1 - exp(-4 t)) + noise of
    sd 0.01, t from 0 to 1. Numbers score by distance from a hidden optimum on their scale, choices by a hidden rank.
    Not fitted to anything: it only gives samplers something to find and pruners something to cut.
    """
    scores = [_score(name, value) for name, value in order.params.items()]
    plateau = 0.5 + 0.4 * sum(scores) / max(1, len(scores))
    iterations = int(order.params.get("iterations", 400))
    curve = []
    for step in STEPS:
        noise = 0.01 * _normal(f"{order.seed}:{sorted(order.params.items())}:{step}")
        value = min(1.0, max(0.0, plateau * (1 - math.exp(-step / 25)) + noise))
        iteration = max(1, round(iterations * step / 100))
        curve.append(Evaluation(step=step, iteration=iteration, seconds=0.2 * iteration, metrics={metric: value}))
    return tuple(curve)


def _score(name: str, value: Value) -> float:
    if isinstance(value, float) and value > 0:
        return math.exp(-((math.log10(value) + 1 + 4 * _uniform(name)) ** 2) / 2)
    return _uniform(f"{name}={value}")


def _uniform(text: str) -> float:
    """A number in (0, 1) that is always the same for `text`, on every machine."""
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") + 0.5) / 2**48


def _normal(text: str) -> float:
    # Box and Muller (1958).
    return math.sqrt(-2 * math.log(_uniform(text + "r"))) * math.cos(2 * math.pi * _uniform(text + "a"))


def nearest(recorded: Sequence[Recorded], params: Mapping[str, Value]) -> Recorded:
    """The recorded trial whose params are nearest, the first of equals.

    Gower's distance (1971): numbers by difference over the range recorded, anything else 0 or 1, a parameter on one
    side only 1.
    """
    return min(recorded, key=lambda trial: _distance(trial.params, params, recorded))


def _distance(one: Mapping[str, Value], other: Mapping[str, Value], recorded: Sequence[Recorded]) -> float:
    total = 0.0
    for name in {*one, *other}:
        a, b = one.get(name), other.get(name)
        if is_number(a) and is_number(b):
            values = [float(t.params[name]) for t in recorded if is_number(t.params.get(name))]
            spread = max(values) - min(values)
            total += min(1.0, abs(float(a or 0) - float(b or 0)) / spread) if spread else float(a != b)
        else:
            total += float(a != b)
    return total
