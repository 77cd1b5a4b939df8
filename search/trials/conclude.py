"""The end of a trial: what it is worth, what is stored with it, which state it gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from optuna.trial import TrialState
from rich.markup import escape

from mmtuna.objectives.evaluation.metrics import paired
from mmtuna.objectives.outcome import Ending, Evaluation, Outcome
from mmtuna.objectives.recorded import Recorded
from mmtuna.spaces.trials import LAST_STEP, Cause
from mmtuna.studies import results
from mmtuna.studies.attributes import CAUSE
from mmtuna.studies.leases import Leases
from mmtuna.studies.leases.transactions import End, Lease
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.strategy.folding import falls_behind


@dataclass(frozen=True)
class Scoring:
    """What a training is worth: `metric` (a fraction, 0 to 1) at its "last" evaluation, or at its "best" one."""

    metric: str
    value: str = "last"

    @classmethod
    def of(cls, table: StudyTable) -> Scoring:
        """As `[study]` says."""
        return cls(table.metric, table.value)

    def best(self, curve: Sequence[Evaluation]) -> Evaluation:
        """The evaluation of the highest metric, the first of equals; one without the metric comes last."""
        return max(curve, key=lambda evaluation: evaluation.metrics.get(self.metric, float("-inf")))

    def counting(self, curve: Sequence[Evaluation]) -> Evaluation | None:
        """The evaluation that counts; None where there is none."""
        if not curve:
            return None
        return curve[-1] if self.value == "last" else self.best(curve)

    def value_of(self, outcome: Outcome) -> float | None:
        """The study's value of a training; None where it was never evaluated, or its class stood nowhere."""
        chosen = self.counting(outcome.curve)
        return None if chosen is None else chosen.metrics.get(self.metric)

    def value_of_recorded(self, trial: Recorded) -> float | None:
        """The study's value of a recorded training; None for one that diverged, too."""
        return None if trial.cause is not None else self.value_of(Outcome(ending=Ending.FINISHED, curve=trial.curve))

    def reported(self, value: float, before: float) -> float:
        """What is reported of an evaluation with the metric `value`, `before` being the highest until then."""
        return value if self.value == "last" else max(value, before)


def conclude(leases: Leases, lease: Lease, outcome: Outcome, scoring: Scoring, folder: Path) -> bool:
    """Stores the outcome with the trial, in one step; False where the lease was lost and the outcome is dropped.

    `folder` is the study's, to which the trial's is noted relative.
    """
    if outcome.ending is Ending.INTERRUPTED:
        return leases.put_back(lease)
    return leases.end(lease, end_of(outcome, scoring, folder))


def end_of(outcome: Outcome, scoring: Scoring, folder: Path) -> End:
    """The state, value, attributes and constraints that a trial gets from its outcome."""
    return replace(_unconstrained(outcome, scoring, folder), constraints=outcome.constraints)


def _unconstrained(outcome: Outcome, scoring: Scoring, folder: Path) -> End:
    attrs = results.cost_attrs(seconds=outcome.seconds, iterations=outcome.iterations, joules=outcome.joules)
    if outcome.demand:
        attrs |= results.demand_attrs(outcome.demand)
    if outcome.speed is not None:
        attrs |= results.speed_attrs(outcome.speed)
    if outcome.folder is not None:
        attrs |= results.folder_attrs(str(outcome.folder.relative_to(folder)))
    if outcome.curve:
        attrs |= results.evaluation_attrs(
            metrics=outcome.curve[-1].metrics,
            best_metrics=scoring.best(outcome.curve).metrics,
            curve=[evaluation.as_point() for evaluation in outcome.curve],
        )
    if outcome.folds:
        attrs |= results.folds_attrs([_fold_of(evaluation) for evaluation in outcome.folds])
    if outcome.cause is Cause.OVER_LIMIT:
        return End(state=TrialState.PRUNED, attrs=attrs | results.cause_attrs(str(outcome.cause), outcome.message))
    if outcome.ending in (Ending.STOPPED, Ending.FINISHED):
        attrs |= _collapse_attrs(
            outcome.curve[-1] if outcome.ending is Ending.STOPPED else scoring.counting(outcome.curve)
        )
    if outcome.ending is Ending.STOPPED:
        return End(state=TrialState.PRUNED, attrs=attrs)
    if outcome.ending is Ending.FINISHED:
        value = scoring.value_of(outcome)
        if value is not None:
            return End(state=TrialState.COMPLETE, value=value, attrs=attrs)
        message = f"{scoring.metric} has no value: its class stands neither in the truth nor in the prediction"
        return End(state=TrialState.FAIL, attrs=attrs | results.cause_attrs(str(Cause.ERROR), message))
    if outcome.cause is Cause.DIVERGED:
        step = outcome.curve[-1].step + 1 if outcome.curve else 1
        return results.diverged(step=step, message=outcome.message, attrs=attrs)
    return End(state=TrialState.FAIL, attrs=attrs | results.cause_attrs(str(outcome.cause), outcome.message))


