"""What a study cost in device-seconds, and what pruning saved of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mmtuna.spaces.trials import LAST_STEP, Cause
from mmtuna.studies.results import TrialRow


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Device-seconds by how trials ended. A share of a shared device counts as that share.

    `pruned` were stopped by the pruner; `diverged` are those whose loss became NaN, which Optuna holds as pruned too.
    `saved` is an estimate, see `ledger`; `unestimated` counts the pruned trials it leaves out because they hold no
    cost or no step, `untimed` the ended trials of any kind that hold no cost.
    """

    complete: float = 0.0
    pruned: float = 0.0
    diverged: float = 0.0
    failed: float = 0.0
    saved: float = 0.0
    unestimated: int = 0
    untimed: int = 0

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


def ledger(rows: Iterable[TrialRow]) -> Ledger:
    """The ledger of `rows`.

    What pruning saved is estimated, trial by trial: a trial that was stopped at `step` percent of its own iterations
    after `seconds` would have needed about `seconds * 100 / step` in all, and saved that minus `seconds`. This takes
    every iteration and every evaluation to cost the same and spreads the time of starting up over them, so that it
    runs high where starting up is long. Diverged and failed trials save nothing: no pruner stopped them.
    """
    spent = dict.fromkeys(("complete", "pruned", "diverged", "failed"), 0.0)
    saved, unestimated, untimed = 0.0, 0, 0
    for row in rows:
        how = ending(row)
        if how not in spent:
            continue
        step = row.curve[-1].get("step") if row.curve else None
        if how == "pruned" and (row.seconds is None or not step):
            unestimated += 1
        if row.seconds is None:
            untimed += 1
            continue
        spent[how] += row.seconds
        if how == "pruned" and step:
            saved += row.seconds * max(LAST_STEP / step - 1, 0.0)
    return Ledger(**spent, saved=saved, unestimated=unestimated, untimed=untimed)
