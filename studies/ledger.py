"""What a study cost in device-seconds, and what pruning saved of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mmtuna.spaces.trials import COLLAPSE_STOPS, LAST_STEP, Cause
from mmtuna.studies.results import TrialRow

ENDINGS = ("complete", "pruned", "diverged", "failed")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The trials that ended in one way and by one cause: how many, and the device-seconds of those that hold a cost."""

    ending: str
    cause: str | None
    trials: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Device-seconds by how trials ended. A share of a shared device counts as that share.

    `pruned` were stopped early, by what `stopped_by` says, or not trained; `diverged` are those whose loss became NaN,
    which Optuna holds as pruned too. `saved` is an estimate, see `ledger`; `unestimated` counts the pruned trials it
    leaves out because they hold no cost or no step, `untimed` the ended trials of any kind that hold no cost. `joules`
    is what cards took for the `metered` trials, of which that is known.
    """

    complete: float = 0.0
    pruned: float = 0.0
    diverged: float = 0.0
    failed: float = 0.0
    saved: float = 0.0
    unestimated: int = 0
    untimed: int = 0
    joules: float = 0.0
    metered: int = 0
    entries: tuple[Entry, ...] = ()
    """The same by ending and cause: endings in the order above, in each the costliest cause first."""

    @property
    def spent(self) -> float:
        """All device-seconds, whatever came of them."""
        return self.complete + self.pruned + self.diverged + self.failed

    @property
    def saved_share(self) -> float:
        """Share, 0 to 1, that pruning saved of what the same trials would have cost without it."""
        whole = self.spent + self.saved
        return self.saved / whole if whole else 0.0


def ending(row: TrialRow) -> str:
    """How a trial ended: complete, pruned, diverged or failed; or that it is running or waiting."""
    if row.state == "PRUNED":
        return "diverged" if row.cause == Cause.DIVERGED else "pruned"
    return {"COMPLETE": "complete", "FAIL": "failed"}.get(row.state, row.state.lower())


def stopped_by(row: TrialRow) -> str:
    """What a trial was pruned by: `limit`, its net's demand, so that it was not trained; `collapse`, since it had found
    none of a class at any evaluation up to `COLLAPSE_STOPS`; else the `pruner`, which may stop a collapsed one too."""
    if row.cause == Cause.OVER_LIMIT:
        return "limit"
    if row.cause != Cause.COLLAPSED or not row.curve or row.curve[-1]["step"] < COLLAPSE_STOPS:
        return "pruner"
    never = all(any(iou == 0 for name, iou in point.items() if name.startswith("IoU.")) for point in row.curve)
    return "collapse" if never else "pruner"


def ledger(rows: Iterable[TrialRow]) -> Ledger:
    """The ledger of `rows`.

    What pruning saved is estimated, trial by trial: a trial that was stopped at `step` percent of its own iterations
    after `seconds` would have needed about `seconds * 100 / step` in all, and saved that minus `seconds`. This takes
    every iteration and every evaluation to cost the same and spreads the time of starting up over them, so that it
    runs high where starting up is long. Diverged and failed trials save nothing: no rule stopped them.
    """
    spent = dict.fromkeys(ENDINGS, 0.0)
    entries: dict[tuple[str, str | None], Entry] = {}
    saved, unestimated, untimed, joules = 0.0, 0, 0, list[float]()
    for row in rows:
        how = ending(row)
        if how not in spent:
            continue
        cause = row.cause or ("unknown" if how == "failed" else None)
        entry = entries.get((how, cause), Entry(ending=how, cause=cause))
        entries[how, cause] = replace(entry, trials=entry.trials + 1, seconds=entry.seconds + (row.seconds or 0.0))
        joules += [] if row.joules is None else [row.joules]
        step = row.curve[-1].get("step") if row.curve else None
        if how == "pruned" and row.cause != Cause.OVER_LIMIT and (row.seconds is None or not step):
            unestimated += 1
        if row.seconds is None:
            untimed += 1
            continue
        spent[how] += row.seconds
        if how == "pruned" and step:
            saved += row.seconds * max(LAST_STEP / step - 1, 0.0)
    booked = sorted(
        entries.values(), key=lambda entry: (ENDINGS.index(entry.ending), -entry.seconds, entry.cause or "")
    )
    return Ledger(
        **spent,
        saved=saved,
        unestimated=unestimated,
        untimed=untimed,
        joules=sum(joules),
        metered=len(joules),
        entries=tuple(booked),
    )
