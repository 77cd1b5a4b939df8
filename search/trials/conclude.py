"""The end of a trial: what is stored with it, which state it gets, which checkpoints stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import optuna
from optuna.trial import TrialState
from rich.markup import escape

from mmtuna.objectives.outcome import Ending, Evaluation, Outcome
from mmtuna.objectives.trial_files import BEST, LAST
from mmtuna.spaces.trials import Cause
from mmtuna.studies import results
from mmtuna.studies.leases import Leases
from mmtuna.studies.leases.transactions import End, Lease
from mmtuna.studies.results import TrialRow
from mmtuna.studies.spec import StudySpec

_PUSHED_OUT = 16


def conclude(leases: Leases, lease: Lease, outcome: Outcome, spec: StudySpec) -> bool:
    """Stores the outcome with the trial, in one step; False where the lease was lost and the outcome is dropped."""
    if outcome.ending is Ending.INTERRUPTED:
        return leases.put_back(lease)
    return leases.end(lease, end_of(outcome, spec))


def end_of(outcome: Outcome, spec: StudySpec) -> End:
    """The state, value and attributes that a trial gets from its outcome."""
    attrs = results.cost_attrs(seconds=outcome.seconds, iterations=outcome.iterations)
    if outcome.folder is not None:
        attrs |= results.folder_attrs(str(outcome.folder.relative_to(spec.study.folder)))
    if outcome.curve:
        attrs |= results.evaluation_attrs(
            metrics=outcome.curve[-1].metrics,
            best_metrics=_best(outcome, spec.study.metric).metrics,
            curve=[evaluation.as_point() for evaluation in outcome.curve],
        )
    if outcome.ending is Ending.STOPPED:
        return End(state=TrialState.PRUNED, attrs=attrs)
    if outcome.ending is Ending.FINISHED:
        value = value_of(outcome, spec)
        if value is not None:
            return End(state=TrialState.COMPLETE, value=value, attrs=attrs)
        message = f"{spec.study.metric} has no value: its class stands neither in the truth nor in the prediction"
        return End(state=TrialState.FAIL, attrs=attrs | results.cause_attrs(str(Cause.ERROR), message))
    if outcome.cause is Cause.DIVERGED:
        step = outcome.curve[-1].step + 1 if outcome.curve else 1
        return results.diverged(step=step, message=outcome.message, attrs=attrs)
    return End(state=TrialState.FAIL, attrs=attrs | results.cause_attrs(str(outcome.cause), outcome.message))


def value_of(outcome: Outcome, spec: StudySpec) -> float | None:
    """The study's value of a finished training: the last evaluation's metric, or the best one's."""
    if not outcome.curve:
        return None
    metric = spec.study.metric
    chosen = outcome.curve[-1] if spec.study.value == "last" else _best(outcome, metric)
    return chosen.metrics.get(metric)


def _best(outcome: Outcome, metric: str) -> Evaluation:
    return max(outcome.curve, key=lambda evaluation: evaluation.metrics.get(metric, float("-inf")))


def ending_text(outcome: Outcome, spec: StudySpec) -> str:
    """How a trial ended, in a few words for the console."""
    metric, seconds = spec.study.metric, f"{outcome.seconds:.0f} s"
    if outcome.ending is Ending.INTERRUPTED:
        return "put back"
    if outcome.ending is Ending.FAILED:
        return f"[red]failed[/red]: {outcome.cause}: {escape(outcome.message)} ({seconds})"
    value = value_of(outcome, spec)
    figure = "-" if value is None else f"{value:.4f}"
    if outcome.ending is Ending.STOPPED:
        return f"pruned   {metric} {figure} at {outcome.curve[-1].step} % ({seconds})"
    return f"[bold]complete[/bold] {metric} {figure} ({seconds})"


def retain_checkpoints(study: optuna.Study, spec: StudySpec) -> None:
    """Deletes the checkpoints of ended trials that are not among the best `keep_checkpoints` complete ones."""
    entries = results.rows(study)
    kept = _kept(entries, spec)
    for entry in entries:
        ended = entry.state in (TrialState.COMPLETE.name, TrialState.PRUNED.name, TrialState.FAIL.name)
        if ended and entry.folder and entry.number not in kept:
            for name in (LAST, BEST):
                (spec.study.folder / entry.folder / name).unlink(missing_ok=True)


def superfluous(entries: Sequence[TrialRow], spec: StudySpec, number: int) -> list[int]:
    """Trials that may hold checkpoints beyond the best `keep_checkpoints`, now that trial `number` has ended.

    Itself, those that it and others that end at the same time push out of the best, and those lost with their workers:
    few, since S3 is asked about each.
    """
    ranked, keep = [entry.number for entry in results.ranked(entries)], spec.resources.keep_checkpoints
    lost = (entry.number for entry in entries if entry.state == TrialState.FAIL.name and entry.cause == Cause.LOST)
    return sorted({number, *ranked[keep : keep + _PUSHED_OUT], *lost} - set(ranked[:keep]))


def keeps_checkpoints(entries: Sequence[TrialRow], spec: StudySpec, number: int) -> bool:
    """Whether trial `number` is among the best `keep_checkpoints`."""
    return number in _kept(entries, spec)


def would_keep_checkpoints(entries: Sequence[TrialRow], spec: StudySpec, number: int, value: float) -> bool:
    """Whether trial `number` would be among them if it ended complete now, with `value`."""
    ended = [
        replace(entry, state=TrialState.COMPLETE.name, value=value) if entry.number == number else entry
        for entry in entries
    ]
    return keeps_checkpoints(ended, spec, number)


def _kept(entries: Sequence[TrialRow], spec: StudySpec) -> set[int]:
    return {entry.number for entry in results.ranked(entries)[: spec.resources.keep_checkpoints]}