def _fold_of(evaluation: Evaluation) -> results.Attrs:
    """What is kept of a fold: its metrics, and what a test between trials pairs, image by image."""
    return {"step": evaluation.step, "metrics": evaluation.metrics, "images": paired(evaluation.images)}


def has_collapsed(evaluation: Evaluation | None) -> bool:
    """Whether it found none of a class that the truth has; False where nothing was counted."""
    return evaluation is not None and evaluation.counts is not None and bool(evaluation.counts.unfound())


def has_found(study: optuna.Study) -> bool:
    """Whether a trial of the study is complete and did not collapse."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return any(trial.user_attrs.get(CAUSE) != Cause.COLLAPSED for trial in complete)


@dataclass
class Collapse:
    """Whether a trial is dead, which is asked at each of its evaluations in turn: it had collapsed at all of them.

    One that had found something before and lost it comes back now and then; `stops` is the step from which on one that
    never had does not (percent; 100 stops none). Where `others_found` says that no trial of the study was trained to
    its end and found all, it may be the study's trainings that are too short to find anything: then none is dead.
    """

    stops: int
    others_found: Callable[[], bool]
    found: bool = False

    def is_dead(self, evaluation: Evaluation) -> bool:
        """Whether the trial is to be stopped now; it gets its true value, of which the sampler learns."""
        self.found |= not has_collapsed(evaluation)
        return self.stops <= evaluation.step < LAST_STEP and not self.found and self.others_found()


def is_given_up(evaluation: Evaluation, trial: optuna.Trial, fold_test: int | None) -> bool:
    """Whether a trial is to be stopped, whatever the pruner says, since between two folds it is behind the best one.

    `fold_test` is as of `mmtuna.studies.strategy.folding.fold_test`.
    """
    if fold_test is None or not evaluation.ended_folds:
        return False
    images = paired(evaluation.images)
    return bool(images) and falls_behind(trial.study, images, fold_test)


def _collapse_attrs(evaluation: Evaluation | None) -> results.Attrs:
    if evaluation is None or evaluation.counts is None or not has_collapsed(evaluation):
        return {}
    classes = ", ".join(map(str, evaluation.counts.unfound()))
    message = f"at {evaluation.step} % not one pixel was predicted of class {classes}, which the truth has"
    return results.cause_attrs(str(Cause.COLLAPSED), message)


def ending_text(outcome: Outcome, scoring: Scoring) -> str:
    """How a trial ended, in a few words for the console."""
    metric, seconds = scoring.metric, f"{outcome.seconds:.0f} s"
    if outcome.ending is Ending.INTERRUPTED:
        return f"put back: {escape(outcome.message)}" if outcome.message else "put back"
    if outcome.ending is Ending.FAILED:
        return f"[red]failed[/red]: {outcome.cause}: {escape(outcome.message)} ({seconds})"
    if outcome.cause is Cause.OVER_LIMIT:
        return f"over a limit: {escape(outcome.message)}, not trained"
    value = scoring.value_of(outcome)
    figure = "-" if value is None else f"{value:.4f}"
    if outcome.ending is Ending.STOPPED:
        seconds += ", collapsed" if has_collapsed(outcome.curve[-1]) else ""
        return f"pruned   {metric} {figure} at {outcome.curve[-1].step} % ({seconds})"
    seconds += ", collapsed" if has_collapsed(scoring.counting(outcome.curve)) else ""
    return f"[bold]complete[/bold] {metric} {figure} ({seconds})"
